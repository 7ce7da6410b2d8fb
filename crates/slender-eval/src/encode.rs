//! From texts to rows of tokens, exactly as the harness does it, because the details move scores.
//!
//! - Trailing whitespace of the context moves to the continuation.
//! - Context and continuation are tokenized **together**; the continuation's tokens are what follows
//!   the context's own number of tokens. A tokenizer that merges across the boundary thus shifts it.
//! - An empty context becomes the BOS token, or EOS where there is none.
//! - What does not fit is cut off on the left; the last token is a target only, so a row may hold one
//!   token more than the model's maximum.
//!
//! One thing differs: where a continuation alone is longer than the model's maximum the harness stops
//! with an assertion. Small models meet that case (PIQA with 128 tokens of context), so here the
//! continuation is scored in rolling windows and the report counts how often.

use serde::{Deserialize, Serialize};

use crate::error::EvalError;
use crate::model::{ScoreRow, TextEncoder};
use crate::rolling::rolling_rows;
use crate::tasks::is_space;

/// The details of tokenization that move scores, as they stand in every result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokenization {
    /// Whether BOS stands before every context.
    pub bos: bool,
    /// The token that an empty context becomes: BOS, or EOS where there is none.
    pub empty_context: Option<u32>,
    /// Where the continuation begins.
    pub boundary: String,
    /// Which end of what does not fit is cut off.
    pub truncation: String,
    /// The most tokens the model reads.
    pub max_tokens: usize,
    /// Whitespace at the end of a context.
    pub trailing_space: String,
    /// Whether the tokenizer puts a space before a text (LLaMA's does).
    pub leading_space: bool,
    /// Names of special tokens inside a text.
    pub special_tokens: String,
}

impl Tokenization {
    /// What is done with this tokenizer.
    ///
    /// # Errors
    /// The tokenizer fails on the letter `a`.
    pub fn of(
        tokenizer: &dyn TextEncoder,
        add_bos: bool,
        max_tokens: usize,
    ) -> Result<Self, EvalError> {
        // A tokenizer that adds a space gives `a` and ` a` the same tokens, or one more for the second.
        let leading_space = tokenizer
            .decode_pieces(&tokenizer.encode("a", false)?)
            .is_some_and(|text| text.starts_with(['\u{2581}', '\u{120}', ' ']));
        Ok(Self {
            bos: add_bos && tokenizer.prefix_token().is_some(),
            empty_context: tokenizer.prefix_token(),
            boundary: "context and continuation encoded together, cut at the context's length"
                .into(),
            truncation: "left".into(),
            max_tokens,
            trailing_space: "moved to the continuation".into(),
            leading_space,
            special_tokens: "read as their ids".into(),
        })
    }
}

impl std::fmt::Display for Tokenization {
    /// One line for people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "tokens: {} BOS; {}; {}cut on the {} beyond {} tokens; special tokens in text {}",
            if self.bos { "with" } else { "no" },
            self.boundary,
            if self.leading_space {
                "space put before a text; "
            } else {
                ""
            },
            self.truncation,
            self.max_tokens,
            self.special_tokens,
        )
    }
}

/// Context and continuation as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPair {
    /// At least one token.
    pub context: Vec<u32>,
    /// At least one token.
    pub continuation: Vec<u32>,
}

/// Tokenizes a request (the harness's `_encode_pair`, with its rule for an empty context).
///
/// # Errors
/// The tokenizer fails, the continuation gets no token, or an empty context meets a tokenizer that has
/// neither BOS nor EOS.
pub fn encode_pair(
    tokenizer: &dyn TextEncoder,
    context: &str,
    continuation: &str,
    add_bos: bool,
) -> Result<EncodedPair, EvalError> {
    let empty = || EvalError::EmptyContinuation {
        context: tail(context),
        continuation: continuation.to_owned(),
    };
    // Only whitespace in front is as good as nothing: the harness would meet an empty list of tokens.
    let stripped = context.trim_end_matches(is_space);
    if stripped.is_empty() {
        let text = format!("{context}{continuation}");
        let mut continuation = tokenizer.encode(&text, false)?;
        let prefix = tokenizer.prefix_token().ok_or(EvalError::NoPrefixToken)?;
        // A continuation that brings its own BOS is not given a second one.
        if continuation.first() == Some(&prefix) {
            continuation.remove(0);
        }
        if continuation.is_empty() {
            return Err(empty());
        }
        return Ok(EncodedPair {
            context: vec![prefix],
            continuation,
        });
    }
    let whole = tokenizer.encode(&format!("{context}{continuation}"), add_bos)?;
    let mut head = tokenizer.encode(stripped, add_bos)?;
    if head.is_empty() {
        // A tokenizer that gives a text no token leaves nothing to condition on.
        head.push(tokenizer.prefix_token().ok_or(EvalError::NoPrefixToken)?);
        return Ok(EncodedPair {
            context: head,
            continuation: whole,
        });
    }
    let continuation = whole.get(head.len()..).unwrap_or(&[]).to_vec();
    if continuation.is_empty() {
        return Err(empty());
    }
    Ok(EncodedPair {
        context: head,
        continuation,
    })
}

/// How a request had to be changed to fit the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It fits as it is.
    Whole,
    /// The context lost its beginning.
    Truncated,
    /// The continuation alone is too long and is scored in several windows.
    Windows,
}

/// The rows that score a request: one, or several where the continuation alone is too long.
///
/// # Errors
/// [`EvalError::NoContext`] when the model reads no token at all.
pub fn request_rows(
    pair: &EncodedPair,
    max_seq_len: usize,
) -> Result<(Vec<ScoreRow>, Fit), EvalError> {
    if max_seq_len == 0 {
        return Err(EvalError::NoContext);
    }
    if pair.continuation.len() > max_seq_len {
        let before = *pair.context.last().ok_or(EvalError::NoPrefixToken)?;
        let rows = rolling_rows(&pair.continuation, before, max_seq_len);
        return Ok((rows, Fit::Windows));
    }
    let room = max_seq_len + 1 - pair.continuation.len();
    let cut = pair.context.len().saturating_sub(room);
    let context = &pair.context[cut..];
    let row = ScoreRow {
        tokens: [context, &pair.continuation].concat(),
        score_from: context.len(),
    };
    let fit = if cut == 0 { Fit::Whole } else { Fit::Truncated };
    Ok((vec![row], fit))
}

/// The last 40 characters, for messages.
fn tail(text: &str) -> String {
    let skip = text.chars().count().saturating_sub(40);
    text.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::CharTokenizer;

    fn pair(context: &str, continuation: &str, add_bos: bool) -> EncodedPair {
        encode_pair(&CharTokenizer, context, continuation, add_bos).unwrap()
    }

    fn ids(text: &str) -> Vec<u32> {
        text.chars().map(u32::from).collect()
    }

    #[test]
    fn trailing_space_moves_to_the_continuation() {
        let encoded = pair("ab \n", " c", false);
        assert_eq!(encoded.context, ids("ab"));
        assert_eq!(encoded.continuation, ids(" \n c"));
    }

    #[test]
    fn bos_stands_before_the_context_only() {
        let encoded = pair("ab", " c", true);
        assert_eq!(
            encoded.context,
            [vec![CharTokenizer::BOS], ids("ab")].concat()
        );
        assert_eq!(encoded.continuation, ids(" c"));
    }

    #[test]
    fn an_empty_context_is_bos_once() {
        for add_bos in [false, true] {
            let encoded = pair("", "xy", add_bos);
            assert_eq!(encoded.context, [CharTokenizer::BOS]);
            assert_eq!(encoded.continuation, ids("xy"));
        }
        let own = pair("", "\u{1}xy", false);
        assert_eq!(own.context, [CharTokenizer::BOS]);
        assert_eq!(own.continuation, ids("xy"));
        assert_eq!(pair("  ", "x", true).continuation, ids("  x"));
    }

    #[test]
    fn an_empty_continuation_is_an_error() {
        let error = encode_pair(&CharTokenizer, "abc", "", false).unwrap_err();
        assert!(matches!(error, EvalError::EmptyContinuation { .. }));
        assert!(encode_pair(&CharTokenizer, "", "", false).is_err());
    }

    #[test]
    fn truncation_is_from_the_left_and_the_last_token_is_free() {
        let encoded = pair("abcdef", "gh", false);
        let (rows, fit) = request_rows(&encoded, 7).unwrap();
        assert_eq!((rows[0].tokens.len(), fit), (8, Fit::Whole));
        let (rows, fit) = request_rows(&encoded, 4).unwrap();
        assert_eq!(fit, Fit::Truncated);
        assert_eq!(rows[0].tokens, ids("defgh"));
        assert_eq!(rows[0].score_from, 3);
        // The shortest that the harness accepts: one token of context.
        let (rows, _) = request_rows(&encoded, 2).unwrap();
        assert_eq!(rows[0].tokens, ids("fgh"));
        assert!(matches!(
            request_rows(&encoded, 0),
            Err(EvalError::NoContext)
        ));
    }

    #[test]
    fn a_continuation_longer_than_the_model_is_scored_in_windows() {
        let encoded = pair("ab", "cdefg", false);
        let (rows, fit) = request_rows(&encoded, 2).unwrap();
        assert_eq!(fit, Fit::Windows);
        let scored: Vec<u32> = rows.iter().flat_map(|row| row.targets().to_vec()).collect();
        assert_eq!(scored, ids("cdefg"));
        assert_eq!(rows[0].tokens, ids("bcd"));
    }
}
