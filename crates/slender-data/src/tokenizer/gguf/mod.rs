//! Tokenizers in GGUF files, both ways.
//!
//! A GGUF file keeps a vocabulary in its metadata: `tokenizer.ggml.model` is `llama` (SentencePiece BPE:
//! pieces, scores and kinds) or `gpt2` (byte-level BPE: tokens, kinds, merges, and a name in
//! `tokenizer.ggml.pre` for how text is cut before it is merged). llama.cpp knows the cuts by name, so a
//! tokenizer whose cut has no name cannot be said in GGUF, and a name that is not known here cannot be read:
//! both are errors that name it.
//!
//! [`GgufTokenizer`] is the metadata as a plain struct; [`GgufTokenizer::fields`] and
//! [`GgufTokenizer::from_fields`] are its keys, for whoever reads and writes files.

mod cut;
mod from_tokenizer;
mod to_tokenizer;

use super::sentencepiece::kind;
use crate::DataError;

/// Kinds of tokens, `tokenizer.ggml.token_type`: SentencePiece's numbers.
mod types {
    pub use super::kind::*;
}

/// A value of a metadata key.
#[derive(Clone, Debug, PartialEq)]
pub enum GgufField {
    /// A string.
    Str(String),
    /// An unsigned number.
    U32(u32),
    /// A truth value.
    Bool(bool),
    /// Strings.
    Strs(Vec<String>),
    /// Numbers.
    F32s(Vec<f32>),
    /// Whole numbers.
    I32s(Vec<i32>),
}

/// The tokenizer of a GGUF file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GgufTokenizer {
    /// `llama` or `gpt2`.
    pub model: String,
    /// Name of the cut before merging, for `gpt2`.
    pub pre: Option<String>,
    /// Tokens; the index is the id.
    pub tokens: Vec<String>,
    /// Scores, for `llama`: the merge with the best score is made first.
    pub scores: Option<Vec<f32>>,
    /// Kinds: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    pub token_types: Option<Vec<i32>>,
    /// Merges in order of priority, two tokens with a space between, for `gpt2`.
    pub merges: Option<Vec<String>>,
    /// Begin-of-sequence token.
    pub bos: Option<u32>,
    /// End-of-sequence token.
    pub eos: Option<u32>,
    /// Token for what the vocabulary lacks.
    pub unknown: Option<u32>,
    /// Token that fills up batches.
    pub padding: Option<u32>,
    /// Whether a text gets BOS before it.
    pub add_bos: Option<bool>,
    /// Whether a text gets EOS after it.
    pub add_eos: Option<bool>,
    /// Whether a text gets a space before it.
    pub add_space_prefix: Option<bool>,
    /// Whether runs of spaces become one.
    pub remove_extra_whitespaces: Option<bool>,
    /// Chat template, a Jinja text.
    pub chat_template: Option<String>,
}

impl GgufTokenizer {
    /// The metadata's keys and values.
    pub fn fields(&self) -> Vec<(&'static str, GgufField)> {
        use GgufField::{Bool, F32s, I32s, Str, Strs, U32};
        let mut fields = vec![("tokenizer.ggml.model", Str(self.model.clone()))];
        let mut put =
            |key, value: Option<GgufField>| fields.extend(value.map(|value| (key, value)));
        put("tokenizer.ggml.pre", self.pre.clone().map(Str));
        put("tokenizer.ggml.tokens", Some(Strs(self.tokens.clone())));
        put("tokenizer.ggml.scores", self.scores.clone().map(F32s));
        put(
            "tokenizer.ggml.token_type",
            self.token_types.clone().map(I32s),
        );
        put("tokenizer.ggml.merges", self.merges.clone().map(Strs));
        put("tokenizer.ggml.bos_token_id", self.bos.map(U32));
        put("tokenizer.ggml.eos_token_id", self.eos.map(U32));
        put("tokenizer.ggml.unknown_token_id", self.unknown.map(U32));
        put("tokenizer.ggml.padding_token_id", self.padding.map(U32));
        put("tokenizer.ggml.add_bos_token", self.add_bos.map(Bool));
        put("tokenizer.ggml.add_eos_token", self.add_eos.map(Bool));
        put(
            "tokenizer.ggml.add_space_prefix",
            self.add_space_prefix.map(Bool),
        );
        put(
            "tokenizer.ggml.remove_extra_whitespaces",
            self.remove_extra_whitespaces.map(Bool),
        );
        put(
            "tokenizer.chat_template",
            self.chat_template.clone().map(Str),
        );
        fields
    }

    /// Reads the keys of a metadata; `get` gives the value of one.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`]: a key that is missing or of another type.
    pub fn from_fields(get: impl Fn(&str) -> Option<GgufField>) -> Result<Self, DataError> {
        let wrong = |key: &str, what: &str| failure(format!("metadata key `{key}` {what}"));
        macro_rules! field {
            ($key:literal, $kind:ident) => {
                match get($key) {
                    None => None,
                    Some(GgufField::$kind(value)) => Some(value),
                    Some(_) => return Err(wrong($key, "has another type than GGUF's")),
                }
            };
        }
        Ok(Self {
            model: field!("tokenizer.ggml.model", Str)
                .ok_or_else(|| wrong("tokenizer.ggml.model", "is missing"))?,
            pre: field!("tokenizer.ggml.pre", Str),
            tokens: field!("tokenizer.ggml.tokens", Strs)
                .ok_or_else(|| wrong("tokenizer.ggml.tokens", "is missing"))?,
            scores: field!("tokenizer.ggml.scores", F32s),
            token_types: field!("tokenizer.ggml.token_type", I32s),
            merges: field!("tokenizer.ggml.merges", Strs),
            bos: field!("tokenizer.ggml.bos_token_id", U32),
            eos: field!("tokenizer.ggml.eos_token_id", U32),
            unknown: field!("tokenizer.ggml.unknown_token_id", U32),
            padding: field!("tokenizer.ggml.padding_token_id", U32),
            add_bos: field!("tokenizer.ggml.add_bos_token", Bool),
            add_eos: field!("tokenizer.ggml.add_eos_token", Bool),
            add_space_prefix: field!("tokenizer.ggml.add_space_prefix", Bool),
            remove_extra_whitespaces: field!("tokenizer.ggml.remove_extra_whitespaces", Bool),
            chat_template: field!("tokenizer.chat_template", Str),
        })
    }

    /// Kind of a token.
    fn kind(&self, id: usize) -> i32 {
        let types = self.token_types.as_ref();
        types
            .and_then(|types| types.get(id).copied())
            .unwrap_or(types::NORMAL)
    }
}

fn failure(message: String) -> DataError {
    DataError::Tokenizer {
        name: "(GGUF)".into(),
        message,
    }
}

#[cfg(test)]
mod tests;
