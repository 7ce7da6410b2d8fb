//! `[data]`: where text comes from, how it becomes tokens, how tokens become sequences.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[data]`: corpus and tokenizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DataConfig {
    /// Text sources, mixed by their weights.
    pub sources: Vec<SourceConfig>,
    /// How text becomes tokens.
    pub tokenizer: TokenizerConfig,
    /// Share of documents (by document hash) kept for validation, among sources with `role = "split"`.
    #[serde(default = "default_valid_fraction")]
    pub valid_fraction: f64,
    /// Forbid attention across document boundaries inside a packed sequence.
    #[serde(default)]
    pub document_mask: bool,
    /// Use at most this many bytes of text of each source (0: all), counted over whole documents.
    #[serde(default)]
    pub max_bytes: u64,
    /// Use at most this many tokens for training (0: all).
    #[serde(default)]
    pub max_tokens: u64,
    /// Seed of the order of training sequences. Default: `run.seed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_seed: Option<u64>,
    /// Folder of prepared shards, relative to where the command runs. Default: `$SLENDER_CACHE`, else `slender` in the user's cache folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_dir: Option<PathBuf>,
}

/// One text source. Which keys apply depends on `kind`; a key of another kind is an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceConfig {
    /// `builtin` (text shipped with slender), `files` (local files and folders) or `hub` (a Hugging Face dataset).
    pub kind: SourceKind,
    /// `builtin`: name of the shipped text; `slender data list` shows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `files`: files and folders (`.txt`, `.jsonl`, `.parquet`, each also `.gz` and `.zst`), relative to the config file that names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<PathBuf>>,
    /// `hub`: dataset repository, such as `HuggingFaceFW/fineweb-edu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// `hub`: branch, tag or commit. Pin a commit for a result that can be repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// `hub`: glob patterns of the repository's files, such as `sample/10BT/*.parquet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<String>>,
    /// `hub`: split name (`train`), used to find files by name when `files` is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// `text`, or `conversations`: rows of `{"messages": [{"role": …, "content": …}, …]}`, rendered by the tokenizer's chat template, with loss on what the assistant says alone.
    #[serde(default)]
    pub content: Content,
    /// `.jsonl` and `.parquet`: column that holds the text, or the messages. Default: `text`, or `messages` for conversations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_column: Option<String>,
    /// `.txt`: a line that ends a document. Unset: each file is one document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_separator: Option<String>,
    /// Share of training sequences drawn from this source, relative to the other sources. Default: proportional to its tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// `split` divides documents by hash; `train` and `valid` put the whole source on one side.
    #[serde(default)]
    pub role: SourceRole,
}

/// Kind of text source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// Text shipped inside slender.
    Builtin,
    /// Local files and folders.
    Files,
    /// A dataset repository on a Hugging Face hub.
    Hub,
}

/// What a row of a source is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// A text.
    #[default]
    Text,
    /// A list of messages.
    Conversations,
}

impl SourceConfig {
    /// The column that holds the text or the messages.
    pub fn text_column(&self) -> &str {
        self.text_column.as_deref().unwrap_or(match self.content {
            Content::Text => "text",
            Content::Conversations => "messages",
        })
    }
}

/// Which side of the train/validation split a source feeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceRole {
    /// Divide documents by their hash.
    #[default]
    Split,
    /// Training only.
    Train,
    /// Validation only.
    Valid,
}

/// `[data.tokenizer]`. Which keys apply depends on `kind`; a key of another kind is an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenizerConfig {
    /// `bpe` (byte-level BPE trained on the corpus), `file` (`tokenizer.json` or SentencePiece `tokenizer.model`) or `hub`.
    pub kind: TokenizerKind,
    /// `bpe`: wanted vocabulary. `file`, `hub`: expected vocabulary, checked when the tokenizer is loaded; needed before it can be loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocab_size: Option<usize>,
    /// `file`: path, relative to the config file that names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// `hub`: model repository that holds the tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// `hub`: branch, tag or commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// `hub`: file name in the repository. Default: `tokenizer.json`, else `tokenizer.model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A Jinja file that replaces the tokenizer's chat template, relative to the config file that names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<PathBuf>,
    /// `bpe`: bytes of training text the vocabulary is learned from (0: all).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_bytes: Option<u64>,
}

/// Kind of tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenizerKind {
    /// Byte-level BPE trained on the corpus.
    Bpe,
    /// A local `tokenizer.json` or SentencePiece `tokenizer.model`.
    File,
    /// A tokenizer of a hub repository.
    Hub,
}

fn default_valid_fraction() -> f64 {
    0.01
}
