//! `slender train`.

use crate::cli::TrainArgs;
use crate::error::CliError;
use crate::{commands, output};
use burn::tensor::Device;
use slender_config::{Config, EvalConfig, human_count, human_seconds};
use slender_eval::{
    Altered, BurnModel, DataSource, EvalError, EvalOptions, EvalReport, Metric, TaskData,
};
use slender_model::Transformer;
use slender_trainer::{
    RunDir, StopFlag, TaskMetric, TrainHooks, TrainOptions, TrainOutcome, Verbosity, exit,
};

/// Trains; returns the exit code.
pub fn run(args: &TrainArgs) -> Result<i32, CliError> {
    let mut sets = args.config.sets.clone();
    sets.extend(
        args.device
            .device
            .iter()
            .map(|device| format!("run.device={device}")),
    );
    sets.extend(
        args.device
            .threads
            .iter()
            .map(|threads| format!("run.threads={threads}")),
    );
    let config = Config::load(&args.config.config, &sets)?;
    check_names(&config)?;
    commands::set_threads(config.run.threads);
    let dir = args
        .run_dir
        .clone()
        .unwrap_or_else(|| config.run.out_dir.join(config.name()));
    let options = TrainOptions {
        dir: RunDir::new(&dir),
        verbosity: if args.quiet {
            Verbosity::Quiet
        } else {
            Verbosity::Normal
        },
        provenance: commands::provenance(),
        stop: StopFlag::from_signals().map_err(|error| CliError::Io("signals".into(), error))?,
        until: args.until,
    };
    let device = commands::open_device(&config.run.device)?;
    let mut hooks = TrainHooks::default();
    if config.eval.tasks_every > 0 && !config.eval.tasks.is_empty() {
        check_data(&config.eval)?;
        hooks.tasks = Some(Box::new(|model, tokenizer, _| {
            evaluate(&config.eval, model, tokenizer, &device)
                .map(|report| task_metrics(&report))
                .map_err(|error| error.to_string())
        }));
    }
    let talk = |text: String| {
        if !args.quiet {
            output::talk(&text);
        }
    };
    match slender_trainer::train(&config, &options, hooks)? {
        TrainOutcome::Finished { fresh, status } => {
            if fresh {
                talk(format!(
                    "finished: {} tokens in {}, {}\n  in {}",
                    human_count(status.tokens as f64),
                    human_seconds(status.elapsed_s),
                    status
                        .valid_bits_per_byte
                        .map_or("no validation".into(), |bits| format!(
                            "validation {bits:.4} bits per byte"
                        )),
                    dir.display(),
                ));
            } else {
                talk(format!("already finished: {}", dir.display()));
            }
            if args.json {
                output::json(&serde_json::to_value(&status).unwrap_or_default());
            }
            Ok(exit::FINISHED)
        }
        TrainOutcome::Paused { fresh, status } => {
            let loss = status
                .valid_loss
                .map_or(String::new(), |loss| format!(", validation loss {loss:.4}"));
            talk(format!(
                "{} after step {} of {}{loss}: {}\n  hint: run the same command without --until, or with a later step, to go on",
                if fresh { "paused" } else { "already paused" },
                status.step,
                status.total_steps,
                dir.display(),
            ));
            if args.json {
                output::json(&serde_json::to_value(&status).unwrap_or_default());
            }
            Ok(exit::FINISHED)
        }
        TrainOutcome::Interrupted { checkpoint } => {
            talk(format!(
                "stopped after a checkpoint: {}\n  hint: run the same command again to resume",
                checkpoint.display()
            ));
            Ok(exit::INTERRUPTED)
        }
    }
}

/// Names that only other crates can check, before any work is done.
pub fn check_names(config: &Config) -> Result<(), CliError> {
    for task in &config.eval.tasks {
        slender_eval::tasks::find(task)?;
    }
    if let Some(row) = &config.run.paper_row
        && slender_sweep::paper::row(row).is_none()
    {
        let near = slender_sweep::paper::nearest_id(row);
        return Err(CliError::Usage(format!(
            "`run.paper_row`: the paper has no row `{row}`\n  hint: did you mean `{near}`?"
        )));
    }
    Ok(())
}

/// What becomes of examples that are not the published ones.
pub fn altered(allowed: bool) -> Altered {
    if allowed {
        Altered::Report
    } else {
        Altered::Refuse
    }
}

/// Loads a folder's data for the tasks of `[eval]`, so that what is wrong with it shows before training.
pub fn check_data(eval: &EvalConfig) -> Result<(), EvalError> {
    let data = DataSource::from_setting(eval.data_dir.as_deref());
    if matches!(data, DataSource::Dir(_)) {
        for task in slender_eval::tasks::find_all(&eval.tasks)? {
            TaskData::load_split(task, &data, None, altered(eval.allow_altered))?;
        }
    }
    Ok(())
}

/// Runs the tasks of `[eval]` on a model in memory.
fn evaluate(
    eval: &EvalConfig,
    model: &Transformer,
    tokenizer: &slender_data::Tokenizer,
    device: &Device,
) -> Result<EvalReport, EvalError> {
    let tasks = slender_eval::tasks::find_all(&eval.tasks)?;
    let options = EvalOptions {
        limit: (eval.limit > 0).then_some(eval.limit),
        data: DataSource::from_setting(eval.data_dir.as_deref()),
        altered: altered(eval.allow_altered),
        ..EvalOptions::default()
    };
    let mut model = BurnModel::new(model.clone(), device);
    slender_eval::evaluate(&mut model, tokenizer, &tasks, &options, &mut |_| {})
}

fn task_metrics(report: &EvalReport) -> Vec<TaskMetric> {
    let metric = |task: &slender_eval::TaskReport| {
        let mut values = Vec::new();
        for name in [Metric::Acc.name(), Metric::AccNorm.name()] {
            if let Some(estimate) = task.metric(name) {
                values.push((name.to_owned(), estimate.value));
                values.extend(
                    estimate
                        .stderr
                        .map(|stderr| (format!("{name}_stderr"), stderr)),
                );
            }
        }
        TaskMetric {
            task: task.task.clone(),
            values,
            examples: task.examples,
        }
    };
    report.tasks.iter().map(metric).collect()
}
