//! The operations a decoder is made of, at the boundaries where fused kernels fit.
//!
//! The model calls these functions and nothing below them, so replacing a plain composition by a
//! fused kernel touches one file here and no line of the model. Layouts are chosen for that:
//! activations are token-major (`[B, T, H, Dh]`, no permutes around attention), weights are
//! `[out, in]` as in Hugging Face checkpoints, and the output projection is fused with the
//! cross-entropy so that a kernel need not hold `[N, V]` logits.
//!
//! Legend of shapes: B batch, T query positions, S key positions, D residual width, H query heads,
//! K key-value heads, G = H/K queries per key-value head, Dh head width, F feed-forward width,
//! V vocabulary, N = B·T tokens.

mod adamw;
mod attention;
mod block;
mod device;
mod embedding;
mod ffn;
mod fused;
pub mod infer;
mod linear;
mod loss;
mod measure;
mod norm;
pub mod reference;
mod rope;

pub use adamw::{AdamW, Moments, adamw_update, add_gradients, is_host, squared_norms};
pub use attention::{AttentionMask, attention, forbidden_causal, forbidden_documents};
pub use block::{
    AttentionWeights, FeedForwardWeights, attention_block, feed_forward_block, half_blocks_apply,
};
pub use device::{DeviceError, check_built, open_device};
pub use embedding::embedding;
pub use ffn::{gelu, relu, swiglu};
pub use fused::{arithmetic, exp_slice, on_device as has_kernels};
pub use linear::linear;
pub use loss::{IGNORE, cross_entropy, log_probs};
pub use measure::{Product, memory_speed, product_speed};
pub use norm::rms_norm;
pub use rope::{RopeTable, rope};
