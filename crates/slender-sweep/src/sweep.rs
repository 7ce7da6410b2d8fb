//! The sweep itself: every run through training and evaluation, several at once.
//!
//! Truth is the run directory. A run is done when its status says `finished` for this very
//! configuration and its evaluation covers the wanted tasks; anything else is handed to
//! `slender train` and `slender eval`, which resume what is half done and return at once from what
//! is whole. So a sweep that was killed at any moment is continued by starting it again.
//!
//! What the exit codes of `slender train` mean here:
//!
//! | code | meaning | the sweep |
//! |---|---|---|
//! | 0 | finished | evaluates |
//! | 2 | wrong use or configuration | records the failure |
//! | 70 | failed, such as a non-finite loss | records the failure |
//! | 73 | another process holds the run directory (an orphan of a killed sweep, or a second sweep) | waits and tries again, without a limit: the other process is making the progress |
//! | 75 | interrupted, with a checkpoint | resumes |
//! | killed by a signal from outside | preempted, out of memory, `kill -9` | resumes |
//!
//! Resuming stops after eight interruptions in a row none of which got beyond the furthest step so
//! far: enough for a machine under attack, and an end for a run that always runs out of memory.

use crate::child::{self, End, Stop};
use crate::collect::collect;
use crate::error::SweepError;
use crate::files::io;
use crate::manifest::{Failure, Manifest, Stage};
use crate::plan::{PlannedRun, SweepOptions, plan};
use crate::progress::Event;
use crate::report::{ReportFiles, write_report};
use crate::results::SweepResults;
use crate::rundir::{Status, StatusState, TaskFile};
use slender_config::Config;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Interruptions in a row without progress after which a run counts as failed.
const MOST_STALLS: u32 = 8;

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

/// Trains and evaluates every configuration, then writes the report.
///
/// The report is also rewritten after every run, so that a long sweep can be watched.
///
/// # Errors
/// Problems of the configurations (before anything starts), a sweep directory that cannot be
/// written, or a slender program that cannot be started. Failed runs are part of the outcome.
pub fn run_sweep(
    options: &SweepOptions,
    stop: &Stop,
    progress: &(dyn Fn(&Event) + Sync),
) -> Result<SweepOutcome, SweepError> {
    let runs = plan(options)?;
    if !options.is_directory() {
        Manifest::merge_plan(&options.dir, &runs, options.source())?;
    }
    let jobs = options.jobs.clamp(1, runs.len());
    progress(&Event::Planned {
        runs: runs.len(),
        jobs,
        threads: options.threads_per_run(),
    });
    let sweep = Sweep {
        options,
        stop,
        progress,
        manifest: Mutex::new(()),
    };
    let next = AtomicUsize::new(0);
    let outcomes: Vec<Mutex<Option<Result<RunOutcome, SweepError>>>> =
        runs.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let index = runs.iter().position(|other| other.name == run.name);
                    let outcome = sweep.process(run);
                    sweep.refresh_report();
                    if let Some(slot) = index.and_then(|index| outcomes[index].lock().ok()).as_mut()
                    {
                        **slot = Some(outcome);
                    }
                }
            });
        }
    });
    let mut named = Vec::new();
    for (run, slot) in runs.iter().zip(outcomes) {
        let outcome = slot.into_inner().ok().flatten();
        named.push((
            run.name.clone(),
            outcome.unwrap_or(Ok(RunOutcome::Interrupted))?,
        ));
    }
    let results = collect(&options.dir)?;
    let report = write_report(&results, &options.dir)?;
    Ok(SweepOutcome {
        runs: named,
        interrupted: stop.requested(),
        results,
        report,
    })
}

/// What the workers share.
struct Sweep<'a> {
    options: &'a SweepOptions,
    stop: &'a Stop,
    progress: &'a (dyn Fn(&Event) + Sync),
    /// Guards `sweep.json` and the report, which several workers rewrite.
    manifest: Mutex<()>,
}

impl Sweep<'_> {
    /// One run from whatever state it is in to its outcome.
    fn process(&self, run: &PlannedRun) -> Result<RunOutcome, SweepError> {
        if self.stop.requested() {
            return Ok(self.interrupted(run));
        }
        std::fs::create_dir_all(&run.dir).map_err(|source| io("create", &run.dir, source))?;
        let trained = self.is_trained(run);
        if trained && is_evaluated(run) {
            self.finish(run, true)?;
            return Ok(RunOutcome::Finished { before: true });
        }
        if !self.options.retry_failed
            && let Some(failure) = earlier_failure(run)
        {
            return self.fail(run, failure, true);
        }
        if !trained {
            match self.train(run)? {
                Stopped::No => {}
                Stopped::Failed(failure) => return self.fail(run, failure, false),
                Stopped::OnRequest => return Ok(self.interrupted(run)),
            }
        }
        if !run.facts.tasks.is_empty() {
            match self.evaluate(run)? {
                Stopped::No => {}
                Stopped::Failed(failure) => return self.fail(run, failure, false),
                Stopped::OnRequest => return Ok(self.interrupted(run)),
            }
        }
        self.finish(run, false)?;
        Ok(RunOutcome::Finished { before: false })
    }

    fn train(&self, run: &PlannedRun) -> Result<Stopped, SweepError> {
        self.drive(run, Stage::Train, || {
            let mut command = Command::new(&self.options.program);
            let config = self.options.dir.join(run.relative_config());
            command.arg("train").arg(config);
            command.arg("--run-dir").arg(&run.dir);
            if let Some(threads) = self.options.threads_per_run() {
                command.arg("--set").arg(format!("run.threads={threads}"));
            }
            command
        })
    }

    fn evaluate(&self, run: &PlannedRun) -> Result<Stopped, SweepError> {
        self.drive(run, Stage::Eval, || {
            let mut command = Command::new(&self.options.program);
            command.arg("eval").arg(&run.dir);
            command.args(["--from-config", "--save"]);
            command
        })
    }

    /// Runs a stage's command until it is done, has failed, or the sweep is to stop.
    fn drive(
        &self,
        run: &PlannedRun,
        stage: Stage,
        command: impl Fn() -> Command,
    ) -> Result<Stopped, SweepError> {
        let log = run.dir.join("log.txt");
        let name = || run.name.clone();
        let mut stalls = 0;
        let mut furthest = steps_done(run);
        let mut waiting = 0;
        loop {
            if self.stop.requested() {
                return Ok(Stopped::OnRequest);
            }
            let from_step = steps_done(run);
            if waiting == 0 {
                self.say(Event::Started {
                    run: name(),
                    stage,
                    from_step,
                });
            }
            let (end, log_tail) = child::run(&mut command(), &log, self.stop, || {
                if stage == Stage::Train
                    && let Ok(Some(status)) = Status::read(&run.dir)
                {
                    self.say(Event::Beat {
                        run: name(),
                        status,
                    });
                }
            })?;
            // What was wrong, rather than the hint that follows it.
            let error = log_tail
                .iter()
                .rev()
                .find(|line| line.starts_with("error: "));
            let last_line = error.or(log_tail.last()).map(|line| line.trim().to_owned());
            let fail = move |code, message| {
                Ok(Stopped::Failed(Failure {
                    stage,
                    code,
                    message,
                    log_tail,
                }))
            };
            match end {
                End::Done if stage == Stage::Eval && TaskFile::read(&run.dir)?.is_none() => {
                    return fail(Some(0), "it ended without writing eval/final.json".into());
                }
                End::Done if stage == Stage::Train && !says_finished(run) => {
                    return fail(Some(0), "it ended without finishing the run".into());
                }
                End::Done => return Ok(Stopped::No),
                _ if self.stop.requested() => return Ok(Stopped::OnRequest),
                End::Locked => {
                    if waiting == 0 {
                        self.say(Event::Locked { run: name() });
                    }
                    self.stop
                        .sleep(self.options.lock_poll * (1 << waiting.min(4)));
                    waiting += 1;
                }
                End::Interrupted | End::Killed(_) => {
                    waiting = 0;
                    // A kill costs the steps since the last checkpoint: compare with the furthest.
                    let reached = steps_done(run);
                    stalls = if reached > furthest { 0 } else { stalls + 1 };
                    furthest = furthest.max(reached);
                    let why = match end {
                        End::Killed(signal) => format!("killed by signal {signal}"),
                        _ => "interrupted".into(),
                    };
                    if stalls >= MOST_STALLS {
                        let message = format!(
                            "{why} {stalls} times without a step of progress; memory may be short"
                        );
                        return fail(None, message);
                    }
                    self.say(Event::Resuming { run: name(), why });
                }
                End::Failed { code, what } => {
                    let said = Status::read(&run.dir).ok().flatten();
                    let said = said
                        .filter(|_| stage == Stage::Train)
                        .filter(|status| status.state == StatusState::Failed)
                        .and_then(|status| status.error);
                    let last = said.or(last_line);
                    let message = match last {
                        Some(last) => format!("{last} ({what})"),
                        None => what,
                    };
                    return fail(code, message);
                }
            }
        }
    }

    /// Whether the run directory holds this very configuration, trained to its end.
    fn is_trained(&self, run: &PlannedRun) -> bool {
        says_finished(run)
            && Config::load(&run.dir.join("config.toml"), &[])
                .is_ok_and(|config| run.config.differing_keys(&config).is_empty())
    }

    fn finish(&self, run: &PlannedRun, before: bool) -> Result<(), SweepError> {
        self.record(run, None)?;
        let status = Status::read(&run.dir).ok().flatten();
        self.say(Event::Finished {
            run: run.name.clone(),
            valid_loss: status.and_then(|status| status.valid_loss),
            before,
        });
        Ok(())
    }

    fn fail(
        &self,
        run: &PlannedRun,
        failure: Failure,
        before: bool,
    ) -> Result<RunOutcome, SweepError> {
        if !before {
            self.record(run, Some(&failure))?;
        }
        self.say(Event::Failed {
            run: run.name.clone(),
            failure: failure.clone(),
            before,
            log: run.dir.join("log.txt"),
        });
        Ok(RunOutcome::Failed(failure))
    }

    fn interrupted(&self, run: &PlannedRun) -> RunOutcome {
        self.say(Event::Interrupted {
            run: run.name.clone(),
            step: steps_done(run),
        });
        RunOutcome::Interrupted
    }

    fn record(&self, run: &PlannedRun, failure: Option<&Failure>) -> Result<(), SweepError> {
        let _guard = self.manifest.lock();
        Manifest::set_failure(&self.options.dir, &run.name, failure)
    }

    /// Rewrites the report from what is there so far; a problem with it does not stop the sweep.
    fn refresh_report(&self) {
        let _guard = self.manifest.lock();
        let dir = &self.options.dir;
        if let Err(error) = collect(dir).and_then(|results| write_report(&results, dir)) {
            self.say(Event::Warning(format!(
                "the report was not written: {error}"
            )));
        }
    }

    fn say(&self, event: Event) {
        (self.progress)(&event);
    }
}

/// Why a stage's work is over.
enum Stopped {
    /// It is done.
    No,
    /// It failed.
    Failed(Failure),
    /// The sweep was asked to stop.
    OnRequest,
}

fn steps_done(run: &PlannedRun) -> u64 {
    let status = Status::read(&run.dir).ok().flatten();
    status.map_or(0, |status| status.step)
}

fn says_finished(run: &PlannedRun) -> bool {
    let status = Status::read(&run.dir).ok().flatten();
    status.is_some_and(|status| status.state == StatusState::Finished)
}

fn is_evaluated(run: &PlannedRun) -> bool {
    let Ok(file) = TaskFile::read(&run.dir) else {
        return false;
    };
    let has = |task: &String| file.as_ref().is_some_and(|f| f.results.contains_key(task));
    run.facts.tasks.iter().all(has)
}

/// A failure that the run directory itself states, from before this sweep.
fn earlier_failure(run: &PlannedRun) -> Option<Failure> {
    let status = Status::read(&run.dir).ok().flatten()?;
    (status.state == StatusState::Failed).then(|| Failure {
        stage: Stage::Train,
        code: None,
        message: status.error.unwrap_or_else(|| "no reason given".into()),
        log_tail: Vec::new(),
    })
}
