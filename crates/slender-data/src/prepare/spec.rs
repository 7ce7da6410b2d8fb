//! What prepared data depends on, and the folder name that follows from it.

use super::manifest::MANIFEST_FORMAT;
use crate::source::Source;
use crate::{DataConfig, DataError, Tokenizer};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Bytes of text that a vocabulary is learned from, unless `train_bytes` says otherwise. More text hardly
/// changes the vocabulary, and pair counts are 32-bit.
const DEFAULT_TRAIN_BYTES: u64 = 100_000_000;

/// `data.tokenizer.train_bytes` with its default; 0 means all.
pub(super) fn train_bytes(config: &DataConfig) -> u64 {
    config.tokenizer.train_bytes.unwrap_or(DEFAULT_TRAIN_BYTES)
}

/// The specification: equal specifications give equal bytes.
pub(super) fn spec(
    config: &DataConfig,
    sources: &[Source],
    tokenizer: Option<&Tokenizer>,
) -> Result<Value, DataError> {
    if !(0.0..1.0).contains(&config.valid_fraction) {
        return Err(DataError::config(
            "data.valid_fraction",
            "is a share of documents, from 0 to below 1",
        ));
    }
    let template = match tokenizer {
        Some(t) => t.settings().chat_template().map(str::to_owned),
        None => super::template_file(&config.tokenizer)?,
    };
    let mut tokenizer = match tokenizer {
        Some(t) => json!({ "hash": t.hash(), "bos": t.bos_id(), "eos": t.eos_id() }),
        None => {
            let vocab_size = config.tokenizer.vocab_size.ok_or_else(|| {
                DataError::config(
                    "data.tokenizer.vocab_size",
                    "needed by kind = \"bpe\": the wanted vocabulary",
                )
            })?;
            json!({ "bpe": { "vocab_size": vocab_size, "train_bytes": train_bytes(config) } })
        }
    };
    // Not hashed where there is none, so that other data keeps the folder names it had.
    if let Some(text) = template {
        tokenizer["chat_template"] = json!(blake3::hash(text.as_bytes()).to_hex().to_string());
    }
    let sources: Vec<Value> = sources
        .iter()
        .map(|source| {
            let mut identity = source.identity.clone();
            if let Some(weight) = source.weight {
                identity["weight"] = json!(weight);
            }
            identity
        })
        .collect();
    Ok(json!({
        "format": MANIFEST_FORMAT,
        "sources": sources,
        "tokenizer": tokenizer,
        "valid_fraction": config.valid_fraction,
        "max_bytes": config.max_bytes,
        "max_tokens": config.max_tokens,
    }))
}

/// BLAKE3 in hex of the specification.
pub(super) fn spec_hash(spec: &Value) -> String {
    blake3::hash(spec.to_string().as_bytes())
        .to_hex()
        .to_string()
}

/// `data.cache_dir`, else `$SLENDER_CACHE`, else `slender` in `$XDG_CACHE_HOME` or `~/.cache`.
pub fn cache_dir(config: &DataConfig) -> PathBuf {
    config
        .cache_dir
        .clone()
        .or_else(user_cache_dir)
        .unwrap_or_else(|| std::env::temp_dir().join("slender-cache"))
}

/// `$SLENDER_CACHE`, else `slender` in `$XDG_CACHE_HOME` or `~/.cache`; `None` where none of them is set.
pub fn user_cache_dir() -> Option<PathBuf> {
    default_cache_dir(|name| std::env::var_os(name))
}

fn default_cache_dir(var: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
    let var = |name: &str| {
        var(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    var("SLENDER_CACHE")
        .or_else(|| var("XDG_CACHE_HOME").map(|cache| cache.join("slender")))
        .or_else(|| {
            var("HOME")
                .or_else(|| var("USERPROFILE"))
                .map(|home| home.join(".cache/slender"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_folder_follows_the_environment() {
        let dir = |vars: &[(&str, &str)]| {
            let vars = vars.to_vec();
            default_cache_dir(move |name| {
                vars.iter().find(|(k, _)| *k == name).map(|(_, v)| v.into())
            })
            .unwrap()
        };
        assert_eq!(dir(&[("HOME", "/h")]), PathBuf::from("/h/.cache/slender"));
        assert_eq!(
            dir(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]),
            PathBuf::from("/x/slender")
        );
        assert_eq!(
            dir(&[("XDG_CACHE_HOME", "/x"), ("SLENDER_CACHE", "/s")]),
            PathBuf::from("/s")
        );
    }
}
