//! Arguments of `slender generate`, `slender chat` and `slender bench decode`.

use super::{Bos, DeviceArgs};
use clap::Args;
use slender_kernels::infer::WeightFormat;
use std::path::PathBuf;

/// How tokens are chosen.
#[derive(Args, Debug)]
pub struct SamplingArgs {
    /// Logits are divided by it before a token is drawn; 0 takes the likeliest token always.
    #[arg(long, default_value_t = 0.0)]
    pub temperature: f32,
    /// Draw among so many of the likeliest tokens only; 0 for all.
    #[arg(long, default_value_t = 0)]
    pub top_k: usize,
    /// Draw among the likeliest tokens that together have this probability only.
    #[arg(long, default_value_t = 1.0)]
    pub top_p: f32,
    /// Draw among tokens at least this many times as likely as the likeliest only.
    #[arg(long, default_value_t = 0.0)]
    pub min_p: f32,
    /// Divide the logits of tokens that the text already has, prompt included; multiply negative ones.
    #[arg(long, default_value_t = 1.0)]
    pub repetition_penalty: f32,
    /// Seed of the draws: the same seed gives the same text.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// End an answer before this text; may be repeated.
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Go on after tokens that end a text.
    #[arg(long)]
    pub ignore_eos: bool,
}

/// How a model is loaded for inference.
#[derive(Args, Debug)]
pub struct InferArgs {
    /// How weights are stored: f32, bf16, or q8_0 (8-bit integers with a scale for every 32).
    #[arg(long, default_value_t = WeightFormat::F32)]
    pub weights: WeightFormat,
    /// The device.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// `slender generate`.
#[derive(Args, Debug)]
pub struct GenerateArgs {
    /// Run directory, checkpoint, or Hugging Face folder of the Llama family.
    pub model: PathBuf,
    /// Text to go on from; may be repeated. The empty text starts from nothing.
    #[arg(long, value_name = "TEXT", group = "input")]
    pub prompt: Vec<String>,
    /// File whose text is gone on from; `-` is stdin.
    #[arg(long, value_name = "FILE", group = "input")]
    pub prompt_file: Option<PathBuf>,
    /// File with a JSON object a line: `prompt`, and if wanted `id`, `max_tokens`, `temperature`, `top_k`,
    /// `top_p`, `min_p`, `repetition_penalty`, `seed` and `stop`; `-` is stdin. Implies --json.
    #[arg(long, value_name = "FILE", group = "input")]
    pub prompts: Option<PathBuf>,
    /// Most tokens of an answer.
    #[arg(long, default_value_t = 128)]
    pub max_tokens: usize,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Prompts worked on at the same time; changes no answer.
    #[arg(long, default_value_t = 8)]
    pub batch: usize,
    /// Whether prompts start with the beginning-of-sequence token. The empty prompt does in any case.
    #[arg(long, value_enum, default_value = "auto")]
    pub bos: Bos,
    /// Print the prompt before its answer.
    #[arg(long, conflicts_with = "json")]
    pub echo: bool,
    /// Print a JSON object a line for each prompt, with text, token ids, log-probabilities, the reason of
    /// the end, and times.
    #[arg(long)]
    pub json: bool,
    /// The model.
    #[command(flatten)]
    pub infer: InferArgs,
}

/// `slender chat`.
#[derive(Args, Debug)]
pub struct ChatArgs {
    /// Run directory, checkpoint, or Hugging Face folder of the Llama family, with a chat template.
    pub model: PathBuf,
    /// What the model is told before the conversation.
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Most tokens of an answer. Default: as many as fit.
    #[arg(long)]
    pub max_tokens: Option<usize>,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Print a JSON object a line for each answer.
    #[arg(long)]
    pub json: bool,
    /// The model.
    #[command(flatten)]
    pub infer: InferArgs,
}

/// `slender bench decode`.
#[derive(Args, Debug)]
pub struct DecodeArgs {
    /// Configuration file, whose untrained model is measured, or a model.
    pub target: PathBuf,
    /// Override a key of the configuration; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Tokens of each prompt.
    #[arg(long, default_value_t = 16)]
    pub prompt_len: usize,
    /// Tokens that are decoded after it.
    #[arg(long, default_value_t = 64)]
    pub tokens: usize,
    /// Sequences decoded together.
    #[arg(long, default_value_t = 1)]
    pub batch: usize,
    /// Counted repetitions.
    #[arg(long, default_value_t = 5)]
    pub repetitions: usize,
    /// The model.
    #[command(flatten)]
    pub infer: InferArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
