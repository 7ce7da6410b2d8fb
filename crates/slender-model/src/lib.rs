//! The decoder: pre-norm blocks of grouped-query attention and a feed-forward, executed in one of
//! the paper's sharing orders, plus its weights on disk and its initial weights.
//!
//! Module paths equal Hugging Face's Llama names (`model.layers.0.self_attn.q_proj.weight`) and
//! weights are `[out, in]`, so a checkpoint is the module tree written down: no key map, no
//! transposition, nothing to get wrong in between.

mod block;
mod dropout;
pub mod infer;
mod init;
mod loaded;
mod transformer;
mod weights;

pub use block::{Attention, Block, FeedForward, Linear, RmsNorm};
pub use dropout::Dropout;
pub use init::initial_values;
pub use loaded::{LoadedModel, tokenizer_file, weights_hash};
pub use slender_formats::{
    GENERATION_CONFIG, HfConfig, SharingRecord, inherited_generation_config, is_run_or_checkpoint,
    resolve_model_dir,
};
pub use transformer::{Decoder, Embedding, Part, Transformer, Values};
pub use weights::{ModelError, NamedTensor, read_weights, weight_names, write_tensors};
