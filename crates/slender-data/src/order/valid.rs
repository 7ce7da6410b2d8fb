//! Validation windows: the validation side in order, each token a target once.

use super::{Batch, TokenStream};
use crate::DataError;
use crate::dataset::Shared;
use std::sync::Arc;

/// Target that the loss ignores.
const IGNORED: i32 = -1;

/// The validation windows of prepared data. Cheap to clone; sharable between threads.
#[derive(Clone, Debug)]
pub struct ValidWindows {
    shared: Arc<Shared>,
    seq_len: usize,
    /// Source and first token of each window.
    windows: Vec<(usize, u64)>,
    tokens: u64,
    bytes: u64,
}

/// One validation window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidWindow {
    /// Token ids, `[T]`, padded with 0.
    pub inputs: Vec<i32>,
    /// The token after each input, `[T]`, padded with -1, which the loss ignores.
    pub targets: Vec<i32>,
    /// Number of the document within the window, `[T]`.
    pub segments: Vec<i32>,
    /// Targets that count.
    pub tokens: u64,
    /// Bytes of text that the targets stand for.
    pub bytes: u64,
}

impl ValidWindows {
    pub(crate) fn new(
        shared: Arc<Shared>,
        seq_len: usize,
        max_tokens: u64,
    ) -> Result<Self, DataError> {
        if seq_len == 0 {
            return Err(DataError::config(
                "model.max_seq_len",
                "a sequence has at least one token",
            ));
        }
        let stride = seq_len as u64;
        let mut windows = Vec::new();
        for (source, stream) in shared.valid.iter().enumerate() {
            // The stream's first token starts a document and is predicted from nothing.
            let targets = stream.len().saturating_sub(1);
            windows.extend((0..targets.div_ceil(stride)).map(|i| (source, i * stride)));
        }
        if windows.is_empty() {
            return Err(DataError::TooFewTokens {
                what: "the validation set".into(),
                have: shared.manifest.valid_tokens(),
                need: 2,
                hint: "raise data.valid_fraction, divide the text into more documents, or add a source with \
                       role = \"valid\""
                    .into(),
            });
        }
        let wanted = (max_tokens / stride).max(1) as usize;
        if max_tokens > 0 && wanted < windows.len() {
            // Windows from all over the set: its first documents alone would stand for one source.
            let all = windows.len();
            windows = (0..wanted).map(|i| windows[i * all / wanted]).collect();
        }
        let mut result = Self {
            shared,
            seq_len,
            windows,
            tokens: 0,
            bytes: 0,
        };
        for i in 0..result.windows.len() {
            let window = result.window(i);
            result.tokens += window.tokens;
            result.bytes += window.bytes;
        }
        Ok(result)
    }

    /// Number of windows.
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Whether there is none, which is never so: too little text is an error of
    /// [`Dataset::valid_windows`](crate::Dataset::valid_windows).
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Tokens in a window, `T`.
    pub fn seq_len(&self) -> usize {
        self.seq_len
    }

    /// Targets that count, over all windows.
    pub fn total_tokens(&self) -> u64 {
        self.tokens
    }

    /// Bytes of text that the targets stand for, over all windows: bits per byte is the summed loss in nats
    /// divided by this and by ln 2.
    pub fn total_bytes(&self) -> u64 {
        self.bytes
    }

    /// Window `i`, which must be below [`ValidWindows::len`].
    pub fn window(&self, i: usize) -> ValidWindow {
        let (source, start) = self.windows[i];
        let stream: &TokenStream = &self.shared.valid[source];
        let len = self.seq_len;
        let count = (stream.len() - 1 - start).min(len as u64);
        let mut tokens = Vec::with_capacity(len + 1);
        stream.read(start, count + 1, &mut tokens);
        let mut segments = Vec::with_capacity(len);
        stream.segments(start, count, &mut segments);
        let bytes = self.shared.text_bytes(&tokens);
        let mut targets = tokens[1..].to_vec();
        tokens.truncate(count as usize);
        tokens.resize(len, 0);
        targets.resize(len, IGNORED);
        segments.resize(len, segments.last().copied().unwrap_or_default());
        ValidWindow {
            inputs: tokens,
            targets,
            segments,
            tokens: count,
            bytes,
        }
    }

    /// Windows `first..first + count`, fewer at the end, as a batch.
    pub fn batch(&self, first: usize, count: usize) -> Batch {
        let mut batch = Batch::with_capacity(count, self.seq_len);
        for i in first..(first + count).min(self.len()) {
            let window = self.window(i);
            batch.push(&window.inputs, &window.targets, &window.segments);
        }
        batch
    }

    /// All windows in batches of up to `batch_size` rows.
    pub fn batches(&self, batch_size: usize) -> impl Iterator<Item = Batch> + '_ {
        (0..self.len())
            .step_by(batch_size.max(1))
            .map(move |first| self.batch(first, batch_size.max(1)))
    }
}
