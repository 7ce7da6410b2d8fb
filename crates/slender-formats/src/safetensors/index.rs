//! `model.safetensors.index.json`, which says which tensor is in which file. PyTorch's index is the same.

use crate::FormatError;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Name of a checkpoint's only file.
pub const PLAIN: &str = "model.safetensors";

/// Name of the index of several files.
pub const INDEX: &str = "model.safetensors.index.json";

/// A sharded checkpoint's table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Index {
    /// File name of each tensor.
    pub weight_map: BTreeMap<String, String>,
}

impl Index {
    /// Parses an index; `file` is named in errors.
    ///
    /// # Errors
    /// [`FormatError::Malformed`]: no JSON, no `weight_map`, or file names that lead elsewhere.
    pub fn parse(file: &Path, text: &[u8]) -> Result<Self, FormatError> {
        let bad = |message: String| FormatError::malformed(file, message);
        let json: Value = serde_json::from_slice(text).map_err(|error| bad(error.to_string()))?;
        let map = json
            .get("weight_map")
            .and_then(Value::as_object)
            .ok_or_else(|| bad("`weight_map` is missing".into()))?;
        let mut weight_map = BTreeMap::new();
        for (name, value) in map {
            let shard = value.as_str().unwrap_or_default();
            if shard.is_empty() || shard.starts_with('.') || shard.contains(['/', '\\', ':', '\0'])
            {
                return Err(bad(format!(
                    "`weight_map` puts weight `{name}` in {value}, which is no file of this folder"
                )));
            }
            weight_map.insert(name.clone(), shard.to_owned());
        }
        if weight_map.is_empty() {
            return Err(bad("`weight_map` names no file of this folder".into()));
        }
        Ok(Self { weight_map })
    }

    /// Reads and parses an index.
    ///
    /// # Errors
    /// As [`Index::parse`], and the operating system's.
    pub fn read(file: &Path) -> Result<Self, FormatError> {
        let text = std::fs::read(file).map_err(FormatError::io("read", file))?;
        Self::parse(file, &text)
    }

    /// The files, sorted, each once.
    pub fn files(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.weight_map.values().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The text of the index; `total_size` is the bytes of all tensors.
    pub fn to_json(&self, total_size: u64) -> String {
        let json = json!({
            "metadata": {"total_size": total_size},
            "weight_map": self.weight_map,
        });
        serde_json::to_string_pretty(&json).unwrap_or_default() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Index, String> {
        Index::parse(Path::new("i"), text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn names_of_other_folders_are_refused() {
        for name in ["../a", "/a", "a\\b", "", "..", "c:a", ".hidden"] {
            let text = json!({"weight_map": {"w": name}}).to_string();
            let error = parse(&text).unwrap_err();
            assert!(error.contains("no file of this folder"), "{error}");
        }
        assert!(parse("{}").unwrap_err().contains("`weight_map` is missing"));
        assert!(parse(r#"{"weight_map": {}}"#).is_err());
        assert!(parse(r#"{"weight_map": {"w": 3}}"#).is_err());
    }

    #[test]
    fn what_is_written_is_read() {
        let index = parse(r#"{"weight_map": {"b": "2", "a": "1", "c": "1"}}"#).unwrap();
        assert_eq!(index.files(), ["1", "2"]);
        assert_eq!(parse(&index.to_json(7)).unwrap(), index);
    }
}
