//! From a tokenizer to GGUF.

use super::{GgufTokenizer, cut, failure, types};
use crate::DataError;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::sentencepiece::{self, Piece};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

impl GgufTokenizer {
    /// What a GGUF file says of `tokenizer`, and notes of what llama.cpp will do otherwise.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`]: a tokenizer that llama.cpp cannot run, with what it cannot.
    pub fn from_tokenizer(tokenizer: &Tokenizer) -> Result<(Self, Vec<String>), DataError> {
        let refuse = |message: String| DataError::Tokenizer {
            name: tokenizer.name().to_owned(),
            message: format!("cannot be written to GGUF: {message}"),
        };
        let json: Value =
            serde_json::from_str(tokenizer.json()).map_err(|e| failure(e.to_string()))?;
        let model = &json["model"];
        if model["type"] != "BPE" {
            return Err(refuse(format!(
                "its model is {}, BPE is supported",
                model["type"]
            )));
        }
        let vocab = model["vocab"]
            .as_object()
            .ok_or_else(|| refuse("it has no vocabulary".into()))?;
        let mut gguf = Self {
            tokens: Vec::new(),
            token_types: Some(Vec::new()),
            bos: tokenizer.bos_id(),
            eos: tokenizer.eos_id(),
            unknown: tokenizer.unknown_id(),
            add_bos: Some(adds_bos(tokenizer, &json)),
            add_eos: tokenizer.settings().add_eos(),
            chat_template: tokenizer.settings().chat_template().map(str::to_owned),
            ..Self::default()
        };
        let padding = tokenizer.settings().special_token("pad_token").flatten();
        gguf.padding = padding.and_then(|text| tokenizer.token_to_id(text));
        gguf.vocabulary(tokenizer, vocab, &json);
        let merges = merges(model).ok_or_else(|| refuse("its merges are not pairs".into()))?;
        let mut notes = Vec::new();
        if is_sentencepiece(&json) {
            gguf.model = "llama".into();
            gguf.pre = Some("default".into());
            let (prefix, note) =
                prefix_of(&json["normalizer"], &json["pre_tokenizer"]).map_err(refuse)?;
            gguf.add_space_prefix = Some(prefix);
            notes.extend(note);
            gguf.scores = Some(gguf.scores_of(&merges).map_err(refuse)?);
            gguf.mark_bytes();
        } else {
            let ignore_merges = model["ignore_merges"] == true;
            let cut = cut::of(&json["pre_tokenizer"], ignore_merges).ok_or_else(|| {
                refuse("the way it cuts text before merging has no name in llama.cpp that is known here".into())
            })?;
            match json["normalizer"]["type"].as_str() {
                None => {}
                Some("NFC") => notes.push(
                    "llama.cpp does not compose letters and accents (NFC) as this tokenizer does: text with separate accents gets other ids".into(),
                ),
                Some(other) => return Err(refuse(format!("its normaliser is {other}"))),
            }
            gguf.model = "gpt2".into();
            gguf.pre = cut.names.first().map(|name| (*name).to_owned());
            gguf.add_space_prefix = Some(false);
            gguf.merges = Some(
                merges
                    .iter()
                    .map(|(left, right)| format!("{left} {right}"))
                    .collect(),
            );
        }
        Ok((gguf, notes))
    }

    /// Tokens and kinds; an id without a token gets one that no text gives.
    fn vocabulary(
        &mut self,
        tokenizer: &Tokenizer,
        vocab: &serde_json::Map<String, Value>,
        json: &Value,
    ) {
        let count = tokenizer.vocab_size();
        let mut tokens: Vec<Option<(String, i32)>> = vec![None; count];
        let mut put = |id: Option<u64>, text: &str, kind: i32| {
            if let Some(slot) = id.and_then(|id| tokens.get_mut(id as usize)) {
                *slot = Some((text.to_owned(), kind));
            }
        };
        for (text, id) in vocab {
            put(id.as_u64(), text, types::NORMAL);
        }
        for token in json["added_tokens"].as_array().into_iter().flatten() {
            let kind = if token["special"] == true {
                types::CONTROL
            } else {
                types::USER_DEFINED
            };
            put(
                token["id"].as_u64(),
                token["content"].as_str().unwrap_or_default(),
                kind,
            );
        }
        if let Some(id) = tokenizer.unknown_id()
            && let Some(Some((_, kind))) = tokens.get_mut(id as usize)
        {
            *kind = types::UNKNOWN;
        }
        let (texts, kinds) = tokens
            .into_iter()
            .enumerate()
            .map(|(id, token)| token.unwrap_or_else(|| (format!("[PAD{id}]"), types::UNUSED)))
            .unzip();
        (self.tokens, self.token_types) = (texts, Some(kinds));
    }

    /// Scores under which llama.cpp, which merges any two tokens whose join is a token, the best first and of
    /// equals the leftmost, makes the merges of the list in its order.
    ///
    /// Tokens whose merges alternate in the list share a score, as LLaMA's runs of spaces do. Whether the list is
    /// what the scores say is tested by making the list from them again.
    fn scores_of(&self, merges: &[(String, String)]) -> Result<Vec<f32>, String> {
        let ids: HashMap<&str, usize> = self
            .tokens
            .iter()
            .enumerate()
            .map(|(id, text)| (text.as_str(), id))
            .collect();
        let mut ranks: HashMap<usize, (usize, usize)> = HashMap::new();
        for (rank, (left, right)) in merges.iter().enumerate() {
            let whole = format!("{left}{right}");
            let id = *ids
                .get(whole.as_str())
                .ok_or_else(|| format!("merge into {whole:?}, which is no token"))?;
            ranks.entry(id).or_insert((rank, rank)).1 = rank;
        }
        let mut order: Vec<_> = ranks.into_iter().collect();
        order.sort_by_key(|(_, (first, _))| *first);
        let mut scores = vec![0.0; self.tokens.len()];
        // First rank of each score, and whether several tokens have it.
        let mut groups: Vec<(usize, bool)> = Vec::new();
        let mut end = None;
        for (id, (first, last)) in order {
            match groups.last_mut() {
                Some(group) if end.is_some_and(|end| first <= end) => group.1 = true,
                _ => groups.push((first, false)),
            }
            scores[id] = -(groups.last().map_or(0, |group| group.0) as f32);
            end = end.max(Some(last));
        }
        let pieces: Vec<Piece> = (self.tokens.iter().zip(&scores).enumerate())
            .map(|(id, (token, score))| Piece {
                piece: Some(token.clone()),
                score: Some(*score),
                kind: Some(self.kind(id)),
            })
            .collect();
        let again = sentencepiece::merges(&pieces, &ids);
        let known: HashSet<[&str; 2]> = merges
            .iter()
            .map(|(left, right)| [left.as_str(), right])
            .collect();
        if let Some([left, right]) = again.iter().find(|merge| !known.contains(*merge)) {
            return Err(format!(
                "{left:?} and {right:?} are not merged, though {left}{right} is a token; llama.cpp merges them"
            ));
        }
        if merges.len() != again.len() {
            return Err("a merge is in the list twice".into());
        }
        // Where one token has a score, the order of its own merges is nothing to llama.cpp, and files have any.
        let shared = groups
            .iter()
            .enumerate()
            .filter(|(_, (_, several))| *several);
        for (group, (first, _)) in shared {
            let end = groups.get(group + 1).map_or(merges.len(), |next| next.0);
            let pairs = merges[*first..end].iter().zip(&again[*first..end]);
            for ((left, right), [other_left, other_right]) in pairs {
                if [left, right] != [other_left, other_right] {
                    return Err(format!(
                        "{left:?} and {right:?} are merged before {other_left:?} and {other_right:?}, which scores cannot say"
                    ));
                }
            }
        }
        Ok(scores)
    }

    fn mark_bytes(&mut self) {
        let bytes: HashMap<String, ()> = (0..=255).map(|b| (format!("<0x{b:02X}>"), ())).collect();
        if let Some(kinds) = &mut self.token_types {
            for (kind, text) in kinds.iter_mut().zip(&self.tokens) {
                if *kind == types::NORMAL && bytes.contains_key(text) {
                    *kind = types::BYTE;
                }
            }
        }
    }
}

/// Whether Python's tokenizer puts BOS before a text: by the post-processor, else as the settings say.
fn adds_bos(tokenizer: &Tokenizer, json: &Value) -> bool {
    fn template(processor: &Value, bos: &str) -> bool {
        let several = processor["processors"].as_array();
        several.is_some_and(|parts| parts.iter().any(|part| template(part, bos)))
            || processor["single"][0]["SpecialToken"]["id"] == *bos
    }
    let bos = tokenizer.bos_id().and_then(|id| tokenizer.id_to_token(id));
    bos.is_some_and(|bos| template(&json["post_processor"], &bos))
        || tokenizer.settings().add_bos().unwrap_or(false)
}

/// Pairs, which files write as lists or, the older ones, with a space between.
fn merges(model: &Value) -> Option<Vec<(String, String)>> {
    let pair = |merge: &Value| match merge {
        Value::String(text) => text
            .split_once(' ')
            .map(|(a, b)| (a.to_owned(), b.to_owned())),
        other => Some((other[0].as_str()?.to_owned(), other[1].as_str()?.to_owned())),
    };
    model["merges"].as_array()?.iter().map(pair).collect()
}

fn is_sentencepiece(json: &Value) -> bool {
    json["pre_tokenizer"].is_null() && json["normalizer"].to_string().contains('▁')
        || json["model"]["byte_fallback"] == true
}

/// Whether a space is put before a text, from the rules that llama.cpp has as well, and a note where it has them
/// nearly.
fn prefix_of(normalizer: &Value, pre_tokenizer: &Value) -> Result<(bool, Option<String>), String> {
    if pre_tokenizer["type"] == "Metaspace" && normalizer.is_null() {
        if pre_tokenizer["replacement"] != "▁" || pre_tokenizer["split"] != false {
            return Err("it cuts text at spaces before merging (Metaspace with `split`)".into());
        }
        let prefix = pre_tokenizer["prepend_scheme"] != "never";
        let note = "llama.cpp puts a space before every text, this tokenizer not before one that begins with a space";
        return Ok((prefix, prefix.then(|| note.into())));
    }
    if !pre_tokenizer.is_null() {
        let kind = pre_tokenizer["type"].as_str().unwrap_or("unknown");
        return Err(format!("it cuts text before merging ({kind})"));
    }
    let steps = match normalizer["type"].as_str() {
        Some("Sequence") => normalizer["normalizers"]
            .as_array()
            .cloned()
            .unwrap_or_default(),
        Some(_) => vec![normalizer.clone()],
        None => Vec::new(),
    };
    let mut prefix = false;
    for step in &steps {
        let kind = step["type"].as_str().unwrap_or("none");
        match kind {
            "Prepend" if step["prepend"] == "▁" => prefix = true,
            "Replace" if step["pattern"]["String"] == " " && step["content"] == "▁" => {}
            _ => {
                return Err(format!(
                    "it changes text before merging ({kind})\nhint: where there is a tokenizer.model, give that to `slender import --tokenizer`"
                ));
            }
        }
    }
    Ok((prefix, None))
}
