//! `manifest.json`: what a prepared folder holds.
//!
//! Written last, so a folder with a manifest is whole. Everything that batches depend on is in here or in
//! files whose hashes are in here; [`Manifest::hash`] therefore names the training data exactly.

use crate::shard::TokenType;
use crate::{DataError, SourceRole, fsio};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// Format name and version.
pub const MANIFEST_FORMAT: &str = "slender-data/1";
/// File name in a prepared folder.
pub const MANIFEST_FILE: &str = "manifest.json";
/// File name of the tokenizer in a prepared folder.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// Description of a prepared folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// `slender-data/1`.
    pub format: String,
    /// BLAKE3 in hex of `spec`.
    pub spec_hash: String,
    /// What the data was made from and how.
    pub spec: Value,
    /// Hash of the tokenizer, as [`crate::Tokenizer::hash`].
    pub tokenizer_hash: String,
    /// One more than the largest token id.
    pub vocab_size: usize,
    /// Begin-of-sequence token.
    pub bos_id: Option<u32>,
    /// End-of-sequence token.
    pub eos_id: Option<u32>,
    /// Token that starts each document.
    pub document_start_id: Option<u32>,
    /// Width of stored tokens.
    pub token_type: TokenType,
    /// Sources, in the order of the configuration.
    pub sources: Vec<SourceManifest>,
}

/// A prepared source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceManifest {
    /// Name, such as `hub HuggingFaceFW/fineweb-edu`.
    pub name: String,
    /// Side of the split.
    pub role: SourceRole,
    /// Weight in the mixture, as configured.
    pub weight: Option<f64>,
    /// Files it was read from, in order, with content hashes where they are known.
    pub inputs: Vec<InputManifest>,
    /// Training side.
    pub train: SplitManifest,
    /// Validation side.
    pub valid: SplitManifest,
    /// Training tokens that batches use, from the start: fewer than `train.tokens` under `max_tokens`.
    pub train_tokens_used: u64,
    /// Documents without text, left out.
    pub empty_documents: u64,
}

/// A file that a source was read from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputManifest {
    /// Path, or repository and path.
    pub name: String,
    /// Size in bytes as stored.
    pub size: u64,
    /// BLAKE3 in hex of the stored bytes, for local files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

/// One side of a source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SplitManifest {
    /// Tokens, document starts included.
    pub tokens: u64,
    /// Documents.
    pub documents: u64,
    /// Bytes of UTF-8 text.
    pub bytes: u64,
    /// Shards, in order.
    pub shards: Vec<ShardManifest>,
}

/// One shard file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardManifest {
    /// File name in the folder.
    pub file: String,
    /// Tokens.
    pub tokens: u64,
    /// Documents.
    pub documents: u64,
    /// Bytes of UTF-8 text.
    pub bytes: u64,
    /// BLAKE3 in hex of everything after the header.
    pub hash: String,
}

impl SplitManifest {
    pub(crate) fn push(&mut self, shard: ShardManifest) {
        self.tokens += shard.tokens;
        self.documents += shard.documents;
        self.bytes += shard.bytes;
        self.shards.push(shard);
    }
}

impl Manifest {
    /// Reads the manifest of a prepared folder.
    ///
    /// # Errors
    /// [`DataError::NotPrepared`], [`DataError::Version`], [`DataError::Corrupt`], [`DataError::Io`].
    pub fn read(dir: &Path) -> Result<Self, DataError> {
        let path = dir.join(MANIFEST_FILE);
        if !path.exists() {
            return Err(DataError::NotPrepared {
                path: dir.to_path_buf(),
            });
        }
        let value: Value = fsio::read_json(&path)?;
        let found = value["format"].as_str().unwrap_or_default();
        if found != MANIFEST_FORMAT {
            let (found, expected) = (found.to_string(), MANIFEST_FORMAT.to_string());
            return Err(DataError::Version {
                path,
                found,
                expected,
            });
        }
        serde_json::from_value(value).map_err(|e| DataError::corrupt(&path, e.to_string()))
    }

    /// BLAKE3 in hex of the manifest: names the prepared data exactly.
    pub fn hash(&self) -> String {
        blake3::hash(&fsio::to_json(self)).to_hex().to_string()
    }

    /// Training tokens over all sources, before `max_tokens`.
    pub fn train_tokens(&self) -> u64 {
        self.sources.iter().map(|source| source.train.tokens).sum()
    }

    /// Validation tokens over all sources.
    pub fn valid_tokens(&self) -> u64 {
        self.sources.iter().map(|source| source.valid.tokens).sum()
    }
}
