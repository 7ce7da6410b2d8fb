//! The command line: what can be typed. The doc comments are the help text and `docs/cli.md`.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Train, evaluate and compare small language models described in TOML.
///
/// Exit codes: 0 done; 2 wrong usage or configuration; 70 failed; 73 the run directory is in use
/// by another process; 75 stopped by a signal after a checkpoint (start again to resume).
#[derive(Parser, Debug)]
#[command(
    name = "slender",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Train one configuration; resume it when it is half done.
    Train(TrainArgs),
    /// Score a model on zero-shot tasks, or the perplexity of a text.
    Eval(EvalArgs),
    /// Train, evaluate and compare several configurations.
    #[command(subcommand)]
    Sweep(SweepCommand),
    /// Write the untrained model of a configuration as a Hugging Face folder.
    Init(InitArgs),
    /// Count parameters, FLOPs, cache and memory of configurations, without training.
    Inspect(InspectArgs),
    /// Measure how fast a configuration trains or scores on this machine.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Show, check and describe configurations.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Prepare training data, and list the texts that ship with slender.
    #[command(subcommand)]
    Data(DataCommand),
}

/// A configuration and what overrides it.
#[derive(Args, Debug)]
pub struct ConfigArgs {
    /// Configuration file.
    pub config: PathBuf,
    /// Override a key, such as --set train.lr=1e-3; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
}

/// Where to compute.
#[derive(Args, Debug)]
pub struct DeviceArgs {
    /// flex (CPU), ndarray, wgpu or cuda, with an optional index such as cuda:1.
    #[arg(long)]
    pub device: Option<String>,
    /// CPU threads; 0 takes all cores.
    #[arg(long)]
    pub threads: Option<usize>,
}

/// `slender train`.
#[derive(Args, Debug)]
pub struct TrainArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Run directory. Default: `run.out_dir`/`run.name`.
    #[arg(long)]
    pub run_dir: Option<PathBuf>,
    /// The device.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Say nothing but errors.
    #[arg(long, short)]
    pub quiet: bool,
    /// Print the final status as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Whether contexts start with the beginning-of-sequence token.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bos {
    /// Yes for models trained by slender, no for Hugging Face folders (as lm-evaluation-harness).
    Auto,
    /// Always.
    Yes,
    /// Never.
    No,
}

/// `slender eval`.
#[derive(Args, Debug)]
pub struct EvalArgs {
    /// Run directory, checkpoint, or Hugging Face folder of the Llama family.
    #[arg(required_unless_present = "list")]
    pub model: Option<PathBuf>,
    /// Tasks, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub tasks: Vec<String>,
    /// List the tasks with their sizes and chance levels.
    #[arg(long)]
    pub list: bool,
    /// Folder with TASK/SPLIT.jsonl, or `builtin` for the slices that ship with slender. Default: the hub.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// At most this many examples of each task.
    #[arg(long)]
    pub limit: Option<usize>,
    /// Whether contexts start with the beginning-of-sequence token.
    #[arg(long, value_enum, default_value = "auto")]
    pub bos: Bos,
    /// Score the perplexity of this text file instead of tasks.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tasks", "from_config"])]
    pub perplexity: Option<PathBuf>,
    /// A line that separates documents in the perplexity file.
    #[arg(long, requires = "perplexity")]
    pub document_separator: Option<String>,
    /// Take tasks, limit and data folder from the run's own `[eval]`.
    #[arg(long, conflicts_with = "tasks")]
    pub from_config: bool,
    /// Save the result as RUN/eval/final.json; does nothing when it is there for these weights.
    #[arg(long)]
    pub save: bool,
    /// Write every example with its log-likelihoods to this file, as JSON lines.
    #[arg(long, value_name = "FILE")]
    pub samples: Option<PathBuf>,
    /// Input tokens of one batch; bounds memory, changes no score.
    #[arg(long, default_value_t = 4096)]
    pub batch_tokens: usize,
    /// The device.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print JSON with lm-evaluation-harness's keys.
    #[arg(long)]
    pub json: bool,
}

/// `slender sweep`.
#[derive(Subcommand, Debug)]
pub enum SweepCommand {
    /// Train and evaluate configurations, then write the report. Starting it again resumes it.
    Run(SweepArgs),
    /// Rewrite the report of a sweep directory from its runs.
    Report {
        /// Sweep directory.
        dir: PathBuf,
    },
}

/// `slender sweep run`.
#[derive(Args, Debug)]
pub struct SweepArgs {
    /// Configuration files.
    #[arg(required = true)]
    pub configs: Vec<PathBuf>,
    /// Override a key in every configuration; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Sweep directory. Default: sweeps/NAME, from what the configurations' names share.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Runs at the same time; CPU threads are divided among them.
    #[arg(long, short, default_value_t = 1)]
    pub jobs: usize,
    /// flex (CPU), ndarray, wgpu or cuda, with an optional index such as cuda:1.
    #[arg(long)]
    pub device: Option<String>,
    /// Try failed runs again.
    #[arg(long)]
    pub retry_failed: bool,
}

/// `slender bench`.
#[derive(Subcommand, Debug)]
pub enum BenchCommand {
    /// Forward, backward and optimizer on one micro-batch of synthetic tokens.
    Train(BenchArgs),
    /// Forward pass with the loss, without gradients.
    Score(BenchArgs),
    /// The f32 matrix product that utilisation is measured against, and a configuration's own.
    Matmul {
        /// Configuration whose products are measured one by one, by the CPU kernels.
        config: Option<PathBuf>,
        /// The device.
        #[command(flatten)]
        device: DeviceArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// `slender bench train` and `score`.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// The configuration; data.tokenizer.vocab_size must be given.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Counted repetitions.
    #[arg(long, default_value_t = 10)]
    pub repetitions: usize,
    /// The device.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `slender inspect`.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// Configuration files.
    #[arg(required = true)]
    pub configs: Vec<PathBuf>,
    /// Override a key in every configuration; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Print JSON: an object for one configuration, a list for several.
    #[arg(long)]
    pub json: bool,
}

/// `slender config`.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Print the resolved configuration as TOML.
    Show(ConfigArgs),
    /// Print a JSON Schema of configuration files, for editors.
    Schema,
    /// Print the reference of all keys (docs/config.md) or of all commands (docs/cli.md), as Markdown.
    Reference {
        /// Of the commands instead of the configuration keys.
        #[arg(long)]
        cli: bool,
    },
}

/// `slender data`.
#[derive(Subcommand, Debug)]
pub enum DataCommand {
    /// Tokenize the text of a configuration into shards; a no-op when that is done.
    Prepare(ConfigArgs),
    /// List the texts that ship with slender.
    List,
    /// Show the training batch of a step: its text, or its token ids with --json.
    Batch(BatchArgs),
}

/// `slender data batch`.
#[derive(Args, Debug)]
pub struct BatchArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// First batch, counted from 0.
    #[arg(long, default_value_t = 0)]
    pub step: u64,
    /// Number of batches.
    #[arg(long, default_value_t = 1)]
    pub count: u64,
    /// Print one JSON object a batch, with inputs, targets and document numbers, row by row.
    #[arg(long)]
    pub json: bool,
}

/// `slender init`.
#[derive(Args, Debug)]
pub struct InitArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Folder to write; must not exist.
    #[arg(long)]
    pub out: PathBuf,
}
