//! Tests of counts, and what many tests at once cost.

/// McNemar's exact test: of the examples that one model alone got right, are as many one's as the other's?
///
/// Two-sided binomial with probability one half.
pub fn mcnemar(only_a: usize, only_b: usize) -> f64 {
    let n = only_a + only_b;
    // ln of n over k, built up by factors.
    let mut ln_choose = 0.0;
    let mut tail = 0.0;
    for k in 0..=only_a.min(only_b) {
        if k > 0 {
            ln_choose += ((n + 1 - k) as f64 / k as f64).ln();
        }
        tail += (ln_choose - n as f64 * std::f64::consts::LN_2).exp();
    }
    (2.0 * tail).min(1.0)
}

/// Holm's step-down correction (Holm, 1979) of `p` values, in their order.
///
/// With probability 95 % none of the true "no difference" hypotheses gets a corrected value below 0.05.
pub fn holm(p: &[f64]) -> Vec<f64> {
    holm_among(p, p.len())
}

/// As [`holm`], where `p` are some of `tests` that were or could have been made; the others count as
/// larger.
pub fn holm_among(p: &[f64], tests: usize) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let tests = tests.max(p.len());
    let mut corrected = vec![1.0; p.len()];
    let mut least = 0.0_f64;
    for (rank, &i) in order.iter().enumerate() {
        least = least.max((p[i] * (tests - rank) as f64).min(1.0));
        corrected[i] = least;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrected_values_keep_their_order_and_stay_probabilities() {
        assert_eq!(holm(&[0.04, 0.01, 0.03]), [0.06, 0.03, 0.06]);
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert_eq!(holm(&[]), Vec::<f64>::new());
        assert_eq!(holm_among(&[0.01], 10), [0.1]);
    }

    #[test]
    fn mcnemar_counts_what_one_alone_got_right() {
        assert_eq!(mcnemar(0, 0), 1.0);
        assert_eq!(mcnemar(5, 5), 1.0);
        assert!((mcnemar(0, 5) - 0.0625).abs() < 1e-12);
        assert_eq!(mcnemar(3, 9), mcnemar(9, 3));
    }
}
