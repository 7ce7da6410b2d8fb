//! From configuration files to a list of runs, before anything starts.
//!
//! Every configuration is loaded and checked first, and all problems are reported together: a
//! sweep that dies on its ninth file after eight hours of training helps nobody.

use crate::error::{PlanProblem, SweepError};
use crate::facts::RunFacts;
use crate::manifest::{Manifest, config_of};
use crate::paper;
use serde_json::Value;
use slender_config::{Config, DataConfig};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to sweep, where, and how.
#[derive(Clone, Debug)]
pub struct SweepOptions {
    /// The configurations, one run each.
    pub configs: Vec<PathBuf>,
    /// `section.key=value` overrides for every run.
    pub sets: Vec<String>,
    /// The sweep directory; runs go to `runs/<name>` inside it.
    pub dir: PathBuf,
    /// Runs trained at the same time. CPU threads are divided among them.
    pub jobs: usize,
    /// Device passed on to `slender train`.
    pub device: Option<String>,
    /// The slender program.
    pub program: PathBuf,
    /// Try runs again whose directory says `failed`; otherwise they are reported and left alone.
    pub retry_failed: bool,
    /// How soon a run directory that another process holds is tried again; the wait doubles each
    /// time, up to sixteen times this.
    pub lock_poll: Duration,
    /// Names the content of a configuration's prepared data (`data-<16 hex digits>`), if it can be
    /// known without asking a network; part of a run's identity.
    pub data_id: fn(&DataConfig) -> Option<String>,
}

impl SweepOptions {
    /// One job, no overrides, a two-second lock poll.
    pub fn new(configs: Vec<PathBuf>, dir: PathBuf, program: PathBuf) -> Self {
        Self {
            configs,
            sets: Vec::new(),
            dir,
            jobs: 1,
            device: None,
            program,
            retry_failed: false,
            lock_poll: Duration::from_secs(2),
            data_id: |_| None,
        }
    }

    /// CPU threads of one run, if the sweep decides them: with one job, or with a `run.threads` of
    /// the user's own, it does not.
    pub fn threads_per_run(&self) -> Option<usize> {
        let own = |set: &String| set.trim_start().starts_with("run.threads");
        let jobs = self.jobs.min(self.configs.len());
        if jobs <= 1 || self.sets.iter().any(own) {
            return None;
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Some((cores / jobs).max(1))
    }
}

/// One run of the plan.
#[derive(Clone, Debug)]
pub struct PlannedRun {
    /// Name of the run, unique in the sweep.
    pub name: String,
    /// The name without its seed: runs of one variant differ in nothing else.
    pub variant: String,
    /// The seed.
    pub seed: u64,
    /// What the sweep varies, and the value here: dotted key → value.
    pub axes: BTreeMap<String, Value>,
    /// Hash of all that decides the result: [`Config::identity`].
    pub identity: String,
    /// The configuration file.
    pub config_path: PathBuf,
    /// The checked configuration, with the sweep's overrides.
    pub config: Config,
    /// What the configuration says.
    pub facts: RunFacts,
    /// The run directory.
    pub dir: PathBuf,
    /// The run directory relative to the sweep directory.
    pub relative_dir: PathBuf,
}

impl PlannedRun {
    /// The resolved configuration, relative to the sweep directory: `configs/<name>.toml`.
    pub fn relative_config(&self) -> PathBuf {
        config_of(&self.name)
    }
}

/// The runs of an existing sweep directory, from what it holds alone.
///
/// # Errors
/// No readable `sweep.json`, or configurations in it that do not load.
pub fn read_plan(dir: &Path) -> Result<Vec<PlannedRun>, SweepError> {
    let Some(manifest) = Manifest::read(dir)? else {
        return Err(SweepError::NotASweep {
            path: dir.to_owned(),
        });
    };
    let mut problems = Vec::new();
    let mut runs = Vec::new();
    for run in manifest.runs {
        let config_path = dir.join(&run.config);
        match Config::load(&config_path, &[]) {
            Err(source) => problems.push(PlanProblem::Config {
                file: config_path,
                source,
            }),
            Ok(config) => runs.push(PlannedRun {
                dir: dir.join(&run.dir),
                name: run.name,
                variant: run.variant,
                seed: run.seed,
                axes: run.axes,
                identity: run.identity,
                config_path,
                facts: RunFacts::of(&config),
                config,
                relative_dir: run.dir,
            }),
        }
    }
    if problems.is_empty() {
        Ok(runs)
    } else {
        Err(SweepError::Plan(problems))
    }
}

/// Loads and checks every configuration of a sweep; starts and writes nothing.
///
/// # Errors
/// All problems of all configurations together.
pub fn plan(options: &SweepOptions) -> Result<Vec<PlannedRun>, SweepError> {
    if options.configs.is_empty() {
        return Err(SweepError::NoConfigs);
    }
    let mut runs: Vec<PlannedRun> = Vec::new();
    let mut problems = Vec::new();
    for path in &options.configs {
        match plan_one(path, options) {
            Err(problem) => problems.push(problem),
            Ok(run) => {
                if let Some(first) = runs.iter().find(|known| known.name == run.name) {
                    problems.push(PlanProblem::SameName {
                        name: run.name,
                        first: first.config_path.clone(),
                        second: run.config_path,
                    });
                } else {
                    runs.push(run);
                }
            }
        }
    }
    if problems.is_empty() {
        Ok(runs)
    } else {
        Err(SweepError::Plan(problems))
    }
}

fn plan_one(path: &Path, options: &SweepOptions) -> Result<PlannedRun, PlanProblem> {
    let mut sets = options.sets.clone();
    if let Some(device) = &options.device {
        sets.push(format!("run.device={device}"));
    }
    let config = Config::load(path, &sets).map_err(|source| PlanProblem::Config {
        file: path.to_owned(),
        source,
    })?;
    if let Some(row) = &config.run.paper_row
        && paper::row(row).is_none()
    {
        return Err(PlanProblem::PaperRow {
            file: path.to_owned(),
            row: row.clone(),
            nearest: paper::nearest_id(row).to_owned(),
        });
    }
    let name = config.name().to_owned();
    let relative_dir = Path::new("runs").join(&name);
    let dir = options.dir.join(&relative_dir);
    // A run with checkpoints stays what it is: its results are not to be mixed with another's.
    let begun = std::fs::read_dir(dir.join("checkpoints")).is_ok_and(|entries| entries.count() > 0);
    if begun && let Ok(stored) = Config::load(&dir.join("config.toml"), &[]) {
        let keys = config.differing_keys(&stored);
        if !keys.is_empty() {
            return Err(PlanProblem::OtherConfig { dir, keys });
        }
    }
    Ok(PlannedRun {
        variant: name.clone(),
        seed: config.run.seed,
        axes: BTreeMap::new(),
        identity: config.identity((options.data_id)(&config.data).as_deref()),
        facts: RunFacts::of(&config),
        dir,
        relative_dir,
        config_path: path.to_owned(),
        config,
        name,
    })
}
