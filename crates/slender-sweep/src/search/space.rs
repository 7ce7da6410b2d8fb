//! What a search varies: ranges of configuration keys, and how points are drawn from them.
//!
//! A point is a place in the unit cube, one coordinate a key, that each range maps to a value. Sobol
//! points fill the cube more evenly than random ones, which matters with the few dozen trials that
//! anyone can afford; scrambling (Owen's, by Burley's hash, JCGT 2020) makes each seed another
//! sequence of the same quality. Points are a pure function of seed and index: a search that is
//! extended keeps those it has.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Number, Value};
use std::collections::BTreeMap;

/// Values that a key may take.
#[derive(Clone, Debug, PartialEq)]
pub enum Range {
    /// Any number from `low` to `high`.
    Uniform {
        /// Smallest.
        low: f64,
        /// Largest.
        high: f64,
    },
    /// Any positive number from `low` to `high`, every ratio as likely as another.
    LogUniform {
        /// Smallest.
        low: f64,
        /// Largest.
        high: f64,
    },
    /// Whole numbers from `low` to `high`, in steps of `step`.
    Integer {
        /// Smallest.
        low: i64,
        /// Largest.
        high: i64,
        /// Distance between two values.
        step: i64,
    },
    /// One of these.
    Choice(Vec<Value>),
}

impl Range {
    /// Number of values, if it is finite.
    pub fn count(&self) -> Option<usize> {
        match self {
            Range::Integer { low, high, step } => Some(((high - low) / step + 1) as usize),
            Range::Choice(values) => Some(values.len()),
            Range::Uniform { .. } | Range::LogUniform { .. } => None,
        }
    }

    /// The value at place `u` of 0 to 1. Numbers of a continuous range have three digits, so that a name
    /// or a table shows them as they are.
    pub fn at(&self, u: f64) -> Value {
        match self {
            Range::Uniform { low, high } => number(three_digits(low + u * (high - low))),
            Range::LogUniform { low, high } => {
                number(three_digits((low.ln() + u * (high / low).ln()).exp()))
            }
            Range::Integer { low, step, .. } => {
                Value::from(low + step * index(u, self.count().unwrap_or(1)) as i64)
            }
            Range::Choice(values) => values[index(u, values.len())].clone(),
        }
    }

    /// Every value of a finite range; `points` evenly spaced ones, ends included, of a continuous one.
    pub fn grid(&self, points: usize) -> Vec<Value> {
        match self.count() {
            Some(count) => (0..count)
                .map(|place| self.at((place as f64 + 0.5) / count as f64))
                .collect(),
            None if points <= 1 => vec![self.at(0.5)],
            None => (0..points)
                .map(|place| self.at(place as f64 / (points - 1) as f64))
                .collect(),
        }
    }
}

fn index(u: f64, count: usize) -> usize {
    ((u * count as f64) as usize).min(count.saturating_sub(1))
}

fn number(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

fn three_digits(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// How points are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampler {
    /// Every combination.
    Grid,
    /// Independent points.
    Random,
    /// A scrambled Sobol sequence.
    #[default]
    Sobol,
}

/// Ranges of keys, in the order of their names.
pub type Space = BTreeMap<String, Range>;

/// Values of the keys at one point.
pub type Point = BTreeMap<String, Value>;

/// The first `count` different points of `space`; fewer if there are no more.
///
/// `points` is the number of values of a continuous range in a grid; a grid ignores `count`.
pub fn draw(space: &Space, sampler: Sampler, seed: u64, count: usize, points: usize) -> Vec<Point> {
    if sampler == Sampler::Grid {
        return grid(space, points);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut drawn: Vec<Point> = Vec::with_capacity(count);
    // The sequence has 2^16 points; a space of few values repeats itself long before.
    let most = if space.is_empty() { 1 } else { 1 << 16 };
    for place in 0..most {
        if drawn.len() == count {
            break;
        }
        let coordinate = |(dimension, (key, range)): (usize, (&String, &Range))| {
            let u = match sampler {
                Sampler::Sobol => {
                    f64::from(sobol_burley::sample(place, dimension as u32, fold(seed)))
                }
                _ => rng.random_range(0.0..1.0),
            };
            (key.clone(), range.at(u))
        };
        let point: Point = space.iter().enumerate().map(coordinate).collect();
        if !drawn.contains(&point) {
            drawn.push(point);
        }
    }
    drawn
}

/// Every combination, the last key changing fastest.
fn grid(space: &Space, points: usize) -> Vec<Point> {
    space
        .iter()
        .fold(vec![Point::new()], |drawn, (key, range)| {
            let values = range.grid(points);
            let with = |point: &Point, value: &Value| {
                let mut point = point.clone();
                point.insert(key.clone(), value.clone());
                point
            };
            (drawn.iter())
                .flat_map(|point| values.iter().map(move |value| with(point, value)))
                .collect()
        })
}

/// A seed of 32 bits.
fn fold(seed: u64) -> u32 {
    (seed ^ (seed >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn space() -> Space {
        let lr = Range::LogUniform {
            low: 1e-3,
            high: 1e-1,
        };
        let layers = Range::Integer {
            low: 2,
            high: 8,
            step: 2,
        };
        let tie = Range::Choice(vec![json!(true), json!(false)]);
        let keys = ["train.lr", "model.n_layers", "model.tie_embeddings"];
        keys.map(str::to_owned)
            .into_iter()
            .zip([lr, layers, tie])
            .collect()
    }

    #[test]
    fn ranges_map_the_unit_interval() {
        let lr = &space()["train.lr"];
        assert_eq!(
            [0.0, 0.5, 1.0].map(|u| lr.at(u)),
            [json!(1e-3), json!(1e-2), json!(1e-1)]
        );
        assert_eq!(lr.at(0.123), json!(1.76e-3));
        assert_eq!(lr.grid(3), [json!(1e-3), json!(1e-2), json!(1e-1)]);
        let layers = &space()["model.n_layers"];
        assert_eq!(layers.grid(0), [2, 4, 6, 8].map(|n| json!(n)));
        assert_eq!((layers.at(0.0), layers.at(0.9999)), (json!(2), json!(8)));
        let uniform = Range::Uniform {
            low: -1.0,
            high: 1.0,
        };
        assert_eq!(uniform.at(0.25), json!(-0.5));
    }

    #[test]
    fn a_grid_has_every_combination() {
        let points = draw(&space(), Sampler::Grid, 0, 0, 3);
        assert_eq!(points.len(), 24);
        assert_eq!(points[0]["model.n_layers"], json!(2));
        assert_eq!(points[1]["train.lr"], json!(1e-2));
    }

    #[test]
    fn points_depend_on_seed_and_index_alone_and_differ() {
        for sampler in [Sampler::Random, Sampler::Sobol] {
            let few = draw(&space(), sampler, 7, 5, 0);
            let many = draw(&space(), sampler, 7, 40, 0);
            assert_eq!(few, many[..5]);
            assert_ne!(few, draw(&space(), sampler, 8, 5, 0));
            let mut keys: Vec<String> = many.iter().map(|point| format!("{point:?}")).collect();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), 40);
        }
        // Only four values: more than that cannot differ.
        let small: Space = [(
            "model.n_layers".to_owned(),
            space()["model.n_layers"].clone(),
        )]
        .into();
        assert_eq!(draw(&small, Sampler::Sobol, 1, 100, 0).len(), 4);
    }

    #[test]
    fn sobol_points_fill_the_cube_evenly() {
        let unit = || Range::Uniform {
            low: 0.0,
            high: 1.0,
        };
        let space: Space = ["a", "b", "c"].map(|key| (key.to_owned(), unit())).into();
        // Each axis cut into 16: 16 scrambled points have one in each cut, in every dimension.
        for seed in 0..5 {
            let points = draw(&space, Sampler::Sobol, seed, 16, 0);
            for key in ["a", "b", "c"] {
                let cut = |point: &Point| (point[key].as_f64().unwrap() * 15.999) as usize;
                let mut cuts: Vec<usize> = points.iter().map(cut).collect();
                cuts.sort_unstable();
                cuts.dedup();
                assert!(cuts.len() >= 14, "{key} of seed {seed}: {cuts:?}");
            }
        }
    }
}
