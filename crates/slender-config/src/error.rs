//! Everything that can be wrong with a configuration, said with its place and the way out.
//!
//! A user who mistypes three keys wants to hear of all three at once, so problems are collected
//! and reported together instead of stopping at the first.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from: a line of a file, or the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line (1-based) of a TOML file.
    File {
        /// The file as it was named.
        file: PathBuf,
        /// Line number, from 1.
        line: usize,
    },
    /// A `--set key=value` argument.
    Set,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { file, line } => write!(f, "{}:{line}", file.display()),
            Origin::Set => f.write_str("--set"),
        }
    }
}

/// One problem: place, key path, what is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// File and line, or the command line; `None` when the key is absent everywhere.
    pub origin: Option<Origin>,
    /// Dotted key path, such as `model.n_heads`.
    pub key: String,
    /// What is wrong, a lowercase fragment.
    pub message: String,
    /// What to do instead.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "`{}`: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// Errors of loading and checking a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("cannot read {file}: {source}", file = file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file is not TOML.
    #[error("{file}:{line}: not valid TOML: {message}", file = file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// The parser's message.
        message: String,
    },
    /// A `--set` argument is not `key=value`.
    #[error(
        "--set {argument}: {message}\n  hint: write --set section.key=value, for example --set train.lr=1e-3"
    )]
    Set {
        /// The argument as typed.
        argument: String,
        /// What is wrong with it.
        message: String,
    },
    /// Unknown and missing keys, wrong types, impossible values, a circle of `extends`.
    #[error("{}", join(.0))]
    Invalid(Vec<Problem>),
}

fn join(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(Problem::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

impl ConfigError {
    /// The problems of an [`ConfigError::Invalid`]; empty for the other kinds.
    pub fn problems(&self) -> &[Problem] {
        match self {
            ConfigError::Invalid(problems) => problems,
            _ => &[],
        }
    }
}
