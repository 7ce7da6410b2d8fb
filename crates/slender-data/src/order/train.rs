//! Training sequences at random access.
//!
//! A source's tokens are cut into windows of `T + 1` tokens at stride `T`: each token is a target once an
//! epoch. The last window ends with the last token and overlaps the one before, so that no token is lost.
//! Each epoch of each source has its own permutation of the windows.

use super::conversations::{self, Span};
use super::mixture::Mixture;
use super::permutation::Permutation;
use super::{Batch, Sequence};
use crate::dataset::Shared;
use crate::{DataError, SourceRole};
use std::sync::Arc;

/// The order of training sequences, fixed by the prepared data, the sequence length and a seed. Cheap to
/// clone; sharable between threads.
#[derive(Clone, Debug)]
pub struct TrainOrder {
    shared: Arc<Shared>,
    seq_len: usize,
    seed: u64,
    /// Index of the source in the manifest, usable tokens, windows.
    sources: Vec<Windows>,
    mixture: Mixture,
}

#[derive(Clone, Debug)]
struct Windows {
    source: usize,
    tokens: u64,
    count: u64,
    /// Of conversations.
    spans: Option<Arc<[Span]>>,
}

impl TrainOrder {
    pub(crate) fn new(shared: Arc<Shared>, seq_len: usize, seed: u64) -> Result<Self, DataError> {
        if seq_len == 0 {
            return Err(DataError::config(
                "model.max_seq_len",
                "a sequence has at least one token",
            ));
        }
        let stride = seq_len as u64;
        let mut sources = Vec::new();
        let mut weights = Vec::new();
        for (source, manifest) in shared.manifest.sources.iter().enumerate() {
            if manifest.role == SourceRole::Valid {
                continue;
            }
            let tokens = manifest.train_tokens_used;
            let stream = &shared.train[source];
            let spans = stream
                .has_mask()
                .then(|| Arc::from(conversations::spans(stream, tokens, stride)));
            let none = spans
                .as_ref()
                .is_some_and(|spans: &Arc<[Span]>| spans.is_empty());
            if none || (spans.is_none() && tokens <= stride) {
                return Err(DataError::TooFewTokens {
                    what: format!("the training side of source {}", manifest.name),
                    have: tokens,
                    need: stride + 1,
                    hint: "add text, shorten the sequences, raise data.max_tokens or data.max_bytes, or put \
                           its paths into another source"
                        .into(),
                });
            }
            let count = match &spans {
                Some(spans) => spans.len() as u64,
                None => (tokens - 1).div_ceil(stride),
            };
            sources.push(Windows {
                source,
                tokens,
                count,
                spans,
            });
            weights.push(manifest.weight);
        }
        if sources.is_empty() {
            return Err(DataError::config(
                "data.sources",
                "no source has role \"split\" or \"train\"",
            ));
        }
        let mixture = match weights.iter().copied().collect::<Option<Vec<f64>>>() {
            Some(weights) => Mixture::from_shares(&weights),
            // Without weights an epoch of the mixture is exactly an epoch of each source.
            None => Mixture::new(sources.iter().map(|windows| windows.count).collect()),
        };
        Ok(Self {
            shared,
            seq_len,
            seed,
            sources,
            mixture,
        })
    }

    /// Tokens in a sequence, `T`.
    pub fn seq_len(&self) -> usize {
        self.seq_len
    }

    /// Sequences that go once through every source's windows, were they drawn in proportion.
    pub fn sequences_per_epoch(&self) -> u64 {
        self.sources.iter().map(|windows| windows.count).sum()
    }

    /// Target tokens in [`TrainOrder::sequences_per_epoch`].
    pub fn tokens_per_epoch(&self) -> u64 {
        self.sequences_per_epoch() * self.seq_len as u64
    }

    /// Epochs after `sequences` sequences: a fraction, for logging.
    pub fn epochs(&self, sequences: u64) -> f64 {
        sequences as f64 / self.sequences_per_epoch() as f64
    }

    /// Epochs of each training source after `sequences` sequences, with the source's name.
    pub fn source_epochs(&self, sequences: u64) -> Vec<(&str, f64)> {
        let counts = self.mixture.counts(sequences);
        let one = |(windows, count): (&Windows, u64)| {
            let name = self.shared.manifest.sources[windows.source].name.as_str();
            (name, count as f64 / windows.count as f64)
        };
        self.sources.iter().zip(counts).map(one).collect()
    }

    /// The sequence at `index`, counted from the start of the run.
    pub fn sequence(&self, index: u64) -> Sequence {
        let (windows, nth, epoch) = self.window(index);
        let len = self.seq_len;
        let stream = &self.shared.train[windows.source];
        if let Some(spans) = &windows.spans {
            let [inputs, targets, segments] = conversations::read(stream, spans[nth as usize], len);
            return Sequence {
                inputs,
                targets,
                segments,
                source: windows.source,
                epoch,
            };
        }
        let stride = len as u64;
        let start = (nth * stride).min(windows.tokens - stride - 1);
        let mut tokens = Vec::with_capacity(len + 1);
        stream.read(start, len as u64 + 1, &mut tokens);
        let mut segments = Vec::with_capacity(len);
        stream.segments(start, len as u64, &mut segments);
        let targets = tokens[1..].to_vec();
        tokens.truncate(len);
        Sequence {
            inputs: tokens,
            targets,
            segments,
            source: windows.source,
            epoch,
        }
    }

    /// The batch of a step: sequences `step * batch_size` and on.
    pub fn batch(&self, step: u64, batch_size: usize) -> Batch {
        self.sequences(step * batch_size as u64, batch_size)
    }

    /// `count` sequences from `first` on, as a batch. For micro-batches of a step.
    pub fn sequences(&self, first: u64, count: usize) -> Batch {
        let mut batch = Batch::with_capacity(count, self.seq_len);
        for index in first..first + count as u64 {
            let sequence = self.sequence(index);
            batch.push(&sequence.inputs, &sequence.targets, &sequence.segments);
        }
        batch
    }

    /// Source, number of the window and epoch of a sequence.
    fn window(&self, index: u64) -> (&Windows, u64, u64) {
        let (slot, nth) = self.mixture.locate(index);
        let windows = &self.sources[slot];
        let (epoch, within) = (nth / windows.count, nth % windows.count);
        let order = Permutation::new(windows.count, self.seed, windows.source as u64, epoch);
        (windows, order.apply(within), epoch)
    }
}
