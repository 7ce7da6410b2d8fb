//! The scoring engine: many rows in, their scores out in the same order, with as little work as it can.
//!
//! Equal rows are scored once (choices repeat, and so do windows), and not at all where a cache has them. The
//! rest is sorted by its tokens, which brings rows with a common beginning together, and packed into batches
//! by what each adds to the tokens before it. There is no padding to save by sorting by length: a batch is
//! one row of tokens (see [`crate::packed`]).

use std::collections::HashMap;

use crate::cache::RowCache;
use crate::error::EvalError;
use crate::forest::common;
use crate::model::{LanguageModel, RowScore, ScoreRow};

/// Scores `rows` in batches of at most `batch_tokens` input tokens, shared ones counted once.
///
/// A single row may be larger than that. `progress` is called after each batch with the input tokens done
/// and in total (duplicates not counted).
///
/// # Errors
/// The model fails, answers with the wrong number of scores, or with one that is not a number.
pub fn score_rows(
    model: &mut dyn LanguageModel,
    rows: &[ScoreRow],
    batch_tokens: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<RowScore>, EvalError> {
    score_rows_cached(model, rows, batch_tokens, None, progress)
}

/// As [`score_rows`], taking from `cache` what it has and adding the rest to it, batch by batch.
///
/// # Errors
/// As [`score_rows`], or the cache cannot be written.
pub fn score_rows_cached(
    model: &mut dyn LanguageModel,
    rows: &[ScoreRow],
    batch_tokens: usize,
    mut cache: Option<&mut RowCache>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<RowScore>, EvalError> {
    let (unique, slot_of) = distinct(rows);
    let mut scores: Vec<Option<RowScore>> = match &mut cache {
        Some(cache) => unique.iter().map(|row| cache.row(row)).collect(),
        None => vec![None; unique.len()],
    };
    let mut order: Vec<usize> = (0..unique.len()).filter(|&i| scores[i].is_none()).collect();
    order.sort_unstable_by(|&a, &b| {
        let (a, b) = (unique[a], unique[b]);
        (a.input(), a.targets().len(), &a.tokens).cmp(&(b.input(), b.targets().len(), &b.tokens))
    });

    let total: usize = unique.iter().map(|row| row.input().len()).sum();
    let left: usize = order.iter().map(|&i| unique[i].input().len()).sum();
    let mut done = total - left;
    if done > 0 {
        progress(done, total);
    }
    let mut rest = order.as_slice();
    while !rest.is_empty() {
        let inputs = rest.iter().map(|&i| unique[i].input());
        let (batch, later) = rest.split_at(batch_len(inputs, batch_tokens));
        rest = later;
        let batch_rows: Vec<ScoreRow> = batch.iter().map(|&i| unique[i].clone()).collect();
        let answers = model.score(&batch_rows)?;
        check(&batch_rows, &answers)?;
        if let Some(cache) = &mut cache {
            cache.put_rows(batch_rows.iter().zip(&answers))?;
        }
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

/// Input tokens that scoring `rows` has in all, as [`score_rows`] counts them.
pub(crate) fn work(rows: &[ScoreRow]) -> usize {
    distinct(rows).0.iter().map(|row| row.input().len()).sum()
}

/// The different rows, and for each row which of them it is.
fn distinct(rows: &[ScoreRow]) -> (Vec<&ScoreRow>, Vec<usize>) {
    let mut slots: HashMap<&ScoreRow, usize> = HashMap::with_capacity(rows.len());
    let mut unique: Vec<&ScoreRow> = Vec::new();
    let slot_of = rows.iter().map(|row| {
        *slots.entry(row).or_insert_with(|| {
            unique.push(row);
            unique.len() - 1
        })
    });
    let slot_of = slot_of.collect();
    (unique, slot_of)
}

/// How many of the sorted `inputs` fit a batch: at least one.
pub(crate) fn batch_len<'a>(inputs: impl Iterator<Item = &'a [u32]>, batch_tokens: usize) -> usize {
    let mut before: Option<&[u32]> = None;
    let mut tokens = 0;
    let mut count = 0;
    for input in inputs {
        tokens += input.len() - before.map_or(0, |before| common(before, input));
        if count > 0 && tokens > batch_tokens {
            break;
        }
        before = Some(input);
        count += 1;
    }
    count.max(1)
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
    fn the_budget_holds_and_what_is_shared_counts_once() {
        let mut seen = Vec::new();
        let mut model = HashModel::new(64);
        score_rows(&mut model, &rows(), 60, &mut |done, total| {
            seen.push((done, total))
        })
        .unwrap();
        let added = |call: &Vec<Vec<u32>>| {
            let empty = Vec::new();
            let before = std::iter::once(&empty).chain(call);
            let added = |(row, before): (&Vec<u32>, &Vec<u32>)| row.len() - common(row, before);
            call.iter().zip(before).map(added).sum::<usize>()
        };
        assert!(
            model
                .inputs
                .iter()
                .all(|call| call.len() == 1 || added(call) <= 60)
        );
        assert!(model.inputs.len() > 3);
        let &(done, total) = seen.last().unwrap();
        assert_eq!((done, seen.len()), (total, model.inputs.len()));
        assert_eq!(total, work(&rows()));
        // Ten choices after one context of forty tokens: less than two contexts' worth.
        let choice = |i| ScoreRow {
            tokens: (0..40).chain([i, i]).collect(),
            score_from: 40,
        };
        let choices: Vec<ScoreRow> = (50..60).map(choice).collect();
        let mut model = HashModel::new(64);
        score_rows(&mut model, &choices, 60, &mut |_, _| {}).unwrap();
        assert_eq!(model.inputs.len(), 1);
    }

    #[test]
    fn what_a_cache_holds_is_not_scored_again() {
        let dir = tempfile::tempdir().unwrap();
        let key = crate::cache::CacheKey {
            weights: "w".into(),
            tokenizer: "t".into(),
            task: "x@1".into(),
            settings: String::new(),
        };
        let rows = rows();
        let run = |rows: &[ScoreRow], budget| {
            let mut cache = RowCache::open(dir.path(), &key).unwrap();
            let mut model = HashModel::new(64);
            let mut last = (0, 0);
            let scores =
                score_rows_cached(&mut model, rows, budget, Some(&mut cache), &mut |a, b| {
                    last = (a, b)
                })
                .unwrap();
            assert_eq!((last.0, last.1), (last.1, work(rows)));
            (scores, model.calls.iter().map(|call| call.0).sum::<usize>())
        };
        let (half, scored) = run(&rows[..30], 100);
        assert_eq!(
            (half.as_slice(), scored),
            (&alone(&rows[..30])[..], distinct(&rows[..30]).0.len())
        );
        let (all, rest) = run(&rows, 50);
        assert_eq!(all, alone(&rows));
        assert_eq!(scored + rest, distinct(&rows).0.len());
        assert_eq!(run(&rows, 50), (all, 0));
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

        fn generate(
            &mut self,
            _: &[Vec<u32>],
            _: usize,
            _: &mut dyn FnMut(usize, &[u32]) -> bool,
        ) -> Result<Vec<Vec<u32>>, EvalError> {
            Err(EvalError::Model("it is broken".into()))
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
