//! Reading one run directory: `status.json` and `eval/final.json`, as `docs/formats.md` says.
//!
//! A run directory may be missing, half-way or from a newer slender. Missing is `None`; a version
//! this program does not know is an error that names both; everything else is read leniently,
//! because a report must come out even when one of its runs is odd.

use crate::error::SweepError;
use crate::files::{check_format, read_optional};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// State of a run, as its trainer wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusState {
    /// A process is (or was, when killed) training it.
    Running,
    /// Every step is done.
    Finished,
    /// A signal asked for a checkpoint; the next start resumes it.
    Interrupted,
    /// It was trained as far as `--until` asked; the next start goes on.
    Paused,
    /// It stopped with an error.
    Failed,
}

/// Content of `status.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Status {
    /// What the run is doing.
    pub state: StatusState,
    /// Steps done.
    #[serde(default)]
    pub step: u64,
    /// Steps of the whole budget.
    #[serde(default)]
    pub total_steps: u64,
    /// Step at which the latest start pauses; `None` when it trains to the end.
    #[serde(default)]
    pub until: Option<u64>,
    /// Tokens trained on.
    #[serde(default)]
    pub tokens: u64,
    /// Batches left out because of non-finite numbers.
    #[serde(default)]
    pub skipped_batches: u64,
    /// Loss of the last logged step, nats per token.
    #[serde(default)]
    pub train_loss: Option<f64>,
    /// Last validation loss, nats per token.
    #[serde(default)]
    pub valid_loss: Option<f64>,
    /// Last validation loss, bits per byte of text.
    #[serde(default)]
    pub valid_bits_per_byte: Option<f64>,
    /// Seconds spent training, all attempts together.
    #[serde(default)]
    pub elapsed_s: f64,
    /// Unix time of the last update, by the clock of the machine that wrote it.
    #[serde(default)]
    pub updated_at: u64,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<String>,
}

impl Status {
    /// Reads `run_dir/status.json`; `None` if there is none.
    ///
    /// # Errors
    /// An unreadable file or an unknown version.
    pub fn read(run_dir: &Path) -> Result<Option<Self>, SweepError> {
        let known = &["slender-status/2", "slender-status/1"];
        read_json(&run_dir.join("status.json"), known)
    }
}

/// Content of `eval/<name>.json`: the keys of lm-evaluation-harness.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct TaskFile {
    /// Task → `"acc,none"`, `"acc_stderr,none"`, ….
    pub results: serde_json::Map<String, Value>,
    /// Task → examples in the set and examples used.
    #[serde(default, rename = "n-samples")]
    pub n_samples: BTreeMap<String, Samples>,
    /// Task → whether it ran on a shipped slice.
    #[serde(default)]
    pub fixture: BTreeMap<String, bool>,
    /// Task → accuracy of guessing.
    #[serde(default)]
    pub chance: BTreeMap<String, f64>,
    /// Task → `content`: whether its examples are those of the published split.
    #[serde(default)]
    pub data: BTreeMap<String, Value>,
    /// Task → the same of the examples in its prompts, where they are of another split.
    #[serde(default)]
    pub fewshot_data: BTreeMap<String, Value>,
    /// Task → what a reader of its scores must know.
    #[serde(default)]
    pub warnings: BTreeMap<String, Vec<String>>,
}

/// Examples of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Samples {
    /// Examples in the files that were read; a slice has fewer than the set.
    #[serde(default)]
    pub original: u64,
    /// Examples in the published set.
    #[serde(default)]
    pub published: u64,
    /// Examples used.
    #[serde(default)]
    pub effective: u64,
}

impl TaskFile {
    /// Reads `run_dir/eval/final.json`; `None` if there is none.
    ///
    /// # Errors
    /// An unreadable file or an unknown version.
    pub fn read(run_dir: &Path) -> Result<Option<Self>, SweepError> {
        read_json(&run_dir.join("eval/final.json"), &["slender-eval/1"])
    }

    /// A metric of a task, such as `acc` or `acc_norm_stderr`.
    pub fn metric(&self, task: &str, name: &str) -> Option<f64> {
        self.results
            .get(task)?
            .get(format!("{name},none"))?
            .as_f64()
    }
}

/// Whether `run_dir/eval/final.json` has all of `tasks`; reads no more of it than that takes.
pub(crate) fn is_evaluated(run_dir: &Path, tasks: &[String]) -> bool {
    #[derive(Deserialize)]
    struct Names {
        #[serde(default)]
        format: String,
        #[serde(default)]
        results: BTreeMap<String, serde::de::IgnoredAny>,
    }
    if tasks.is_empty() {
        return true;
    }
    let Ok(Some(text)) = read_optional(&run_dir.join("eval/final.json")) else {
        return false;
    };
    serde_json::from_str::<Names>(&text).is_ok_and(|file| {
        file.format == "slender-eval/1" && tasks.iter().all(|task| file.results.contains_key(task))
    })
}

pub(crate) fn read_json<T: DeserializeOwned>(
    path: &Path,
    known: &[&'static str],
) -> Result<Option<T>, SweepError> {
    let Some(text) = read_optional(path)? else {
        return Ok(None);
    };
    let broken = |error: serde_json::Error| SweepError::Format {
        path: path.to_owned(),
        message: format!("not {}: {error}", known[0]),
    };
    let value: Value = serde_json::from_str(&text).map_err(broken)?;
    let found = value.get("format").and_then(Value::as_str);
    let format = known.iter().find(|known| Some(**known) == found);
    check_format(path, found, format.unwrap_or(&known[0]))?;
    serde_json::from_value(value).map(Some).map_err(broken)
}
