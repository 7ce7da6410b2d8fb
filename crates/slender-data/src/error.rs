//! What can go wrong between a text file and a batch.
//!
//! Messages are lowercase fragments that name the file, line or repository, and carry a `hint:` line
//! where there is something to do. Nothing here is a bug of slender: a bug panics, bad input does not.

use crate::hub::HubError;
use std::path::{Path, PathBuf};

/// Error of reading sources, loading tokenizers, preparing shards or making batches.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, such as `read`.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A `[data]` value is out of range or contradicts another.
    #[error("{key}: {message}")]
    Config {
        /// Key path, such as `data.sources[0].repo`.
        key: String,
        /// What is wrong, with a hint line where there is something to do.
        message: String,
    },
    /// A path of a `files` source does not exist.
    #[error("no such file or folder: {}\n  hint: paths are relative to the config file that names them", path.display())]
    PathMissing {
        /// The path as it was resolved.
        path: PathBuf,
    },
    /// A named file has an extension that is not read.
    #[error("cannot tell the format of {} by its name\n  hint: .txt, .jsonl and .parquet are read, each also with .gz or .zst", path.display())]
    UnknownExtension {
        /// The file.
        path: PathBuf,
    },
    /// A folder holds no file that can be read.
    #[error("no .txt, .jsonl or .parquet file (also .gz, .zst) in {}", path.display())]
    NoFiles {
        /// The folder.
        path: PathBuf,
    },
    /// The text column is not in a `.jsonl` row or `.parquet` file.
    #[error("{place}: no column {column:?}; there is {available}\n  hint: set text_column")]
    MissingColumn {
        /// File, with line number for `.jsonl`.
        place: String,
        /// Wanted column.
        column: String,
        /// The columns there are.
        available: String,
    },
    /// The text column does not hold strings.
    #[error("{place}: column {column:?} holds {found}, not text\n  hint: set text_column")]
    ColumnType {
        /// File, with line number for `.jsonl`.
        place: String,
        /// The column.
        column: String,
        /// Its type.
        found: String,
    },
    /// A row is not a conversation, or the chat template refuses it.
    #[error("{place}: {message}")]
    Conversation {
        /// File, with line or number of the conversation.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// Bytes that are not UTF-8.
    #[error("{}: invalid UTF-8 at byte {offset} (counted after decompression)", path.display())]
    InvalidUtf8 {
        /// The file.
        path: PathBuf,
        /// Offset of the first offending byte in the decompressed file.
        offset: u64,
    },
    /// A line of a `.jsonl` file is not a JSON object.
    #[error("{}:{line}: invalid JSON: {message}", path.display())]
    InvalidJson {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// The parser's message.
        message: String,
    },
    /// A `.parquet` file cannot be read.
    #[error("{}: {message}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The reader's message.
        message: String,
    },
    /// No shipped text of that name.
    #[error("no builtin text {name:?}; there is {known}")]
    UnknownBuiltin {
        /// Wanted name.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The hub could not be reached or refused.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A tokenizer cannot be loaded or used.
    #[error("tokenizer {name}: {message}")]
    Tokenizer {
        /// File, repository or "(bytes)".
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A chat template does not parse, or refuses a conversation.
    #[error("chat template of {name}: {message}")]
    ChatTemplate {
        /// Where the template is from.
        name: String,
        /// What is wrong, with the template's line where it is known.
        message: String,
    },
    /// The tokenizer's vocabulary is not the expected one.
    #[error(
        "tokenizer {name} has {found} tokens, data.tokenizer.vocab_size says {expected}\n  hint: set vocab_size = {found}"
    )]
    VocabSize {
        /// File or repository.
        name: String,
        /// From the configuration.
        expected: usize,
        /// Of the tokenizer.
        found: usize,
    },
    /// Byte-level BPE ran out of pairs before the wanted vocabulary was full.
    #[error(
        "{bytes} bytes of text give {reached} tokens, not the wanted vocabulary of {wanted}\n  hint: lower data.tokenizer.vocab_size, or add text"
    )]
    CorpusTooSmall {
        /// Bytes of training text.
        bytes: u64,
        /// Vocabulary reached.
        reached: usize,
        /// Vocabulary wanted.
        wanted: usize,
    },
    /// A source gave no document.
    #[error("source {name} has no text{reason}")]
    EmptySource {
        /// Name of the source.
        name: String,
        /// Why, if known, with leading punctuation; may be empty.
        reason: String,
    },
    /// A file was written by another version of slender.
    #[error("{} is {found:?}, this version reads {expected:?}\n  hint: prepare the data again with this version, or use the version that wrote it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Format found.
        found: String,
        /// Format understood.
        expected: String,
    },
    /// A prepared file is damaged.
    #[error("{} is damaged: {reason}\n  hint: delete it and run `slender data prepare` again", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// There is no prepared data in a folder.
    #[error("{} holds no prepared data (no manifest.json)\n  hint: run `slender data prepare` first", path.display())]
    NotPrepared {
        /// The folder.
        path: PathBuf,
    },
    /// Fewer tokens than one training sequence.
    #[error(
        "{what} has {have} tokens, one sequence needs {need} (sequence length + 1)\n  hint: {hint}"
    )]
    TooFewTokens {
        /// Source, or "the validation set".
        what: String,
        /// Tokens there are.
        have: u64,
        /// Tokens needed.
        need: u64,
        /// What to do.
        hint: String,
    },
    /// Preparation stopped on request (used by tests of resuming).
    #[error("preparation stopped after {parts} parts")]
    Stopped {
        /// Parts finished in this call.
        parts: usize,
    },
}

impl DataError {
    /// Wraps a system error with what was attempted on which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// A `[data]` error at `key`.
    pub(crate) fn config(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Config {
            key: key.into(),
            message: message.into(),
        }
    }

    /// A damaged prepared file.
    pub(crate) fn corrupt(path: &Path, reason: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_path_buf(),
            reason: reason.into(),
        }
    }
}

impl DataError {
    /// Whether the cause is something the user wrote (a path, a column, a size), not the machine,
    /// the network or a damaged file.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            DataError::Config { .. }
                | DataError::PathMissing { .. }
                | DataError::UnknownExtension { .. }
                | DataError::NoFiles { .. }
                | DataError::MissingColumn { .. }
                | DataError::ColumnType { .. }
                | DataError::Conversation { .. }
                | DataError::UnknownBuiltin { .. }
                | DataError::VocabSize { .. }
                | DataError::CorpusTooSmall { .. }
                | DataError::TooFewTokens { .. }
        )
    }
}
