//! A model from disk with its tokenizer: a run directory, one of its checkpoints, or a Hugging
//! Face folder of the Llama family.

use crate::hf_config::HfConfig;
use crate::transformer::Transformer;
use crate::weights::{ModelError, write_tensors, write_whole};
use burn::tensor::Device;
use slender_data::Tokenizer;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A model ready to be scored.
#[derive(Debug)]
pub struct LoadedModel {
    /// The weights.
    pub model: Transformer,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// BLAKE3 of the weights files, hex.
    pub weights_hash: String,
    /// Longest sequence in tokens.
    pub max_seq_len: usize,
    /// Folder the weights were read from.
    pub dir: PathBuf,
    /// Optimizer step, when the folder is a checkpoint of a run.
    pub step: Option<u64>,
}

/// The folder with `config.json` and weights behind `path`: itself, or a run's newest checkpoint.
///
/// # Errors
/// A path that does not exist or holds no model.
pub fn resolve_model_dir(path: &Path) -> Result<PathBuf, ModelError> {
    let not = |message: &str| ModelError::NotAModel {
        path: path.to_owned(),
        message: message.to_owned(),
    };
    if !path.is_dir() {
        return Err(not(if path.exists() {
            "it is a file"
        } else {
            "there is no such folder"
        }));
    }
    if path.join("config.json").is_file() {
        return Ok(path.to_owned());
    }
    let checkpoints = path.join("checkpoints");
    let newest = std::fs::read_dir(&checkpoints)
        .ok()
        .and_then(|entries| {
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            names
                .filter(|name| step_of(name).is_some())
                .max_by_key(|name| step_of(name))
        })
        .ok_or_else(|| not("it has neither config.json nor a finished checkpoint"))?;
    Ok(checkpoints.join(newest))
}

/// The step of a checkpoint folder's name, `step-00000040`.
fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix("step-")?.parse().ok()
}

impl Transformer {
    /// Writes the model into the folder `dir`, which exists: weights, tokenizer, and last of all
    /// `config.json`, without which a folder is no model.
    ///
    /// # Errors
    /// The operating system's.
    pub fn save(&self, dir: &Path, tokenizer: &Tokenizer) -> Result<(), ModelError> {
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        write_tensors(&dir.join("model.safetensors"), &self.to_tensors(), metadata)?;
        tokenizer.save(&dir.join("tokenizer.json"))?;
        let config = HfConfig {
            shape: self.shape().clone(),
            bos_token_id: tokenizer.bos_id(),
            eos_token_id: tokenizer.eos_id(),
        };
        write_whole(&dir.join("config.json"), config.to_json().as_bytes())
    }
}

impl LoadedModel {
    /// Loads the model behind `path` onto `device`.
    ///
    /// # Errors
    /// Anything missing, malformed or unsupported, by name.
    pub fn load(path: &Path, device: &Device) -> Result<Self, ModelError> {
        let dir = resolve_model_dir(path)?;
        let config = HfConfig::read(&dir.join("config.json"))?;
        let files = weight_files(&dir)?;
        let weights_hash = hash_files(&files)?;
        let model = Transformer::read(&config.shape, &files, device)?;
        let tokenizer = tokenizer_file(path, &dir)?;
        let tokenizer = Tokenizer::from_file(&tokenizer)?;
        if tokenizer.vocab_size() > config.shape.vocab_size {
            return Err(ModelError::Config {
                file: dir.join("config.json"),
                message: format!(
                    "the tokenizer has {} tokens, the embedding only {} rows",
                    tokenizer.vocab_size(),
                    config.shape.vocab_size
                ),
            });
        }
        let name = dir
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        Ok(Self {
            model,
            tokenizer,
            weights_hash,
            max_seq_len: config.shape.max_seq_len,
            step: name.as_deref().and_then(step_of),
            dir,
        })
    }
}

/// BLAKE3 of the weights files in `dir`, hex, without loading them.
///
/// # Errors
/// A folder without weights, or the operating system's errors.
pub fn weights_hash(dir: &Path) -> Result<String, ModelError> {
    hash_files(&weight_files(dir)?)
}

fn hash_files(files: &[PathBuf]) -> Result<String, ModelError> {
    let mut hasher = blake3::Hasher::new();
    for file in files {
        let io = |source| ModelError::Io {
            file: file.clone(),
            source,
        };
        let mut open = std::fs::File::open(file).map_err(io)?;
        hasher.update_reader(&mut open).map_err(io)?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// `model.safetensors`, or the shards that `model.safetensors.index.json` names.
fn weight_files(dir: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let single = dir.join("model.safetensors");
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index = dir.join("model.safetensors.index.json");
    let bad = |message: String| ModelError::Weights {
        file: index.clone(),
        message,
    };
    let text = std::fs::read_to_string(&index).map_err(|_| ModelError::NotAModel {
        path: dir.to_owned(),
        message: "there is neither model.safetensors nor model.safetensors.index.json".into(),
    })?;
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
    let map = json
        .get("weight_map")
        .and_then(|map| map.as_object())
        .ok_or_else(|| bad("`weight_map` is missing".into()))?;
    let mut names: Vec<&str> = map.values().filter_map(|name| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() || names.iter().any(|name| name.contains(['/', '\\'])) {
        return Err(bad("`weight_map` names no file of this folder".into()));
    }
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

fn tokenizer_file(path: &Path, dir: &Path) -> Result<PathBuf, ModelError> {
    for folder in [dir, path] {
        for name in ["tokenizer.json", "tokenizer.model"] {
            let file = folder.join(name);
            if file.is_file() {
                return Ok(file);
            }
        }
    }
    Err(ModelError::NotAModel {
        path: dir.to_owned(),
        message: "there is no tokenizer.json or tokenizer.model".into(),
    })
}
