//! Checkpoints of llama2.c (`.bin`): a header of seven numbers, then weights in a fixed order.
//!
//! Version 0 has nothing but the seven numbers before the weights, so its only mark is that the file has
//! exactly the size they ask for. Versions 1 (f32) and 2 (groups of signed bytes with a scale) have a magic
//! number and a header of 256 bytes. All rotate pairs of neighbouring rows, where Hugging Face pairs the
//! halves of a head; queries and keys are rearranged. Layouts are those that llama2.c's `export.py` writes.

mod layout;
mod tokenizer;

pub use tokenizer::sentencepiece;

use crate::blob::Cursor;
use crate::hf_config::HfConfig;
use crate::{Blob, FormatError, LazyTensor};
use layout::Layout;
use slender_config::{FfnKind, LayerSharing, ModelConfig, ModelShape, SharingKind};

/// `ak42`, in the file as a little-endian number.
const MAGIC: u32 = 0x616b_3432;

/// Bytes before the weights in versions 1 and 2.
const HEADER: u64 = 256;

/// Reads a checkpoint: its shape, and its weights under slender's names.
///
/// Files do not record the norm's epsilon and the rotary base; llama2.c computes with 1e-5 and 10,000.
///
/// # Errors
/// A header that makes no model, a file of another size than it asks for, or an unknown version.
pub fn read(blob: &Blob) -> Result<(HfConfig, Vec<LazyTensor>), FormatError> {
    let bad = |message: String| FormatError::malformed(blob.path(), message);
    let mut cursor = Cursor::new(blob);
    if blob.len() < 28 {
        return Err(bad("neither GGUF nor a llama2.c checkpoint".into()));
    }
    let first = cursor.u32()?;
    let version = if first == MAGIC { cursor.i32()? } else { 0 };
    if !(0..=2).contains(&version) {
        return Err(FormatError::unsupported(
            blob.path(),
            format!("llama2.c version {version}; versions 0, 1 and 2 are read"),
        ));
    }
    let mut numbers = [0i64; 7];
    for (index, number) in numbers.iter_mut().enumerate() {
        *number = match (version, index) {
            (0, 0) => i64::from(first as i32),
            _ => i64::from(cursor.i32()?),
        };
    }
    let [dim, hidden, layers, heads, kv_heads, vocab, seq_len] = numbers;
    let (tied, group) = match version {
        // A negative vocabulary marks an output projection of its own.
        0 => (vocab > 0, 0),
        _ => {
            let tied = cursor.array::<1>()? != [0];
            (tied, if version == 2 { cursor.i32()? } else { 0 })
        }
    };
    let vocab = if version == 0 { vocab.abs() } else { vocab };
    let numbers = [dim, hidden, layers, heads, kv_heads, vocab, seq_len];
    if numbers.iter().any(|number| !(1..=1 << 24).contains(number)) {
        return Err(bad(
            "neither GGUF nor a llama2.c checkpoint: its first numbers make no model".into(),
        ));
    }
    let config = ModelConfig {
        from: None,
        n_layers: layers as usize,
        dim: dim as usize,
        n_heads: heads as usize,
        n_kv_heads: kv_heads as usize,
        head_dim: None,
        ffn: FfnKind::Swiglu,
        ffn_hidden: Some(hidden as usize),
        max_seq_len: seq_len as usize,
        rope_theta: 10_000.0,
        norm_eps: 1e-5,
        init_std: 0.02,
        qk_norm: false,
        tie_embeddings: tied,
        layer_sharing: LayerSharing {
            kind: SharingKind::None,
            repeats: Some(1),
        },
        pad_vocab_multiple: 1,
    };
    let shape = ModelShape::resolve(&config, vocab as usize).map_err(|problems| {
        let texts: Vec<String> = problems
            .iter()
            .map(|p| format!("{}: {}", p.key, p.message))
            .collect();
        bad(format!(
            "a llama2.c header that makes no model: {}",
            texts.join("; ")
        ))
    })?;
    if version == 2 && (group <= 0 || shape.dim % group as usize != 0) {
        return Err(bad(format!(
            "groups of {group} do not divide rows of {dim}"
        )));
    }
    let layout = match version {
        0 => Layout::version_0(&shape),
        1 => Layout::version_1(&shape, HEADER),
        _ => Layout::version_2(&shape, HEADER, group as u64),
    };
    if layout.total() != u128::from(blob.len()) {
        return Err(bad(format!(
            "has {} bytes; a llama2.c checkpoint, version {version}, of {layers} layers, dim {dim}, hidden {hidden}, vocabulary {vocab} and sequence {seq_len} has {}\n  hint: is the file whole?",
            blob.len(),
            layout.total()
        )));
    }
    let config = HfConfig {
        // llama2.c's tokenizers are SentencePiece's: 1 begins a text, 2 ends it.
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
        shape,
    };
    let tensors = layout.tensors(blob, &config.shape);
    Ok((config, tensors))
}
