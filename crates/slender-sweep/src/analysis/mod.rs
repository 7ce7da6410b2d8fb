//! What the runs say together: variants over their seeds, comparisons, noise, trend, fronts.
//!
//! Everything is computed from trained runs and from nothing else: a run that failed is missing
//! from its variant, which then has fewer seeds. `docs/report.md` states the formulas.

mod comparisons;
pub(crate) mod examples;
mod metric;
mod pareto;
mod trend;
mod variants;

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
    pub noise: Vec<NoiseFloor>,
    pub comparisons: Vec<Comparison>,
    pub trend: Vec<DepthTrend>,
    pub pareto: Vec<Front>,
}

/// Analyses runs that are sorted by name.
pub(crate) fn analyse(runs: &[RunResult]) -> Analysis {
    let groups = variants::groups(runs);
    let metrics: Vec<(Metric, Option<Noise>)> = metric::metrics(runs)
        .into_iter()
        .map(|metric| {
            let noise = variants::noise_of(&groups, &metric);
            (metric, noise)
        })
        .collect();
    let mut variants: Vec<VariantResult> = groups
        .iter()
        .map(|group| variants::describe(group, &metrics))
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
    let pareto = pareto::fronts(&variants, &comparisons);
    Analysis {
        variants,
        noise,
        comparisons,
        trend,
        pareto,
    }
}
