//! Which tokens end a text: what the model's own files and its tokenizer say, together.

use crate::weights::ModelError;
use serde_json::Value;
use slender_data::Tokenizer;
use std::path::Path;

/// The tokens named by `eos_token_id` in `generation_config.json` and `config.json` of the folder `dir`, a
/// number or a list, and the tokenizer's own.
///
/// # Errors
/// A file that is there and cannot be read, or is no JSON.
pub fn end_tokens(dir: &Path, tokenizer: &Tokenizer) -> Result<Vec<u32>, ModelError> {
    let mut ends: Vec<u32> = tokenizer.eos_id().into_iter().collect();
    for name in ["generation_config.json", "config.json"] {
        let file = dir.join(name);
        if !file.is_file() {
            continue;
        }
        let text = std::fs::read_to_string(&file).map_err(|source| ModelError::Io {
            file: file.clone(),
            source,
        })?;
        let json: Value = serde_json::from_str(&text).map_err(|error| ModelError::Config {
            file,
            message: error.to_string(),
        })?;
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        match &json["eos_token_id"] {
            Value::Array(several) => ends.extend(several.iter().filter_map(id)),
            one => ends.extend(id(one)),
        }
    }
    ends.sort_unstable();
    ends.dedup();
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lists_of_both_files_count() {
        let dir = tempfile::tempdir().unwrap();
        let tokenizer = serde_json::json!({
            "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
            "post_processor": null, "decoder": null, "truncation": null, "padding": null,
            "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"},
        });
        let tokenizer = Tokenizer::from_bytes(tokenizer.to_string().as_bytes()).unwrap();
        let ends = || end_tokens(dir.path(), &tokenizer);
        assert!(ends().unwrap().is_empty());
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("config.json", r#"{"eos_token_id": 7}"#);
        assert_eq!(ends().unwrap(), [7]);
        write("generation_config.json", r#"{"eos_token_id": [9, 3, 7]}"#);
        assert_eq!(ends().unwrap(), [3, 7, 9]);
        write("config.json", r#"{"eos_token_id": null}"#);
        assert_eq!(ends().unwrap(), [3, 7, 9]);
        write("config.json", "{");
        assert!(ends().unwrap_err().to_string().contains("config.json"));
    }
}
