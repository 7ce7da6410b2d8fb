//! Prepared data, opened for training.

use crate::order::{TokenStream, TrainOrder, ValidWindows};
use crate::prepare::TOKENIZER_FILE;
use crate::{DataError, Manifest, Tokenizer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A prepared folder, mapped. Cheap to clone; sharable between threads.
#[derive(Clone, Debug)]
pub struct Dataset {
    shared: Arc<Shared>,
}

/// What all orders of a dataset share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub dir: PathBuf,
    pub manifest: Manifest,
    pub tokenizer: Tokenizer,
    /// Training side of each source.
    pub train: Vec<TokenStream>,
    /// Validation side of each source.
    pub valid: Vec<TokenStream>,
}

impl Shared {
    /// Bytes of text of the tokens after the first, which is context, as far as `counted` says so of the
    /// target's number. The first token of a document has no
    /// bytes for a space that only the tokenizer put there.
    pub fn text_bytes(&self, tokens: &[i32], counted: impl Fn(usize) -> bool) -> u64 {
        let start = self.manifest.document_start_id.map(|id| id as i32);
        let prefix = self.tokenizer.prefix_bytes();
        let bytes = |pair: &[i32]| {
            let bytes = self.tokenizer.token_bytes(pair[1] as u32);
            let extra = if Some(pair[0]) == start && Some(pair[1]) != start {
                prefix
            } else {
                0
            };
            bytes.saturating_sub(extra) as u64
        };
        let pairs = tokens.windows(2).enumerate();
        pairs
            .filter(|(i, _)| counted(*i))
            .map(|(_, pair)| bytes(pair))
            .sum()
    }
}

impl Dataset {
    /// Opens a prepared folder ([`Prepared::dir`](crate::Prepared)). Headers and sizes are checked, contents
    /// by [`Dataset::verify`] only.
    ///
    /// # Errors
    /// [`DataError::NotPrepared`], [`DataError::Version`], [`DataError::Corrupt`], [`DataError::Io`].
    pub fn open(dir: &Path) -> Result<Self, DataError> {
        let manifest = Manifest::read(dir)?;
        let path = dir.join(TOKENIZER_FILE);
        let tokenizer = Tokenizer::from_file(&path)?.with_special(manifest.bos_id, manifest.eos_id);
        if tokenizer.hash() != manifest.tokenizer_hash {
            return Err(DataError::corrupt(
                &path,
                "it is not the tokenizer that the manifest names",
            ));
        }
        let mut train = Vec::with_capacity(manifest.sources.len());
        let mut valid = Vec::with_capacity(manifest.sources.len());
        for source in &manifest.sources {
            train.push(TokenStream::open(dir, &source.train)?);
            valid.push(TokenStream::open(dir, &source.valid)?);
            if train[train.len() - 1].len() < source.train_tokens_used {
                let path = dir.join(crate::prepare::MANIFEST_FILE);
                return Err(DataError::corrupt(
                    &path,
                    "it uses more training tokens than its shards have",
                ));
            }
        }
        let dir = dir.to_path_buf();
        Ok(Self {
            shared: Arc::new(Shared {
                dir,
                manifest,
                tokenizer,
                train,
                valid,
            }),
        })
    }

    /// Folder it was opened from.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// What is in the folder.
    pub fn manifest(&self) -> &Manifest {
        &self.shared.manifest
    }

    /// The tokenizer that made the tokens.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.shared.tokenizer
    }

    /// The order of training sequences of `seq_len` tokens under a seed.
    ///
    /// # Errors
    /// [`DataError::TooFewTokens`] if a training source is shorter than one sequence.
    pub fn train(&self, seq_len: usize, order_seed: u64) -> Result<TrainOrder, DataError> {
        TrainOrder::new(self.shared.clone(), seq_len, order_seed)
    }

    /// Validation windows of `seq_len` tokens. `max_tokens` (0: all) limits the targets: evenly spread windows
    /// are kept, at least one.
    ///
    /// # Errors
    /// [`DataError::TooFewTokens`] if there is no validation text.
    pub fn valid_windows(
        &self,
        seq_len: usize,
        max_tokens: u64,
    ) -> Result<ValidWindows, DataError> {
        ValidWindows::new(self.shared.clone(), seq_len, max_tokens)
    }

    /// Reads every shard and compares it with its hash.
    ///
    /// # Errors
    /// [`DataError::Corrupt`] naming the first damaged file.
    pub fn verify(&self) -> Result<(), DataError> {
        let streams = self.shared.train.iter().chain(&self.shared.valid);
        streams.into_iter().try_for_each(TokenStream::verify)
    }
}
