//! What a sweep measured: the content of `results.json` (`slender-results/2`).
//!
//! Scores of ours are fractions, as in the evaluation files; the paper's are percent, as printed.
//! Wall times sit in `timing`, apart from everything else, so that two results can be compared
//! without them.

use crate::analysis::examples::Examples;
use crate::analysis::{
    Comparison, DepthTrend, Front, MeasuredApart, Metric, NoiseFloor, VariantResult,
};
use crate::decode::DecodeFile;
use crate::facts::RunFacts;
use crate::manifest::Failure;
use crate::metrics::Curves;
use crate::paper;
use crate::provenance::Provenance;
use crate::search::Standing;
use crate::summary::Sentence;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Format name and version of `results.json`.
pub const RESULTS_FORMAT: &str = "slender-results/2";

/// How far a run got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Nothing there yet.
    Pending,
    /// Being trained, or killed while it was.
    Running,
    /// Stopped with a checkpoint.
    Interrupted,
    /// Trained as far as it was asked to, short of its budget.
    Paused,
    /// Training or evaluation failed.
    Failed,
    /// Trained, not evaluated yet.
    Trained,
    /// Trained, and evaluated if it asks for that.
    Finished,
}

impl RunState {
    /// Whether the run saw its whole training budget.
    pub fn is_trained(self) -> bool {
        matches!(self, RunState::Trained | RunState::Finished)
    }

    /// In words, after "the run is".
    pub fn words(self) -> &'static str {
        match self {
            RunState::Pending => "not started",
            RunState::Running => "running, or was killed",
            RunState::Interrupted => "interrupted",
            RunState::Paused => "paused",
            RunState::Failed => "failed",
            RunState::Trained => "trained but not evaluated",
            RunState::Finished => "finished",
        }
    }
}

/// One task of one run; fractions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskScore {
    /// Share of examples whose likeliest answer is right.
    pub acc: f64,
    /// Its standard error over the examples, if there are enough of them.
    pub acc_stderr: Option<f64>,
    /// The same with likelihoods divided by the answers' lengths.
    pub acc_norm: Option<f64>,
    /// Its standard error.
    pub acc_norm_stderr: Option<f64>,
    /// Examples used.
    pub examples: u64,
    /// Examples in the set.
    pub examples_total: u64,
    /// Whether it ran on a shipped slice instead of the full set.
    pub fixture: bool,
    /// Accuracy of guessing.
    pub chance: Option<f64>,
    /// `known`, `altered`, `not checked` or `fixture`: how the examples compare with the published split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The same of the examples in the prompts, where they are of another split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fewshot_content: Option<String>,
    /// What the evaluation warned of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Unweighted mean over tasks; fractions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Average {
    /// The mean.
    pub mean: f64,
    /// Root of the summed squared errors, divided by the number of tasks; unknown if one of them is.
    pub stderr: Option<f64>,
    /// Number of tasks.
    pub tasks: usize,
}

impl Average {
    /// The average of `(score, standard error)` pairs; `None` of nothing.
    pub fn of(scores: impl IntoIterator<Item = (f64, Option<f64>)>) -> Option<Self> {
        let (mut tasks, mut sum, mut squares) = (0, 0.0, Some(0.0));
        for (score, stderr) in scores {
            tasks += 1;
            sum += score;
            squares = squares.zip(stderr).map(|(all, one)| all + one * one);
        }
        (tasks > 0).then(|| Self {
            mean: sum / tasks as f64,
            stderr: squares.map(|squares: f64| squares.sqrt() / tasks as f64),
            tasks,
        })
    }
}

/// The paper's numbers for the same model; percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PaperNumbers {
    /// Id of the row, such as `T11-125M-30L`.
    pub row: String,
    /// What the row is.
    pub label: String,
    /// Training tokens.
    pub tokens: Option<f64>,
    /// Accuracy by task.
    pub scores_percent: BTreeMap<String, f64>,
    /// The printed average of the eight tasks.
    pub average_percent: f64,
    /// Mean of the seven others, derived.
    pub average_without_boolq_percent: f64,
}

impl PaperNumbers {
    pub(crate) fn of(row: &paper::PaperRow) -> Self {
        let tasks = paper::TASKS.iter().map(|task| (*task).to_owned());
        Self {
            row: row.id.into(),
            label: row.label.into(),
            tokens: row.tokens,
            scores_percent: tasks.zip(row.scores).collect(),
            average_percent: row.average,
            average_without_boolq_percent: row.average_without_boolq(),
        }
    }
}

/// What differs from one execution of the same run to the next.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Timing {
    /// Seconds spent training, all attempts together.
    pub train_s: f64,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunResult {
    /// Name of the run.
    pub name: String,
    /// The variant: runs of one variant differ in their seed alone.
    pub variant: String,
    /// Seed of the run.
    pub seed: u64,
    /// What the sweep varied, and this run's values.
    pub axes: BTreeMap<String, serde_json::Value>,
    /// The configuration, as it was named on the command line.
    pub config: PathBuf,
    /// The run directory, relative to the sweep directory.
    pub dir: PathBuf,
    /// How far it got.
    pub state: RunState,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// What the configuration says.
    pub facts: RunFacts,
    /// Steps done.
    pub step: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// FLOPs of all training steps done.
    pub train_flops: Option<f64>,
    /// Batches left out because of non-finite numbers.
    pub skipped_batches: u64,
    /// Last validation loss, nats per token.
    pub valid_loss: Option<f64>,
    /// Last validation loss, bits per byte of text.
    pub valid_bits_per_byte: Option<f64>,
    /// Zero-shot scores by task.
    pub tasks: BTreeMap<String, TaskScore>,
    /// Mean accuracy over the tasks.
    pub average: Option<Average>,
    /// The same without BoolQ, whose noise dominates small models' averages.
    pub average_without_boolq: Option<Average>,
    /// Mean of `acc_norm` where a task has it and `acc` where not.
    pub average_norm: Option<Average>,
    /// Mean accuracy of guessing over the same tasks.
    pub average_chance: Option<f64>,
    /// The paper's numbers for the same model.
    pub paper: Option<PaperNumbers>,
    /// Code, data and evaluation.
    pub provenance: Provenance,
    /// Wall time.
    pub timing: Timing,
    /// Time of decoding, if it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode: Option<DecodeFile>,
    /// Loss curves; not part of `results.json`, `metrics.jsonl` of the run has them.
    #[serde(skip)]
    pub curves: Curves,
    /// Answers question by question; not part of `results.json` either.
    #[serde(skip)]
    pub(crate) examples: Examples,
    /// The resolved configuration as dotted keys; not part of `results.json` either.
    #[serde(skip)]
    pub(crate) settings: BTreeMap<String, String>,
}

impl RunResult {
    /// Whether the run's numbers are those of its whole budget: it was trained to its end, though its
    /// evaluation may have failed.
    pub fn counts(&self) -> bool {
        let eval = crate::manifest::Stage::Eval;
        let failed_later = self
            .failure
            .as_ref()
            .is_some_and(|failure| failure.stage == eval);
        self.state.is_trained() || (failed_later && self.valid_loss.is_some())
    }
}

/// Everything a sweep directory holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SweepResults {
    /// [`RESULTS_FORMAT`].
    pub format: String,
    /// Name of the sweep: its directory's.
    pub name: String,
    /// The verdict in words.
    pub summary: Vec<Sentence>,
    /// Files that could not be read.
    pub warnings: Vec<String>,
    /// How the search stands, if the sweep is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<Standing>,
    /// The runs, by name, numbers in names counting as numbers.
    pub runs: Vec<RunResult>,
    /// Runs that differ in their seed alone, together.
    pub variants: Vec<VariantResult>,
    /// Metrics by which not all variants compare, because they were not measured alike.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub measured_apart: Vec<MeasuredApart>,
    /// The noise between seeds, by metric; empty with one seed.
    pub noise: Vec<NoiseFloor>,
    /// Differences between variants, by metric.
    pub comparisons: Vec<Comparison>,
    /// Trends over depth.
    pub trend: Vec<DepthTrend>,
    /// Quality against cost.
    pub pareto: Vec<Front>,
}

impl SweepResults {
    /// Tasks measured or printed for any run: the paper's eight in its order, then others.
    pub fn task_columns(&self) -> Vec<&str> {
        let measured = |task: &&str| self.runs.iter().any(|run| run.tasks.contains_key(*task));
        let mut columns: Vec<&str> = paper::TASKS.into_iter().filter(measured).collect();
        for task in self.runs.iter().flat_map(|run| run.tasks.keys()) {
            if !columns.contains(&task.as_str()) {
                columns.push(task);
            }
        }
        columns
    }

    /// Why not all variants compare by `metric`; `None` if they do.
    pub(crate) fn apart(&self, metric: &Metric) -> Option<&MeasuredApart> {
        let mut all = self.measured_apart.iter();
        all.find(|apart| apart.metric == metric.name())
    }

    /// The variants that have `metric`, in sets that compare.
    pub(crate) fn sets(&self, metric: &Metric) -> Vec<Vec<&VariantResult>> {
        let with = |variant: &&VariantResult| variant.spread(metric).is_some();
        let all: Vec<&VariantResult> = self.variants.iter().filter(with).collect();
        let Some(apart) = self.apart(metric) else {
            return if all.is_empty() {
                Vec::new()
            } else {
                vec![all]
            };
        };
        let set = |names: &[String]| -> Vec<&VariantResult> {
            let own = all.iter().filter(|variant| names.contains(&variant.name));
            own.copied().collect()
        };
        apart
            .alike
            .iter()
            .map(|alike| set(&alike.variants))
            .collect()
    }

    /// Whether any task ran on a shipped slice or on part of its set.
    pub fn is_partial(&self) -> bool {
        self.scores()
            .any(|score| score.fixture || score.examples < score.examples_total)
    }

    /// Every task score of every run.
    pub fn scores(&self) -> impl Iterator<Item = &TaskScore> {
        self.runs.iter().flat_map(|run| run.tasks.values())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_knows_its_error_only_if_all_parts_do() {
        let known = Average::of([(0.3, Some(0.03)), (0.5, Some(0.04))]).unwrap();
        assert_eq!((known.mean, known.tasks), (0.4, 2));
        assert!((known.stderr.unwrap() - 0.025).abs() < 1e-15);
        assert_eq!(
            Average::of([(0.3, Some(0.03)), (1.0, None)])
                .unwrap()
                .stderr,
            None
        );
        assert_eq!(Average::of([]), None);
    }
}
