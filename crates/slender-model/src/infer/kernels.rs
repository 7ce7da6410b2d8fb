//! The model on the CPU's inference kernels: packed weights on the host, no Burn tensors.
//!
//! Shapes: N tokens of a pass, D residual width, H query heads, K key-value heads, Dh head width, F
//! feed-forward width, V vocabulary. All activations are rows.

use crate::block::Block;
use crate::transformer::Transformer;
use burn::module::Param;
use burn::tensor::{Tensor, TensorData};
use slender_config::{FfnKind, ModelShape};
use slender_kernels::infer::{
    Heads, LayerCache, Packed, Rope, Team, WeightFormat, attend, relu_rows, rms_norm_rows,
    swiglu_rows,
};
use slender_kernels::{RopeTable, gelu};

/// One block.
#[derive(Debug)]
struct Layer {
    /// `[D]`.
    input_norm: Vec<f32>,
    /// Queries, keys and values: `[H·Dh, D]`, `[K·Dh, D]`, `[K·Dh, D]`.
    qkv: Packed,
    /// `[Dh]` each, with `qk_norm`.
    head_norms: Option<[Vec<f32>; 2]>,
    /// `[D, H·Dh]`.
    o: Packed,
    /// `[D]`.
    post_norm: Vec<f32>,
    /// Gate and up, `[F, D]` each, or up alone.
    up: Packed,
    /// `[D, F]`.
    down: Packed,
}

/// Weights on the host.
#[derive(Debug)]
pub(super) struct KernelModel {
    shape: ModelShape,
    schedule: Vec<usize>,
    heads: Heads,
    rope: Rope,
    /// `[V, D]`; also the output projection where there is no other.
    embedding: Packed,
    head: Option<Packed>,
    /// `[D]`.
    norm: Vec<f32>,
    layers: Vec<Layer>,
}

/// Row-major values of a weight.
fn host<const R: usize>(weight: &Param<Tensor<R>>) -> Vec<f32> {
    let data = weight.val().into_data().convert::<f32>();
    data.try_into_vec().expect("converted to f32")
}

impl Layer {
    fn new(block: Block, format: WeightFormat) -> Self {
        let attention = &block.self_attn;
        let pack = |matrices: &[&Param<Tensor<2>>]| {
            let terms = matrices[0].val().dims()[1];
            let values: Vec<Vec<f32>> = matrices.iter().map(|weight| host(weight)).collect();
            let slices: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
            Packed::new(format, terms, &slices)
        };
        let head_norms = attention.q_norm.as_ref().zip(attention.k_norm.as_ref());
        let up = &block.mlp.up_proj.weight;
        Self {
            input_norm: host(&block.input_layernorm.weight),
            qkv: pack(&[
                &attention.q_proj.weight,
                &attention.k_proj.weight,
                &attention.v_proj.weight,
            ]),
            head_norms: head_norms.map(|(q, k)| [host(&q.weight), host(&k.weight)]),
            o: pack(&[&attention.o_proj.weight]),
            post_norm: host(&block.post_attention_layernorm.weight),
            up: match &block.mlp.gate_proj {
                Some(gate) => pack(&[&gate.weight, up]),
                None => pack(&[up]),
            },
            down: pack(&[&block.mlp.down_proj.weight]),
        }
    }

    fn bytes(&self) -> usize {
        let packed = [&self.qkv, &self.o, &self.up, &self.down];
        packed.iter().map(|weight| weight.bytes()).sum()
    }
}

/// Memory of a pass, used by one layer after another.
#[derive(Default)]
struct Buffers {
    /// `[N, D]`.
    normed: Vec<f32>,
    /// `[N, width of qkv]`.
    qkv: Vec<f32>,
    /// `[N, H·Dh]`.
    attended: Vec<f32>,
    /// `[N, width of up]`.
    up: Vec<f32>,
    /// `[N, F]`.
    hidden: Vec<f32>,
    /// `[N, width of o or down]`.
    out: Vec<f32>,
    /// One token's heads.
    heads: Vec<f32>,
}

impl KernelModel {
    /// Packs the weights; each Burn tensor is dropped when it has been packed.
    pub(super) fn new(model: Transformer, format: WeightFormat) -> Self {
        let shape = model.shape().clone();
        let device = model.model.norm.weight.val().device();
        let table = RopeTable::new(
            shape.max_seq_len,
            shape.head_dim,
            shape.rope_theta,
            &device.without_autodiff(),
        );
        let floats = |tensor: Tensor<2>| -> Vec<f32> {
            let data = tensor.into_data().convert::<f32>();
            data.try_into_vec().expect("converted to f32")
        };
        let pack = |weight: Param<Tensor<2>>| Packed::new(format, shape.dim, &[&host(&weight)]);
        let norm = host(&model.model.norm.weight);
        let embedding = pack(model.model.embed_tokens.weight);
        let head = model.lm_head.map(|head| pack(head.weight));
        let layers = model.model.layers.into_iter();
        Self {
            schedule: shape.schedule(),
            heads: Heads {
                heads: shape.n_heads,
                kv_heads: shape.n_kv_heads,
                head_dim: shape.head_dim,
            },
            rope: Rope::new(floats(table.cos()), floats(table.sin()), shape.head_dim),
            embedding,
            head,
            norm,
            layers: layers.map(|block| Layer::new(block, format)).collect(),
            shape,
        }
    }

    /// See [`super::Engine::weight_bytes`].
    pub(super) fn weight_bytes(&self) -> (usize, usize) {
        let output = self.output().bytes();
        let runs = self
            .schedule
            .iter()
            .map(|&layer| self.layers[layer].bytes());
        let distinct = self.layers.iter().map(Layer::bytes);
        (
            output + runs.sum::<usize>(),
            output + distinct.sum::<usize>(),
        )
    }

    fn output(&self) -> &Packed {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// Reads tokens of several sequences, given with their caches; appends the states after the final
    /// norm of the tokens `wanted`, counted through all sequences, to `hidden` `[.., D]`.
    pub(super) fn hidden(
        &self,
        team: &Team,
        parts: &mut [(&mut [LayerCache], &[u32])],
        wanted: &[usize],
        hidden: &mut Vec<f32>,
    ) {
        let (d, eps) = (self.shape.dim, self.shape.norm_eps);
        let tokens: Vec<u32> = parts.iter().flat_map(|part| part.1.to_vec()).collect();
        let positions = parts.iter().flat_map(|(cache, tokens)| {
            let before = cache.first().map_or(0, LayerCache::len);
            before..before + tokens.len()
        });
        let positions: Vec<usize> = positions.collect();
        let mut x = vec![0.0; tokens.len() * d]; // [N, D]
        team.chunks_mut(&mut x, d, |token, x| {
            self.embedding.row(tokens[token] as usize, x);
        });
        let mut b = Buffers::default();
        for (execution, &layer) in self.schedule.iter().enumerate() {
            let layer = &self.layers[layer];
            rms_norm_rows(team, &x, &layer.input_norm, eps, &mut b.normed); // [N, D]
            layer.qkv.forward(team, &b.normed, &mut b.qkv); // [N, q, k, v]
            self.attention(team, layer, execution, parts, &positions, &mut b);
            layer.o.forward(team, &b.attended, &mut b.out); // [N, D]
            add(&mut x, d, &b.out, layer.o.width());
            rms_norm_rows(team, &x, &layer.post_norm, eps, &mut b.normed); // [N, D]
            layer.up.forward(team, &b.normed, &mut b.up); // [N, gate, up]
            self.activate(team, layer, &mut b); // [N, F]
            layer.down.forward(team, &b.hidden, &mut b.out); // [N, D]
            add(&mut x, d, &b.out, layer.down.width());
        }
        let rows: Vec<f32> = wanted
            .iter()
            .flat_map(|&i| x[i * d..][..d].to_vec())
            .collect();
        let mut normed = Vec::new();
        rms_norm_rows(team, &rows, &self.norm, eps, &mut normed);
        hidden.extend(normed);
    }

    /// From the products in `b.qkv` to attention's output in `b.attended`; the caches grow.
    fn attention(
        &self,
        team: &Team,
        layer: &Layer,
        execution: usize,
        parts: &mut [(&mut [LayerCache], &[u32])],
        positions: &[usize],
        b: &mut Buffers,
    ) {
        let width = layer.qkv.width();
        let [query, key, value] = [0, 1, 2].map(|index| layer.qkv.part(index));
        for (row, &position) in b.qkv.chunks_exact_mut(width).zip(positions) {
            for (index, part) in [&query, &key].into_iter().enumerate() {
                let heads = &mut row[part.clone()];
                if let Some(norms) = &layer.head_norms {
                    let (alone, eps) = (Team::alone(), self.shape.norm_eps);
                    rms_norm_rows(&alone, heads, &norms[index], eps, &mut b.heads);
                    heads.copy_from_slice(&b.heads);
                }
                self.rope.rotate(heads, position, &mut b.heads);
            }
        }
        let mut from = 0;
        let mut caches = Vec::with_capacity(parts.len());
        for (cache, tokens) in parts.iter_mut() {
            let rows = &b.qkv[from * width..(from + tokens.len()) * width];
            let cache = &mut cache[execution];
            cache.append(&self.heads, rows, width, [key.clone(), value.clone()]);
            caches.push((&*cache, tokens.len()));
            from += tokens.len();
        }
        attend(team, &self.heads, &b.qkv, width, &caches, &mut b.attended);
    }

    /// From the products in `b.up` to the hidden layer in `b.hidden`.
    fn activate(&self, team: &Team, layer: &Layer, b: &mut Buffers) {
        let (width, f) = (layer.up.width(), self.shape.ffn_hidden);
        match self.shape.ffn {
            FfnKind::Swiglu => {
                let parts = [layer.up.part(0), layer.up.part(1)];
                swiglu_rows(team, &b.up, width, parts, &mut b.hidden);
            }
            FfnKind::Relu => relu_rows(&b.up, width, f, &mut b.hidden),
            FfnKind::Gelu => {
                // Burn's error function, so that the values are those of training.
                let rows = b.up.chunks_exact(width);
                let values: Vec<f32> = rows.flat_map(|row| row[..f].to_vec()).collect();
                let n = values.len() / f;
                let device = burn::tensor::Device::flex();
                let x = Tensor::<3>::from_data(TensorData::new(values, [1, n, f]), &device);
                b.hidden = gelu(x).into_data().try_into_vec().expect("f32"); // [1, N, F]
            }
        }
    }

    /// Hidden states `[N, D]` to logits `[N, V]`.
    pub(super) fn logits(&self, team: &Team, hidden: &[f32]) -> Vec<f32> {
        let (output, v) = (self.output(), self.shape.vocab_size);
        let mut logits = Vec::new();
        output.forward(team, hidden, &mut logits);
        if output.width() > v {
            let rows = logits.chunks_exact(output.width());
            logits = rows.flat_map(|row| row[..v].to_vec()).collect();
        }
        logits
    }
}

/// `x += out` of rows of `d`, which in `out` are `width` apart.
fn add(x: &mut [f32], d: usize, out: &[f32], width: usize) {
    for (x, out) in x.chunks_exact_mut(d).zip(out.chunks_exact(width)) {
        x.iter_mut().zip(out).for_each(|(x, out)| *x += out);
    }
}
