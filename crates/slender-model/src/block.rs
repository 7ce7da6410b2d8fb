//! One transformer block: `x + attention(norm(x))`, then `x + ffn(norm(x))`.
//!
//! Shapes: B batch, T positions, D residual width, H query heads, K key-value heads, Dh head
//! width, F feed-forward width.

use crate::dropout::Dropout;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use slender_config::{FfnKind, ModelShape};
use slender_kernels::{
    self as ops, AttentionMask, AttentionWeights, FeedForwardWeights, RopeTable,
};

/// A linear map without bias; weight `[out, in]`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Param<Tensor<2>>,
}

impl Linear {
    /// `[B, T, in]` to `[B, T, out]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        ops::linear(x, self.weight.val())
    }
}

/// RMSNorm with a learned scale; weight `[D]`.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[D]`.
    pub weight: Param<Tensor<1>>,
}

impl RmsNorm {
    /// Normalises the last axis.
    pub fn forward<const R: usize>(&self, x: Tensor<R>, eps: f64) -> Tensor<R> {
        ops::rms_norm(x, self.weight.val(), eps)
    }
}

/// Grouped-query attention.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[H·Dh, D]`.
    pub q_proj: Linear,
    /// `[K·Dh, D]`.
    pub k_proj: Linear,
    /// `[K·Dh, D]`.
    pub v_proj: Linear,
    /// `[D, H·Dh]`.
    pub o_proj: Linear,
    /// `[Dh]`, with `qk_norm`.
    pub q_norm: Option<RmsNorm>,
    /// `[Dh]`, with `qk_norm`.
    pub k_norm: Option<RmsNorm>,
}

impl Attention {
    /// `[B, T, D]` to `[B, T, D]`.
    pub fn forward(
        &self,
        x: Tensor<3>,
        shape: &ModelShape,
        rope: &RopeTable,
        mask: &AttentionMask,
    ) -> Tensor<3> {
        let [b, t, _] = x.dims();
        let (h, kv, d) = (shape.n_heads, shape.n_kv_heads, shape.head_dim);
        let mut q = self.q_proj.forward(x.clone()).reshape([b, t, h, d]); // [B, T, H, Dh]
        let mut k = self.k_proj.forward(x.clone()).reshape([b, t, kv, d]); // [B, T, K, Dh]
        let v = self.v_proj.forward(x).reshape([b, t, kv, d]); // [B, T, K, Dh]
        if let (Some(q_norm), Some(k_norm)) = (&self.q_norm, &self.k_norm) {
            q = q_norm.forward(q, shape.norm_eps);
            k = k_norm.forward(k, shape.norm_eps);
        }
        let out = ops::attention(ops::rope(q, rope), ops::rope(k, rope), v, mask); // [B, T, H, Dh]
        self.o_proj.forward(out.reshape([b, t, h * d])) // [B, T, D]
    }
}

/// Feed-forward network: SwiGLU with three matrices, or ReLU or GELU with two.
#[derive(Module, Debug)]
pub struct FeedForward {
    /// `[F, D]`, SwiGLU only.
    pub gate_proj: Option<Linear>,
    /// `[F, D]`.
    pub up_proj: Linear,
    /// `[D, F]`.
    pub down_proj: Linear,
}

impl FeedForward {
    /// `[B, T, D]` to `[B, T, D]`.
    pub fn forward(&self, x: Tensor<3>, kind: FfnKind) -> Tensor<3> {
        let up = self.up_proj.forward(x.clone()); // [B, T, F]
        let hidden = match (kind, &self.gate_proj) {
            (FfnKind::Swiglu, Some(gate)) => ops::swiglu(gate.forward(x), up),
            (FfnKind::Gelu, _) => ops::gelu(up),
            _ => ops::relu(up),
        }; // [B, T, F]
        self.down_proj.forward(hidden) // [B, T, D]
    }
}

/// One transformer block.
#[derive(Module, Debug)]
pub struct Block {
    /// `[D]`, before attention.
    pub input_layernorm: RmsNorm,
    /// Attention.
    pub self_attn: Attention,
    /// `[D]`, before the feed-forward.
    pub post_attention_layernorm: RmsNorm,
    /// Feed-forward.
    pub mlp: FeedForward,
}

/// What every block of a forward pass shares.
#[derive(Debug)]
pub(crate) struct Pass<'a, 'rng> {
    pub shape: &'a ModelShape,
    pub rope: RopeTable,
    pub mask: AttentionMask,
    pub dropout: &'a mut Dropout<'rng>,
    /// Keep only the input of each half for the backward pass.
    pub recompute: bool,
}

impl Block {
    /// `[B, T, D]` to `[B, T, D]`.
    pub(crate) fn forward(&self, x: Tensor<3>, pass: &mut Pass<'_, '_>) -> Tensor<3> {
        let x = self.attention_half(x, pass); // [B, T, D]
        self.feed_forward_half(x, pass.shape, pass.dropout, pass.recompute) // [B, T, D]
    }

    /// `x + dropout(attention(norm(x)))`.
    pub(crate) fn attention_half(&self, x: Tensor<3>, pass: &mut Pass<'_, '_>) -> Tensor<3> {
        let attn = &self.self_attn;
        let norm = &self.input_layernorm;
        let plain = !pass.dropout.is_on() && attn.q_norm.is_none() && attn.k_norm.is_none();
        if plain && ops::half_blocks_apply(&x) {
            let weights = AttentionWeights {
                norm: norm.weight.val(),
                q: attn.q_proj.weight.val(),
                k: attn.k_proj.weight.val(),
                v: attn.v_proj.weight.val(),
                o: attn.o_proj.weight.val(),
            };
            let (heads, eps) = (pass.shape.n_heads, pass.shape.norm_eps);
            let (rope, mask) = (&pass.rope, &pass.mask);
            return ops::attention_block(x, weights, heads, eps, rope, mask, pass.recompute);
        }
        let normed = norm.forward(x.clone(), pass.shape.norm_eps); // [B, T, D]
        let attended = attn.forward(normed, pass.shape, &pass.rope, &pass.mask); // [B, T, D]
        x + pass.dropout.apply(attended)
    }

    /// `x + ffn(norm(x))` of `x` `[B, T, D]`, without dropout.
    pub fn feed_forward(&self, x: Tensor<3>, shape: &ModelShape) -> Tensor<3> {
        self.feed_forward_half(x, shape, &mut Dropout::off(), false)
    }

    /// `x + dropout(ffn(norm(x)))`.
    fn feed_forward_half(
        &self,
        x: Tensor<3>,
        shape: &ModelShape,
        dropout: &mut Dropout<'_>,
        recompute: bool,
    ) -> Tensor<3> {
        let (norm, eps) = (&self.post_attention_layernorm, shape.norm_eps);
        if let (FfnKind::Swiglu, Some(gate)) = (shape.ffn, &self.mlp.gate_proj)
            && !dropout.is_on()
            && ops::half_blocks_apply(&x)
        {
            let weights = FeedForwardWeights {
                norm: norm.weight.val(),
                gate: gate.weight.val(),
                up: self.mlp.up_proj.weight.val(),
                down: self.mlp.down_proj.weight.val(),
            };
            return ops::feed_forward_block(x, weights, eps, recompute);
        }
        let normed = norm.forward(x.clone(), eps); // [B, T, D]
        x + dropout.apply(self.mlp.forward(normed, shape.ffn))
    }
}
