//! Does a score rise (or fall) with depth, step by step?
//!
//! Two tests of a monotone order, neither of which assumes a straight line or normal errors:
//!
//! - [`page`] (Page, 1963) where every seed was run at every level: ranks within each seed, so what
//!   distinguishes seeds does not matter.
//! - [`jonckheere`] (Terpstra, 1952; Jonckheere, 1954) where it was not: pairs of runs of different
//!   levels that are in order. With one run for each level it is Kendall's (and Mann's) test.
//!
//! Both give two-sided p values, from the exact distribution where that is cheap: a rise and a fall
//! are equally interesting. Up to nine levels Page's is exact, above it is normal. Jonckheere's is
//! exact without ties, and with ties from [`PERMUTATIONS`] permutations.

use crate::bootstrap::uniform;
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal};

/// Permutations where values are tied.
pub const PERMUTATIONS: usize = 20_000;

/// Most levels whose orders are all counted.
const MOST_EXACT: usize = 9;

/// The result of a trend test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Trend {
    /// `page` or `jonckheere-terpstra`.
    pub test: &'static str,
    /// Page's L, or Jonckheere's J.
    pub statistic: f64,
    /// From −1 (falls at every step) to 1 (rises at every step): the mean of Spearman's ρ over seeds,
    /// or the excess of pairs in order.
    pub strength: f64,
    /// Two-sided p value of "no order".
    pub p: f64,
    /// Whether the p value is of the exact distribution.
    pub exact: bool,
}

/// Page's test; `blocks` holds, for each seed, one value for each level in order.
///
/// `None` with fewer than three levels, no block, or blocks of different lengths.
pub fn page(blocks: &[Vec<f64>]) -> Option<Trend> {
    let levels = blocks.first()?.len();
    if levels < 3 || blocks.iter().any(|block| block.len() != levels) {
        return None;
    }
    let (m, k) = (blocks.len() as f64, levels as f64);
    let l_of = |block: &Vec<f64>| -> f64 {
        let ranks = ranks(block);
        ranks
            .iter()
            .zip(1..)
            .map(|(rank, j)| rank * f64::from(j))
            .sum()
    };
    let statistic: f64 = blocks.iter().map(l_of).sum();
    let mean = m * k * (k + 1.0).powi(2) / 4.0;
    let tied = blocks.iter().any(|block| has_ties(block));
    let exact = levels <= MOST_EXACT && !tied;
    let p = if exact {
        let one = orders(levels);
        let all = (1..blocks.len()).fold(one.clone(), |sum, _| convolve(&sum, &one));
        two_sided(&all, statistic)
    } else {
        let variance = m * k * k * (k + 1.0) * (k * k - 1.0) / 144.0;
        normal_two_sided((statistic - mean) / variance.sqrt())
    };
    Some(Trend {
        test: "page",
        statistic,
        strength: 12.0 * (statistic - mean) / (m * k * (k * k - 1.0)),
        p,
        exact,
    })
}

/// Jonckheere's and Terpstra's test; `groups` holds the values at each level, in order of levels.
///
/// `None` with fewer than two levels or an empty one.
pub fn jonckheere(groups: &[Vec<f64>]) -> Option<Trend> {
    if groups.len() < 2 || groups.iter().any(Vec::is_empty) {
        return None;
    }
    let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
    let pooled: Vec<f64> = groups.concat();
    let statistic = in_order(&pooled, &sizes);
    let n = pooled.len() as f64;
    let pairs = (n * n - sizes.iter().map(|s| (s * s) as f64).sum::<f64>()) / 2.0;
    let exact = !has_ties(&pooled);
    let p = if exact {
        // J is a sum of independent Mann–Whitney counts, each level against all before it.
        let mut law = vec![1.0];
        let mut before = sizes[0];
        for size in &sizes[1..] {
            law = convolve(&law, &mann_whitney(before, *size));
            before += size;
        }
        two_sided(&law, statistic)
    } else {
        permuted(&pooled, &sizes, statistic, pairs)
    };
    Some(Trend {
        test: "jonckheere-terpstra",
        statistic,
        strength: 2.0 * statistic / pairs - 1.0,
        p,
        exact,
    })
}

/// Ranks from 1, tied values sharing the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let of = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        below as f64 + (equal as f64 + 1.0) / 2.0
    };
    values.iter().map(of).collect()
}

fn has_ties(values: &[f64]) -> bool {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}

/// Pairs of different groups whose later value is larger; ties count half.
fn in_order(pooled: &[f64], sizes: &[usize]) -> f64 {
    let mut count = 0.0;
    let mut end = 0;
    for size in sizes {
        let (start, stop) = (end, end + size);
        for later in &pooled[start..stop] {
            for earlier in &pooled[..start] {
                count += match earlier.total_cmp(later) {
                    std::cmp::Ordering::Less => 1.0,
                    std::cmp::Ordering::Equal => 0.5,
                    std::cmp::Ordering::Greater => 0.0,
                };
            }
        }
        end = stop;
    }
    count
}

/// Probability of each value of `Σ j·rank(j)` over all orders of `levels` ranks.
fn orders(levels: usize) -> Vec<f64> {
    let most = levels * (levels + 1) * (2 * levels + 1) / 6;
    let mut counts = vec![0.0; most + 1];
    let mut ranks: Vec<usize> = (1..=levels).collect();
    fn visit(ranks: &mut [usize], at: usize, sum: usize, counts: &mut [f64]) {
        if at == ranks.len() {
            counts[sum] += 1.0;
            return;
        }
        for other in at..ranks.len() {
            ranks.swap(at, other);
            visit(ranks, at + 1, sum + (at + 1) * ranks[at], counts);
            ranks.swap(at, other);
        }
    }
    visit(&mut ranks, 0, 0, &mut counts);
    let all: f64 = counts.iter().sum();
    counts.iter().map(|count| count / all).collect()
}

/// Probability of each Mann–Whitney count of `m` against `n` values, by its recursion.
fn mann_whitney(m: usize, n: usize) -> Vec<f64> {
    // rows[i] is the law for i against j values, for the current j.
    let mut rows: Vec<Vec<f64>> = vec![vec![1.0]; m + 1];
    for j in 1..=n {
        let mut next: Vec<Vec<f64>> = vec![vec![1.0]];
        for i in 1..=m {
            let mut law = vec![0.0; i * j + 1];
            let (own, other) = (i as f64 / (i + j) as f64, j as f64 / (i + j) as f64);
            for (u, p) in next[i - 1].iter().enumerate() {
                law[u + j] += own * p;
            }
            for (u, p) in rows[i].iter().enumerate() {
                law[u] += other * p;
            }
            next.push(law);
        }
        rows = next;
    }
    rows.swap_remove(m)
}

fn convolve(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; a.len() + b.len() - 1];
    for (i, x) in a.iter().enumerate().filter(|(_, x)| **x > 0.0) {
        for (j, y) in b.iter().enumerate() {
            sum[i + j] += x * y;
        }
    }
    sum
}

/// Twice the smaller tail of a law over 0, 1, 2, ….
fn two_sided(law: &[f64], statistic: f64) -> f64 {
    let at = statistic.round() as usize;
    let below: f64 = law[..=at.min(law.len() - 1)].iter().sum();
    let above: f64 = law[at.min(law.len())..].iter().sum();
    (2.0 * below.min(above)).min(1.0)
}

fn permuted(pooled: &[f64], sizes: &[usize], statistic: f64, pairs: f64) -> f64 {
    let mut random = uniform(11);
    let mut values = pooled.to_vec();
    let far = (statistic - pairs / 2.0).abs() - 1e-9;
    let mut further = 0;
    for _ in 0..PERMUTATIONS {
        for last in (1..values.len()).rev() {
            values.swap(last, (random() * (last + 1) as f64) as usize);
        }
        further += usize::from((in_order(&values, sizes) - pairs / 2.0).abs() >= far);
    }
    (further + 1) as f64 / (PERMUTATIONS + 1) as f64
}

fn normal_two_sided(z: f64) -> f64 {
    2.0 * Normal::standard().cdf(-z.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perfect_order_of_nine_is_rare() {
        let groups: Vec<Vec<f64>> = (0..9).map(|i| vec![f64::from(i)]).collect();
        let rise = jonckheere(&groups).unwrap();
        assert_eq!((rise.strength, rise.statistic), (1.0, 36.0));
        assert!((rise.p - 2.0 / 362_880.0).abs() < 1e-12);
        let fall: Vec<Vec<f64>> = groups.into_iter().rev().collect();
        let fall = jonckheere(&fall).unwrap();
        assert_eq!(fall.strength, -1.0);
        assert!((fall.p - rise.p).abs() < 1e-12);
    }

    #[test]
    fn ties_are_permuted() {
        let tied = jonckheere(&[vec![1.0, 1.0, 2.0], vec![1.0, 2.0, 3.0], vec![3.0, 3.0]]).unwrap();
        assert!(!tied.exact && tied.p > 0.0 && tied.p < 0.1, "{tied:?}");
        let flat = jonckheere(&[vec![1.0, 1.0], vec![1.0, 1.0]]).unwrap();
        assert_eq!((flat.p, flat.strength), (1.0, 0.0));
    }

    #[test]
    fn too_little_to_test_is_no_test() {
        assert_eq!(page(&[vec![1.0, 2.0]]), None);
        assert_eq!(page(&[]), None);
        assert_eq!(jonckheere(&[vec![1.0]]), None);
        assert_eq!(jonckheere(&[vec![1.0], vec![]]), None);
    }

    #[test]
    fn more_levels_than_can_be_counted_are_about_normal() {
        let rise: Vec<f64> = (0..12).map(f64::from).collect();
        let trend = page(&[rise.clone(), rise]).unwrap();
        assert!(!trend.exact && trend.strength == 1.0 && trend.p < 1e-4);
    }
}
