//! `generation_config.json`, as far as slender reads it: which tokens end a text.
//!
//! A model says that in two places, and in both as a number or as a list: in `config.json` and, where it is
//! there, in `generation_config.json`. A text ends at any of them.

use crate::json_keys::{Keys, parse};
use crate::{FormatError, HfConfig};
use serde_json::{Value, json};
use std::path::Path;

/// Name of the file.
pub const GENERATION_CONFIG: &str = "generation_config.json";

/// Other keys with the number of a token.
const TOKENS: [&str; 3] = ["bos_token_id", "pad_token_id", "decoder_start_token_id"];

/// The object in `generation_config.json` of a folder and the tokens that it ends texts with; `None` if there
/// is no such file.
///
/// # Errors
/// [`FormatError`]: a file that cannot be read, is no JSON object, or names no tokens where it should.
fn read(dir: &Path) -> Result<Option<(Value, Vec<u32>)>, FormatError> {
    let file = dir.join(GENERATION_CONFIG);
    if !file.is_file() {
        return Ok(None);
    }
    let text = std::fs::read(&file).map_err(FormatError::io("read", &file))?;
    let json = parse(&file, &text)?;
    if !json.is_object() {
        return Err(FormatError::malformed(&file, "is not a JSON object"));
    }
    let ends = Keys::new(&file, &json).tokens("eos_token_id")?;
    Ok(Some((json, ends)))
}

/// Checks the `generation_config.json` of a folder, if it has one.
///
/// # Errors
/// [`FormatError`]: a file that cannot be read, is no JSON object, or names no tokens where it should.
pub fn check_generation_config(dir: &Path) -> Result<(), FormatError> {
    read(dir).map(drop)
}

/// The tokens that end a text by `generation_config.json` and `config.json` of a folder, each once, in this
/// order; either file may be missing.
///
/// # Errors
/// [`FormatError`]: a file that cannot be read, is no JSON, or names no tokens where it should.
pub fn end_tokens(dir: &Path) -> Result<Vec<u32>, FormatError> {
    let mut ends = read(dir)?.map_or(Vec::new(), |(_, ends)| ends);
    let file = dir.join("config.json");
    if file.is_file() {
        let text = std::fs::read(&file).map_err(FormatError::io("read", &file))?;
        ends.extend(Keys::new(&file, &parse(&file, &text)?).tokens("eos_token_id")?);
    }
    Ok(distinct(ends))
}

/// The `generation_config.json` of a model that is trained on from the one in `dir`: as it is there, with every
/// token that ends a text in `dir`, and with `eos`, the end token of the tokenizer trained with. Only tokens that
/// `same` says to mean the same to that tokenizer are kept. `None` if `eos` is all there is to say.
///
/// # Errors
/// As [`end_tokens`].
pub fn inherited_generation_config(
    dir: &Path,
    eos: Option<u32>,
    same: impl Fn(u32) -> bool,
) -> Result<Option<String>, FormatError> {
    let mut ends = end_tokens(dir)?;
    ends.retain(|id| same(*id));
    ends.extend(eos);
    let ends = distinct(ends);
    let mut json = match read(dir)? {
        Some((json, _)) => json,
        None if ends.len() < 2 => return Ok(None),
        None => json!({}),
    };
    for key in TOKENS {
        let id = json.get(key).and_then(Value::as_u64);
        if let (Some(id), Some(keys)) = (id, json.as_object_mut())
            && !u32::try_from(id).is_ok_and(&same)
        {
            keys.remove(key);
        }
    }
    json["eos_token_id"] = one_or_several(&ends);
    Ok(Some(
        serde_json::to_string_pretty(&json).unwrap_or_default() + "\n",
    ))
}

impl HfConfig {
    /// The `generation_config.json` of a model whose source has none; `None` where `config.json` alone says it
    /// all.
    pub fn generation_config(&self) -> Option<String> {
        if self.eos_token_ids.len() < 2 {
            return None;
        }
        let json = json!({
            "_from_model_config": true,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": one_or_several(&self.eos_token_ids),
        });
        Some(serde_json::to_string_pretty(&json).unwrap_or_default() + "\n")
    }
}

/// Tokens as these files name them.
pub(crate) fn one_or_several(ids: &[u32]) -> Value {
    match ids {
        [] => Value::Null,
        [one] => json!(one),
        several => json!(several),
    }
}

/// Each token once, in their order.
pub(crate) fn distinct(ids: Vec<u32>) -> Vec<u32> {
    let mut seen = Vec::with_capacity(ids.len().min(16));
    for id in ids {
        if !seen.contains(&id) {
            seen.push(id);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.0.path().join(name), text).unwrap();
        }

        fn inherited(&self, eos: Option<u32>, same: impl Fn(u32) -> bool) -> Option<Value> {
            let text = inherited_generation_config(self.0.path(), eos, same).unwrap()?;
            Some(serde_json::from_str(&text).unwrap())
        }
    }

    #[test]
    fn a_run_keeps_the_ends_of_what_it_begins_with() {
        let folder = Folder(tempfile::tempdir().unwrap());
        assert_eq!(folder.inherited(Some(2), |_| true), None);
        folder.write("config.json", r#"{"eos_token_id": 2}"#);
        assert_eq!(folder.inherited(Some(2), |_| true), None);
        folder.write("config.json", r#"{"eos_token_id": [2, 9]}"#);
        assert_eq!(
            folder.inherited(Some(2), |_| true),
            Some(json!({"eos_token_id": [2, 9]}))
        );
        folder.write(
            GENERATION_CONFIG,
            "\u{feff}{\"eos_token_id\": 7, \"bos_token_id\": 1, \"pad_token_id\": 7, \"top_k\": 5}",
        );
        assert_eq!(
            folder.inherited(Some(3), |_| true),
            Some(
                json!({"eos_token_id": [7, 2, 9, 3], "bos_token_id": 1, "pad_token_id": 7, "top_k": 5})
            )
        );
        // Another tokenizer, to which they mean something else.
        assert_eq!(
            folder.inherited(Some(3), |id| id == 1),
            Some(json!({"eos_token_id": 3, "bos_token_id": 1, "top_k": 5}))
        );
    }

    #[test]
    fn damaged_files_are_named() {
        let folder = Folder(tempfile::tempdir().unwrap());
        for (text, part) in [
            (
                "{\"eos_token_id\": [2, \"3\"]}",
                "`eos_token_id` is [2,\"3\"], not a token's number or a list of them",
            ),
            ("{\"eos_token_id\": -1}", "`eos_token_id` is -1, not"),
            ("[]", "is not a JSON object"),
            ("{\"eos_tok", "EOF"),
        ] {
            folder.write(GENERATION_CONFIG, text);
            let error = check_generation_config(folder.0.path())
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("generation_config.json: ") && error.contains(part),
                "{error}"
            );
            assert!(end_tokens(folder.0.path()).is_err());
        }
    }
}
