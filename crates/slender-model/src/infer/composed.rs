//! The same forward pass composed of Burn operations, for every device.

use super::engine::Rows;
use crate::transformer::Transformer;
use burn::tensor::{Device, Int, Tensor, TensorData};
use slender_kernels::infer::WeightFormat;
use slender_kernels::{self as ops, AttentionMask};
use std::collections::HashMap;

/// Keys and values of one executed layer, `[1, S, K, Dh]` each.
pub(super) type KeyValues = (Tensor<4>, Tensor<4>);

/// A transformer on a device.
#[derive(Debug)]
pub(super) struct Composed {
    model: Transformer,
    device: Device,
}

impl Composed {
    /// Rounds the matrices to what `format` holds.
    pub(super) fn new(model: Transformer, device: &Device, format: WeightFormat) -> Self {
        let device = device.clone().without_autodiff();
        if format == WeightFormat::F32 {
            return Self { model, device };
        }
        let mut values: HashMap<String, Vec<f32>> = HashMap::new();
        model.for_each_weight(|mut tensor| {
            if let [_, columns] = tensor.dims[..] {
                let rows = tensor.values.chunks_exact_mut(columns);
                rows.for_each(|row| format.round(row));
            }
            values.insert(tensor.name, tensor.values);
        });
        let rounded = Transformer::build(model.shape(), &device, &mut |name, _| {
            Ok::<_, std::convert::Infallible>(values.remove(name).unwrap_or_default())
        });
        Self {
            model: rounded.unwrap_or_else(|never| match never {}),
            device,
        }
    }

    /// Reads `tokens` after `before` others; logits of the last token or of all, `[rows, V]`.
    pub(super) fn forward(
        &self,
        tokens: &[u32],
        before: usize,
        cache: &mut [Option<KeyValues>],
        rows: Rows,
    ) -> Vec<f32> {
        let (model, shape) = (&self.model, self.model.shape());
        let (t, d) = (tokens.len(), shape.dim);
        let (h, kv, dh) = (shape.n_heads, shape.n_kv_heads, shape.head_dim);
        let ids: Vec<i32> = tokens.iter().map(|&token| token as i32).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, t]), &self.device); // [1, T]
        let mask = AttentionMask::causal(t, before + t, &self.device);
        let rope = model.rope_table().slice(before, t);
        let mut x = ops::embedding(model.model.embed_tokens.weight.val(), ids); // [1, T, D]
        for (&layer, cache) in shape.schedule().iter().zip(cache) {
            let block = &model.model.layers[layer];
            let attention = &block.self_attn;
            let normed = block.input_layernorm.forward(x.clone(), shape.norm_eps); // [1, T, D]
            let mut q = attention
                .q_proj
                .forward(normed.clone())
                .reshape([1, t, h, dh]);
            let mut k = attention
                .k_proj
                .forward(normed.clone())
                .reshape([1, t, kv, dh]);
            let mut v = attention.v_proj.forward(normed).reshape([1, t, kv, dh]);
            if let (Some(q_norm), Some(k_norm)) = (&attention.q_norm, &attention.k_norm) {
                q = q_norm.forward(q, shape.norm_eps);
                k = k_norm.forward(k, shape.norm_eps);
            }
            let q = ops::rope(q, &rope); // [1, T, H, Dh]
            k = ops::rope(k, &rope); // [1, T, K, Dh]
            if let Some((keys, values)) = cache.take() {
                k = Tensor::cat(vec![keys, k], 1); // [1, S, K, Dh]
                v = Tensor::cat(vec![values, v], 1); // [1, S, K, Dh]
            }
            let out = ops::attention(q, k.clone(), v.clone(), &mask); // [1, T, H, Dh]
            *cache = Some((k, v));
            x = x + attention.o_proj.forward(out.reshape([1, t, h * dh])); // [1, T, D]
            x = block.feed_forward(x, shape); // [1, T, D]
        }
        let x = model.model.norm.forward(x, shape.norm_eps).reshape([t, d]); // [T, D]
        let x = match rows {
            Rows::Last => x.narrow(0, t - 1, 1), // [1, D]
            Rows::All => x,
        };
        let logits = model.logits(x).into_data().convert::<f32>(); // [rows, V]
        logits.try_into_vec().expect("converted to f32")
    }
}
