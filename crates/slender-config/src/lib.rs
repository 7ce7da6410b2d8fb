//! Configuration of slender: what a user may write, what it means, and what it costs.
//!
//! A types crate without Burn, so that tools that only need to read, check or count a model build
//! in seconds. [`Config::load`] turns a TOML file into a checked configuration;
//! [`ModelShape`] is the shape whose numbers fit together; [`Accounting`] says what it costs.

mod account;
mod data;
mod device;
mod error;
mod from;
mod identity;
mod load;
mod model;
mod scaling;
pub mod schema;
mod shape;
pub mod sweep;
mod train;
mod validate;

pub use account::{Accounting, human_bytes, human_count, human_seconds, plural};
pub use data::{
    Content, DataConfig, SourceConfig, SourceKind, SourceRole, TokenizerConfig, TokenizerKind,
};
pub use device::{Backend, DeviceParseError, DeviceSpec};
pub use error::{ConfigError, Origin, Problem};
pub use identity::IDENTITY_FORMAT;
pub use load::{Merged, read_merged};
pub use model::{FfnKind, LayerSharing, ModelConfig, SharingKind};
pub use scaling::{Scaling, WeightScale};
pub use shape::{ModelShape, ShapeProblem};
pub use train::{
    EvalConfig, OnNonfinite, Parametrization, Recompute, RunConfig, Schedule, TrainConfig,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Format line of a resolved configuration on disk.
pub const CONFIG_FORMAT: &str = "# slender-config/1";

/// A complete configuration of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Config {
    /// The decoder's shape.
    pub model: ModelConfig,
    /// Corpus and tokenizer.
    pub data: DataConfig,
    /// Optimizer, schedule, batch and budget. Exactly one of `steps` and `tokens` is given.
    pub train: TrainConfig,
    /// What is measured, during and after training.
    #[serde(default)]
    pub eval: EvalConfig,
    /// Identity, device, checkpoints and logging.
    #[serde(default)]
    pub run: RunConfig,
}

impl Config {
    /// Reads `file` with everything it extends, applies `sets` (`section.key=value`), fills in
    /// derived defaults and checks the result.
    ///
    /// # Errors
    /// All problems found, each with file, line, key and a hint.
    pub fn load(file: &Path, sets: &[String]) -> Result<Self, ConfigError> {
        let merged = read_merged(file, sets)?;
        if merged.table.contains_key("sweep") {
            return Err(ConfigError::Invalid(vec![Problem {
                origin: merged.origin("sweep"),
                key: "sweep".into(),
                message: "this is a sweep file, not the configuration of one run".into(),
                hint: Some("use `slender sweep run FILE` or `slender sweep plan FILE`".into()),
            }]));
        }
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        Self::from_merged(merged, &stem)
    }

    /// The configuration of a merged tree; `name` is the run's unless it says its own.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_merged(mut merged: Merged, name: &str) -> Result<Self, ConfigError> {
        // An inherited budget is dropped by setting it to 0, or by giving the other one in the leaf.
        drop_zero_budget(&mut merged);
        from::fill(&mut merged)?;
        let mut config = load::deserialize(&merged).map_err(ConfigError::Invalid)?;
        validate::resolve(&mut config, &merged).map_err(ConfigError::Invalid)?;
        config.run.name.get_or_insert_with(|| name.to_owned());
        Ok(config)
    }

    /// The resolved configuration as TOML, every default written out; loading it gives `self` back.
    pub fn to_toml(&self) -> String {
        let body = toml::to_string_pretty(self).expect("a configuration always serializes");
        format!("{CONFIG_FORMAT}\n{body}")
    }

    /// Name of the run.
    pub fn name(&self) -> &str {
        self.run.name.as_deref().unwrap_or("run")
    }

    /// The shape for a tokenizer of `tokenizer_vocab` tokens.
    ///
    /// # Errors
    /// The contradictions of `[model]`; a loaded configuration has none but a vocabulary of 0.
    pub fn shape_for(&self, tokenizer_vocab: usize) -> Result<ModelShape, Vec<ShapeProblem>> {
        ModelShape::resolve(&self.model, tokenizer_vocab)
    }

    /// The shape, if `data.tokenizer.vocab_size` says the vocabulary.
    pub fn shape(&self) -> Option<ModelShape> {
        self.shape_for(self.data.tokenizer.vocab_size?).ok()
    }

    /// Accounting of the shape at the training sequence length and micro-batch, if the vocabulary is known.
    pub fn accounting(&self) -> Option<Accounting> {
        Some(self.accounting_of(&self.shape()?))
    }

    /// Accounting of `shape` in this configuration's training.
    pub fn accounting_of(&self, shape: &ModelShape) -> Accounting {
        let train = &self.train;
        shape.accounting_with(train.seq_len(), train.micro_batch_size(), train.recompute)
    }

    /// Scaling of the weights of `shape` in this configuration's training.
    pub fn scaling_of(&self, shape: &ModelShape) -> Scaling {
        Scaling::of(&self.train, shape)
    }

    /// Keys whose values differ from `other`, leaving out operational ones that cannot change a
    /// result (device, threads, folders, logging and checkpoint cadence).
    pub fn differing_keys(&self, other: &Config) -> Vec<String> {
        let tree = |config: &Config| serde_json::to_value(config).unwrap_or_default();
        let mut keys = Vec::new();
        diff("", &tree(self), &tree(other), &mut keys);
        keys.retain(|key| {
            !OPERATIONAL
                .iter()
                .any(|known| key == known || key.starts_with(&format!("{known}[")))
        });
        keys
    }
}

/// Keys that may change between two starts of the same run.
pub(crate) const OPERATIONAL: &[&str] = &[
    "run.name",
    "run.device",
    "run.threads",
    "run.out_dir",
    "run.log_every",
    "run.checkpoint_every",
    "run.checkpoint_minutes",
    "run.keep_last",
    "run.keep_best",
    "run.paper_row",
    "train.recompute",
    "data.cache_dir",
    "eval.data_dir",
    "eval.allow_altered",
    "eval.tasks",
    "eval.tasks_every",
    "eval.limit",
];

fn diff(path: &str, a: &serde_json::Value, b: &serde_json::Value, keys: &mut Vec<String>) {
    if let (Some(a), Some(b)) = (a.as_object(), b.as_object()) {
        for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
            let null = serde_json::Value::Null;
            let inner = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            diff(
                &inner,
                a.get(key).unwrap_or(&null),
                b.get(key).unwrap_or(&null),
                keys,
            );
        }
    } else if a != b {
        keys.push(path.to_owned());
    }
}

fn drop_zero_budget(merged: &mut Merged) {
    let Some(toml::Value::Table(train)) = merged.table.get_mut("train") else {
        return;
    };
    let zero = |value: Option<&toml::Value>| value.and_then(toml::Value::as_integer) == Some(0);
    for (key, other) in [("steps", "tokens"), ("tokens", "steps")] {
        if zero(train.get(key)) && train.contains_key(other) && !zero(train.get(other)) {
            train.remove(key);
        }
    }
}
