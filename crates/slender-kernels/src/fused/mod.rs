//! Fused CPU kernels for Burn's flex backend, with hand-written backward passes.
//!
//! Burn's flex runs elementwise operations on one thread, one memory pass each, with a scalar
//! `exp`. These kernels do each operation of the decoder in one multi-threaded pass and keep no
//! `S x S` scores and no `[N, V]` logits in training. Each has a plain composition as its reference
//! ([`crate::reference`]), which is also what every other backend runs.
//!
//! Sums run over fixed blocks in a fixed order, so results do not depend on the number of threads.

#![expect(
    clippy::too_many_arguments,
    reason = "Burn's dispatch takes tensors one by one"
)]

pub(crate) mod attention;
mod attention_block;
mod autodiff;
pub(crate) mod buffers;
mod embedding;
mod feed_forward;
mod flex;
pub(crate) mod gemm;
pub(crate) mod linear;
mod loss;
pub(crate) mod norm;
pub(crate) mod panels;
pub(crate) mod rope;
pub(crate) mod simd;
pub(crate) mod swiglu;

pub(crate) use linear::{forward as linear_forward, input_gradient, weight_gradient};
pub(crate) use simd::check_environment;
pub use simd::exp_slice;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, DispatchDevice, backend_extension};
use burn::tensor::{DType, Device, Tensor};
use std::sync::OnceLock;

/// Operations dispatched to the flex kernels, with or without autodiff.
#[backend_extension(Flex, Autodiff)]
pub trait FusedOps: Backend {
    /// See [`crate::linear()`].
    fn slender_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
    /// See [`crate::rms_norm()`].
    fn slender_rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self>;
    /// See [`crate::swiglu()`].
    fn slender_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
    /// See [`crate::rope()`].
    fn slender_rope(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    /// See [`crate::attention()`]; `starts` `[B or 1, T]` is the first key each query may see.
    fn slender_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        starts: IntTensor<Self>,
    ) -> FloatTensor<Self>;
    /// See [`crate::attention_block()`].
    fn slender_attention_block(
        x: FloatTensor<Self>,
        norm: FloatTensor<Self>,
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        o: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        starts: IntTensor<Self>,
        heads: usize,
        eps: f32,
        recompute: bool,
    ) -> FloatTensor<Self>;
    /// See [`crate::feed_forward_block()`].
    fn slender_feed_forward(
        x: FloatTensor<Self>,
        norm: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        down: FloatTensor<Self>,
        eps: f32,
        recompute: bool,
    ) -> FloatTensor<Self>;
    /// See [`crate::embedding()`].
    fn slender_embedding(weight: FloatTensor<Self>, tokens: IntTensor<Self>) -> FloatTensor<Self>;
    /// `a + b` in the memory of `a`.
    fn slender_sum(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Sum of squares as two numbers, `[2]`, whose sum has the precision of f64.
    fn slender_squared_norm(x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// See [`crate::cross_entropy()`].
    fn slender_cross_entropy(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// What the attention half of a block needs besides its input.
#[derive(Clone, Debug)]
pub(crate) struct AttentionParts<B: Backend> {
    /// Weights of the norm, `[D]`, and of `q`, `k`, `v` and `o`, `[out, in]`.
    pub weights: [FloatTensor<B>; 5],
    /// `[T.., Dh/2]`.
    pub cos: FloatTensor<B>,
    /// `[T.., Dh/2]`.
    pub sin: FloatTensor<B>,
    /// First key that each query may see, `[B or 1, T]`.
    pub starts: IntTensor<B>,
    /// Query heads.
    pub heads: usize,
    pub eps: f32,
}

/// Forward and backward kernels on a backend's own tensors.
///
/// A gradient of a weight is added to `sum` where it is given, in place.
pub(crate) trait Kernels: Backend {
    fn linear_forward(x: &FloatTensor<Self>, weight: &FloatTensor<Self>) -> FloatTensor<Self>;
    fn linear_grad_input(dy: &FloatTensor<Self>, weight: &FloatTensor<Self>) -> FloatTensor<Self>;
    fn linear_grad_weight(
        dy: &FloatTensor<Self>,
        x: &FloatTensor<Self>,
        sum: Option<FloatTensor<Self>>,
    ) -> FloatTensor<Self>;
    fn rms_norm(x: &FloatTensor<Self>, weight: &FloatTensor<Self>, eps: f32) -> FloatTensor<Self>;
    /// Gradients of `x` and of the weight.
    fn rms_norm_grad(
        x: &FloatTensor<Self>,
        weight: &FloatTensor<Self>,
        dy: &FloatTensor<Self>,
        eps: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    fn swiglu(gate: &FloatTensor<Self>, up: &FloatTensor<Self>) -> FloatTensor<Self>;
    /// Gradients of `gate` and `up`.
    fn swiglu_grad(
        gate: &FloatTensor<Self>,
        up: &FloatTensor<Self>,
        dy: &FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// `direction` is 1 to rotate and -1 to rotate back, which is the gradient.
    fn rope(
        x: &FloatTensor<Self>,
        cos: &FloatTensor<Self>,
        sin: &FloatTensor<Self>,
        direction: f32,
    ) -> FloatTensor<Self>;
    /// Attention's output and what the gradient needs.
    fn attention_forward(
        qkv: [&FloatTensor<Self>; 3],
        starts: &IntTensor<Self>,
    ) -> FloatTensor<Self>;
    /// Gradients of `q`, `k` and `v`, from the inputs and the gradient of the output.
    fn attention_grad(
        qkv: [&FloatTensor<Self>; 3],
        starts: &IntTensor<Self>,
        dout: &FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 3];
    /// The attention half of a block and, if `keep`, what the gradient needs.
    fn attention_block(
        x: &FloatTensor<Self>,
        parts: &AttentionParts<Self>,
        keep: bool,
    ) -> (FloatTensor<Self>, Option<[FloatTensor<Self>; 3]>);
    /// Gradients of `x` and of the weights; without `kept`, the forward pass is done again.
    fn attention_block_grad(
        x: &FloatTensor<Self>,
        parts: &AttentionParts<Self>,
        kept: Option<[FloatTensor<Self>; 3]>,
        dy: &FloatTensor<Self>,
        sums: [Option<FloatTensor<Self>>; 5],
    ) -> (FloatTensor<Self>, [FloatTensor<Self>; 5]);
    /// The feed-forward half of a block, with weights of the norm, gate, up and down, and, if
    /// `keep`, what the gradient needs.
    fn feed_forward(
        x: &FloatTensor<Self>,
        weights: &[FloatTensor<Self>; 4],
        eps: f32,
        keep: bool,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>);
    /// Gradients of `x` and of the weights; without `kept`, the forward pass is done again.
    fn feed_forward_grad(
        x: &FloatTensor<Self>,
        weights: &[FloatTensor<Self>; 4],
        eps: f32,
        kept: Option<FloatTensor<Self>>,
        dy: &FloatTensor<Self>,
        sums: [Option<FloatTensor<Self>>; 4],
    ) -> (FloatTensor<Self>, [FloatTensor<Self>; 4]);
    /// Rows of `weight` `[V, D]`.
    fn gather(weight: &FloatTensor<Self>, tokens: &IntTensor<Self>) -> FloatTensor<Self>;
    /// Gradient of a weight of `rows` rows.
    fn gather_grad(
        dy: &FloatTensor<Self>,
        tokens: &IntTensor<Self>,
        rows: usize,
        sum: Option<FloatTensor<Self>>,
    ) -> FloatTensor<Self>;
    fn cross_entropy(
        hidden: &FloatTensor<Self>,
        weight: &FloatTensor<Self>,
        targets: &IntTensor<Self>,
    ) -> FloatTensor<Self>;
    /// Loss with the gradients of `hidden` and of the weight for an upstream gradient of 1.
    fn cross_entropy_grad(
        hidden: &FloatTensor<Self>,
        weight: &FloatTensor<Self>,
        targets: &IntTensor<Self>,
    ) -> [FloatTensor<Self>; 3];
    /// See [`FusedOps::slender_sum`].
    fn sum(a: FloatTensor<Self>, b: &FloatTensor<Self>) -> FloatTensor<Self>;
    /// See [`FusedOps::slender_squared_norm`].
    fn squared_norm(x: &FloatTensor<Self>) -> FloatTensor<Self>;
    /// `x` times the one element of `factor`, in place, plus `sum`.
    fn scaled(
        x: FloatTensor<Self>,
        factor: &FloatTensor<Self>,
        sum: Option<FloatTensor<Self>>,
    ) -> FloatTensor<Self>;
}

/// Whether the fused kernels are wanted: always, unless the environment says `SLENDER_FUSED=0`,
/// which runs the plain compositions instead, to compare speed or to look for a kernel's bug.
fn enabled() -> bool {
    static ENABLED: OnceLock<bool> = OnceLock::new();
    *ENABLED.get_or_init(|| std::env::var_os("SLENDER_FUSED").is_none_or(|value| value != "0"))
}

/// Whether `device` has fused kernels: flex, with or without autodiff, unless `SLENDER_FUSED=0`.
pub fn on_device(device: &Device) -> bool {
    let plain = device.clone().without_autodiff();
    enabled() && matches!(plain.as_dispatch(), DispatchDevice::Flex(_))
}

/// What of the program decides how sums are rounded on `device`: which kernels, and on a CPU the instruction
/// set. Numbers of two such settings differ in their last digits.
pub fn arithmetic(device: &Device) -> String {
    let kernels = if on_device(device) { "fused" } else { "plain" };
    let isa = match simd::isa() {
        simd::Isa::Avx512 => "avx512",
        simd::Isa::Avx2 => "avx2",
        simd::Isa::Baseline => "baseline",
    };
    format!("{kernels} kernels, {isa} of {}", std::env::consts::ARCH)
}

/// Whether the fused kernels serve this tensor: f32 on such a device.
pub(crate) fn applies<const R: usize>(tensor: &Tensor<R>) -> bool {
    tensor.dtype() == DType::F32 && on_device(&tensor.device())
}
