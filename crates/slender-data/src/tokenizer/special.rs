//! Which tokens begin and end a sequence.
//!
//! `tokenizer_config.json` says it; without one, the usual names are looked up among the special tokens.

use super::{Hf, TokenizerSettings};

/// Usual names of the begin-of-sequence token, most specific first.
const BOS: &[&str] = &[
    "<s>",
    "<|begin_of_text|>",
    "<bos>",
    "<|startoftext|>",
    "<|endoftext|>",
    "<|im_start|>",
    "[BOS]",
];
/// Usual names of the end-of-sequence token.
const EOS: &[&str] = &[
    "</s>",
    "<|end_of_text|>",
    "<eos>",
    "<|endoftext|>",
    "<|im_end|>",
    "<|eot_id|>",
    "[EOS]",
];

/// BOS and EOS ids.
pub(super) fn find(tokenizer: &Hf, settings: &TokenizerSettings) -> (Option<u32>, Option<u32>) {
    (
        choose(tokenizer, settings.special_token("bos_token"), BOS),
        choose(tokenizer, settings.special_token("eos_token"), EOS),
    )
}

fn choose(tokenizer: &Hf, named: Option<Option<&str>>, usual: &[&str]) -> Option<u32> {
    match named {
        // `null` says that there is none: do not guess.
        Some(None) => None,
        Some(Some(name)) => tokenizer.token_to_id(name),
        None => {
            let added = tokenizer.get_added_tokens_decoder();
            usual.iter().find_map(|name| {
                let id = tokenizer.token_to_id(name)?;
                added
                    .get(&id)
                    .is_some_and(|token| token.special)
                    .then_some(id)
            })
        }
    }
}
