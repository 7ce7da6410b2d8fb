//! Choosing the next token from logits.
//!
//! In this order, which is that of transformers: repetition penalty (Keskar et al., 2019), temperature,
//! the `k` likeliest, the likeliest that together have probability `p` (Holtzman et al., 2020), those at
//! least `min_p` times as likely as the likeliest (Nguyen et al., 2024), then one of what is left by a
//! draw from a ChaCha8 stream. One number is drawn for each token, so a text depends on the seed and on
//! nothing else. Equal logits are in the order of their tokens.

use super::InferError;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use slender_kernels::exp_slice;
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it; 0 takes the likeliest token always.
    pub temperature: f32,
    /// Only so many of the likeliest tokens; 0 for all.
    pub top_k: usize,
    /// Only the likeliest tokens that together have this probability; 1 for all.
    pub top_p: f32,
    /// Only tokens at least this many times as likely as the likeliest; 0 for all.
    pub min_p: f32,
    /// Logits of tokens that the text has already are divided by it, or multiplied where negative; 1
    /// changes nothing.
    pub repetition_penalty: f32,
    /// Seed of the draws.
    pub seed: u64,
}

impl Sampling {
    /// The likeliest token always.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: 0,
        }
    }

    /// Whether the numbers can be used.
    ///
    /// # Errors
    /// Which one cannot.
    pub fn check(&self) -> Result<(), InferError> {
        let wrong = |name: &str, value: f32, range: &str| {
            Err(InferError::Setting(format!(
                "{name} is {value}\n  hint: it is {range}"
            )))
        };
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return wrong(
                "temperature",
                self.temperature,
                "0 for the likeliest token, or positive",
            );
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return wrong(
                "top-p",
                self.top_p,
                "above 0 and at most 1, which keeps all tokens",
            );
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return wrong(
                "min-p",
                self.min_p,
                "between 0, which keeps all tokens, and 1",
            );
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            let range = "positive; 1 changes nothing, more discourages repetition";
            return wrong("repetition-penalty", self.repetition_penalty, range);
        }
        Ok(())
    }
}

/// A way of choosing with the state of its draws.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    rng: ChaCha8Rng,
    /// Tokens of the text so far, where the penalty needs them.
    seen: BTreeSet<u32>,
    /// Memory for candidates.
    candidates: Vec<(u32, f32)>,
}

impl Sampler {
    /// At the beginning of a text that follows `prompt`.
    pub fn new(sampling: Sampling, prompt: &[u32]) -> Self {
        let mut sampler = Self {
            sampling,
            rng: ChaCha8Rng::seed_from_u64(sampling.seed),
            seen: BTreeSet::new(),
            candidates: Vec::new(),
        };
        prompt.iter().for_each(|&token| sampler.see(token));
        sampler
    }

    fn see(&mut self, token: u32) {
        if self.sampling.repetition_penalty != 1.0 {
            self.seen.insert(token);
        }
    }

    /// The next token of the text, from its logits `[V]`.
    ///
    /// # Panics
    /// If there are no logits.
    pub fn choose(&mut self, logits: &[f32]) -> u32 {
        let token = self.choose_unseen(logits);
        self.see(token);
        token
    }

    fn choose_unseen(&mut self, logits: &[f32]) -> u32 {
        let Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty: penalty,
            ..
        } = self.sampling;
        let greedy = temperature == 0.0;
        if greedy && self.seen.is_empty() {
            return argmax(logits.iter().copied());
        }
        let mut logits = logits.to_vec();
        for &token in &self.seen {
            if let Some(x) = logits.get_mut(token as usize) {
                *x = if *x > 0.0 { *x / penalty } else { *x * penalty };
            }
        }
        if greedy {
            return argmax(logits.iter().copied());
        }
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        // Weights relative to the likeliest token, whose weight is 1.
        let scaled = |x: f32| (x - top) / temperature;
        let candidates = &mut self.candidates;
        candidates.clear();
        candidates.extend((0_u32..).zip(logits.iter().map(|&x| scaled(x))));
        let by_weight = |a: &(u32, f32), b: &(u32, f32)| match b.1.total_cmp(&a.1) {
            Ordering::Equal => a.0.cmp(&b.0),
            other => other,
        };
        if top_k > 0 && top_k < candidates.len() {
            candidates.select_nth_unstable_by(top_k - 1, by_weight);
            candidates.truncate(top_k);
        }
        let mut weights: Vec<f32> = candidates.iter().map(|candidate| candidate.1).collect();
        exp_slice(&mut weights);
        for (candidate, weight) in candidates.iter_mut().zip(&weights) {
            // The exponential is never zero; a token that cannot be is.
            candidate.1 = if candidate.1 < -87.0 { 0.0 } else { *weight };
        }
        let sum =
            |candidates: &[(u32, f32)]| candidates.iter().map(|c| f64::from(c.1)).sum::<f64>();
        let total = sum(candidates);
        if top_p < 1.0 {
            let keep = nucleus(candidates, f64::from(top_p) * total, by_weight);
            candidates.truncate(keep);
        }
        candidates.retain(|candidate| candidate.1 >= min_p);
        // The order in which what is left is drawn from does not depend on how it was found.
        candidates.sort_unstable_by_key(|candidate| candidate.0);
        let mut rest = self.rng.random::<f64>() * sum(candidates);
        for &(token, weight) in candidates.iter() {
            rest -= f64::from(weight);
            if rest < 0.0 {
                return token;
            }
        }
        // Rounding may leave a little; the likeliest token is always there.
        argmax(logits.iter().copied())
    }
}

/// The index of the largest, the first of equals.
fn argmax(values: impl Iterator<Item = f32>) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (index, value) in (0..).zip(values) {
        if value > best.1 {
            best = (index, value);
        }
    }
    best.0
}

/// Moves the fewest candidates with the largest weights that together reach `enough` to the front, and
/// gives their number, at least one.
fn nucleus(
    candidates: &mut [(u32, f32)],
    enough: f64,
    order: impl Fn(&(u32, f32), &(u32, f32)) -> Ordering + Copy,
) -> usize {
    // Sorting a whole vocabulary takes longer than computing its logits; few tokens matter mostly.
    let (mut sorted, mut sum) = (0, 0.0);
    let mut next = 64;
    while sorted < candidates.len() {
        let end = next.min(candidates.len());
        if end < candidates.len() {
            candidates[sorted..].select_nth_unstable_by(end - sorted - 1, order);
        }
        candidates[sorted..end].sort_unstable_by(order);
        for (index, candidate) in candidates[sorted..end].iter().enumerate() {
            sum += f64::from(candidate.1);
            if sum >= enough {
                return sorted + index + 1;
            }
        }
        sorted = end;
        next *= 4;
    }
    candidates.len()
}

/// Natural logarithm of a token's probability under logits `[V]`, before any change by sampling.
pub fn log_prob(logits: &[f32], token: u32) -> f64 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut weights: Vec<f32> = logits.iter().map(|x| x - top).collect();
    exp_slice(&mut weights);
    let sum: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
    f64::from(logits[token as usize]) - f64::from(top) - sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The tokens that may be drawn, with their probabilities, by sorting everything in f64.
    fn plain(logits: &[f32], history: &[u32], s: &Sampling) -> Vec<(u32, f64)> {
        let mut all: Vec<(u32, f64)> = (0..).zip(logits.iter().map(|&x| f64::from(x))).collect();
        for (token, x) in &mut all {
            if history.contains(token) {
                let penalty = f64::from(s.repetition_penalty);
                *x = if *x > 0.0 { *x / penalty } else { *x * penalty };
            }
        }
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        if s.temperature == 0.0 {
            return vec![(all[0].0, 1.0)];
        }
        if s.top_k > 0 {
            all.truncate(s.top_k);
        }
        let top = all[0].1;
        for (_, x) in &mut all {
            *x = ((*x - top) / f64::from(s.temperature)).exp();
        }
        let total: f64 = all.iter().map(|c| c.1).sum();
        let mut sum = 0.0;
        let within = all.iter().position(|c| {
            sum += c.1;
            sum >= f64::from(s.top_p) * total
        });
        if s.top_p < 1.0 {
            all.truncate(within.map_or(all.len(), |index| index + 1));
        }
        all.retain(|c| c.1 >= f64::from(s.min_p));
        let total: f64 = all.iter().map(|c| c.1).sum();
        all.iter_mut().for_each(|c| c.1 /= total);
        all
    }

    fn sampling() -> impl Strategy<Value = Sampling> {
        let temperature = prop_oneof![Just(0.0_f32), Just(1.0), 0.2_f32..3.0];
        let top_k = prop_oneof![Just(0usize), 1usize..20, Just(1000)];
        let top_p = prop_oneof![Just(1.0_f32), 0.05_f32..0.99];
        let min_p = prop_oneof![Just(0.0_f32), 0.01_f32..0.9];
        let penalty = prop_oneof![Just(1.0_f32), 0.5_f32..2.0];
        (temperature, top_k, top_p, min_p, penalty, any::<u64>()).prop_map(
            |(temperature, top_k, top_p, min_p, repetition_penalty, seed)| Sampling {
                temperature,
                top_k,
                top_p,
                min_p,
                repetition_penalty,
                seed,
            },
        )
    }

    proptest! {
        #[test]
        fn only_tokens_of_the_plain_reference_are_drawn(
            logits in prop::collection::vec(-8.0_f32..8.0, 1..300),
            history in prop::collection::vec(0_u32..300, 0..20),
            s in sampling(),
        ) {
            s.check().unwrap();
            let allowed = plain(&logits, &history, &s);
            // What is on an edge may fall on either side of it by rounding.
            let loose = Sampling {
                top_p: (s.top_p + 1e-4).min(1.0),
                min_p: (s.min_p - 1e-4).max(0.0),
                ..s
            };
            let loosely = plain(&logits, &history, &loose);
            let mut sampler = Sampler::new(s, &history);
            let first = sampler.clone().choose(&logits);
            prop_assert_eq!(first, sampler.choose(&logits), "the same seed, the same token");
            prop_assert!(
                loosely.iter().any(|c| c.0 == first),
                "{} is not among {:?}", first, allowed
            );
        }
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [1.0, 3.0, 2.5, -1.0, 2.9, 0.0, 2.5];
        let settings = [
            Sampling {
                temperature: 1.0,
                ..Sampling::greedy()
            },
            Sampling {
                temperature: 0.7,
                top_k: 4,
                ..Sampling::greedy()
            },
            Sampling {
                temperature: 1.5,
                top_p: 0.8,
                ..Sampling::greedy()
            },
            Sampling {
                temperature: 1.0,
                min_p: 0.3,
                repetition_penalty: 1.3,
                ..Sampling::greedy()
            },
        ];
        for s in settings {
            let expected = plain(&logits, &[], &s);
            let mut counts = [0.0_f64; 7];
            const DRAWS: usize = 40_000;
            let mut sampler = Sampler::new(s, &[]);
            for _ in 0..DRAWS {
                // Without what the penalty remembers.
                sampler.seen.clear();
                counts[sampler.choose(&logits) as usize] += 1.0;
            }
            let mut outside = counts;
            for (token, p) in expected {
                let count = counts[token as usize];
                outside[token as usize] = 0.0;
                // Five standard deviations.
                let bound = 5.0 * (DRAWS as f64 * p * (1.0 - p)).sqrt();
                assert!(
                    (count - DRAWS as f64 * p).abs() <= bound,
                    "{s:?} {token} {count} {p}"
                );
            }
            assert_eq!(outside.iter().sum::<f64>(), 0.0, "{s:?} {counts:?}");
        }
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        let mut sampler = Sampler::new(Sampling::greedy(), &[]);
        assert_eq!(sampler.choose(&[0.0, 2.0, -1.0, 2.0]), 1);
        // With the penalty, what has been said counts less.
        let penalised = Sampling {
            repetition_penalty: 2.0,
            ..Sampling::greedy()
        };
        let mut sampler = Sampler::new(penalised, &[1]);
        assert_eq!(sampler.choose(&[0.0, 2.0, -1.0, 1.5]), 3);
        assert_eq!(sampler.choose(&[0.5, 2.0, -1.0, 1.5]), 1);
        // Negative logits are multiplied.
        let mut sampler = Sampler::new(penalised, &[0]);
        assert_eq!(sampler.choose(&[-1.0, -1.5]), 1);
    }

    #[test]
    fn a_top_k_of_one_and_a_tiny_top_p_are_greedy() {
        let logits: Vec<f32> = (0..500).map(|i| ((i * 37) % 101) as f32 / 10.0).collect();
        let best = Sampler::new(Sampling::greedy(), &[]).choose(&logits);
        for seed in 0..20 {
            for s in [
                Sampling {
                    temperature: 2.0,
                    top_k: 1,
                    seed,
                    ..Sampling::greedy()
                },
                Sampling {
                    temperature: 2.0,
                    top_p: 1e-6,
                    seed,
                    ..Sampling::greedy()
                },
            ] {
                assert_eq!(Sampler::new(s, &[]).choose(&logits), best);
            }
        }
    }

    #[test]
    fn unusable_numbers_are_refused_by_name() {
        let good = Sampling::greedy();
        for (bad, name) in [
            (
                Sampling {
                    temperature: -1.0,
                    ..good
                },
                "temperature",
            ),
            (
                Sampling {
                    temperature: f32::NAN,
                    ..good
                },
                "temperature",
            ),
            (Sampling { top_p: 0.0, ..good }, "top-p"),
            (Sampling { top_p: 1.5, ..good }, "top-p"),
            (
                Sampling {
                    min_p: -0.1,
                    ..good
                },
                "min-p",
            ),
            (
                Sampling {
                    repetition_penalty: 0.0,
                    ..good
                },
                "repetition-penalty",
            ),
        ] {
            let message = bad.check().unwrap_err().to_string();
            assert!(
                message.starts_with(name) && message.contains("hint:"),
                "{message}"
            );
        }
    }

    #[test]
    fn log_probabilities_are_those_of_the_softmax() {
        let logits = [1.0_f32, -2.0, 0.5, 7.0];
        let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        for (token, &x) in (0..).zip(&logits) {
            let expected = f64::from(x) - sum.ln();
            assert!((log_prob(&logits, token) - expected).abs() < 1e-6);
        }
    }
}
