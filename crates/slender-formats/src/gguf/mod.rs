//! GGUF, the format of llama.cpp: metadata, then tensors, in one file.
//!
//! Versions 2 and 3, little-endian. The layout is that of ggml's `docs/gguf.md`: magic, version, counts,
//! key-value pairs, tensor descriptions, then the tensors' bytes at aligned offsets.
//!
//! [`GgufFile`] is a file as it stands; [`checkpoint`](crate::Checkpoint) conversion is in `model`.
//! Tokenizers in the metadata are converted where tokenizers are, in `slender-data`.

mod metadata;
mod model;
mod read;
mod write;

pub use metadata::{GgufArray, GgufMetadata, GgufValue};
pub use model::add_ends;
pub(crate) use model::{checkpoint, metadata_of, tensor_name};
pub use read::GgufFile;
pub(crate) use write::write;

/// First four bytes of a file.
pub(crate) const MAGIC: &[u8; 4] = b"GGUF";

/// Alignment of tensors where `general.alignment` says nothing.
const DEFAULT_ALIGNMENT: u64 = 32;

/// Numbers of ggml's tensor types.
const TENSOR_TYPES: [(u32, crate::Dtype); 6] = [
    (0, crate::Dtype::F32),
    (1, crate::Dtype::F16),
    (2, crate::Dtype::Q4_0),
    (3, crate::Dtype::Q4_1),
    (8, crate::Dtype::Q8_0),
    (30, crate::Dtype::Bf16),
];

/// Names of the other tensor types, so that a refusal can say what a file holds.
const OTHER_TYPES: [(u32, &str); 23] = [
    (6, "Q5_0"),
    (7, "Q5_1"),
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (12, "Q4_K"),
    (13, "Q5_K"),
    (14, "Q6_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
];
