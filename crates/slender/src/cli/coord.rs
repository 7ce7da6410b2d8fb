//! `slender search coord-check`.

use super::DeviceArgs;
use clap::Args;
use std::path::PathBuf;

/// `slender search coord-check`.
#[derive(Args, Debug)]
pub struct CoordCheckArgs {
    /// Configuration of the smallest model, or of one of the models; its proportions are kept.
    pub config: PathBuf,
    /// Override a key in every model, such as --set train.parametrization=mup; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Widths (model.dim) to compare, at least two.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "DIM,DIM,...",
        required_unless_present = "depths"
    )]
    pub widths: Vec<usize>,
    /// Compare depths (model.n_layers) instead.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N,N,...",
        conflicts_with = "widths"
    )]
    pub depths: Vec<usize>,
    /// Optimizer steps, at the peak learning rate from the first on.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub steps: u64,
    /// Seeds to average over.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub seeds: u64,
    /// Largest growth exponent, up or down, that still counts as none; beyond it the exit code is 70.
    #[arg(long, default_value_t = 0.25)]
    pub tolerance: f64,
    /// The device.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print JSON, with every step.
    #[arg(long)]
    pub json: bool,
}
