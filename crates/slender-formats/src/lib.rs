//! Models in the formats of the field: in from anywhere, out to anywhere, never through Burn.
//!
//! A source is a checked configuration and a list of tensors that are not read yet ([`Checkpoint`]); a target
//! is written from such a list, one tensor at a time. So a conversion takes the memory of the largest weight,
//! and knows that names, shapes and sizes fit before it reads or writes a number.
//!
//! | format | in | out |
//! |---|---|---|
//! | Hugging Face folder: safetensors, one file or several | yes | yes |
//! | Hugging Face folder: PyTorch `.bin`, one file or several | yes | |
//! | GGUF: f32, f16, bf16, Q8_0 | yes | yes |
//! | GGUF: Q4_0, Q4_1 | yes | |
//! | llama2.c `.bin`, versions 0, 1 and 2 | yes | |
//!
//! Files are a stranger's. Every length, offset and count is held against the file before it is believed or
//! allocated; nothing in a file is run; what this program does not compute is refused by name. The `fuzz`
//! folder of the repository has a target for each parser.

mod blob;
mod card;
mod checkpoint;
mod dtype;
mod error;
mod export;
mod folder;
mod generation;
pub mod gguf;
mod hf_config;
mod json_keys;
pub mod llama2c;
pub mod safetensors;
mod tensor;
mod tokenizer_files;
pub mod torch;
mod weights;

pub use blob::Blob;
pub use card::Card;
pub use checkpoint::{Checkpoint, SourceFormat};
pub use dtype::Dtype;
pub use error::FormatError;
pub use export::{DEFAULT_SHARD_BYTES, Storage, write_gguf, write_model};
pub use folder::{Unfinished, is_run_or_checkpoint, resolve_model_dir, step_of, weight_files};
pub use generation::{
    GENERATION_CONFIG, check_generation_config, end_tokens, inherited_generation_config,
};
pub use hf_config::{HfConfig, SharingRecord};
pub use tensor::LazyTensor;
pub use tokenizer_files::SpecialTokens;
pub use weights::{assemble, expected_weights};
