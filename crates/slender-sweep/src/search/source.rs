//! A search as a source of jobs: run directories in, the next piece of work out.
//!
//! What is remembered from one question to the next is a copy of what the directories said; asking
//! afresh gives the same answer.

use super::section::is_of_tokenizer;
use super::spec::{Metric, SearchSpec};
use super::trial::{Decision, Trial};
use crate::jobs::{Job, JobSource, Next};
use crate::manifest::{Manifest, ManifestRun, Stage};
use crate::rundir::StatusState;
use crate::state::{RunView, SweepState};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Name of the search's field in `sweep.json`.
pub const SEARCH_FIELD: &str = "search";

/// Loss and bits per byte that a run measured where it paused, by step.
pub type Pauses = BTreeMap<u64, (f64, Option<f64>)>;

/// Reads the `pause` lines of `run_dir/metrics.jsonl`.
pub fn pauses(run_dir: &Path) -> Pauses {
    let text = std::fs::read_to_string(run_dir.join("metrics.jsonl")).unwrap_or_default();
    // A line is parsed only where it may be one: a run has thousands of others.
    let lines = text.lines().filter(|line| line.contains("\"pause\""));
    let values = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let pause = |value: Value| {
        let number = |key: &str| value.get(key).and_then(Value::as_f64);
        let step = value.get("step").and_then(Value::as_u64);
        (value["kind"] == "pause").then_some(())?;
        Some((step?, (number("loss")?, number("bits_per_byte"))))
    };
    values.filter_map(pause).collect()
}

/// Deals out the work of a search.
#[derive(Clone, Debug)]
pub struct SearchSource {
    spec: SearchSpec,
    /// The runs it deals with; the others of the directory are not its own.
    only: Option<BTreeSet<String>>,
    /// Pauses of a run, good while its status says the same.
    known: BTreeMap<String, (u64, Option<StatusState>, Pauses)>,
}

impl SearchSource {
    /// Of a search.
    pub fn new(spec: SearchSpec) -> Self {
        Self {
            spec,
            only: None,
            known: BTreeMap::new(),
        }
    }

    /// The same, of the runs `names` alone.
    #[must_use]
    pub fn only(mut self, names: &[String]) -> Self {
        self.only = Some(names.iter().cloned().collect());
        self
    }

    /// Of the search that a sweep directory describes; `None` if it describes none.
    pub fn of_manifest(manifest: &Manifest) -> Option<Self> {
        let value = manifest.other.get(SEARCH_FIELD)?;
        serde_json::from_value(value.clone()).ok().map(Self::new)
    }

    /// The search.
    pub fn spec(&self) -> &SearchSpec {
        &self.spec
    }

    /// What trials are compared by: nats per token do not compare across tokenizers, so where those vary it
    /// is bits per byte.
    pub fn metric(&self, state: &SweepState) -> Metric {
        let of = |run: &RunView| -> Vec<(String, Value)> {
            let axes = run.entry.axes.iter();
            let own = axes.filter(|(key, _)| is_of_tokenizer(key));
            own.map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        };
        let first = state.runs.first().map(of);
        match state.runs.iter().any(|run| Some(of(run)) != first) {
            true => Metric::ValidBitsPerByte,
            false => self.spec.metric,
        }
    }

    /// The runs as the scheduler sees them, in the order of the sweep.
    pub fn trials(&mut self, state: &SweepState) -> Vec<Trial> {
        let metric = self.metric(state);
        let value = |loss: f64, bits: Option<f64>| match metric {
            Metric::ValidLoss => Some(loss),
            Metric::ValidBitsPerByte => bits,
        };
        let groups = groups(&self.spec, state.runs.iter().map(|run| &run.entry));
        let mut trials = Vec::with_capacity(state.runs.len());
        for (run, group) in state.runs.iter().zip(groups) {
            let facts = &run.entry.facts;
            let status = run.status.as_ref();
            let total = run.total_steps();
            let mut losses = BTreeMap::new();
            if let Some(status) = status {
                for (step, (loss, bits)) in self.pauses(run) {
                    losses.extend(value(loss, bits).map(|value| (step, value)));
                }
                if status.state == StatusState::Finished {
                    let loss = status.valid_loss.unwrap_or(f64::INFINITY);
                    let value = value(loss, status.valid_bits_per_byte);
                    losses.insert(total, value.unwrap_or(f64::INFINITY));
                }
                if matches!(status.state, StatusState::Paused | StatusState::Finished) {
                    self.fill(&mut losses, total, status.step);
                }
            }
            // A cost that is not known before the tokenizer is compares as none.
            let costs = self
                .spec
                .costs
                .iter()
                .map(|cost| cost.of(facts).unwrap_or(0.0));
            trials.push(Trial {
                group,
                total,
                losses,
                costs: costs.collect(),
                target: status.map(|status| status.until.unwrap_or(total)),
                busy: run.busy,
                failed: run.failure.is_some(),
            });
        }
        trials
    }

    /// Gives every rung up to `reached` a loss: where the run paused elsewhere, because another search
    /// or a person asked for it, that of the first pause after the rung; without any, none is as bad as
    /// possible. Else the rung would be handed out for ever.
    fn fill(&self, losses: &mut BTreeMap<u64, f64>, total: u64, reached: u64) {
        for step in self
            .spec
            .steps(total)
            .into_iter()
            .filter(|step| *step <= reached)
        {
            let next = losses.range(step..).next().map(|(_, loss)| *loss);
            losses.insert(step, next.unwrap_or(f64::INFINITY));
        }
    }

    fn pauses(&mut self, run: &RunView) -> Pauses {
        let status = run.status.as_ref();
        let (step, state) = (run.step(), status.map(|status| status.state));
        if let Some((known_step, known_state, pauses)) = self.known.get(&run.name)
            && (*known_step, *known_state) == (step, state)
        {
            return pauses.clone();
        }
        let pauses = pauses(&run.dir);
        let entry = (step, state, pauses.clone());
        self.known.insert(run.name.clone(), entry);
        pauses
    }
}

/// The group of every run: runs that differ in nothing but the tuned key share one.
pub fn groups<'a>(spec: &SearchSpec, runs: impl Iterator<Item = &'a ManifestRun>) -> Vec<usize> {
    let Some(key) = &spec.key else {
        return runs.map(|_| 0).collect();
    };
    let mut seen: Vec<(u64, BTreeMap<String, Value>)> = Vec::new();
    let group = |run: &ManifestRun| {
        let mut axes = run.axes.clone();
        axes.remove(key);
        let own = (run.seed, axes);
        seen.iter()
            .position(|known| *known == own)
            .unwrap_or_else(|| {
                seen.push(own);
                seen.len() - 1
            })
    };
    runs.map(group).collect()
}

impl JobSource for SearchSource {
    fn next(&mut self, state: &SweepState) -> Next {
        let own = |run: &&RunView| {
            self.only
                .as_ref()
                .is_none_or(|only| only.contains(&run.name))
        };
        let state = &SweepState {
            dir: state.dir.clone(),
            runs: state.runs.iter().filter(own).cloned().collect(),
        };
        // A trial that is trained to its end is scored before the next one starts.
        let unscored = |run: &&RunView| {
            run.is_trained() && !run.evaluated && run.failure.is_none() && !run.busy
        };
        if let Some(run) = state.runs.iter().find(unscored) {
            return Next::Job(Job {
                run: run.name.clone(),
                stage: Stage::Eval,
                until: None,
            });
        }
        let trials = self.trials(state);
        match self.spec.decide(&trials) {
            Decision::Train { trial, until } => {
                let run = &state.runs[trial];
                Next::Job(Job {
                    run: run.name.clone(),
                    stage: Stage::Train,
                    until: (until < run.total_steps()).then_some(until),
                })
            }
            Decision::Wait => Next::Wait,
            Decision::Done if state.runs.iter().any(|run| run.busy) => Next::Wait,
            Decision::Done => Next::Done,
        }
    }
}
