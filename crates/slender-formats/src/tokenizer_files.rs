//! `generation_config.json` for a model that has none: which tokens begin and end a text.

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
}

fn text(json: &Value) -> String {
    serde_json::to_string_pretty(json).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_tokens_are_null() {
        let none = SpecialTokens {
            max_seq_len: 7,
            ..SpecialTokens::default()
        };
        assert!(none.generation_config().contains(r#""eos_token_id": null"#));
        let both = SpecialTokens {
            bos: Some((1, "<s>".into())),
            eos: Some((2, "</s>".into())),
            max_seq_len: 7,
        };
        assert!(both.generation_config().contains(r#""eos_token_id": 2"#));
    }
}
