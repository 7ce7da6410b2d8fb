//! Token embedding: gather rows; its gradient scatters rows back.

use burn::tensor::{Int, Tensor};

/// Rows `tokens` `[B, T]` of `weight` `[V, D]`, giving `[B, T, D]`.
pub fn embedding(weight: Tensor<2>, tokens: Tensor<2, Int>) -> Tensor<3> {
    burn::tensor::module::embedding(weight, tokens)
}
