//! What can stop a whole sweep. A failed run is not an error here: it is part of the outcome.

use slender_config::ConfigError;
use std::path::PathBuf;

/// One reason why a list of configurations cannot become a sweep.
#[derive(Debug, thiserror::Error)]
pub enum PlanProblem {
    /// A configuration does not load.
    #[error("{file}: {source}", file = file.display())]
    Config {
        /// The configuration.
        file: PathBuf,
        /// Its problems.
        source: ConfigError,
    },
    /// A sweep file, or a configuration that it makes, is not sound.
    #[error("{source}")]
    SweepFile {
        /// Its problems, each with its place.
        source: ConfigError,
    },
    /// A sweep directory is to be changed.
    #[error(
        "{dir} is a sweep directory: its runs are what they are\n  hint: name it alone, without --set and --seeds; to add runs to it, name configurations or a sweep file and --dir {dir}",
        dir = dir.display()
    )]
    Directory {
        /// The directory.
        dir: PathBuf,
    },
    /// Two configurations would share one run directory.
    #[error(
        "two configurations name their run `{name}`: {first} and {second}\n  hint: rename one file, or give one of them its own run.name",
        first = first.display(), second = second.display()
    )]
    SameName {
        /// The name.
        name: String,
        /// The configuration that came first.
        first: PathBuf,
        /// The one that repeats it.
        second: PathBuf,
    },
    /// `run.paper_row` names no row of the paper.
    #[error(
        "{file}: `run.paper_row`: the paper has no row `{row}`\n  hint: the nearest row is `{nearest}`",
        file = file.display()
    )]
    PaperRow {
        /// The configuration.
        file: PathBuf,
        /// The row as written.
        row: String,
        /// The most similar row there is.
        nearest: String,
    },
    /// The run directory holds a run of another configuration.
    #[error(
        "{dir} holds a run with another configuration; differing keys: {keys}\n  hint: choose another --dir, or go back to the configuration in its config.toml",
        dir = dir.display(), keys = keys.join(", ")
    )]
    OtherConfig {
        /// The run directory.
        dir: PathBuf,
        /// Keys whose values differ.
        keys: Vec<String>,
    },
}

/// Errors of planning, running and reporting a sweep.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// Nothing to do.
    #[error(
        "no configuration given\n  hint: name one or more, such as configs/smoke-*.toml, or a sweep file"
    )]
    NoConfigs,
    /// Configurations that cannot be swept; nothing was started.
    #[error("nothing was started: {} in the sweep's configurations\n{}", count(.0.len()), join(.0))]
    Plan(Vec<PlanProblem>),
    /// A file or folder could not be read or written.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried: `read`, `write`, `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The sweep directory cannot be made.
    #[error(
        "cannot make the sweep directory {path}: {source}\n  hint: choose another place with --dir",
        path = path.display()
    )]
    Dir {
        /// The directory.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file of ours is not what it should be.
    #[error("{path}: {message}", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, naming both versions when it is the version.
        message: String,
    },
    /// The folder holds no sweep.
    #[error(
        "{path} is not a sweep directory: it has no sweep.json\n  hint: `slender sweep run CONFIG...` makes one",
        path = path.display()
    )]
    NotASweep {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds no results, and no sweeps that have some.
    #[error(
        "{path} holds no results.json, nor do its folders\n  hint: name sweep directories, or a folder of them; `slender sweep report DIR` writes results.json",
        path = path.display()
    )]
    NoResults {
        /// The folder.
        path: PathBuf,
    },
    /// One of Slurm's commands failed.
    #[error("{command}: {message}")]
    Slurm {
        /// The command, such as `sbatch`.
        command: String,
        /// What it said.
        message: String,
    },
    /// The slender program itself could not be started.
    #[error("cannot start {program}: {source}", program = program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
}

fn count(n: usize) -> String {
    match n {
        1 => "1 problem".into(),
        n => format!("{n} problems"),
    }
}

fn join(problems: &[PlanProblem]) -> String {
    let lines: Vec<String> = problems.iter().map(PlanProblem::to_string).collect();
    lines.join("\n")
}
