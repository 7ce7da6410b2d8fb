//! Runs that exist already: in this sweep's directory, in its siblings, and in `runs/`.
//!
//! A sweep directory's `sweep.json` holds the identities of its runs, so a thousand of them cost one
//! file; only the status of runs that match is read. Directories of single runs say what they are with
//! `config.toml` and the data of `run.json`.

use crate::files::read_optional;
use crate::manifest::Manifest;
use crate::plan::PlannedRun;
use crate::rundir::{Status, StatusState};
use serde::Serialize;
use serde_json::Value;
use slender_config::Config;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A run of the same identity.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Elsewhere {
    /// Its directory.
    pub dir: PathBuf,
    /// Whether it is trained to its end.
    pub finished: bool,
}

/// Known runs by identity.
#[derive(Clone, Debug, Default)]
pub struct DoneRuns {
    known: HashMap<String, Elsewhere>,
}

impl DoneRuns {
    /// Looks for runs below `sweep`, in the sweep directories beside it, and in the run directories of
    /// `run_dirs`. What cannot be read is no run.
    pub fn look(sweep: &Path, run_dirs: &[PathBuf]) -> Self {
        let mut found = Self::default();
        found.add_sweep(sweep);
        let parent = sweep
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        for sibling in folders(parent.unwrap_or(Path::new("."))) {
            if sibling.file_name() != sweep.file_name() {
                found.add_sweep(&sibling);
            }
        }
        for dir in run_dirs.iter().flat_map(|dir| folders(dir)) {
            found.add_run(&dir);
        }
        found
    }

    fn add_sweep(&mut self, dir: &Path) {
        let Ok(Some(manifest)) = Manifest::read(dir) else {
            return;
        };
        for run in manifest.runs {
            let place = dir.join(&run.dir);
            match run.identity.as_str() {
                "" => self.add_run(&place),
                _ => self.add(run.identity, place),
            }
        }
    }

    fn add_run(&mut self, dir: &Path) {
        let Ok(config) = Config::load(&dir.join("config.toml"), &[]) else {
            return;
        };
        let data = data_of(dir);
        if data.is_some() {
            self.add(config.identity(data.as_deref()), dir.to_owned());
        }
        self.add(config.identity(None), dir.to_owned());
    }

    /// A finished run goes before one that has only begun; one that never began is none.
    fn add(&mut self, identity: String, dir: PathBuf) {
        if self
            .known
            .get(&identity)
            .is_some_and(|known| known.finished)
        {
            return;
        }
        let Ok(Some(status)) = Status::read(&dir) else {
            return;
        };
        let finished = status.state == StatusState::Finished;
        self.known.insert(identity, Elsewhere { dir, finished });
    }

    /// The run that is the same as `run`, if there is one.
    pub fn find(&self, run: &PlannedRun) -> Option<&Elsewhere> {
        self.known.get(&run.identity)
    }

    /// Number of identities found.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

/// Name of the prepared data that a run was trained on.
fn data_of(run_dir: &Path) -> Option<String> {
    let text = read_optional(&run_dir.join("run.json")).ok().flatten()?;
    let value: Value = serde_json::from_str(&text).ok()?;
    let dir = PathBuf::from(value.get("data_dir")?.as_str()?);
    Some(dir.file_name()?.to_string_lossy().into_owned())
}

/// Folders in `dir`, by name.
fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = (entries.map(|entry| entry.path()))
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}
