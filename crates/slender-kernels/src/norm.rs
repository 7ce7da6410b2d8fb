//! RMSNorm (Zhang and Sennrich, 2019): `x / sqrt(mean(x²) + eps) · w` over the last axis.

use burn::tensor::Tensor;

/// Normalises the last axis of `x` `[.., D]` and scales it by `weight` `[D]`.
pub fn rms_norm<const R: usize>(x: Tensor<R>, weight: Tensor<1>, eps: f64) -> Tensor<R> {
    let mean_square = x.clone().square().mean_dim(R - 1); // [.., 1]
    let scale = mean_square.add_scalar(eps).sqrt().recip(); // [.., 1]
    x * scale * weight.unsqueeze() // [.., D]
}
