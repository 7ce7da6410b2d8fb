//! The tokens of one side of a source, as one sequence over its shards.

use super::IGNORED;
use crate::DataError;
use crate::prepare::{SplitManifest, open_shard};
use crate::shard::Shard;
use std::path::Path;

/// Concatenated shards.
#[derive(Debug)]
pub(crate) struct TokenStream {
    shards: Vec<Shard>,
    /// Position of each shard's first token, and the end.
    bounds: Vec<u64>,
}

impl TokenStream {
    /// Maps the shards of a prepared folder.
    pub fn open(dir: &Path, split: &SplitManifest) -> Result<Self, DataError> {
        let mut bounds = vec![0];
        let mut shards = Vec::with_capacity(split.shards.len());
        for entry in &split.shards {
            let shard = open_shard(dir, entry)?;
            bounds.push(bounds[bounds.len() - 1] + shard.tokens());
            shards.push(shard);
        }
        Ok(Self { shards, bounds })
    }

    /// Number of tokens.
    pub fn len(&self) -> u64 {
        self.bounds[self.bounds.len() - 1]
    }

    /// Appends tokens `start..start + len`, which must lie in the stream.
    pub fn read(&self, start: u64, len: u64, out: &mut Vec<i32>) {
        debug_assert!(start + len <= self.len());
        let (mut at, end) = (start, start + len);
        let mut shard = self.bounds.partition_point(|bound| *bound <= start) - 1;
        while at < end {
            let stop = end.min(self.bounds[shard + 1]);
            self.shards[shard].read(at - self.bounds[shard], stop - at, out);
            at = stop;
            shard += 1;
        }
    }

    /// Whether some tokens are not counted by the loss: the stream is of conversations.
    pub fn has_mask(&self) -> bool {
        self.shards.iter().any(Shard::has_mask)
    }

    /// Whether the loss counts a token.
    pub fn is_counted(&self, token: u64) -> bool {
        let shard = self.bounds.partition_point(|bound| *bound <= token) - 1;
        self.shards[shard].is_counted(token - self.bounds[shard])
    }

    /// Replaces targets that the loss does not count by [`IGNORED`]; the first is token `start + 1`.
    pub fn mask_targets(&self, start: u64, targets: &mut [i32]) {
        if self.has_mask() {
            for (i, target) in targets.iter_mut().enumerate() {
                if !self.is_counted(start + 1 + i as u64) {
                    *target = IGNORED;
                }
            }
        }
    }

    /// First token of every document.
    pub fn document_starts(&self) -> impl Iterator<Item = u64> + '_ {
        let shards = self.shards.iter().zip(&self.bounds);
        shards.flat_map(|(shard, base)| shard.document_starts().iter().map(move |s| base + s))
    }

    /// Appends, for each token of `start..start + len`, how many documents began in the range after its first
    /// token: 0 up to the first boundary, then 1, and so on.
    pub fn segments(&self, start: u64, len: u64, out: &mut Vec<i32>) {
        let begin = out.len();
        let end = start + len;
        let mut segment = 0;
        let first = self
            .bounds
            .partition_point(|bound| *bound <= start)
            .saturating_sub(1);
        for (shard, base) in self.shards.iter().zip(&self.bounds).skip(first) {
            if *base >= end {
                break;
            }
            let starts = shard.document_starts();
            let from = starts.partition_point(|s| base + s <= start);
            for document in starts[from..]
                .iter()
                .map(|s| base + s)
                .take_while(|s| *s < end)
            {
                out.resize(begin + (document - start) as usize, segment);
                segment += 1;
            }
        }
        out.resize(begin + len as usize, segment);
    }

    /// Compares every shard's content with its hash.
    pub fn verify(&self) -> Result<(), DataError> {
        self.shards.iter().try_for_each(Shard::verify)
    }
}
