//! A mean over examples crossed with seeds, and how much either moves it.
//!
//! Every seed of a variant answers every question, so the values `y(s, e)` (right or wrong, or a
//! difference of two variants) have the model `y = µ + seed(s) + example(e) + rest(s, e)` with all
//! three parts random: another time there would be other seeds and other questions. The variance of
//! the mean is `σ²_seed/S + σ²_example/E + σ²_rest/(S·E)`, and the mean squares of the two-way
//! analysis of variance without replication estimate it without bias by
//! `(MS_seed + MS_example − MS_rest) / (S·E)` (Cornfield and Tukey, 1956; both-random designs of this
//! kind: Clark, 1973; Judd, Westfall and Kenny, 2012). Degrees of freedom are Satterthwaite's (1946):
//! `(Σ cᵢ·MSᵢ)² / Σ (cᵢ·MSᵢ)²/dfᵢ`. A component that comes out negative counts as 0.
//!
//! A mean over tasks weighs tasks, not examples, alike; the tasks are strata that are fixed. A seed
//! moves all tasks at once, so its part is measured on the mean over tasks itself; the examples' parts
//! add up over tasks: `Var = Σ(D(s) − D)²/(S(S−1)) + Σ_t (MS_example,t − MS_rest,t)⁺/(T²·S·E_t)`,
//! which for one task is the formula above. Few seeds make the first term a poor estimate; a
//! spread pooled over many variants ([`crate::Noise`]) can take its place.

use crate::dist::Estimate;
use serde::Serialize;

/// Values of one task: for each seed, one for each example, in the same order.
pub type Stratum = Vec<Vec<f64>>;

/// A mean over strata of examples crossed with seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Crossed {
    /// The mean, with the standard error for other seeds and other examples; for other examples
    /// alone where there is one seed.
    pub estimate: Estimate,
    /// Seeds.
    pub seeds: usize,
    /// Part of the variance of the mean that comes from the seeds, and with one seed `None`.
    pub variance_of_seeds: Option<f64>,
    /// Part of the variance of the mean that comes from the examples.
    pub variance_of_examples: f64,
}

/// Sums of squares of one stratum.
struct Squares {
    examples: f64,
    rest: f64,
    n_examples: f64,
}

/// The mean over `strata` of each one's mean over seeds and examples.
///
/// `pooled` is the variance of the mean that seeds cause, with its degrees of freedom, from elsewhere;
/// without it the strata's own seeds must do.
///
/// `None` if there is no stratum, a stratum has fewer than two examples, or they are not all of one
/// number of seeds.
pub fn crossed(strata: &[Stratum], pooled: Option<(f64, f64)>) -> Option<Crossed> {
    let seeds = strata.first()?.len();
    let whole = |stratum: &Stratum| {
        let examples = stratum.first().map_or(0, Vec::len);
        stratum.len() == seeds && examples > 1 && stratum.iter().all(|row| row.len() == examples)
    };
    if seeds == 0 || !strata.iter().all(whole) {
        return None;
    }
    let (s, t) = (seeds as f64, strata.len() as f64);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let of_seed: Vec<f64> = (0..seeds)
        .map(|seed| strata.iter().map(|rows| mean(&rows[seed])).sum::<f64>() / t)
        .collect();
    let value = mean(&of_seed);

    // Terms of the variance: coefficient times mean square, and its degrees of freedom.
    let mut terms: Vec<(f64, f64)> = Vec::new();
    let mut variance_of_examples = 0.0;
    for rows in strata {
        let squares = squares_of(rows);
        let e = squares.n_examples;
        let weight = 1.0 / (t * t * s * e);
        let own = (weight * squares.examples / (e - 1.0), e - 1.0);
        if seeds == 1 {
            variance_of_examples += own.0;
            terms.push(own);
            continue;
        }
        let df = (s - 1.0) * (e - 1.0);
        let rest = (-weight * squares.rest / df, df);
        if own.0 + rest.0 > 0.0 {
            variance_of_examples += own.0 + rest.0;
            terms.extend([own, rest]);
        }
    }
    let own = || {
        let squares: f64 = of_seed.iter().map(|d| (d - value).powi(2)).sum();
        (seeds > 1).then(|| (squares / (s * (s - 1.0)), s - 1.0))
    };
    let from_seeds = pooled.or_else(own);
    terms.extend(from_seeds);
    let variance: f64 = terms.iter().map(|(term, _)| term).sum();
    let squares: f64 = terms.iter().map(|(term, df)| term * term / df).sum();
    let df = match squares > 0.0 {
        true => variance * variance / squares,
        false => s.max(2.0) - 1.0,
    };
    Some(Crossed {
        estimate: Estimate {
            value,
            stderr: variance.max(0.0).sqrt(),
            df,
        },
        seeds,
        variance_of_seeds: from_seeds.map(|(variance, _)| variance),
        variance_of_examples,
    })
}

/// Two-way sums of squares without replication.
fn squares_of(rows: &[Vec<f64>]) -> Squares {
    let (s, e) = (rows.len() as f64, rows[0].len() as f64);
    let of_seed: Vec<f64> = rows.iter().map(|row| row.iter().sum::<f64>() / e).collect();
    let grand = of_seed.iter().sum::<f64>() / s;
    let (mut examples, mut rest) = (0.0, 0.0);
    for index in 0..rows[0].len() {
        let of_example = rows.iter().map(|row| row[index]).sum::<f64>() / s;
        examples += s * (of_example - grand).powi(2);
        for (row, seed) in rows.iter().zip(&of_seed) {
            rest += (row[index] - of_example - seed + grand).powi(2);
        }
    }
    Squares {
        examples,
        rest,
        n_examples: e,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::uniform;

    /// About normal: the sum of twelve uniforms.
    fn normal(random: &mut impl FnMut() -> f64) -> f64 {
        (0..12).map(|_| random()).sum::<f64>() - 6.0
    }

    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        let mut random = uniform(7);
        let (seeds, examples, rounds) = (4, 30, 600);
        let mut held = 0;
        for _ in 0..rounds {
            let of_example: Vec<f64> = (0..examples).map(|_| normal(&mut random)).collect();
            let rows: Stratum = (0..seeds)
                .map(|_| {
                    let of_seed = 0.3 * normal(&mut random);
                    let rest = |e: &f64, random: &mut _| 0.5 + of_seed + e + normal(random);
                    of_example.iter().map(|e| rest(e, &mut random)).collect()
                })
                .collect();
            let (low, high) = crossed(&[rows], None).unwrap().estimate.interval(0.95);
            held += i32::from(low <= 0.5 && 0.5 <= high);
        }
        let share = f64::from(held) / f64::from(rounds);
        assert!((0.925..0.98).contains(&share), "{share}");
    }

    #[test]
    fn one_seed_tells_of_examples_alone() {
        let row: Vec<f64> = (0..100).map(|i| f64::from(u8::from(i % 4 == 0))).collect();
        let one = crossed(&[vec![row]], None).unwrap();
        assert_eq!(one.variance_of_seeds, None);
        let expected = (0.25 * 0.75 / 99.0_f64).sqrt();
        assert!((one.estimate.stderr - expected).abs() < 1e-12);
    }

    #[test]
    fn tasks_weigh_alike_whatever_their_size() {
        let strata = [vec![vec![1.0; 10]; 2], vec![vec![0.0; 1000]; 2]];
        let mean = crossed(&strata, None).unwrap();
        assert_eq!((mean.estimate.value, mean.estimate.stderr), (0.5, 0.0));
    }

    #[test]
    fn ragged_values_are_refused() {
        assert_eq!(crossed(&[vec![vec![1.0, 0.0], vec![1.0]]], None), None);
        assert_eq!(crossed(&[], None), None);
        assert_eq!(crossed(&[vec![vec![1.0]]], None), None);
    }
}
