//! Writing a model: a Hugging Face folder, which is also slender's own form, or a GGUF file.

use crate::gguf::{self, GgufMetadata};
use crate::safetensors::{self, Index, plan_shards};
use crate::{Checkpoint, Dtype, FormatError, LazyTensor, Unfinished};
use std::path::Path;

/// What numbers are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// As they are; quantized ones as f32.
    Keep,
    /// All as this type. In GGUF, norms stay f32, and rows that are no whole blocks become f16.
    As(Dtype),
}

/// Largest file of weights unless told otherwise: 5 GB, as transformers has it.
pub const DEFAULT_SHARD_BYTES: u64 = 5_000_000_000;

/// Writes weights and `config.json` into a folder; the configuration is the last of them.
///
/// Memory is that of the largest weight.
///
/// # Errors
/// [`FormatError`]: the operating system's, damaged sources, numbers that the type has no place for.
pub fn write_model(
    folder: &Unfinished,
    model: &Checkpoint,
    storage: Storage,
    max_shard_bytes: u64,
) -> Result<(), FormatError> {
    let dtype = |tensor: &LazyTensor| match storage {
        Storage::As(dtype) => dtype,
        Storage::Keep if tensor.dtype().is_quantized() => Dtype::F32,
        Storage::Keep => tensor.dtype(),
    };
    let typed = model.tensors.iter();
    let typed: Vec<_> = typed
        .map(|tensor| (tensor.clone(), dtype(tensor)))
        .collect();
    let shards = plan_shards(typed, max_shard_bytes);
    let (mut index, mut total) = (Index::default(), 0);
    for shard in &shards {
        total += safetensors::write(&folder.path().join(&shard.name), &shard.tensors)?;
        for (tensor, _) in &shard.tensors {
            let name = tensor.name().to_owned();
            index.weight_map.insert(name, shard.name.clone());
        }
    }
    if shards.len() > 1 {
        folder.write(safetensors::INDEX, &index.to_json(total))?;
    }
    let named = match storage {
        Storage::As(dtype) => dtype,
        Storage::Keep => model.plain_dtype(),
    };
    folder.write("config.json", &model.config.to_json_with(named))
}

/// Writes a plain Llama as a GGUF file to `path`, with `extra` metadata: the tokenizer and whatever else.
///
/// # Errors
/// As [`write_model`], and [`FormatError::Inexpressible`] for a model that is no plain Llama.
pub fn write_gguf(
    path: &Path,
    model: &Checkpoint,
    storage: Storage,
    name: &str,
    extra: GgufMetadata,
) -> Result<(), FormatError> {
    if !model.config.is_plain_llama() {
        return Err(FormatError::Inexpressible(
            "GGUF has no place for shared blocks, QK-norm or other feed-forwards".into(),
        ));
    }
    let dtype = |tensor: &LazyTensor| {
        let wanted = match storage {
            Storage::As(dtype) => dtype,
            Storage::Keep => tensor.dtype(),
        };
        if tensor.dims().len() < 2 {
            Dtype::F32
        } else if wanted.byte_len(tensor.dims()).is_none() {
            Dtype::F16
        } else {
            wanted
        }
    };
    let shape = &model.config.shape;
    let mut typed = Vec::with_capacity(model.tensors.len());
    for tensor in &model.tensors {
        let ours = tensor.name();
        let theirs = gguf::tensor_name(ours).ok_or_else(|| {
            FormatError::Inexpressible(format!("GGUF's Llama has no weight `{ours}`"))
        })?;
        let renamed = tensor.renamed(theirs);
        let rows = if ours.ends_with("q_proj.weight") {
            renamed.pairs_from_halves(shape.n_heads)
        } else if ours.ends_with("k_proj.weight") {
            renamed.pairs_from_halves(shape.n_kv_heads)
        } else {
            renamed
        };
        typed.push((rows, dtype(tensor)));
    }
    let named = match storage {
        Storage::As(dtype) => dtype,
        Storage::Keep => model.tensors.first().map_or(Dtype::F32, LazyTensor::dtype),
    };
    let mut metadata = gguf::metadata_of(&model.config, name, named);
    metadata.extend(extra);
    gguf::write(path, &metadata, &typed)
}
