//! Everything that can go wrong in an evaluation, each with what to do next.
//!
//! Messages are lowercase fragments, so the binary can put its own `error:` in front; a second line
//! starting with `hint:` says the way out.

use std::path::PathBuf;

/// Why an evaluation stopped.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// No task has this name.
    #[error("unknown task `{name}`{}\n  hint: `slender eval list` shows every task", did_you_mean(*.nearest))]
    UnknownTask {
        /// The name as it was given.
        name: String,
        /// The most similar known name.
        nearest: Option<&'static str>,
    },
    /// A task was asked for without any name.
    #[error("no task named\n  hint: name one or more with --tasks, such as --tasks arc_easy,piqa")]
    NoTasks,
    /// The file a task needs is not in the data directory.
    #[error("task {task}: {} does not exist\n  hint: {hint}", .path.display())]
    MissingData {
        /// Task name.
        task: &'static str,
        /// The file that was looked for.
        path: PathBuf,
        /// What to do about it.
        hint: String,
    },
    /// A file could not be read or written.
    #[error("cannot {verb} {}: {source}", .path.display())]
    Io {
        /// `read` or `write`.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A line of a data file is not a JSON object.
    #[error(
        "{place}: not a JSON object: {message}\n  hint: the file has one example a line; fetch it again if it was cut short"
    )]
    BadJson {
        /// File and line.
        place: String,
        /// The parser's reason.
        message: String,
    },
    /// A file of a model's folder is damaged.
    #[error(
        "{place}: not JSON: {message}\n  hint: the file is empty or damaged; fetch or copy the model's folder again"
    )]
    BadModelFile {
        /// The file.
        place: String,
        /// The parser's reason.
        message: String,
    },
    /// A data file holds bytes that are no text.
    #[error("{place}: not UTF-8\n  hint: fetch the file again, or convert it to UTF-8")]
    NotUtf8 {
        /// File and line.
        place: String,
    },
    /// A field of an example is missing or has an unexpected value.
    #[error(
        "{place}: field `{field}` {problem}\n  hint: task {task} reads the hub's field names: {fields}"
    )]
    BadField {
        /// Task name.
        task: &'static str,
        /// File and line.
        place: String,
        /// Dotted path of the field.
        field: String,
        /// What is wrong with it.
        problem: String,
        /// The fields that the task reads.
        fields: &'static str,
    },
    /// A data file holds no example.
    #[error("task {task}: {origin} holds no example")]
    NoExamples {
        /// Task name.
        task: &'static str,
        /// File or repository.
        origin: String,
    },
    /// The hub did not give the task's file.
    #[error(
        "task {task}: cannot fetch {repo} from the hub: {message}\n  hint: pass --data-dir DIR with {folder}/{file}, or --data-dir builtin for the shipped slices"
    )]
    Hub {
        /// Task name.
        task: &'static str,
        /// Dataset repository.
        repo: &'static str,
        /// Why it failed.
        message: String,
        /// The task's folder in a data directory.
        folder: &'static str,
        /// The file of the split there.
        file: String,
    },
    /// The data is not the published data.
    #[error(
        "task {task}: {problem}\n  hint: fetch the split of {repo} again; to score what is there, pass --allow-altered or set `eval.allow_altered`, and the result says so"
    )]
    Altered {
        /// Task name.
        task: &'static str,
        /// What is different.
        problem: String,
        /// Dataset repository.
        repo: &'static str,
    },
    /// No slice of the task ships with the program.
    #[error(
        "task {task}: no slice of its {split} split ships with slender\n  hint: without --data-dir the full split comes from the hub"
    )]
    NoFixture {
        /// Task name.
        task: &'static str,
        /// The split.
        split: String,
    },
    /// Few-shot examples were asked for and cannot be had.
    #[error("task {task}: {problem}")]
    Shots {
        /// Task name.
        task: &'static str,
        /// Why not, and the way out.
        problem: String,
    },
    /// A file that is asked for cannot be written.
    #[error("{0}")]
    Output(String),
    /// Two results cannot be compared.
    #[error("{0}")]
    Compare(String),
    /// A Parquet file could not be read.
    #[error(
        "cannot read {} as Parquet: {message}\n  hint: the file is cut short or no Parquet; fetch or write it again",
        .path.display()
    )]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The reader's reason.
        message: String,
    },
    /// The tokenizer refused a text.
    #[error("cannot tokenize: {0}")]
    Tokenizer(String),
    /// Tokenized together, context and continuation have no token that belongs to the continuation.
    #[error(
        "the continuation {continuation:?} has no token of its own after {context:?}\n  hint: this tokenizer merges across the boundary, so the choice cannot be scored by log-likelihood"
    )]
    EmptyContinuation {
        /// The last characters of the context.
        context: String,
        /// The continuation.
        continuation: String,
    },
    /// A text without a context needs a first token to condition on, and the tokenizer has none.
    #[error("the tokenizer has neither a BOS nor an EOS token, which an empty context needs")]
    NoPrefixToken,
    /// The text for perplexity is empty.
    #[error("the text is empty, so it has no perplexity")]
    EmptyText,
    /// The model's context is too short to score anything.
    #[error("the model's maximum sequence length is 0")]
    NoContext,
    /// A log-probability is not a number.
    #[error(
        "the model gave a log-probability that is not a number\n  hint: its weights are damaged or training diverged; look at the losses of the run"
    )]
    NotANumber,
    /// The model failed, or broke the contract of [`crate::LanguageModel`].
    #[error("the model failed: {0}")]
    Model(String),
    /// A result file does not have the expected form.
    #[error("{place}: not an evaluation result: {message}")]
    BadReport {
        /// The file, or where the text came from.
        place: String,
        /// What is wrong.
        message: String,
    },
}

fn did_you_mean(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!(", did you mean `{name}`?"))
}
