//! Fused CPU kernels for Burn's flex backend, with hand-written backward passes.
//!
//! Burn's flex runs elementwise operations on one thread, one memory pass each, with a scalar
//! `exp`. These kernels do each operation of the decoder in one multi-threaded pass and keep no
//! `S x S` scores and no `[N, V]` logits in training. Each has a plain composition as its reference
//! ([`crate::reference`]), which is also what every other backend runs.
//!
//! Sums run over fixed blocks in a fixed order, so results do not depend on the number of threads.

mod attention;
mod autodiff;
mod flex;
mod linear;
mod loss;
mod norm;
mod rope;
mod simd;
mod swiglu;

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
    /// See [`crate::cross_entropy()`].
    fn slender_cross_entropy(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// Forward and backward kernels on a backend's own tensors.
pub(crate) trait Kernels: Backend {
    fn linear_forward(x: &FloatTensor<Self>, weight: &FloatTensor<Self>) -> FloatTensor<Self>;
    fn linear_grad_input(dy: &FloatTensor<Self>, weight: &FloatTensor<Self>) -> FloatTensor<Self>;
    fn linear_grad_weight(dy: &FloatTensor<Self>, x: &FloatTensor<Self>) -> FloatTensor<Self>;
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
    fn attention_forward(
        q: &FloatTensor<Self>,
        k: &FloatTensor<Self>,
        v: &FloatTensor<Self>,
        starts: &IntTensor<Self>,
    ) -> FloatTensor<Self>;
    /// Gradients of `q`, `k` and `v`, from the inputs, the output and its gradient.
    fn attention_grad(
        qkv: [&FloatTensor<Self>; 3],
        starts: &IntTensor<Self>,
        out: &FloatTensor<Self>,
        dout: &FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 3];
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
}

/// Whether the fused kernels are wanted: always, unless the environment says `SLENDER_FUSED=0`,
/// which runs the plain compositions instead, to compare speed or to look for a kernel's bug.
fn enabled() -> bool {
    static ENABLED: OnceLock<bool> = OnceLock::new();
    *ENABLED.get_or_init(|| std::env::var_os("SLENDER_FUSED").is_none_or(|value| value != "0"))
}

/// Whether `device` has fused kernels: flex, with or without autodiff.
pub(crate) fn on_device(device: &Device) -> bool {
    let plain = device.clone().without_autodiff();
    enabled() && matches!(plain.as_dispatch(), DispatchDevice::Flex(_))
}

/// Whether the fused kernels serve this tensor: f32 on such a device.
pub(crate) fn applies<const R: usize>(tensor: &Tensor<R>) -> bool {
    tensor.dtype() == DType::F32 && on_device(&tensor.device())
}
