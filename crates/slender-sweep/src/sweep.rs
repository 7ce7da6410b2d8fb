//! The sweep itself: every run through training and evaluation, several at once.
//!
//! Truth is the run directory. A run is done when its status says `finished` and its evaluation
//! covers the wanted tasks; anything else is handed to `slender train` and `slender eval`, which
//! resume what is half done and return at once from what is whole. So a sweep that was killed at any
//! moment is continued by starting it again, and two at once share the work.

use crate::child::Stop;
use crate::error::SweepError;
use crate::jobs::{JobSource, source_for};
use crate::local::{LocalOptions, finish_report, run_local};
use crate::manifest::{Failure, Manifest};
use crate::plan::{PlannedRun, SweepOptions, plan};
use crate::progress::Event;
use crate::report::ReportFiles;
use crate::results::SweepResults;
use crate::slots::Slot;
use crate::state::{RunView, SweepState};
use crate::worker::{failed, finished, retry_failed};

/// How one run came out of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub enum RunOutcome {
    /// Trained and evaluated.
    Finished {
        /// Whether nothing was left to do.
        before: bool,
    },
    /// Failed, now or in an earlier sweep that was not to be repeated.
    Failed(Failure),
    /// Stopped on request, or never reached.
    Interrupted,
}

/// How a sweep came out.
#[derive(Clone, Debug)]
pub struct SweepOutcome {
    /// Name and outcome of every run of this sweep, in the order of its configurations.
    pub runs: Vec<(String, RunOutcome)>,
    /// Whether the sweep was asked to stop.
    pub interrupted: bool,
    /// Everything that was measured in the sweep directory.
    pub results: SweepResults,
    /// Where the report is.
    pub report: ReportFiles,
}

impl SweepOutcome {
    /// Names of the runs that failed.
    pub fn failed(&self) -> impl Iterator<Item = &str> {
        let failed = |outcome: &RunOutcome| matches!(outcome, RunOutcome::Failed(_));
        let runs = self.runs.iter().filter(move |(_, outcome)| failed(outcome));
        runs.map(|(name, _)| name.as_str())
    }
}

/// Checks the configurations and writes them into the sweep directory, ready for workers. Returns the
/// names of the runs, in order.
///
/// # Errors
/// Problems of the configurations, or a sweep directory that cannot be written.
pub fn prepare_sweep(options: &SweepOptions) -> Result<Vec<String>, SweepError> {
    let runs = plan(options)?;
    if options.is_directory() {
        return Ok(runs.into_iter().map(|run| run.name).collect());
    }
    std::fs::create_dir_all(&options.dir).map_err(|source| SweepError::Dir {
        path: options.dir.clone(),
        source,
    })?;
    let before = Manifest::read(&options.dir)?;
    Manifest::merge_plan(&options.dir, &runs, options.source())?;
    // A run that failed with another configuration has not failed with this one.
    let changed = |run: &&PlannedRun| {
        let known = before.iter().flat_map(|manifest| &manifest.runs);
        let mut known = known.filter(|known| known.name == run.name);
        known.any(|known| known.identity != run.identity)
    };
    let mended: Vec<String> = runs
        .iter()
        .filter(changed)
        .map(|run| run.name.clone())
        .collect();
    if !mended.is_empty() {
        retry_failed(&options.dir, Some(&mended), &options.claims)?;
    }
    Ok(runs.into_iter().map(|run| run.name).collect())
}

/// Trains and evaluates every configuration, then writes the report.
///
/// # Errors
/// Problems of the configurations (before anything starts), a sweep directory that cannot be
/// written, or a slender program that cannot be started. Failed runs are part of the outcome.
pub fn run_sweep(
    options: &SweepOptions,
    stop: &Stop,
    progress: &(dyn Fn(&Event) + Sync),
) -> Result<SweepOutcome, SweepError> {
    let names = prepare_sweep(options)?;
    let jobs = options.jobs.clamp(1, names.len());
    let threads = options.threads_per_run();
    let local = LocalOptions {
        dir: options.dir.clone(),
        program: options.program.clone(),
        // The configurations that the sweep directory keeps name it.
        device: None,
        slots: Slot::deal(jobs, threads.map(|each| each * jobs), &options.gpus),
        poll: options.lock_poll,
        claims: options.claims,
        patience: None,
    };
    let Some(manifest) = Manifest::read(&options.dir)? else {
        let path = options.dir.clone();
        return Err(SweepError::NotASweep { path });
    };
    let source = || source_for(&manifest, &names);
    continue_sweep(
        &local,
        &names,
        options.retry_failed,
        &source,
        stop,
        progress,
    )
}

/// Works on the runs `names` of a sweep directory that exists already, then writes the report.
///
/// # Errors
/// As [`run_sweep`].
pub fn continue_sweep(
    options: &LocalOptions,
    names: &[String],
    retry: bool,
    source: &(dyn Fn() -> Box<dyn JobSource> + Sync),
    stop: &Stop,
    progress: &(dyn Fn(&Event) + Sync),
) -> Result<SweepOutcome, SweepError> {
    let dir = &options.dir;
    progress(&Event::Planned {
        runs: names.len(),
        jobs: options.slots.len(),
        threads: options.slots.first().and_then(|slot| slot.threads),
    });
    if retry {
        retry_failed(dir, Some(names), &options.claims)?;
    }
    let before = SweepState::read(dir, &options.claims)?;
    let done_before = |name: &str| before.run(name).is_some_and(RunView::is_done);
    for run in before.runs.iter().filter(|run| names.contains(&run.name)) {
        match &run.failure {
            Some(failure) if !run.busy => progress(&failed(run, failure.clone(), true)),
            _ if run.is_done() => progress(&finished(run, true)),
            _ => {}
        }
    }
    run_local(options, source, stop, progress)?;
    let (results, report) = finish_report(dir)?;
    let after = SweepState::read(dir, &options.claims)?;
    let outcome = |name: &String| {
        let run = after.run(name);
        let failure = run.and_then(|run| run.failure.clone());
        let outcome = match (run, failure) {
            (_, Some(failure)) => RunOutcome::Failed(failure),
            (Some(run), None) if run.is_done() => RunOutcome::Finished {
                before: done_before(name),
            },
            _ => RunOutcome::Interrupted,
        };
        (name.clone(), outcome)
    };
    Ok(SweepOutcome {
        runs: names.iter().map(outcome).collect(),
        interrupted: stop.requested(),
        results,
        report,
    })
}
