//! The tasks, each a declaration: name, version, source, split, metrics, and how a row becomes an
//! [`Example`].
//!
//! Prompts, splits and metrics are those of lm-evaluation-harness [`HARNESS_VERSION`], checked against
//! that program on every example of the full sets (`tests/harness.rs`). Only `race_middle` and
//! `race_high` are not the harness's: it has no task for RACE as papers report it. The metrics live elsewhere
//! ([`crate::metrics`]); a task only says which of them it reports.

mod arc;
mod blimp;
mod boolq;
mod commonsense_qa;
mod copa;
mod digest;
mod hellaswag;
mod lambada;
mod openbookqa;
mod piqa;
mod race;
mod registry;
mod sciq;
mod social_iqa;
mod triviaqa;
mod truthfulqa;
mod wikitext;
mod winogrande;

use crate::error::EvalError;
use crate::example::Example;
use crate::row::Row;

pub(crate) use digest::published_train;
pub use digest::{Known, digest, known};
pub use registry::{GROUPS, Group, PAPER_TASKS, find, find_all, group_of, list};
pub(crate) use wikitext::pages;

/// The release of lm-evaluation-harness whose prompts, splits and metrics are used.
pub const HARNESS_VERSION: &str = "0.4.13";

/// What a task reports, named as in the harness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Share of examples whose right choice has the highest log-likelihood; for a single continuation, share
    /// of examples whose continuation greedy decoding gives; for TruthfulQA's second form, the probability of
    /// the true answers among all.
    Acc,
    /// The same after dividing each log-likelihood by the length of its choice in **characters**.
    ///
    /// The harness's documentation speaks of bytes, but its code counts Unicode code points.
    AccNorm,
    /// exp of the mean negative log-likelihood of a continuation.
    Perplexity,
    /// Share of generated answers that equal one of the aliases, case and ASCII punctuation aside.
    ExactMatch,
    /// exp of the negative log-likelihood per word of the text.
    WordPerplexity,
    /// exp of the negative log-likelihood per byte of the text.
    BytePerplexity,
    /// Negative log-likelihood per byte of the text, in bits.
    BitsPerByte,
    /// exp of the negative log-likelihood per token; the harness does not report it.
    TokenPerplexity,
}

impl Metric {
    /// The name in result files.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Acc => "acc",
            Metric::AccNorm => "acc_norm",
            Metric::Perplexity => "perplexity",
            Metric::ExactMatch => "exact_match",
            Metric::WordPerplexity => "word_perplexity",
            Metric::BytePerplexity => "byte_perplexity",
            Metric::BitsPerByte => "bits_per_byte",
            Metric::TokenPerplexity => "token_perplexity",
        }
    }

    /// Whether a larger value is a better one; a share between 0 and 1 if so.
    pub fn higher_is_better(self) -> bool {
        matches!(self, Metric::Acc | Metric::AccNorm | Metric::ExactMatch)
    }

    /// The metric of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        [
            Metric::Acc,
            Metric::AccNorm,
            Metric::Perplexity,
            Metric::ExactMatch,
            Metric::WordPerplexity,
            Metric::BytePerplexity,
            Metric::BitsPerByte,
            Metric::TokenPerplexity,
        ]
        .into_iter()
        .find(|metric| metric.name() == name)
    }
}

/// What is asked of the model, and how the answer is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Log-likelihoods of several choices, one of them right.
    Choice,
    /// Log-likelihoods of several answers, some of them true (TruthfulQA's second form).
    Truths,
    /// The log-likelihood of one continuation.
    Continuation,
    /// The log-likelihood of a whole text, in rolling windows.
    Text,
    /// Text, generated greedily until a line break, a full stop or a comma.
    Answer,
}

/// How the `paper` protocol normalises the log-likelihood of a choice (LLaMA, Touvron et al. 2023, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paper {
    /// By the characters of the choice.
    Characters,
    /// Not at all: the same text is scored for every choice, after contexts that differ.
    Plain,
    /// By the likelihood of the choice after the bare text `Answer:` (Brown et al. 2020).
    AfterAnswer,
    /// Not a task of that protocol.
    None,
}

/// Where the harness takes few-shot examples from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shots {
    /// The train split; as many as asked for.
    Train,
    /// The train split; one more than asked for, of which those equal to the example are dropped.
    TrainOthers,
    /// The scored split itself, the example not excluded.
    Own,
    /// None: the prompt is fixed.
    Never,
}

/// How rows become examples.
#[derive(Clone, Copy)]
pub enum Read {
    /// One example of each row.
    One(fn(&Row<'_>) -> Result<Example, EvalError>),
    /// Several of each row.
    Many(fn(&Row<'_>) -> Result<Vec<Example>, EvalError>),
}

impl std::fmt::Debug for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Read::One(_) => "One",
            Read::Many(_) => "Many",
        })
    }
}

/// A data set on the hub, as the harness names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubSource {
    /// Repository, `owner/name`.
    pub repo: &'static str,
    /// Configuration (subset), where the repository has several.
    pub config: Option<&'static str>,
}

/// A task.
#[derive(Debug)]
pub struct Task {
    /// The harness's name.
    pub name: &'static str,
    /// The name for people.
    pub title: &'static str,
    /// Folder in a data directory.
    pub folder: &'static str,
    /// The split that is scored.
    pub split: &'static str,
    /// The file in the folder, where it is not `<split>.jsonl`.
    pub file: Option<&'static str>,
    /// What is asked of the model.
    pub output: Output,
    /// Where the hub has it.
    pub hub: HubSource,
    /// Published number of examples of the split.
    pub examples: usize,
    /// Expected accuracy of a uniform guess over the split, between 0 and 1; 0 where there is no guessing.
    pub chance: f64,
    /// The harness's version of the task.
    pub version: f64,
    /// Metrics that the harness reports.
    pub metrics: &'static [Metric],
    /// Who made it, and its licence.
    pub source: &'static str,
    /// The fields it reads, for error messages.
    pub fields: &'static str,
    /// The shipped slice, JSON lines, where its licence and size allow one.
    pub fixture: Option<&'static str>,
    /// Reads rows.
    pub read: Read,
    /// The normalisation of the `paper` protocol.
    pub paper: Paper,
    /// Where few-shot examples come from.
    pub shots: Shots,
    /// A reason why this copy of the data gives other numbers than the harness's, if it does.
    pub caveat: fn(&Row<'_>) -> Option<&'static str>,
}

impl Task {
    /// Whether the task reports `metric`.
    pub fn reports(&self, metric: Metric) -> bool {
        self.metrics.contains(&metric)
    }

    /// Whether choices are compared.
    pub fn has_choices(&self) -> bool {
        matches!(self.output, Output::Choice | Output::Truths)
    }

    /// The file of a split in the task's folder.
    pub fn file_of(&self, split: &str) -> String {
        match self.file {
            Some(file) if split == self.split => file.to_owned(),
            _ => format!("{split}.jsonl"),
        }
    }

    /// The examples of one row.
    ///
    /// # Errors
    /// A field is missing or makes no sense.
    pub fn examples_of(&self, row: &Row<'_>) -> Result<Vec<Example>, EvalError> {
        match self.read {
            Read::One(read) => Ok(vec![read(row)?]),
            Read::Many(read) => read(row),
        }
    }
}

/// No caveat: this copy of the data is the harness's own.
fn no_caveat(_: &Row<'_>) -> Option<&'static str> {
    None
}

/// Removes surrounding whitespace as Python's `str.strip` does.
///
/// Python counts the four separators U+001C to U+001F as whitespace; Unicode, and so Rust, does not.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Whether Python's `str.isspace` holds.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}
