//! Exact accounting: parameters, FLOPs, cache bytes and training memory of a shape.
//!
//! Conventions, so that numbers can be compared with other papers:
//! - the embedding count holds the input table and, when untied, the output table;
//! - a FLOP is one multiplication or addition; only matrix products count (norms, RoPE, softmax and
//!   activations are under 1 % at these sizes); the embedding look-up costs nothing, the output
//!   projection `2·V·D`;
//! - causal attention counts half of the full score matrix: `2·T·H·Dh` per token and executed layer
//!   for both of its products together;
//! - a shared block counts once in parameters and `repeats` times in FLOPs and cache;
//! - a backward pass costs twice its forward pass.

use crate::model::{FfnKind, SharingKind};
use crate::shape::ModelShape;
use crate::train::Recompute;
use serde::{Deserialize, Serialize};

/// Parameter, compute and memory accounting of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounting {
    /// All parameters.
    pub params_total: u64,
    /// Input embedding and, when untied, output projection.
    pub params_embedding: u64,
    /// `params_total - params_embedding`.
    pub params_non_embedding: u64,
    /// All parameters but RMSNorm weights: what the paper's tables print.
    pub params_without_norms: u64,
    /// Forward and backward FLOPs per training token at the training sequence length.
    pub train_flops_per_token: u64,
    /// Forward FLOPs per token at the training sequence length.
    pub forward_flops_per_token: u64,
    /// Key-value cache per token in bytes at 16 bits a number, one slot per executed layer.
    pub kv_cache_bytes_per_token: u64,
    /// Estimated peak bytes of training: weights, gradients, two AdamW moments and activations of one micro-batch, in f32.
    pub train_memory_bytes: u64,
}

impl Accounting {
    /// Bytes that move to decode one token at 16 bits a number, with `context` tokens in the cache.
    ///
    /// The weights of a block count once where it is executed once or several times in a row (immediate
    /// sharing finds it in the processor's cache), and as often as it is executed in other orders; the
    /// output projection counts whole, of the input embedding one row of `dim` numbers; then the
    /// key-value cache. `blocks` are the order of sharing and the executions of each block.
    pub fn decode_bytes(
        &self,
        blocks: (SharingKind, usize),
        tied: bool,
        dim: usize,
        context: usize,
    ) -> u64 {
        let reads = match blocks.0 {
            SharingKind::None | SharingKind::Immediate => 1,
            SharingKind::RepeatAllOver | SharingKind::Reverse => blocks.1 as u64,
        };
        let table = self.params_embedding / if tied { 1 } else { 2 };
        let weights = reads * self.params_non_embedding + table + dim as u64;
        2 * weights + self.kv_cache_bytes_per_token * context as u64
    }
}

impl ModelShape {
    /// Parameters of one block, without its norm weights.
    fn block_matrix_params(&self) -> u64 {
        let (d, q, kv) = (
            self.dim as u64,
            (self.n_heads * self.head_dim) as u64,
            (self.n_kv_heads * self.head_dim) as u64,
        );
        let attention = d * q + 2 * d * kv + q * d;
        let ffn = self.ffn.n_matrices() as u64 * d * self.ffn_hidden as u64;
        attention + ffn
    }

    /// Norm weights of the whole model.
    fn norm_params(&self) -> u64 {
        let per_head = if self.qk_norm { 2 * self.head_dim } else { 0 };
        (self.n_layers * (2 * self.dim + per_head) + self.dim) as u64
    }

    /// Accounting for training on sequences of `seq_len` tokens, `micro_batch` at a time.
    pub fn accounting(&self, seq_len: usize, micro_batch: usize) -> Accounting {
        self.accounting_with(seq_len, micro_batch, Recompute::None)
    }

    /// As [`Self::accounting`], with activations computed again in the backward pass.
    pub fn accounting_with(
        &self,
        seq_len: usize,
        micro_batch: usize,
        recompute: Recompute,
    ) -> Accounting {
        let table = (self.vocab_size * self.dim) as u64;
        let params_embedding = if self.tie_embeddings {
            table
        } else {
            2 * table
        };
        let blocks = self.n_layers as u64 * self.block_matrix_params();
        let params_without_norms = params_embedding + blocks;
        let params_total = params_without_norms + self.norm_params();

        let executed = self.n_executed_layers() as u64;
        let attention = 2 * (seq_len * self.n_heads * self.head_dim) as u64;
        let forward = executed * (2 * self.block_matrix_params() + attention) + 2 * table;
        Accounting {
            params_total,
            params_embedding,
            params_non_embedding: params_total - params_embedding,
            params_without_norms,
            train_flops_per_token: 3 * forward,
            forward_flops_per_token: forward,
            kv_cache_bytes_per_token: executed * 2 * 2 * (self.n_kv_heads * self.head_dim) as u64,
            train_memory_bytes: 16 * params_total
                + self.activation_bytes(seq_len, micro_batch, recompute),
        }
    }

    /// Activations kept for the backward pass by the fused operations, and temporaries, in bytes.
    ///
    /// Per executed layer and token: the inputs of both halves (`2·D`), rotated queries and keys,
    /// values and the attention output, and the gate and up projections; with `recompute` the
    /// inputs alone. Norm outputs are computed again in any case where the half is one operation,
    /// and kept where it is composed (QK-norm, plain feed-forwards). Attention keeps no scores. The
    /// output keeps one gradient of the table and a chunk of logits. The backward pass of one layer
    /// holds about twice what a layer keeps. Backends without fused operations keep the scores and
    /// the logits as well and need more.
    fn activation_bytes(&self, seq_len: usize, micro_batch: usize, recompute: Recompute) -> u64 {
        let swiglu = self.ffn == FfnKind::Swiglu;
        let heads = 2 * self.n_heads * self.head_dim + 2 * self.n_kv_heads * self.head_dim;
        let attention = heads + if self.qk_norm { heads + self.dim } else { 0 };
        let hidden = 2 * self.ffn_hidden + if swiglu { 0 } else { self.dim };
        let layer = 2 * self.dim + attention + hidden;
        let kept = match recompute {
            Recompute::Block if swiglu && !self.qk_norm => 2 * self.dim,
            _ => layer,
        };
        let per_token = self.n_executed_layers() * kept + 2 * layer + 4 * self.dim;
        let table = self.vocab_size * self.dim;
        let logits = (1 << 23).min(seq_len * micro_batch * self.vocab_size);
        4 * (per_token * seq_len * micro_batch + table + logits) as u64
    }
}

/// `1 run`, `2 runs`.
pub fn plural(number: usize, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        number => format!("{number} {one}s"),
    }
}

/// A count as people write it: `124.6M`, `1.01B`, `512`.
pub fn human_count(count: f64) -> String {
    let scaled = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")];
    match scaled.iter().find(|(unit, _)| count >= 0.9995 * unit) {
        Some((unit, suffix)) => {
            let value = count / unit;
            let digits = if value < 10.0 { 2 } else { 1 };
            format!("{value:.digits$}{suffix}")
        }
        None => format!("{count:.0}"),
    }
}

/// Bytes as people write them: `23.0 kB`, `1.9 GB` (powers of ten).
pub fn human_bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// Seconds as people write them: `42 s`, `7 min`, `3.2 h`, `12.5 days`.
pub fn human_seconds(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5_400.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3_600.0),
        s if s < 3.2e7 => format!("{:.1} days", s / 86_400.0),
        s => format!("{:.1} years", s / 31_557_600.0),
    }
}
