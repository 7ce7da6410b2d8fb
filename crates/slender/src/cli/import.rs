//! Arguments of `slender import`.

use clap::{Args, ValueEnum};
use slender_formats::{Dtype, Storage};
use std::path::PathBuf;

/// What the weights of a model folder are stored as.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainDtype {
    /// As in the source; quantized ones as f32.
    Keep,
    /// Single precision.
    F32,
    /// bfloat16.
    Bf16,
    /// Half precision.
    F16,
}

impl From<PlainDtype> for Storage {
    fn from(dtype: PlainDtype) -> Self {
        match dtype {
            PlainDtype::Keep => Storage::Keep,
            PlainDtype::F32 => Storage::As(Dtype::F32),
            PlainDtype::Bf16 => Storage::As(Dtype::Bf16),
            PlainDtype::F16 => Storage::As(Dtype::F16),
        }
    }
}

/// `slender import`.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// A Hugging Face folder of the Llama family or of MobileLLM (safetensors or PyTorch `.bin`), a GGUF file,
    /// a llama2.c `.bin` file, or a hub repository such as HuggingFaceTB/SmolLM2-135M.
    pub source: String,
    /// Folder to write; must not exist.
    #[arg(long)]
    pub out: PathBuf,
    /// What the weights are stored as.
    #[arg(long, value_enum, default_value = "keep")]
    pub dtype: PlainDtype,
    /// Tokenizer to put beside the weights: a tokenizer.json, a SentencePiece tokenizer.model, or a llama2.c
    /// tokenizer.bin. Default: the source's own.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Branch, tag or commit of a hub repository.
    #[arg(long, default_value = "main")]
    pub revision: String,
}
