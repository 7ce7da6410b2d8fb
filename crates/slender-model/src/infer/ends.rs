//! Which tokens end a text: what the model's own files and its tokenizer say, together.

use crate::weights::ModelError;
use slender_data::Tokenizer;
use std::path::Path;

/// The tokens named by `eos_token_id` in `generation_config.json` and `config.json` of the folder `dir`, a
/// number or a list, and the tokenizer's own.
///
/// # Errors
/// A file that is there and cannot be read, is no JSON, or names no tokens there.
pub fn end_tokens(dir: &Path, tokenizer: &Tokenizer) -> Result<Vec<u32>, ModelError> {
    let mut ends = slender_formats::end_tokens(dir)?;
    ends.extend(tokenizer.eos_id());
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
