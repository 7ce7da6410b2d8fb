//! Log-probability of some tokens under one row of logits, on the host.
//!
//! Done here and not with tensors because each is needed at a few positions only, so nothing of the size
//! of the logits is written again, and because every device then gives the same numbers. Terms are
//! single precision and added up in double. The exponential is a polynomial over lanes that the compiler
//! vectorises: libm's costs about as much as the projection of a small model.

/// Width of the vectorised loops.
const LANES: usize = 16;

/// What the scores of a position are read from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Normaliser {
    /// Natural logarithm of the sum of exponentials.
    pub(crate) log_sum_exp: f64,
    /// Index of the largest logit, the first of equals.
    pub(crate) argmax: usize,
}

impl Normaliser {
    /// Of one row of logits `[V]`. Logits that are not numbers give a NaN sum.
    pub(crate) fn new(logits: &[f32]) -> Self {
        let argmax = argmax(logits);
        let top = logits.get(argmax).copied().filter(|top| !top.is_nan());
        let top = top.unwrap_or(f32::NEG_INFINITY);
        // Summing differences to the maximum keeps every term in (0, 1].
        let mut sum = 0.0_f64;
        let (chunks, rest) = logits.as_chunks::<LANES>();
        for block in chunks.chunks(64) {
            let mut lanes = [0.0_f32; LANES];
            for chunk in block {
                for (lane, &logit) in lanes.iter_mut().zip(chunk) {
                    *lane += exp_nonpositive(logit - top);
                }
            }
            sum += lanes.iter().copied().map(f64::from).sum::<f64>();
        }
        for &logit in rest {
            sum += f64::from(exp_nonpositive(logit - top));
        }
        Self {
            log_sum_exp: f64::from(top) + sum.ln(),
            argmax,
        }
    }

    /// Log-probability of a token with this logit, in nats.
    pub(crate) fn log_prob(&self, logit: f32) -> f32 {
        (f64::from(logit) - self.log_sum_exp) as f32
    }
}

/// Index of the largest logit, the first of equals; a NaN is never it, unless nothing else is there.
pub(crate) fn argmax(logits: &[f32]) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (i, &logit) in logits.iter().enumerate() {
        if logit > best.1 {
            best = (i, logit);
        }
    }
    best.0
}

/// `exp(x)` for `x ≤ 0` to about one unit in the last place; below −87 it is about 1e-38 instead of less.
///
/// 2ⁿ · exp(r) with n = round(x / ln 2) and |r| ≤ ln 2 / 2 (Cephes). NaN stays NaN.
#[inline(always)]
fn exp_nonpositive(x: f32) -> f32 {
    // Adding and subtracting 1.5 · 2²³ rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first exact in few bits, so that n · ln 2 loses nothing.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut poly = 1.987_569_1e-4_f32;
    for coefficient in [
        1.398_2e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        poly = poly * r + coefficient;
    }
    let exp_r = poly * r * r + r + 1.0;
    let scale = f32::from_bits(((n as i32 + 127) << 23) as u32);
    exp_r * scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_single_precision_exact() {
        for i in 0..200_000_u32 {
            let x = -(i as f32) * 4.3e-4;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp_nonpositive(x)) - exact).abs() / exact;
            assert!(error < 2e-7, "{x}: {error}");
        }
        assert_eq!(exp_nonpositive(0.0), 1.0);
        assert!(exp_nonpositive(f32::NAN).is_nan());
        assert!(exp_nonpositive(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn log_probabilities_agree_with_double_precision() {
        for n in [1_usize, 15, 16, 17, 1000, 32_000] {
            let logits: Vec<f32> = (0..n)
                .map(|i| ((i * 37 % 101) as f32).sin() * 9.0)
                .collect();
            let normaliser = Normaliser::new(&logits);
            let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = logits.iter().map(|&x| f64::from(x - top).exp()).sum();
            let exact = f64::from(top) + sum.ln();
            assert!((normaliser.log_sum_exp - exact).abs() < 1e-6, "{n}");
            assert_eq!(logits[normaliser.argmax], top);
            let total: f64 = logits
                .iter()
                .map(|&x| f64::from(normaliser.log_prob(x)).exp())
                .sum();
            assert!((total - 1.0).abs() < 1e-5, "{n}: {total}");
        }
    }

    #[test]
    fn equal_logits_give_the_first_and_nan_is_kept() {
        assert_eq!(Normaliser::new(&[1.0, 3.0, 3.0]).argmax, 1);
        let damaged = Normaliser::new(&[1.0, f32::NAN, 3.0]);
        assert!(damaged.log_prob(3.0).is_nan());
    }
}
