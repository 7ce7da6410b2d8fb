//! What can stop a training run, and the exit code that tells a scheduler what to do about it.

use std::path::PathBuf;

/// Exit codes of `slender train`; part of the command's contract.
pub mod exit {
    /// The run is finished.
    pub const FINISHED: i32 = 0;
    /// Usage or configuration error: do not retry.
    pub const USAGE: i32 = 2;
    /// The run failed (a non-finite loss, a full disk, a bug): do not retry unchanged.
    pub const FAILED: i32 = 70;
    /// Another process works on the run directory: wait and retry.
    pub const LOCKED: i32 = 73;
    /// A signal asked for a checkpoint and the run stopped after it: start again to resume.
    pub const INTERRUPTED: i32 = 75;
}

/// Errors of training.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A file of the run directory.
    #[error("{file}: {source}", file = file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// Another process holds the run directory.
    #[error("{dir} is in use by another slender process\n  hint: wait for it, or choose another --run-dir", dir = dir.display())]
    Locked {
        /// The run directory.
        dir: PathBuf,
    },
    /// The run directory belongs to another configuration.
    #[error("{dir} holds a run with another configuration; differing keys: {keys}\n  hint: choose another --run-dir, or go back to the configuration in its config.toml", dir = dir.display(), keys = .keys.join(", "))]
    DifferentConfig {
        /// The run directory.
        dir: PathBuf,
        /// Keys whose values differ.
        keys: Vec<String>,
    },
    /// A stored configuration cannot be read back.
    #[error(transparent)]
    Config(#[from] slender_config::ConfigError),
    /// The data cannot be prepared or read.
    #[error(transparent)]
    Data(#[from] slender_data::DataError),
    /// The device cannot be opened.
    #[error(transparent)]
    Device(#[from] slender_kernels::DeviceError),
    /// Weights cannot be read or written.
    #[error(transparent)]
    Model(#[from] slender_model::ModelError),
    /// A checkpoint is damaged or of another version.
    #[error("{file}: {message}", file = file.display())]
    Checkpoint {
        /// The file.
        file: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// The data changed since the run began.
    #[error(
        "the prepared data changed since this run began (manifest {now}, the run was started with {then})\n  hint: restore the data, or start a new run in another --run-dir"
    )]
    DataChanged {
        /// Hash of the manifest the run began with.
        then: String,
        /// Hash of the manifest now.
        now: String,
    },
    /// A loss or gradient that is not a finite number.
    #[error("step {step}: {tensor} is not finite; the state before this step is in {checkpoint}\n  hint: lower train.lr, lengthen train.warmup_steps, or set train.on_nonfinite = \"skip\"", checkpoint = checkpoint.display())]
    NonFinite {
        /// Optimizer step, from 1.
        step: u64,
        /// `loss`, or the gradient of the named weight.
        tensor: String,
        /// Checkpoint of the state before the step.
        checkpoint: PathBuf,
    },
    /// Every batch of a long stretch was skipped.
    #[error(
        "step {step}: {skipped} batches in a row had a non-finite loss or gradient\n  hint: skipping does not help here; lower train.lr or start from an earlier checkpoint"
    )]
    AllSkipped {
        /// Optimizer step, from 1.
        step: u64,
        /// Batches skipped in a row.
        skipped: u64,
    },
    /// A zero-shot evaluation during training.
    #[error("zero-shot evaluation at step {step}: {message}")]
    Tasks {
        /// Optimizer step.
        step: u64,
        /// The evaluation's error.
        message: String,
    },
}

impl TrainError {
    /// Exit code of `slender train` for this error.
    pub fn exit_code(&self) -> i32 {
        match self {
            TrainError::Locked { .. } => exit::LOCKED,
            TrainError::DifferentConfig { .. }
            | TrainError::Config(_)
            | TrainError::Device(_)
            | TrainError::DataChanged { .. } => exit::USAGE,
            TrainError::Data(error) if error.is_usage() => exit::USAGE,
            _ => exit::FAILED,
        }
    }
}
