//! A worker: asks what is to be done, claims it, does it, writes down how it went, and asks again.
//!
//! Any number of workers, in one process or in many, on one machine or on many, may work on one
//! sweep directory. None of them knows of the others; all of them read the run directories.
//!
//! What the exit codes of `slender train` mean here:
//!
//! | code | meaning | the worker |
//! |---|---|---|
//! | 0 | finished, or paused where it was asked to | goes on with the next job |
//! | 2 | wrong use or configuration | records the failure |
//! | 70 | failed, such as a non-finite loss | records the failure |
//! | 73 | another process holds the run directory (the orphan of a killed worker, or a person) | does something else and comes back |
//! | 75 | interrupted, with a checkpoint | resumes |
//! | killed by a signal from outside | preempted, out of memory, `kill -9` | resumes |
//!
//! Resuming stops after eight interruptions in a row none of which got beyond the furthest step so
//! far, or after 24 whose worker went away as well: enough for a machine under attack, and an end
//! for a run that always runs out of memory. The count is kept in `attempts.jsonl`.

use crate::attempts::{AttemptLine, Attempts, Ending, Stalls};
use crate::child::{self, End, Stop};
use crate::claim::{Claim, ClaimOptions, FileClock, is_training, job_name};
use crate::error::SweepError;
use crate::files::io;
use crate::holder::{host, unix_time};
use crate::jobs::{Job, JobSource, Next};
use crate::manifest::{Failure, Stage};
use crate::progress::Event;
use crate::rundir::{Status, StatusState};
use crate::slots::Slot;
use crate::state::{Phase, RunView, StateReader, SweepState};
use rustix::process::Signal;
use slender_config::Config;
use std::cell::Cell;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

/// Interruptions in a row without progress, seen by the worker, after which a run counts as failed.
const MOST_STALLS: u32 = 8;
/// The same, with those whose worker went away too.
const MOST_UNSEEN_STALLS: u32 = 24;

/// Its modification time is when the sweep was last cancelled.
const CANCEL_FILE: &str = "cancel";

/// What a worker needs to know beside the sweep directory.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// The sweep directory.
    pub dir: PathBuf,
    /// The slender program.
    pub program: PathBuf,
    /// Device, if it is to differ from the configurations'.
    pub device: Option<String>,
    /// Where it runs.
    pub slot: Slot,
    /// How soon it asks again when nothing can be done; the wait doubles each time, up to sixteen
    /// times this.
    pub poll: Duration,
    /// How claims are kept.
    pub claims: ClaimOptions,
}

/// How a worker's time ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkEnd {
    /// Its source said that nothing is left to do.
    Done,
    /// It was asked to stop.
    Stopped,
    /// Others have all that is left, and it was not to wait for them.
    Held,
}

/// Works on a sweep directory.
pub struct Worker<'a> {
    options: &'a WorkerOptions,
    stop: &'a Stop,
    progress: &'a (dyn Fn(&Event) + Sync),
    /// When it began, by the file system's clock.
    began: Cell<Option<SystemTime>>,
}

/// What came of a job.
enum Outcome {
    /// Something was done, well or badly; the directories say what.
    Moved,
    /// Another worker has the run.
    Taken,
    /// A training that belongs to no worker has it.
    Locked,
}

impl<'a> Worker<'a> {
    /// A worker that says what it does to `progress`.
    pub fn new(
        options: &'a WorkerOptions,
        stop: &'a Stop,
        progress: &'a (dyn Fn(&Event) + Sync),
    ) -> Self {
        Self {
            options,
            stop,
            progress,
            began: Cell::new(None),
        }
    }

    /// Does what `source` hands out until nothing is left or someone asks to stop. `patience` is how
    /// long it waits while others have all that is left; `None` waits for ever.
    ///
    /// # Errors
    /// The sweep directory cannot be read or written, or the program cannot be started. Failed runs
    /// are no error: the directories tell of them.
    pub fn work(
        &self,
        source: &mut dyn JobSource,
        patience: Option<Duration>,
    ) -> Result<WorkEnd, SweepError> {
        let mut reader = StateReader::new(&self.options.dir, self.options.claims);
        self.began.set(Some(FileClock::of(&self.options.dir).now()));
        let (mut waits, mut waited) = (0, Duration::ZERO);
        loop {
            if self.is_cancelled() || self.stop.requested() {
                return Ok(WorkEnd::Stopped);
            }
            let state = reader.read()?;
            match source.next(&state) {
                Next::Done => return Ok(WorkEnd::Done),
                Next::Job(job) => {
                    let Some(run) = state.run(&job.run) else {
                        return Err(unknown_run(&state, &job));
                    };
                    match self.attempt(&job, run)? {
                        Outcome::Moved => {
                            reader.welcome(&job.run);
                            (waits, waited) = (0, Duration::ZERO);
                        }
                        Outcome::Taken => _ = reader.avoid(&job.run, self.options.poll),
                        Outcome::Locked => {
                            if reader.avoid(&job.run, self.options.poll) == 1 {
                                self.say(Event::Locked { run: job.run });
                            }
                        }
                    }
                }
                Next::Wait => {
                    if patience.is_some_and(|patience| waited >= patience) {
                        return Ok(WorkEnd::Held);
                    }
                    if waits == 0 {
                        let busy = state.runs.iter().filter(|run| run.busy);
                        let runs = busy.map(|run| run.name.clone()).collect();
                        self.say(Event::Waiting { runs });
                    }
                    let pause = self.options.poll * (1 << waits.min(4));
                    self.stop.sleep(pause);
                    waited += pause;
                    waits += 1;
                }
            }
        }
    }

    /// One start of one stage of one run.
    fn attempt(&self, job: &Job, run: &RunView) -> Result<Outcome, SweepError> {
        std::fs::create_dir_all(&run.dir).map_err(|source| io("create", &run.dir, source))?;
        let clock = FileClock::of(&self.options.dir);
        let Some(mut claim) = Claim::take(&run.dir, job.stage, &clock, &self.options.claims)?
        else {
            return Ok(Outcome::Taken);
        };
        if is_training(&run.dir) {
            return Ok(Outcome::Locked);
        }
        // What was true before the claim need not be true any more.
        let now = self.look(run, &clock);
        if job.is_done(&now) || (now.failure.is_some() && run.failure.is_none()) {
            return Ok(Outcome::Moved);
        }
        self.say(Event::Started {
            run: run.name.clone(),
            stage: job.stage,
            from_step: now.step(),
        });
        Attempts::append(
            &run.dir,
            &AttemptLine::Start {
                stage: job.stage,
                until: job.until,
                host: host(),
                pid: std::process::id(),
                job: job_name(),
                from_step: now.step(),
                at: unix_time(),
            },
        )?;
        let (ask, mut lost) = match job.stage {
            Stage::Train => (Signal::USR1, false),
            // It keeps its scores as it goes, and has nothing to say on leaving.
            Stage::Eval => (Signal::TERM, false),
        };
        let log = run.dir.join("log.txt");
        let mut announced = false;
        let mut command = self.command(job, run);
        let (end, tail) = child::run(&mut command, &log, self.stop, ask, |asked| {
            lost = !claim.beat();
            if asked && !announced {
                announced = true;
                self.say(Event::Stopping {
                    run: run.name.clone(),
                });
            }
            self.is_cancelled();
            if job.stage == Stage::Train
                && let Ok(Some(status)) = Status::read(&run.dir)
            {
                self.say(Event::Beat {
                    run: run.name.clone(),
                    status,
                });
            }
            !lost
        })?;
        if lost {
            // What is in the directory is another's now.
            self.say(Event::Warning(format!(
                "{}: another worker took the run over, because this one was not heard of for {} s",
                run.name,
                self.options.claims.stale_after.as_secs()
            )));
            return Ok(Outcome::Taken);
        }
        self.conclude(job, run, &end, tail, &clock)
    }

    /// Writes down how an attempt ended, and says it.
    fn conclude(
        &self,
        job: &Job,
        run: &RunView,
        end: &End,
        log_tail: Vec<String>,
        clock: &FileClock,
    ) -> Result<Outcome, SweepError> {
        let now = self.look(run, clock);
        let stopping = self.stop.requested();
        let (ending, code, signal, message) = match end {
            // Whatever the process said of itself: the directory is the truth.
            End::Done if job.is_done(&now) => (Ending::Done, Some(0), None, None),
            End::Done => {
                let what = match job.stage {
                    Stage::Train => "it ended without finishing the run",
                    Stage::Eval => "it ended without writing eval/final.json",
                };
                (Ending::Failed, Some(0), None, Some(what.to_owned()))
            }
            End::Locked => (Ending::Locked, Some(73), None, None),
            End::Interrupted if stopping => (Ending::Stopped, Some(75), None, None),
            End::Killed(signal) if stopping => (Ending::Stopped, None, Some(*signal), None),
            End::Interrupted => (Ending::Interrupted, Some(75), None, None),
            End::Killed(signal) => (Ending::Killed, None, Some(*signal), None),
            End::Failed { code, what } => {
                let message = self.reason(job, &now, &log_tail, what);
                (Ending::Failed, *code, None, Some(message))
            }
        };
        let keeps = ending == Ending::Failed;
        Attempts::append(
            &run.dir,
            &AttemptLine::End {
                stage: job.stage,
                ending,
                step: now.step(),
                at: unix_time(),
                code,
                signal,
                message,
                log_tail: if keeps { log_tail } else { Vec::new() },
            },
        )?;
        let name = || run.name.clone();
        let why = match (ending, signal) {
            (Ending::Killed, Some(signal)) => format!("killed by signal {signal}"),
            _ => "interrupted".to_owned(),
        };
        match ending {
            Ending::Failed => {}
            Ending::Done => {
                let after = self.look(run, clock);
                if after.is_done() {
                    self.say(finished(&after, false));
                } else if let Some(step) = job.until {
                    self.say(Event::Paused { run: name(), step });
                }
                return Ok(Outcome::Moved);
            }
            Ending::Locked => return Ok(Outcome::Locked),
            Ending::Stopped => {
                self.say(Event::Interrupted {
                    run: name(),
                    step: now.step(),
                });
                return Ok(Outcome::Moved);
            }
            Ending::Interrupted | Ending::Killed => {
                let Stalls { seen, unseen } = Attempts::read(&run.dir)?.stalls(job.stage);
                if seen < MOST_STALLS && seen + unseen < MOST_UNSEEN_STALLS {
                    self.say(Event::Resuming { run: name(), why });
                    return Ok(Outcome::Moved);
                }
                let times = seen + unseen;
                let message =
                    format!("{why} {times} times without a step of progress; memory may be short");
                Attempts::append(
                    &run.dir,
                    &AttemptLine::End {
                        stage: job.stage,
                        ending: Ending::Failed,
                        step: now.step(),
                        at: unix_time(),
                        code: None,
                        signal,
                        message: Some(message),
                        log_tail: Vec::new(),
                    },
                )?;
            }
        }
        if let Some(failure) = Attempts::read(&run.dir)?.failure() {
            self.say(failed(&now, failure, false));
        }
        Ok(Outcome::Moved)
    }

    /// Why a stage failed: what the run says of itself, else the last error in the log.
    fn reason(&self, job: &Job, now: &RunView, log_tail: &[String], what: &str) -> String {
        let said = now
            .status
            .as_ref()
            .filter(|status| job.stage == Stage::Train && status.state == StatusState::Failed);
        let said = said.and_then(|status| status.error.clone());
        // What was wrong, rather than the hint that follows it.
        let error = log_tail
            .iter()
            .rev()
            .find(|line| line.starts_with("error: "));
        let line = || error.or(log_tail.last()).map(|line| line.trim().to_owned());
        match said.or_else(line) {
            Some(said) => format!("{said} ({what})"),
            None => what.to_owned(),
        }
    }

    fn command(&self, job: &Job, run: &RunView) -> Command {
        let options = self.options;
        let config = options.dir.join(&run.entry.config);
        // What is wrong with it, the child says.
        let run_section = Config::load(&config, &[]).map(|config| config.run).ok();
        let own = run_section.as_ref().map(|section| section.device.as_str());
        let device = options.device.as_deref().or(own).unwrap_or_default();
        let (placed, variable) = options.slot.place(device);
        let device = placed.or_else(|| options.device.clone());
        let mut command = Command::new(&options.program);
        command.envs(variable);
        match job.stage {
            Stage::Train => {
                command.arg("train").arg(config);
                command.arg("--run-dir").arg(&run.dir);
                if let Some(until) = job.until {
                    command.arg("--until").arg(until.to_string());
                }
            }
            Stage::Eval => {
                command.arg("eval").arg(&run.dir);
                command.args(["--from-config", "--save"]);
            }
        }
        if let Some(device) = device {
            command.arg("--device").arg(device);
        }
        let decided = run_section.is_some_and(|section| section.threads > 0);
        if let Some(threads) = options.slot.threads
            && !(decided && options.slot.yields)
        {
            command.arg("--threads").arg(threads.to_string());
        }
        command
    }

    fn look(&self, run: &RunView, clock: &FileClock) -> RunView {
        RunView::read(
            &self.options.dir,
            run.entry.clone(),
            clock,
            &self.options.claims,
        )
    }

    /// Whether the sweep was cancelled since this worker began; then everything stops.
    fn is_cancelled(&self) -> bool {
        let asked =
            std::fs::metadata(self.options.dir.join(CANCEL_FILE)).and_then(|f| f.modified());
        let cancelled = asked.is_ok_and(|at| self.began.get().is_some_and(|began| at > began));
        if cancelled {
            self.stop.cancel();
        }
        cancelled
    }

    fn say(&self, event: Event) {
        (self.progress)(&event);
    }
}

/// The event of a run that is done.
pub(crate) fn finished(run: &RunView, before: bool) -> Event {
    Event::Finished {
        run: run.name.clone(),
        valid_loss: run.status.as_ref().and_then(|status| status.valid_loss),
        before,
    }
}

/// The event of a run that failed.
pub(crate) fn failed(run: &RunView, failure: Failure, before: bool) -> Event {
    Event::Failed {
        run: run.name.clone(),
        failure,
        before,
        log: run.dir.join("log.txt"),
    }
}

/// Has failed runs tried again: those of `names`, or all. Returns the names of those that are.
///
/// # Errors
/// The sweep directory cannot be read or written.
pub fn retry_failed(
    dir: &std::path::Path,
    names: Option<&[String]>,
    claims: &ClaimOptions,
) -> Result<Vec<String>, SweepError> {
    let state = SweepState::read(dir, claims)?;
    let mut retried = Vec::new();
    for run in &state.runs {
        let wanted = names.is_none_or(|names| names.contains(&run.name));
        if wanted && run.phase == Phase::Failed {
            Attempts::append(&run.dir, &AttemptLine::Retry { at: unix_time() })?;
            retried.push(run.name.clone());
        }
    }
    Ok(retried)
}

/// Asks every worker of the sweep, on whatever machine, to write a checkpoint and leave. Returns how
/// many there seem to be.
///
/// # Errors
/// The sweep directory cannot be read or written.
pub fn cancel_workers(dir: &std::path::Path, claims: &ClaimOptions) -> Result<usize, SweepError> {
    let state = SweepState::read(dir, claims)?;
    let holders: std::collections::BTreeSet<(String, u32)> = (state.runs.iter())
        .filter_map(|run| Some(&run.claim.as_ref()?.0.holder))
        .map(|holder| (holder.machine.clone(), holder.pid))
        .collect();
    let path = dir.join(CANCEL_FILE);
    std::fs::write(
        &path,
        "workers that began before this file was written leave\n",
    )
    .map_err(|source| io("write", &path, source))?;
    Ok(holders.len())
}

fn unknown_run(state: &SweepState, job: &Job) -> SweepError {
    SweepError::Format {
        path: state.dir.join("sweep.json"),
        message: format!("there is no run `{}`", job.run),
    }
}
