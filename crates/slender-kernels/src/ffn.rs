//! Feed-forward activations.

use crate::fused::{self, FusedOps};
use crate::reference;
use burn::backend::Dispatch;
use burn::tensor::{Tensor, activation};

/// `silu(gate) · up` (Shazeer, 2020), element by element over `[B, T, F]`.
pub fn swiglu(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    if fused::applies(&gate) {
        Tensor::from_dispatch(Dispatch::slender_swiglu(
            gate.into_dispatch(),
            up.into_dispatch(),
        ))
    } else {
        reference::swiglu(gate, up)
    }
}

/// `max(x, 0)`.
pub fn relu(x: Tensor<3>) -> Tensor<3> {
    activation::relu(x)
}

/// The exact GELU, `x · Φ(x)` with the error function.
pub fn gelu(x: Tensor<3>) -> Tensor<3> {
    activation::gelu(x)
}
