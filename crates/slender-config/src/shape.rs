//! [`ModelShape`]: a model whose numbers fit together, with everything resolved.
//!
//! `[model]` as written may contradict itself; a `ModelShape` cannot. It also knows the vocabulary,
//! which comes from the tokenizer, so it is what the accounting and the model builder take.

use crate::model::{FfnKind, ModelConfig, SharingKind};
use serde::{Deserialize, Serialize};

/// A checked, fully resolved decoder shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelShape {
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
    /// Feed-forward kind.
    pub ffn: FfnKind,
    /// Feed-forward hidden width.
    pub ffn_hidden: usize,
    /// Rows of the embedding, padding included.
    pub vocab_size: usize,
    /// Longest sequence.
    pub max_seq_len: usize,
    /// RoPE base.
    pub rope_theta: f64,
    /// RMSNorm epsilon.
    pub norm_eps: f64,
    /// Standard deviation of the initial weights.
    pub init_std: f64,
    /// RMSNorm on queries and keys.
    pub qk_norm: bool,
    /// Output projection is the input embedding.
    pub tie_embeddings: bool,
    /// Order of execution of shared blocks.
    pub sharing: SharingKind,
    /// Executions of each block.
    pub repeats: usize,
}

/// A contradiction in `[model]`: the key below `model`, what is wrong, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeProblem {
    /// Key inside `[model]`.
    pub key: &'static str,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub hint: String,
}

impl ModelShape {
    /// Checks `[model]` for a tokenizer of `tokenizer_vocab` tokens.
    ///
    /// # Errors
    /// Every contradiction found.
    pub fn resolve(
        config: &ModelConfig,
        tokenizer_vocab: usize,
    ) -> Result<Self, Vec<ShapeProblem>> {
        let mut problems = Vec::new();
        let mut wrong = |key, message: String, hint: String| {
            problems.push(ShapeProblem { key, message, hint });
        };
        for (key, value) in [
            ("n_layers", config.n_layers),
            ("dim", config.dim),
            ("n_heads", config.n_heads),
            ("n_kv_heads", config.n_kv_heads),
            ("max_seq_len", config.max_seq_len),
            ("pad_vocab_multiple", config.pad_vocab_multiple),
            ("head_dim", config.head_dim.unwrap_or(1)),
            ("ffn_hidden", config.ffn_hidden.unwrap_or(1)),
        ] {
            if value == 0 {
                wrong(
                    key,
                    "must be at least 1".into(),
                    "give a positive number".into(),
                );
            } else if value > 1 << 24 {
                wrong(
                    key,
                    format!("{value} is beyond any model this program can build"),
                    "check for a typing slip".into(),
                );
            }
        }
        for (key, value, zero_ok) in [
            ("rope_theta", config.rope_theta, false),
            ("norm_eps", config.norm_eps, false),
            ("init_std", config.init_std, true),
        ] {
            if !value.is_finite() || value < 0.0 || (value == 0.0 && !zero_ok) {
                wrong(
                    key,
                    format!("{value} is not a usable value"),
                    "give a positive finite number".into(),
                );
            }
        }
        let (heads, kv) = (config.n_heads.max(1), config.n_kv_heads.max(1));
        if config.n_heads > 0 && !heads.is_multiple_of(kv) {
            let valid = divisors(heads);
            wrong(
                "n_kv_heads",
                format!("{kv} key-value heads do not divide {heads} query heads"),
                format!(
                    "each key-value head serves an equal group of query heads; use one of {valid}"
                ),
            );
        }
        let uneven = config.head_dim.is_none() && !config.dim.is_multiple_of(heads);
        if uneven {
            wrong(
                "n_heads",
                format!("dim {} is not divisible by {heads} heads", config.dim),
                format!(
                    "use a divisor of dim ({}) or give head_dim",
                    divisors(config.dim)
                ),
            );
        }
        let head_dim = config.head_dim.unwrap_or(config.dim / heads);
        // Zeros and an uneven division have been reported above.
        if !uneven && head_dim % 2 == 1 {
            wrong(
                if config.head_dim.is_some() {
                    "head_dim"
                } else {
                    "n_heads"
                },
                format!("head_dim is {head_dim}, but RoPE rotates pairs and needs an even number"),
                "choose heads so that dim / n_heads is even, or give an even head_dim".into(),
            );
        }
        let sharing = config.layer_sharing.kind;
        let repeats = config.layer_sharing.repeats.unwrap_or(match sharing {
            SharingKind::None => 1,
            _ => 2,
        });
        if repeats == 0 || repeats > 64 {
            wrong(
                "layer_sharing",
                format!("repeats = {repeats} is out of range"),
                "use 1 to 64".into(),
            );
        } else if sharing == SharingKind::None && repeats != 1 {
            wrong(
                "layer_sharing",
                format!("kind = \"none\" contradicts repeats = {repeats}"),
                "drop repeats, or choose kind = \"immediate\", \"repeat-all-over\" or \"reverse\""
                    .into(),
            );
        }
        if tokenizer_vocab == 0 || tokenizer_vocab > 1 << 24 {
            wrong(
                "pad_vocab_multiple",
                format!("a vocabulary of {tokenizer_vocab} tokens is not usable"),
                "check data.tokenizer.vocab_size".into(),
            );
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            n_layers: config.n_layers,
            dim: config.dim,
            n_heads: heads,
            n_kv_heads: kv,
            head_dim,
            ffn: config.ffn,
            ffn_hidden: config
                .ffn_hidden
                .unwrap_or_else(|| config.ffn.default_hidden(config.dim)),
            vocab_size: tokenizer_vocab.next_multiple_of(config.pad_vocab_multiple),
            max_seq_len: config.max_seq_len,
            rope_theta: config.rope_theta,
            norm_eps: config.norm_eps,
            init_std: config.init_std,
            qk_norm: config.qk_norm,
            tie_embeddings: config.tie_embeddings,
            sharing,
            repeats,
        })
    }

    /// Block index executed at each step of the forward pass.
    pub fn schedule(&self) -> Vec<usize> {
        self.sharing.schedule(self.n_layers, self.repeats)
    }

    /// Number of block executions of one forward pass.
    pub fn n_executed_layers(&self) -> usize {
        self.n_layers * self.repeats
    }

    /// A short name such as `30x576-gqa3-ls`: depth, width, attention, sharing.
    pub fn label(&self) -> String {
        let attention = match self.n_kv_heads {
            kv if kv == self.n_heads => "mha".to_owned(),
            1 => "mqa".to_owned(),
            kv => format!("gqa{kv}"),
        };
        let sharing = match (self.sharing, self.repeats) {
            (SharingKind::None, _) => String::new(),
            (SharingKind::Immediate, 2) => "-ls".to_owned(),
            (SharingKind::Immediate, n) => format!("-ls{n}"),
            (SharingKind::RepeatAllOver, n) => format!("-all{n}"),
            (SharingKind::Reverse, n) => format!("-rev{n}"),
        };
        format!("{}x{}-{attention}{sharing}", self.n_layers, self.dim)
    }
}

fn divisors(n: usize) -> String {
    let all: Vec<String> = (1..=n.min(4096))
        .filter(|d| n.is_multiple_of(*d))
        .map(|d| d.to_string())
        .collect();
    all.join(", ")
}
