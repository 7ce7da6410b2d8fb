//! Linear maps without bias, weights `[out, in]` as checkpoints store them.

use crate::fused::{self, FusedOps};
use crate::reference;
use burn::backend::Dispatch;
use burn::tensor::Tensor;

/// `x · wᵀ`: `[B, T, in]` by `[out, in]` gives `[B, T, out]`.
pub fn linear(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    if fused::applies(&x) {
        let y = Dispatch::slender_linear(x.into_dispatch(), weight.into_dispatch());
        Tensor::from_dispatch(y)
    } else {
        reference::linear(x, weight)
    }
}
