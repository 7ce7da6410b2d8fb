//! Token embedding: gather rows; its gradient scatters rows back.

use crate::fused::{self, FusedOps};
use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

/// Rows `tokens` `[B, T]` of `weight` `[V, D]`, giving `[B, T, D]`.
pub fn embedding(weight: Tensor<2>, tokens: Tensor<2, Int>) -> Tensor<3> {
    if fused::applies(&weight) {
        let y = Dispatch::slender_embedding(weight.into_dispatch(), tokens.into_dispatch());
        Tensor::from_dispatch(y)
    } else {
        burn::tensor::module::embedding(weight, tokens)
    }
}
