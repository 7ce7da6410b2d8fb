//! Initial weights: Normal(0, `init_std`) for every matrix, 1 for every norm (paper's recipe;
//! no depth-scaled residual initialisation), times the factor of the parametrization.
//!
//! Every weight draws from its own stream, keyed by the seed and the weight's name. The values
//! therefore do not depend on construction order, device or threads, and two models that share a
//! weight's name and shape share its initial values.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

/// Initial values of the weight `name` with `count` elements: `scale` everywhere for a norm, else of
/// standard deviation `std * scale`.
pub fn initial_values(
    name: &str,
    count: usize,
    is_norm: bool,
    seed: u64,
    std: f64,
    scale: f64,
) -> Vec<f32> {
    if is_norm {
        return vec![scale as f32; count];
    }
    let std = std * scale;
    let mut hasher = blake3::Hasher::new_derive_key("slender initial weights 1");
    hasher.update(&seed.to_le_bytes());
    hasher.update(name.as_bytes());
    let mut rng = ChaCha8Rng::from_seed(*hasher.finalize().as_bytes());
    let normal =
        Normal::new(0.0, std).expect("a checked shape has a finite, non-negative init_std");
    (0..count).map(|_| normal.sample(&mut rng) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_depend_on_seed_and_name_only() {
        let a = initial_values("a", 10_000, false, 1, 0.02, 1.0);
        assert_eq!(a, initial_values("a", 10_000, false, 1, 0.02, 1.0));
        assert_ne!(a, initial_values("a", 10_000, false, 2, 0.02, 1.0));
        assert_ne!(a, initial_values("b", 10_000, false, 1, 0.02, 1.0));
        let mean = a.iter().sum::<f32>() / 1e4;
        let std = (a.iter().map(|x| x * x).sum::<f32>() / 1e4).sqrt();
        assert!(
            mean.abs() < 1e-3 && (std - 0.02).abs() < 1e-3,
            "{mean} {std}"
        );
    }
}
