//! Text to batches: sources, tokenizers, shards, and the order of training.
//!
//! [`prepare()`] turns the `[data]` section of a configuration into a folder of token shards, once;
//! [`Dataset`] maps such a folder and gives batches that depend on nothing but the folder, a seed and the
//! step. [`hub`] fetches files of Hugging Face hubs for this crate and others.
//!
//! ```no_run
//! use slender_data::{Dataset, PrepareOptions, prepare};
//! # fn f(config: &slender_config::DataConfig) -> Result<(), slender_data::DataError> {
//! let prepared = prepare(config, &PrepareOptions::from_env())?;
//! let data = Dataset::open(&prepared.dir)?;
//! let order = data.train(512, 1)?;
//! let batch = order.batch(17, 8); // inputs, targets, segments: [8 * 512]
//! # Ok(())
//! # }
//! ```

mod builtin;
mod chat;
mod dataset;
mod error;
mod fsio;
pub mod hub;
mod order;
mod prepare;
mod shard;
mod source;
mod tokenizer;

pub use builtin::{BuiltinText, describe_builtin};
pub use chat::{ChatTemplate, EncodedConversation, Message};
pub use dataset::Dataset;
pub use error::DataError;
pub use order::{Batch, Sequence, TrainOrder, ValidWindow, ValidWindows};
pub use prepare::{
    InputManifest, MANIFEST_FILE, MANIFEST_FORMAT, Manifest, PrepareOptions, Prepared,
    ShardManifest, SourceManifest, SplitManifest, TOKENIZER_FILE, cache_dir, prepare, prepared_dir,
    user_cache_dir,
};
pub use shard::TokenType;
pub use source::{read_conversations, read_documents};
pub use tokenizer::{
    CHAT_TEMPLATE_FILE, GgufField, GgufTokenizer, SETTINGS_FILE, SPECIAL_TOKENS_FILE, Tokenizer,
    TokenizerFiles, TokenizerSettings, begins_with_token, load_tokenizer,
};

pub(crate) use slender_config::{
    Content, DataConfig, SourceConfig, SourceKind, SourceRole, TokenizerConfig, TokenizerKind,
};
