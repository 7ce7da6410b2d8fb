//! What the run directories of a sweep say, read cheaply: the ground for every decision.
//!
//! A thousand runs are read in well under a second: the index, and of each directory the status,
//! the claim and the attempts; evaluation results only where training is finished. Nothing is
//! remembered from one reading to the next, except that a run which was finished stays finished.

use crate::attempts::Attempts;
use crate::claim::{ClaimFile, ClaimOptions, FileClock, is_training, live_claim};
use crate::error::SweepError;
use crate::manifest::{Failure, Manifest, ManifestRun, Stage};
use crate::rundir::{Status, StatusState, is_evaluated};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Failed; `retry` tries it again.
    Failed,
    /// Its process is gone without a word; the next worker resumes it.
    Lost,
    /// Stopped with a checkpoint; the next worker resumes it.
    Interrupted,
    /// A process is training it.
    Training,
    /// A process is evaluating it.
    Evaluating,
    /// Trained as far as a search asked.
    Paused,
    /// Trained, not evaluated.
    Trained,
    /// Nothing there yet.
    Pending,
    /// Trained, and evaluated if it asks for that.
    Finished,
}

impl Phase {
    /// All of them, in the order of attention they want.
    pub const ALL: [Phase; 9] = [
        Phase::Failed,
        Phase::Lost,
        Phase::Interrupted,
        Phase::Training,
        Phase::Evaluating,
        Phase::Paused,
        Phase::Trained,
        Phase::Pending,
        Phase::Finished,
    ];

    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Failed => "failed",
            Phase::Lost => "lost",
            Phase::Interrupted => "interrupted",
            Phase::Training => "training",
            Phase::Evaluating => "evaluating",
            Phase::Paused => "paused",
            Phase::Trained => "trained",
            Phase::Pending => "pending",
            Phase::Finished => "finished",
        }
    }
}

/// One run, as its directory shows it.
#[derive(Clone, Debug)]
pub struct RunView {
    /// Name of the run.
    pub name: String,
    /// Its entry in `sweep.json`.
    pub entry: ManifestRun,
    /// The run directory.
    pub dir: PathBuf,
    /// Its status, if there is a readable one.
    pub status: Option<Status>,
    /// Whether the evaluation covers the wanted tasks; true if none are wanted.
    pub evaluated: bool,
    /// Why it counts as failed.
    pub failure: Option<Failure>,
    /// Starts so far.
    pub attempts: usize,
    /// The claim in force and the age of its heartbeat.
    pub claim: Option<(ClaimFile, Duration)>,
    /// A process has it at this moment: a worker that claimed it, or a training by itself.
    pub busy: bool,
    /// Where it stands.
    pub phase: Phase,
}

impl RunView {
    /// Whether the whole budget is trained.
    pub fn is_trained(&self) -> bool {
        let state = self.status.as_ref().map(|status| status.state);
        state == Some(StatusState::Finished)
    }

    /// Whether training paused at `step` or later.
    pub fn is_paused_at(&self, step: u64) -> bool {
        let paused = |status: &Status| status.state == StatusState::Paused && status.step >= step;
        self.status.as_ref().is_some_and(paused)
    }

    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.is_trained() && self.evaluated
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.status.as_ref().map_or(0, |status| status.step)
    }

    /// Steps of the whole budget.
    pub fn total_steps(&self) -> u64 {
        self.entry.facts.total_steps
    }

    /// Reads the directory of `entry`.
    pub fn read(
        sweep_dir: &Path,
        entry: ManifestRun,
        clock: &FileClock,
        options: &ClaimOptions,
    ) -> Self {
        let dir = sweep_dir.join(&entry.dir);
        // What cannot be read counts as not there: the stage is started and says what is wrong.
        let status = Status::read(&dir).ok().flatten();
        let state = status.as_ref().map(|status| status.state);
        let evaluated = is_evaluated(&dir, &entry.facts.tasks);
        let attempts = Attempts::read(&dir).unwrap_or_default();
        if state == Some(StatusState::Finished) && evaluated {
            return Self::finished(entry, dir, status, attempts.count());
        }
        let claim = live_claim(&dir, clock, options);
        let failure = match (&status, state) {
            _ if !attempts.lines.is_empty() => attempts.failure(),
            (Some(status), Some(StatusState::Failed)) => Some(Failure {
                stage: Stage::Train,
                code: None,
                message: status.error.clone().unwrap_or("no reason given".into()),
                log_tail: Vec::new(),
            }),
            // Before there were attempts, the index knew.
            _ => entry.failure.clone(),
        };
        // Without a claim it may still be trained: by hand, or by the orphan of a killed worker.
        let alone = claim.is_none() && state == Some(StatusState::Running) && is_training(&dir);
        let phase = match (&claim, state) {
            (Some((claim, _)), _) if claim.stage == Stage::Eval => Phase::Evaluating,
            (Some(_), _) => Phase::Training,
            _ if alone => Phase::Training,
            _ if failure.is_some() => Phase::Failed,
            (None, None) if attempts.lines.is_empty() => Phase::Pending,
            (None, None | Some(StatusState::Running)) => Phase::Lost,
            (None, Some(StatusState::Interrupted | StatusState::Failed)) => Phase::Interrupted,
            (None, Some(StatusState::Paused)) => Phase::Paused,
            (None, Some(StatusState::Finished)) => Phase::Trained,
        };
        Self {
            name: entry.name.clone(),
            busy: claim.is_some() || alone,
            attempts: attempts.count(),
            entry,
            dir,
            status,
            evaluated,
            failure,
            claim,
            phase,
        }
    }

    fn finished(entry: ManifestRun, dir: PathBuf, status: Option<Status>, attempts: usize) -> Self {
        Self {
            name: entry.name.clone(),
            entry,
            dir,
            status,
            evaluated: true,
            failure: None,
            attempts,
            claim: None,
            busy: false,
            phase: Phase::Finished,
        }
    }
}

/// Every run of a sweep, as the directories show them.
#[derive(Clone, Debug)]
pub struct SweepState {
    /// The sweep directory.
    pub dir: PathBuf,
    /// The runs, in the order of `sweep.json`.
    pub runs: Vec<RunView>,
}

impl SweepState {
    /// Reads the sweep directory `dir`.
    ///
    /// # Errors
    /// `dir` holds no readable `sweep.json`.
    pub fn read(dir: &Path, options: &ClaimOptions) -> Result<Self, SweepError> {
        StateReader::new(dir, *options).read()
    }

    /// The run of this name.
    pub fn run(&self, name: &str) -> Option<&RunView> {
        self.runs.iter().find(|run| run.name == name)
    }

    /// Number of runs in each phase that has any.
    pub fn counts(&self) -> BTreeMap<Phase, usize> {
        let mut counts = BTreeMap::new();
        for run in &self.runs {
            *counts.entry(run.phase).or_default() += 1;
        }
        counts
    }
}

/// Reads a sweep directory again and again; runs that were seen finished are not read any more.
#[derive(Debug)]
pub struct StateReader {
    dir: PathBuf,
    options: ClaimOptions,
    finished: BTreeMap<String, RunView>,
    /// Runs to be called busy until a time: their directory was found locked a moment ago.
    avoid: BTreeMap<String, (Instant, u32)>,
}

impl StateReader {
    /// Of the sweep directory `dir`.
    pub fn new(dir: &Path, options: ClaimOptions) -> Self {
        Self {
            dir: dir.to_owned(),
            options,
            finished: BTreeMap::new(),
            avoid: BTreeMap::new(),
        }
    }

    /// What the directories say now.
    ///
    /// # Errors
    /// The directory holds no readable `sweep.json`.
    pub fn read(&mut self) -> Result<SweepState, SweepError> {
        let Some(manifest) = Manifest::read(&self.dir)? else {
            return Err(SweepError::NotASweep {
                path: self.dir.clone(),
            });
        };
        let clock = FileClock::of(&self.dir);
        let names: BTreeSet<String> = manifest.runs.iter().map(|run| run.name.clone()).collect();
        self.finished.retain(|name, _| names.contains(name));
        let now = Instant::now();
        let mut runs = Vec::with_capacity(manifest.runs.len());
        for entry in manifest.runs {
            if let Some(view) = self.finished.get(&entry.name)
                && view.entry == entry
            {
                runs.push(view.clone());
                continue;
            }
            let mut view = RunView::read(&self.dir, entry, &clock, &self.options);
            if view.phase == Phase::Finished {
                self.finished.insert(view.name.clone(), view.clone());
            }
            let avoided = self.avoid.get(&view.name);
            view.busy |= avoided.is_some_and(|(until, _)| *until > now);
            runs.push(view);
        }
        Ok(SweepState {
            dir: self.dir.clone(),
            runs,
        })
    }

    /// Calls `run` busy for a while, longer every time; returns how often that was.
    pub(crate) fn avoid(&mut self, run: &str, poll: Duration) -> u32 {
        let now = Instant::now();
        let (until, times) = self.avoid.entry(run.to_owned()).or_insert((now, 0));
        *until = now + poll * (1 << (*times).min(4));
        *times += 1;
        *times
    }

    /// Forgets that `run` was found locked.
    pub(crate) fn welcome(&mut self, run: &str) {
        self.avoid.remove(run);
    }
}
