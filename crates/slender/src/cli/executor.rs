//! Arguments of executors and of the commands that look after a sweep directory.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Who runs the runs.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutorKind {
    /// This machine.
    Local,
    /// Job arrays of a Slurm cluster.
    Slurm,
    /// Nobody: what would be submitted is printed.
    Print,
}

/// What is printed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrintKind {
    /// The script for `sbatch`.
    Slurm,
    /// The manifest of a Kubernetes Indexed Job.
    Kubernetes,
}

/// Who runs the runs, and how many at a time.
#[derive(Args, Clone, Debug)]
pub struct ExecutorArgs {
    /// Who runs the runs. Default: local, or what the sweep directory was last run with.
    #[arg(long, value_enum)]
    pub executor: Option<ExecutorKind>,
    /// Runs at the same time on this machine; CPU threads and GPUs are divided among them.
    /// Default: the sweep file's, else what the sweep directory was last run with, else 1.
    #[arg(long, short)]
    pub jobs: Option<usize>,
    /// GPUs of this machine to deal out to the jobs: a number, or a list such as 0,2. Default: those in
    /// CUDA_VISIBLE_DEVICES, else all NVIDIA GPUs.
    #[arg(long)]
    pub gpus: Option<String>,
    /// TOML file with Slurm's settings, in a table `slurm` or alone. Default: the `slurm` table of sweep.toml.
    #[arg(long, value_name = "FILE")]
    pub slurm: Option<PathBuf>,
    /// Runs at the same time on a cluster; overrides the settings.
    #[arg(long)]
    pub throttle: Option<u32>,
    /// Jobs of a search on a cluster, each of which takes run after run. Default: what the sweep directory
    /// was last run with, else 4.
    #[arg(long)]
    pub workers: Option<u32>,
    /// Print what would be submitted and stop; the sweep directory is written all the same.
    #[arg(long, value_enum)]
    pub print: Option<PrintKind>,
    /// Kubernetes: image with the program.
    #[arg(long, default_value = "slender:latest")]
    pub image: String,
    /// Kubernetes: persistent volume claim that holds the sweep directory.
    #[arg(long, default_value = "sweeps")]
    pub volume: String,
    /// Kubernetes: where the volume is mounted. Default: the folder of the sweep directory.
    #[arg(long)]
    pub mount: Option<PathBuf>,
}

/// `slender sweep work`.
#[derive(Args, Debug)]
pub struct WorkArgs {
    /// Sweep directory.
    pub dir: PathBuf,
    /// Work on this run alone: its place in sweep.json, from 0. Without it, on whatever is left to do.
    #[arg(long)]
    pub index: Option<usize>,
    /// Device, if it is to differ from the configurations'.
    #[arg(long)]
    pub device: Option<String>,
    /// CPU threads. Default: SLURM_CPUS_PER_TASK, else what the configurations say.
    #[arg(long)]
    pub threads: Option<usize>,
    /// When SIGUSR1 warns of the time limit, have Slurm put this job back into the queue.
    #[arg(long)]
    pub requeue: bool,
}

/// Seconds between two looks at a sweep directory.
#[derive(Clone, Copy, Debug)]
pub struct Interval(pub f64);

impl std::str::FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds = text.parse().ok().filter(|s| (0.1..=3600.0).contains(s));
        let wrong = "write seconds, 0.1 to 3600, such as 5";
        seconds.map(Self).ok_or_else(|| wrong.to_owned())
    }
}

/// `slender sweep status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Sweep directory.
    pub dir: PathBuf,
    /// Show it again every few seconds until nothing is left to do.
    #[arg(long)]
    pub watch: bool,
    /// Seconds between two looks, 0.1 to 3600.
    #[arg(long, default_value = "5", requires = "watch")]
    pub interval: Interval,
    /// Show every run, however many there are.
    #[arg(long)]
    pub all: bool,
    /// Print JSON.
    #[arg(long, conflicts_with = "watch")]
    pub json: bool,
    /// Exit with 0 only if nothing is left to do (of a search: it asks for nothing more), with 70 if nothing
    /// is left but failures, else with 75.
    #[arg(long)]
    pub exit_code: bool,
    /// Do not ask Slurm.
    #[arg(long)]
    pub offline: bool,
}

/// `slender sweep resume`.
#[derive(Args, Debug)]
pub struct ResumeArgs {
    /// Sweep directory.
    pub dir: PathBuf,
    /// Try failed runs again, too.
    #[arg(long)]
    pub retry_failed: bool,
    /// Device, if it is to differ from the configurations'.
    #[arg(long)]
    pub device: Option<String>,
    /// Who runs the runs.
    #[command(flatten)]
    pub executor: ExecutorArgs,
}

/// `slender sweep retry`.
#[derive(Args, Debug)]
pub struct RetryArgs {
    /// Sweep directory.
    pub dir: PathBuf,
    /// Runs to try again; or --failed.
    pub runs: Vec<String>,
    /// All that failed.
    #[arg(long, conflicts_with = "runs")]
    pub failed: bool,
    /// Only note the wish; the next `resume` or worker acts on it.
    #[arg(long)]
    pub no_resume: bool,
    /// Device, if it is to differ from the configurations'.
    #[arg(long)]
    pub device: Option<String>,
    /// Who runs the runs.
    #[command(flatten)]
    pub executor: ExecutorArgs,
}
