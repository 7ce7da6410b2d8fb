//! `slender search pareto` and `slender search show`.

use clap::Args;
use slender_sweep::search::Objective;
use std::path::PathBuf;

/// `slender search pareto`.
#[derive(Args, Debug)]
pub struct ParetoArgs {
    /// Sweep directory.
    pub dir: PathBuf,
    /// What to compare by, two or more of valid_loss, valid_bits_per_byte, score, params_total,
    /// params_non_embedding, train_flops, forward_flops, decode_bytes.
    #[arg(long, value_delimiter = ',', default_value = "valid_loss,params_total")]
    pub by: Vec<Objective>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
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
