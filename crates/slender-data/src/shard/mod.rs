//! Shards: files of token ids that are mapped, not read.
//!
//! Layout, little-endian:
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | magic `SLNDSHRD` |
//! | 8..12 | version, u32: 1, or 2 where a mask follows |
//! | 12..16 | bytes per token, u32: 2 or 4 |
//! | 16..24 | number of tokens, u64 |
//! | 24..32 | number of documents, u64 |
//! | 32..64 | BLAKE3 of everything after the header |
//! | 64.. | tokens, padded with zeros to a multiple of 8 bytes |
//! | then | one u64 a document: index of its first token in this shard |
//! | version 2 | a mask in u64 words: bit `i % 64` of word `i / 64` is set if the loss counts token `i` |
//!
//! A document never crosses a shard. The file's length follows from the header, so that a truncated file is
//! found on opening; a flipped bit is found by [`Shard::verify`].

mod reader;
mod writer;

pub(crate) use reader::Shard;
pub(crate) use writer::ShardWriter;

use crate::DataError;
use serde::{Deserialize, Serialize};
use std::path::Path;

#[cfg(target_endian = "big")]
compile_error!("shards are mapped as little-endian arrays");

const MAGIC: &[u8; 8] = b"SLNDSHRD";
/// Every token is counted by the loss.
const PLAIN: u32 = 1;
/// A mask says which tokens are.
const MASKED: u32 = 2;
pub(crate) const HEADER_BYTES: usize = 64;

/// Width of a stored token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenType {
    /// Two bytes: vocabularies up to 65,536.
    U16,
    /// Four bytes.
    U32,
}

impl TokenType {
    /// The narrowest type for a vocabulary.
    pub fn for_vocab(vocab_size: usize) -> Self {
        if vocab_size <= 1 << 16 {
            Self::U16
        } else {
            Self::U32
        }
    }

    /// Bytes per token.
    pub fn bytes(self) -> usize {
        match self {
            Self::U16 => 2,
            Self::U32 => 4,
        }
    }
}

/// The fixed part of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub token_type: TokenType,
    pub tokens: u64,
    pub documents: u64,
    pub mask: bool,
    pub hash: [u8; 32],
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..8].copy_from_slice(MAGIC);
        let version = if self.mask { MASKED } else { PLAIN };
        out[8..12].copy_from_slice(&version.to_le_bytes());
        out[12..16].copy_from_slice(&(self.token_type.bytes() as u32).to_le_bytes());
        out[16..24].copy_from_slice(&self.tokens.to_le_bytes());
        out[24..32].copy_from_slice(&self.documents.to_le_bytes());
        out[32..64].copy_from_slice(&self.hash);
        out
    }

    fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, DataError> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(DataError::corrupt(
                path,
                format!("{} bytes are too few for a header", bytes.len()),
            ));
        };
        if &bytes[0..8] != MAGIC {
            return Err(DataError::corrupt(
                path,
                "it does not start as a shard does",
            ));
        }
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        if !matches!(u32_at(8), PLAIN | MASKED) {
            return Err(DataError::Version {
                path: path.to_path_buf(),
                found: format!("shard version {}", u32_at(8)),
                expected: format!("shard version {PLAIN} or {MASKED}"),
            });
        }
        let token_type = match u32_at(12) {
            2 => TokenType::U16,
            4 => TokenType::U32,
            other => return Err(DataError::corrupt(path, format!("{other} bytes per token"))),
        };
        let hash = bytes[32..64].try_into().expect("32 bytes");
        Ok(Self {
            token_type,
            tokens: u64_at(16),
            documents: u64_at(24),
            mask: u32_at(8) == MASKED,
            hash,
        })
    }

    /// Bytes of tokens with padding; `None` for a header that overflows.
    fn token_bytes(&self) -> Option<u64> {
        self.tokens
            .checked_mul(self.token_type.bytes() as u64)?
            .checked_next_multiple_of(8)
    }

    /// Bytes of the mask.
    fn mask_bytes(&self) -> u64 {
        if self.mask {
            self.tokens.div_ceil(64) * 8
        } else {
            0
        }
    }

    /// Length of the whole file; `None` for a header that overflows.
    fn file_bytes(&self) -> Option<u64> {
        self.token_bytes()?
            .checked_add(self.documents.checked_mul(8)?)?
            .checked_add(self.mask_bytes())?
            .checked_add(HEADER_BYTES as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// With a mask that counts even tokens, if `mask`.
    fn write(path: &Path, token_type: TokenType, documents: &[Vec<u32>], mask: bool) -> Header {
        let mut writer = ShardWriter::create(path, token_type, mask).unwrap();
        for document in documents {
            let counted: Vec<bool> = document.iter().map(|token| token % 2 == 0).collect();
            writer.push(document, mask.then_some(&counted)).unwrap();
        }
        writer.finish().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn round_trip(documents in prop::collection::vec(prop::collection::vec(0u32..65_536, 1..20), 0..20), wide: bool, mask: bool) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("s.bin");
            let token_type = if wide { TokenType::U32 } else { TokenType::U16 };
            let header = write(&path, token_type, &documents, mask);
            let shard = Shard::open(&path).unwrap();
            shard.verify().unwrap();
            prop_assert_eq!(shard.header(), header);
            let mut tokens = Vec::new();
            shard.read(0, shard.tokens(), &mut tokens);
            let expected: Vec<i32> = documents.concat().into_iter().map(|t| t as i32).collect();
            prop_assert_eq!(&tokens, &expected);
            let starts: Vec<u64> = documents.iter().scan(0, |at, d| { *at += d.len() as u64; Some(*at - d.len() as u64) }).collect();
            prop_assert_eq!(shard.document_starts(), &starts[..]);
            prop_assert_eq!(shard.has_mask(), mask);
            for (i, token) in expected.iter().enumerate() {
                prop_assert_eq!(shard.is_counted(i as u64), !mask || token % 2 == 0);
            }
        }
    }

    #[test]
    fn damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.bin");
        write(&path, TokenType::U16, &[vec![1, 2, 3], vec![4]], false);
        let good = std::fs::read(&path).unwrap();
        let open = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Shard::open(&path)
                .and_then(|shard| shard.verify())
                .unwrap_err()
                .to_string()
        };
        assert!(open(&good[..good.len() - 1]).contains("bytes"));
        assert!(open(&good[..10]).contains("too few"));
        assert!(open(&[]).contains("too few"));
        let change = |at: usize, to: u8| {
            let mut bytes = good.clone();
            bytes[at] = to;
            bytes
        };
        assert!(open(&change(0, b'X')).contains("does not start"));
        assert!(open(&change(8, 3)).contains("version 3"));
        // A mask that is not there.
        assert!(open(&change(8, 2)).contains("bytes"));
        assert!(open(&change(12, 3)).contains("3 bytes per token"));
        assert!(open(&change(23, 255)).contains("damaged"));
        assert!(open(&change(66, 9)).contains("hash"));
        assert!(open(&change(good.len() - 8, 200)).contains("damaged"));
    }
}
