//! The trend over depth, among variants of one size that differ in depth and share no blocks.

use super::Measured;
use super::metric::Metric;
use super::variants::Group;
use crate::depth;
use crate::results::RunResult;
use serde::Serialize;
use slender_stats::{Trend, holm, jonckheere, page};
use std::collections::BTreeSet;

/// Fewest depths that make a trend.
const FEWEST: usize = 3;

/// Does a metric rise or fall with depth?
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DepthTrend {
    /// `valid_bits_per_byte`, `average` or `average_without_boolq`.
    pub metric: String,
    /// The variants, shallow first.
    pub variants: Vec<String>,
    /// Their distinct blocks.
    pub n_layers: Vec<usize>,
    /// Fewest seeds of a variant.
    pub seeds: usize,
    /// Test, statistic, strength from −1 (falls) to 1 (rises), p value.
    #[serde(flatten)]
    pub test: Trend,
    /// The p value after Holm's correction over the trends of the sweep.
    pub p_holm: f64,
}

/// The trends of every curve of the depth picture that has three depths or more.
pub(crate) fn trends(groups: &[Group<'_>], metrics: &[Measured]) -> Vec<DepthTrend> {
    let wanted = |m: &&Measured| !matches!(m.metric, Metric::Task(_) | Metric::Loss);
    let sets = metrics.iter().filter(wanted).flat_map(|measured| {
        let sets = measured.sets.iter();
        sets.map(|(members, _)| (&measured.metric, members))
    });
    let mut trends: Vec<DepthTrend> = Vec::new();
    for (metric, members) in sets {
        let first_runs: Vec<&RunResult> =
            members.iter().map(|index| groups[*index].runs[0]).collect();
        for curve in depth::curves(&first_runs) {
            trends.extend(trend(&curve, groups, metric));
        }
    }
    let p: Vec<f64> = trends.iter().map(|trend| trend.test.p).collect();
    for (trend, corrected) in trends.iter_mut().zip(holm(&p)) {
        trend.p_holm = corrected;
    }
    trends
}

fn trend(curve: &[&RunResult], groups: &[Group<'_>], metric: &Metric) -> Option<DepthTrend> {
    let levels: BTreeSet<usize> = curve.iter().map(|run| run.facts.n_layers).collect();
    if levels.len() < FEWEST || levels.len() < curve.len() || curve[0].facts.is_shared() {
        return None;
    }
    let mut ordered: Vec<&Group<'_>> = curve
        .iter()
        .filter_map(|run| groups.iter().find(|group| group.name == run.variant))
        .collect();
    ordered.sort_by_key(|group| group.runs[0].facts.n_layers);
    let values: Vec<_> = ordered.iter().map(|group| group.by_seed(metric)).collect();
    let seeds: BTreeSet<u64> = values.iter().flat_map(|v| v.keys().copied()).collect();
    let complete = values.iter().all(|v| v.len() == seeds.len());
    let test = if complete && seeds.len() > 1 {
        let blocks: Vec<Vec<f64>> = seeds
            .iter()
            .map(|seed| values.iter().filter_map(|v| v.get(seed).copied()).collect())
            .collect();
        page(&blocks)?
    } else {
        let levels: Vec<Vec<f64>> = values
            .iter()
            .map(|v| v.values().copied().collect())
            .collect();
        jonckheere(&levels)?
    };
    Some(DepthTrend {
        metric: metric.name().to_owned(),
        variants: ordered.iter().map(|group| group.name.to_owned()).collect(),
        n_layers: ordered.iter().map(|g| g.runs[0].facts.n_layers).collect(),
        seeds: values.iter().map(|v| v.len()).min().unwrap_or(0),
        p_holm: test.p,
        test,
    })
}
