//! SentencePiece `tokenizer.model` to `tokenizer.json`.
//!
//! The file is a protocol buffer of pieces with scores. BPE models with byte fallback, as LLaMA's, become a
//! `tokenizers` BPE: the merges are recovered from the scores exactly as transformers' converter does it
//! (every split of a piece into two pieces, ordered by the score of the whole), and the space before a text
//! becomes a normaliser. Unigram models, and models that rewrite text before they split it, are refused by
//! name rather than converted approximately.

use prost::Message;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// `sentencepiece.ModelProto`, the fields that matter.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelProto {
    /// Pieces; the index is the id.
    #[prost(message, repeated, tag = "1")]
    pub pieces: Vec<Piece>,
    /// How it was trained.
    #[prost(message, optional, tag = "2")]
    pub trainer: Option<TrainerSpec>,
    /// What happens to text before it is split.
    #[prost(message, optional, tag = "3")]
    pub normalizer: Option<NormalizerSpec>,
}

/// `ModelProto.SentencePiece`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Piece {
    #[prost(string, optional, tag = "1")]
    pub piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    pub score: Option<f32>,
    /// 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    #[prost(int32, optional, tag = "3", default = "1")]
    pub kind: Option<i32>,
}

/// `TrainerSpec`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TrainerSpec {
    /// 1 unigram, 2 BPE, 3 word, 4 char.
    #[prost(int32, optional, tag = "3", default = "1")]
    pub model_type: Option<i32>,
    #[prost(bool, optional, tag = "24", default = "false")]
    pub whitespace_as_suffix: Option<bool>,
    #[prost(bool, optional, tag = "35", default = "false")]
    pub byte_fallback: Option<bool>,
}

/// `NormalizerSpec`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct NormalizerSpec {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3", default = "true")]
    pub add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4", default = "true")]
    pub remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5", default = "true")]
    pub escape_whitespaces: Option<bool>,
}

const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// Converts the file's bytes to the bytes of a `tokenizer.json`.
pub(super) fn to_json(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let model = ModelProto::decode(bytes)
        .map_err(|e| format!("neither a tokenizer.json nor a SentencePiece model: {e}"))?;
    if model.pieces.is_empty() {
        return Err("neither a tokenizer.json nor a SentencePiece model: no pieces".into());
    }
    let trainer = model.trainer.clone().unwrap_or_default();
    let normalizer = model.normalizer.clone().unwrap_or_default();
    check(&trainer, &normalizer)?;

    let mut ids: HashMap<&str, usize> = HashMap::new();
    let mut vocab = Map::new();
    for (id, piece) in model.pieces.iter().enumerate() {
        if ids.insert(piece.piece(), id).is_some() {
            return Err(format!("piece {:?} appears twice", piece.piece()));
        }
        vocab.insert(piece.piece().to_string(), json!(id));
    }
    let unknown = model
        .pieces
        .iter()
        .find(|piece| piece.kind() == UNKNOWN)
        .map(|piece| piece.piece());
    let added: Vec<Value> = model
        .pieces
        .iter()
        .enumerate()
        .filter(|(_, piece)| matches!(piece.kind(), CONTROL | USER_DEFINED))
        .map(|(id, piece)| {
            json!({ "id": id, "content": piece.piece(), "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": piece.kind() == CONTROL })
        })
        .collect();

    let prefix = normalizer.add_dummy_prefix();
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    let normalizers = if prefix {
        json!([{ "type": "Prepend", "prepend": "▁" }, replace])
    } else {
        json!([replace])
    };
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if prefix {
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": { "type": "Sequence", "normalizers": normalizers },
        "pre_tokenizer": null, "post_processor": null,
        "decoder": { "type": "Sequence", "decoders": decoders },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": trainer.byte_fallback(),
            "ignore_merges": false, "vocab": vocab, "merges": merges(&model.pieces, &ids),
        },
    });
    serde_json::to_vec(&json).map_err(|e| e.to_string())
}

fn check(trainer: &TrainerSpec, normalizer: &NormalizerSpec) -> Result<(), String> {
    const HINT: &str = "hint: convert it to tokenizer.json with transformers";
    let kind = match trainer.model_type() {
        2 => None,
        1 => Some("unigram"),
        3 => Some("word"),
        4 => Some("char"),
        _ => Some("unknown"),
    };
    if let Some(kind) = kind {
        return Err(format!(
            "a SentencePiece model of type {kind} is not supported yet, BPE is\n{HINT}"
        ));
    }
    let unsupported = [
        (
            !normalizer.precompiled_charsmap().is_empty(),
            "a character map",
        ),
        (
            normalizer.remove_extra_whitespaces(),
            "removal of extra whitespace",
        ),
        (!normalizer.escape_whitespaces(), "unescaped whitespace"),
        (trainer.whitespace_as_suffix(), "whitespace as suffix"),
    ];
    match unsupported.iter().find(|(found, _)| *found) {
        Some((_, what)) => Err(format!(
            "a SentencePiece model with {what} ({}) is not supported yet\n{HINT}",
            normalizer.name()
        )),
        None => Ok(()),
    }
}

/// Merges in order of priority: by score of the merged piece, then longer left part, then longer right part,
/// then the order of transformers' converter, which keeps vocabulary order among equals.
fn merges<'a>(pieces: &'a [Piece], ids: &HashMap<&'a str, usize>) -> Vec<[&'a str; 2]> {
    struct Merge<'a> {
        parts: [&'a str; 2],
        score: f32,
        lengths: (usize, usize),
    }
    let mut merges: Vec<Merge<'a>> = Vec::new();
    for piece in pieces {
        let whole = piece.piece();
        let mut local: Vec<((usize, usize), [&'a str; 2])> = whole
            .char_indices()
            .skip(1)
            .filter_map(|(at, _)| {
                let (left, right) = whole.split_at(at);
                Some(((*ids.get(left)?, *ids.get(right)?), [left, right]))
            })
            .collect();
        local.sort_by_key(|(key, _)| *key);
        merges.extend(local.into_iter().map(|(_, parts)| Merge {
            parts,
            // Python, whose order this is, holds -0.0 and 0.0 for equal.
            score: piece.score() + 0.0,
            lengths: (parts[0].chars().count(), parts[1].chars().count()),
        }));
    }
    merges.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.lengths.cmp(&a.lengths)));
    merges.into_iter().map(|merge| merge.parts).collect()
}
