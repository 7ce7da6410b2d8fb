//! The run directory: paths, lock, status and provenance.
//!
//! Small files are replaced through a temporary name and a rename, so a reader never sees half of
//! one. The lock is the operating system's advisory lock on `lock`, which a killed process gives
//! back by dying.

use crate::error::TrainError;
use serde::{Deserialize, Serialize};
use slender_config::{Accounting, Config};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Format of `status.json`. Version 2 added the state `paused` and the key `until`.
pub const STATUS_FORMAT: &str = "slender-status/2";
/// The version before, which is read too.
const STATUS_FORMAT_1: &str = "slender-status/1";
/// Format of `run.json`.
pub const RUN_FORMAT: &str = "slender-run/1";

/// A run directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    root: PathBuf,
}

impl RunDir {
    /// The directory at `root`, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// Resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }
    /// Status.
    pub fn status(&self) -> PathBuf {
        self.root.join("status.json")
    }
    /// Provenance.
    pub fn run(&self) -> PathBuf {
        self.root.join("run.json")
    }
    /// Metrics, one JSON object a line.
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }
    /// Folder of checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }
    /// Folder of TensorBoard event files.
    pub fn tensorboard(&self) -> PathBuf {
        self.root.join("tensorboard")
    }
    /// Folder of evaluation results.
    pub fn eval(&self) -> PathBuf {
        self.root.join("eval")
    }
    /// The run's tokenizer.
    pub fn tokenizer(&self) -> PathBuf {
        self.root.join("tokenizer.json")
    }

    /// Creates the directory and takes its lock.
    ///
    /// # Errors
    /// [`TrainError::Locked`] while another process works on it; the operating system's errors.
    pub fn lock(&self) -> Result<RunLock, TrainError> {
        let file = self.root.join("lock");
        let io = |source| TrainError::Io {
            file: file.clone(),
            source,
        };
        std::fs::create_dir_all(&self.root).map_err(io)?;
        let handle = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&file)
            .map_err(io)?;
        match handle.try_lock() {
            Ok(()) => Ok(RunLock { _file: handle }),
            Err(std::fs::TryLockError::WouldBlock) => Err(TrainError::Locked {
                dir: self.root.clone(),
            }),
            // Some network file systems have no locks (ENOSYS, ENOLCK, EOPNOTSUPP). A sweep's
            // claims still keep its workers apart there.
            Err(std::fs::TryLockError::Error(source))
                if matches!(source.raw_os_error(), Some(37 | 38 | 95)) =>
            {
                Ok(RunLock { _file: handle })
            }
            Err(std::fs::TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// Reads `status.json`; `None` when there is none or it is not of this format.
    pub fn read_status(&self) -> Option<Status> {
        let text = std::fs::read_to_string(self.status()).ok()?;
        serde_json::from_str(&text)
            .ok()
            .filter(|status: &Status| [STATUS_FORMAT, STATUS_FORMAT_1].contains(&&*status.format))
    }

    /// Replaces `status.json`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write_status(&self, status: &Status) -> Result<(), TrainError> {
        write_json(&self.status(), status)
    }
}

/// Holds a run directory for this process.
#[derive(Debug)]
pub struct RunLock {
    _file: std::fs::File,
}

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Being trained, or killed while it was.
    Running,
    /// Its budget is used up.
    Finished,
    /// Stopped by a signal after a checkpoint.
    Interrupted,
    /// Trained as far as `--until` asked, with a checkpoint and a validation loss of that step.
    Paused,
    /// Stopped by an error.
    Failed,
}

/// `status.json`: where a run stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `slender-status/2`.
    pub format: String,
    /// What the run is doing.
    pub state: RunState,
    /// Optimizer steps done.
    pub step: u64,
    /// Optimizer steps of the whole run.
    pub total_steps: u64,
    /// Step at which this start is to pause; `None` when it trains to the end.
    #[serde(default)]
    pub until: Option<u64>,
    /// Training tokens done.
    pub tokens: u64,
    /// Batches skipped because of a non-finite loss or gradient.
    pub skipped_batches: u64,
    /// Loss of the latest batch, nats per token.
    pub train_loss: Option<f64>,
    /// Latest validation loss, nats per token.
    pub valid_loss: Option<f64>,
    /// Latest validation bits per byte.
    pub valid_bits_per_byte: Option<f64>,
    /// Seconds of work so far, over all starts.
    pub elapsed_s: f64,
    /// Unix time of the last update: the heartbeat.
    pub updated_at: u64,
    /// Process that wrote it.
    pub pid: u32,
    /// Why it failed.
    pub error: Option<String>,
}

/// Where the program comes from; written to `run.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of slender.
    pub version: String,
    /// Commit of the source the program was built from.
    pub commit: Option<String>,
    /// Whether that source had uncommitted changes.
    pub dirty: Option<bool>,
    /// BLAKE3 of `Cargo.lock`.
    pub lock_hash: String,
}

#[derive(Serialize)]
struct RunFile<'a> {
    format: &'static str,
    name: &'a str,
    created_at: u64,
    source: &'a Provenance,
    host: Host,
    device: &'a str,
    threads: usize,
    seed: u64,
    paper_row: Option<&'a str>,
    data_manifest: &'a str,
    data_dir: String,
    tokenizer_hash: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a Beginning>,
    accounting: &'a Accounting,
}

/// The checkpoint that a run began with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Beginning {
    /// Where it was.
    pub path: String,
    /// BLAKE3 of its weights files.
    pub weights_hash: String,
}

#[derive(Serialize)]
struct Host {
    name: String,
    os: &'static str,
    arch: &'static str,
    cpu: String,
    cores: usize,
    memory_bytes: u64,
}

/// What `run.json` says beside the configuration.
pub(crate) struct RunFacts<'a> {
    pub provenance: &'a Provenance,
    pub data_manifest: &'a str,
    pub data_dir: &'a Path,
    pub tokenizer_hash: &'a str,
    pub from: Option<&'a Beginning>,
    pub accounting: &'a Accounting,
    pub device: &'a str,
}

/// Writes `run.json` of a new run.
pub(crate) fn write_run(
    dir: &RunDir,
    config: &Config,
    facts: &RunFacts<'_>,
) -> Result<(), TrainError> {
    let file = RunFile {
        format: RUN_FORMAT,
        name: config.name(),
        created_at: unix_time(),
        source: facts.provenance,
        host: host(),
        device: facts.device,
        threads: rayon::current_num_threads(),
        seed: config.run.seed,
        paper_row: config.run.paper_row.as_deref(),
        data_manifest: facts.data_manifest,
        data_dir: facts.data_dir.display().to_string(),
        tokenizer_hash: facts.tokenizer_hash,
        from: facts.from,
        accounting: facts.accounting,
    };
    write_json(&dir.run(), &file)
}

fn read_text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The value of `key: value` in a file of /proc.
fn field(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(key));
    line.and_then(|line| line.split(':').nth(1))
        .map(|value| value.trim().to_owned())
}

/// Model of this machine's processor; empty where the operating system does not say.
pub fn cpu_name() -> String {
    field(&read_text("/proc/cpuinfo"), "model name").unwrap_or_default()
}

fn host() -> Host {
    let memory = field(&read_text("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let kilobytes: u64 = memory
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    Host {
        name: read_text("/proc/sys/kernel/hostname").trim().to_owned(),
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
        cpu: cpu_name(),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        memory_bytes: kilobytes * 1024,
    }
}

/// Seconds since 1970.
pub(crate) fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// Writes `value` as JSON to `path` through a temporary file and a rename.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), TrainError> {
    let text = serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
    write_atomic(path, text.as_bytes())
}

/// Writes `bytes` to `path` through a temporary file and a rename.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let io = |source| TrainError::Io {
        file: path.to_owned(),
        source,
    };
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let temporary = path.with_file_name(format!(".{name}.tmp"));
    let mut file = std::fs::File::create(&temporary).map_err(io)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(io)?;
    std::fs::rename(&temporary, path).map_err(io)
}
