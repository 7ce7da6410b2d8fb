//! The project's tokenizer as evaluation uses it: as Python's `tokenizer(text)` would.
//!
//! Special tokens written in a text become their ids, as the harness's tokenizer makes them, and BOS is
//! never put in front of a text that already begins with it.

use std::path::Path;

use serde_json::Value;
use slender_data::{Tokenizer, begins_with_token};
use slender_model::is_run_or_checkpoint;

use crate::error::EvalError;
use crate::model::TextEncoder;

impl TextEncoder for Tokenizer {
    fn encode(&self, text: &str, add_bos: bool) -> Result<Vec<u32>, EvalError> {
        let mut ids = self.encode_with_special(text);
        match self.document_start_id() {
            Some(bos) if add_bos && ids.first() != Some(&bos) => ids.insert(0, bos),
            _ => {}
        }
        Ok(ids)
    }

    fn prefix_token(&self) -> Option<u32> {
        self.document_start_id()
    }

    fn end_token(&self) -> Option<u32> {
        self.eos_id()
    }

    fn decode(&self, ids: &[u32]) -> String {
        Tokenizer::decode(self, ids)
    }

    fn decode_pieces(&self, ids: &[u32]) -> Option<String> {
        ids.iter().map(|&id| self.id_to_token(id)).collect()
    }

    fn fingerprint(&self) -> String {
        self.hash().to_owned()
    }
}

/// Whether a text begins with BOS (or what stands for it) for the model in `model`, whose weights are in
/// `weights_dir`.
///
/// A run or checkpoint of slender says it by `add_bos_token` in `tokenizer_config.json`; without one, it was
/// trained on texts that begin so. Otherwise it is what `tokenizer(text)` does in Python: a template in
/// `tokenizer.json` that begins with a special token, or for SentencePiece models without one,
/// `add_bos_token`. The files are looked for in the folder of the weights, then in `model`.
///
/// # Errors
/// A file that cannot be read or is no JSON.
pub fn model_adds_bos(model: &Path, weights_dir: &Path) -> Result<bool, EvalError> {
    let ours = is_run_or_checkpoint(model) || is_run_or_checkpoint(weights_dir);
    let (dir, other) = (weights_dir, model);
    let read = |name: &str| -> Result<Option<Value>, EvalError> {
        let path = [dir, other].map(|dir| dir.join(name));
        let Some(path) = path.iter().find(|path| path.is_file()) else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(path).map_err(|source| EvalError::Io {
            verb: "read",
            path: path.clone(),
            source,
        })?;
        let value = serde_json::from_str(&text).map_err(|error| EvalError::BadModelFile {
            place: path.display().to_string(),
            message: error.to_string(),
        })?;
        Ok(Some(value))
    };
    let tokenizer = if ours { None } else { read("tokenizer.json")? };
    let Some(tokenizer) = tokenizer else {
        let config = read("tokenizer_config.json")?.unwrap_or_default();
        return Ok(config["add_bos_token"].as_bool().unwrap_or(true));
    };
    Ok(begins_with_token(&tokenizer["post_processor"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_say_whether_bos_is_added() {
        let dir = tempfile::tempdir().unwrap();
        let adds = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            model_adds_bos(dir.path(), dir.path())
        };
        assert!(!model_adds_bos(Path::new("a"), Path::new("b")).is_ok_and(|adds| !adds));
        assert!(!adds("tokenizer_config.json", r#"{"add_bos_token": false}"#).unwrap());
        let template = r#"{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {}}]}"#;
        assert!(
            adds(
                "tokenizer.json",
                &format!(r#"{{"post_processor": {template}}}"#)
            )
            .unwrap()
        );
        let sequence = format!(
            r#"{{"post_processor": {{"processors": [{{"type": "ByteLevel"}}, {template}]}}}}"#
        );
        assert!(adds("tokenizer.json", &sequence).unwrap());
        assert!(!adds("tokenizer.json", r#"{"post_processor": null}"#).unwrap());
        // A run says it itself, and otherwise begins texts as training does.
        assert!(!adds("state.json", "{}").unwrap());
        assert!(adds("tokenizer_config.json", r#"{"add_bos_token": true}"#).unwrap());
        assert!(adds("tokenizer_config.json", "{}").unwrap());
        std::fs::remove_file(dir.path().join("state.json")).unwrap();
        assert!(
            !adds(
                "tokenizer.json",
                r#"{"post_processor": {"type": "ByteLevel"}}"#
            )
            .unwrap()
        );
        let error = adds("tokenizer.json", "").unwrap_err().to_string();
        assert!(error.contains("the model's folder"), "{error}");
    }
}
