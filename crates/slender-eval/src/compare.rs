//! Two models on the same examples: differences, intervals, and p values that allow for many tasks.
//!
//! Both answered the same questions, so what is tested is where they differ: McNemar's exact test on the
//! examples that only one of them got right, and a bootstrap of the paired differences, which also serves
//! scores that are no right or wrong. With a dozen tasks one in twenty differs by luck; Holm's correction
//! makes the p values of the tasks hold together.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use crate::error::EvalError;
use crate::means::{Score, group_label, sets, strata};
use crate::metrics::mean;
use crate::perplexity::count_words;
use crate::records::ExampleRecord;
use crate::tasks::{self, Metric, Output};
use slender_stats::bootstrap;
pub use slender_stats::mcnemar;

/// A line of the comparison: one score of one task, or a mean over tasks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Task, or what the mean is over.
    pub over: String,
    /// The score.
    pub score: String,
    /// Examples, or tasks of a mean.
    pub n: usize,
    /// The first model's.
    pub a: f64,
    /// The second model's.
    pub b: f64,
    /// `b − a`.
    pub difference: f64,
    /// Lower end of the 95 % interval of the difference (paired bootstrap).
    pub low: f64,
    /// Upper end of it.
    pub high: f64,
    /// Two-sided p value: McNemar's exact test for right and wrong, else of the bootstrap.
    pub p: f64,
    /// The same after Holm's correction over the tasks; `None` for means.
    pub p_holm: Option<f64>,
    /// Examples that only the first model got right, and only the second.
    pub only: Option<(usize, usize)>,
}

/// The comparison of two models.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// `slender-compare/1`.
    pub format: &'static str,
    /// The first model.
    pub a: String,
    /// The second model.
    pub b: String,
    /// Every score of every task, then the means.
    pub rows: Vec<Difference>,
    /// Tasks that only one of them has, and other things to know.
    pub notes: Vec<String>,
}

/// Compares the records of two models.
///
/// # Errors
/// No task in common that this program knows, or a task whose examples are not the same.
pub fn compare(
    a: (&str, &[ExampleRecord]),
    b: (&str, &[ExampleRecord]),
) -> Result<Comparison, EvalError> {
    let (mut pairs, mut notes) = pairs(a, b)?;
    pairs.retain(|pair| {
        let known = tasks::find(pair.task).is_ok();
        if !known {
            notes.push(format!(
                "{} is no task of this program: not compared",
                pair.task
            ));
        }
        known
    });
    if pairs.is_empty() {
        return Err(EvalError::Compare(
            "this program knows none of the tasks that the two results have in common\n  hint: `slender eval list` shows the tasks"
                .into(),
        ));
    }
    let mut rows: Vec<Difference> = Vec::new();
    for pair in &pairs {
        rows.extend(task_rows(pair.task, &pair.left, &pair.right));
    }
    holm(&mut rows);
    rows.extend(mean_rows(&pairs));
    Ok(Comparison {
        format: "slender-compare/1",
        a: a.0.to_owned(),
        b: b.0.to_owned(),
        rows,
        notes,
    })
}

/// Whether two models' records are of the same examples.
///
/// # Errors
/// No task in common, or a task whose examples are not the same.
pub(crate) fn check(
    a: (&str, &[ExampleRecord]),
    b: (&str, &[ExampleRecord]),
) -> Result<(), EvalError> {
    pairs(a, b).map(|_| ())
}

/// The tasks that both have, and what is to be noted of the others.
fn pairs<'a>(
    a: (&str, &'a [ExampleRecord]),
    b: (&str, &'a [ExampleRecord]),
) -> Result<(Vec<Pair<'a>>, Vec<String>), EvalError> {
    let (left, right) = (by_task(a.1), by_task(b.1));
    let mut notes = Vec::new();
    for (name, own, other) in [(a.0, &left, &right), (b.0, &right, &left)] {
        for (task, _) in own
            .iter()
            .filter(|(task, _)| !other.iter().any(|o| o.0 == *task))
        {
            notes.push(format!("only {name} has {task}"));
        }
    }
    let mut pairs: Vec<Pair<'_>> = Vec::new();
    for (task, left) in &left {
        if let Some((_, right)) = right.iter().find(|other| other.0 == *task) {
            let (left, right) = paired(task, left, right, &mut notes)?;
            pairs.push(Pair { task, left, right });
        }
    }
    if pairs.is_empty() {
        return Err(EvalError::Compare(
            "the two results have no task in common\n  hint: evaluate both on the same --tasks"
                .into(),
        ));
    }
    Ok((pairs, notes))
}

/// The examples of a task that both models answered, in the same order.
struct Pair<'a> {
    task: &'a str,
    left: Vec<ExampleRecord>,
    right: Vec<ExampleRecord>,
}

/// Records of each task, in the order of the file.
fn by_task(records: &[ExampleRecord]) -> Vec<(&str, Vec<&ExampleRecord>)> {
    let mut tasks: Vec<(&str, Vec<&ExampleRecord>)> = Vec::new();
    let mut place: HashMap<&str, usize> = HashMap::new();
    for record in records {
        let at = *place.entry(&record.task).or_insert_with(|| {
            tasks.push((&record.task, Vec::new()));
            tasks.len() - 1
        });
        tasks[at].1.push(record);
    }
    tasks
}

/// The examples that both have, in order.
fn paired(
    task: &str,
    left: &[&ExampleRecord],
    right: &[&ExampleRecord],
    notes: &mut Vec<String>,
) -> Result<(Vec<ExampleRecord>, Vec<ExampleRecord>), EvalError> {
    let of_doc: HashMap<usize, &ExampleRecord> = right.iter().map(|r| (r.doc_id, *r)).collect();
    let mut pairs = (Vec::new(), Vec::new());
    for record in left {
        let Some(other) = of_doc.get(&record.doc_id) else {
            continue;
        };
        if !record.same_example(other) {
            return Err(EvalError::Compare(format!(
                "example {} of {task} is not the same in both results\n  hint: evaluate both with the same data, --num-fewshot and --fewshot-seed",
                record.doc_id
            )));
        }
        pairs.0.push((*record).clone());
        pairs.1.push((*other).clone());
    }
    let n = pairs.0.len();
    if n == 0 {
        return Err(EvalError::Compare(format!(
            "{task}: the two results have no example in common"
        )));
    }
    if n < left.len().max(right.len()) {
        notes.push(format!(
            "{task}: the {n} examples that both have, of {} and {}",
            left.len(),
            right.len()
        ));
    }
    Ok(pairs)
}

/// The values of both models on the same examples.
type Paired = (Vec<f64>, Vec<f64>);

/// The scores of one task.
fn task_rows(task: &str, left: &[ExampleRecord], right: &[ExampleRecord]) -> Vec<Difference> {
    let Ok(known) = tasks::find(task) else {
        return Vec::new();
    };
    if known.output == Output::Text {
        return text_rows(task, left, right);
    }
    let mut rows = Vec::new();
    let scored = |score: Score| {
        let values = |records: &[ExampleRecord]| -> Option<Vec<f64>> {
            records.iter().map(|record| score.of(record)).collect()
        };
        values(left).zip(values(right))
    };
    let mut scores: Vec<(&str, Option<Paired>)> = Vec::new();
    if known.reports(Metric::Acc) || known.reports(Metric::ExactMatch) {
        let name = if known.reports(Metric::Acc) {
            "acc"
        } else {
            "exact_match"
        };
        scores.push((name, scored(Score::Acc)));
    }
    if known.reports(Metric::AccNorm) {
        scores.push(("acc_norm", scored(Score::AccNorm)));
    }
    scores.push(("paper", scored(Score::Paper)));
    let field = |of: &dyn Fn(&ExampleRecord) -> Option<f64>| {
        let values =
            |records: &[ExampleRecord]| -> Option<Vec<f64>> { records.iter().map(of).collect() };
        values(left).zip(values(right))
    };
    scores.push(("bits/byte", field(&|r| r.bits_per_byte)));
    scores.push(("margin", field(&|r| r.margin)));
    for (name, values) in scores {
        if let Some((a, b)) = values {
            rows.push(difference(task, name, &a, &b));
        }
    }
    if known.reports(Metric::Perplexity) {
        let one = |_: &ExampleRecord| 1;
        rows.push(ratio(task, "perplexity", (left, right), &one, f64::exp));
    }
    rows
}

/// The scores of whole texts: sums of log-likelihoods over sums of words and bytes, as the task's own metrics.
fn text_rows(task: &str, left: &[ExampleRecord], right: &[ExampleRecord]) -> Vec<Difference> {
    let words = |r: &ExampleRecord| r.choices.first().map_or(0, |text| count_words(text));
    let bytes = |r: &ExampleRecord| r.choices.first().map_or(0, String::len);
    let bits = |nats: f64| nats / std::f64::consts::LN_2;
    let both = (left, right);
    vec![
        ratio(task, "word_perplexity", both, &words, f64::exp),
        ratio(task, "byte_perplexity", both, &bytes, f64::exp),
        ratio(task, "bits/byte", both, &bytes, bits),
    ]
}

/// `of(Σ −log-likelihood / Σ count)` of both models; each draw of the bootstrap takes the same texts from both.
fn ratio(
    task: &str,
    score: &str,
    (left, right): (&[ExampleRecord], &[ExampleRecord]),
    count: &dyn Fn(&ExampleRecord) -> usize,
    of: fn(f64) -> f64,
) -> Difference {
    let nats = |records: &[ExampleRecord]| -> Vec<f64> {
        let of_record = |r: &ExampleRecord| -r.log_likelihoods.iter().sum::<f64>();
        records.iter().map(of_record).collect()
    };
    let (a, b) = (nats(left), nats(right));
    let counts: Vec<f64> = left.iter().map(|record| count(record) as f64).collect();
    let over = |nats: &[f64], places: &[usize]| {
        let sum = |values: &[f64]| places.iter().map(|&i| values[i]).sum::<f64>();
        of(sum(nats) / sum(&counts))
    };
    let draws = bootstrap::statistics(counts.len(), |places| over(&b, places) - over(&a, places));
    let all: Vec<usize> = (0..counts.len()).collect();
    let (a, b) = (over(&a, &all), over(&b, &all));
    let p = bootstrap::p_value(&draws);
    let (low, high) = bootstrap::interval(draws, 0.95);
    Difference {
        over: task.to_owned(),
        score: score.to_owned(),
        n: counts.len(),
        a,
        b,
        difference: b - a,
        low,
        high,
        p,
        p_holm: None,
        only: None,
    }
}

/// One line from the paired values of the examples.
fn difference(task: &str, score: &str, a: &[f64], b: &[f64]) -> Difference {
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - a).collect();
    let draws = bootstrap::means(std::slice::from_ref(&differences));
    let binary = a.iter().chain(b).all(|x| *x == 0.0 || *x == 1.0);
    let only = binary.then(|| {
        let count = |sign: f64| differences.iter().filter(|d| **d == sign).count();
        (count(-1.0), count(1.0))
    });
    let p = only.map_or_else(|| bootstrap::p_value(&draws), |(a, b)| mcnemar(a, b));
    let (low, high) = bootstrap::interval(draws, 0.95);
    let average = |values: &[f64]| mean(values.iter().copied()).value;
    Difference {
        over: task.to_owned(),
        score: score.to_owned(),
        n: a.len(),
        a: average(a),
        b: average(b),
        difference: average(&differences),
        low,
        high,
        p,
        p_holm: None,
        only,
    }
}

/// Means over tasks, each task's examples drawn anew among themselves.
fn mean_rows(pairs: &[Pair<'_>]) -> Vec<Difference> {
    let names: Vec<&str> = pairs.iter().map(|pair| pair.task).collect();
    let left: Vec<ExampleRecord> = pairs.iter().flat_map(|pair| pair.left.clone()).collect();
    let right: Vec<ExampleRecord> = pairs.iter().flat_map(|pair| pair.right.clone()).collect();
    let mut rows = Vec::new();
    let sets = sets(&names);
    let has_boolq = sets.iter().any(|set| set.2);
    for (over, names, with_boolq) in sets {
        for score in Score::ALL {
            let Some((a, b)) = strata(&names, &left, score).zip(strata(&names, &right, score))
            else {
                continue;
            };
            let subtract = |(a, b): (&Vec<f64>, &Vec<f64>)| -> Vec<f64> {
                a.iter().zip(b).map(|(a, b)| b - a).collect()
            };
            let differences: Vec<Vec<f64>> = a.iter().zip(&b).map(subtract).collect();
            let draws = bootstrap::means(&differences);
            let average = |strata: &[Vec<f64>]| {
                strata
                    .iter()
                    .map(|v| mean(v.iter().copied()).value)
                    .sum::<f64>()
                    / strata.len() as f64
            };
            let p = bootstrap::p_value(&draws);
            let (low, high) = bootstrap::interval(draws, 0.95);
            rows.push(Difference {
                over: match (over, with_boolq) {
                    ("tasks", false) if has_boolq => "mean without boolq".to_owned(),
                    ("tasks", _) => "mean".to_owned(),
                    (group, _) => group_label(group, names.len()),
                },
                score: match score {
                    Score::BitsPerByte => "bits/byte".to_owned(),
                    _ => score.name().to_owned(),
                },
                n: names.len(),
                a: average(&a),
                b: average(&b),
                difference: average(&differences),
                low,
                high,
                p,
                p_holm: None,
                only: None,
            });
        }
    }
    rows
}

/// Holm's step-down correction, over the tasks separately for each score.
fn holm(rows: &mut [Difference]) {
    let mut scores: Vec<String> = rows.iter().map(|row| row.score.clone()).collect();
    scores.sort_unstable();
    scores.dedup();
    for score in scores {
        let own: Vec<usize> = (0..rows.len())
            .filter(|&i| rows[i].score == score)
            .collect();
        let p: Vec<f64> = own.iter().map(|&i| rows[i].p).collect();
        for (i, corrected) in own.into_iter().zip(slender_stats::holm(&p)) {
            rows[i].p_holm = Some(corrected);
        }
    }
}

impl fmt::Display for Comparison {
    /// A table, accuracies in percent; no colour, ends with a line break.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "a: {}\nb: {}\n", self.a, self.b)?;
        let head = [
            "",
            "score",
            "n",
            "a",
            "b",
            "b - a",
            "95 % interval",
            "p",
            "p (Holm)",
            "only a",
            "only b",
        ];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.rows.iter().map(cells));
        let width = |column: usize| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        for (i, row) in rows.iter().enumerate() {
            let mut line = format!(
                "{:<w0$}  {:<w1$}",
                row[0],
                row[1],
                w0 = widths[0],
                w1 = widths[1]
            );
            for (cell, width) in row.iter().zip(&widths).skip(2) {
                line += &format!("  {cell:>width$}");
            }
            writeln!(f, "{}", line.trim_end())?;
            if i == 0 {
                writeln!(
                    f,
                    "{}",
                    "-".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1))
                )?;
            }
        }
        writeln!(
            f,
            "accuracies in percent; bits/byte (of the right answer, or of the text) and perplexities: less is better; margin in nats"
        )?;
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

fn cells(row: &Difference) -> [String; 11] {
    let other = ["bits/byte", "margin"].contains(&row.score.as_str());
    let share = !other && !row.score.ends_with("perplexity");
    let (factor, digits) = if share { (100.0, 1) } else { (1.0, 3) };
    let number = |x: f64| format!("{:.digits$}", factor * x);
    let signed = |x: f64| format!("{:+.digits$}", factor * x);
    let p = |p: f64| {
        if p < 0.001 {
            "<0.001".to_owned()
        } else {
            format!("{p:.3}")
        }
    };
    let count = |n: Option<usize>| n.map_or_else(String::new, |n| n.to_string());
    [
        row.over.clone(),
        row.score.clone(),
        row.n.to_string(),
        number(row.a),
        number(row.b),
        signed(row.difference),
        format!("{} to {}", signed(row.low), signed(row.high)),
        p(row.p),
        row.p_holm.map_or_else(String::new, p),
        count(row.only.map(|only| only.0)),
        count(row.only.map(|only| only.1)),
    ]
}

#[cfg(test)]
mod tests;
