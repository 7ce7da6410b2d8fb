//! `sweep.json` (`slender-sweep/2`): which runs a sweep directory holds, and why one failed.
//!
//! It is an index, not the truth: whether a run is finished is read from its own directory. The
//! resolved configuration of every run lies beside it, in `configs/<name>.toml`, so the directory
//! stands alone: a worker needs nothing but it and the program. Sweeping further configurations into
//! the same directory adds them to the list, so its report keeps every run that was ever part of it.
//! Fields that this version does not know are kept when the file is written again.
//!
//! Version 1 named configurations outside the directory. It is migrated in memory, and written as
//! version 2 by the next change.

use crate::error::{PlanProblem, SweepError};
use crate::facts::RunFacts;
use crate::files::{check_format, io, read_optional, write_atomic};
use crate::plan::PlannedRun;
use crate::search::{SEARCH_FIELD, read_search};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use slender_config::Config;
use slender_config::sweep::SweepFile;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Format name and version of `sweep.json`.
pub const SWEEP_FORMAT: &str = "slender-sweep/2";
/// The version before, which is still read.
const SWEEP_FORMAT_1: &str = "slender-sweep/1";

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
    /// The run's name without its seed: runs of one variant differ in nothing else.
    pub variant: String,
    /// Seed of the run.
    pub seed: u64,
    /// What the sweep varies, and the value here: dotted key → value.
    #[serde(default)]
    pub axes: BTreeMap<String, Value>,
    /// The resolved configuration, relative to the sweep directory: `configs/<name>.toml`.
    pub config: PathBuf,
    /// The file that the configuration was made from, as it was named on the command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<PathBuf>,
    /// The run directory, relative to the sweep directory.
    pub dir: PathBuf,
    /// Hash of all that decides the result: [`Config::identity`]. Empty where it is not known.
    #[serde(default)]
    pub identity: String,
    /// What the configuration says.
    pub facts: RunFacts,
    /// Why the last attempt failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Fields of other versions.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Content of `sweep.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SWEEP_FORMAT`].
    pub format: String,
    /// The `sweep.toml` that the runs come from, if they come from one.
    #[serde(default)]
    pub source: Option<PathBuf>,
    /// The runs, in the order they were first asked for.
    pub runs: Vec<ManifestRun>,
    /// `executor`, `search`, and fields of other versions.
    #[serde(flatten)]
    pub other: Map<String, Value>,
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
            message: format!(
                "not a sweep manifest: {error}\n  hint: put a copy of it back; or move it away and sweep the same file again with --dir {dir} (or `slender sweep run {dir}/configs/*.toml --dir {dir}`), which keeps the runs that are there",
                dir = dir.display()
            ),
        };
        let mut value: Value = serde_json::from_str(&text).map_err(broken)?;
        let format = value.get("format").and_then(Value::as_str);
        if format == Some(SWEEP_FORMAT_1) {
            migrate(&mut value, dir);
        } else {
            check_format(&path, format, SWEEP_FORMAT)?;
        }
        serde_json::from_value(value).map(Some).map_err(broken)
    }

    /// Changes `sweep.json` under its lock; a missing one starts empty.
    ///
    /// # Errors
    /// A file that cannot be read or written, and those of `change`.
    pub fn update<T>(
        dir: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, SweepError>,
    ) -> Result<T, SweepError> {
        std::fs::create_dir_all(dir).map_err(|source| io("create", dir, source))?;
        let path = dir.join("sweep.lock");
        let options = File::options().create(true).append(true).open(&path);
        let lock = options.map_err(|source| io("write", &path, source))?;
        match lock.lock() {
            // Some network file systems have no locks (ENOSYS, ENOLCK, EOPNOTSUPP); the file is still
            // written whole.
            Err(source) if !matches!(source.raw_os_error(), Some(37 | 38 | 95)) => {
                return Err(io("lock", &path, source));
            }
            _ => {}
        }
        let before = Self::read(dir)?;
        let mut manifest = before.clone().unwrap_or(Self {
            format: SWEEP_FORMAT.into(),
            source: None,
            runs: Vec::new(),
            other: Map::new(),
        });
        let value = change(&mut manifest)?;
        if before.as_ref() != Some(&manifest) {
            manifest.write(dir)?;
        }
        Ok(value)
    }

    /// Creates or extends the manifest of `dir` with the planned runs, and writes their
    /// configurations.
    pub(crate) fn merge_plan(
        dir: &Path,
        planned: &[PlannedRun],
        source: Option<&Path>,
    ) -> Result<(), SweepError> {
        Self::update(dir, |manifest| {
            let configs = dir.join("configs");
            std::fs::create_dir_all(&configs).map_err(|source| io("create", &configs, source))?;
            manifest.keep_configs(dir)?;
            if let Some(source) = source {
                manifest.source = Some(source.to_owned());
                manifest.set_search(source)?;
            }
            let places: BTreeMap<String, usize> = (manifest.runs.iter().enumerate())
                .map(|(index, run)| (run.name.clone(), index))
                .collect();
            for run in planned {
                let known = places.get(&run.name).map(|index| &manifest.runs[*index]);
                let entry = ManifestRun {
                    name: run.name.clone(),
                    variant: run.variant.clone(),
                    seed: run.seed,
                    axes: run.axes.clone(),
                    config: run.relative_config(),
                    origin: Some(run.config_path.clone()),
                    dir: run.relative_dir.clone(),
                    identity: run.identity.clone(),
                    facts: run.facts.clone(),
                    failure: known.and_then(|known| known.failure.clone()),
                    other: known.map(|known| known.other.clone()).unwrap_or_default(),
                };
                write_changed(&dir.join(&entry.config), &run.config.to_toml())?;
                match places.get(&run.name) {
                    Some(index) => manifest.runs[*index] = entry,
                    None => manifest.runs.push(entry),
                }
            }
            Ok(())
        })
    }

    /// Keeps the search that the sweep file at `source` describes, or forgets the one that was here.
    fn set_search(&mut self, source: &Path) -> Result<(), SweepError> {
        let search = SweepFile::read(source).and_then(|mut file| read_search(&mut file));
        let search =
            search.map_err(|source| SweepError::Plan(vec![PlanProblem::SweepFile { source }]))?;
        match search {
            Some(search) => {
                let value = serde_json::to_value(&search.spec).unwrap_or_default();
                self.other.insert(SEARCH_FIELD.into(), value);
            }
            None => _ = self.other.remove(SEARCH_FIELD),
        }
        Ok(())
    }

    /// Gives every run of a version 1 directory a configuration inside it.
    fn keep_configs(&mut self, dir: &Path) -> Result<(), SweepError> {
        for run in &mut self.runs {
            let wanted = config_of(&run.name);
            if run.config == wanted {
                continue;
            }
            let sets = run.other.get("sets").and_then(Value::as_array);
            let sets: Vec<String> = (sets.into_iter().flatten())
                .filter_map(|set| set.as_str().map(str::to_owned))
                .collect();
            let own = Config::load(&dir.join(&run.dir).join("config.toml"), &[]);
            let origin = run.origin.as_deref().unwrap_or(&run.config);
            // A run that never began and whose file is gone stays without one.
            if let Ok(mut config) = own.or_else(|_| Config::load(origin, &sets)) {
                config.run.name = Some(run.name.clone());
                write_changed(&dir.join(&wanted), &config.to_toml())?;
                run.identity = config.identity(None);
                run.config = wanted;
                run.other.remove("sets");
            }
        }
        Ok(())
    }

    fn write(&self, dir: &Path) -> Result<(), SweepError> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        write_atomic(&dir.join("sweep.json"), text.as_bytes())
    }
}

/// Where a run's resolved configuration lies in the sweep directory.
pub(crate) fn config_of(name: &str) -> PathBuf {
    Path::new("configs").join(format!("{name}.toml"))
}

/// Writes `text` to `path`, unless it is there.
fn write_changed(path: &Path, text: &str) -> Result<(), SweepError> {
    if read_optional(path)?.as_deref() == Some(text) {
        return Ok(());
    }
    write_atomic(path, text.as_bytes())
}

/// Turns version 1 into version 2, in memory: a run was its own variant, and its seed is among its
/// facts. Its configuration is the one in its run directory, or the file that was named.
fn migrate(value: &mut Value, dir: &Path) {
    value["format"] = SWEEP_FORMAT.into();
    let runs = value.get_mut("runs").and_then(Value::as_array_mut);
    for run in runs.into_iter().flatten() {
        run["variant"] = run["name"].clone();
        run["seed"] = run["facts"]["seed"].clone();
        run["origin"] = run["config"].clone();
        let own = Path::new(run["dir"].as_str().unwrap_or_default()).join("config.toml");
        if dir.join(&own).is_file() {
            run["config"] = own.to_string_lossy().into();
        }
    }
}
