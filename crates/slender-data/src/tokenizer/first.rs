//! Whether a text begins with a token of its own, BOS as a rule, when Python's tokenizer reads it.
//!
//! `tokenizer.json` says it by a template in its post-processor. Here nothing is put before a text unless it
//! is asked for, so the template is for others to read, and for [`Tokenizer::begins_texts`] to know.

use super::Tokenizer;
use crate::DataError;
use serde_json::{Value, json};

impl Tokenizer {
    /// Whether the tokenizer's own template puts a special token before a text.
    pub fn begins_texts(&self) -> bool {
        let json: Value = serde_json::from_str(&self.inner.json).unwrap_or_default();
        begins_with_token(&json["post_processor"])
    }

    /// The same tokenizer, in whose `tokenizer.json` a template puts the document's first token
    /// ([`Tokenizer::document_start_id`]) before a text if `begins`, and none otherwise; the settings say it too. As
    /// it is if that is so already, or if there is no such token.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`]: none that is known.
    pub fn with_texts_begun(&self, begins: bool) -> Result<Self, DataError> {
        let mut json: Value = serde_json::from_str(&self.inner.json).unwrap_or_default();
        let processor = json["post_processor"].take();
        if begins_with_token(&processor) == begins {
            return Ok(self.clone());
        }
        json["post_processor"] = if begins {
            let first = self.document_start_id();
            let Some((id, name)) = first.and_then(|id| Some((id, self.id_to_token(id)?))) else {
                return Ok(self.clone());
            };
            after(processor, template(&name, id))
        } else {
            without(processor)
        };
        let mut settings = self.inner.settings.clone();
        settings.set("add_bos_token", json!(begins));
        Self::build(&self.inner.name, json.to_string().as_bytes(), settings)
    }

    /// The same tokenizer with settings that say whether a text begins with BOS.
    pub fn with_add_bos(&self, adds: bool) -> Self {
        let mut settings = self.inner.settings.clone();
        settings.set("add_bos_token", json!(adds));
        self.replaced(self.inner.bos, self.inner.eos, settings)
    }
}

/// Whether a post-processor of a `tokenizer.json`, or one of a sequence, begins its template with a special
/// token.
pub fn begins_with_token(processor: &Value) -> bool {
    if let Some(several) = processor["processors"].as_array() {
        return several.iter().any(begins_with_token);
    }
    processor["single"][0].get("SpecialToken").is_some()
}

/// A post-processor that puts the token before a text.
pub(super) fn template(name: &str, id: u32) -> Value {
    let special = |kind: u32| json!({ "SpecialToken": { "id": name, "type_id": kind } });
    let text = |text: &str, kind: u32| json!({ "Sequence": { "id": text, "type_id": kind } });
    json!({
        "type": "TemplateProcessing",
        "single": [special(0), text("A", 0)],
        "pair": [special(0), text("A", 0), special(1), text("B", 1)],
        "special_tokens": { name: { "id": name, "ids": [id], "tokens": [name] } },
    })
}

/// `template` after what `former` does.
fn after(former: Value, template: Value) -> Value {
    match former {
        Value::Null => template,
        mut former if former["processors"].is_array() => {
            if let Some(list) = former["processors"].as_array_mut() {
                list.push(template);
            }
            former
        }
        former => json!({ "type": "Sequence", "processors": [former, template] }),
    }
}

/// What `processor` does beside a template that begins with a special token.
fn without(mut processor: Value) -> Value {
    if let Some(several) = processor["processors"].as_array_mut() {
        several.retain(|part| !begins_with_token(part));
        return match several.is_empty() {
            true => Value::Null,
            false => processor,
        };
    }
    match begins_with_token(&processor) {
        true => Value::Null,
        false => processor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_token_is_added_once() {
        let text = (0..200).map(|i| Ok(format!("sea {i} shore")));
        let trained = crate::tokenizer::train_bpe(text, 280).unwrap();
        let mut json: Value = serde_json::from_str(trained.json()).unwrap();
        let level = json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true });
        for former in [
            json!(null),
            level.clone(),
            json!({ "type": "Sequence", "processors": [level] }),
        ] {
            json["post_processor"] = former;
            let plain = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
            assert!(!plain.begins_texts());
            let once = plain.with_texts_begun(true).unwrap();
            assert!(once.begins_texts() && once.settings().add_bos() == Some(true));
            assert_eq!(once.with_texts_begun(true).unwrap().hash(), once.hash());
            let never = once.with_texts_begun(false).unwrap();
            assert!(!never.begins_texts() && never.settings().add_bos() == Some(false));
            // The template is for others: ids here are the same.
            assert_eq!(once.encode("sea 7", false), plain.encode("sea 7", false));
        }
        let first = trained.document_start_id().unwrap();
        let python =
            tokenizers::Tokenizer::from_bytes(trained.with_texts_begun(true).unwrap().json());
        let ids = python.unwrap().encode("sea 7", true).unwrap();
        assert_eq!(ids.get_ids()[0], first);
        assert_eq!(ids.get_ids()[1..], trained.encode("sea 7", false));
    }
}
