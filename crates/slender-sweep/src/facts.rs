//! What is known of a run from its configuration alone: shape, size, cost, budget, recipe.
//!
//! `sweep.json` keeps these facts, so that a report can describe a run whose directory was lost or
//! never came to be.

use serde::{Deserialize, Serialize};
use slender_config::{Accounting, Config};

/// Facts of one configuration, all resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunFacts {
    /// Distinct blocks.
    pub n_layers: usize,
    /// Residual width.
    pub dim: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key-value heads.
    pub n_kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// `swiglu`, `relu` or `gelu`.
    pub ffn: String,
    /// Feed-forward hidden width.
    pub ffn_hidden: usize,
    /// Whether input and output embeddings are one.
    pub tie_embeddings: bool,
    /// `none`, `immediate`, `repeat-all-over` or `reverse`.
    pub sharing: String,
    /// Executions of each block.
    pub repeats: usize,
    /// Rows of the embedding, if the configuration says them.
    pub vocab_size: Option<usize>,
    /// Parameters and FLOPs, if the vocabulary is known.
    pub accounting: Option<Accounting>,
    /// Tokens per training sequence.
    pub seq_len: usize,
    /// Tokens of one optimizer step.
    pub tokens_per_step: u64,
    /// Budget in optimizer steps.
    pub total_steps: u64,
    /// Peak learning rate.
    pub lr: f64,
    /// Seed.
    pub seed: u64,
    /// Zero-shot tasks asked for after training.
    pub tasks: Vec<String>,
    /// Row of the paper this run reproduces.
    pub paper_row: Option<String>,
}

impl RunFacts {
    /// The facts of a checked configuration.
    pub fn of(config: &Config) -> Self {
        // Without a vocabulary the shape still resolves: nothing but the counts depends on it.
        let vocab = config.data.tokenizer.vocab_size;
        let shape = config.shape_for(vocab.unwrap_or(1)).ok();
        let model = &config.model;
        let shape = shape.as_ref();
        Self {
            n_layers: model.n_layers,
            dim: model.dim,
            n_heads: model.n_heads,
            n_kv_heads: model.n_kv_heads,
            head_dim: shape.map_or(0, |shape| shape.head_dim),
            ffn: serde_name(&model.ffn),
            ffn_hidden: shape.map_or(0, |shape| shape.ffn_hidden),
            tie_embeddings: model.tie_embeddings,
            sharing: serde_name(&model.layer_sharing.kind),
            repeats: shape.map_or(1, |shape| shape.repeats),
            vocab_size: vocab.and(shape.map(|shape| shape.vocab_size)),
            accounting: config.accounting(),
            seq_len: config.train.seq_len(),
            tokens_per_step: config.train.tokens_per_step(),
            total_steps: config.train.total_steps(),
            lr: config.train.lr,
            seed: config.run.seed,
            tasks: config.eval.tasks.clone(),
            paper_row: config.run.paper_row.clone(),
        }
    }

    /// Bytes that move to decode one token with a context of the training length: see
    /// [`Accounting::decode_bytes`].
    pub fn decode_bytes_per_token(&self) -> Option<u64> {
        let kind = serde_json::Value::from(self.sharing.as_str());
        let blocks = (serde_json::from_value(kind).ok()?, self.repeats);
        let (tied, dim) = (self.tie_embeddings, self.dim);
        Some(
            self.accounting?
                .decode_bytes(blocks, tied, dim, self.seq_len),
        )
    }

    /// Whether blocks are executed more than once.
    pub fn is_shared(&self) -> bool {
        self.repeats > 1
    }

    /// `none`, or kind and repeats: `immediate ×2`.
    pub fn sharing_label(&self) -> String {
        if self.is_shared() {
            format!("{} ×{}", self.sharing, self.repeats)
        } else {
            "none".into()
        }
    }
}

/// The name serde gives a unit variant.
fn serde_name(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}
