//! A Llama in GGUF: its metadata as a configuration and back, its tensors' names.

use super::{GgufFile, GgufMetadata};
use crate::generation::distinct;
use crate::hf_config::HfConfig;
use crate::weights::{EMBEDDING, HEAD, LAST_NORM};
use crate::{Dtype, FormatError, LazyTensor};
use slender_config::{FfnKind, LayerSharing, ModelConfig, ModelShape, SharingKind};
use std::path::Path;

/// The only architecture: Llama's.
const ARCHITECTURE: &str = "llama";

/// GGUF's name of a block's weight (below `blk.N.`) beside ours (below `model.layers.N.`).
const BLOCK_NAMES: [(&str, &str); 9] = [
    ("attn_norm.weight", "input_layernorm.weight"),
    ("attn_q.weight", "self_attn.q_proj.weight"),
    ("attn_k.weight", "self_attn.k_proj.weight"),
    ("attn_v.weight", "self_attn.v_proj.weight"),
    ("attn_output.weight", "self_attn.o_proj.weight"),
    ("ffn_norm.weight", "post_attention_layernorm.weight"),
    ("ffn_gate.weight", "mlp.gate_proj.weight"),
    ("ffn_down.weight", "mlp.down_proj.weight"),
    ("ffn_up.weight", "mlp.up_proj.weight"),
];

/// Names outside the blocks.
const OUTER_NAMES: [(&str, &str); 3] = [
    ("token_embd.weight", EMBEDDING),
    ("output_norm.weight", LAST_NORM),
    ("output.weight", HEAD),
];

/// Our name of a GGUF tensor.
fn our_name(name: &str) -> Option<String> {
    if let Some((_, ours)) = OUTER_NAMES.iter().find(|(theirs, _)| *theirs == name) {
        return Some((*ours).to_owned());
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    let (_, ours) = BLOCK_NAMES.iter().find(|(theirs, _)| *theirs == rest)?;
    Some(format!("model.layers.{layer}.{ours}"))
}

/// GGUF's name of one of our weights, all of which have one in a plain Llama.
pub(crate) fn tensor_name(name: &str) -> Option<String> {
    if let Some((theirs, _)) = OUTER_NAMES.iter().find(|(_, ours)| *ours == name) {
        return Some((*theirs).to_owned());
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (theirs, _) = BLOCK_NAMES.iter().find(|(_, ours)| *ours == rest)?;
    Some(format!("blk.{layer}.{theirs}"))
}

/// The model of a file: its configuration, and its tensors under our names with our order of rows.
pub(crate) fn checkpoint(
    file: &Path,
    gguf: &GgufFile,
) -> Result<(HfConfig, Vec<LazyTensor>), FormatError> {
    if let Some(count) = gguf.metadata.u64("split.count").filter(|count| *count > 1) {
        return Err(FormatError::unsupported(
            file,
            format!(
                "is one of the {count} files of a split model (`split.count`); a GGUF model is read from one file\n  hint: join them with llama.cpp's `llama-gguf-split --merge FIRST-FILE OUT.gguf`"
            ),
        ));
    }
    let config = config(file, gguf)?;
    let mut tensors = Vec::with_capacity(gguf.tensors.len());
    for tensor in &gguf.tensors {
        let name = tensor.name();
        if name == "rope_freqs.weight" {
            return Err(FormatError::unsupported(
                file,
                "tensor `rope_freqs.weight` asks for scaled positions, which are not supported",
            ));
        }
        if name.ends_with(".bias") {
            return Err(FormatError::unsupported(
                file,
                format!("tensor `{name}`: biases are not supported"),
            ));
        }
        let ours = our_name(name).ok_or_else(|| {
            FormatError::unsupported(
                file,
                format!("tensor `{name}` belongs to no part of a plain Llama"),
            )
        })?;
        let tensor = tensor.renamed(&*ours);
        tensors.push(if ours.ends_with("q_proj.weight") {
            tensor.halves_from_pairs(config.shape.n_heads)
        } else if ours.ends_with("k_proj.weight") {
            tensor.halves_from_pairs(config.shape.n_kv_heads)
        } else {
            tensor
        });
    }
    Ok((config, tensors))
}

/// Keys below `llama.` that describe the model and are understood.
const KNOWN: [&str; 14] = [
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.layer_norm_rms_epsilon",
    "attention.key_length",
    "attention.value_length",
    "rope.dimension_count",
    "rope.freq_base",
    "vocab_size",
    "tensor_data_layout",
    // Which of several equal files this is.
    "source.url",
];

fn config(file: &Path, gguf: &GgufFile) -> Result<HfConfig, FormatError> {
    let meta = &gguf.metadata;
    let bad = |message: String| FormatError::malformed(file, message);
    let architecture = meta.str("general.architecture").unwrap_or("");
    if architecture != ARCHITECTURE {
        return Err(FormatError::unsupported(
            file,
            format!("architecture `{architecture}` is not supported; llama is"),
        ));
    }
    refuse_unsupported(file, meta)?;
    let key = |name: &str| format!("{ARCHITECTURE}.{name}");
    let number = |name: &str| -> Result<Option<usize>, FormatError> {
        match meta.get(&key(name)) {
            None => Ok(None),
            Some(value) => {
                let number = value.as_u64().and_then(|n| usize::try_from(n).ok());
                number
                    .map(Some)
                    .ok_or_else(|| bad(format!("`{}` is no whole number", key(name))))
            }
        }
    };
    let need = |name: &str| number(name)?.ok_or_else(|| bad(format!("`{}` is missing", key(name))));
    let float = |name: &str| meta.f64(&key(name));
    let (dim, n_heads) = (need("embedding_length")?, need("attention.head_count")?);
    let head_dim = number("attention.key_length")?;
    let width = head_dim.or_else(|| dim.checked_div(n_heads)).unwrap_or(0);
    if let Some(values) = number("attention.value_length")?
        && values != width
    {
        return Err(FormatError::unsupported(
            file,
            format!("`llama.attention.value_length` is {values}, keys have {width}"),
        ));
    }
    if let Some(rotated) = number("rope.dimension_count")?
        && rotated != width
    {
        return Err(FormatError::unsupported(
            file,
            format!("`llama.rope.dimension_count` is {rotated}, heads have {width}"),
        ));
    }
    let embedding = gguf
        .tensors
        .iter()
        .find(|t| t.name() == "token_embd.weight");
    let rows = embedding
        .and_then(|tensor| tensor.dims().first().copied())
        .ok_or_else(|| bad("tensor `token_embd.weight` is missing".into()))?;
    let model = ModelConfig {
        from: None,
        n_layers: need("block_count")?,
        dim,
        n_heads,
        n_kv_heads: number("attention.head_count_kv")?.unwrap_or(n_heads),
        head_dim,
        ffn: FfnKind::Swiglu,
        ffn_hidden: Some(need("feed_forward_length")?),
        max_seq_len: need("context_length")?,
        rope_theta: float("rope.freq_base").map_or(10_000.0, as_written),
        norm_eps: float("attention.layer_norm_rms_epsilon")
            .map(as_written)
            .ok_or_else(|| bad("`llama.attention.layer_norm_rms_epsilon` is missing".into()))?,
        init_std: 0.02,
        qk_norm: false,
        tie_embeddings: !gguf.tensors.iter().any(|t| t.name() == "output.weight"),
        layer_sharing: LayerSharing {
            kind: SharingKind::None,
            repeats: Some(1),
        },
        pad_vocab_multiple: 1,
    };
    let shape = ModelShape::resolve(&model, rows).map_err(|problems| {
        let texts: Vec<String> = problems
            .iter()
            .map(|p| format!("{}: {}", p.key, p.message))
            .collect();
        bad(texts.join("; "))
    })?;
    let token = |key: &str| u32::try_from(meta.u64(key)?).ok();
    let [eos, turns @ ..] = ENDS;
    // Beyond the vocabulary there is none, by which some files mean that they have none.
    let turns = turns.into_iter().filter_map(token);
    let turns = turns.filter(|id| (*id as usize) < shape.vocab_size);
    let ends = token(eos).into_iter().chain(turns).collect();
    Ok(HfConfig {
        shape,
        bos_token_id: token("tokenizer.ggml.bos_token_id"),
        eos_token_ids: distinct(ends),
    })
}

/// Keys of the tokens that end a text: every text, an answer of a conversation, and one that asks for a tool.
const ENDS: [&str; 3] = [
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.eom_token_id",
];

/// Adds the tokens in `ends` to `metadata`, which may have a tokenizer's end token already; returns those for which
/// GGUF has no key left.
pub fn add_ends(metadata: &mut GgufMetadata, ends: &[u32]) -> Vec<u32> {
    let eos = metadata.u64(ENDS[0]);
    let mut more = ends.iter().filter(|id| eos != Some(u64::from(**id)));
    let free = ENDS.into_iter().skip(usize::from(eos.is_some()));
    // Keys first, so that no token is taken from `more` for which there is none.
    for (key, id) in free.zip(more.by_ref()) {
        metadata.set(key, *id);
    }
    more.copied().collect()
}

/// Refuses by name keys that ask for another computation; unknown keys about the model are refused too,
/// because nobody can say what they ask for.
fn refuse_unsupported(file: &Path, meta: &GgufMetadata) -> Result<(), FormatError> {
    for (key, value) in meta.iter() {
        let Some(name) = key.strip_prefix("llama.") else {
            continue;
        };
        let harmless = match name {
            "rope.scaling.type" => value.as_str() == Some("none"),
            "rope.scaling.finetuned" => value.as_bool() == Some(false),
            "rope.scaling.factor" | "rope.scale_linear" | "rope.scaling.attn_factor" => {
                value.as_f64() == Some(1.0)
            }
            "expert_count" | "expert_used_count" | "attention.sliding_window" => {
                value.as_u64() == Some(0)
            }
            "attention.causal" => value.as_bool() == Some(true),
            name => KNOWN.contains(&name),
        };
        if !harmless {
            return Err(FormatError::unsupported(
                file,
                format!("metadata `{key}` asks for something that is not supported"),
            ));
        }
    }
    Ok(())
}

/// The metadata of a plain Llama of `config`, stored mostly as `dtype`, without its tokenizer.
pub(crate) fn metadata_of(config: &HfConfig, name: &str, dtype: Dtype) -> GgufMetadata {
    let s = &config.shape;
    let mut meta = GgufMetadata::new();
    meta.set("general.architecture", ARCHITECTURE);
    meta.set("general.type", "model");
    meta.set("general.name", name);
    // llama.cpp's numbers for what most tensors are stored as.
    let file_type: u32 = match dtype {
        Dtype::F32 => 0,
        Dtype::F16 => 1,
        Dtype::Q4_0 => 2,
        Dtype::Q4_1 => 3,
        Dtype::Q8_0 => 7,
        Dtype::Bf16 => 32,
    };
    meta.set("general.file_type", file_type);
    if dtype.is_quantized() {
        meta.set("general.quantization_version", 2u32);
    }
    let mut number = |key: &str, n: usize| {
        meta.set(
            format!("{ARCHITECTURE}.{key}"),
            u32::try_from(n).unwrap_or(u32::MAX),
        );
    };
    number("vocab_size", s.vocab_size);
    number("context_length", s.max_seq_len);
    number("embedding_length", s.dim);
    number("block_count", s.n_layers);
    number("feed_forward_length", s.ffn_hidden);
    number("attention.head_count", s.n_heads);
    number("attention.head_count_kv", s.n_kv_heads);
    number("attention.key_length", s.head_dim);
    number("attention.value_length", s.head_dim);
    number("rope.dimension_count", s.head_dim);
    meta.set("llama.rope.freq_base", s.rope_theta as f32);
    meta.set("llama.attention.layer_norm_rms_epsilon", s.norm_eps as f32);
    meta
}

/// A number that was written in f32, as the shortest decimal that f32 reads so: 1e-5 and not
/// 9.999999747378752e-6.
fn as_written(value: f64) -> f64 {
    let single = value as f32;
    match f64::from(single) == value {
        true => single.to_string().parse().unwrap_or(value),
        false => value,
    }
}
