//! `slender sweep work`, `status`, `resume`, `retry` and `cancel`: what is done to a sweep directory that is there.

use crate::cli::executor::{ResumeArgs, RetryArgs, StatusArgs, WorkArgs};
use crate::commands::executor::{POLL, all_names, execute, name_of, read_manifest, this_program};
use crate::error::CliError;
use crate::output;
use slender_config::{DeviceSpec, plural};
use slender_sweep::slurm::{QueueEntry, SlurmClient, cover, end_hints, job_prefix, submissions};
use slender_sweep::{
    ClaimOptions, JobSource, LocalOptions, Manifest, Reporter, RunView, Slot, StateReader,
    StatusReport, Stop, SweepState, WorkEnd, cancel_workers, finish_report, is_over,
    refresh_report, retry_failed, run_local, source_for,
};
use slender_trainer::exit;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often a watched sweep asks Slurm, which many users share.
const ASK_SLURM: Duration = Duration::from_secs(30);

/// `slender sweep work`: one worker, for schedulers.
pub fn work(args: &WorkArgs) -> Result<i32, CliError> {
    let dir = &args.dir;
    let manifest = read_manifest(dir)?;
    let names: Vec<String> = match args.index {
        None => manifest.runs.iter().map(|run| run.name.clone()).collect(),
        Some(index) => match manifest.runs.get(index) {
            Some(run) => vec![run.name.clone()],
            None => {
                return Err(CliError::Usage(format!(
                    "--index {index}: the sweep has {}, counted from 0",
                    plural(manifest.runs.len(), "run")
                )));
            }
        },
    };
    if let Some(device) = &args.device {
        device.parse::<DeviceSpec>()?;
    }
    let slurm_cpus = std::env::var("SLURM_CPUS_PER_TASK").ok();
    let slot = Slot {
        threads: args.threads.or_else(|| slurm_cpus?.parse().ok()),
        yields: args.threads.is_none(),
        gpu: None,
    };
    let claims = ClaimOptions::default();
    let options = LocalOptions {
        dir: dir.clone(),
        program: this_program()?,
        device: args.device.clone(),
        slots: vec![slot],
        poll: POLL,
        claims,
        // Long enough for the claim of a worker whose node died to run out.
        patience: args.index.map(|_| claims.stale_after * 2),
    };
    let stop = Stop::on_signals().map_err(|error| CliError::Io("signals".into(), error))?;
    let reporter = Reporter::stderr();
    let end = run_local(
        &options,
        &|| match args.index {
            // An element of an array does its run to the end, whatever a search would say.
            Some(_) => source_for(
                &Manifest {
                    other: Default::default(),
                    ..manifest.clone()
                },
                &names,
            ),
            None => source_for(&manifest, &names),
        },
        &stop,
        &|event| reporter.show(event),
    )?;
    let state = SweepState::read(dir, &claims)?;
    let report = if is_over(whole(&manifest).as_mut(), &state) {
        finish_report(dir).map(drop)
    } else {
        refresh_report(dir, Duration::from_secs(30)).map(drop)
    };
    if let Err(error) = report {
        output::talk(&format!("warning: no report: {error}"));
    }
    Ok(match end {
        WorkEnd::Stopped => {
            if args.requeue && stop.only_warned() {
                requeue();
            }
            exit::INTERRUPTED
        }
        WorkEnd::Held => exit::LOCKED,
        WorkEnd::Done => {
            let failed = |run: &&RunView| run.failure.is_some() && names.contains(&run.name);
            match state.runs.iter().find(failed) {
                Some(_) => exit::FAILED,
                None => exit::FINISHED,
            }
        }
    })
}

/// What deals out the work of the whole sweep.
fn whole(manifest: &Manifest) -> Box<dyn JobSource> {
    let names: Vec<String> = manifest.runs.iter().map(|run| run.name.clone()).collect();
    source_for(manifest, &names)
}

/// Asks Slurm to run this job again. Where it refuses, `resume` submits the run anew.
fn requeue() {
    let Ok(job) = std::env::var("SLURM_JOB_ID") else {
        return;
    };
    output::talk("the time limit is near: back into the queue");
    if let Err(error) = SlurmClient::default().requeue(&job) {
        output::talk(&format!(
            "warning: {error}\n  hint: `slender sweep resume` submits it again"
        ));
    }
}

/// `slender sweep status`.
pub fn status(args: &StatusArgs) -> Result<i32, CliError> {
    let mut reader = StateReader::new(&args.dir, ClaimOptions::default());
    let stop = match args.watch {
        true => Stop::on_signals().map_err(|error| CliError::Io("signals".into(), error))?,
        false => Stop::new(),
    };
    let (mut said, mut remarks) = (String::new(), Remarks::default());
    loop {
        let report = look(&mut reader, args, &mut remarks)?;
        if args.json {
            output::json(&report.to_json());
        } else {
            let text = format!("{}{}\n", report.table(args.all), report.headline());
            if text != said {
                if args.watch && std::io::IsTerminal::is_terminal(&std::io::stdout()) {
                    output::data("\x1b[H\x1b[2J");
                }
                output::data(&text);
                said = text;
            }
        }
        if !args.watch || report.over || stop.requested() {
            return Ok(match (args.exit_code, report.over) {
                (false, _) => exit::FINISHED,
                (true, false) => exit::INTERRUPTED,
                (true, true) if report.failed() => exit::FAILED,
                (true, true) => exit::FINISHED,
            });
        }
        stop.sleep(Duration::from_secs_f64(args.interval.0));
    }
}

/// What Slurm last said, and when.
#[derive(Default)]
struct Remarks {
    asked: Option<Instant>,
    queued: BTreeMap<u32, QueueEntry>,
    hints: BTreeMap<u32, String>,
}

/// The run directories, and Slurm's remarks on them where the sweep has jobs.
fn look(
    reader: &mut StateReader,
    args: &StatusArgs,
    remarks: &mut Remarks,
) -> Result<StatusReport, CliError> {
    let manifest = read_manifest(&args.dir)?;
    let mut report = StatusReport::of(reader.read()?, whole(&manifest).as_mut());
    let open = !report.over;
    let due = remarks.asked.is_none_or(|at| at.elapsed() > ASK_SLURM);
    if open
        && due
        && !args.offline
        && let Some((id, submitted)) = submissions(&args.dir)?
        && !submitted.is_empty()
    {
        let client = SlurmClient::default();
        match client.queue() {
            Ok(queue) => {
                remarks.queued = cover(&queue, &job_prefix(&name_of(&args.dir), &id));
                remarks.hints = end_hints(&client, &submitted);
            }
            // The other commands would not answer either.
            Err(error) => output::talk(&format!("warning: {error}")),
        }
        remarks.asked = Some(Instant::now());
    }
    report.queued.clone_from(&remarks.queued);
    report.hints.clone_from(&remarks.hints);
    Ok(report)
}

/// `slender sweep resume`.
pub fn resume(args: &ResumeArgs) -> Result<i32, CliError> {
    let names = all_names(&args.dir)?;
    let device = args.device.as_deref();
    execute(
        &args.dir,
        &names,
        &args.executor,
        device,
        None,
        args.retry_failed,
    )
}

/// `slender sweep retry`.
pub fn retry(args: &RetryArgs) -> Result<i32, CliError> {
    let names = all_names(&args.dir)?;
    if args.runs.is_empty() && !args.failed {
        return Err(CliError::Usage(
            "no run is named\n  hint: name those to try again, or give --failed for all that failed"
                .into(),
        ));
    }
    if let Some(unknown) = args.runs.iter().find(|run| !names.contains(run)) {
        return Err(CliError::Usage(format!(
            "the sweep has no run `{unknown}`\n  hint: `slender sweep status {}` lists them",
            args.dir.display()
        )));
    }
    let wanted = (!args.failed).then_some(args.runs.as_slice());
    let retried = retry_failed(&args.dir, wanted, &ClaimOptions::default())?;
    if retried.is_empty() {
        output::talk("no run to try again: none of them has failed");
        return Ok(exit::FINISHED);
    }
    output::talk(&format!("to be tried again: {}", retried.join(", ")));
    if args.no_resume {
        return Ok(exit::FINISHED);
    }
    execute(
        &args.dir,
        &retried,
        &args.executor,
        args.device.as_deref(),
        None,
        false,
    )
}

/// `slender sweep cancel`.
pub fn cancel(dir: &Path) -> Result<i32, CliError> {
    let workers = cancel_workers(dir, &ClaimOptions::default())?;
    let mut jobs = 0;
    if let Some((id, _)) = submissions(dir)? {
        let client = SlurmClient::default();
        let live = cover(&client.queue()?, &job_prefix(&name_of(dir), &id));
        let names: Vec<String> = live
            .values()
            .map(|entry| format!("{}_{}", entry.element.array, entry.element.task))
            .collect();
        client.cancel(&names)?;
        jobs = names.len();
    }
    output::talk(&format!(
        "asked {} to write a checkpoint and leave, cancelled {}\n  hint: `slender sweep resume {}` goes on",
        plural(workers, "worker"),
        plural(jobs, "Slurm job"),
        dir.display()
    ));
    Ok(exit::FINISHED)
}
