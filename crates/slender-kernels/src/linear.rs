//! Linear maps without bias, weights `[out, in]` as checkpoints store them.

use burn::tensor::Tensor;

/// `x · wᵀ`: `[B, T, in]` by `[out, in]` gives `[B, T, out]`.
pub fn linear(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    let [b, t, d_in] = x.dims();
    let d_out = weight.dims()[0];
    let x = x.reshape([b * t, d_in]); // [N, in]
    let y = x.matmul(weight.transpose()); // [N, out]
    y.reshape([b, t, d_out]) // [B, T, out]
}
