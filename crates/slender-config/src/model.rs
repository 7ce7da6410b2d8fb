//! `[model]`: the shape of a decoder-only transformer, as written by the user.
//!
//! The two switches that decide what a parameter count means, `tie_embeddings` and
//! `layer_sharing`, have no default: a config that is silent about them is refused.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[model]`: the decoder's shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelConfig {
    /// Begin with the weights of a checkpoint: a folder of `slender import` or of transformers, or a run directory, relative to the config file that names it. Its shape fills in the keys of `[model]` that are not written, its tokenizer `[data.tokenizer]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// Number of distinct transformer blocks (weights). Sharing may execute each several times.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub dim: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key-value heads; `n_heads` for multi-head, fewer for grouped-query, 1 for multi-query attention. Must divide `n_heads`.
    pub n_kv_heads: usize,
    /// Width of one head. Default: `dim / n_heads`. Must be even, because RoPE rotates pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<usize>,
    /// Feed-forward kind.
    #[serde(default)]
    pub ffn: FfnKind,
    /// Hidden width of the feed-forward. Default, the paper's rule: `256*ceil(floor(8*dim/3)/256)` for SwiGLU, `4*dim` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ffn_hidden: Option<usize>,
    /// Longest sequence the model is built for, in tokens.
    #[serde(default = "default_max_seq_len")]
    pub max_seq_len: usize,
    /// Base of the rotary position embedding's frequencies.
    #[serde(default = "default_rope_theta")]
    pub rope_theta: f64,
    /// Epsilon inside RMSNorm's square root.
    #[serde(default = "default_norm_eps")]
    pub norm_eps: f64,
    /// Standard deviation of the normal initialisation of every linear and embedding weight.
    #[serde(default = "default_init_std")]
    pub init_std: f64,
    /// RMSNorm on queries and keys, per head, before RoPE.
    #[serde(default)]
    pub qk_norm: bool,
    /// Whether the output projection is the transposed input embedding: `true` or `false`. Required.
    pub tie_embeddings: bool,
    /// Whether and how blocks are executed several times: `{ kind = "none" }`, or such as `{ kind = "immediate", repeats = 2 }`. Required.
    pub layer_sharing: LayerSharing,
    /// Rows of the embedding are padded to a multiple of this many. The default 1 pads nothing.
    #[serde(default = "default_one")]
    pub pad_vocab_multiple: usize,
}

/// Kind of feed-forward network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FfnKind {
    /// `down(silu(gate(x)) * up(x))`, three matrices.
    #[default]
    Swiglu,
    /// `down(relu(up(x)))`, two matrices.
    Relu,
    /// `down(gelu(up(x)))` with the exact (erf) GELU, two matrices.
    Gelu,
}

impl FfnKind {
    /// Number of weight matrices of one feed-forward.
    pub fn n_matrices(self) -> usize {
        match self {
            FfnKind::Swiglu => 3,
            FfnKind::Relu | FfnKind::Gelu => 2,
        }
    }

    /// The paper's hidden width for a residual width `dim`.
    pub fn default_hidden(self, dim: usize) -> usize {
        match self {
            FfnKind::Swiglu => (8 * dim / 3).div_ceil(256) * 256,
            FfnKind::Relu | FfnKind::Gelu => 4 * dim,
        }
    }
}

/// Block-wise weight sharing: `{ kind = "immediate", repeats = 2 }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct LayerSharing {
    /// Order in which shared blocks are executed (MobileLLM, Figure 6).
    pub kind: SharingKind,
    /// How often each block is executed. Default: 1 for `none`, 2 otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<usize>,
}

/// Order of execution of shared blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SharingKind {
    /// Every block once: 1..N.
    None,
    /// Each block `repeats` times in a row: 1,1,2,2,…
    Immediate,
    /// The whole stack `repeats` times: 1..N,1..N.
    RepeatAllOver,
    /// The stack forwards, then backwards, alternating: 1..N,N..1.
    Reverse,
}

impl SharingKind {
    /// The block index executed at each step of the forward pass.
    ///
    /// Returns `n_layers * repeats` indices in `0..n_layers`.
    pub fn schedule(self, n_layers: usize, repeats: usize) -> Vec<usize> {
        match self {
            SharingKind::None => (0..n_layers).collect(),
            SharingKind::Immediate => (0..n_layers)
                .flat_map(|layer| std::iter::repeat_n(layer, repeats))
                .collect(),
            SharingKind::RepeatAllOver => (0..repeats).flat_map(|_| 0..n_layers).collect(),
            SharingKind::Reverse => (0..repeats)
                .flat_map(|pass| {
                    (0..n_layers).map(move |i| if pass % 2 == 0 { i } else { n_layers - 1 - i })
                })
                .collect(),
        }
    }
}

fn default_max_seq_len() -> usize {
    2048
}
fn default_rope_theta() -> f64 {
    10_000.0
}
fn default_norm_eps() -> f64 {
    1e-5
}
fn default_init_std() -> f64 {
    0.02
}
fn default_one() -> usize {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharing_orders_follow_figure_6() {
        assert_eq!(SharingKind::None.schedule(3, 1), [0, 1, 2]);
        assert_eq!(SharingKind::Immediate.schedule(2, 3), [0, 0, 0, 1, 1, 1]);
        assert_eq!(SharingKind::RepeatAllOver.schedule(2, 2), [0, 1, 0, 1]);
        assert_eq!(
            SharingKind::Reverse.schedule(3, 3),
            [0, 1, 2, 2, 1, 0, 0, 1, 2]
        );
    }

    #[test]
    fn swiglu_rule_reproduces_every_hidden_width_of_the_paper() {
        let rows = [
            (384, 1024),
            (448, 1280),
            (512, 1536),
            (576, 1536),
            (640, 1792),
            (768, 2048),
            (896, 2560),
            (960, 2560),
            (1024, 2816),
            (1152, 3072),
            (1280, 3584),
            (1408, 3840),
            (1536, 4096),
            (1600, 4352),
            (2048, 5632),
        ];
        for (dim, hidden) in rows {
            assert_eq!(FfnKind::Swiglu.default_hidden(dim), hidden, "dim {dim}");
        }
    }
}
