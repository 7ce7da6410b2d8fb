//! What a plan costs, before anything starts: FLOPs, time, memory, and what is done already.

use crate::done::{DoneRuns, Elsewhere};
use crate::plan::PlannedRun;
use crate::rundir::{Status, StatusState};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

/// Format name and version of `slender sweep plan --json`.
pub const PLAN_FORMAT: &str = "slender-plan/1";

/// One run of a plan and its cost.
#[derive(Clone, Debug, Serialize)]
pub struct RunCost {
    /// Name of the run.
    pub name: String,
    /// The name without its seed.
    pub variant: String,
    /// The seed.
    pub seed: u64,
    /// What the sweep varies, and the value here.
    pub axes: BTreeMap<String, Value>,
    /// Hash of all that decides the result.
    pub identity: String,
    /// The shape, such as `30x576-gqa3`.
    pub shape: String,
    /// All parameters; `None` without a known vocabulary, as are the costs below.
    pub params_total: Option<u64>,
    /// Parameters without embeddings.
    pub params_non_embedding: Option<u64>,
    /// Training tokens.
    pub tokens: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// FLOPs of the whole training.
    pub train_flops: Option<f64>,
    /// Seconds of training at the plan's speed, the whole device for one run.
    pub seconds: Option<f64>,
    /// Estimated peak memory of training, bytes.
    pub memory_bytes: Option<u64>,
    /// The row of the paper it reproduces.
    pub paper_row: Option<String>,
    /// Its directory, if it is trained to its end: a sweep does nothing more with it.
    pub done: Option<PathBuf>,
    /// Its directory, if it has begun: a sweep goes on with it.
    pub begun: Option<PathBuf>,
    /// Another run of the same identity, in this directory or elsewhere. The sweep trains this one all the same.
    pub elsewhere: Option<Elsewhere>,
    /// An earlier run of this plan with the same identity. The sweep trains both.
    pub same_as: Option<String>,
}

impl RunCost {
    /// Whether there is nothing to train.
    pub fn is_done(&self) -> bool {
        self.done.is_some()
    }

    /// Whether it is to be trained although a run of the same identity is done or is in the plan.
    pub fn is_again(&self) -> bool {
        let finished = self.elsewhere.as_ref().is_some_and(|found| found.finished);
        !self.is_done() && (finished || self.same_as.is_some())
    }
}

/// Sums over the runs of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PlanTotal {
    /// Runs.
    pub runs: usize,
    /// Variants.
    pub variants: usize,
    /// Runs that are trained to their end.
    pub done: usize,
    /// Runs to be trained although one of the same identity is done elsewhere, or comes earlier in the plan.
    pub again: usize,
    /// FLOPs of all runs.
    pub train_flops: f64,
    /// FLOPs of the runs that are not done.
    pub train_flops_left: f64,
    /// Seconds of the runs that are not done, one after the other.
    pub seconds_left: Option<f64>,
    /// Memory of the run that needs most, bytes.
    pub memory_bytes: u64,
    /// Runs whose cost is not known, for want of a vocabulary.
    pub unknown: usize,
}

/// A plan with its costs.
#[derive(Clone, Debug, Serialize)]
pub struct PlanCost {
    /// [`PLAN_FORMAT`].
    pub format: &'static str,
    /// Model FLOP/s that times are estimated with.
    pub flops_per_s: Option<f64>,
    /// The runs, in the plan's order.
    pub runs: Vec<RunCost>,
    /// Sums.
    pub total: PlanTotal,
}

impl PlanCost {
    /// Costs of `runs` at `flops_per_s`, beside the runs in `done`.
    pub fn of(runs: &[PlannedRun], flops_per_s: Option<f64>, done: &DoneRuns) -> Self {
        let mut first: HashMap<&str, &str> = HashMap::new();
        let mut out = Vec::with_capacity(runs.len());
        let mut total = PlanTotal {
            runs: runs.len(),
            ..PlanTotal::default()
        };
        let mut variants: Vec<&str> = runs.iter().map(|run| run.variant.as_str()).collect();
        variants.sort_unstable();
        variants.dedup();
        total.variants = variants.len();
        for run in runs {
            let cost = run_cost(run, flops_per_s, done, &mut first);
            total.done += usize::from(cost.is_done());
            total.again += usize::from(cost.is_again());
            match cost.train_flops {
                Some(flops) => {
                    total.train_flops += flops;
                    if !cost.is_done() {
                        total.train_flops_left += flops;
                    }
                }
                None => total.unknown += 1,
            }
            total.memory_bytes = total.memory_bytes.max(cost.memory_bytes.unwrap_or(0));
            out.push(cost);
        }
        total.seconds_left = flops_per_s.map(|speed| total.train_flops_left / speed);
        Self {
            format: PLAN_FORMAT,
            flops_per_s,
            runs: out,
            total,
        }
    }
}

fn run_cost<'a>(
    run: &'a PlannedRun,
    flops_per_s: Option<f64>,
    done: &DoneRuns,
    first: &mut HashMap<&'a str, &'a str>,
) -> RunCost {
    let facts = &run.facts;
    let tokens = facts.tokens_per_step * facts.total_steps;
    let accounting = facts.accounting.as_ref();
    let train_flops = accounting.map(|a| a.train_flops_per_token as f64 * tokens as f64);
    let own = Status::read(&run.dir).ok().flatten();
    let finished = |status: &Status| status.state == StatusState::Finished;
    let is_done = own.as_ref().is_some_and(finished);
    let elsewhere = done.find(run).filter(|found| found.dir != run.dir);
    let same_as = match first.get(run.identity.as_str()) {
        Some(earlier) => Some((*earlier).to_owned()),
        None => {
            first.insert(&run.identity, &run.name);
            None
        }
    };
    let shape = run.config.shape_for(facts.vocab_size.unwrap_or(1));
    RunCost {
        name: run.name.clone(),
        variant: run.variant.clone(),
        seed: run.seed,
        axes: run.axes.clone(),
        identity: run.identity.clone(),
        shape: shape.map(|shape| shape.label()).unwrap_or_default(),
        params_total: accounting.map(|a| a.params_total),
        params_non_embedding: accounting.map(|a| a.params_non_embedding),
        tokens,
        steps: facts.total_steps,
        train_flops,
        seconds: train_flops
            .zip(flops_per_s)
            .map(|(flops, speed)| flops / speed),
        memory_bytes: accounting.map(|a| a.train_memory_bytes),
        paper_row: facts.paper_row.clone(),
        done: is_done.then(|| run.dir.clone()),
        begun: (own.is_some() && !is_done).then(|| run.dir.clone()),
        elsewhere: elsewhere.cloned(),
        same_as,
    }
}
