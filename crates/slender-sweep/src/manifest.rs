//! `sweep.json` (`slender-sweep/1`): which runs a sweep directory holds, and why one failed.
//!
//! It is an index, not the truth: whether a run is finished is read from its own directory. Only a
//! failure's reason lives here, because a run can fail before it has a directory to say so in.
//! Sweeping further configurations into the same directory adds them to the list, so its report
//! keeps every run that was ever part of it.

use crate::error::SweepError;
use crate::facts::RunFacts;
use crate::files::{check_format, io, read_optional, write_atomic};
use crate::plan::PlannedRun;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Format name and version of `sweep.json`.
pub const SWEEP_FORMAT: &str = "slender-sweep/1";

/// Part of a run's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// `slender train`.
    Train,
    /// `slender eval`.
    Eval,
}

impl Stage {
    /// `training` or `evaluation`.
    pub fn noun(self) -> &'static str {
        match self {
            Stage::Train => "training",
            Stage::Eval => "evaluation",
        }
    }
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What was being done.
    pub stage: Stage,
    /// Exit code of the process; `None` if a signal ended it.
    pub code: Option<i32>,
    /// One line: what happened.
    pub message: String,
    /// The last lines the process wrote.
    pub log_tail: Vec<String>,
}

/// One run of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManifestRun {
    /// Name of the run.
    pub name: String,
    /// The configuration, as it was named on the command line.
    pub config: PathBuf,
    /// `--set` arguments of the sweep.
    pub sets: Vec<String>,
    /// The run directory, relative to the sweep directory.
    pub dir: PathBuf,
    /// What the configuration says.
    pub facts: RunFacts,
    /// Why the last attempt failed, if it did.
    pub failure: Option<Failure>,
}

/// Content of `sweep.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SWEEP_FORMAT`].
    pub format: String,
    /// The runs, in the order they were first asked for.
    pub runs: Vec<ManifestRun>,
}

impl Manifest {
    /// Reads `dir/sweep.json`; `None` if there is none.
    ///
    /// # Errors
    /// An unreadable file, or a version this program does not know.
    pub fn read(dir: &Path) -> Result<Option<Self>, SweepError> {
        let path = dir.join("sweep.json");
        let Some(text) = read_optional(&path)? else {
            return Ok(None);
        };
        let broken = |error: serde_json::Error| SweepError::Format {
            path: path.clone(),
            message: format!("not a sweep manifest: {error}"),
        };
        let value: serde_json::Value = serde_json::from_str(&text).map_err(broken)?;
        check_format(
            &path,
            value.get("format").and_then(|f| f.as_str()),
            SWEEP_FORMAT,
        )?;
        serde_json::from_value(value).map(Some).map_err(broken)
    }

    /// Creates or extends the manifest of `dir` with the planned runs.
    pub(crate) fn merge_plan(
        dir: &Path,
        planned: &[PlannedRun],
        sets: &[String],
    ) -> Result<(), SweepError> {
        std::fs::create_dir_all(dir).map_err(|source| io("create", dir, source))?;
        let mut manifest = Self::read(dir)?.unwrap_or(Self {
            format: SWEEP_FORMAT.into(),
            runs: Vec::new(),
        });
        for run in planned {
            let known = manifest
                .runs
                .iter()
                .position(|known| known.name == run.name);
            let entry = ManifestRun {
                name: run.name.clone(),
                config: run.config_path.clone(),
                sets: sets.to_vec(),
                dir: run.relative_dir.clone(),
                facts: run.facts.clone(),
                failure: known.and_then(|index| manifest.runs[index].failure.clone()),
            };
            match known {
                Some(index) => manifest.runs[index] = entry,
                None => manifest.runs.push(entry),
            }
        }
        manifest.write(dir)
    }

    /// Records how the last attempt at `name` ended.
    pub(crate) fn set_failure(
        dir: &Path,
        name: &str,
        failure: Option<&Failure>,
    ) -> Result<(), SweepError> {
        let Some(mut manifest) = Self::read(dir)? else {
            return Ok(());
        };
        let Some(run) = manifest.runs.iter_mut().find(|run| run.name == name) else {
            return Ok(());
        };
        if run.failure.as_ref() == failure {
            return Ok(());
        }
        run.failure = failure.cloned();
        manifest.write(dir)
    }

    fn write(&self, dir: &Path) -> Result<(), SweepError> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        write_atomic(&dir.join("sweep.json"), text.as_bytes())
    }
}
