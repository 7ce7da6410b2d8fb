//! From GGUF to a tokenizer.

use super::{GgufTokenizer, cut, failure, types};
use crate::DataError;
use crate::tokenizer::sentencepiece::{NormalizerSpec, Piece, bpe_json};
use crate::tokenizer::{Tokenizer, TokenizerSettings, first};
use serde_json::{Map, Value, json};

impl GgufTokenizer {
    /// The tokenizer, with settings and chat template. `name` is the file's, for messages.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`]: lists of different lengths, ids that are none, a kind or a cut that is not
    /// known here.
    pub fn to_tokenizer(&self, name: &str) -> Result<Tokenizer, DataError> {
        self.check()?;
        let mut json = match self.model.as_str() {
            "llama" => self.sentencepiece()?,
            "gpt2" => self.byte_level()?,
            other => {
                return Err(failure(format!(
                    "tokenizer.ggml.model `{other}` is not supported; llama and gpt2 are"
                )));
            }
        };
        if let (true, Some(bos)) = (self.adds_bos(), self.text(self.bos)) {
            json["post_processor"] = first::template(bos, self.bos.unwrap_or_default());
        }
        let bytes = serde_json::to_vec(&json).map_err(|e| failure(e.to_string()))?;
        Tokenizer::build(name, &bytes, self.settings())
    }

    /// Lengths and ids.
    fn check(&self) -> Result<(), DataError> {
        let count = self.tokens.len();
        if count == 0 {
            return Err(failure("the vocabulary is empty".into()));
        }
        for (key, found) in [
            ("scores", self.scores.as_ref().map(Vec::len)),
            ("token_type", self.token_types.as_ref().map(Vec::len)),
        ] {
            if found.is_some_and(|found| found != count) {
                let found = found.unwrap_or_default();
                return Err(failure(format!(
                    "tokenizer.ggml.{key} has {found} entries for {count} tokens"
                )));
            }
        }
        for (key, id) in [
            ("bos", self.bos),
            ("eos", self.eos),
            ("unknown", self.unknown),
            ("padding", self.padding),
        ] {
            if let Some(id) = id.filter(|id| *id as usize >= count) {
                return Err(failure(format!(
                    "tokenizer.ggml.{key}_token_id is {id}, there are {count} tokens"
                )));
            }
        }
        Ok(())
    }

    /// llama.cpp's rule where the file says nothing.
    fn adds_bos(&self) -> bool {
        self.add_bos.unwrap_or(self.model == "llama")
    }

    fn text(&self, id: Option<u32>) -> Option<&str> {
        self.tokens.get(id? as usize).map(String::as_str)
    }

    fn settings(&self) -> TokenizerSettings {
        let mut settings = TokenizerSettings::default();
        for (key, id) in [
            ("bos_token", self.bos),
            ("eos_token", self.eos),
            ("unk_token", self.unknown),
            ("pad_token", self.padding),
        ] {
            if let Some(text) = self.text(id) {
                settings.set(key, json!(text));
            }
        }
        settings.set("add_bos_token", json!(self.adds_bos()));
        settings.set("add_eos_token", json!(self.add_eos.unwrap_or(false)));
        settings.set_chat_template(self.chat_template.clone());
        settings
    }

    fn sentencepiece(&self) -> Result<Value, DataError> {
        let scores = self
            .scores
            .as_ref()
            .ok_or_else(|| failure("tokenizer.ggml.scores is missing".into()))?;
        let pieces: Vec<Piece> = self
            .tokens
            .iter()
            .zip(scores)
            .enumerate()
            .map(|(id, (token, score))| Piece {
                piece: Some(token.clone()),
                score: Some(*score),
                kind: Some(self.kind(id)),
            })
            .collect();
        let normalizer = NormalizerSpec {
            name: None,
            precompiled_charsmap: None,
            add_dummy_prefix: Some(self.add_space_prefix.unwrap_or(true)),
            remove_extra_whitespaces: Some(self.remove_extra_whitespaces.unwrap_or(false)),
            escape_whitespaces: Some(true),
        };
        let bytes = pieces.iter().any(|piece| piece.kind() == types::BYTE);
        bpe_json(&pieces, bytes, &normalizer).map_err(failure)
    }

    fn byte_level(&self) -> Result<Value, DataError> {
        let name = self.pre.as_deref().unwrap_or("default");
        let cut = cut::by_name(name).ok_or_else(|| {
            failure(format!(
                "tokenizer.ggml.pre `{name}` is not known here\n  hint: take the model's tokenizer.json"
            ))
        })?;
        let mut vocab = Map::new();
        let mut added = Vec::new();
        for (id, token) in self.tokens.iter().enumerate() {
            if vocab.insert(token.clone(), json!(id)).is_some() {
                return Err(failure(format!("token {token:?} appears twice")));
            }
            let kind = self.kind(id);
            if matches!(kind, types::CONTROL | types::USER_DEFINED) {
                added.push(
                    json!({ "id": id, "content": token, "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": kind == types::CONTROL }),
                );
            }
        }
        let merges = self
            .merges
            .as_ref()
            .ok_or_else(|| failure("tokenizer.ggml.merges is missing".into()))?;
        let mut pairs = Vec::with_capacity(merges.len());
        for merge in merges {
            // A token has no space in it: byte-level BPE spells it as another letter.
            let pair = merge.split_once(' ').filter(|(a, b)| {
                [*a, *b, &format!("{a}{b}")]
                    .iter()
                    .all(|part| vocab.contains_key(*part))
            });
            let (left, right) =
                pair.ok_or_else(|| failure(format!("merge {merge:?} is not of two tokens")))?;
            pairs.push([left, right]);
        }
        let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true });
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
            "normalizer": null, "pre_tokenizer": cut.pre_tokenizer(), "post_processor": null, "decoder": byte_level,
            "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": cut.ignore_merges, "vocab": vocab, "merges": pairs },
        }))
    }
}
