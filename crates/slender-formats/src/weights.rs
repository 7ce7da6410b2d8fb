//! Which weights a model of a shape has, and whether a file has exactly these.
//!
//! Names and layouts are Hugging Face's Llama's. The list is made lazily: a configuration that claims
//! millions of layers costs nothing before the first weight is found missing.

use crate::{FormatError, LazyTensor};
use slender_config::{FfnKind, ModelShape};
use std::collections::HashMap;
use std::path::Path;

/// Name of the embedding.
pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
/// Name of the output projection.
pub(crate) const HEAD: &str = "lm_head.weight";
/// Name of the last norm.
pub(crate) const LAST_NORM: &str = "model.norm.weight";

/// Names below `model.layers.N.` and dimensions of one block's weights, in module order.
pub(crate) fn block_weights(shape: &ModelShape) -> Vec<(&'static str, Vec<usize>)> {
    let (d, f, dh) = (shape.dim, shape.ffn_hidden, shape.head_dim);
    let (q, kv) = (
        shape.n_heads.saturating_mul(dh),
        shape.n_kv_heads.saturating_mul(dh),
    );
    let mut list = vec![
        ("input_layernorm.weight", vec![d]),
        ("self_attn.q_proj.weight", vec![q, d]),
        ("self_attn.k_proj.weight", vec![kv, d]),
        ("self_attn.v_proj.weight", vec![kv, d]),
        ("self_attn.o_proj.weight", vec![d, q]),
    ];
    if shape.qk_norm {
        list.push(("self_attn.q_norm.weight", vec![dh]));
        list.push(("self_attn.k_norm.weight", vec![dh]));
    }
    list.push(("post_attention_layernorm.weight", vec![d]));
    if shape.ffn == FfnKind::Swiglu {
        list.push(("mlp.gate_proj.weight", vec![f, d]));
    }
    list.push(("mlp.up_proj.weight", vec![f, d]));
    list.push(("mlp.down_proj.weight", vec![d, f]));
    list
}

/// Names and dimensions of every weight of a model of `shape`, in module order.
pub fn expected_weights(shape: &ModelShape) -> impl Iterator<Item = (String, Vec<usize>)> {
    let block = block_weights(shape);
    let table = [shape.vocab_size, shape.dim];
    let head = (!shape.tie_embeddings).then(|| (HEAD.to_owned(), table.to_vec()));
    let layers = (0..shape.n_layers).flat_map(move |layer| {
        let name = move |rest: &str| format!("model.layers.{layer}.{rest}");
        block
            .clone()
            .into_iter()
            .map(move |(rest, dims)| (name(rest), dims))
    });
    std::iter::once((EMBEDDING.to_owned(), table.to_vec()))
        .chain(layers)
        .chain(std::iter::once((LAST_NORM.to_owned(), vec![shape.dim])))
        .chain(head)
}

/// Whether a weight may be there beside those of the shape: old Llama files store the rotary frequencies.
fn is_derived(name: &str) -> bool {
    name.ends_with("rotary_emb.inv_freq")
}

/// Puts the tensors of a checkpoint into module order and holds them against `shape`: every weight is there
/// once with its dimensions, and no other. `file` is named in errors about all of them.
///
/// # Errors
/// [`FormatError::Malformed`] naming the weight.
pub fn assemble(
    file: &Path,
    shape: &ModelShape,
    tensors: impl IntoIterator<Item = LazyTensor>,
) -> Result<Vec<LazyTensor>, FormatError> {
    let bad = |message: String| FormatError::malformed(file, message);
    let mut by_name: HashMap<String, LazyTensor> = HashMap::new();
    for tensor in tensors {
        if let Some(other) = by_name.insert(tensor.name().to_owned(), tensor) {
            return Err(bad(format!("weight `{}` is in two files", other.name())));
        }
    }
    let mut complete = Vec::new();
    for (name, dims) in expected_weights(shape) {
        let tensor = by_name
            .remove(&name)
            .ok_or_else(|| bad(format!("weight `{name}` is missing")))?;
        if tensor.dims() != dims {
            return Err(bad(format!(
                "weight `{name}` has shape {:?}, the config needs {dims:?}",
                tensor.dims()
            )));
        }
        complete.push(tensor);
    }
    // A tied checkpoint may repeat the embedding as an output projection.
    if shape.tie_embeddings
        && let Some(head) = by_name.remove(HEAD)
    {
        let embedding = &complete[0];
        if head.dims() != embedding.dims() || head.values()? != embedding.values()? {
            return Err(bad(format!(
                "the config ties the embeddings, but `{HEAD}` differs from the embedding"
            )));
        }
    }
    let mut unknown: Vec<&String> = by_name.keys().filter(|name| !is_derived(name)).collect();
    unknown.sort_unstable();
    match unknown.first() {
        Some(name) => Err(bad(format!(
            "weight `{name}` belongs to no part of a model of this config"
        ))),
        None => Ok(complete),
    }
}
