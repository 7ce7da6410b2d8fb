//! Output projection and cross-entropy as one operation.

use burn::tensor::{Int, Tensor, activation};

/// Target that is not scored.
pub const IGNORE: i32 = -1;

/// Summed cross-entropy in nats of `targets` `[N]` under `softmax(hidden · weightᵀ)`, as `[1]`.
///
/// `hidden` is `[N, D]`, `weight` `[V, D]`; targets equal to [`IGNORE`] add nothing. The caller
/// divides by its own count, which makes gradient accumulation over micro-batches exact.
pub fn cross_entropy(hidden: Tensor<2>, weight: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [n, _] = hidden.dims();
    let ignored = targets.clone().equal_scalar(IGNORE); // [N]
    let safe = targets.mask_fill(ignored.clone(), 0); // [N]
    let log_probs = log_probs(hidden, weight); // [N, V]
    let picked: Tensor<1> = log_probs.gather(1, safe.reshape([n, 1])).reshape([n]); // [N]
    picked.mask_fill(ignored, 0.0).sum().neg() // [1]
}

/// Log-softmax of `hidden · weightᵀ`: `[N, D]` by `[V, D]` gives `[N, V]`.
pub fn log_probs(hidden: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    activation::log_softmax(hidden.matmul(weight.transpose()), 1)
}
