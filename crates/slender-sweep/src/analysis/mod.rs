//! What the runs say together: variants over their seeds, comparisons, noise, trend, fronts.
//!
//! Everything is computed from trained runs and from nothing else: a run that failed is missing
//! from its variant, which then has fewer seeds. `docs/report.md` states the formulas.

mod alike;
mod comparisons;
pub(crate) mod examples;
mod metric;
mod pareto;
mod trend;
mod variants;

pub use alike::{AlikeSet, MeasuredApart};
pub use comparisons::{Basis, Comparison, NoiseFloor, Verdict};
pub use pareto::{Front, FrontPoint};
pub use trend::DepthTrend;
pub use variants::{Covers, Spread, VariantResult};

pub(crate) use metric::Metric;
pub(crate) use variants::variant_names;

use crate::decode::{Comparable, comparable};
use crate::results::RunResult;
use slender_stats::Noise;

/// Statistics over the runs of a sweep.
pub(crate) struct Analysis {
    pub variants: Vec<VariantResult>,
    pub apart: Vec<MeasuredApart>,
    pub noise: Vec<NoiseFloor>,
    pub comparisons: Vec<Comparison>,
    pub trend: Vec<DepthTrend>,
    pub pareto: Vec<Front>,
}

/// A metric, the variants that have it in sets that compare, and the noise of each set.
pub(crate) struct Measured {
    pub metric: Metric,
    /// Indices of groups.
    pub sets: Vec<(Vec<usize>, Option<Noise>)>,
    pub apart: Option<MeasuredApart>,
}

impl Measured {
    fn of(groups: &[variants::Group<'_>], metric: Metric) -> Self {
        let alike::Sets { sets, apart } = alike::sets(groups, &metric);
        let sets = sets.into_iter().map(|members| {
            let noise = variants::noise_of(groups, &members, &metric);
            (members, noise)
        });
        Self {
            sets: sets.collect(),
            metric,
            apart,
        }
    }

    /// The noise of the set of a group.
    fn noise(&self, group: usize) -> Option<Noise> {
        let own = self
            .sets
            .iter()
            .find(|(members, _)| members.contains(&group));
        own.and_then(|(_, noise)| *noise)
    }
}

/// Analyses runs that are sorted by name.
pub(crate) fn analyse(runs: &[RunResult]) -> Analysis {
    let groups = variants::groups(runs);
    let metrics: Vec<Measured> = metric::metrics(runs)
        .into_iter()
        .map(|metric| Measured::of(&groups, metric))
        .collect();
    let mut variants: Vec<VariantResult> = (0..groups.len())
        .map(|index| variants::describe(&groups, index, &metrics))
        .collect();
    if comparable(runs) == Comparable::All {
        for (variant, group) in variants.iter_mut().zip(&groups) {
            let mut own = group.runs.iter().filter(|run| run.counts());
            variant.decode_ms = own.find_map(|run| Some(run.decode.as_ref()?.decode_ms));
        }
    }
    let noise = comparisons::noise_floors(&groups, &metrics);
    let comparisons = comparisons::compare(&groups, &metrics);
    let trend = trend::trends(&groups, &metrics);
    let pareto = pareto::fronts(&variants, &metrics, &comparisons);
    let apart = metrics
        .into_iter()
        .filter_map(|metric| metric.apart)
        .collect();
    Analysis {
        variants,
        apart,
        noise,
        comparisons,
        trend,
        pareto,
    }
}
