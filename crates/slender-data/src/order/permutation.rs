//! A pseudo-random permutation of `0..n` with random access.
//!
//! A Feistel network permutes the next power of four; results outside `0..n` are fed back in (cycle
//! walking), at most four rounds of the network on average. Shuffling a list of windows would need memory in
//! proportion to the corpus and a pass at each start; this needs eight keys.

/// Rounds of the network. Four already mix well for large domains; small ones need more.
const ROUNDS: usize = 8;

/// A bijection of `0..n`, given by a key.
#[derive(Clone, Debug)]
pub(crate) struct Permutation {
    n: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// The permutation of `0..n` for a purpose, seed, source and epoch. `n` must not be 0.
    pub fn new(n: u64, seed: u64, source: u64, epoch: u64) -> Self {
        assert!(n > 0, "a permutation of nothing");
        let mut hasher = blake3::Hasher::new_derive_key("slender-data/1 window order");
        for part in [seed, source, epoch] {
            hasher.update(&part.to_le_bytes());
        }
        let mut bytes = [0; 8 * ROUNDS];
        hasher.finalize_xof().fill(&mut bytes);
        let keys = std::array::from_fn(|i| {
            u64::from_le_bytes(bytes[8 * i..8 * i + 8].try_into().expect("8 bytes"))
        });
        let bits = 64 - (n - 1).leading_zeros();
        Self {
            n,
            half_bits: bits.div_ceil(2).max(1),
            keys,
        }
    }

    /// Image of `i`, which must be below `n`.
    pub fn apply(&self, i: u64) -> u64 {
        debug_assert!(i < self.n);
        let mut x = i;
        loop {
            x = self.network(x);
            if x < self.n {
                return x;
            }
        }
    }

    fn network(&self, x: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (x >> self.half_bits, x & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        (left << self.half_bits) | right
    }
}

/// The finaliser of splitmix64.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_a_bijection(n in 1u64..3000, seed: u64, epoch in 0u64..5) {
            let permutation = Permutation::new(n, seed, 0, epoch);
            let mut seen = vec![false; n as usize];
            for i in 0..n {
                let image = permutation.apply(i);
                prop_assert!(image < n);
                prop_assert!(!std::mem::replace(&mut seen[image as usize], true));
            }
        }

        #[test]
        fn large_domains_stay_inside(n in 1u64..u64::MAX / 4, i: u64) {
            let permutation = Permutation::new(n, 1, 2, 3);
            prop_assert!(permutation.apply(i % n) < n);
        }
    }

    #[test]
    fn keys_and_neighbours_differ() {
        let order = |seed, source, epoch| -> Vec<u64> {
            let permutation = Permutation::new(1000, seed, source, epoch);
            (0..1000).map(|i| permutation.apply(i)).collect()
        };
        let base = order(1, 0, 0);
        assert_eq!(base, order(1, 0, 0));
        for other in [order(2, 0, 0), order(1, 1, 0), order(1, 0, 1)] {
            let same = base.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!(same < 20, "{same} of 1000 places agree");
        }
        let adjacent = base.windows(2).filter(|w| w[0].abs_diff(w[1]) == 1).count();
        assert!(adjacent < 20, "{adjacent} neighbours stay neighbours");
        // Mean displacement of a random permutation is n / 3.
        let moved: u64 = base
            .iter()
            .enumerate()
            .map(|(i, x)| x.abs_diff(i as u64))
            .sum();
        assert!((280..390).contains(&(moved / 1000)), "{}", moved / 1000);
    }
}
