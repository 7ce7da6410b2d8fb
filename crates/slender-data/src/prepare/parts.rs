//! Parts: the unit of progress that survives a kill.
//!
//! A source's documents are tokenized in stream order and cut into parts, each a run of documents that gives
//! at most one training and one validation shard. A part counts once its record, `s00-p00000.json`, is in
//! place, which is written after its shards are. The record says where in the source the next part starts.

use super::manifest::ShardManifest;
use crate::shard::Shard;
use crate::{DataError, fsio};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const PART_FORMAT: &str = "slender-data-part/1";

/// A place between two documents of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Index of the input file.
    pub input: usize,
    /// Documents of that file before this place.
    pub document: u64,
}

/// Record of a finished part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    pub format: String,
    pub tokenizer_hash: String,
    pub start: Position,
    pub end: Position,
    /// Whether the source ends here.
    pub last: bool,
    pub empty_documents: u64,
    pub train: Option<ShardManifest>,
    pub valid: Option<ShardManifest>,
}

impl Part {
    pub fn new(tokenizer_hash: &str, start: Position) -> Self {
        Self {
            format: PART_FORMAT.into(),
            tokenizer_hash: tokenizer_hash.into(),
            start,
            end: start,
            last: false,
            empty_documents: 0,
            train: None,
            valid: None,
        }
    }

    fn record(dir: &Path, source: usize, part: usize) -> PathBuf {
        dir.join(format!("s{source:02}-p{part:05}.json"))
    }

    /// File name of a shard.
    pub fn shard_name(source: usize, part: usize, split: &str) -> String {
        format!("s{source:02}-p{part:05}-{split}.bin")
    }

    /// Marks the part as finished.
    pub fn save(&self, dir: &Path, source: usize, part: usize) -> Result<(), DataError> {
        fsio::write_atomic(&Self::record(dir, source, part), &fsio::to_json(self))
    }

    pub fn shards(&self) -> impl Iterator<Item = &ShardManifest> {
        self.train.iter().chain(&self.valid)
    }

    /// Bytes of text.
    pub fn bytes(&self) -> u64 {
        self.shards().map(|shard| shard.bytes).sum()
    }

    /// Tokens on the training side.
    pub fn train_tokens(&self) -> u64 {
        self.train.as_ref().map_or(0, |shard| shard.tokens)
    }

    /// Tokens on both sides.
    pub fn tokens(&self) -> u64 {
        self.train_tokens() + self.valid.as_ref().map_or(0, |shard| shard.tokens)
    }
}

/// The finished parts of a source, from the first, each with whole shards. The first part that is missing,
/// damaged or made otherwise ends the list; it and later ones are made again.
pub(super) fn finished(dir: &Path, source: usize, tokenizer_hash: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    loop {
        let path = Part::record(dir, source, parts.len());
        if !path.exists() {
            return parts;
        }
        let expected = parts.last().map_or_else(Position::default, |part| part.end);
        match fsio::read_json::<Part>(&path) {
            Ok(part)
                if part.format == PART_FORMAT
                    && part.tokenizer_hash == tokenizer_hash
                    && part.start == expected
                    && !parts.last().is_some_and(|part| part.last) =>
            {
                let check = part
                    .shards()
                    .try_for_each(|shard| open_shard(dir, shard).and_then(|s| s.verify()));
                if let Err(error) = check {
                    eprintln!(
                        "note: preparing again from part {} of source {source}: {error}",
                        parts.len()
                    );
                    return parts;
                }
                parts.push(part);
            }
            _ => return parts,
        }
    }
}

/// Maps a shard and compares its header with the manifest's entry.
pub(crate) fn open_shard(dir: &Path, expected: &ShardManifest) -> Result<Shard, DataError> {
    let path = dir.join(&expected.file);
    let shard = Shard::open(&path)?;
    let header = shard.header();
    let hash = blake3::Hash::from_bytes(header.hash).to_hex();
    if (header.tokens, header.documents) != (expected.tokens, expected.documents)
        || *hash != *expected.hash
    {
        return Err(DataError::corrupt(
            &path,
            "its header is not the one the manifest describes",
        ));
    }
    Ok(shard)
}
