//! `slender sweep`.

use crate::cli::executor::PrintKind;
use crate::cli::{SweepArgs, SweepCommand};
use crate::commands::train::{check_data, check_names};
use crate::commands::{executor, plan as plan_command, sweep_dir};
use crate::error::CliError;
use crate::output;
use slender_config::sweep::{SweepFile, is_sweep_file};
use slender_config::{DataConfig, DeviceSpec, SourceKind, TokenizerKind};
use slender_sweep::{
    PlannedRun, Status, StatusState, SweepOptions, collect, leaderboard, plan, prepare_sweep,
    write_report,
};
use slender_trainer::exit;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Runs or reports; returns the exit code.
pub fn run(command: &SweepCommand) -> Result<i32, CliError> {
    match command {
        SweepCommand::Run(args) => sweep(args),
        SweepCommand::Plan(args) => plan_command::run(args),
        SweepCommand::Status(args) => sweep_dir::status(args),
        SweepCommand::Resume(args) => sweep_dir::resume(args),
        SweepCommand::Cancel { dir } => sweep_dir::cancel(dir),
        SweepCommand::Retry(args) => sweep_dir::retry(args),
        SweepCommand::Work(args) => sweep_dir::work(args),
        SweepCommand::Report { dir } => {
            let files = write_report(&collect(dir)?, dir)?;
            output::data(&format!("{}\n", files.html.display()));
            Ok(exit::FINISHED)
        }
        SweepCommand::Leaderboard { dirs, out } => {
            let board = leaderboard(dirs)?;
            for warning in &board.warnings {
                output::talk(&format!("warning: left out: {warning}"));
            }
            for file in board.write(out)? {
                output::data(&format!("{}\n", file.display()));
            }
            Ok(exit::FINISHED)
        }
    }
}

fn sweep(args: &SweepArgs) -> Result<i32, CliError> {
    let dir = dir_of(&args.configs, args.dir.as_deref())?;
    let program =
        std::env::current_exe().map_err(|error| CliError::Io("this program".into(), error))?;
    let mut options = SweepOptions::new(args.configs.clone(), dir, program);
    options.sets = args.sets.clone();
    options.seeds = args.seeds.as_ref().map(|seeds| seeds.0.clone());
    let own = options.source().map(SweepFile::read).transpose()?;
    let mut how = args.executor.clone();
    how.jobs = how.jobs.or(own.and_then(|file| file.jobs));
    options.device = args.device.clone();
    options.data_id = data_id;
    executor::check(&how)?;
    check_device(args.device.as_deref())?;
    let runs = plan(&options)?;
    check_plan(&runs)?;
    if how.print != Some(PrintKind::Kubernetes) {
        // The image may have what this program lacks.
        check_here(&runs, args.device.as_deref())?;
    }
    let names = prepare_sweep(&options)?;
    executor::execute(
        &options.dir,
        &names,
        &how,
        // The configurations of a new sweep hold it; those of a directory stay as they are.
        args.device.as_deref().filter(|_| options.is_directory()),
        options.source(),
        args.retry_failed,
    )
}

/// Names in the configurations that only other crates can check.
pub fn check_plan(runs: &[PlannedRun]) -> Result<(), CliError> {
    runs.iter().try_for_each(|run| check_names(&run.config))
}

/// Whether `--device` names a device: said once, not for every configuration.
pub fn check_device(device: Option<&str>) -> Result<(), CliError> {
    device.map_or(Ok(()), |device| {
        Ok(device.parse::<DeviceSpec>().map(drop)?)
    })
}

/// What would fail when a run's turn comes: a device that this program is built without, text that is not
/// there, and examples of the tasks that are missing or altered. Runs that are trained are not looked at.
fn check_here(runs: &[PlannedRun], device: Option<&str>) -> Result<(), CliError> {
    let trained = |run: &&PlannedRun| {
        let status = Status::read(&run.dir).ok().flatten();
        status.is_some_and(|status| status.state == StatusState::Finished)
    };
    let left: Vec<&PlannedRun> = runs.iter().filter(|run| !trained(run)).collect();
    let mut problems = Vec::new();
    let mut devices = BTreeSet::new();
    for run in &left {
        let device = device.unwrap_or(&run.config.run.device);
        if devices.insert(device)
            && let Err(error) = slender_kernels::check_built(&device.parse()?)
        {
            problems.push(format!("run `{}`: device `{device}`: {error}", run.name));
        }
    }
    problems.extend(missing_texts(left.iter().copied()));
    problems.extend(wrong_eval_data(left));
    match problems.is_empty() {
        true => Ok(()),
        false => Err(CliError::Usage(format!(
            "nothing was started\n{}",
            problems.join("\n")
        ))),
    }
}

/// What is wrong with the texts and tokenizers that are to be on this machine.
pub fn missing_texts<'a>(runs: impl IntoIterator<Item = &'a PlannedRun>) -> Vec<String> {
    let mut seen: Vec<DataConfig> = Vec::new();
    let mut problems = Vec::new();
    for run in runs {
        let mut data = run.config.data.clone();
        data.order_seed = None;
        // Hubs are asked when it is their turn.
        data.sources.retain(|source| source.kind != SourceKind::Hub);
        if data.tokenizer.kind == TokenizerKind::Hub {
            data.tokenizer.kind = TokenizerKind::Bpe;
            data.tokenizer.vocab_size = data.tokenizer.vocab_size.or(Some(256));
        }
        if data.sources.is_empty() || seen.contains(&data) {
            continue;
        }
        let options = slender_data::PrepareOptions::from_env();
        if let Err(error) = slender_data::prepared_dir(&data, &options)
            && error.is_usage()
        {
            problems.push(format!("run `{}`: {error}", run.name));
        }
        seen.push(data);
    }
    problems
}

/// What is wrong with the folders that hold the tasks' examples, each looked at once.
pub fn wrong_eval_data<'a>(runs: impl IntoIterator<Item = &'a PlannedRun>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut problems = Vec::new();
    for run in runs {
        let eval = &run.config.eval;
        if seen.insert((&eval.data_dir, &eval.tasks, eval.allow_altered))
            && !eval.tasks.is_empty()
            && let Err(error) = check_data(eval)
        {
            problems.push(format!("run `{}`: `eval.data_dir`: {error}", run.name));
        }
    }
    problems
}

/// The sweep directory: as given, the one that is named instead of configurations, or `sweeps/NAME`.
pub fn dir_of(configs: &[PathBuf], given: Option<&Path>) -> Result<PathBuf, CliError> {
    match (configs, given) {
        ([one], None) if one.is_dir() => Ok(one.clone()),
        ([one], Some(dir)) if one.is_dir() && dir != one => Err(CliError::Usage(format!(
            "{} is a sweep directory and --dir names another\n  hint: leave --dir out",
            one.display()
        ))),
        (_, Some(dir)) => Ok(dir.to_owned()),
        ([one], None) if is_sweep_file(one) => {
            Ok(PathBuf::from("sweeps").join(SweepFile::read(one)?.name))
        }
        _ => Ok(PathBuf::from("sweeps").join(name_of(configs))),
    }
}

/// The folder of a configuration's prepared data, whose name is a hash of its content; `None` where a
/// hub would have to be asked.
pub fn data_id(data: &DataConfig) -> Option<String> {
    let hub = data.tokenizer.kind == TokenizerKind::Hub
        || (data.sources.iter()).any(|source| source.kind == SourceKind::Hub);
    if hub {
        return None;
    }
    let dir = slender_data::prepared_dir(data, &slender_data::PrepareOptions::from_env()).ok()?;
    Some(dir.file_name()?.to_string_lossy().into_owned())
}

/// What the names of the configurations have in common: `smoke` for `smoke-2x96`, `smoke-4x64`.
fn name_of(configs: &[PathBuf]) -> String {
    let stem = |path: &Path| {
        path.file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let stems: Vec<String> = configs.iter().map(|path| stem(path)).collect();
    let first = stems.first().cloned().unwrap_or_default();
    if stems.len() == 1 {
        return first;
    }
    let parts = |stem: &str| stem.split('-').map(str::to_owned).collect::<Vec<_>>();
    let shared = parts(&first)
        .into_iter()
        .enumerate()
        .take_while(|(i, part)| stems.iter().all(|stem| parts(stem).get(*i) == Some(part)))
        .map(|(_, part)| part)
        .collect::<Vec<_>>()
        .join("-");
    if shared.is_empty() {
        "sweep".into()
    } else {
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_is_named_by_what_its_configurations_share() {
        let name = |names: &[&str]| name_of(&names.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(
            name(&["configs/smoke-2x96.toml", "configs/smoke-4x64.toml"]),
            "smoke"
        );
        assert_eq!(name(&["configs/125m-30x576-gqa3.toml"]), "125m-30x576-gqa3");
        assert_eq!(name(&["a.toml", "b.toml"]), "sweep");
    }
}
