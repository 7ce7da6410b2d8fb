//! `slender eval`.

use crate::cli::{Bos, EvalArgs, EvalCommand, EvalCommandArgs};
use crate::error::CliError;
use crate::{commands, output};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use slender_config::Config;
use slender_eval::{
    BurnModel, CacheOptions, DataSource, EvalOptions, EvalReport, LanguageModel, Prepared, Saved,
    Task,
};
use slender_model::{LoadedModel, resolve_model_dir};
use slender_trainer::exit;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Evaluates, or lists or shows; returns the exit code.
pub fn run(args: &EvalCommandArgs) -> Result<i32, CliError> {
    match &args.command {
        Some(EvalCommand::List { names, json }) => {
            if *json {
                output::json(&slender_eval::task_list(names)?);
            } else {
                output::data(&slender_eval::task_table(names)?);
            }
            Ok(exit::FINISHED)
        }
        Some(EvalCommand::Show(args)) => commands::compare::show(args),
        None if args.score.list => {
            output::data(&slender_eval::task_table(&[])?);
            Ok(exit::FINISHED)
        }
        None => score(&args.score),
    }
}

fn score(args: &EvalArgs) -> Result<i32, CliError> {
    let path = args
        .model
        .as_deref()
        .expect("clap requires a model unless there is a subcommand");
    let Plan {
        tasks,
        mut options,
        device: device_name,
        threads,
    } = plan(args, path)?;
    let weights_dir = resolve_model_dir(path)?;
    options.add_bos = match args.bos {
        Bos::Auto => slender_eval::model_adds_bos(path, &weights_dir)?,
        Bos::Yes => true,
        Bos::No => false,
    };
    if let Some(file) = &args.samples {
        slender_eval::check_records_file(file)?;
    }
    commands::set_threads(threads);
    let device = commands::open_device(&device_name)?;
    let loaded = LoadedModel::load(path, &device)?;
    let mut model = BurnModel::new(loaded.model, &device);
    if let Some(max_length) = args.max_length {
        model = model.with_max_seq_len(max_length);
    }
    options.ends = slender_model::infer::end_tokens(&loaded.dir, &loaded.tokenizer)?;
    options.batch_tokens = args.batch_tokens.unwrap_or_else(|| model.token_budget());
    if let Some(file) = &args.perplexity {
        let budget = options.batch_tokens;
        return perplexity(args, file, &mut model, &loaded.tokenizer, budget);
    }
    options.engine = format!(
        "slender {} on {device_name}, {}",
        env!("CARGO_PKG_VERSION"),
        slender_kernels::arithmetic(&device)
    );
    options.cache = cache_dir(args).map(|dir| CacheOptions {
        dir,
        weights: loaded.weights_hash.clone(),
    });
    let max_seq_len = model.max_seq_len();
    let prepared = Prepared::load(&loaded.tokenizer, &tasks, &options, max_seq_len)?;
    let saved = path.join("eval").join("final.json");
    let mut save = args.save;
    if args.save && saved.is_file() {
        let found = EvalReport::read(&saved).map_or_else(
            |error| Saved::Other(error.to_string()),
            |report| prepared.compare(&report, &loaded.weights_hash),
        );
        match found {
            Saved::Current if reuse(args, &saved)? => return Ok(exit::FINISHED),
            Saved::Current => {}
            Saved::More => {
                save = false;
                output::talk(&format!(
                    "{} has these tasks and more, and stays as it is",
                    saved.display()
                ));
            }
            Saved::Other(difference) => output::talk(&format!(
                "{} is of another evaluation ({difference}), and is written anew",
                saved.display()
            )),
        }
    }
    let bar = bar();
    let report = prepared.run(&mut model, &mut |at| {
        if let Some(bar) = &bar {
            bar.set_length(at.all_total as u64);
            bar.set_position(at.all_done as u64);
            bar.set_message(format!(
                "{} ({}/{})",
                at.task,
                at.task_index + 1,
                at.task_count
            ));
        }
    })?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    if report.reused > 0 {
        output::talk(&format!("{} scores taken from the cache", report.reused));
    }
    if report.damaged > 0 {
        output::talk(&format!(
            "warning: {} damaged cache entries found and computed again",
            report.damaged
        ));
    }
    let report = report.for_model(
        &path.display().to_string(),
        loaded.step,
        &loaded.weights_hash,
    );
    if let Some(file) = &args.samples {
        slender_eval::write_records(file, &report.examples)?;
    }
    if save {
        let examples = saved.with_file_name(commands::compare::SAVED);
        slender_eval::write_records(&examples, &report.examples)?;
        report.write(&saved)?;
    }
    if args.json {
        output::json(&report.to_json());
    } else {
        output::data(&report.to_string());
    }
    Ok(exit::FINISHED)
}

/// Gives the output from a saved result that is current; false if its examples are missing or not its own.
fn reuse(args: &EvalArgs, saved: &Path) -> Result<bool, CliError> {
    let report = EvalReport::read(saved)?;
    let file = saved.with_file_name(commands::compare::SAVED);
    let expected: usize = report.tasks.iter().map(|task| task.examples).sum();
    let examples = slender_eval::read_records(&file);
    let Some(examples) = examples.ok().filter(|found| found.len() == expected) else {
        output::talk(&format!(
            "{} does not hold the examples of {}, and both are written anew",
            file.display(),
            saved.display()
        ));
        return Ok(false);
    };
    output::talk(&format!("already evaluated: {}", saved.display()));
    if let Some(file) = &args.samples {
        slender_eval::write_records(file, &examples)?;
    }
    if args.json {
        output::json(&report.to_json());
    } else {
        output::data(&report.to_string());
    }
    Ok(true)
}

/// Where scores are kept; `None` with `--no-cache`, and where the system names no folder for it.
fn cache_dir(args: &EvalArgs) -> Option<PathBuf> {
    if args.no_cache {
        return None;
    }
    let own = || Some(slender_data::user_cache_dir()?.join("eval"));
    args.cache_dir.clone().or_else(own)
}

/// What is evaluated, how and where.
struct Plan {
    tasks: Vec<&'static Task>,
    options: EvalOptions,
    device: String,
    threads: usize,
}

/// The plan, from the arguments or, with --from-config, from the run's own configuration.
fn plan(args: &EvalArgs, path: &Path) -> Result<Plan, CliError> {
    let mut options = EvalOptions {
        limit: args.limit.filter(|limit| *limit > 0),
        altered: commands::train::altered(args.allow_altered),
        data: DataSource::from_setting(args.data_dir.as_deref()),
        splits: args.splits.clone(),
        num_fewshot: args.num_fewshot,
        fewshot_seed: args.fewshot_seed,
        ..EvalOptions::default()
    };
    let mut names = args.tasks.clone();
    let (mut device, mut threads) = ("flex".to_owned(), 0);
    if args.from_config {
        let file = path.join("config.toml");
        if !file.is_file() {
            return Err(CliError::Usage(format!(
                "--from-config needs a run directory, and {} has no config.toml\n  hint: name the tasks with --tasks",
                path.display()
            )));
        }
        let config = Config::load(&file, &[])?;
        (device, threads) = (config.run.device, config.run.threads);
        let eval = config.eval;
        names = eval.tasks;
        let limit = args.limit.unwrap_or(eval.limit);
        options.limit = (limit > 0).then_some(limit);
        options.altered = commands::train::altered(args.allow_altered || eval.allow_altered);
        if args.data_dir.is_none() {
            options.data = DataSource::from_setting(eval.data_dir.as_deref());
        }
    }
    if names.is_empty() && args.perplexity.is_none() {
        return Err(CliError::Usage("no task named\n  hint: --tasks paper or --tasks arc_easy,piqa, or --from-config, or --perplexity FILE; `slender eval list` shows the tasks".into()));
    }
    if args.save && !path.join("config.toml").is_file() {
        return Err(CliError::Usage(format!(
            "--save writes into a run directory, and {} is none\n  hint: use --json and redirect the output",
            path.display()
        )));
    }
    let tasks = if names.is_empty() {
        Vec::new()
    } else {
        slender_eval::tasks::find_all(&names)?
    };
    if let Some((task, split)) = (args.splits.iter())
        .find(|(name, _)| args.perplexity.is_none() && !tasks.iter().any(|t| t.name == name))
    {
        return Err(CliError::Usage(format!(
            "--split {task}={split}: {task} is not among the tasks that are scored\n  hint: name it with --tasks too, or leave out this --split"
        )));
    }
    Ok(Plan {
        tasks,
        options,
        device: args.device.device.clone().unwrap_or(device),
        threads: args.device.threads.unwrap_or(threads),
    })
}

fn perplexity(
    args: &EvalArgs,
    file: &Path,
    model: &mut BurnModel,
    tokenizer: &slender_data::Tokenizer,
    batch_tokens: usize,
) -> Result<i32, CliError> {
    let text = slender_eval::read_text(file)?;
    let documents = match &args.document_separator {
        None => vec![text.as_str()],
        Some(separator) => {
            let documents = slender_eval::split_documents(&text, separator);
            documents.ok_or_else(|| {
                CliError::Usage(format!(
                    "no line of {} is {separator:?}\n  hint: --document-separator names a whole line; leave it out to score the file as one document",
                    file.display()
                ))
            })?
        }
    };
    let bar = bar();
    let result = slender_eval::perplexity(
        model,
        tokenizer,
        &documents,
        batch_tokens,
        &mut |done, total| {
            if let Some(bar) = &bar {
                bar.set_length(total as u64);
                bar.set_position(done as u64);
            }
        },
    )?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    if args.json {
        output::json(&serde_json::to_value(result).unwrap_or_default());
    } else {
        output::data(&format!(
            "documents {}\ntokens {}\nwords {}\nbytes {}\nnats per token {:.4}\nbits per byte {:.4}\nperplexity per token {:.3}\nperplexity per word {:.3}\nperplexity per byte {:.4}\n",
            result.documents,
            result.tokens,
            result.words,
            result.bytes,
            result.nats_per_token,
            result.bits_per_byte,
            result.token_perplexity,
            result.word_perplexity,
            result.byte_perplexity,
        ));
    }
    Ok(exit::FINISHED)
}

fn bar() -> Option<ProgressBar> {
    std::io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr_with_hz(4));
        let style =
            ProgressStyle::with_template("{wide_bar:.cyan/dim} {percent}%  {eta} left  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar
    })
}
