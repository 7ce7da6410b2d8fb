//! Quality against cost: which variants nothing beats at their price.

use super::Measured;
use super::comparisons::{Comparison, Verdict};
use super::metric::Metric;
use super::variants::VariantResult;
use crate::search::pareto::dominates;
use serde::Serialize;

/// One variant in a front's plane.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrontPoint {
    /// The variant.
    pub variant: String,
    /// What it costs.
    pub cost: f64,
    /// Its mean quality.
    pub quality: f64,
    /// Whether no other variant is as cheap and better, or cheaper and as good.
    pub on_front: bool,
    /// A variant that is no more expensive and better beyond the noise.
    pub beaten_by: Option<String>,
}

/// A quality against a cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Front {
    /// `valid_bits_per_byte` (less is better) or `average` (more is better).
    pub quality: String,
    /// `params_total`, `train_flops`, `decode_bytes_per_token` or, if it was measured, `decode_ms`.
    pub cost: String,
    /// How its variants were measured, where not all of the sweep were measured alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<String>,
    /// The variants, cheap first.
    pub points: Vec<FrontPoint>,
}

type Cost = fn(&VariantResult) -> Option<f64>;

/// Every front of at least two variants that were measured alike; `variants` are those of the groups.
pub(crate) fn fronts(
    variants: &[VariantResult],
    metrics: &[Measured],
    comparisons: &[Comparison],
) -> Vec<Front> {
    let costs: [(&str, Cost); 4] = [
        ("params_total", |v| v.params_total.map(|n| n as f64)),
        ("train_flops", |v| v.train_flops),
        ("decode_bytes_per_token", |v| {
            v.decode_bytes_per_token.map(|n| n as f64)
        }),
        ("decode_ms", |v| v.decode_ms),
    ];
    let mut fronts = Vec::new();
    let wanted = |m: &&Measured| matches!(m.metric, Metric::BitsPerByte | Metric::Average);
    for Measured {
        metric,
        sets,
        apart,
    } in metrics.iter().filter(wanted)
    {
        for (name, cost) in costs {
            for (place, (members, _)) in sets.iter().enumerate() {
                let points = members
                    .iter()
                    .map(|index| &variants[*index])
                    .filter_map(|v| Some((v, cost(v)?, v.spread(metric)?.mean)))
                    .collect();
                let found = front(points, metric, name, comparisons);
                fronts.extend(found.map(|front| Front {
                    measured: apart.as_ref().map(|apart| apart.alike[place].words()),
                    ..front
                }));
            }
        }
    }
    fronts
}

fn front(
    mut points: Vec<(&VariantResult, f64, f64)>,
    metric: &Metric,
    cost: &str,
    comparisons: &[Comparison],
) -> Option<Front> {
    if points.len() < 2 {
        return None;
    }
    points.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.name.cmp(&b.0.name)));
    let sign = if metric.less_is_better() { 1.0 } else { -1.0 };
    // Whether `a` is known to be better than `b`.
    let beats = |a: &str, b: &str| {
        comparisons.iter().any(|c| {
            c.metric == metric.name()
                && ((c.verdict == Verdict::Better && c.a == b && c.b == a)
                    || (c.verdict == Verdict::Worse && c.a == a && c.b == b))
        })
    };
    let place = |cost: f64, quality: f64| [cost, sign * quality];
    let judged = points.iter().map(|(variant, cost, quality)| {
        let own = place(*cost, *quality);
        let above = |(_, cost, quality): &&(&VariantResult, f64, f64)| {
            dominates(&place(*cost, *quality), &own)
        };
        let beaten_by = points
            .iter()
            .find(|(other, other_cost, _)| other_cost <= cost && beats(&other.name, &variant.name));
        FrontPoint {
            variant: variant.name.clone(),
            cost: *cost,
            quality: *quality,
            on_front: points.iter().find(above).is_none(),
            beaten_by: beaten_by.map(|(other, _, _)| other.name.clone()),
        }
    });
    Some(Front {
        quality: metric.name().to_owned(),
        cost: cost.to_owned(),
        measured: None,
        points: judged.collect(),
    })
}
