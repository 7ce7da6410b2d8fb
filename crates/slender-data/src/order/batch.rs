//! What the trainer gets.

/// One packed training sequence of `T` tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Token ids, `[T]`.
    pub inputs: Vec<i32>,
    /// The token after each input, `[T]`; -1 where there is none and the loss is to ignore it.
    pub targets: Vec<i32>,
    /// Number of the document within the sequence, from 0, `[T]`. Attention under `document_mask` stays
    /// within equal numbers.
    pub segments: Vec<i32>,
    /// Index of the source.
    pub source: usize,
    /// How often the source was gone through before.
    pub epoch: u64,
}

/// Sequences of equal length, one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Token ids, `[B * T]`, row by row.
    pub inputs: Vec<i32>,
    /// The token after each input, `[B * T]`; -1 where the loss is to ignore it.
    pub targets: Vec<i32>,
    /// Number of the document within its row, from 0, `[B * T]`.
    pub segments: Vec<i32>,
    /// Rows, `B`.
    pub batch_size: usize,
    /// Tokens in a row, `T`.
    pub seq_len: usize,
}

impl Batch {
    /// An empty batch with room for `rows`.
    pub(crate) fn with_capacity(rows: usize, seq_len: usize) -> Self {
        let room = || Vec::with_capacity(rows * seq_len);
        Self {
            inputs: room(),
            targets: room(),
            segments: room(),
            batch_size: 0,
            seq_len,
        }
    }

    /// Appends a row of `seq_len` tokens.
    pub(crate) fn push(&mut self, inputs: &[i32], targets: &[i32], segments: &[i32]) {
        self.inputs.extend_from_slice(inputs);
        self.targets.extend_from_slice(targets);
        self.segments.extend_from_slice(segments);
        self.batch_size += 1;
    }
}
