//! The bootstrap: what a number would be on other examples drawn like these.
//!
//! Stratified: each task's examples are drawn anew among themselves, as many as there are, and the number is
//! computed from the tasks as before. Every draw has its own stream of random numbers from one seed, so the
//! result depends on neither threads nor their order.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

/// Draws of an interval: its ends move by about 1 % of its width.
pub const DRAWS: usize = 4000;

/// Seed of every bootstrap.
const SEED: u64 = 20_240_222;

/// Uniform numbers from 0 up to but not 1, from a stream of their own for each `seed`.
pub fn uniform(seed: u64) -> impl FnMut() -> f64 {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    move || f64::from(random.next_u32()) / 4_294_967_296.0
}

/// The mean over strata of each one's mean, on [`DRAWS`] samples drawn anew.
pub fn means(strata: &[Vec<f64>]) -> Vec<f64> {
    let draw = |draw: usize| {
        let mut random = ChaCha8Rng::seed_from_u64(SEED);
        random.set_stream(draw as u64);
        let of_stratum = |values: &Vec<f64>| {
            let n = values.len() as u64;
            let sum: f64 = (0..n)
                .map(|_| values[((u64::from(random.next_u32()) * n) >> 32) as usize])
                .sum();
            sum / n as f64
        };
        strata.iter().map(of_stratum).sum::<f64>() / strata.len() as f64
    };
    (0..DRAWS).into_par_iter().map(draw).collect()
}

/// Any statistic of `n` observations, on [`DRAWS`] samples drawn anew; `of` is given the places drawn.
pub fn statistics(n: usize, of: impl Fn(&[usize]) -> f64 + Sync) -> Vec<f64> {
    let draw = |draw: usize| {
        let mut random = ChaCha8Rng::seed_from_u64(SEED);
        random.set_stream(draw as u64);
        let places: Vec<usize> = (0..n)
            .map(|_| ((u64::from(random.next_u32()) * n as u64) >> 32) as usize)
            .collect();
        of(&places)
    };
    (0..DRAWS).into_par_iter().map(draw).collect()
}

/// The interval that holds the middle `level` (such as 0.95) of the draws.
pub fn interval(mut draws: Vec<f64>, level: f64) -> (f64, f64) {
    draws.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = share * (draws.len().max(1) - 1) as f64;
        draws
            .get(place.round() as usize)
            .copied()
            .unwrap_or(f64::NAN)
    };
    let tail = (1.0 - level) / 2.0;
    (at(tail), at(1.0 - tail))
}

/// Two-sided p value of "no difference": twice the smaller share of draws on either side of 0.
///
/// One is added above and below the line, so that no finite number of draws claims certainty.
pub fn p_value(draws: &[f64]) -> f64 {
    let below = draws.iter().filter(|x| **x <= 0.0).count();
    let above = draws.iter().filter(|x| **x >= 0.0).count();
    let tail = (below.min(above) + 1) as f64 / (draws.len() + 1) as f64;
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_of_a_mean_is_its_standard_error() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(u8::from(i % 4 == 0))).collect();
        let draws = means(&[values]);
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let spread =
            (draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64).sqrt();
        let expected = (0.25 * 0.75 / 400.0_f64).sqrt();
        assert!((mean - 0.25).abs() < 0.002, "{mean}");
        assert!(
            (spread / expected - 1.0).abs() < 0.05,
            "{spread} {expected}"
        );
        let (low, high) = interval(draws, 0.95);
        assert!((low - (0.25 - 1.96 * expected)).abs() < 0.005, "{low}");
        assert!((high - (0.25 + 1.96 * expected)).abs() < 0.005, "{high}");
    }

    #[test]
    fn tasks_weigh_the_same_whatever_their_size() {
        let strata = [vec![1.0; 10], vec![0.0; 1000]];
        assert!(means(&strata).iter().all(|x| *x == 0.5));
    }

    #[test]
    fn a_statistic_is_of_the_same_draws_as_a_mean() {
        let values: Vec<f64> = (0..50).map(|i| f64::from(i * i)).collect();
        let mean = |places: &[usize]| places.iter().map(|&i| values[i]).sum::<f64>() / 50.0;
        assert_eq!(statistics(50, mean), means(std::slice::from_ref(&values)));
    }

    #[test]
    fn p_values_are_never_zero() {
        assert!(p_value(&[1.0; 100]) > 0.0 && p_value(&[1.0; 100]) < 0.03);
        assert_eq!(p_value(&[0.0; 100]), 1.0);
        assert!((p_value(&[-1.0, 1.0, 1.0, 1.0]) - 0.8).abs() < 1e-12);
    }

    #[test]
    fn the_same_numbers_on_any_number_of_threads() {
        let values: Vec<f64> = (0..50).map(f64::from).collect();
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| means(std::slice::from_ref(&values)))
        };
        assert_eq!(on(1), on(3));
    }
}
