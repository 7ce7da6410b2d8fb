//! The executors behind `slender sweep run`, `resume` and `retry`: this machine, Slurm, or nobody, when
//! what would be submitted is only printed.

use crate::cli::executor::{ExecutorArgs, ExecutorKind, PrintKind};
use crate::error::CliError;
use crate::output;
use serde_json::{Value, json};
use slender_config::sweep::SweepFile;
use slender_config::{DeviceSpec, plural};
use slender_sweep::slurm::{
    DEFAULT_MAX_ARRAY, SlurmClient, SlurmSettings, SlurmWork, job_prefix, printed, sbatch_scripts,
    submissions, submit,
};
use slender_sweep::{
    ClaimOptions, KubernetesWork, LocalOptions, Manifest, Reporter, Slot, Stop, SweepError,
    SweepState, continue_sweep, finish_report, indexed_job, is_over, is_search, retry_failed,
    source_for, visible_gpus,
};
use slender_trainer::exit;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How soon a worker looks again when others have all that is left.
pub const POLL: Duration = Duration::from_secs(2);

/// Jobs of a search on a cluster, unless said otherwise.
const WORKERS: u32 = 4;

/// What a sweep directory remembers of its executor, in `sweep.json`.
struct Remembered {
    kind: ExecutorKind,
    jobs: usize,
    gpus: Option<String>,
    workers: u32,
    slurm: SlurmSettings,
    /// Whether the directory knew that it is for Slurm.
    known_slurm: bool,
    device: Option<String>,
}

/// Works on the runs `names` of `dir` with the executor of the arguments; returns the exit code.
///
/// `source` is the sweep's file, whose `[slurm]` counts where `--slurm` is not given.
pub fn execute(
    dir: &Path,
    names: &[String],
    args: &ExecutorArgs,
    device: Option<&str>,
    source: Option<&Path>,
    retry: bool,
) -> Result<i32, CliError> {
    let remembered = remember(dir, args, device, source)?;
    match remembered.kind {
        ExecutorKind::Local => local(dir, names, &remembered, retry),
        ExecutorKind::Slurm => slurm(dir, names, &remembered, retry),
        ExecutorKind::Print => print(dir, names, &remembered, args),
    }
}

/// Arguments over what the directory remembers.
fn remember(
    dir: &Path,
    args: &ExecutorArgs,
    device: Option<&str>,
    source: Option<&Path>,
) -> Result<Remembered, CliError> {
    let manifest = read_manifest(dir)?;
    let before = manifest.other.get("executor").cloned().unwrap_or_default();
    let text = |key: &str| before.get(key).and_then(Value::as_str).map(str::to_owned);
    let kind = match (args.print, args.executor) {
        (Some(_), _) => ExecutorKind::Print,
        (None, Some(kind)) => kind,
        (None, None) if text("kind").as_deref() == Some("slurm") => ExecutorKind::Slurm,
        (None, None) => ExecutorKind::Local,
    };
    if let Some(device) = device {
        device.parse::<DeviceSpec>()?;
    }
    let mut slurm = match (&args.slurm, source, before.get("slurm")) {
        (Some(file), _, _) => SlurmSettings::load(file)?,
        (None, Some(file), _) => SlurmSettings::of(SweepFile::read(file)?.merged())?,
        (None, None, Some(known)) => serde_json::from_value(known.clone()).unwrap_or_default(),
        (None, None, None) => SlurmSettings::default(),
    };
    check_counts(args)?;
    slurm.throttle = args.throttle.or(slurm.throttle);
    let jobs = before.get("jobs").and_then(Value::as_u64).unwrap_or(1);
    let workers = before.get("workers").and_then(Value::as_u64);
    let workers = workers.and_then(|workers| u32::try_from(workers).ok());
    let now = Remembered {
        kind,
        known_slurm: text("kind").as_deref() == Some("slurm"),
        workers: args.workers.or(workers).unwrap_or(WORKERS).max(1),
        jobs: args.jobs.unwrap_or(jobs as usize).max(1),
        gpus: args.gpus.clone().or_else(|| text("gpus")),
        slurm,
        device: device.map(str::to_owned).or_else(|| text("device")),
    };
    Ok(now)
}

/// What can be wrong with the arguments, before a sweep directory is written.
pub fn check(args: &ExecutorArgs) -> Result<(), CliError> {
    check_counts(args)?;
    if let Some(file) = &args.slurm {
        SlurmSettings::load(file)?;
    }
    if args.gpus.is_some() {
        visible_gpus(args.gpus.as_deref()).map_err(CliError::Usage)?;
    }
    Ok(())
}

fn check_counts(args: &ExecutorArgs) -> Result<(), CliError> {
    if args.throttle == Some(0) || args.jobs == Some(0) || args.workers == Some(0) {
        return Err(CliError::Usage(
            "--throttle, --jobs and --workers are at least 1".into(),
        ));
    }
    Ok(())
}

impl Remembered {
    /// Has the sweep directory know it, for `resume`.
    fn keep(&self, dir: &Path) -> Result<(), CliError> {
        let kind = match self.kind {
            ExecutorKind::Slurm => "slurm",
            _ => "local",
        };
        let executor = json!({
            "kind": kind, "jobs": self.jobs, "gpus": self.gpus, "slurm": self.slurm, "device": self.device,
            "workers": self.workers,
        });
        Manifest::update(dir, |manifest| {
            manifest.other.insert("executor".into(), executor);
            Ok(())
        })?;
        Ok(())
    }
}

fn local(dir: &Path, names: &[String], how: &Remembered, retry: bool) -> Result<i32, CliError> {
    let manifest = read_manifest(dir)?;
    let jobs = how.jobs.min(names.len().max(1));
    let gpus = visible_gpus(how.gpus.as_deref()).map_err(CliError::Usage)?;
    how.keep(dir)?;
    // With one job, the configuration decides.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let options = LocalOptions {
        dir: dir.to_owned(),
        program: this_program()?,
        device: how.device.clone(),
        slots: Slot::deal(jobs, (jobs > 1).then_some(cores), &gpus),
        poll: POLL,
        claims: ClaimOptions::default(),
        patience: None,
    };
    let stop = Stop::on_signals().map_err(|error| CliError::Io("signals".into(), error))?;
    let reporter = Reporter::stderr();
    let source = || source_for(&manifest, names);
    let outcome = continue_sweep(&options, names, retry, &source, &stop, &|event| {
        reporter.show(event)
    })?;
    output::data(&format!(
        "{}\n{}\n",
        outcome.report.html.display(),
        outcome.report.results.display()
    ));
    Ok(if outcome.interrupted {
        exit::INTERRUPTED
    } else if outcome.failed().next().is_some() {
        exit::FAILED
    } else {
        exit::FINISHED
    })
}

fn slurm(dir: &Path, names: &[String], how: &Remembered, retry: bool) -> Result<i32, CliError> {
    if retry {
        retry_failed(dir, Some(names), &ClaimOptions::default())?;
    }
    let manifest = read_manifest(dir)?;
    let search = is_search(&manifest);
    let state = SweepState::read(dir, &ClaimOptions::default())?;
    // Elements of a search do whatever it asks for, so it is asked about all of its runs.
    let all: Vec<String> = state.runs.iter().map(|run| run.name.clone()).collect();
    let over = search && is_over(source_for(&manifest, &all).as_mut(), &state);
    let mut wanted = Vec::new();
    let (mut done, mut failed, mut busy, mut paused) = (0, 0, 0, 0);
    for (index, run) in state.runs.iter().enumerate() {
        if !names.contains(&run.name) {
            continue;
        }
        if run.is_done() {
            done += 1;
        } else if run.busy {
            busy += 1;
        } else if run.failure.is_some() {
            failed += 1;
        } else if over {
            paused += 1;
        } else {
            wanted.push(index as u32);
        }
    }
    let said = |number: usize, what: &str| match number {
        0 => String::new(),
        number => format!(", {number} {what}"),
    };
    let rest = format!(
        "{}{}{}{}",
        said(done, "finished"),
        said(paused, "not to go on, says the search"),
        said(busy, "being worked on"),
        said(failed, "failed (retry --failed tries them again)")
    );
    if wanted.is_empty() {
        output::talk(&format!("nothing to submit{rest}"));
        let code = if failed > 0 && busy == 0 {
            exit::FAILED
        } else {
            exit::FINISHED
        };
        if busy == 0 {
            finish_report(dir)?;
        }
        return Ok(code);
    }
    let work = slurm_work(dir, how, Vec::new())?;
    let places: &[u32] = if search { &[] } else { &wanted };
    let client = SlurmClient::default();
    // `resume` is to go to Slurm even if this fails, but rather with settings that Slurm has taken before.
    if !how.known_slurm {
        how.keep(dir)?;
    }
    let submission = submit(&client, &how.slurm, work, &name_of(dir), places);
    if let Err(SweepError::Slurm { command, .. }) = &submission
        && command == "sbatch"
    {
        output::talk(&format!(
            "nothing runs: Slurm has refused the job\n  hint: correct the settings, then `slender sweep resume {} --slurm FILE`",
            dir.display()
        ));
    }
    let (submitted, live) = submission?;
    how.keep(dir)?;
    for each in &submitted {
        output::data(&format!("{}\n", each.job));
        output::talk(&format!("submitted {}", each.describe()));
    }
    let queued = said(live, "in the queue already");
    let left = match search {
        true => format!("{} of the search left", plural(wanted.len(), "trial")),
        false => format!("{} to do", plural(wanted.len(), "run")),
    };
    output::talk(&format!(
        "{left}{queued}{rest}\n  hint: `slender sweep status {} --watch` shows them",
        dir.display()
    ));
    Ok(exit::FINISHED)
}

/// Prints what would be submitted.
fn print(
    dir: &Path,
    names: &[String],
    how: &Remembered,
    args: &ExecutorArgs,
) -> Result<i32, CliError> {
    let manifest = read_manifest(dir)?;
    let search = is_search(&manifest);
    let state = SweepState::read(dir, &ClaimOptions::default())?;
    let places = state.runs.iter().enumerate();
    let wanted: Vec<u32> = places
        .filter(|(_, run)| names.contains(&run.name) && !search && !run.is_done())
        .map(|(index, _)| index as u32)
        .collect();
    let all: Vec<String> = state.runs.iter().map(|run| run.name.clone()).collect();
    let over = match search {
        true => is_over(source_for(&manifest, &all).as_mut(), &state),
        false => wanted.is_empty(),
    };
    if over {
        output::talk("nothing to print: every run is finished");
        return Ok(exit::FINISHED);
    }
    if args.print == Some(PrintKind::Kubernetes) {
        let dir = absolute(dir)?;
        let mount = args.mount.clone();
        let mount = mount.unwrap_or_else(|| dir.parent().unwrap_or(&dir).to_owned());
        let (name, device) = (name_of(&dir), how.device.as_deref());
        let work = KubernetesWork {
            name: &name,
            dir: &dir,
            image: &args.image,
            volume: &args.volume,
            mount: &mount,
            completions: if search {
                how.workers as usize
            } else {
                manifest.runs.len()
            },
            indexed: !search,
            device,
        };
        output::data(&indexed_job(&work, &how.slurm));
    } else {
        let mut work = slurm_work(dir, how, wanted)?;
        let id = submissions(dir)?.map_or_else(|| "print".to_owned(), |(id, _)| id);
        work.prefix = job_prefix(&name_of(dir), &id);
        // Slurm does not make the folder of its logs, and fails jobs that it is missing for.
        let logs = work.dir.join("slurm/logs");
        std::fs::create_dir_all(&logs)
            .map_err(|error| CliError::Io(logs.display().to_string(), error))?;
        output::data(&printed(&sbatch_scripts(
            &work,
            &how.slurm,
            DEFAULT_MAX_ARRAY,
        )));
    }
    Ok(exit::FINISHED)
}

fn slurm_work(dir: &Path, how: &Remembered, indices: Vec<u32>) -> Result<SlurmWork, CliError> {
    let cwd = std::env::current_dir().map_err(|error| CliError::Io("this folder".into(), error))?;
    Ok(SlurmWork {
        dir: absolute(dir)?,
        program: this_program()?,
        cwd,
        prefix: String::new(),
        device: how.device.clone(),
        indices,
        workers: how.workers,
    })
}

/// The index of a sweep directory.
pub fn read_manifest(dir: &Path) -> Result<Manifest, CliError> {
    Manifest::read(dir)?.ok_or_else(|| {
        CliError::Sweep(SweepError::NotASweep {
            path: dir.to_owned(),
        })
    })
}

/// Names of all its runs.
pub fn all_names(dir: &Path) -> Result<Vec<String>, CliError> {
    Ok(read_manifest(dir)?
        .runs
        .into_iter()
        .map(|run| run.name)
        .collect())
}

/// This program, for child processes.
pub fn this_program() -> Result<PathBuf, CliError> {
    std::env::current_exe().map_err(|error| CliError::Io("this program".into(), error))
}

fn absolute(dir: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(dir).map_err(|error| CliError::Io(dir.display().to_string(), error))
}

/// Name of a sweep: its directory's.
pub fn name_of(dir: &Path) -> String {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let name = absolute.file_name();
    name.map_or_else(
        || "sweep".into(),
        |name| name.to_string_lossy().into_owned(),
    )
}
