//! Which tokens begin and end a sequence.
//!
//! `tokenizer_config.json` says it; without one, the usual names are looked up among the special tokens.

use serde::Deserialize;
use serde_json::Value;

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

/// Names from a `tokenizer_config.json`: absent, null, or given.
#[derive(Default, Deserialize)]
pub(super) struct Named {
    #[serde(default, deserialize_with = "present")]
    bos_token: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    eos_token: Option<Value>,
}

/// Tells null from absent.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Named {
    pub fn from_config(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// BOS and EOS ids.
pub(super) fn find(tokenizer: &tokenizers::Tokenizer, named: &Named) -> (Option<u32>, Option<u32>) {
    (
        choose(tokenizer, &named.bos_token, BOS),
        choose(tokenizer, &named.eos_token, EOS),
    )
}

fn choose(tokenizer: &tokenizers::Tokenizer, named: &Option<Value>, usual: &[&str]) -> Option<u32> {
    match named {
        // `null` says that there is none: do not guess.
        Some(Value::Null) => None,
        Some(value) => {
            // Either a string or an object of AddedToken.
            let name = value
                .as_str()
                .or_else(|| value.get("content").and_then(Value::as_str))?;
            tokenizer.token_to_id(name)
        }
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
