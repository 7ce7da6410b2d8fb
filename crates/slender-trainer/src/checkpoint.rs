//! Checkpoints: a folder that is whole when its name says so.
//!
//! Files are written into a hidden folder, `state.json` with the hashes of all others last, then
//! the folder is renamed to `step-XXXXXXXX`. Reading verifies every hash, so a damaged checkpoint
//! is noticed before it is continued; the run then falls back to the one before.

use crate::error::TrainError;
use crate::optimizer::Optimizer;
use crate::rundir::{RunDir, write_json};
use burn::tensor::Device;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use slender_config::ModelShape;
use slender_data::{SETTINGS_FILE, SPECIAL_TOKENS_FILE, Tokenizer};
use slender_model::{GENERATION_CONFIG, Transformer, read_weights, write_tensors};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Format of `state.json`.
pub const CHECKPOINT_FORMAT: &str = "slender-checkpoint/1";

const WEIGHTS: &str = "model.safetensors";
const MOMENTS: &str = "optimizer.safetensors";
const MODEL_CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
/// What every checkpoint has.
const FILES: [&str; 4] = [WEIGHTS, MOMENTS, MODEL_CONFIG, TOKENIZER];
/// What checkpoints have whose tokenizer came with settings, or whose run began with a model.
const SETTINGS: [&str; 3] = [SETTINGS_FILE, SPECIAL_TOKENS_FILE, GENERATION_CONFIG];

/// Everything a run needs to continue, beside weights and moments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointState {
    /// `slender-checkpoint/1`.
    pub format: String,
    /// Optimizer steps done.
    pub step: u64,
    /// Training tokens done.
    pub tokens: u64,
    /// AdamW updates done: steps less skipped batches.
    pub updates: u64,
    /// Data position: number of the next batch.
    pub next_batch: u64,
    /// Seed of the data order.
    pub order_seed: u64,
    /// Hash of the data manifest.
    pub data_manifest: String,
    /// State of the random stream (dropout).
    pub rng: ChaCha8Rng,
    /// Batches skipped so far, and in a row.
    pub skipped: u64,
    /// Batches skipped in a row.
    pub skipped_in_a_row: u64,
    /// Loss of the latest batch.
    pub train_loss: Option<f64>,
    /// Latest validation loss.
    pub valid_loss: Option<f64>,
    /// Latest validation bits per byte.
    pub valid_bits_per_byte: Option<f64>,
    /// Lowest validation loss and its step.
    pub best: Option<(f64, u64)>,
    /// Seconds of work so far.
    pub elapsed_s: f64,
    /// BLAKE3 of every other file of the checkpoint.
    pub files: BTreeMap<String, String>,
}

/// A checkpoint on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Its folder.
    pub dir: PathBuf,
    /// Its state.
    pub state: CheckpointState,
}

/// Folder name of the checkpoint of `step`.
fn folder_name(step: u64) -> String {
    format!("step-{step:08}")
}

/// Steps of the whole checkpoints of a run, ascending.
pub fn checkpoint_steps(dir: &RunDir) -> Vec<u64> {
    let entries = std::fs::read_dir(dir.checkpoints())
        .into_iter()
        .flatten()
        .flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut steps: Vec<u64> = names
        .filter_map(|name| name.strip_prefix("step-")?.parse().ok())
        .collect();
    steps.sort_unstable();
    steps
}

/// The newest checkpoint whose files are all what they were when written.
///
/// Damaged ones are renamed to `damaged-step-…`; `warn` is told about each.
///
/// # Errors
/// A checkpoint of another format version, or the operating system's errors.
pub fn newest_checkpoint(
    dir: &RunDir,
    warn: &mut dyn FnMut(String),
) -> Result<Option<Checkpoint>, TrainError> {
    for step in checkpoint_steps(dir).into_iter().rev() {
        let folder = dir.checkpoints().join(folder_name(step));
        match read_state(&folder)? {
            Ok(state) => return Ok(Some(Checkpoint { dir: folder, state })),
            Err(reason) => {
                let aside = dir
                    .checkpoints()
                    .join(format!("damaged-{}", folder_name(step)));
                warn(format!(
                    "{}: {reason}; set aside as {}",
                    folder.display(),
                    aside.display()
                ));
                std::fs::rename(&folder, &aside).map_err(|source| TrainError::Io {
                    file: folder,
                    source,
                })?;
            }
        }
    }
    Ok(None)
}

/// The state of a checkpoint, or why it is damaged.
fn read_state(folder: &Path) -> Result<Result<CheckpointState, String>, TrainError> {
    let file = folder.join("state.json");
    let Ok(text) = std::fs::read_to_string(&file) else {
        return Ok(Err("state.json is missing".into()));
    };
    let format = serde_json::from_str::<serde_json::Value>(&text).ok();
    let format = format
        .as_ref()
        .and_then(|json| json.get("format")?.as_str());
    match format {
        Some(CHECKPOINT_FORMAT) => {}
        Some(other) => {
            return Err(TrainError::Checkpoint {
                file,
                message: format!(
                    "format {other}, this program reads {CHECKPOINT_FORMAT}\n  hint: continue this run with the version of slender that began it"
                ),
            });
        }
        None => return Ok(Err("state.json is not readable".into())),
    }
    let state: CheckpointState = match serde_json::from_str(&text) {
        Ok(state) => state,
        Err(error) => return Ok(Err(format!("state.json: {error}"))),
    };
    let settings = SETTINGS
        .into_iter()
        .filter(|name| state.files.contains_key(*name));
    for name in FILES.into_iter().chain(settings) {
        if state.files.get(name) != Some(&hash_file(&folder.join(name)).unwrap_or_default()) {
            return Ok(Err(format!(
                "{name} is missing or was changed after it was written"
            )));
        }
    }
    Ok(Ok(state))
}

fn hash_file(path: &Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

impl Checkpoint {
    /// Writes a checkpoint of `state`, filling in its file hashes. An existing one of this step stays.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write(
        dir: &RunDir,
        model: &Transformer,
        optimizer: &Optimizer,
        tokenizer: &Tokenizer,
        mut state: CheckpointState,
    ) -> Result<PathBuf, TrainError> {
        let folder = dir.checkpoints().join(folder_name(state.step));
        if folder.exists() {
            return Ok(folder);
        }
        let temporary = dir
            .checkpoints()
            .join(format!(".tmp-{}", folder_name(state.step)));
        let io = |file: &Path| {
            let file = file.to_owned();
            move |source| TrainError::Io { file, source }
        };
        if temporary.exists() {
            std::fs::remove_dir_all(&temporary).map_err(io(&temporary))?;
        }
        std::fs::create_dir_all(&temporary).map_err(io(&temporary))?;
        model.save(&temporary, tokenizer)?;
        let generation = dir.root().join(GENERATION_CONFIG);
        if generation.is_file() {
            let copied = std::fs::copy(&generation, temporary.join(GENERATION_CONFIG));
            copied.map_err(io(&generation))?;
        }
        write_tensors(
            &temporary.join(MOMENTS),
            &optimizer.to_tensors(),
            HashMap::new(),
        )?;
        state.files.clear();
        for name in FILES.into_iter().chain(SETTINGS) {
            let file = temporary.join(name);
            if SETTINGS.contains(&name) && !file.exists() {
                continue;
            }
            let hash = hash_file(&file).map_err(io(&file))?;
            state.files.insert(name.to_owned(), hash);
        }
        write_json(&temporary.join("state.json"), &state)?;
        std::fs::rename(&temporary, &folder).map_err(io(&folder))?;
        sync_dir(&dir.checkpoints());
        Ok(folder)
    }

    /// Loads weights and moments.
    ///
    /// # Errors
    /// A tensor that is missing or does not fit `shape`.
    pub fn load(
        &self,
        shape: &ModelShape,
        device: &Device,
    ) -> Result<(Transformer, Optimizer), TrainError> {
        let model = Transformer::read(shape, &[self.dir.join(WEIGHTS)], device)?;
        let mut optimizer = Optimizer::new(&model, device);
        let file = self.dir.join(MOMENTS);
        let tensors = read_weights(&file)?;
        let restored = optimizer.restore(tensors, self.state.updates, device);
        restored.map_err(|message| TrainError::Checkpoint { file, message })?;
        Ok((model, optimizer))
    }
}

/// Removes all but the newest `keep_last` checkpoints and the one of step `keep`.
///
/// # Errors
/// The operating system's.
pub(crate) fn prune(dir: &RunDir, keep_last: usize, keep: Option<u64>) -> Result<(), TrainError> {
    let steps = checkpoint_steps(dir);
    let old = steps.len().saturating_sub(keep_last);
    for step in steps[..old].iter().filter(|step| Some(**step) != keep) {
        let folder = dir.checkpoints().join(folder_name(*step));
        // Renamed first: a removal that is cut short must not leave half a checkpoint under its name.
        let doomed = dir
            .checkpoints()
            .join(format!(".tmp-{}", folder_name(*step)));
        let removed =
            std::fs::rename(&folder, &doomed).and_then(|()| std::fs::remove_dir_all(&doomed));
        removed.map_err(|source| TrainError::Io {
            file: folder,
            source,
        })?;
    }
    Ok(())
}

/// Makes a rename durable where the platform can.
fn sync_dir(path: &Path) {
    if let Ok(handle) = std::fs::File::open(path) {
        let _ = handle.sync_all();
    }
}
