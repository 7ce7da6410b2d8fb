//! Output projection and cross-entropy as one operation.

use crate::fused::{self, FusedOps};
use crate::reference;
use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

/// Target that is not scored.
pub const IGNORE: i32 = -1;

/// Summed cross-entropy in nats of `targets` `[N]` under `softmax(hidden · weightᵀ)`, as `[1]`.
///
/// `hidden` is `[N, D]`, `weight` `[V, D]`; targets equal to [`IGNORE`] add nothing. The caller
/// divides by its own count, which makes gradient accumulation over micro-batches exact.
pub fn cross_entropy(hidden: Tensor<2>, weight: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    if fused::applies(&hidden) {
        let (hidden, weight) = (hidden.into_dispatch(), weight.into_dispatch());
        Tensor::from_dispatch(Dispatch::slender_cross_entropy(
            hidden,
            weight,
            targets.into_dispatch(),
        ))
    } else {
        reference::cross_entropy(hidden, weight, targets)
    }
}

/// Log-softmax of `hidden · weightᵀ`: `[N, D]` by `[V, D]` gives `[N, V]`.
pub fn log_probs(hidden: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    reference::log_probs(hidden, weight)
}
