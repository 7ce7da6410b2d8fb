//! What is compared: validation loss, the means over tasks, and each task.

use super::examples::{Examples, stratum};
use crate::results::RunResult;
use std::collections::BTreeSet;

/// One number of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    /// Validation loss in bits per byte of text; less is better.
    BitsPerByte,
    /// Validation loss in nats per token; less is better.
    Loss,
    /// Mean accuracy over the tasks.
    Average,
    /// The same without BoolQ.
    AverageWithoutBoolq,
    /// Accuracy on a task.
    Task(String),
}

impl Metric {
    /// The name in `results.json`.
    pub fn name(&self) -> &str {
        match self {
            Metric::BitsPerByte => "valid_bits_per_byte",
            Metric::Loss => "valid_loss",
            Metric::Average => "average",
            Metric::AverageWithoutBoolq => "average_without_boolq",
            Metric::Task(task) => task,
        }
    }

    /// Whether smaller values are better.
    pub fn less_is_better(&self) -> bool {
        matches!(self, Metric::BitsPerByte | Metric::Loss)
    }

    /// The metric of one run, if it has it.
    pub fn of(&self, run: &RunResult) -> Option<f64> {
        match self {
            Metric::BitsPerByte => run.valid_bits_per_byte,
            Metric::Loss => run.valid_loss,
            Metric::Average => run.average.map(|average| average.mean),
            Metric::AverageWithoutBoolq => run.average_without_boolq.map(|average| average.mean),
            Metric::Task(task) => run.tasks.get(task).map(|score| score.acc),
        }
    }

    /// The tasks that a run's value is the mean of; empty for losses.
    pub fn tasks<'a>(&'a self, run: &'a RunResult) -> Vec<&'a str> {
        let all = || run.tasks.keys().map(String::as_str);
        match self {
            Metric::BitsPerByte | Metric::Loss => Vec::new(),
            Metric::Average => all().collect(),
            Metric::AverageWithoutBoolq => all().filter(|task| *task != "boolq").collect(),
            Metric::Task(task) => vec![task],
        }
    }

    /// The runs' answers, one stratum a task; `None` if they are not all there for the same questions.
    pub fn strata(&self, runs: &[&RunResult]) -> Option<Vec<Vec<Vec<f64>>>> {
        let first = runs.first()?;
        let tasks = self.tasks(first);
        if tasks.is_empty() || runs.iter().any(|run| self.tasks(run) != tasks) {
            return None;
        }
        let examples: Vec<&Examples> = runs.iter().map(|run| &run.examples).collect();
        let strata: Option<Vec<_>> = tasks.iter().map(|task| stratum(&examples, task)).collect();
        // The answers must be those that the scores were computed from.
        let agree = |strata: &Vec<Vec<Vec<f64>>>| {
            runs.iter().enumerate().all(|(index, run)| {
                tasks.iter().zip(strata).all(|(task, rows)| {
                    let row = &rows[index];
                    let mean = row.iter().sum::<f64>() / row.len() as f64;
                    let score = run.tasks.get(*task).map_or(f64::NAN, |score| score.acc);
                    (mean - score).abs() < 1e-6
                })
            })
        };
        strata.filter(agree)
    }
}

/// Every metric that any run has: losses, means, then tasks by name.
pub(crate) fn metrics(runs: &[RunResult]) -> Vec<Metric> {
    let mut metrics = vec![
        Metric::BitsPerByte,
        Metric::Loss,
        Metric::Average,
        Metric::AverageWithoutBoolq,
    ];
    let tasks: BTreeSet<&String> = runs.iter().flat_map(|run| run.tasks.keys()).collect();
    metrics.extend(tasks.into_iter().cloned().map(Metric::Task));
    metrics.retain(|metric| runs.iter().any(|run| metric.of(run).is_some()));
    // One task is its own mean.
    let single = runs.iter().all(|run| run.tasks.len() < 2);
    metrics.retain(|metric| !single || *metric != Metric::AverageWithoutBoolq);
    metrics
}
