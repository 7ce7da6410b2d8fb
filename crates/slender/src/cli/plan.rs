//! `slender sweep plan`.

use clap::Args;
use std::path::PathBuf;

/// `slender sweep plan`.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// Configuration files, a sweep file, or a sweep directory.
    #[arg(required = true)]
    pub configs: Vec<PathBuf>,
    /// Override a key in every configuration; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Seeds of every variant, instead of the file's: how many, or a list such as 3,4.
    #[arg(long, value_parser = super::seeds)]
    pub seeds: Option<super::SeedList>,
    /// Sweep directory whose runs, and whose siblings' runs, may be done already. Default: as `slender sweep run`.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// flex (CPU), ndarray, wgpu or cuda, with an optional index such as cuda:1.
    #[arg(long)]
    pub device: Option<String>,
    /// CPU threads the matrix-product speed is measured with; 0 takes all cores.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Model FLOP/s to estimate times with, such as 3.6e11, instead of a measurement here.
    #[arg(long, value_parser = super::speed)]
    pub flops_per_s: Option<f64>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
