//! Differences between variants, with intervals, corrected p values, and the noise floor beside them.
//!
//! Losses are compared over seeds. Scores are compared over seeds and questions at once: the same
//! seeds of both variants answered the same questions, so what is averaged is the difference of each
//! pair of answers. The seeds' part of the variance comes from the noise pooled over all variants
//! ([`Noise`]), the questions' part from the pair ([`crossed`]). Holm's correction goes over all pairs
//! of variants of a metric; for the single tasks over all pairs of all tasks together.
//!
//! Variants that were not measured alike are not compared ([`super::alike`]). With one seed, or where the seeds
//! of every variant agree to the last digit, the noise is not known and every verdict is [`Verdict::Unknown`], whatever the
//! questions alone say (McNemar's test for a task).

use super::Measured;
use super::metric::Metric;
use super::variants::Group;
use crate::results::RunResult;
use serde::Serialize;
use slender_stats::{Estimate, Noise, crossed, holm_among, mcnemar};
use std::collections::BTreeMap;

/// Variants of which all pairs are compared; of more, each with the best.
const MOST_PAIRED: usize = 24;
/// Differences that are no more than the rounding of sums.
const ROUNDING: f64 = 1e-9;

/// The noise between seeds of one metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NoiseFloor {
    /// `valid_bits_per_byte`, `average`, `average_without_boolq` or a task.
    pub metric: String,
    /// The variants it was pooled over, where not all were measured alike.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<String>,
    /// Seeds of each variant; the fewest, where they differ.
    pub seeds: usize,
    /// The pooled standard deviations.
    #[serde(flatten)]
    pub noise: Noise,
    /// The smallest difference of two means over `seeds` seeds that is not noise, at 5 %.
    pub least_significant_difference: f64,
}

/// What a difference was tested over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// Seeds: the spread between them.
    Seeds,
    /// Seeds crossed with questions.
    SeedsAndQuestions,
    /// Questions alone: there is one seed, or the seeds agree to the last digit.
    Questions,
    /// Nothing: one seed, and no questions.
    Nothing,
}

/// What can be said of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// `b` is better: beyond the noise, and significant after Holm's correction.
    Better,
    /// `b` is worse, likewise.
    Worse,
    /// Smaller than the least significant difference between seeds.
    InsideNoise,
    /// Beyond the noise of seeds, but not significant among so many comparisons or questions.
    NotEstablished,
    /// One seed, or seeds that agree to the last digit: the noise is not known.
    Unknown,
}

impl Verdict {
    /// In words, for a table.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::InsideNoise => "inside the noise",
            Verdict::NotEstablished => "not established",
            Verdict::Unknown => "noise unknown",
        }
    }
}

/// A difference between two variants in one metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// `valid_bits_per_byte`, `average`, `average_without_boolq` or a task.
    pub metric: String,
    /// The first variant.
    pub a: String,
    /// The second variant.
    pub b: String,
    /// Seeds of the first variant in this comparison.
    pub seeds_a: usize,
    /// Seeds of the second.
    pub seeds_b: usize,
    /// What it was tested over.
    pub basis: Basis,
    /// `b − a`.
    pub difference: f64,
    /// Lower end of the 95 % interval of the difference.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Two-sided p value of "no difference".
    pub p: Option<f64>,
    /// The same after Holm's correction.
    pub p_holm: Option<f64>,
    /// The noise floor: the smallest difference over these seeds that is not noise.
    pub least_significant_difference: Option<f64>,
    /// What can be said.
    pub verdict: Verdict,
}

fn compared(metrics: &[Measured]) -> impl Iterator<Item = &Measured> {
    // Loss per token stands in where nothing measured bytes.
    let bytes = metrics.iter().any(|m| m.metric == Metric::BitsPerByte);
    let wanted = move |m: &&Measured| !bytes || m.metric != Metric::Loss;
    metrics.iter().filter(wanted)
}

/// The noise of every metric that has one.
pub(crate) fn noise_floors(groups: &[Group<'_>], metrics: &[Measured]) -> Vec<NoiseFloor> {
    let floor = |measured: &Measured, members: &[usize], noise: Option<Noise>| {
        let (noise, metric) = (noise?, &measured.metric);
        let counts = members
            .iter()
            .map(|index| groups[*index].by_seed(metric).len());
        let seeds = counts.filter(|n| *n > 0).min()?;
        let names = members.iter().map(|index| groups[*index].name.to_owned());
        Some(NoiseFloor {
            metric: metric.name().to_owned(),
            variants: match measured.apart {
                Some(_) => names.collect(),
                None => Vec::new(),
            },
            seeds,
            noise,
            least_significant_difference: noise.least_significant_difference(seeds, seeds),
        })
    };
    let of = |measured: &Measured| -> Vec<NoiseFloor> {
        let sets = measured.sets.iter();
        sets.filter_map(|(members, noise)| floor(measured, members, *noise))
            .collect()
    };
    compared(metrics).flat_map(of).collect()
}

/// All comparisons, metric by metric.
pub(crate) fn compare(groups: &[Group<'_>], metrics: &[Measured]) -> Vec<Comparison> {
    let mut all = Vec::new();
    let mut of_tasks = (Vec::new(), 0);
    for Measured { metric, sets, .. } in compared(metrics) {
        let (mut own, mut tests) = (Vec::new(), 0);
        for (members, noise) in sets {
            let (mut pairs, all) = pairs(groups, members, metric, *noise);
            own.append(&mut pairs);
            tests += all;
        }
        if matches!(metric, Metric::Task(_)) {
            of_tasks.0.append(&mut own);
            of_tasks.1 += tests;
        } else {
            judge(&mut own, tests, metric.less_is_better());
            all.append(&mut own);
        }
    }
    judge(&mut of_tasks.0, of_tasks.1, false);
    all.append(&mut of_tasks.0);
    all
}

/// The comparisons of one metric among variants that were measured alike, and how many pairs there are.
fn pairs(
    groups: &[Group<'_>],
    members: &[usize],
    metric: &Metric,
    noise: Option<Noise>,
) -> (Vec<Comparison>, usize) {
    let with: Vec<&Group<'_>> = members.iter().map(|index| &groups[*index]).collect();
    let n = with.len();
    let mean = |group: &Group<'_>| {
        let values = group.by_seed(metric);
        values.values().sum::<f64>() / values.len() as f64
    };
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    if n <= MOST_PAIRED {
        pairs.extend((0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))));
    } else {
        let sign = if metric.less_is_better() { 1.0 } else { -1.0 };
        let better =
            |a: &usize, b: &usize| (sign * mean(with[*a])).total_cmp(&(sign * mean(with[*b])));
        let best = (0..n).min_by(better).unwrap_or(0);
        pairs.extend((0..n).filter(|b| *b != best).map(|b| (best, b)));
    }
    let compared = pairs
        .into_iter()
        .map(|(a, b)| compare_pair(with[a], with[b], metric, noise));
    (compared.collect(), n * n.saturating_sub(1) / 2)
}

fn compare_pair(a: &Group<'_>, b: &Group<'_>, metric: &Metric, noise: Option<Noise>) -> Comparison {
    let (mut left, mut right) = (a.with(metric), b.with(metric));
    // A design with pairs keeps to the seeds that both have.
    if noise.is_some_and(|noise| noise.paired) {
        left.retain(|seed, _| right.contains_key(seed));
        right.retain(|seed, _| left.contains_key(seed));
    }
    let mean = |runs: &BTreeMap<u64, &RunResult>| {
        let values = runs.values().filter_map(|run| metric.of(run));
        values.sum::<f64>() / runs.len() as f64
    };
    let difference = mean(&right) - mean(&left);
    let (n, m) = (left.len(), right.len());
    let over_seeds = noise.map(|noise| Estimate {
        value: difference,
        stderr: noise.stderr_of_difference(n, m),
        df: noise.df,
    });
    let over_questions = differences(&left, &right, metric).and_then(|strata| {
        let pooled = noise.map(|noise| (noise.stderr_of_difference(n, m).powi(2), noise.df));
        crossed(&strata, pooled)
    });
    let mut p = None;
    let (basis, estimate) = match (over_questions, over_seeds) {
        (Some(both), Some(_)) => (Basis::SeedsAndQuestions, Some(both.estimate)),
        (None, Some(seeds)) => (Basis::Seeds, Some(seeds)),
        (Some(questions), None) => {
            p = exact(&left, &right, metric);
            (Basis::Questions, Some(questions.estimate))
        }
        (None, None) => (Basis::Nothing, None),
    };
    // No spread at all is not certainty: a few seeds and questions happened to agree.
    let estimate = estimate.filter(|estimate| estimate.stderr > 0.0);
    let interval = estimate.map(|estimate| estimate.interval(0.95));
    Comparison {
        metric: metric.name().to_owned(),
        a: a.name.to_owned(),
        b: b.name.to_owned(),
        seeds_a: n,
        seeds_b: m,
        basis,
        difference,
        low: interval.map(|(low, _)| low),
        high: interval.map(|(_, high)| high),
        p: p.or(estimate.and_then(|estimate| estimate.p_value())),
        p_holm: None,
        least_significant_difference: noise.map(|noise| noise.least_significant_difference(n, m)),
        verdict: Verdict::Unknown,
    }
}

/// Differences of answers, one stratum a task: seed by seed where both have the same, else of the
/// mean over seeds, question by question.
fn differences(
    left: &BTreeMap<u64, &RunResult>,
    right: &BTreeMap<u64, &RunResult>,
    metric: &Metric,
) -> Option<Vec<Vec<Vec<f64>>>> {
    let all: Vec<&RunResult> = left.values().chain(right.values()).copied().collect();
    let strata = metric.strata(&all)?;
    let subtract =
        |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| b - a).collect() };
    let mean = |rows: &[Vec<f64>]| -> Vec<f64> {
        let of = |index: usize| rows.iter().map(|row| row[index]).sum::<f64>() / rows.len() as f64;
        (0..rows[0].len()).map(of).collect()
    };
    let of_task = |rows: Vec<Vec<f64>>| {
        let (a, b) = rows.split_at(left.len());
        if left.keys().eq(right.keys()) {
            a.iter().zip(b).map(|(a, b)| subtract(a, b)).collect()
        } else {
            vec![subtract(&mean(a), &mean(b))]
        }
    };
    Some(strata.into_iter().map(of_task).collect())
}

/// McNemar's p value of one seed on one task.
fn exact(
    left: &BTreeMap<u64, &RunResult>,
    right: &BTreeMap<u64, &RunResult>,
    metric: &Metric,
) -> Option<f64> {
    let Metric::Task(_) = metric else { return None };
    let strata = differences(left, right, metric)?;
    let [rows] = strata.as_slice() else {
        return None;
    };
    let [row] = rows.as_slice() else { return None };
    if row.iter().any(|d| ![-1.0, 0.0, 1.0].contains(d)) {
        return None;
    }
    let count = |sign: f64| row.iter().filter(|d| **d == sign).count();
    Some(mcnemar(count(-1.0), count(1.0)))
}

/// Corrects the p values of a family of `tests` comparisons and says what they mean.
fn judge(family: &mut [Comparison], tests: usize, less_is_better: bool) {
    let tested: Vec<usize> = (0..family.len())
        .filter(|i| family[*i].p.is_some())
        .collect();
    let p: Vec<f64> = tested.iter().filter_map(|i| family[*i].p).collect();
    for (i, corrected) in tested.into_iter().zip(holm_among(&p, tests)) {
        family[i].p_holm = Some(corrected);
    }
    for comparison in family {
        let better = (comparison.difference < 0.0) == less_is_better;
        comparison.verdict = match (comparison.least_significant_difference, comparison.p_holm) {
            (None, _) | (_, None) => Verdict::Unknown,
            (Some(floor), _) if comparison.difference.abs() <= floor.max(ROUNDING) => {
                Verdict::InsideNoise
            }
            (Some(_), Some(p)) if p >= 0.05 => Verdict::NotEstablished,
            _ if better => Verdict::Better,
            _ => Verdict::Worse,
        };
    }
}
