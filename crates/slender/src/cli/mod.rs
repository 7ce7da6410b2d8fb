//! The command line: what can be typed. The doc comments are the help text and `docs/cli.md`.

mod coord;
pub mod executor;
mod export;
mod front;
mod generate;
mod import;
mod plan;
mod search;
mod shapes;
mod tokenizer;

pub use coord::CoordCheckArgs;
pub use export::{ExportArgs, ExportFormat, Sharing};
pub use front::{DecodeMsArgs, ParetoArgs, ShowSearchArgs};
pub use generate::{ChatArgs, DecodeArgs, GenerateArgs, InferArgs, SamplingArgs};
pub use import::ImportArgs;
pub use plan::PlanArgs;
pub use search::SearchCommand;
pub use shapes::ShapesArgs;
pub use tokenizer::{ChatTextArgs, ConvertArgs, EncodeArgs, TokenizerCommand};

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
    /// Score a model on tasks, or the perplexity of a text; list the tasks, show examples.
    Eval(Box<EvalCommandArgs>),
    /// Compare two evaluations: differences with intervals and p values.
    Compare(CompareArgs),
    /// Train, evaluate and compare several configurations.
    #[command(subcommand)]
    Sweep(SweepCommand),
    /// Search shapes and hyperparameters: checks and answers around a sweep.
    #[command(subcommand)]
    Search(SearchCommand),
    /// Continue texts with a model.
    Generate(Box<GenerateArgs>),
    /// Talk to a model that has a chat template, over stdin and stdout.
    Chat(Box<ChatArgs>),
    /// Write the untrained model of a configuration as a Hugging Face folder.
    Init(InitArgs),
    /// Read a model of the Llama family into a folder that slender evaluates, trains and exports.
    Import(ImportArgs),
    /// Write a model for other programs: a Hugging Face folder or a GGUF file.
    Export(ExportArgs),
    /// Count parameters, FLOPs, cache and memory of configurations, without training.
    Inspect(InspectArgs),
    /// Measure how fast a configuration trains, scores or decodes on this machine.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Show, check and describe configurations.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Prepare training data, and list the texts that ship with slender.
    #[command(subcommand)]
    Data(DataCommand),
    /// Convert a tokenizer, encode text with it, render conversations with its chat template.
    #[command(subcommand)]
    Tokenizer(TokenizerCommand),
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
    /// Pause after this step of the whole budget: checkpoint, validation loss, exit code 0. The
    /// schedule stays that of the whole budget, and a later start goes on as if nothing had been.
    #[arg(long, value_name = "STEP", value_parser = clap::value_parser!(u64).range(1..))]
    pub until: Option<u64>,
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
    /// Yes for models that slender trained on texts; for others if their tokenizer adds it, as
    /// lm-evaluation-harness does.
    Auto,
    /// Always.
    Yes,
    /// Never.
    No,
}

/// `slender eval`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct EvalCommandArgs {
    /// Scoring a model.
    #[command(flatten)]
    pub score: EvalArgs,
    /// Looking at tasks and results.
    #[command(subcommand)]
    pub command: Option<EvalCommand>,
}

/// `slender eval` without a model.
#[derive(Subcommand, Debug)]
pub enum EvalCommand {
    /// List groups and tasks with their sizes, chance levels, metrics and sources.
    List {
        /// Only these tasks and groups; a group is listed task by task.
        names: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show examples of an evaluation, or those on which two evaluations differ.
    Show(ShowArgs),
}

/// `slender eval show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// Examples of an evaluation: a file of --samples, or a run evaluated with --save.
    pub a: PathBuf,
    /// A second one: only examples that one model got right and the other did not are shown.
    pub b: Option<PathBuf>,
    /// Only these tasks, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub tasks: Vec<String>,
    /// Only this example of each task, by its number in the file.
    #[arg(long)]
    pub doc: Option<usize>,
    /// Only examples that the (first) model got wrong.
    #[arg(long)]
    pub wrong: bool,
    /// At most this many.
    #[arg(long, default_value_t = 10)]
    pub limit: usize,
    /// Print JSON: the records as files of --samples have them.
    #[arg(long)]
    pub json: bool,
}

/// `slender compare`.
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// Examples of the first model: a file of --samples, or a run evaluated with --save.
    pub a: PathBuf,
    /// Examples of the second model, of the same tasks.
    pub b: PathBuf,
    /// Only these tasks and groups, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub tasks: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `slender eval MODEL`.
#[derive(Args, Debug)]
pub struct EvalArgs {
    /// Run directory, checkpoint, or Hugging Face folder of the Llama family.
    #[arg(required_unless_present = "list")]
    pub model: Option<PathBuf>,
    /// Tasks and groups (paper, blimp, all), separated by commas; see `slender eval list`.
    #[arg(long, value_delimiter = ',')]
    pub tasks: Vec<String>,
    /// The same as `slender eval list`.
    #[arg(long, hide = true)]
    pub list: bool,
    /// Folder with TASK/SPLIT.jsonl, or `builtin` for the slices that ship with slender. Default: the hub.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Score a task on another split than lm-evaluation-harness, such as --split sciq=validation; may be
    /// repeated.
    #[arg(long = "split", value_name = "TASK=SPLIT", value_parser = task_split)]
    pub splits: Vec<(String, String)>,
    /// Score data that differs from the published split; the result says so.
    #[arg(long)]
    pub allow_altered: bool,
    /// At most this many examples of each task (0: all).
    #[arg(long)]
    pub limit: Option<usize>,
    /// Examples with their answers before each question, drawn as lm-evaluation-harness draws them.
    #[arg(long, default_value_t = 0)]
    pub num_fewshot: usize,
    /// Seed of their choice.
    #[arg(long, default_value_t = slender_eval::fewshot::DEFAULT_SEED)]
    pub fewshot_seed: u32,
    /// Whether contexts start with the beginning-of-sequence token.
    #[arg(long, value_enum, default_value = "auto")]
    pub bos: Bos,
    /// Most tokens the model reads at once. Default: what it was built for.
    #[arg(long, value_parser = at_least_one)]
    pub max_length: Option<usize>,
    /// Score the perplexity of this text file instead of tasks.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["tasks", "from_config", "samples", "save", "limit", "splits", "num_fewshot"]
    )]
    pub perplexity: Option<PathBuf>,
    /// The line between documents of the perplexity file, without its line break.
    #[arg(long, requires = "perplexity")]
    pub document_separator: Option<String>,
    /// Take tasks, limit and data folder from the run's own `[eval]`.
    #[arg(long, conflicts_with = "tasks")]
    pub from_config: bool,
    /// Save the result as RUN/eval/final.json and its examples beside it. A saved result that this evaluation
    /// would give again is printed and not computed anew.
    #[arg(long)]
    pub save: bool,
    /// Write every example with its log-likelihoods to this file: Parquet if it ends in .parquet, JSON lines if
    /// in .jsonl.
    #[arg(long, value_name = "FILE")]
    pub samples: Option<PathBuf>,
    /// Input tokens of one batch; bounds memory, changes no score. Default: what fits the free memory.
    #[arg(long)]
    pub batch_tokens: Option<usize>,
    /// Folder where scores are kept, so that an interrupted evaluation goes on. Default:
    /// `eval` in SLENDER_CACHE, else in XDG_CACHE_HOME/slender, else in ~/.cache/slender.
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Neither read nor keep scores.
    #[arg(long, conflicts_with = "cache_dir")]
    pub no_cache: bool,
    /// The device.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print JSON with lm-evaluation-harness's keys.
    #[arg(long)]
    pub json: bool,
}

/// A number above 0.
fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(0) => Err("it is at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

/// `TASK=SPLIT`.
fn task_split(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((task, split)) if !task.is_empty() && !split.is_empty() => {
            slender_eval::tasks::find(task).map_err(|error| error.to_string())?;
            Ok((task.to_owned(), split.to_owned()))
        }
        _ => Err("write TASK=SPLIT, such as sciq=validation".to_owned()),
    }
}

/// `slender sweep`.
#[derive(Subcommand, Debug)]
pub enum SweepCommand {
    /// Train and evaluate configurations, then write the report. Starting it again resumes it.
    Run(Box<SweepArgs>),
    /// Print the runs of a sweep with their costs, and which are done already; nothing is started.
    Plan(PlanArgs),
    /// Show where every run of a sweep directory stands.
    Status(executor::StatusArgs),
    /// Go on with a sweep directory, whatever stopped it: only what is missing is started or submitted.
    Resume(Box<executor::ResumeArgs>),
    /// Ask every worker of a sweep to write a checkpoint and leave, and cancel its Slurm jobs.
    Cancel {
        /// Sweep directory.
        dir: PathBuf,
    },
    /// Try failed runs again.
    Retry(Box<executor::RetryArgs>),
    /// Work on a sweep directory, for schedulers; any number of workers may do so at once.
    ///
    /// Exit codes: 0 nothing is left to do; 75 interrupted, start me again; 73 another worker has what is
    /// left; 70 or 2 failed, do not start me again.
    Work(executor::WorkArgs),
    /// Rewrite the report of a sweep directory from its runs.
    Report {
        /// Sweep directory.
        dir: PathBuf,
    },
    /// Rank the variants of several sweeps, those measured alike in one table.
    Leaderboard {
        /// Sweep directories, or folders of them.
        #[arg(default_value = "sweeps")]
        dirs: Vec<PathBuf>,
        /// Folder for LEADERBOARD.md and LEADERBOARD.json.
        #[arg(long, default_value = "experiments")]
        out: PathBuf,
    },
}

/// The seeds of `--seeds`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedList(pub Vec<u64>);

fn seeds(text: &str) -> Result<SeedList, String> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let found: Option<Vec<u64>> = match text.split_once(',') {
        Some(_) => text.trim_end_matches(',').split(',').map(number).collect(),
        None => number(text)
            .filter(|n| *n <= 10_000)
            .map(|count| (0..count).collect()),
    };
    let sound = |seeds: &Vec<u64>| {
        let distinct: std::collections::BTreeSet<_> = seeds.iter().collect();
        !seeds.is_empty() && distinct.len() == seeds.len()
    };
    let hint = "write a number such as 3 (for 0, 1 and 2), or different seeds such as 3,4 (a lone one as 3,)";
    found
        .filter(sound)
        .map(SeedList)
        .ok_or_else(|| hint.to_owned())
}

fn speed(text: &str) -> Result<f64, String> {
    slender_config::sweep::parse_quantity(text)
        .filter(|number| number.is_finite() && *number > 0.0)
        .ok_or_else(|| "write a number above 0, such as 3.6e11".to_owned())
}

/// `slender sweep run`.
#[derive(Args, Debug)]
pub struct SweepArgs {
    /// Configuration files, a sweep file, or a sweep directory to go on with.
    #[arg(required = true)]
    pub configs: Vec<PathBuf>,
    /// Override a key in every configuration; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Seeds of every variant, instead of the file's: how many, or a list such as 3,4.
    #[arg(long, value_parser = seeds)]
    pub seeds: Option<SeedList>,
    /// Sweep directory. Default: sweeps/NAME, from the sweep file, or from what the configurations' names share.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// flex (CPU), ndarray, wgpu or cuda, with an optional index such as cuda:1.
    #[arg(long)]
    pub device: Option<String>,
    /// Try failed runs again.
    #[arg(long)]
    pub retry_failed: bool,
    /// Who runs the runs.
    #[command(flatten)]
    pub executor: executor::ExecutorArgs,
}

/// `slender bench`.
#[derive(Subcommand, Debug)]
pub enum BenchCommand {
    /// Forward, backward and optimizer on one micro-batch of synthetic tokens.
    Train(BenchArgs),
    /// Forward pass with the loss, without gradients.
    Score(BenchArgs),
    /// Reading a prompt and decoding token after token, with the memory's own speed beside.
    Decode(DecodeArgs),
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
    Schema {
        /// Of sweep files.
        #[arg(long)]
        sweep: bool,
    },
    /// Print the reference of all keys (docs/config.md), of all commands (docs/cli.md) or of sweep files
    /// (docs/sweep-file.md), as Markdown.
    Reference {
        /// Of the commands instead of the configuration keys.
        #[arg(long)]
        cli: bool,
        /// Of sweep files instead of the configuration keys.
        #[arg(long, conflicts_with = "cli")]
        sweep: bool,
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
