//! The small files beside the weights of a Hugging Face folder, for a tokenizer that has only a
//! `tokenizer.json`: which tokens begin and end, and what `generate` does with them.

use serde_json::{Value, json};

/// What is known of a tokenizer.
#[derive(Clone, Debug, Default)]
pub struct SpecialTokens {
    /// Begins a text: id and name.
    pub bos: Option<(u32, String)>,
    /// Ends a text: id and name.
    pub eos: Option<(u32, String)>,
    /// Longest sequence of the model, in tokens.
    pub max_seq_len: usize,
}

impl SpecialTokens {
    /// `tokenizer_config.json`.
    pub fn tokenizer_config(&self) -> String {
        text(&json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": self.name(&self.bos),
            "eos_token": self.name(&self.eos),
            "model_max_length": self.max_seq_len,
            "clean_up_tokenization_spaces": false,
        }))
    }

    /// `special_tokens_map.json`.
    pub fn special_tokens_map(&self) -> String {
        let mut map = json!({});
        for (key, token) in [("bos_token", &self.bos), ("eos_token", &self.eos)] {
            if let Some((_, name)) = token {
                map[key] = json!(name);
            }
        }
        text(&map)
    }

    /// `generation_config.json`. Padding, which no model here has, is the end token as usual.
    pub fn generation_config(&self) -> String {
        let id = |token: &Option<(u32, String)>| token.as_ref().map(|(id, _)| *id);
        text(&json!({
            "_from_model_config": true,
            "bos_token_id": id(&self.bos),
            "eos_token_id": id(&self.eos),
            "pad_token_id": id(&self.eos),
        }))
    }

    fn name<'a>(&self, token: &'a Option<(u32, String)>) -> Option<&'a str> {
        token.as_ref().map(|(_, name)| name.as_str())
    }
}

/// A `tokenizer.json` that puts `token` before every text, as models trained by slender expect; as it is if
/// it puts one there already.
///
/// # Errors
/// The parser's message.
pub fn with_first_token(tokenizer: &str, token: &(u32, String)) -> Result<String, String> {
    let mut json: Value = serde_json::from_str(tokenizer).map_err(|error| error.to_string())?;
    if begins_with_token(&json["post_processor"]) {
        return Ok(tokenizer.to_owned());
    }
    let (id, name) = token;
    let special = |kind: u32| json!({"SpecialToken": {"id": name, "type_id": kind}});
    let sequence = |id: &str, kind: u32| json!({"Sequence": {"id": id, "type_id": kind}});
    let mut known = json!({});
    known[name] = json!({"id": name, "ids": [id], "tokens": [name]});
    let template = json!({
        "type": "TemplateProcessing",
        "single": [special(0), sequence("A", 0)],
        "pair": [special(0), sequence("A", 0), special(1), sequence("B", 1)],
        "special_tokens": known,
    });
    let former = json["post_processor"].take();
    json["post_processor"] = match former {
        Value::Null => template,
        former if former["processors"].is_array() => {
            let mut former = former;
            if let Some(list) = former["processors"].as_array_mut() {
                list.push(template);
            }
            former
        }
        former => json!({"type": "Sequence", "processors": [former, template]}),
    };
    Ok(text(&json))
}

/// Whether a post-processor begins its template with a special token.
fn begins_with_token(processor: &Value) -> bool {
    if let Some(several) = processor["processors"].as_array() {
        return several.iter().any(begins_with_token);
    }
    processor["single"][0].get("SpecialToken").is_some()
}

fn text(json: &Value) -> String {
    serde_json::to_string_pretty(json).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_token_is_added_once() {
        let token = (0, "<s>".to_owned());
        for former in [
            json!(null),
            json!({"type": "ByteLevel", "use_regex": true}),
            json!({"type": "Sequence", "processors": [{"type": "ByteLevel"}]}),
        ] {
            let plain = json!({"version": "1.0", "post_processor": former}).to_string();
            let once = with_first_token(&plain, &token).unwrap();
            let value: Value = serde_json::from_str(&once).unwrap();
            assert!(begins_with_token(&value["post_processor"]), "{once}");
            assert_eq!(value["version"], "1.0");
            assert_eq!(with_first_token(&once, &token).unwrap(), once);
        }
        assert!(with_first_token("{", &token).is_err());
    }

    #[test]
    fn absent_tokens_are_null_or_left_out() {
        let none = SpecialTokens {
            max_seq_len: 7,
            ..SpecialTokens::default()
        };
        assert!(none.tokenizer_config().contains(r#""bos_token": null"#));
        assert_eq!(none.special_tokens_map(), "{}\n");
        let both = SpecialTokens {
            bos: Some((1, "<s>".into())),
            eos: Some((2, "</s>".into())),
            max_seq_len: 7,
        };
        assert!(both.generation_config().contains(r#""eos_token_id": 2"#));
        assert!(both.special_tokens_map().contains(r#""</s>""#));
    }
}
