//! Validation windows: the validation side in order, each token a target once.

use super::conversations::{self, Span};
use super::{Batch, IGNORED, TokenStream};
use crate::DataError;
use crate::dataset::Shared;
use std::sync::Arc;

/// The validation windows of prepared data. Cheap to clone; sharable between threads.
#[derive(Clone, Debug)]
pub struct ValidWindows {
    shared: Arc<Shared>,
    seq_len: usize,
    /// Source and place of each window.
    windows: Vec<(usize, Span)>,
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
            if stream.has_mask() {
                let spans = conversations::spans(stream, stream.len(), stride);
                windows.extend(spans.into_iter().map(|span| (source, span)));
                continue;
            }
            // The stream's first token starts a document and is predicted from nothing.
            let targets = stream.len().saturating_sub(1);
            windows.extend((0..targets.div_ceil(stride)).map(|i| {
                let start = i * stride;
                let tokens = (targets - start).min(stride) as u32 + 1;
                (source, Span { start, tokens })
            }));
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
        let (source, span) = self.windows[i];
        let stream: &TokenStream = &self.shared.valid[source];
        let [inputs, targets, segments] = conversations::read(stream, span, self.seq_len);
        let mut tokens = Vec::with_capacity(span.tokens as usize);
        stream.read(span.start, u64::from(span.tokens), &mut tokens);
        let counted = |i: usize| targets[i] != IGNORED;
        ValidWindow {
            tokens: (0..tokens.len() - 1).filter(|i| counted(*i)).count() as u64,
            bytes: self.shared.text_bytes(&tokens, counted),
            inputs,
            targets,
            segments,
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
