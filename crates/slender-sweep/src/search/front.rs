//! The Pareto front of a sweep: the runs that no other beats in every objective.

use super::pareto::{fronts_by, hypervolume};
use super::spec::Cost;
use crate::analysis::{MeasuredApart, Metric};
use crate::decode::DecodeFile;
use crate::results::{RunResult, SweepResults};
use serde::Serialize;
use slender_stats::Noise;
use slender_stats::noise::BySeed;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What runs are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// Validation loss, nats per token; the smaller, the better.
    ValidLoss,
    /// Validation bits per byte; the smaller, the better.
    ValidBitsPerByte,
    /// Mean score over the tasks, a fraction; the larger, the better.
    Score,
    /// Measured milliseconds to decode a token; the smaller, the better.
    DecodeMs,
    /// A quantity that the shape decides; the smaller, the better.
    Cost(Cost),
}

impl Objective {
    /// Name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::ValidLoss => "valid_loss",
            Self::ValidBitsPerByte => "valid_bits_per_byte",
            Self::Score => "score",
            Self::DecodeMs => "decode_ms",
            Self::Cost(cost) => cost.name(),
        }
    }

    /// Every objective.
    pub fn all() -> Vec<Self> {
        let measured = [Self::ValidLoss, Self::ValidBitsPerByte, Self::Score];
        let costs = Cost::ALL.map(Self::Cost);
        let all = measured.into_iter().chain(costs);
        all.chain([Self::DecodeMs]).collect()
    }

    /// Whether a larger value is better.
    pub fn larger_is_better(self) -> bool {
        self == Self::Score
    }

    /// Whether it depends on the seed.
    fn is_of_seeds(self) -> bool {
        matches!(self, Self::ValidLoss | Self::ValidBitsPerByte | Self::Score)
    }

    /// Why the variants of a sweep do not all compare by it; `None` if they do.
    pub fn apart(self, results: &SweepResults) -> Option<&MeasuredApart> {
        match self {
            Self::ValidLoss => results.apart(&Metric::Loss),
            Self::ValidBitsPerByte => results.apart(&Metric::BitsPerByte),
            Self::Score => results.apart(&Metric::Average),
            Self::DecodeMs | Self::Cost(_) => None,
        }
    }

    /// Its value for a run, of whose variant a token takes `decode_ms`.
    fn of(self, run: &RunResult, decode_ms: Option<f64>) -> Option<f64> {
        match self {
            Self::ValidLoss => run.valid_loss,
            Self::ValidBitsPerByte => run.valid_bits_per_byte,
            Self::Score => run.average.as_ref().map(|average| average.mean),
            Self::DecodeMs => decode_ms,
            Self::Cost(cost) => cost.of(&run.facts),
        }
        .filter(|value| value.is_finite())
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = Self::all();
        all.iter()
            .find(|known| known.name() == text || (text, **known) == ("loss", Self::ValidLoss))
            .copied()
            .ok_or_else(|| {
                let names: Vec<&str> = all.iter().map(|known| known.name()).collect();
                format!("use one of {}", names.join(", "))
            })
    }
}

/// A run, or the mean over the seeds of a variant, among the others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrontPoint {
    /// Name of the variant.
    pub name: String,
    /// Runs it is the mean of.
    pub runs: usize,
    /// Value of every objective, in their order.
    pub values: Vec<f64>,
    /// Smallest and largest value that was measured, where an objective was measured in rounds.
    pub ranges: Vec<Option<[f64; 2]>>,
    /// 0 on the front, 1 on the front of the rest, and so on.
    pub rank: usize,
}

/// All compared runs and how they stand.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Front {
    /// Names of the objectives.
    pub objectives: Vec<&'static str>,
    /// For every objective, whether a larger value is better.
    pub larger_is_better: Vec<bool>,
    /// For every objective that seeds give a noise, the smallest difference that is not noise, between means
    /// over the fewest seeds; smaller ones count as equal.
    pub noise: Vec<Option<f64>>,
    /// The points, by rank and then by the last objective.
    pub points: Vec<FrontPoint>,
    /// Names of runs that were left out, and why.
    pub left_out: Vec<(String, String)>,
    /// Share of the box between the best and the worst of every objective that the front dominates, with
    /// sizes on a logarithmic scale: 0 to 1, larger is better. `None` with fewer than two points.
    pub hypervolume: Option<f64>,
}

/// Compares the fully trained runs of a sweep; `variants` names the variant of each run.
///
/// A variant beats another if it is better in some objective and worse in none. What differs by less than the
/// noise between seeds, or times whose rounds overlap, counts as equal; where there is one seed, means
/// are compared as they are.
///
/// The time of decoding is that of any run of the variant that was measured: seeds do not change it. That all
/// were measured alike is the caller's to see to, with [`crate::decode_work`].
pub fn front(
    results: &SweepResults,
    objectives: &[Objective],
    variants: &BTreeMap<String, String>,
) -> Front {
    // Values of every objective by seed.
    let mut seen: BTreeMap<String, Vec<Vec<(u64, f64)>>> = BTreeMap::new();
    let mut left_out = Vec::new();
    let variant_of = |run: &RunResult| variants.get(&run.name).unwrap_or(&run.name).clone();
    let decode: BTreeMap<String, &DecodeFile> = (results.runs.iter())
        .filter(|run| run.state.is_trained())
        .filter_map(|run| Some((variant_of(run), run.decode.as_ref()?)))
        .collect();
    for run in &results.runs {
        if !run.state.is_trained() {
            let why = format!(
                "it is {} at step {} of {}",
                run.state.words(),
                run.step,
                run.facts.total_steps
            );
            left_out.push((run.name.clone(), why));
            continue;
        }
        let variant = variant_of(run);
        let mut values = Vec::with_capacity(objectives.len());
        for objective in objectives {
            match objective.of(run, decode.get(&variant).map(|file| file.decode_ms)) {
                Some(value) => values.push(value),
                None => left_out.push((run.name.clone(), format!("it has no {objective}"))),
            }
        }
        if values.len() < objectives.len() {
            continue;
        }
        let own = seen
            .entry(variant)
            .or_insert_with(|| vec![Vec::new(); values.len()]);
        for (all, value) in own.iter_mut().zip(values) {
            all.push((run.seed, value));
        }
    }
    let noise: Vec<Option<Noise>> = (objectives.iter().enumerate())
        .map(|(index, objective)| {
            let by_seed = seen
                .values()
                .map(|own| own[index].iter().copied().collect());
            let by_seed: Vec<BySeed> = by_seed.collect();
            Noise::of(&by_seed).filter(|_| objective.is_of_seeds())
        })
        .collect();
    let range = |name: &str, objective: &Objective| {
        let file = decode
            .get(name)
            .filter(|_| *objective == Objective::DecodeMs)?;
        Some([file.low_ms, file.high_ms])
    };
    let mut points: Vec<FrontPoint> = (seen.into_iter())
        .map(|(name, own)| FrontPoint {
            runs: own[0].len(),
            values: (own.iter())
                .map(|all| all.iter().map(|(_, value)| value).sum::<f64>() / all.len() as f64)
                .collect(),
            ranges: objectives.iter().map(|o| range(&name, o)).collect(),
            rank: 0,
            name,
        })
        .collect();
    let fewest = points.iter().map(|point| point.runs).min().unwrap_or(0);
    let floors: Vec<Option<f64>> = (noise.iter())
        .map(|noise| Some((*noise)?.least_significant_difference(fewest, fewest)))
        .collect();
    let small = |point: &FrontPoint| -> Vec<f64> {
        let pairs = point.values.iter().zip(objectives);
        pairs
            .map(|(value, o)| if o.larger_is_better() { -value } else { *value })
            .collect()
    };
    let places: Vec<Vec<f64>> = points.iter().map(small).collect();
    // −1 where `a` is better in an objective, 1 where it is worse, 0 where they cannot be told apart.
    let order = |a: usize, b: usize, index: usize| -> i32 {
        let (left, right) = (places[a][index], places[b][index]);
        let one = &points[a];
        let other = &points[b];
        let level = match (one.ranges[index], other.ranges[index], noise[index]) {
            (Some([low, high]), Some([other_low, other_high]), _) => {
                low <= other_high && other_low <= high
            }
            (_, _, Some(noise)) => {
                let floor = noise.least_significant_difference(one.runs, other.runs);
                (left - right).abs() <= floor
            }
            _ => left == right,
        };
        match (level, left < right) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    };
    let beats = |a: usize, b: usize| {
        let orders = || (0..objectives.len()).map(|index| order(a, b, index));
        orders().all(|way| way <= 0) && orders().any(|way| way < 0)
    };
    let ranked = fronts_by(points.len(), &beats);
    for (rank, front) in ranked.into_iter().enumerate() {
        for index in front {
            points[index].rank = rank;
        }
    }
    let boxed = boxed(&places, objectives);
    let reference = vec![1.0; objectives.len()];
    let volume = (points.len() > 1).then(|| hypervolume(&boxed, &reference));
    points.sort_by(|a, b| {
        let last = |point: &FrontPoint| point.values.last().copied().unwrap_or(0.0);
        a.rank
            .cmp(&b.rank)
            .then(last(a).total_cmp(&last(b)))
            .then(a.name.cmp(&b.name))
    });
    Front {
        objectives: objectives
            .iter()
            .map(|objective| objective.name())
            .collect(),
        larger_is_better: objectives.iter().map(|o| o.larger_is_better()).collect(),
        noise: floors,
        points,
        left_out,
        hypervolume: volume,
    }
}

/// Every objective stretched to 0 (best) … 1 (worst), costs and times by their logarithm.
fn boxed(places: &[Vec<f64>], objectives: &[Objective]) -> Vec<Vec<f64>> {
    let scale = |value: f64, objective: &Objective| match objective {
        Objective::Cost(_) | Objective::DecodeMs => value.max(f64::MIN_POSITIVE).ln(),
        _ => value,
    };
    let scaled: Vec<Vec<f64>> = (places.iter())
        .map(|place| {
            place
                .iter()
                .zip(objectives)
                .map(|(v, o)| scale(*v, o))
                .collect()
        })
        .collect();
    let bound = |index: usize, pick: fn(f64, f64) -> f64| {
        let values = scaled.iter().map(|place| place[index]);
        values.reduce(pick).unwrap_or(0.0)
    };
    let stretch = |place: &Vec<f64>| -> Vec<f64> {
        let one = |(index, value): (usize, &f64)| {
            let (low, high) = (bound(index, f64::min), bound(index, f64::max));
            if high > low {
                (value - low) / (high - low)
            } else {
                0.0
            }
        };
        place.iter().enumerate().map(one).collect()
    };
    scaled.iter().map(stretch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_have_names_that_are_read_back() {
        for objective in Objective::all() {
            assert_eq!(objective.name().parse(), Ok(objective));
        }
        assert_eq!("loss".parse(), Ok(Objective::ValidLoss));
        let said = "size".parse::<Objective>().unwrap_err();
        assert!(
            said.contains("valid_loss, ") && said.contains("decode_bytes"),
            "{said}"
        );
    }

    #[test]
    fn sizes_are_compared_by_ratio_in_the_box() {
        let objectives = [Objective::ValidLoss, Objective::Cost(Cost::ParamsTotal)];
        let places = [vec![3.0, 1e6], vec![2.0, 1e8], vec![2.5, 1e7]];
        let boxed = boxed(&places, &objectives);
        let expected = [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]];
        for (point, expected) in boxed.iter().zip(expected) {
            for (value, expected) in point.iter().zip(expected) {
                assert!((value - expected).abs() < 1e-12, "{boxed:?}");
            }
        }
    }
}
