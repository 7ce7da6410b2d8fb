//! Which source each sequence comes from.
//!
//! Sources are interleaved evenly, not drawn at random: after any number of sequences, a source has given its
//! share to within half a sequence for itself and each source before it. The first source takes position `i`
//! when `i·w/W`, rounded, steps up; what it leaves is divided among the others in the same way. All of it is integer
//! arithmetic, so the counts before a position have a closed form: any step can be asked for directly.

/// An even interleaving of sources.
#[derive(Clone, Debug)]
pub(crate) struct Mixture {
    weights: Vec<u64>,
}

impl Mixture {
    /// Integer weights, at least one of them positive. Exact shares: pass counts.
    pub fn new(weights: Vec<u64>) -> Self {
        assert!(weights.iter().any(|w| *w > 0), "a mixture of nothing");
        Self { weights }
    }

    /// Relative weights, scaled so that the largest is 2^32.
    pub fn from_shares(shares: &[f64]) -> Self {
        let largest = shares.iter().copied().fold(0.0, f64::max);
        Self::new(
            shares
                .iter()
                .map(|w| (w / largest * 4_294_967_296.0).round().max(1.0) as u64)
                .collect(),
        )
    }

    /// Source of position `i`, and how many sequences that source has given before.
    pub fn locate(&self, i: u64) -> (usize, u64) {
        let mut at = i;
        let mut rest: u128 = self.weights.iter().map(|w| u128::from(*w)).sum();
        for (source, weight) in self.weights.iter().enumerate() {
            let weight = u128::from(*weight);
            let given = |n: u64| share(n, weight, rest);
            let before = given(at);
            if given(at + 1) > before {
                return (source, before);
            }
            at -= before;
            rest -= weight;
        }
        unreachable!("the last source with a weight takes every position that is left")
    }

    /// Sequences each source has given before position `i`.
    pub fn counts(&self, i: u64) -> Vec<u64> {
        let mut at = i;
        let mut rest: u128 = self.weights.iter().map(|w| u128::from(*w)).sum();
        let count = |weight: &u64| {
            let weight = u128::from(*weight);
            let given = if rest == 0 {
                0
            } else {
                share(at, weight, rest)
            };
            at -= given;
            rest -= weight;
            given
        };
        self.weights.iter().map(count).collect()
    }
}

/// `n·weight/rest`, rounded: half a step away from where rounding errors of the weights could tip it.
fn share(n: u64, weight: u128, rest: u128) -> u64 {
    ((2 * u128::from(n) * weight + rest) / (2 * rest)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn locate_counts_up(weights in prop::collection::vec(0u64..50, 1..6), from in 0u64..1_000_000) {
            prop_assume!(weights.iter().any(|w| *w > 0));
            let mixture = Mixture::new(weights.clone());
            let mut counts = mixture.counts(from);
            prop_assert_eq!(counts.iter().sum::<u64>(), from);
            for i in from..from + 200 {
                prop_assert_eq!(&counts, &mixture.counts(i));
                let (source, nth) = mixture.locate(i);
                prop_assert!(weights[source] > 0);
                prop_assert_eq!(nth, counts[source]);
                counts[source] += 1;
            }
        }

        #[test]
        fn shares_are_exact(weights in prop::collection::vec(1u64..50, 1..6), n in 0u64..100_000) {
            let total: u64 = weights.iter().sum();
            for (source, count) in Mixture::new(weights.clone()).counts(n).iter().enumerate() {
                let share = n as f64 * weights[source] as f64 / total as f64;
                prop_assert!((*count as f64 - share).abs() <= source as f64 + 1.0);
            }
            // A whole round gives each source exactly its weight.
            prop_assert_eq!(Mixture::new(weights.clone()).counts(total), weights);
        }
    }

    #[test]
    fn fractions_become_weights() {
        let mixture = Mixture::from_shares(&[0.7, 0.3]);
        assert_eq!(mixture.counts(1000), [700, 300]);
        assert_eq!(Mixture::from_shares(&[5.0]).locate(17), (0, 17));
    }
}
