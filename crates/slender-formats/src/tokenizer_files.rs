//! `generation_config.json` for a model that has none: which tokens begin and end a text.

use crate::generation::{distinct, one_or_several};
use serde_json::{Value, json};

/// What is known of a tokenizer.
#[derive(Clone, Debug, Default)]
pub struct SpecialTokens {
    /// Begins a text: id and name.
    pub bos: Option<(u32, String)>,
    /// Ends a text: id and name.
    pub eos: Option<(u32, String)>,
    /// Further tokens that end a text.
    pub more_ends: Vec<u32>,
    /// Longest sequence of the model, in tokens.
    pub max_seq_len: usize,
}

impl SpecialTokens {
    /// `generation_config.json`. Padding, which no model here has, is the end token as usual.
    pub fn generation_config(&self) -> String {
        let id = |token: &Option<(u32, String)>| token.as_ref().map(|(id, _)| *id);
        let ends = id(&self.eos)
            .into_iter()
            .chain(self.more_ends.iter().copied());
        let ends = ends.collect();
        text(&json!({
            "_from_model_config": true,
            "bos_token_id": id(&self.bos),
            "eos_token_id": one_or_several(&distinct(ends)),
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
            more_ends: vec![2, 9],
            max_seq_len: 7,
        };
        assert!(
            both.generation_config()
                .contains("\"eos_token_id\": [\n    2,\n    9\n  ]")
        );
    }
}
