//! From log-likelihoods to scores, with their standard errors.
//!
//! Every formula is the harness's: ties go to the first choice (NumPy's argmax), `acc_norm` divides by
//! the length in characters, the standard error of a mean has n − 1 under the root, and the error of an
//! unweighted mean over tasks takes the tasks as independent.

use crate::example::Example;
use crate::tasks::Paper;

/// The version of the `paper` protocol: what a number of it means. 1 divided WinoGrande's log-likelihoods by
/// the lengths of the contexts, though the scored text is the same for both.
pub const PAPER_VERSION: u64 = 2;

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
    /// By the `paper` protocol, for tasks that it knows.
    pub paper: Option<usize>,
}

/// The chosen answers of an example whose choices have these scores.
///
/// `unconditional` are the log-likelihoods of the choices after the bare text `Answer:`, which
/// [`Paper::AfterAnswer`] needs; without them that protocol chooses nothing.
pub fn choose(
    example: &Example,
    scores: &[ChoiceScore],
    paper: Paper,
    unconditional: Option<&[f64]>,
) -> Chosen {
    let plain = scores.iter().map(|score| score.log_likelihood);
    let lengths = example.choices.iter().map(|c| c.chars().count() as f64);
    let per_character = argmax(plain.clone().zip(lengths).map(|(score, n)| score / n));
    Chosen {
        plain: argmax(plain.clone()),
        per_character,
        paper: match (paper, unconditional) {
            (Paper::Characters, _) => Some(per_character),
            (Paper::Plain, _) => Some(argmax(plain)),
            (Paper::AfterAnswer, Some(bare)) => {
                Some(argmax(plain.zip(bare).map(|(score, bare)| score - bare)))
            }
            _ => None,
        },
    }
}

/// The share of probability that the true choices get among all.
pub fn truth_share(scores: &[ChoiceScore], truths: &[bool]) -> f64 {
    let all: Vec<f64> = scores.iter().map(|s| s.log_likelihood.exp()).collect();
    let total: f64 = all.iter().sum();
    let of_true = all.iter().zip(truths).filter(|(_, truth)| **truth);
    of_true.map(|(p, _)| p / total).sum()
}

/// Whether a generated answer equals one of the aliases, case and ASCII punctuation aside.
pub fn exact_match(answer: &str, aliases: &[String]) -> bool {
    let bare = |text: &str| -> String {
        let kept = text.chars().filter(|c| !c.is_ascii_punctuation());
        kept.collect::<String>().to_lowercase()
    };
    let answer = bare(answer);
    aliases.iter().any(|alias| bare(alias) == answer)
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

/// Mean of right (1) and wrong (0) answers, with its standard error.
///
/// The mean of nothing is NaN.
pub fn accuracy(right: impl Iterator<Item = bool> + Clone) -> Estimate {
    mean(right.map(|right| f64::from(u8::from(right))))
}

/// Mean with √(Σ(x−x̄)² / (n−1)) / √n as standard error; the mean of nothing is NaN.
pub fn mean(values: impl Iterator<Item = f64> + Clone) -> Estimate {
    let (sum, n) = values
        .clone()
        .fold((0.0, 0_usize), |(sum, n), x| (sum + x, n + 1));
    let value = sum / n as f64;
    let squares: f64 = values.map(|x| (x - value).powi(2)).sum();
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
        choose(&example, &scores, Paper::Characters, None)
    }

    #[test]
    fn the_longest_choice_gains_by_normalisation() {
        let chosen = scored(&[-4.0, -6.0], &["no", "perhaps"]);
        assert_eq!((chosen.plain, chosen.per_character), (0, 1));
        assert_eq!(chosen.paper, Some(1));
    }

    #[test]
    fn lengths_are_characters_and_not_bytes() {
        // By characters -6/3 = -2 against -9/4 = -2.25; by bytes -6/3 = -2 against -9/8 = -1.125.
        assert_eq!(scored(&[-6.0, -9.0], &["abc", "éééé"]).per_character, 0);
    }

    #[test]
    fn a_choice_that_is_likely_anywhere_loses_by_the_answer_s_own_likelihood() {
        let choices = ["no".to_owned(), "yes".to_owned()];
        let example = Example::shared(None, String::new(), choices.to_vec(), 0);
        let score = |log_likelihood| ChoiceScore {
            log_likelihood,
            greedy: false,
            tokens: 1,
        };
        let scores = [score(-1.0), score(-2.0)];
        let chosen = |bare| choose(&example, &scores, Paper::AfterAnswer, bare).paper;
        assert_eq!(chosen(Some(&[-1.0, -5.0])), Some(1));
        assert_eq!(chosen(Some(&[-5.0, -5.0])), Some(0));
        assert_eq!(chosen(None), None);
        assert_eq!(choose(&example, &scores, Paper::None, None).paper, None);
    }

    #[test]
    fn the_same_text_after_two_contexts_is_not_divided_by_their_lengths() {
        let contexts = ["Ann".to_owned(), "the longest name of all".to_owned()];
        let example = Example {
            continuations: vec![" ran".to_owned(); 2],
            choices: contexts.to_vec(),
            contexts: crate::Contexts::PerChoice(contexts.to_vec()),
            ..Example::shared(None, String::new(), Vec::new(), 0)
        };
        let score = |log_likelihood| ChoiceScore {
            log_likelihood,
            greedy: false,
            tokens: 1,
        };
        let task = crate::tasks::find("winogrande").unwrap();
        let chosen = choose(&example, &[score(-1.0), score(-2.0)], task.paper, None);
        assert_eq!((chosen.plain, chosen.paper), (0, Some(0)));
        // Every task whose contexts differ, and only those, is scored so.
        for task in crate::tasks::list().iter().filter(|t| t.fixture.is_some()) {
            let data = crate::TaskData::load(task, &crate::DataSource::Builtin).unwrap();
            let differ = |e: &Example| matches!(e.contexts, crate::Contexts::PerChoice(_));
            assert_eq!(
                data.examples.iter().any(differ),
                task.paper == Paper::Plain,
                "{}",
                task.name
            );
        }
    }

    #[test]
    fn true_answers_share_probability() {
        let score = |p: f64| ChoiceScore {
            log_likelihood: p.ln(),
            greedy: false,
            tokens: 1,
        };
        let share = truth_share(&[score(0.1), score(0.2), score(0.1)], &[true, false, true]);
        assert!((share - 0.5).abs() < 1e-12);
    }

    #[test]
    fn answers_match_without_case_and_punctuation() {
        let aliases = ["Sunset Blvd.".to_owned(), "U.S.".to_owned()];
        assert!(exact_match("sunset blvd", &aliases));
        assert!(exact_match("us", &aliases));
        assert!(!exact_match("the us", &aliases));
        assert!(!exact_match("us ", &aliases), "spaces inside count");
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
