//! What a sweep says while it works: one line on stderr per change of state, and on a terminal a
//! bar per run that is being trained.
//!
//! The lines carry no colour, so there is nothing for NO_COLOR to turn off.

use crate::format::list;
use crate::manifest::{Failure, Stage};
use crate::rundir::Status;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use slender_config::plural;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Mutex;

/// Something happened in a sweep.
#[derive(Clone, Debug)]
pub enum Event {
    /// The plan stands; work begins.
    Planned {
        /// Number of runs.
        runs: usize,
        /// Runs at the same time.
        jobs: usize,
        /// Threads of each, if the sweep decides them.
        threads: Option<usize>,
    },
    /// A stage of a run starts, for the first time or again.
    Started {
        /// The run.
        run: String,
        /// The stage.
        stage: Stage,
        /// Steps already done.
        from_step: u64,
    },
    /// The run's heartbeat.
    Beat {
        /// The run.
        run: String,
        /// Its status file.
        status: Status,
    },
    /// Another process holds the run directory.
    Locked {
        /// The run.
        run: String,
    },
    /// Training paused where it was asked to.
    Paused {
        /// The run.
        run: String,
        /// The step.
        step: u64,
    },
    /// The run was asked to stop and has not left yet.
    Stopping {
        /// The run.
        run: String,
    },
    /// Nothing can be done until other workers are done with these runs.
    Waiting {
        /// The runs.
        runs: Vec<String>,
    },
    /// The run's process went away and the run is taken up again.
    Resuming {
        /// The run.
        run: String,
        /// What ended the process.
        why: String,
    },
    /// A run is trained and evaluated.
    Finished {
        /// The run.
        run: String,
        /// Final validation loss, nats per token.
        valid_loss: Option<f64>,
        /// Whether it had been finished before this sweep started.
        before: bool,
    },
    /// A run failed.
    Failed {
        /// The run.
        run: String,
        /// Why.
        failure: Failure,
        /// Whether it had failed before this sweep started.
        before: bool,
        /// Its log file.
        log: PathBuf,
    },
    /// A run was interrupted, or not reached, because the sweep was asked to stop.
    Interrupted {
        /// The run.
        run: String,
        /// Steps done so far.
        step: u64,
    },
    /// Something went wrong that does not stop the sweep.
    Warning(String),
}

impl Event {
    fn run(&self) -> Option<&str> {
        match self {
            Event::Started { run, .. }
            | Event::Beat { run, .. }
            | Event::Locked { run }
            | Event::Paused { run, .. }
            | Event::Stopping { run }
            | Event::Resuming { run, .. }
            | Event::Finished { run, .. }
            | Event::Failed { run, .. }
            | Event::Interrupted { run, .. } => Some(run),
            Event::Planned { .. } | Event::Waiting { .. } | Event::Warning(_) => None,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Planned {
                runs,
                jobs,
                threads,
            } => {
                write!(f, "sweep: {}, {jobs} at a time", plural(*runs, "run"))?;
                match threads {
                    Some(threads) => write!(f, ", {threads} CPU threads each"),
                    None => Ok(()),
                }
            }
            Event::Started {
                run,
                stage: Stage::Train,
                from_step: 0,
            } => {
                write!(f, "{run}: training")
            }
            Event::Started {
                run,
                stage: Stage::Train,
                from_step,
            } => {
                write!(
                    f,
                    "{run}: training, resumed; it had reached step {from_step}"
                )
            }
            Event::Started {
                run,
                stage: Stage::Eval,
                ..
            } => write!(f, "{run}: evaluating"),
            Event::Beat { run, status } => {
                write!(f, "{run}: step {}/{}", status.step, status.total_steps)
            }
            Event::Locked { run } => {
                write!(f, "{run}: another process is training it; waiting")
            }
            Event::Paused { run, step } => write!(f, "{run}: paused at step {step}"),
            Event::Stopping { run } => write!(f, "{run}: asked to write a checkpoint and leave"),
            Event::Waiting { runs } => {
                let (shown, more) = runs.split_at(runs.len().min(5));
                write!(f, "waiting for other workers, who have {}", list(shown))?;
                match more.len() {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Event::Resuming { run, why } => write!(f, "{run}: {why}; resuming"),
            Event::Finished {
                run, before: true, ..
            } => write!(f, "{run}: already finished"),
            Event::Finished {
                run,
                valid_loss: Some(loss),
                ..
            } => {
                write!(f, "{run}: finished, validation loss {loss:.4}")
            }
            Event::Finished { run, .. } => write!(f, "{run}: finished"),
            Event::Failed {
                run,
                failure,
                before: true,
                ..
            } => write!(
                f,
                "{run}: failed in an earlier sweep: {}\n  hint: --retry-failed tries it again",
                failure.message
            ),
            Event::Failed {
                run, failure, log, ..
            } => {
                write!(
                    f,
                    "{run}: {} failed: {}",
                    failure.stage.noun(),
                    failure.message
                )?;
                for line in &failure.log_tail {
                    write!(f, "\n  | {line}")?;
                }
                write!(f, "\n  hint: the whole log is {}", log.display())
            }
            Event::Interrupted { run, step: 0 } => write!(f, "{run}: not started"),
            Event::Interrupted { run, step } => write!(f, "{run}: interrupted after step {step}"),
            Event::Warning(text) => write!(f, "warning: {text}"),
        }
    }
}

/// Shows events on stderr: lines, and bars if it is a terminal.
#[derive(Debug)]
pub struct Reporter {
    bars: Option<MultiProgress>,
    open: Mutex<BTreeMap<String, ProgressBar>>,
}

impl Reporter {
    /// Bars on a terminal, plain lines elsewhere.
    pub fn stderr() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            bars: terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr())),
            open: Mutex::default(),
        }
    }

    /// Shows one event.
    pub fn show(&self, event: &Event) {
        let Some(bars) = &self.bars else {
            if !matches!(event, Event::Beat { .. }) {
                let _ = writeln!(std::io::stderr(), "{event}");
            }
            return;
        };
        let Ok(mut open) = self.open.lock() else {
            return;
        };
        match event {
            Event::Beat { run, status } => {
                let bar = open.entry(run.clone()).or_insert_with(|| {
                    let bar = bars.add(ProgressBar::new(status.total_steps));
                    bar.set_style(bar_style());
                    bar.set_prefix(run.clone());
                    bar
                });
                bar.set_length(status.total_steps);
                bar.set_position(status.step);
                let loss = |name, value: Option<f64>| {
                    value.map_or(String::new(), |value| format!("{name} {value:.3} "))
                };
                bar.set_message(format!(
                    "{}{}",
                    loss("train", status.train_loss),
                    loss("valid", status.valid_loss)
                ));
            }
            event => {
                let closes = !matches!(
                    event,
                    Event::Stopping { .. }
                        | Event::Started {
                            stage: Stage::Train,
                            ..
                        }
                );
                if closes
                    && let Some(run) = event.run()
                    && let Some(bar) = open.remove(run)
                {
                    bar.finish_and_clear();
                    bars.remove(&bar);
                }
                let _ = bars.println(event.to_string());
            }
        }
    }
}

fn bar_style() -> ProgressStyle {
    let template = "{prefix:<24} {bar:24} {pos:>7}/{len} {msg} eta {eta}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
