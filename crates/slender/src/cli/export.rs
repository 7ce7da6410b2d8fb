//! Arguments of `slender export`.

use clap::{Args, ValueEnum};
use slender_formats::{Dtype, Storage};
use std::path::PathBuf;

/// Format of an export.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// A Hugging Face folder, for transformers, vLLM and others.
    Hf,
    /// A GGUF file, for llama.cpp and others.
    Gguf,
}

/// What the weights are written as.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportDtype {
    /// As in the source.
    Keep,
    /// Single precision.
    F32,
    /// bfloat16.
    Bf16,
    /// Half precision.
    F16,
    /// Blocks of 32 signed bytes with a scale; GGUF only.
    #[value(name = "q8_0")]
    Q8_0,
}

impl From<ExportDtype> for Storage {
    fn from(dtype: ExportDtype) -> Self {
        match dtype {
            ExportDtype::Keep => Storage::Keep,
            ExportDtype::F32 => Storage::As(Dtype::F32),
            ExportDtype::Bf16 => Storage::As(Dtype::Bf16),
            ExportDtype::F16 => Storage::As(Dtype::F16),
            ExportDtype::Q8_0 => Storage::As(Dtype::Q8_0),
        }
    }
}

/// How a model with shared blocks is written.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// As a plain Llama: each block as often as it is executed. Any program reads it.
    Expand,
    /// Each block once, and how they are shared in config.json. slender reads it.
    Compact,
}

/// `slender export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Run directory, checkpoint, or model folder.
    pub model: PathBuf,
    /// Format to write.
    #[arg(long, value_enum)]
    pub format: ExportFormat,
    /// Folder (hf) or file (gguf) to write; must not exist.
    #[arg(long)]
    pub out: PathBuf,
    /// What the weights are written as. In GGUF norms stay f32.
    #[arg(long, value_enum, default_value = "keep")]
    pub dtype: ExportDtype,
    /// Largest file of weights, such as 500MB or 5GB; larger models are divided (hf only).
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = byte_size)]
    pub max_shard_size: u64,
    /// How a model with shared blocks is written.
    #[arg(long, value_enum, default_value = "expand")]
    pub sharing: Sharing,
}

/// A number of bytes, as transformers writes it: KB, MB and GB are powers of 1000.
fn byte_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => 0,
    };
    let size = digits.parse::<u64>().ok();
    size.and_then(|size| size.checked_mul(unit))
        .filter(|size| *size > 0)
        .ok_or_else(|| "write a size such as 500MB or 5GB".to_owned())
}
