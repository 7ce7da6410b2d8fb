//! What `tokenizer.json` does not say: `tokenizer_config.json`, `special_tokens_map.json` and
//! `chat_template.jinja` beside it.
//!
//! Reading follows transformers: the config names special tokens as strings or as objects, the map fills in
//! what the config leaves out, and a chat template is in a file of its own or in the config. Keys that mean
//! nothing here are kept and written back.

use super::Tokenizer;
use crate::{DataError, fsio};
use serde_json::{Map, Value, json};
use std::path::Path;

/// File name of the settings.
pub const SETTINGS_FILE: &str = "tokenizer_config.json";
/// File name of the special tokens.
pub const SPECIAL_TOKENS_FILE: &str = "special_tokens_map.json";
/// File name of a chat template of its own.
pub const CHAT_TEMPLATE_FILE: &str = "chat_template.jinja";

/// Special tokens that have a name.
const NAMED: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "pad_token",
    "sep_token",
    "cls_token",
    "mask_token",
];

/// Contents of the files beside a tokenizer; `None` for one that is missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenizerFiles<'a> {
    /// Of `tokenizer_config.json`.
    pub config: Option<&'a [u8]>,
    /// Of `special_tokens_map.json`.
    pub special_tokens: Option<&'a [u8]>,
    /// Of `chat_template.jinja`.
    pub chat_template: Option<&'a [u8]>,
}

/// A tokenizer's settings. Empty where there is no such file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenizerSettings {
    /// Keys of `tokenizer_config.json` other than `chat_template`, as read.
    keys: Map<String, Value>,
    /// The chat template, a Jinja text.
    chat_template: Option<String>,
}

impl TokenizerSettings {
    /// Reads the files of a folder; those that are missing count as empty.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] naming the file that does not parse, [`DataError::Io`].
    pub fn read(dir: &Path) -> Result<Self, DataError> {
        let read = |name: &str| -> Result<Option<Vec<u8>>, DataError> {
            let path = dir.join(name);
            match std::fs::read(&path) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(DataError::io("read", &path)(e)),
            }
        };
        let (config, special_tokens, chat_template) = (
            read(SETTINGS_FILE)?,
            read(SPECIAL_TOKENS_FILE)?,
            read(CHAT_TEMPLATE_FILE)?,
        );
        let files = TokenizerFiles {
            config: config.as_deref(),
            special_tokens: special_tokens.as_deref(),
            chat_template: chat_template.as_deref(),
        };
        Self::from_files(&files).map_err(|(file, message)| DataError::Tokenizer {
            name: dir.join(file).display().to_string(),
            message,
        })
    }

    /// As [`TokenizerSettings::read`], from the files' contents.
    ///
    /// # Errors
    /// Name of the file that does not parse, and why.
    pub fn from_files(files: &TokenizerFiles) -> Result<Self, (&'static str, String)> {
        let mut settings = match files.config {
            Some(bytes) => Self::parse(bytes).map_err(|e| (SETTINGS_FILE, e))?,
            None => Self::default(),
        };
        if let Some(bytes) = files.special_tokens {
            let map: Map<String, Value> =
                serde_json::from_slice(bytes).map_err(|e| (SPECIAL_TOKENS_FILE, e.to_string()))?;
            for (key, value) in map {
                if NAMED.contains(&key.as_str()) || key == "additional_special_tokens" {
                    settings.keys.entry(key).or_insert(value);
                }
            }
        }
        if let Some(bytes) = files.chat_template {
            let text = std::str::from_utf8(bytes)
                .map_err(|_| (CHAT_TEMPLATE_FILE, "not UTF-8".to_owned()))?;
            settings.chat_template = Some(text.to_owned());
        }
        Ok(settings)
    }

    /// Reads the content of a `tokenizer_config.json`.
    ///
    /// # Errors
    /// What does not parse.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut keys: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let chat_template = match keys.remove("chat_template") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(Value::Array(list)) => named_template(&list)?,
            Some(_) => return Err("`chat_template` is neither a text nor a list".into()),
        };
        Ok(Self {
            keys,
            chat_template,
        })
    }

    /// The chat template's text.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// Replaces the chat template.
    pub fn set_chat_template(&mut self, template: Option<String>) {
        self.chat_template = template;
    }

    /// A key of `tokenizer_config.json`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key)
    }

    /// Sets a key of `tokenizer_config.json`.
    pub fn set(&mut self, key: &str, value: Value) {
        self.keys.insert(key.to_owned(), value);
    }

    /// Text of a special token such as `bos_token`: absent, null (there is none), or its text.
    pub fn special_token(&self, name: &str) -> Option<Option<&str>> {
        match self.keys.get(name)? {
            Value::String(text) => Some(Some(text)),
            value => Some(value.get("content").and_then(Value::as_str)),
        }
    }

    /// Named special tokens with their texts.
    pub fn special_tokens(&self) -> impl Iterator<Item = (&'static str, &str)> {
        NAMED
            .into_iter()
            .filter_map(|name| Some((name, self.special_token(name)??)))
    }

    /// Whether Python's tokenizer puts BOS before a text, where the file says it.
    pub fn add_bos(&self) -> Option<bool> {
        self.keys.get("add_bos_token").and_then(Value::as_bool)
    }

    /// Whether Python's tokenizer puts EOS after a text, where the file says it.
    pub fn add_eos(&self) -> Option<bool> {
        self.keys.get("add_eos_token").and_then(Value::as_bool)
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.chat_template.is_none()
    }

    /// The text of `tokenizer_config.json`, chat template included.
    pub fn to_json(&self) -> Vec<u8> {
        let mut keys = self.keys.clone();
        if let Some(template) = &self.chat_template {
            keys.insert("chat_template".into(), json!(template));
        }
        fsio::to_json(&keys)
    }

    /// Writes `tokenizer_config.json` and `special_tokens_map.json` into `dir`, which exists. What the
    /// settings do not say of `tokenizer`, its BOS and EOS, is added, so that transformers loads it.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn write(&self, dir: &Path, tokenizer: &Tokenizer) -> Result<(), DataError> {
        let full = self.completed(tokenizer);
        let special: Map<String, Value> = NAMED
            .into_iter()
            .chain(["additional_special_tokens"])
            .filter_map(|name| Some((name.to_owned(), full.keys.get(name)?.clone())))
            .filter(|(_, value)| !value.is_null())
            .collect();
        fsio::write_atomic(&dir.join(SPECIAL_TOKENS_FILE), &fsio::to_json(&special))?;
        fsio::write_atomic(&dir.join(SETTINGS_FILE), &full.to_json())
    }

    /// These settings with what transformers needs to load a folder.
    fn completed(&self, tokenizer: &Tokenizer) -> Self {
        let mut full = self.clone();
        let text = |id: Option<u32>| id.and_then(|id| tokenizer.id_to_token(id));
        for (key, value) in [
            ("bos_token", text(tokenizer.bos_id())),
            ("eos_token", text(tokenizer.eos_id())),
            ("unk_token", text(tokenizer.unknown_id())),
        ] {
            if let (None, Some(value)) = (full.keys.get(key), value) {
                full.set(key, json!(value));
            }
        }
        full.keys
            .entry("tokenizer_class")
            .or_insert_with(|| json!("PreTrainedTokenizerFast"));
        // Otherwise transformers may take spaces out of decoded text.
        full.keys
            .entry("clean_up_tokenization_spaces")
            .or_insert(json!(false));
        full
    }
}

/// The template called `default` of a list of named ones, else the only one.
fn named_template(list: &[Value]) -> Result<Option<String>, String> {
    let text = |entry: &Value| entry["template"].as_str().map(String::from);
    let default = list.iter().find(|entry| entry["name"] == "default");
    match (default, list) {
        (Some(entry), _) => Ok(text(entry)),
        (None, []) => Ok(None),
        (None, [only]) => Ok(text(only)),
        (None, _) => Err("`chat_template` has several templates and none is called default".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_folder_are_put_together() {
        let dir = tempfile::tempdir().unwrap();
        assert!(TokenizerSettings::read(dir.path()).unwrap().is_empty());
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write(
            SETTINGS_FILE,
            r#"{"bos_token": {"content": "<s>"}, "eos_token": null, "add_bos_token": true, "odd": [1],
                "chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]}"#,
        );
        write(
            SPECIAL_TOKENS_FILE,
            r#"{"bos_token": "<other>", "unk_token": "<unk>", "nonsense": 1}"#,
        );
        let settings = TokenizerSettings::read(dir.path()).unwrap();
        assert_eq!(settings.special_token("bos_token"), Some(Some("<s>")));
        assert_eq!(settings.special_token("eos_token"), Some(None));
        assert_eq!(settings.special_token("unk_token"), Some(Some("<unk>")));
        assert_eq!(settings.special_token("pad_token"), None);
        assert_eq!((settings.add_bos(), settings.add_eos()), (Some(true), None));
        assert_eq!(settings.chat_template(), Some("D"));
        assert_eq!(settings.get("odd"), Some(&json!([1])));
        assert_eq!(settings.get("nonsense"), None);
        write(CHAT_TEMPLATE_FILE, "J");
        assert_eq!(
            TokenizerSettings::read(dir.path()).unwrap().chat_template(),
            Some("J")
        );
    }

    #[test]
    fn bad_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text, part) in [
            (SETTINGS_FILE, "{", "EOF"),
            (SETTINGS_FILE, r#"{"chat_template": 3}"#, "neither"),
            (
                SETTINGS_FILE,
                r#"{"chat_template": [{"name": "a"}, {"name": "b"}]}"#,
                "default",
            ),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
            let error = TokenizerSettings::read(dir.path()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(part), "{error}");
        }
    }
}
