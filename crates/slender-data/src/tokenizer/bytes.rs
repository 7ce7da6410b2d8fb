//! How many bytes of text each token stands for, and how to spell text without merges.
//!
//! Bits per byte divide a loss by the text's bytes, so the count must be exact. Three conventions exist:
//! byte-level pieces (GPT-2), where each character stands for one byte; SentencePiece pieces, where `▁` is
//! a space and `<0xAB>` a byte; and plain text.

use serde_json::Value;
use std::collections::HashMap;

/// SentencePiece's visible space.
const SPACE: char = '▁';

/// How pieces map to text.
pub(super) struct Style {
    byte_level: bool,
    byte_fallback: bool,
    visible_space: bool,
    adds_prefix_space: bool,
}

impl Style {
    /// Reads the convention off the tokenizer's JSON.
    pub fn of(json: &Value) -> Self {
        let has = |part: &str, kind: &str| find(&json[part], kind).is_some();
        let metaspace = find(&json["pre_tokenizer"], "Metaspace");
        let prepends = find(&json["normalizer"], "Prepend").is_some_and(|n| n["prepend"] == "▁");
        let byte_level = find(&json["pre_tokenizer"], "ByteLevel");
        Self {
            byte_level: byte_level.is_some() || has("decoder", "ByteLevel"),
            byte_fallback: json["model"]["byte_fallback"] == true,
            visible_space: metaspace.is_some() || prepends || replaces_space(&json["decoder"]),
            adds_prefix_space: prepends
                || metaspace.is_some_and(|m| m["prepend_scheme"] != "never")
                || byte_level.is_some_and(|b| b["add_prefix_space"] == true),
        }
    }
}

/// The first object of `"type": kind` in a component or its sequence.
fn find<'a>(value: &'a Value, kind: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) if map.get("type").is_some_and(|t| t == kind) => Some(value),
        Value::Object(map) => map.values().find_map(|value| find(value, kind)),
        Value::Array(items) => items.iter().find_map(|value| find(value, kind)),
        _ => None,
    }
}

fn replaces_space(decoder: &Value) -> bool {
    find(decoder, "Metaspace").is_some()
        || find(decoder, "Replace").is_some_and(|r| r["pattern"]["String"] == "▁")
}

/// What is known of each token.
#[derive(Clone)]
pub(super) struct Pieces {
    bytes: Vec<u32>,
    special: Vec<Option<Box<str>>>,
    has_special: bool,
    by_text: HashMap<String, u32>,
    by_byte: Vec<Option<u32>>,
    byte_level: bool,
    visible_space: bool,
    unknown: Option<u32>,
    prefix_bytes: usize,
}

impl Pieces {
    pub fn new(tokenizer: &super::Hf, style: &Style, json: &Value) -> Self {
        let vocab = tokenizer.get_vocab(true);
        let added = tokenizer.get_added_tokens_decoder();
        let size = vocab.values().max().map_or(0, |max| *max as usize + 1);
        let unknown_text = json["model"]["unk_token"].as_str();
        // BPE names it, unigram numbers it.
        let unknown = match json["model"]["unk_id"].as_u64() {
            Some(id) => u32::try_from(id).ok(),
            None => unknown_text.and_then(|text| tokenizer.token_to_id(text)),
        };
        let bytes_of_chars = byte_level_bytes();
        let mut pieces = Self {
            bytes: vec![0; size],
            special: vec![None; size],
            has_special: false,
            by_text: HashMap::new(),
            by_byte: vec![None; 256],
            byte_level: style.byte_level,
            visible_space: style.visible_space,
            unknown,
            prefix_bytes: usize::from(style.adds_prefix_space),
        };
        for (text, id) in vocab {
            let at = id as usize;
            match added.get(&id) {
                Some(token) if token.special => {
                    // The unknown token stands for text that the vocabulary lacks: it may come out of text.
                    if Some(id) != unknown {
                        pieces.special[at] = Some(text.into_boxed_str());
                        pieces.has_special = true;
                    }
                    continue;
                }
                // Added tokens are matched in the raw text.
                Some(_) => {
                    pieces.bytes[at] = text.len() as u32;
                    continue;
                }
                None if Some(id) == unknown => continue,
                None => {}
            }
            let byte = byte_token(&text).filter(|_| style.byte_fallback);
            pieces.bytes[at] = if let Some(byte) = byte {
                pieces.by_byte[byte as usize] = Some(id);
                1
            } else if style.byte_level {
                text.chars().count() as u32
            } else if style.visible_space {
                text.chars()
                    .map(|c| if c == SPACE { 1 } else { c.len_utf8() as u32 })
                    .sum()
            } else {
                text.trim_start_matches("##").len() as u32
            };
            let mut chars = text.chars();
            if let (Some(c), None) = (chars.next(), chars.next()) {
                match bytes_of_chars.get(&c).filter(|_| style.byte_level) {
                    Some(byte) => pieces.by_byte[*byte as usize] = Some(id),
                    None => drop(pieces.by_text.insert(text, id)),
                }
            }
        }
        pieces
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn bytes(&self, id: u32) -> usize {
        self.bytes.get(id as usize).map_or(0, |n| *n as usize)
    }

    pub fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    pub fn prefix_bytes(&self) -> usize {
        self.prefix_bytes
    }

    pub fn is_special(&self, id: u32) -> bool {
        self.has_special && self.special_text(id).is_some()
    }

    pub fn special_text(&self, id: u32) -> Option<&str> {
        self.special.get(id as usize)?.as_deref()
    }

    /// Appends ids of `text` character by character: whole characters where the vocabulary has them, else
    /// bytes, else the unknown token, else nothing.
    pub fn spell(&self, text: &str, ids: &mut Vec<u32>) {
        for c in text.chars() {
            let shown = if self.visible_space && c == ' ' {
                SPACE
            } else {
                c
            };
            if !self.byte_level
                && let Some(id) = self.by_text.get(shown.encode_utf8(&mut [0; 4]) as &str)
            {
                ids.push(*id);
                continue;
            }
            let mut buffer = [0; 4];
            let bytes = c.encode_utf8(&mut buffer).bytes();
            ids.extend(bytes.filter_map(|byte| self.by_byte[byte as usize].or(self.unknown)));
        }
    }
}

/// The byte of `<0xAB>`.
fn byte_token(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 {
        u8::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

/// GPT-2's table from printable characters to bytes: printable Latin-1 stands for itself, the other bytes
/// for the characters from U+0100 on.
fn byte_level_bytes() -> HashMap<char, u8> {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 0x100;
    (0..=255u8)
        .map(|byte| {
            let code = if printable(byte) {
                u32::from(byte)
            } else {
                next += 1;
                next - 1
            };
            (char::from_u32(code).expect("below the surrogates"), byte)
        })
        .collect()
}
