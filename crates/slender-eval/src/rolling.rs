//! Cutting a long text into windows so that each token is scored exactly once.
//!
//! As the harness's `get_rolling_token_windows` with one token of context: the first window starts
//! after the prefix token, each later one is filled from the left up to the model's maximum, so only
//! the last window sees context that was scored before. Cheap (each token is read about once), at the
//! price of little context for the first tokens of a window; a stride would give lower perplexities.

use crate::model::ScoreRow;

/// Windows over `tokens`, each at most `max_seq_len` inputs long, the first one after `prefix`.
///
/// `max_seq_len` of 0 is taken as 1; no tokens give no window.
pub fn rolling_rows(tokens: &[u32], prefix: u32, max_seq_len: usize) -> Vec<ScoreRow> {
    let width = max_seq_len.max(1);
    let mut rows = Vec::with_capacity(tokens.len().div_ceil(width));
    let first = tokens.len().min(width);
    if first == 0 {
        return rows;
    }
    rows.push(ScoreRow {
        tokens: [&[prefix], &tokens[..first]].concat(),
        score_from: 1,
    });
    let mut done = first;
    while done < tokens.len() {
        let end = (done + width).min(tokens.len());
        // One token more than fits, because the last one is only a target; never below 0, because the
        // first window took `width` tokens.
        let start = end.saturating_sub(width + 1);
        rows.push(ScoreRow {
            tokens: tokens[start..end].to_vec(),
            score_from: done - start,
        });
        done = end;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(n: u32, width: usize) -> Vec<(Vec<u32>, usize)> {
        let tokens: Vec<u32> = (0..n).collect();
        rolling_rows(&tokens, 100, width)
            .into_iter()
            .map(|row| (row.tokens, row.score_from))
            .collect()
    }

    #[test]
    fn the_last_window_is_filled_from_the_left() {
        assert_eq!(
            windows(7, 3),
            [
                (vec![100, 0, 1, 2], 1),
                (vec![2, 3, 4, 5], 1),
                (vec![3, 4, 5, 6], 3),
            ]
        );
        assert_eq!(windows(2, 3), [(vec![100, 0, 1], 1)]);
        assert_eq!(windows(0, 3), []);
    }

    #[test]
    fn each_token_is_scored_once_and_no_window_is_too_long() {
        for n in 0..40 {
            for width in 1..12 {
                let rows = rolling_rows(&(0..n).collect::<Vec<_>>(), 100, width);
                let scored: Vec<u32> = rows.iter().flat_map(|r| r.targets().to_vec()).collect();
                assert_eq!(scored, (0..n).collect::<Vec<_>>());
                assert!(
                    rows.iter()
                        .all(|r| r.input().len() <= width && r.score_from >= 1)
                );
            }
        }
    }
}
