//! What happens to text before it is split: the normaliser of `tokenizers`, with SentencePiece's character
//! maps read as SentencePiece reads them.
//!
//! `tokenizers` looks at one grapheme at a time and takes the shortest match in it; SentencePiece takes the
//! longest match at each place. The two differ on combining marks after wide letters, for example. The ids
//! are to be those of the model's own library, so [`Rules`] stands in for the library's `Precompiled`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use tokenizers::{NormalizedString, Normalizer, NormalizerWrapper};

/// A normaliser.
#[derive(Clone, Debug)]
pub(crate) enum Rules {
    /// One of the library's.
    Library(NormalizerWrapper),
    /// A SentencePiece character map.
    Charsmap(Charsmap),
    /// One after another.
    Sequence(Vec<Rules>),
}

/// Stands for a byte that is not UTF-8 where a character map would change U+FFFD: SentencePiece puts U+FFFD
/// into the result without looking it up, and `nmt_nfkc` makes a written one a space. A code point that is
/// no character and that no text has.
pub(crate) const INVALID: char = '\u{10FFFF}';

impl Rules {
    /// Whether there is a character map.
    pub fn has_charsmap(&self) -> bool {
        match self {
            Self::Library(_) => false,
            Self::Charsmap(_) => true,
            Self::Sequence(parts) => parts.iter().any(Self::has_charsmap),
        }
    }

    fn from_value(value: Value) -> Result<Self, String> {
        let kind = value["type"].as_str().unwrap_or_default();
        match kind {
            "Precompiled" => {
                let text = value["precompiled_charsmap"].as_str().unwrap_or_default();
                let bytes = BASE64
                    .decode(text)
                    .map_err(|e| format!("precompiled_charsmap: {e}"))?;
                Charsmap::parse(&bytes).map(Self::Charsmap)
            }
            // Only where it matters: the library's own sequence keeps the file's exact form.
            "Sequence" if value.to_string().contains("\"Precompiled\"") => {
                let parts = value["normalizers"].as_array().cloned().unwrap_or_default();
                let parts: Result<_, String> = parts.into_iter().map(Self::from_value).collect();
                Ok(Self::Sequence(parts?))
            }
            _ => serde_json::from_value(value)
                .map(Self::Library)
                .map_err(|e| e.to_string()),
        }
    }
}

impl<'de> Deserialize<'de> for Rules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Rules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Library(library) => library.serialize(serializer),
            Self::Charsmap(map) => {
                let text = BASE64.encode(&map.bytes);
                json!({ "type": "Precompiled", "precompiled_charsmap": text }).serialize(serializer)
            }
            Self::Sequence(parts) => {
                let parts: Result<Vec<Value>, _> = parts.iter().map(serde_json::to_value).collect();
                let parts = parts.map_err(serde::ser::Error::custom)?;
                json!({ "type": "Sequence", "normalizers": parts }).serialize(serializer)
            }
        }
    }
}

impl Normalizer for Rules {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        match self {
            Self::Library(library) => library.normalize(text),
            Self::Charsmap(map) => {
                map.apply(text);
                Ok(())
            }
            Self::Sequence(parts) => parts.iter().try_for_each(|part| part.normalize(text)),
        }
    }
}

/// SentencePiece's `precompiled_charsmap`: a double array over UTF-8 bytes, whose values are places in a
/// list of texts, each ended by a zero byte.
#[derive(Clone, Debug)]
pub(crate) struct Charsmap {
    bytes: Vec<u8>,
    units: Vec<u32>,
    texts: String,
}

impl Charsmap {
    /// Reads a map: the array's length in bytes as u32, the array, the texts.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let damaged = || "a damaged character map".to_owned();
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > rest.len() || !length.is_multiple_of(4) || length == 0 {
            return Err(damaged());
        }
        let (array, texts) = rest.split_at(length);
        let units = array
            .chunks_exact(4)
            .map(|unit| u32::from_le_bytes(unit.try_into().expect("4 bytes")))
            .collect();
        let texts = std::str::from_utf8(texts).map_err(|_| damaged())?;
        Ok(Self {
            bytes: bytes.to_vec(),
            units,
            texts: texts.to_owned(),
        })
    }

    /// The longest key that `text` starts with: its length in bytes, and its text.
    fn longest(&self, text: &str) -> Option<(usize, &str)> {
        let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
        let mut at = offset(*self.units.first()?);
        let mut found = None;
        for (i, byte) in text.bytes().enumerate() {
            at ^= usize::from(byte);
            let Some(&unit) = self.units.get(at) else {
                break;
            };
            if byte == 0 || unit & ((1 << 31) | 0xFF) != u32::from(byte) {
                break;
            }
            at ^= offset(unit);
            if unit & (1 << 8) != 0 {
                let value = self.units.get(at).map(|unit| unit & 0x7FFF_FFFF);
                found = value.map(|value| (i + 1, value as usize)).or(found);
            }
        }
        let (length, start) = found?;
        let text = self.texts.get(start..)?;
        Some((length, text.split('\0').next().unwrap_or_default()))
    }

    fn apply(&self, text: &mut NormalizedString) {
        let source = text.get();
        let mut changes: Vec<(char, isize)> = Vec::with_capacity(source.len());
        let mut changed = false;
        // Characters that vanish before any is left.
        let mut vanished = 0;
        let mut at = 0;
        while let Some(first) = source[at..].chars().next() {
            // A key ends where a character does; anything else is a damaged map.
            let found = self
                .longest(&source[at..])
                .filter(|(length, _)| source.is_char_boundary(at + length));
            let Some((length, replacement)) = found else {
                changed |= first == INVALID;
                let shown = if first == INVALID { '\u{FFFD}' } else { first };
                changes.push((shown, 0));
                at += first.len_utf8();
                continue;
            };
            changed = true;
            let old = source[at..at + length].chars().count() as isize;
            let new = replacement.chars().count() as isize;
            for (i, c) in replacement.chars().enumerate() {
                // Positive: a character more than there were.
                changes.push((c, isize::from(i as isize >= old)));
            }
            if old > new {
                match changes.last_mut() {
                    Some((_, change)) => *change -= old - new,
                    None => vanished += (old - new) as usize,
                }
            }
            at += length;
        }
        if changed {
            text.transform(changes, vanished);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_maps_are_errors_and_never_panic() {
        for bytes in [&b""[..], &[8, 0, 0, 0], &[3, 0, 0, 0, 1, 2, 3], &[0; 4]] {
            assert!(Charsmap::parse(bytes).is_err());
        }
        // Arbitrary units lead anywhere.
        let mut bytes = vec![0, 4, 0, 0];
        bytes.extend((0..1024u32).map(|i| (i * 167 + 13) as u8));
        bytes.extend("é\0b\0".bytes());
        let map = Charsmap::parse(&bytes).unwrap();
        for text in ["", "a", "\u{0}", "日本語", "e\u{301}"] {
            map.apply(&mut NormalizedString::from(text));
        }
    }
}
