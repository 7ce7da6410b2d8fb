//! RMSNorm (Zhang and Sennrich, 2019): `x / sqrt(mean(x²) + eps) · w` over the last axis.

use crate::fused::{self, FusedOps};
use crate::reference;
use burn::backend::Dispatch;
use burn::tensor::Tensor;

/// Normalises the last axis of `x` `[.., D]` and scales it by `weight` `[D]`.
pub fn rms_norm<const R: usize>(x: Tensor<R>, weight: Tensor<1>, eps: f64) -> Tensor<R> {
    if fused::applies(&x) {
        let y = Dispatch::slender_rms_norm(x.into_dispatch(), weight.into_dispatch(), eps as f32);
        Tensor::from_dispatch(y)
    } else {
        reference::rms_norm(x, weight, eps)
    }
}
