//! The scoring engine: many rows in, their scores out in the same order, with as little work as it can.
//!
//! Equal rows are scored once (choices repeat, and so do windows). The rest is sorted from long to
//! short, so that rows of similar length share a batch, little is padded, memory is at its peak in the
//! first batch and time left is over- rather than underestimated; among rows of one length the order
//! is that of their tokens, which brings rows with the same input together. A batch holds as many rows
//! as its longest one allows within the token budget, at least one.

use std::collections::HashMap;

use crate::error::EvalError;
use crate::model::{LanguageModel, RowScore, ScoreRow};

/// Scores `rows` in batches of at most `batch_tokens` input tokens, padding included.
///
/// `progress` is called after each batch with the input tokens done and in total (duplicates not
/// counted).
///
/// # Errors
/// The model fails, answers with the wrong number of scores, or with one that is not a number.
pub fn score_rows(
    model: &mut dyn LanguageModel,
    rows: &[ScoreRow],
    batch_tokens: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<RowScore>, EvalError> {
    let mut slots: HashMap<&ScoreRow, usize> = HashMap::with_capacity(rows.len());
    let mut unique: Vec<&ScoreRow> = Vec::new();
    let slot_of: Vec<usize> = rows
        .iter()
        .map(|row| {
            *slots.entry(row).or_insert_with(|| {
                unique.push(row);
                unique.len() - 1
            })
        })
        .collect();

    let mut order: Vec<usize> = (0..unique.len()).collect();
    order.sort_unstable_by(|&a, &b| {
        let (a, b) = (unique[a], unique[b]);
        let by_length = b.tokens.len().cmp(&a.tokens.len());
        by_length.then_with(|| (&a.tokens, a.score_from).cmp(&(&b.tokens, b.score_from)))
    });

    let total: usize = unique.iter().map(|row| row.input().len()).sum();
    let mut done = 0;
    let mut scores: Vec<Option<RowScore>> = vec![None; unique.len()];
    let mut rest = order.as_slice();
    while let Some(&longest) = rest.first() {
        let width = unique[longest].input().len().max(1);
        let (batch, later) = rest.split_at((batch_tokens / width).clamp(1, rest.len()));
        rest = later;
        let batch_rows: Vec<ScoreRow> = batch.iter().map(|&i| unique[i].clone()).collect();
        let answers = model.score(&batch_rows)?;
        check(&batch_rows, &answers)?;
        done += batch_rows
            .iter()
            .map(|row| row.input().len())
            .sum::<usize>();
        for (&i, answer) in batch.iter().zip(answers) {
            scores[i] = Some(answer);
        }
        progress(done, total);
    }
    slot_of
        .into_iter()
        .map(|slot| {
            scores[slot]
                .clone()
                .ok_or_else(|| EvalError::Model("a row was never scored".to_owned()))
        })
        .collect()
}

fn check(rows: &[ScoreRow], answers: &[RowScore]) -> Result<(), EvalError> {
    let wanted = rows.iter().map(|row| row.targets().len());
    let given = answers.iter().map(|answer| answer.log_probs.len());
    if !wanted.eq(given) {
        return Err(EvalError::Model(
            "it answered with another number of log-probabilities than was asked for".to_owned(),
        ));
    }
    let numbers = answers.iter().flat_map(|answer| &answer.log_probs);
    if numbers.into_iter().any(|log_prob| log_prob.is_nan()) {
        return Err(EvalError::NotANumber);
    }
    Ok(())
}

/// The sum of log-probabilities in nats, added up in double precision.
pub fn total(score: &RowScore) -> f64 {
    score.log_probs.iter().copied().map(f64::from).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::HashModel;

    fn rows() -> Vec<ScoreRow> {
        (0..57_u32)
            .map(|i| {
                let len = 2 + (i * 7 % 23) as usize;
                let tokens: Vec<u32> = (0..len as u32).map(|t| (t * 31 + i / 2) % 97).collect();
                ScoreRow {
                    score_from: 1 + (i as usize % (len - 1)),
                    tokens,
                }
            })
            .collect()
    }

    fn alone(rows: &[ScoreRow]) -> Vec<RowScore> {
        let mut model = HashModel::new(64);
        rows.iter()
            .map(|row| model.score(std::slice::from_ref(row)).unwrap().remove(0))
            .collect()
    }

    #[test]
    fn order_and_batch_size_change_nothing() {
        let rows = rows();
        let expected = alone(&rows);
        for batch_tokens in [0, 1, 24, 100, 1000, usize::MAX] {
            let mut model = HashModel::new(64);
            let scores = score_rows(&mut model, &rows, batch_tokens, &mut |_, _| {}).unwrap();
            assert_eq!(scores, expected);
            let mut reversed = rows.clone();
            reversed.reverse();
            let mut scores =
                score_rows(&mut model, &reversed, batch_tokens, &mut |_, _| {}).unwrap();
            scores.reverse();
            assert_eq!(scores, expected);
        }
    }

    #[test]
    fn the_budget_holds_padding_included_and_long_rows_come_first() {
        let mut model = HashModel::new(64);
        let mut seen = Vec::new();
        score_rows(&mut model, &rows(), 60, &mut |done, total| {
            seen.push((done, total))
        })
        .unwrap();
        assert!(
            model
                .calls
                .iter()
                .all(|&(n, width)| n == 1 || n * width <= 60)
        );
        assert!(model.calls.is_sorted_by(|a, b| a.1 >= b.1));
        let &(done, total) = seen.last().unwrap();
        assert_eq!(done, total);
        assert_eq!(seen.len(), model.calls.len());
    }

    #[test]
    fn equal_rows_are_scored_once() {
        let row = rows().remove(5);
        let rows = vec![row; 9];
        let mut model = HashModel::new(64);
        let scores = score_rows(&mut model, &rows, 1000, &mut |_, _| {}).unwrap();
        assert_eq!(scores.len(), 9);
        assert_eq!(model.calls.iter().map(|call| call.0).sum::<usize>(), 1);
    }

    #[test]
    fn no_rows_need_no_model() {
        let mut model = HashModel::new(64);
        assert!(
            score_rows(&mut model, &[], 10, &mut |_, _| {})
                .unwrap()
                .is_empty()
        );
        assert!(model.calls.is_empty());
    }

    struct Broken(f32, usize);

    impl LanguageModel for Broken {
        fn max_seq_len(&self) -> usize {
            64
        }

        fn score(&mut self, rows: &[ScoreRow]) -> Result<Vec<RowScore>, EvalError> {
            let score = RowScore {
                log_probs: vec![self.0; self.1],
                greedy: false,
            };
            Ok(vec![score; rows.len()])
        }
    }

    #[test]
    fn a_broken_model_is_an_error_and_not_a_score() {
        let row = ScoreRow {
            tokens: vec![1, 2, 3],
            score_from: 1,
        };
        let score = |mut model: Broken| {
            score_rows(&mut model, std::slice::from_ref(&row), 10, &mut |_, _| {})
        };
        assert!(matches!(
            score(Broken(f32::NAN, 2)),
            Err(EvalError::NotANumber)
        ));
        assert!(matches!(score(Broken(-1.0, 3)), Err(EvalError::Model(_))));
        assert!((total(&score(Broken(-0.5, 2)).unwrap()[0]) + 1.0).abs() < 1e-12);
    }
}
