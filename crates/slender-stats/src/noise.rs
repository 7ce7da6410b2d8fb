//! The noise floor: how far one number moves when nothing but the seed changes.
//!
//! With values `y(v, s)` of variants `v` and seeds `s` there are two estimates of the variance
//! between seeds, both pooled over the variants, because three seeds of one variant say little:
//!
//! - *within*: `Σ (y(v,s) − ȳ(v,·))² / Σ (n(v) − 1)`, the residual mean square of a one-way analysis
//!   of variance. It needs nothing but two seeds somewhere.
//! - *paired*: where every variant has the same seeds, what a seed does to all variants alike
//!   cancels in a difference, so it is taken out: the residual mean square
//!   `Σ (y(v,s) − ȳ(v,·) − ȳ(·,s) + ȳ)² / ((V − 1)(S − 1))` of a randomised block design. With two
//!   variants this is the paired t test.
//!
//! Differences use *paired* where it exists. The least significant difference (Fisher 1935) of two
//! means over `n` and `m` seeds is `t(0.975, df) · sd · √(1/n + 1/m)`. Pooling takes the spread
//! between seeds as the same for all variants.
//!
//! A spread of exactly 0 is not a noise of 0: a few seeds happened to agree, as scores on a few questions do.
//! Then there is no estimate; where only the paired spread is 0, the one within variants is taken.

use crate::dist::{Estimate, t_quantile};
use serde::Serialize;
use std::collections::BTreeMap;

/// Values of one variant by seed.
pub type BySeed = BTreeMap<u64, f64>;

/// Standard deviations between seeds, pooled over variants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Noise {
    /// Standard deviation between the seeds of one variant.
    pub sd_within: f64,
    /// Its degrees of freedom.
    pub df_within: f64,
    /// Standard deviation that counts for differences: paired where all variants have the same
    /// seeds, else `sd_within`.
    pub sd: f64,
    /// Its degrees of freedom.
    pub df: f64,
    /// Whether what a seed does to all variants alike was taken out of `sd`.
    pub paired: bool,
}

impl Noise {
    /// The noise of some variants; `None` if no variant has two seeds, or if the seeds of every variant
    /// agree to the last digit.
    pub fn of(variants: &[BySeed]) -> Option<Self> {
        let mean = |values: &BySeed| values.values().sum::<f64>() / values.len() as f64;
        let (mut squares, mut df_within) = (0.0, 0.0);
        for values in variants.iter().filter(|values| values.len() > 1) {
            let middle = mean(values);
            squares += values.values().map(|y| (y - middle).powi(2)).sum::<f64>();
            df_within += (values.len() - 1) as f64;
        }
        if df_within == 0.0 {
            return None;
        }
        let sd_within = (squares / df_within).sqrt();
        // What is less than the rounding of the values themselves is no spread.
        let values = variants.iter().flat_map(|values| values.values());
        let rounding = 1e-12 * values.fold(0.0, |most: f64, y| most.max(y.abs()));
        if sd_within <= rounding {
            return None;
        }
        let within = Self {
            sd_within,
            df_within,
            sd: sd_within,
            df: df_within,
            paired: false,
        };
        let first = variants.first()?;
        let same = variants.iter().all(|v| v.keys().eq(first.keys()));
        if !same || variants.len() < 2 || first.len() < 2 {
            return Some(within);
        }
        let of_seed = |seed: &u64| {
            let values = variants.iter().filter_map(|v| v.get(seed));
            values.sum::<f64>() / variants.len() as f64
        };
        let grand = variants.iter().map(mean).sum::<f64>() / variants.len() as f64;
        let mut squares = 0.0;
        for values in variants {
            let middle = mean(values);
            for (seed, y) in values {
                squares += (y - middle - of_seed(seed) + grand).powi(2);
            }
        }
        let df = ((variants.len() - 1) * (first.len() - 1)) as f64;
        let sd = (squares / df).sqrt();
        if sd <= rounding {
            return Some(within);
        }
        Some(Self {
            sd,
            df,
            paired: true,
            ..within
        })
    }

    /// Standard error of a difference of means over `n` and `m` seeds.
    pub fn stderr_of_difference(&self, n: usize, m: usize) -> f64 {
        self.sd * (1.0 / n as f64 + 1.0 / m as f64).sqrt()
    }

    /// The smallest difference of means over `n` and `m` seeds that is significant at 5 % by itself.
    pub fn least_significant_difference(&self, n: usize, m: usize) -> f64 {
        self.stderr_of_difference(n, m) * t_quantile(0.975, self.df)
    }

    /// The mean of one variant's seeds, with the pooled spread.
    pub fn mean(&self, values: &BySeed) -> Estimate {
        let n = values.len() as f64;
        Estimate {
            value: values.values().sum::<f64>() / n,
            stderr: self.sd_within / n.sqrt(),
            df: self.df_within,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_seed(values: &[f64]) -> BySeed {
        (0..).zip(values.iter().copied()).collect()
    }

    #[test]
    fn one_seed_each_says_nothing_about_noise() {
        assert_eq!(Noise::of(&[by_seed(&[1.0]), by_seed(&[2.0])]), None);
        assert_eq!(Noise::of(&[]), None);
    }

    #[test]
    fn what_seeds_do_to_all_variants_alike_is_not_noise_of_a_difference() {
        let noise = Noise::of(&[by_seed(&[1.0, 2.0, 3.0]), by_seed(&[1.5, 2.5, 3.6])]).unwrap();
        assert!(noise.paired && noise.sd < 0.1 && noise.sd > 0.0);
        assert!(noise.sd_within > 1.0 && noise.df_within == 4.0);
    }

    #[test]
    fn seeds_that_agree_to_the_last_digit_give_no_noise() {
        assert_eq!(
            Noise::of(&[by_seed(&[0.3, 0.3]), by_seed(&[0.4, 0.4])]),
            None
        );
        // The sum of three tenths has a rounding of its own.
        assert_eq!(Noise::of(&[by_seed(&[0.1, 0.1, 0.1])]), None);
        // Seeds that move all variants alike: the spread within variants is all that is known.
        let noise = Noise::of(&[by_seed(&[1.0, 2.0, 3.0]), by_seed(&[1.5, 2.5, 3.5])]).unwrap();
        assert!(!noise.paired && noise.sd == 1.0 && noise.df == 4.0);
    }

    #[test]
    fn other_seeds_are_compared_without_pairing() {
        let mut other = by_seed(&[1.5, 2.5]);
        other.insert(9, 3.5);
        let noise = Noise::of(&[by_seed(&[1.0, 2.0, 3.0]), other]).unwrap();
        assert!(!noise.paired);
        assert_eq!((noise.sd, noise.df), (1.0, 4.0));
    }
}
