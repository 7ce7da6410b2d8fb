//! Where each weight begins in a llama2.c checkpoint.
//!
//! Weights of one kind lie together, layer after layer. Sizes are sums in u128 until they are known to be
//! those of the file, so no header can make them overflow.

use crate::weights::{EMBEDDING, HEAD, LAST_NORM};
use crate::{Blob, Dtype, FormatError, LazyTensor};
use slender_config::ModelShape;

/// How the numbers of a weight are stored.
#[derive(Clone, Copy)]
enum Stored {
    Plain,
    /// Signed bytes, then one f32 scale for each group of so many.
    Groups(u64),
}

/// A kind of weight: its name (below `model.layers.N.` where there is one for each layer), and its place.
struct Kind {
    name: &'static str,
    dims: Vec<usize>,
    each_layer: bool,
    stored: Stored,
    start: u128,
}

pub(super) struct Layout {
    kinds: Vec<Kind>,
    n_layers: usize,
    end: u128,
}

impl Layout {
    fn new(shape: &ModelShape, start: u64) -> Self {
        Self {
            kinds: Vec::new(),
            n_layers: shape.n_layers,
            end: u128::from(start),
        }
    }

    fn add(&mut self, name: &'static str, dims: &[usize], each_layer: bool, stored: Stored) {
        self.kinds.push(Kind {
            name,
            dims: dims.to_vec(),
            each_layer,
            stored,
            start: self.end,
        });
        let count = if each_layer { self.n_layers } else { 1 };
        self.end += byte_len(dims, stored) * count as u128;
    }

    fn add_norms(&mut self, shape: &ModelShape) {
        self.add("input_layernorm.weight", &[shape.dim], true, Stored::Plain);
        self.add(
            "post_attention_layernorm.weight",
            &[shape.dim],
            true,
            Stored::Plain,
        );
        self.add(LAST_NORM, &[shape.dim], false, Stored::Plain);
    }

    fn add_attention(&mut self, shape: &ModelShape, stored: Stored) {
        let d = shape.dim;
        let (q, kv) = (
            shape.n_heads * shape.head_dim,
            shape.n_kv_heads * shape.head_dim,
        );
        self.add("self_attn.q_proj.weight", &[q, d], true, stored);
        self.add("self_attn.k_proj.weight", &[kv, d], true, stored);
        self.add("self_attn.v_proj.weight", &[kv, d], true, stored);
        self.add("self_attn.o_proj.weight", &[d, q], true, stored);
    }

    fn add_feed_forward(&mut self, shape: &ModelShape, stored: Stored) {
        let (d, f) = (shape.dim, shape.ffn_hidden);
        self.add("mlp.gate_proj.weight", &[f, d], true, stored);
        self.add("mlp.down_proj.weight", &[d, f], true, stored);
        self.add("mlp.up_proj.weight", &[f, d], true, stored);
    }

    fn add_head(&mut self, shape: &ModelShape, stored: Stored) {
        if !shape.tie_embeddings {
            self.add(HEAD, &[shape.vocab_size, shape.dim], false, stored);
        }
    }

    pub fn version_0(shape: &ModelShape) -> Self {
        let mut layout = Self::new(shape, 28);
        let (d, plain) = (shape.dim, Stored::Plain);
        layout.add(EMBEDDING, &[shape.vocab_size, d], false, plain);
        layout.add("input_layernorm.weight", &[d], true, plain);
        layout.add_attention(shape, plain);
        layout.add("post_attention_layernorm.weight", &[d], true, plain);
        layout.add_feed_forward(shape, plain);
        layout.add(LAST_NORM, &[d], false, plain);
        // Cosines and sines of the rotary embedding, which are computed here.
        layout.end += 4 * shape.max_seq_len as u128 * shape.head_dim as u128;
        layout.add_head(shape, plain);
        layout
    }

    pub fn version_1(shape: &ModelShape, header: u64) -> Self {
        Self::with_header(shape, header, Stored::Plain)
    }

    pub fn version_2(shape: &ModelShape, header: u64, group: u64) -> Self {
        Self::with_header(shape, header, Stored::Groups(group))
    }

    fn with_header(shape: &ModelShape, header: u64, stored: Stored) -> Self {
        let mut layout = Self::new(shape, header);
        layout.add_norms(shape);
        layout.add(EMBEDDING, &[shape.vocab_size, shape.dim], false, stored);
        layout.add_attention(shape, stored);
        layout.add_feed_forward(shape, stored);
        layout.add_head(shape, stored);
        layout
    }

    /// Bytes of the whole file.
    pub fn total(&self) -> u128 {
        self.end
    }

    /// The weights, once the file is known to have [`Layout::total`] bytes.
    pub fn tensors(&self, blob: &Blob, shape: &ModelShape) -> Vec<LazyTensor> {
        let mut tensors = Vec::new();
        for kind in &self.kinds {
            let count = if kind.each_layer { self.n_layers } else { 1 };
            let len = byte_len(&kind.dims, kind.stored) as u64;
            for layer in 0..count {
                let name = match kind.each_layer {
                    true => format!("model.layers.{layer}.{}", kind.name),
                    false => kind.name.to_owned(),
                };
                let (at, stored) = (kind.start as u64 + layer as u64 * len, kind.stored);
                let inner = blob.clone();
                let read = move || {
                    let bytes = inner.read(at, len)?;
                    Ok::<_, FormatError>(match stored {
                        Stored::Plain => bytes,
                        Stored::Groups(group) => dequantize(&bytes, group as usize),
                    })
                };
                let tensor =
                    LazyTensor::new(blob.path(), name, kind.dims.clone(), Dtype::F32, read);
                tensors.push(match kind.name {
                    "self_attn.q_proj.weight" => tensor.halves_from_pairs(shape.n_heads),
                    "self_attn.k_proj.weight" => tensor.halves_from_pairs(shape.n_kv_heads),
                    _ => tensor,
                });
            }
        }
        tensors
    }
}

fn byte_len(dims: &[usize], stored: Stored) -> u128 {
    let count: u128 = dims.iter().map(|dim| *dim as u128).product();
    match stored {
        Stored::Plain => 4 * count,
        Stored::Groups(group) => count + 4 * (count / u128::from(group)),
    }
}

/// Signed bytes and the scales behind them, as the bytes of f32 numbers.
fn dequantize(bytes: &[u8], group: usize) -> Vec<u8> {
    // n bytes and n / group scales of four bytes.
    let count = bytes.len() / (group + 4) * group;
    let (numbers, scales) = bytes.split_at(count);
    let mut out = Vec::with_capacity(4 * count);
    for (numbers, scale) in numbers.chunks_exact(group).zip(scales.chunks_exact(4)) {
        let scale = f32::from_le_bytes([scale[0], scale[1], scale[2], scale[3]]);
        for number in numbers {
            out.extend((f32::from(*number as i8) * scale).to_le_bytes());
        }
    }
    out
}
