//! `slender compare` and `slender eval show`: looking at the examples of evaluations.

use crate::cli::{CompareArgs, ShowArgs};
use crate::error::CliError;
use crate::output;
use slender_eval::{EvalError, ExampleRecord, show, tasks};
use slender_trainer::exit;
use std::path::Path;

/// Compares two evaluations; returns the exit code.
pub fn run(args: &CompareArgs) -> Result<i32, CliError> {
    let wanted: Vec<&str> = if args.tasks.is_empty() {
        Vec::new()
    } else {
        tasks::find_all(&args.tasks)?
            .iter()
            .map(|task| task.name)
            .collect()
    };
    let read = |path: &Path| -> Result<Vec<ExampleRecord>, CliError> {
        let mut records = examples(path)?;
        records.retain(|record| wanted.is_empty() || wanted.contains(&record.task.as_str()));
        Ok(records)
    };
    let (a, b) = (read(&args.a)?, read(&args.b)?);
    let (a_name, b_name) = (args.a.display().to_string(), args.b.display().to_string());
    let comparison = slender_eval::compare((&a_name, &a), (&b_name, &b))?;
    if args.json {
        output::json(&serde_json::to_value(&comparison).unwrap_or_default());
    } else {
        output::data(&comparison.to_string());
    }
    Ok(exit::FINISHED)
}

/// Shows examples; returns the exit code.
pub fn show(args: &ShowArgs) -> Result<i32, CliError> {
    let tasks = if args.tasks.is_empty() {
        Vec::new()
    } else {
        let tasks = tasks::find_all(&args.tasks)?;
        tasks.iter().map(|task| task.name.to_owned()).collect()
    };
    let filter = show::Filter {
        tasks,
        doc_id: args.doc,
        wrong: args.wrong,
        limit: args.limit,
    };
    let a = examples(&args.a)?;
    let b = args.b.as_deref().map(examples).transpose()?;
    if args.json {
        output::json(&show::json(&a, b.as_deref(), &filter)?);
        return Ok(exit::FINISHED);
    }
    output::data(&match &b {
        None => show::show(&a, &filter),
        Some(b) => show::show_differences(&a, b, &filter)?,
    });
    Ok(exit::FINISHED)
}

/// The examples behind a path: a file of `--samples`, or a run that was evaluated with `--save`.
fn examples(path: &Path) -> Result<Vec<ExampleRecord>, CliError> {
    let file = if path.is_dir() {
        let saved = path.join("eval").join(SAVED);
        if !saved.is_file() {
            return Err(CliError::Usage(format!(
                "{} holds no evaluated examples\n  hint: evaluate it with --save, or write a file with --samples and name that",
                path.display()
            )));
        }
        saved
    } else {
        path.to_owned()
    };
    if !file.is_file() {
        return Err(CliError::Usage(format!(
            "{} does not exist\n  hint: `slender eval MODEL --samples FILE` writes such a file",
            file.display()
        )));
    }
    let records = slender_eval::read_records(&file)?;
    if records.is_empty() {
        return Err(EvalError::Compare(format!("{} holds no example", file.display())).into());
    }
    Ok(records)
}

/// The file of a run's examples, beside `final.json`.
pub const SAVED: &str = "final-examples.jsonl";
