//! From log-likelihoods to scores, with their standard errors.
//!
//! Every formula is the harness's: ties go to the first choice (NumPy's argmax), `acc_norm` divides by
//! the length in characters, the standard error of a mean has n − 1 under the root, and the error of an
//! unweighted mean over tasks takes the tasks as independent.

use crate::example::Example;
use crate::tasks::Metric;

/// The log-likelihood of one choice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChoiceScore {
    /// Sum over the continuation's tokens, in nats.
    pub log_likelihood: f64,
    /// Whether greedy decoding would give exactly this continuation.
    pub greedy: bool,
    /// Tokens of the continuation.
    pub tokens: usize,
}

/// What the model chose on one example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// By log-likelihood.
    pub plain: usize,
    /// By log-likelihood per character of the choice.
    pub per_character: usize,
}

impl Chosen {
    /// The choice that counts for a metric.
    pub fn by(self, metric: Metric) -> usize {
        match metric {
            Metric::Acc => self.plain,
            Metric::AccNorm => self.per_character,
        }
    }
}

/// The chosen answers of an example whose choices have these scores.
pub fn choose(example: &Example, scores: &[ChoiceScore]) -> Chosen {
    let plain = scores.iter().map(|score| score.log_likelihood);
    let per_character = scores
        .iter()
        .zip(&example.choices)
        .map(|(score, choice)| score.log_likelihood / choice.chars().count() as f64);
    Chosen {
        plain: argmax(plain),
        per_character: argmax(per_character),
    }
}

/// Index of the largest value, the first of equals; a NaN wins over everything, as in NumPy.
fn argmax(values: impl Iterator<Item = f64>) -> usize {
    let mut best: Option<(usize, f64)> = None;
    for (i, value) in values.enumerate() {
        if best.is_none_or(|(_, top)| value > top || (value.is_nan() && !top.is_nan())) {
            best = Some((i, value));
        }
    }
    best.map_or(0, |(i, _)| i)
}

/// A mean with its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// Its standard error; `None` where it is unknown (a single example).
    pub stderr: Option<f64>,
}

/// Mean of right (1) and wrong (0) answers, with √(Σ(x−x̄)² / (n−1)) / √n as standard error.
///
/// The mean of nothing is NaN.
pub fn accuracy(right: impl Iterator<Item = bool> + Clone) -> Estimate {
    let (hits, n) = right.clone().fold((0_usize, 0_usize), |(hits, n), x| {
        (hits + usize::from(x), n + 1)
    });
    let value = hits as f64 / n as f64;
    let squares: f64 = right
        .map(|x| (f64::from(u8::from(x)) - value).powi(2))
        .sum();
    let stderr = (n > 1).then(|| (squares / (n - 1) as f64).sqrt() / (n as f64).sqrt());
    Estimate { value, stderr }
}

/// Unweighted mean of task scores; the error is √Σ se² / k, `None` where one of them has none.
///
/// `None` for no score at all.
pub fn mean_of(scores: &[Estimate]) -> Option<Estimate> {
    if scores.is_empty() {
        return None;
    }
    let k = scores.len() as f64;
    let variance: Option<f64> = scores
        .iter()
        .map(|score| score.stderr.map(|stderr| stderr * stderr))
        .sum();
    Some(Estimate {
        value: scores.iter().map(|score| score.value).sum::<f64>() / k,
        stderr: variance.map(|variance| variance.sqrt() / k),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(log_likelihoods: &[f64], choices: &[&str]) -> Chosen {
        let choices = choices.iter().map(|&c| c.to_owned()).collect();
        let example = Example::shared(None, String::new(), choices, 0);
        let scores: Vec<ChoiceScore> = log_likelihoods
            .iter()
            .map(|&log_likelihood| ChoiceScore {
                log_likelihood,
                greedy: false,
                tokens: 1,
            })
            .collect();
        choose(&example, &scores)
    }

    #[test]
    fn the_longest_choice_gains_by_normalisation() {
        let chosen = scored(&[-4.0, -6.0], &["no", "perhaps"]);
        assert_eq!((chosen.plain, chosen.per_character), (0, 1));
        assert_eq!((chosen.by(Metric::Acc), chosen.by(Metric::AccNorm)), (0, 1));
    }

    #[test]
    fn lengths_are_characters_and_not_bytes() {
        // By characters -6/3 = -2 against -9/4 = -2.25; by bytes -6/3 = -2 against -9/8 = -1.125.
        assert_eq!(scored(&[-6.0, -9.0], &["abc", "éééé"]).per_character, 0);
    }

    #[test]
    fn ties_go_to_the_first() {
        let chosen = scored(&[-2.0, -1.0, -1.0], &["a", "b", "c"]);
        assert_eq!((chosen.plain, chosen.per_character), (1, 1));
    }

    #[test]
    fn the_error_of_a_mean_has_one_degree_of_freedom_less() {
        let right = [true, false, false, true, true];
        let estimate = accuracy(right.into_iter());
        assert!((estimate.value - 0.6).abs() < 1e-15);
        // Sample variance 5/4 · 0.6 · 0.4 = 0.3; √(0.3/5).
        assert!((estimate.stderr.unwrap() - 0.06_f64.sqrt()).abs() < 1e-15);
        assert_eq!(accuracy([true].into_iter()).stderr, None);
        assert_eq!(accuracy([true; 4].into_iter()).stderr, Some(0.0));
    }

    #[test]
    fn the_mean_over_tasks_adds_variances() {
        let score = |value, stderr| Estimate { value, stderr };
        let mean = mean_of(&[score(0.2, Some(0.03)), score(0.6, Some(0.04))]).unwrap();
        assert!((mean.value - 0.4).abs() < 1e-15);
        assert!((mean.stderr.unwrap() - 0.025).abs() < 1e-15);
        assert_eq!(mean_of(&[score(0.2, None)]).unwrap().stderr, None);
        assert_eq!(mean_of(&[]), None);
    }
}
