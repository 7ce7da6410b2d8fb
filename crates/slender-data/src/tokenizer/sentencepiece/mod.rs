//! SentencePiece `tokenizer.model` to `tokenizer.json`, with the ids of the sentencepiece library.
//!
//! What the library does to text becomes rules of `tokenizers`:
//!
//! | SentencePiece | tokenizer.json |
//! |---|---|
//! | BPE, char | `BPE`; merges are recovered from the scores as transformers' converter does it (every split of a piece into two pieces, ordered by the score of the whole) |
//! | unigram | `Unigram`; pieces that text cannot give have a score that no path takes |
//! | byte fallback | of the model |
//! | character map (`nmt_nfkc`, …) | `Precompiled`, which slender reads as SentencePiece does: the longest match |
//! | extra whitespace, dummy prefix, `▁` | `Replace` and `Prepend` |
//! | control symbols | special tokens; no merge leads to one |
//! | user-defined symbols | unigram: pieces with SentencePiece's bonus; else split off, or added tokens where nothing is put before or cut from a text |
//!
//! Word models, models with unused pieces and whitespace as suffix are refused by name.

mod proto;

pub(crate) use proto::{ModelProto, NormalizerSpec, Piece, TrainerSpec, kind};

use super::rules::Charsmap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use prost::Message;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// What `TrainerSpec.model_type` may be here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Unigram,
    Bpe,
    Char,
}

/// Longest piece that is converted, in bytes. SentencePiece makes none above 64 characters by itself; the time
/// that the merges of a piece take grows with the square of its length.
const LONGEST: usize = 4096;

/// Converts the file's bytes to the bytes of a `tokenizer.json`.
pub(crate) fn to_json(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let model = ModelProto::decode(bytes)
        .map_err(|e| format!("neither a tokenizer.json nor a SentencePiece model: {e}"))?;
    if model.pieces.is_empty() {
        return Err("neither a tokenizer.json nor a SentencePiece model: no pieces".into());
    }
    // They stand behind the pieces; the format has no mark of its end.
    let (Some(trainer), Some(normalizer)) = (model.trainer.clone(), model.normalizer.clone())
    else {
        return Err(format!(
            "the SentencePiece model ends after {} pieces, before its settings\nhint: is the file whole? fetch it again",
            model.pieces.len()
        ));
    };
    let algorithm = check(&model, &trainer)?;
    let json = convert(
        &model.pieces,
        algorithm,
        trainer.byte_fallback(),
        &normalizer,
    )?;
    serde_json::to_vec(&json).map_err(|e| e.to_string())
}

/// A tokenizer.json of the pieces of a BPE model without a character map: what a GGUF file holds of one.
pub(crate) fn bpe_json(
    pieces: &[Piece],
    byte_fallback: bool,
    normalizer: &NormalizerSpec,
) -> Result<Value, String> {
    convert(pieces, Algorithm::Bpe, byte_fallback, normalizer)
}

fn check(model: &ModelProto, trainer: &TrainerSpec) -> Result<Algorithm, String> {
    let algorithm = match trainer.model_type() {
        1 => Algorithm::Unigram,
        2 => Algorithm::Bpe,
        4 => Algorithm::Char,
        3 => return Err("a SentencePiece model of words is not supported\nhint: BPE, unigram and character models are".into()),
        other => return Err(format!("a SentencePiece model of the unknown type {other}")),
    };
    if trainer.whitespace_as_suffix() {
        return Err("a SentencePiece model with whitespace as suffix is not supported".into());
    }
    let unused = |piece: &&Piece| piece.kind() == kind::UNUSED;
    if let Some(piece) = model.pieces.iter().find(unused) {
        return Err(format!(
            "a SentencePiece model with unused pieces ({:?}) is not supported",
            piece.piece()
        ));
    }
    Ok(algorithm)
}

fn convert(
    pieces: &[Piece],
    algorithm: Algorithm,
    byte_fallback: bool,
    normalizer: &NormalizerSpec,
) -> Result<Value, String> {
    let mut ids: HashMap<&str, usize> = HashMap::new();
    for (id, piece) in pieces.iter().enumerate() {
        let length = piece.piece().len();
        if length > LONGEST {
            return Err(format!(
                "piece {id} is {length} bytes long; {LONGEST} at most are supported"
            ));
        }
        if ids.insert(piece.piece(), id).is_some() {
            return Err(format!("piece {:?} appears twice", piece.piece()));
        }
        if piece.score().is_nan() {
            return Err(format!("piece {:?} has no number as score", piece.piece()));
        }
    }
    if byte_fallback
        && let Some(byte) = (0..=255).find(|b| !ids.contains_key(&*format!("<0x{b:02X}>")))
    {
        return Err(format!("byte fallback without a piece <0x{byte:02X}>"));
    }
    let unknown = pieces.iter().position(|p| p.kind() == kind::UNKNOWN);
    // Where the rules change a text's ends, cutting the text at symbols first would make more ends.
    let ends = normalizer.add_dummy_prefix() || normalizer.remove_extra_whitespaces();
    let symbols: Vec<&str> = pieces
        .iter()
        .filter(|p| p.kind() == kind::USER_DEFINED && !p.piece().is_empty())
        .map(|p| p.piece())
        .collect();
    let (split, added) = match algorithm {
        Algorithm::Unigram => (false, false),
        _ => (ends && !symbols.is_empty(), !ends),
    };
    let added_tokens: Vec<Value> = pieces
        .iter()
        .enumerate()
        .filter(|(_, p)| p.kind() == kind::CONTROL || (added && p.kind() == kind::USER_DEFINED))
        .map(|(id, p)| {
            json!({ "id": id, "content": p.piece(), "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": p.kind() == kind::CONTROL })
        })
        .collect();
    let model = match algorithm {
        Algorithm::Unigram => unigram(pieces, unknown, byte_fallback)?,
        _ => {
            let merges = match algorithm {
                Algorithm::Bpe => merges(pieces, &ids),
                _ => Vec::new(),
            };
            let vocab: Map<String, Value> = pieces
                .iter()
                .enumerate()
                .map(|(id, p)| (p.piece().to_owned(), json!(id)))
                .collect();
            json!({ "type": "BPE", "dropout": null, "unk_token": unknown.map(|id| pieces[id].piece()),
                    "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
                    "byte_fallback": byte_fallback, "ignore_merges": split, "vocab": vocab, "merges": merges })
        }
    };
    let pre_tokenizer = split.then(|| {
        json!({ "type": "Split", "pattern": { "Regex": any_of(&symbols) }, "behavior": "Isolated", "invert": false })
    });
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens,
        "normalizer": normalizers(normalizer)?,
        "pre_tokenizer": pre_tokenizer, "post_processor": null,
        "decoder": decoder(normalizer),
        "model": model,
    }))
}

/// The rules that are applied to a text, in SentencePiece's order.
fn normalizers(spec: &NormalizerSpec) -> Result<Value, String> {
    let replace = |pattern: Value, content: &str| json!({ "type": "Replace", "pattern": pattern, "content": content });
    let regex = |regex: &str| json!({ "Regex": regex });
    let space = if spec.escape_whitespaces() {
        "▁"
    } else {
        " "
    };
    let mut rules = Vec::new();
    if !spec.precompiled_charsmap().is_empty() {
        Charsmap::parse(spec.precompiled_charsmap())?;
        let text = BASE64.encode(spec.precompiled_charsmap());
        rules.push(json!({ "type": "Precompiled", "precompiled_charsmap": text }));
    }
    if spec.remove_extra_whitespaces() {
        rules.push(replace(regex(r"\A +"), ""));
        rules.push(replace(regex(" {2,}"), " "));
    }
    if spec.add_dummy_prefix() {
        rules.push(json!({ "type": "Prepend", "prepend": space }));
    }
    if spec.escape_whitespaces() {
        rules.push(replace(json!({ "String": " " }), "▁"));
    }
    if spec.remove_extra_whitespaces() {
        // Written spaces and real U+2581 alike.
        rules.push(replace(regex(&format!(r"{space}+\z")), ""));
    }
    Ok(match rules.len() {
        0 => Value::Null,
        _ => json!({ "type": "Sequence", "normalizers": rules }),
    })
}

fn decoder(spec: &NormalizerSpec) -> Value {
    let mut decoders = Vec::new();
    if spec.escape_whitespaces() {
        decoders.push(json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }));
    }
    decoders.push(json!({ "type": "ByteFallback" }));
    decoders.push(json!({ "type": "Fuse" }));
    if spec.add_dummy_prefix() {
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    json!({ "type": "Sequence", "decoders": decoders })
}

/// A pattern for any of the symbols, the longest first.
fn any_of(symbols: &[&str]) -> String {
    let mut symbols = symbols.to_vec();
    symbols.sort_by_key(|symbol| std::cmp::Reverse(symbol.len()));
    let escaped = symbols.iter().map(|symbol| {
        let mut out = String::new();
        for c in symbol.chars() {
            if c.is_ascii() && !c.is_ascii_alphanumeric() {
                out.push('\\');
            }
            out.push(if c == ' ' { '▁' } else { c });
        }
        out.replace("\\▁", "▁")
    });
    escaped.collect::<Vec<_>>().join("|")
}

/// `Unigram` with the scores that SentencePiece's search uses.
fn unigram(pieces: &[Piece], unknown: Option<usize>, byte_fallback: bool) -> Result<Value, String> {
    let Some(unknown) = unknown else {
        return Err("a unigram model without an unknown piece".into());
    };
    let normal = || {
        let normal = pieces.iter().filter(|p| p.kind() == kind::NORMAL);
        normal.map(|p| f64::from(p.score()))
    };
    let lowest = normal().fold(f64::INFINITY, f64::min).min(0.0);
    let highest = normal().fold(f64::NEG_INFINITY, f64::max).min(0.0);
    // Below any path through the same characters, even through unknown ones.
    let longest = pieces.iter().map(|p| p.piece().len()).max().unwrap_or(0);
    let never = (lowest - 10.0) * (longest as f64 + 2.0);
    let vocab: Vec<Value> = pieces
        .iter()
        .map(|p| {
            let score = match p.kind() {
                kind::NORMAL => f64::from(p.score()),
                // `length · max_score - 0.1`, the length in bytes.
                kind::USER_DEFINED => p.piece().len() as f64 * highest - 0.1,
                _ => never,
            };
            json!([p.piece(), score])
        })
        .collect();
    Ok(
        json!({ "type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": byte_fallback }),
    )
}

/// Merges in order of priority: by score of the merged piece, then longer left part, then longer right part,
/// then the order of transformers' converter, which keeps vocabulary order among equals. Text gives normal
/// pieces only, so no merge makes or takes another.
pub(crate) fn merges<'a>(pieces: &'a [Piece], ids: &HashMap<&'a str, usize>) -> Vec<[&'a str; 2]> {
    struct Merge<'a> {
        parts: [&'a str; 2],
        score: f32,
        lengths: (usize, usize),
    }
    let normal = |text: &str| {
        let id = *ids.get(text)?;
        (pieces[id].kind() == kind::NORMAL).then_some(id)
    };
    let mut merges: Vec<Merge<'a>> = Vec::new();
    for piece in pieces.iter().filter(|p| p.kind() == kind::NORMAL) {
        let whole = piece.piece();
        let mut local: Vec<((usize, usize), [&'a str; 2])> = whole
            .char_indices()
            .skip(1)
            .filter_map(|(at, _)| {
                let (left, right) = whole.split_at(at);
                Some(((normal(left)?, normal(right)?), [left, right]))
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

#[cfg(test)]
mod tests;
