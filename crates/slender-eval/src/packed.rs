//! The forward pass over a [`Forest`]: every token once, no padding.
//!
//! All tokens of a batch stand in one row `[1, N, D]`, so the matrix products see one tall matrix whatever
//! the lengths are. Only attention knows nodes: the queries of a node see the keys of its ancestors and its
//! own, laid out in order from position 0. A token's sums therefore run over the same numbers in the same
//! order however rows are batched, which is what keeps log-likelihoods equal from batch to batch.
//!
//! Shapes: N tokens of the batch, D residual width, H query heads, K key-value heads, Dh head width.

use burn::tensor::{Device, Int, Tensor, TensorData};
use slender_kernels::{self as ops, AttentionMask, RopeTable};
use slender_model::Transformer;
use slender_model::{Attention, Block};

use crate::forest::Forest;

/// Rows of the smallest matrix product: fewer take another way through the matrix library (a matrix-vector
/// product for one row) and round otherwise.
pub(crate) const MIN_ROWS: usize = 16;

/// Keys and values of one layer, `[1, S, K, Dh]` each.
pub(crate) type KeyValues = (Tensor<4>, Tensor<4>);

/// A model with the table of its positions.
#[derive(Debug)]
pub(crate) struct Packed {
    model: Transformer,
    rope: RopeTable,
    device: Device,
}

/// Keys and values of every layer for every sequence: `[layer][sequence]`.
pub(crate) type Cache = Vec<Vec<KeyValues>>;

impl Packed {
    pub(crate) fn new(model: Transformer, device: &Device) -> Self {
        let shape = model.shape();
        let rope = RopeTable::new(shape.max_seq_len, shape.head_dim, shape.rope_theta, device);
        Self {
            model,
            rope,
            device: device.clone(),
        }
    }

    pub(crate) fn model(&self) -> &Transformer {
        &self.model
    }

    fn ints(&self, values: impl Iterator<Item = usize>) -> Tensor<1, Int> {
        let values: Vec<i32> = values.map(|value| value as i32).collect();
        let n = values.len();
        Tensor::from_data(TensorData::new(values, [n]), &self.device)
    }

    /// Hidden states after the final norm of every token of `forest`: `[N, D]`.
    pub(crate) fn hidden(&self, forest: &Forest) -> Tensor<2> {
        self.read(forest, &mut |_, _, _| {})
    }

    /// As [`Packed::hidden`], and the keys and values of the rows `0..rows` for going on after them.
    pub(crate) fn prefill(&self, forest: &Forest, rows: usize) -> (Tensor<2>, Cache) {
        let mut cache: Cache = Vec::new();
        let hidden = self.read(forest, &mut |forest, k, v| {
            let of_row = |row: usize| {
                let path = forest
                    .end(row)
                    .map_or_else(Vec::new, |end| forest.path(end));
                (along(forest, &path, k), along(forest, &path, v))
            };
            cache.push((0..rows).map(of_row).collect());
        });
        (hidden, cache)
    }

    fn read(
        &self,
        forest: &Forest,
        keep: &mut dyn FnMut(&Forest, &Tensor<4>, &Tensor<4>),
    ) -> Tensor<2> {
        let paths: Vec<Vec<usize>> = (0..forest.nodes.len()).map(|i| forest.path(i)).collect();
        let masks: Vec<AttentionMask> = forest
            .nodes
            .iter()
            .map(|node| self.mask(node.len, node.start + node.len))
            .collect();
        let positions = forest.positions.iter().copied();
        self.forward(&forest.tokens, positions, &mut |_, q, k, v| {
            keep(forest, &k, &v);
            let nodes = forest.nodes.iter().zip(&paths).zip(&masks);
            let parts = nodes.map(|((node, path), mask)| {
                let q = q.clone().narrow(1, node.offset, node.len); // [1, T, H, Dh]
                let (k, v) = (along(forest, path, &k), along(forest, path, &v)); // [1, S, K, Dh]
                attention(q, k, v, mask)
            });
            Tensor::cat(parts.collect(), 1) // [1, N, H, Dh]
        })
    }

    /// For [`attention`] of `t` queries, the last of `s` positions.
    fn mask(&self, t: usize, s: usize) -> AttentionMask {
        let more = MIN_ROWS.saturating_sub(t);
        AttentionMask::causal(t + more, s + more, &self.device)
    }

    /// One more token for each sequence of `cache`: its hidden states `[N, D]`; `cache` grows by it.
    ///
    /// `which` names the sequences that go on, with their next token and its position.
    pub(crate) fn step(&self, which: &[(usize, u32, usize)], cache: &mut Cache) -> Tensor<2> {
        let tokens: Vec<u32> = which.iter().map(|next| next.1).collect();
        let positions = which.iter().map(|next| next.2);
        self.forward(&tokens, positions, &mut |layer, q, k, v| {
            let parts = which
                .iter()
                .enumerate()
                .map(|(i, &(sequence, _, position))| {
                    let one = |x: &Tensor<4>| x.clone().narrow(1, i, 1); // [1, 1, ., Dh]
                    let (keys, values) = &mut cache[layer][sequence];
                    *keys = Tensor::cat(vec![keys.clone(), one(&k)], 1); // [1, S, K, Dh]
                    *values = Tensor::cat(vec![values.clone(), one(&v)], 1); // [1, S, K, Dh]
                    let mask = AttentionMask::causal(1, position + 1, &self.device);
                    ops::attention(one(&q), keys.clone(), values.clone(), &mask)
                });
            Tensor::cat(parts.collect(), 1) // [1, N, H, Dh]
        })
    }

    /// All blocks over tokens in one row; `attend(execution, q, k, v)` is given `[1, N, H or K, Dh]`.
    fn forward(
        &self,
        tokens: &[u32],
        mut positions: impl Iterator<Item = usize>,
        attend: &mut dyn FnMut(usize, Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<4>,
    ) -> Tensor<2> {
        let shape = self.model.shape();
        let d = shape.dim;
        // Rows beyond the tokens are computed and dropped.
        let n = tokens.len().max(MIN_ROWS);
        let filled = |values: &mut dyn Iterator<Item = usize>| {
            self.ints(values.chain(std::iter::repeat(0)).take(n))
        };
        let rope = self.rope.select(filled(&mut positions));
        let ids = filled(&mut tokens.iter().map(|&token| token as usize));
        let weight = self.model.model.embed_tokens.weight.val(); // [V, D]
        let mut x = ops::embedding(weight, ids.reshape([1, n])); // [1, N, D]
        for (execution, layer) in shape.schedule().into_iter().enumerate() {
            let block: &Block = &self.model.model.layers[layer];
            let normed = block.input_layernorm.forward(x.clone(), shape.norm_eps); // [1, N, D]
            let attention = &block.self_attn;
            let (q, k, v) = self.projections(attention, normed, &rope);
            let out = attend(execution, q, k, v); // [1, tokens, H, Dh]
            let width = shape.n_heads * shape.head_dim;
            let out = rows(out.reshape([1, tokens.len(), width]), n); // [1, N, H·Dh]
            x = x + attention.o_proj.forward(out); // [1, N, D]
            x = block.feed_forward(x, shape); // [1, N, D]
        }
        let x = self.model.model.norm.forward(x, shape.norm_eps); // [1, N, D]
        x.reshape([n, d]).narrow(0, 0, tokens.len())
    }

    /// Rotated queries and keys, and values: `[1, N, H, Dh]`, `[1, N, K, Dh]`, `[1, N, K, Dh]`.
    fn projections(
        &self,
        attention: &Attention,
        x: Tensor<3>,
        rope: &RopeTable,
    ) -> (Tensor<4>, Tensor<4>, Tensor<4>) {
        let shape = self.model.shape();
        let n = x.dims()[1];
        let (h, kv, d) = (shape.n_heads, shape.n_kv_heads, shape.head_dim);
        let mut q = attention.q_proj.forward(x.clone()).reshape([1, n, h, d]);
        let mut k = attention.k_proj.forward(x.clone()).reshape([1, n, kv, d]);
        let v = attention.v_proj.forward(x).reshape([1, n, kv, d]);
        if let (Some(q_norm), Some(k_norm)) = (&attention.q_norm, &attention.k_norm) {
            q = q_norm.forward(q, shape.norm_eps);
            k = k_norm.forward(k, shape.norm_eps);
        }
        (ops::rope(q, rope), ops::rope(k, rope), v)
    }
}

/// `x` `[1, T, ..]` with rows of zeros up to `n`.
fn rows<const R: usize>(x: Tensor<R>, n: usize) -> Tensor<R> {
    let mut dims = x.dims();
    if dims[1] >= n {
        return x;
    }
    dims[1] = n - dims[1];
    let zeros = Tensor::zeros(dims, &x.device());
    Tensor::cat(vec![x, zeros], 1)
}

/// Attention of `q` `[1, T, H, Dh]` over `k` and `v` `[1, S, K, Dh]`, T at least [`MIN_ROWS`] inside: what is
/// added stands after everything else, where no query sees it.
fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: &AttentionMask) -> Tensor<4> {
    let ([_, t, _, _], [_, s, _, _]) = (q.dims(), k.dims());
    let more = MIN_ROWS.saturating_sub(t);
    let out = ops::attention(
        rows(q, t + more),
        rows(k, s + more),
        rows(v, s + more),
        mask,
    );
    out.narrow(1, 0, t) // [1, T, H, Dh]
}

/// The part of `x` `[1, N, K, Dh]` on a path of nodes, in order: `[1, S, K, Dh]`.
fn along(forest: &Forest, path: &[usize], x: &Tensor<4>) -> Tensor<4> {
    // Nodes that follow one another in memory are one piece.
    let mut pieces: Vec<(usize, usize)> = Vec::with_capacity(path.len());
    for &node in path {
        let node = &forest.nodes[node];
        match pieces.last_mut() {
            Some((offset, len)) if *offset + *len == node.offset => *len += node.len,
            _ => pieces.push((node.offset, node.len)),
        }
    }
    let part = |&(offset, len): &(usize, usize)| x.clone().narrow(1, offset, len);
    match pieces.as_slice() {
        [one] => part(one),
        several => Tensor::cat(several.iter().map(part).collect(), 1),
    }
}
