//! What a model must do to be evaluated: give log-probabilities of given tokens in given rows.
//!
//! The engine, the metrics and the tests know nothing of tensors. [`crate::BurnModel`] implements the
//! trait for our transformer, the tests implement it with a table.

use crate::error::EvalError;

/// Tokens, of which the last ones are scored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScoreRow {
    /// Context and scored tokens together; the last one is only a target, never an input, so a row may
    /// be one longer than the model's maximum.
    pub tokens: Vec<u32>,
    /// Index of the first scored token, at least 1: a token is scored given all before it.
    pub score_from: usize,
}

impl ScoreRow {
    /// Tokens the model reads: all but the last.
    pub fn input(&self) -> &[u32] {
        &self.tokens[..self.tokens.len().saturating_sub(1)]
    }

    /// Tokens whose log-probability is wanted.
    pub fn targets(&self) -> &[u32] {
        self.tokens.get(self.score_from..).unwrap_or(&[])
    }
}

/// The answer to a [`ScoreRow`].
#[derive(Clone, Debug, PartialEq)]
pub struct RowScore {
    /// Natural logarithm of each scored token's probability, in order.
    pub log_probs: Vec<f32>,
    /// Whether each scored token is the most likely one at its place.
    pub greedy: bool,
}

/// A causal language model that scores rows.
pub trait LanguageModel {
    /// The most tokens it reads at once.
    fn max_seq_len(&self) -> usize;

    /// Scores rows of any lengths, each alone: a row's answer must not depend on the others.
    ///
    /// # Errors
    /// Whatever keeps the model from answering.
    fn score(&mut self, rows: &[ScoreRow]) -> Result<Vec<RowScore>, EvalError>;

    /// Continues each prompt greedily, by at most `max_tokens` tokens, until `done(prompt, tokens so far)`
    /// says that it is enough; the tokens that made it enough are part of the answer.
    ///
    /// # Errors
    /// An empty prompt, one that leaves no room, or whatever keeps the model from answering.
    fn generate(
        &mut self,
        prompts: &[Vec<u32>],
        max_tokens: usize,
        done: &mut dyn FnMut(usize, &[u32]) -> bool,
    ) -> Result<Vec<Vec<u32>>, EvalError>;
}

/// A tokenizer as far as scoring needs one.
pub trait TextEncoder: Sync {
    /// Token ids of a text, with the BOS token in front if `add_bos` and the vocabulary has one.
    ///
    /// # Errors
    /// The text cannot be tokenized.
    fn encode(&self, text: &str, add_bos: bool) -> Result<Vec<u32>, EvalError>;

    /// What a text without context is conditioned on: BOS, else EOS, else nothing.
    fn prefix_token(&self) -> Option<u32>;

    /// The token that ends a text, if there is one.
    fn end_token(&self) -> Option<u32>;

    /// The text of ids, special tokens left out.
    fn decode(&self, ids: &[u32]) -> String;

    /// The tokens' own strings one after another, such as `▁the`; `None` for an id there is not.
    fn decode_pieces(&self, ids: &[u32]) -> Option<String>;

    /// A hash that tells tokenizers apart.
    fn fingerprint(&self) -> String;
}
