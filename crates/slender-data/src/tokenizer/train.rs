//! Byte-level BPE trained on the corpus.
//!
//! GPT-2's pre-tokenisation and byte alphabet; `<|endoftext|>` is id 0 and serves as BOS and EOS. Training
//! keeps word counts in memory, not text, so its memory grows with the number of distinct words. The result
//! depends on the counts alone: the same text gives the same bytes, however many threads.

use super::{Tokenizer, TokenizerSettings};
use crate::DataError;
use std::sync::Mutex;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer as HfTokenizer};

/// The one special token.
pub(crate) const END_OF_TEXT: &str = "<|endoftext|>";

/// 256 bytes and the special token.
const SMALLEST: usize = 257;

/// A pair that occurs once says nothing about the next text.
const MIN_FREQUENCY: u64 = 2;

/// Trains a tokenizer of exactly `vocab_size` tokens on `texts`.
pub(crate) fn train_bpe(
    texts: impl Iterator<Item = Result<String, DataError>> + Send,
    vocab_size: usize,
) -> Result<Tokenizer, DataError> {
    if vocab_size < SMALLEST {
        return Err(DataError::config(
            "data.tokenizer.vocab_size",
            format!(
                "byte-level BPE needs at least {SMALLEST} tokens (256 bytes and {END_OF_TEXT})"
            ),
        ));
    }
    let name = "(bpe)";
    let failure = |e: tokenizers::Error| DataError::Tokenizer {
        name: name.into(),
        message: e.to_string(),
    };
    let mut trainer = TrainerWrapper::BpeTrainer(
        BpeTrainerBuilder::new()
            .vocab_size(vocab_size)
            .min_frequency(MIN_FREQUENCY)
            .show_progress(false)
            .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build(),
    );
    let mut tokenizer = HfTokenizer::new(BPE::default());
    let byte_level = ByteLevel::new(false, true, true);
    tokenizer.with_pre_tokenizer(Some(byte_level));
    tokenizer.with_decoder(Some(byte_level));

    // The trainer takes plain strings; a reading error ends the stream and is reported after it.
    let state = Mutex::new((0u64, None));
    let texts = texts.map_while(|text| {
        let mut state = state.lock().expect("no panic while locked");
        match text {
            Ok(text) => {
                state.0 += text.len() as u64;
                Some(text)
            }
            Err(error) => {
                state.1 = Some(error);
                None
            }
        }
    });
    tokenizer.train(&mut trainer, texts).map_err(failure)?;
    let (bytes, error) = state.into_inner().expect("no panic while locked");
    if let Some(error) = error {
        return Err(error);
    }
    let reached = tokenizer.get_vocab_size(true);
    if reached < vocab_size {
        return Err(DataError::CorpusTooSmall {
            bytes,
            reached,
            wanted: vocab_size,
        });
    }
    let json = tokenizer.to_string(false).map_err(failure)?;
    Tokenizer::build(name, json.as_bytes(), TokenizerSettings::default())
}
