//! A model from disk with its tokenizer: a run directory, one of its checkpoints, or a Hugging
//! Face folder of the Llama family.

use crate::transformer::Transformer;
use crate::weights::{ModelError, write_tensors, write_whole};
use burn::tensor::Device;
use slender_config::ModelShape;
use slender_data::Tokenizer;
use slender_formats::{HfConfig, resolve_model_dir, step_of, weight_files};
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

impl Transformer {
    /// Writes the model into the folder `dir`, which exists: weights, tokenizer, and last of all
    /// `config.json`, without which a folder is no model.
    ///
    /// # Errors
    /// The operating system's.
    pub fn save(&self, dir: &Path, tokenizer: &Tokenizer) -> Result<(), ModelError> {
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        write_tensors(&dir.join("model.safetensors"), &self.to_tensors(), metadata)?;
        tokenizer.save_in(dir)?;
        let config = HfConfig {
            shape: self.shape().clone(),
            bos_token_id: tokenizer.bos_id(),
            eos_token_ids: tokenizer.eos_id().into_iter().collect(),
        };
        write_whole(&dir.join("config.json"), config.to_json().as_bytes())
    }
}

impl Transformer {
    /// The weights of the model behind `path` as a model of `shape`, and their BLAKE3 hash in hex.
    ///
    /// # Errors
    /// Anything missing, malformed or unsupported, by name; weights of another shape.
    pub fn read_from(
        shape: &ModelShape,
        path: &Path,
        device: &Device,
    ) -> Result<(Self, String), ModelError> {
        let dir = resolve_model_dir(path)?;
        // Refuses what is not computed here.
        HfConfig::read(&dir.join("config.json"))?;
        slender_formats::check_generation_config(&dir)?;
        let files = weight_files(&dir)?;
        let hash = hash_files(&files)?;
        Ok((Self::read(shape, &files, device)?, hash))
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
        let tokenizer = tokenizer_file(path, &dir).ok_or_else(|| ModelError::NotAModel {
            path: dir.clone(),
            message: "there is no tokenizer.json or tokenizer.model".into(),
        })?;
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

/// The tokenizer beside the model behind `path`, whose weights are in `dir`; `None` if there is none.
pub fn tokenizer_file(path: &Path, dir: &Path) -> Option<PathBuf> {
    for folder in [dir, path] {
        for name in ["tokenizer.json", "tokenizer.model"] {
            let file = folder.join(name);
            if file.is_file() {
                return Some(file);
            }
        }
    }
    None
}
