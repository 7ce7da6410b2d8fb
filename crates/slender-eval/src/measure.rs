//! A task's metrics from the records of its examples.
//!
//! Computed from records and not beside them, so that a file of records gives the same numbers again.

use crate::metrics::{Estimate, accuracy, mean};
use crate::perplexity::count_words;
use crate::records::ExampleRecord;
use crate::tasks::{Metric, Output, Task};

/// Every metric that the task reports, in its order.
pub(crate) fn measure(task: &Task, records: &[ExampleRecord]) -> Vec<(String, Estimate)> {
    let of = |metric: &Metric| (metric.name().to_owned(), estimate(task, *metric, records));
    task.metrics.iter().map(of).collect()
}

fn estimate(task: &Task, metric: Metric, records: &[ExampleRecord]) -> Estimate {
    let log_likelihood = |r: &ExampleRecord| r.log_likelihoods.iter().sum::<f64>();
    let per = |count: &dyn Fn(&ExampleRecord) -> usize| {
        let pairs = records
            .iter()
            .map(|r| (-log_likelihood(r), count(r) as f64));
        ratio(&pairs.collect::<Vec<_>>())
    };
    let words = |r: &ExampleRecord| count_words(&r.choices[0]);
    let bytes = |r: &ExampleRecord| r.bytes[0];
    match metric {
        Metric::Acc if task.output == Output::Truths => {
            mean(records.iter().map(|r| r.truth_share.unwrap_or(f64::NAN)))
        }
        Metric::Acc | Metric::ExactMatch => accuracy(records.iter().map(|r| r.right)),
        Metric::AccNorm => accuracy(records.iter().map(|r| r.right_norm)),
        Metric::Perplexity => exp(mean(records.iter().map(|r| -log_likelihood(r)))),
        Metric::WordPerplexity => exp(per(&words)),
        Metric::BytePerplexity => exp(per(&bytes)),
        Metric::TokenPerplexity => exp(per(&|r| r.tokens[0])),
        Metric::BitsPerByte => scaled(per(&bytes), 1.0 / std::f64::consts::LN_2),
    }
}

/// Σx / Σy over documents, with the error of a ratio of sums; unknown for a single one.
fn ratio(pairs: &[(f64, f64)]) -> Estimate {
    let n = pairs.len() as f64;
    let (x, y) = pairs
        .iter()
        .fold((0.0, 0.0), |(x, y), pair| (x + pair.0, y + pair.1));
    let value = x / y;
    let squares: f64 = pairs.iter().map(|(x, y)| (x - value * y).powi(2)).sum();
    Estimate {
        value,
        stderr: (pairs.len() > 1).then(|| (squares * n / (n - 1.0)).sqrt() / y),
    }
}

/// exp, with the error to first order.
fn exp(estimate: Estimate) -> Estimate {
    let value = estimate.value.exp();
    Estimate {
        value,
        stderr: estimate.stderr.map(|stderr| stderr * value),
    }
}

fn scaled(estimate: Estimate, factor: f64) -> Estimate {
    Estimate {
        value: estimate.value * factor,
        stderr: estimate.stderr.map(|stderr| stderr * factor),
    }
}

/// The scores beside the harness's metrics, where the task has them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Extras {
    /// Accuracy by the `paper` protocol.
    pub paper: Option<Estimate>,
    /// Mean bits per byte of the right answer: smooth where accuracy is at chance.
    pub bits_per_byte: Option<Estimate>,
    /// Mean log-likelihood of the right choice less that of the likeliest wrong one, in nats.
    pub margin: Option<Estimate>,
}

pub(crate) fn extras(task: &Task, records: &[ExampleRecord]) -> Extras {
    let all = |field: &dyn Fn(&ExampleRecord) -> Option<f64>| {
        let values: Option<Vec<f64>> = records.iter().map(field).collect();
        values.map(|values| mean(values.into_iter()))
    };
    if !task.has_choices() && task.output != Output::Continuation {
        return Extras::default();
    }
    Extras {
        paper: all(&|r| r.right_paper.map(|right| f64::from(u8::from(right)))),
        bits_per_byte: all(&|r| r.bits_per_byte),
        margin: all(&|r| r.margin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks;

    fn record(log_likelihood: f64, text: &str, right: bool) -> ExampleRecord {
        ExampleRecord {
            log_likelihoods: vec![log_likelihood],
            choices: vec![text.to_owned()],
            bytes: vec![text.len()],
            tokens: vec![text.len()],
            right,
            ..ExampleRecord::default()
        }
    }

    #[test]
    fn texts_are_weighted_by_their_length() {
        let task = tasks::find("wikitext").unwrap();
        let records = [record(-6.0, "a b c", true), record(-2.0, "d", true)];
        let all = measure(task, &records);
        let value = |name: &str| all.iter().find(|m| m.0 == name).unwrap().1.value;
        assert!((value("word_perplexity").ln() - 8.0 / 4.0).abs() < 1e-12);
        assert!((value("byte_perplexity").ln() - 8.0 / 6.0).abs() < 1e-12);
        assert!((value("bits_per_byte") - 8.0 / 6.0 / std::f64::consts::LN_2).abs() < 1e-12);
    }

    #[test]
    fn a_continuation_has_accuracy_and_perplexity() {
        let task = tasks::find("lambada_openai").unwrap();
        let records = [record(-1.0, "x", true), record(-3.0, "y", false)];
        let all = measure(task, &records);
        assert_eq!(all[0].0, "perplexity");
        assert!((all[0].1.value - 2.0_f64.exp()).abs() < 1e-12);
        assert!((all[0].1.stderr.unwrap() - 2.0_f64.exp()).abs() < 1e-12);
        assert_eq!(all[1].1.value, 0.5);
    }
}
