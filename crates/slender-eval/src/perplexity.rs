//! Perplexity of running text, with the harness's rolling windows and wikitext's conventions.
//!
//! Perplexity per token depends on the tokenizer and compares nothing across vocabularies; bits per
//! byte and perplexity per word divide the same log-likelihood by counts of the **text** and do.
//! Words are counted as the harness counts them: the pieces between runs of whitespace, empty ones at
//! either end included.
//!
//! BOS is the first context and is never scored itself. The harness, given a tokenizer that adds BOS by
//! itself, also predicts that BOS after another one, which adds one near-zero or very large term a
//! document; we follow its definition (each token of the text once) rather than that accident.

use serde::{Deserialize, Serialize};

use crate::error::EvalError;
use crate::model::{LanguageModel, TextEncoder};
use crate::rolling::rolling_rows;
use crate::score::{score_rows, total};
use crate::tasks::is_space;

/// Log-likelihood of a text and what it is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Perplexity {
    /// Natural logarithm of the text's probability.
    pub log_likelihood: f64,
    /// Documents, each scored from an empty context.
    pub documents: usize,
    /// Tokens scored.
    pub tokens: usize,
    /// Words of the text.
    pub words: usize,
    /// UTF-8 bytes of the text.
    pub bytes: usize,
    /// Cross-entropy in nats per token.
    pub nats_per_token: f64,
    /// Cross-entropy in bits per byte.
    pub bits_per_byte: f64,
    /// exp of the cross-entropy per token.
    pub token_perplexity: f64,
    /// exp of the cross-entropy per word.
    pub word_perplexity: f64,
    /// exp of the cross-entropy per byte.
    pub byte_perplexity: f64,
    /// Most tokens of context, which perplexity depends on.
    pub max_seq_len: usize,
}

/// Scores each document from an empty context and adds up over all of them.
///
/// `batch_tokens` bounds the input tokens of a batch; `progress` gets the tokens done and in total.
///
/// # Errors
/// No text at all, a tokenizer with neither BOS nor EOS, a model that fails or answers with NaN.
pub fn perplexity(
    model: &mut dyn LanguageModel,
    tokenizer: &dyn TextEncoder,
    documents: &[&str],
    batch_tokens: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Perplexity, EvalError> {
    let max_seq_len = model.max_seq_len();
    if max_seq_len == 0 {
        return Err(EvalError::NoContext);
    }
    let prefix = tokenizer.prefix_token().ok_or(EvalError::NoPrefixToken)?;
    let mut rows = Vec::new();
    for document in documents {
        let tokens = tokenizer.encode(document, false)?;
        rows.extend(rolling_rows(&tokens, prefix, max_seq_len));
    }
    let tokens: usize = rows.iter().map(|row| row.targets().len()).sum();
    if tokens == 0 {
        return Err(EvalError::EmptyText);
    }
    let scores = score_rows(model, &rows, batch_tokens, progress)?;
    let log_likelihood: f64 = scores.iter().map(total).sum();
    let words: usize = documents.iter().map(|document| count_words(document)).sum();
    let bytes: usize = documents.iter().map(|document| document.len()).sum();
    let per = |count: usize| -log_likelihood / count as f64;
    Ok(Perplexity {
        log_likelihood,
        documents: documents.len(),
        tokens,
        words,
        bytes,
        nats_per_token: per(tokens),
        bits_per_byte: per(bytes) / std::f64::consts::LN_2,
        token_perplexity: per(tokens).exp(),
        word_perplexity: per(words).exp(),
        byte_perplexity: per(bytes).exp(),
        max_seq_len,
    })
}

/// The documents between lines that are `separator`, without the line break before one and without empty
/// documents; `None` where no line is the separator. A carriage return at the end of a line does not count.
pub fn split_documents<'a>(text: &'a str, separator: &str) -> Option<Vec<&'a str>> {
    let mut documents = Vec::new();
    let (mut start, mut at, mut found) = (0, 0, false);
    for line in text.split_inclusive('\n') {
        let next = at + line.len();
        if line.trim_end_matches(['\n', '\r']) == separator {
            found = true;
            documents.push(&text[start..at]);
            start = next;
        }
        at = next;
    }
    documents.push(&text[start..]);
    let last = documents.len() - 1;
    let bare = documents.into_iter().enumerate().map(|(i, document)| {
        // The break before a separator is the separator's; the last document keeps its own.
        match document.strip_suffix('\n') {
            Some(bare) if i < last => bare.strip_suffix('\r').unwrap_or(bare),
            _ => document,
        }
    });
    let documents: Vec<&str> = bare
        .filter(|document| !document.trim().is_empty())
        .collect();
    found.then_some(documents)
}

/// Pieces between runs of whitespace, as Python's `len(re.split(r"\s+", text))`.
pub fn count_words(text: &str) -> usize {
    let mut count = 1;
    let mut in_space = false;
    for c in text.chars() {
        let space = is_space(c);
        count += usize::from(space && !in_space);
        in_space = space;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{CharTokenizer, HashModel};

    fn measure(
        documents: &[&str],
        max_seq_len: usize,
        batch: usize,
    ) -> Result<Perplexity, EvalError> {
        let mut model = HashModel::new(max_seq_len);
        perplexity(&mut model, &CharTokenizer, documents, batch, &mut |_, _| {})
    }

    #[test]
    fn words_are_counted_as_python_splits() {
        assert_eq!(count_words("a b"), 2);
        assert_eq!(count_words(" a  b\n"), 4);
        assert_eq!(count_words(""), 1);
        assert_eq!(count_words("a\u{1f}b\u{a0}c"), 3);
    }

    #[test]
    fn documents_are_split_at_whole_lines_wherever_they_stand() {
        let split = |text| split_documents(text, "<|end|>");
        assert_eq!(split("a\nb\n<|end|>\nc\n"), Some(vec!["a\nb", "c\n"]));
        assert_eq!(split("<|end|>\na\n<|end|>"), Some(vec!["a"]));
        assert_eq!(
            split("a\n<|end|>\n<|end|>\n\n<|end|>\nb"),
            Some(vec!["a", "b"])
        );
        assert_eq!(
            split("a\r\nb\r\n<|end|>\r\nc\r\n"),
            Some(vec!["a\r\nb", "c\r\n"])
        );
        assert_eq!(split("a <|end|>\nb"), None);
        assert_eq!(split("<|end|>"), Some(vec![]));
    }

    #[test]
    fn each_token_is_scored_given_all_before_it() {
        let text = "one two three";
        let whole = measure(&[text], 64, 1000).unwrap();
        let mut before = vec![CharTokenizer::BOS];
        let mut expected = 0.0;
        for c in text.chars() {
            expected += f64::from(HashModel::log_prob(&before, u32::from(c)));
            before.push(u32::from(c));
        }
        assert!((whole.log_likelihood - expected).abs() < 1e-9);
        assert_eq!((whole.tokens, whole.words, whole.bytes), (13, 3, 13));
        assert!(
            (whole.bits_per_byte - whole.nats_per_token / std::f64::consts::LN_2).abs() < 1e-12
        );
        assert!((whole.word_perplexity.ln() * 3.0 + expected).abs() < 1e-9);
    }

    #[test]
    fn batches_change_nothing_and_documents_add_up() {
        let text = "abcdefghijklmnopqrstuvwxyz".repeat(3);
        let whole = measure(&[&text], 10, 1).unwrap();
        assert_eq!(whole, measure(&[&text], 10, 1000).unwrap());
        let other = measure(&["xyz"], 10, 10).unwrap();
        let both = measure(&[&text, "xyz"], 10, 10).unwrap();
        let sum = whole.log_likelihood + other.log_likelihood;
        assert!((both.log_likelihood - sum).abs() < 1e-9);
        assert_eq!(both.documents, 2);
    }

    #[test]
    fn an_empty_text_is_an_error() {
        assert!(matches!(measure(&[""], 10, 10), Err(EvalError::EmptyText)));
        assert!(matches!(measure(&[], 10, 10), Err(EvalError::EmptyText)));
        assert!(matches!(measure(&["a"], 0, 10), Err(EvalError::NoContext)));
    }
}
