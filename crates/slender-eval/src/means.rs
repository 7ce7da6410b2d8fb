//! Means over tasks, with intervals from a bootstrap within tasks.
//!
//! The mean is over the paper's eight tasks when all of them were run, else over every task that has an
//! accuracy; BLiMP's sub-tasks have a mean of their own. BoolQ is left out of a second mean: its majority
//! class is 62 %, and small models score anything between 40 and 62 there by the balance of two words. The
//! chance-corrected mean maps chance to 0 and all right to 1 in each task first: a task with two choices then
//! counts for no more than one with four.

use serde::{Deserialize, Serialize};

use crate::records::ExampleRecord;
use crate::report::TaskReport;
use crate::tasks::{self, GROUPS, PAPER_TASKS};
use slender_stats::bootstrap;

/// A mean over tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// `tasks` or a group's name.
    pub over: String,
    /// Tasks of the group in all, of which `tasks` were run; `None` for a mean over tasks of no group.
    #[serde(default)]
    pub group: Option<usize>,
    /// `acc`, `acc_norm`, `paper`, `chance_corrected`, `bits_per_byte` or `margin`.
    pub metric: String,
    /// Whether BoolQ is among the tasks.
    pub with_boolq: bool,
    /// Number of tasks.
    pub tasks: usize,
    /// The mean.
    pub value: f64,
    /// Standard error, the tasks taken as independent.
    pub stderr: f64,
    /// Lower end of the 95 % interval of the stratified bootstrap.
    pub low: f64,
    /// Upper end of it.
    pub high: f64,
}

impl Mean {
    /// The group's name; for a part of the group, which part.
    pub fn label(&self) -> String {
        group_label(&self.over, self.tasks)
    }
}

/// The name of a group of which `tasks` were run; for a part of the group, which part.
pub fn group_label(over: &str, tasks: usize) -> String {
    match group_size(over) {
        Some(all) if tasks < all => format!("{tasks} of {over}'s {all}"),
        _ => over.to_owned(),
    }
}

/// Tasks of the group of this name.
fn group_size(name: &str) -> Option<usize> {
    let group = GROUPS.iter().find(|group| group.name == name)?;
    Some(
        tasks::list()
            .iter()
            .filter(|task| group.holds(task))
            .count(),
    )
}

/// What a mean is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// By log-likelihood.
    Acc,
    /// By log-likelihood per character; `Acc` in tasks that do not report it.
    AccNorm,
    /// By the `paper` protocol.
    Paper,
    /// `Acc`, with chance at 0 and all right at 1.
    ChanceCorrected,
    /// Bits per byte of the right answer.
    BitsPerByte,
    /// Log-likelihood of the right choice less that of the likeliest wrong one.
    Margin,
}

impl Score {
    /// Every score, in the order of the reports.
    pub const ALL: [Score; 6] = [
        Score::Acc,
        Score::AccNorm,
        Score::Paper,
        Score::ChanceCorrected,
        Score::BitsPerByte,
        Score::Margin,
    ];

    /// The name in result files.
    pub fn name(self) -> &'static str {
        match self {
            Score::Acc => "acc",
            Score::AccNorm => "acc_norm",
            Score::Paper => "paper",
            Score::ChanceCorrected => "chance_corrected",
            Score::BitsPerByte => "bits_per_byte",
            Score::Margin => "margin",
        }
    }

    /// The score of one example.
    pub fn of(self, record: &ExampleRecord) -> Option<f64> {
        let share = |right: bool| f64::from(u8::from(right));
        let acc = record.truth_share.unwrap_or_else(|| share(record.right));
        let task = tasks::find(&record.task).ok()?;
        match self {
            Score::Acc => Some(acc),
            Score::AccNorm if task.reports(tasks::Metric::AccNorm) => {
                Some(share(record.right_norm))
            }
            Score::AccNorm => Some(acc),
            Score::Paper => record.right_paper.map(share),
            Score::BitsPerByte => record.bits_per_byte,
            Score::Margin => record.margin,
            Score::ChanceCorrected => {
                let chance = match &record.truths {
                    Some(truths) => {
                        let true_ones = truths.iter().filter(|truth| **truth).count();
                        true_ones as f64 / truths.len() as f64
                    }
                    None => 1.0 / record.choices.len() as f64,
                };
                task.has_choices().then(|| (acc - chance) / (1.0 - chance))
            }
        }
    }
}

/// The tasks among `names` that a mean over tasks counts.
pub fn averaged<'a>(names: &[&'a str]) -> Vec<&'a str> {
    if PAPER_TASKS.iter().all(|task| names.contains(task)) {
        return names
            .iter()
            .copied()
            .filter(|n| PAPER_TASKS.contains(n))
            .collect();
    }
    let counts = |name: &&str| {
        tasks::find(name).is_ok_and(|task| {
            task.reports(tasks::Metric::Acc) && tasks::group_of(task.name).is_none()
        })
    };
    names.iter().copied().filter(counts).collect()
}

/// The sets of tasks that means are over: name, tasks, whether BoolQ is among them.
pub fn sets<'a>(names: &[&'a str]) -> Vec<(&'static str, Vec<&'a str>, bool)> {
    let all = averaged(names);
    let without: Vec<&str> = all.iter().copied().filter(|n| *n != "boolq").collect();
    let has_boolq = without.len() < all.len();
    let mut sets = Vec::new();
    if all.len() > 1 {
        sets.push(("tasks", all, has_boolq));
        if has_boolq {
            sets.push(("tasks", without, false));
        }
    }
    for group in GROUPS.iter().filter(|group| group.mean) {
        let member = |n: &&str| tasks::find(n).is_ok_and(|task| group.holds(task));
        let members: Vec<&str> = names.iter().copied().filter(member).collect();
        if members.len() > 1 {
            sets.push((group.name, members, false));
        }
    }
    sets
}

/// The scores of each task's examples; `None` where an example has none.
pub fn strata(names: &[&str], records: &[ExampleRecord], score: Score) -> Option<Vec<Vec<f64>>> {
    let of_task = |name: &&str| {
        let own = records.iter().filter(|record| record.task == **name);
        let values: Option<Vec<f64>> = own.map(|record| score.of(record)).collect();
        values.filter(|values| !values.is_empty())
    };
    names.iter().map(of_task).collect()
}

/// Every mean over the tasks that were run.
pub(crate) fn means(reports: &[TaskReport], records: &[ExampleRecord]) -> Vec<Mean> {
    let names: Vec<&str> = reports.iter().map(|report| report.task.as_str()).collect();
    let mut means = Vec::new();
    for (over, names, with_boolq) in sets(&names) {
        for score in Score::ALL {
            let Some(strata) = strata(&names, records, score) else {
                continue;
            };
            let k = strata.len() as f64;
            let tasks = strata
                .iter()
                .map(|v| crate::metrics::mean(v.iter().copied()));
            let variance: f64 = tasks.clone().map(|t| t.stderr.unwrap_or(0.0).powi(2)).sum();
            let (low, high) = bootstrap::interval(bootstrap::means(&strata), 0.95);
            means.push(Mean {
                over: over.to_owned(),
                group: group_size(over),
                metric: score.name().to_owned(),
                with_boolq,
                tasks: names.len(),
                value: tasks.map(|t| t.value).sum::<f64>() / k,
                stderr: variance.sqrt() / k,
                low,
                high,
            });
        }
    }
    means
}
