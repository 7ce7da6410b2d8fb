//! Whole halves of a decoder block, each one operation: norm, projections, what is between them and
//! the residual addition.
//!
//! As one operation a half keeps little for its backward pass, and with `recompute` nothing but its
//! input. [`half_blocks_apply`] says where they serve; elsewhere a block is composed of the
//! operations of this crate, which mean the same.

use crate::attention::AttentionMask;
use crate::fused::{self, FusedOps};
use crate::rope::RopeTable;
use burn::backend::Dispatch;
use burn::tensor::Tensor;

/// Whether [`attention_block`] and [`feed_forward_block`] serve tensors like `x`.
pub fn half_blocks_apply(x: &Tensor<3>) -> bool {
    fused::applies(x)
}

/// Weights of the attention half of a block.
#[derive(Clone, Debug)]
pub struct AttentionWeights {
    /// RMSNorm before the projections, `[D]`.
    pub norm: Tensor<1>,
    /// Queries, `[H·Dh, D]`.
    pub q: Tensor<2>,
    /// Keys, `[K·Dh, D]`.
    pub k: Tensor<2>,
    /// Values, `[K·Dh, D]`.
    pub v: Tensor<2>,
    /// Output, `[D, H·Dh]`.
    pub o: Tensor<2>,
}

/// `x + o(attention(rope(q(n)), rope(k(n)), v(n)))` with `n = rms_norm(x)`, for `x` `[B, T, D]` and
/// `heads` query heads.
///
/// # Panics
/// Where [`half_blocks_apply`] says no.
pub fn attention_block(
    x: Tensor<3>,
    weights: AttentionWeights,
    heads: usize,
    eps: f64,
    rope: &RopeTable,
    mask: &AttentionMask,
    recompute: bool,
) -> Tensor<3> {
    let starts = mask
        .starts()
        .expect("half-blocks run where masks are ranges");
    let AttentionWeights { norm, q, k, v, o } = weights;
    Tensor::from_dispatch(Dispatch::slender_attention_block(
        x.into_dispatch(),
        norm.into_dispatch(),
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
        o.into_dispatch(),
        rope.cos().into_dispatch(),
        rope.sin().into_dispatch(),
        starts.into_dispatch(),
        heads,
        eps as f32,
        recompute,
    ))
}

/// Weights of the SwiGLU half of a block.
#[derive(Clone, Debug)]
pub struct FeedForwardWeights {
    /// RMSNorm before the projections, `[D]`.
    pub norm: Tensor<1>,
    /// `[F, D]`.
    pub gate: Tensor<2>,
    /// `[F, D]`.
    pub up: Tensor<2>,
    /// `[D, F]`.
    pub down: Tensor<2>,
}

/// `x + down(silu(gate(n)) · up(n))` with `n = rms_norm(x)`, for `x` `[B, T, D]`.
///
/// # Panics
/// Where [`half_blocks_apply`] says no.
pub fn feed_forward_block(
    x: Tensor<3>,
    weights: FeedForwardWeights,
    eps: f64,
    recompute: bool,
) -> Tensor<3> {
    let FeedForwardWeights {
        norm,
        gate,
        up,
        down,
    } = weights;
    Tensor::from_dispatch(Dispatch::slender_feed_forward(
        x.into_dispatch(),
        norm.into_dispatch(),
        gate.into_dispatch(),
        up.into_dispatch(),
        down.into_dispatch(),
        eps as f32,
        recompute,
    ))
}
