//! How a search stands: every trial with what it has measured, and what was tuned.

use super::source::{SearchSource, groups};
use super::spec::{Method, SearchSpec};
use super::trial::{Decision, Trial};
use super::tune::{Parabola, parabola};
use crate::state::{Phase, SweepState};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrialStanding {
    /// Name of the run.
    pub name: String,
    /// What the sweep varies, and the value here.
    pub axes: BTreeMap<String, Value>,
    /// Steps at which it is measured.
    pub steps: Vec<u64>,
    /// Its loss at each of them, as far as it came.
    pub losses: Vec<Option<f64>>,
    /// Where its run stands, in a word.
    pub state: &'static str,
}

impl TrialStanding {
    /// Number of measurements in a row from the first on.
    fn rungs(&self) -> usize {
        self.losses
            .iter()
            .rposition(Option::is_some)
            .map_or(0, |last| last + 1)
    }

    fn last(&self) -> f64 {
        let last = self.losses.iter().rev().flatten().next();
        last.copied().unwrap_or(f64::INFINITY)
    }
}

/// What was tuned for one group of trials.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tuned {
    /// What the group has in common.
    pub axes: BTreeMap<String, Value>,
    /// Seed of its runs.
    pub seed: u64,
    /// Candidates and their losses at the comparison; a missing one has none yet, or failed.
    pub candidates: Vec<(f64, Option<f64>)>,
    /// The best candidate, once all are measured.
    pub best: Option<f64>,
    /// Whether the best is the smallest or the largest candidate, so that a better one may lie beyond.
    pub at_edge: bool,
    /// A parabola through the best and its neighbours.
    pub parabola: Option<Parabola>,
}

/// A search and how it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// The search.
    pub search: SearchSpec,
    /// The trials, those that came farthest first, then by loss.
    pub trials: Vec<TrialStanding>,
    /// With `lr`: what was tuned.
    pub tuned: Vec<Tuned>,
    /// Whether nothing is left to do: what is paused was stopped.
    pub done: bool,
    /// Steps trained by all trials together, over those of training all of them to the end.
    pub share_of_everything: f64,
}

impl Standing {
    /// The steps of the rungs and the trials measured at each; `None` where trials have other budgets.
    pub fn rungs(&self) -> Vec<(Option<u64>, usize)> {
        let most = self.trials.iter().map(|trial| trial.steps.len()).max();
        let rung = |rung: usize| {
            let mut steps = self.trials.iter().filter_map(|trial| trial.steps.get(rung));
            let first = steps.next().copied();
            let measured =
                |trial: &&TrialStanding| trial.losses.get(rung).is_some_and(Option::is_some);
            (
                first.filter(|first| steps.all(|step| step == first)),
                self.trials.iter().filter(measured).count(),
            )
        };
        (0..most.unwrap_or(0)).map(rung).collect()
    }

    /// Trials that are paused: stopped, once the search is over.
    pub fn paused(&self) -> usize {
        let paused = |trial: &&TrialStanding| trial.state == Phase::Paused.word();
        self.trials.iter().filter(paused).count()
    }
}

/// How the search of `source` stands.
pub fn standing(source: &mut SearchSource, state: &SweepState) -> Standing {
    let trials = source.trials(state);
    let spec = SearchSpec {
        metric: source.metric(state),
        ..source.spec().clone()
    };
    let view = |(trial, run): (&Trial, &crate::state::RunView)| {
        let steps = spec.steps(trial.total);
        let loss = |step: &u64| {
            trial
                .losses
                .get(step)
                .copied()
                .filter(|loss| loss.is_finite())
        };
        TrialStanding {
            name: run.name.clone(),
            axes: run.entry.axes.clone(),
            losses: steps.iter().map(loss).collect(),
            steps,
            state: run.phase.word(),
        }
    };
    let mut rows: Vec<TrialStanding> = trials.iter().zip(&state.runs).map(view).collect();
    rows.sort_by(|a, b| {
        b.rungs()
            .cmp(&a.rungs())
            .then(a.last().total_cmp(&b.last()))
    });
    let done: u64 = state.runs.iter().map(|run| run.step()).sum();
    let all: u64 = trials.iter().map(|trial| trial.total).sum();
    Standing {
        tuned: tuned(&spec, &trials, state),
        done: spec.decide(&trials) == Decision::Done && !state.runs.iter().any(|run| run.busy),
        search: spec,
        trials: rows,
        share_of_everything: done as f64 / all.max(1) as f64,
    }
}

fn tuned(spec: &SearchSpec, trials: &[Trial], state: &SweepState) -> Vec<Tuned> {
    let Some(key) = spec.key.as_ref().filter(|_| spec.method == Method::Tune) else {
        return Vec::new();
    };
    let tune = spec.tune();
    let groups = groups(spec, state.runs.iter().map(|run| &run.entry));
    let count = groups.iter().max().map_or(0, |last| last + 1);
    let one = |group: usize| {
        let members: Vec<usize> = (0..trials.len())
            .filter(|index| groups[*index] == group)
            .collect();
        let value = |index: usize| {
            state.runs[index]
                .entry
                .axes
                .get(key)
                .and_then(Value::as_f64)
        };
        let loss = |index: usize| {
            let loss = trials[index].loss(tune.step(trials[index].total));
            loss.is_finite().then_some(loss)
        };
        let candidates: Vec<(f64, Option<f64>)> = (members.iter())
            .filter_map(|index| Some((value(*index)?, loss(*index))))
            .collect();
        let best = tune.winner(trials, group).and_then(value);
        let ends =
            |pick: fn(f64, f64) -> f64| candidates.iter().map(|(value, _)| *value).reduce(pick);
        let points: Vec<(f64, f64)> = (candidates.iter())
            .filter_map(|(value, loss)| Some((*value, (*loss)?)))
            .collect();
        let first = &state.runs[members[0]].entry;
        let mut axes = first.axes.clone();
        axes.remove(key);
        Tuned {
            axes,
            seed: first.seed,
            at_edge: best.is_some() && (best == ends(f64::min) || best == ends(f64::max)),
            parabola: best.and_then(|_| parabola(&points)),
            best,
            candidates,
        }
    };
    (0..count).map(one).collect()
}
