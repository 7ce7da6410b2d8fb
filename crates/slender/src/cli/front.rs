//! `slender search pareto` and `slender search show`.

use clap::Args;
use slender_kernels::infer::WeightFormat;
use slender_sweep::search::Objective;
use std::path::PathBuf;

/// `slender search pareto`.
#[derive(Args, Debug)]
pub struct ParetoArgs {
    /// Sweep directory.
    pub dir: PathBuf,
    /// What to compare by, two or more of valid_loss, valid_bits_per_byte, score, params_total,
    /// params_non_embedding, train_flops, forward_flops, decode_bytes, decode_ms.
    ///
    /// decode_ms is measured: every variant without a decode.json decodes on this machine's CPU, in turns,
    /// and gets one.
    #[arg(
        long,
        visible_alias = "objectives",
        value_delimiter = ',',
        default_value = "valid_loss,params_total"
    )]
    pub by: Vec<Objective>,
    /// How decode_ms is measured.
    #[command(flatten)]
    pub decode: DecodeMsArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// How `slender search pareto` measures decoding. What is not given is as it was measured before.
#[derive(Args, Debug)]
pub struct DecodeMsArgs {
    /// decode_ms: how weights are stored, f32, bf16 or q8_0. Default: as measured before, or f32.
    #[arg(long)]
    pub weights: Option<WeightFormat>,
    /// decode_ms: CPU threads; 0 takes all cores. Default: as measured before, or all cores.
    #[arg(long)]
    pub threads: Option<usize>,
    /// decode_ms: tokens of the prompt. Default: as measured before, or 16.
    #[arg(long)]
    pub prompt_len: Option<usize>,
    /// decode_ms: tokens decoded after it. Default: as measured before, or 64, or as many as fit.
    #[arg(long)]
    pub tokens: Option<usize>,
    /// decode_ms: measure every variant on this machine, and replace what was measured.
    #[arg(long)]
    pub remeasure: bool,
}

/// `slender search show`.
#[derive(Args, Debug)]
pub struct ShowSearchArgs {
    /// Sweep directory.
    pub dir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
