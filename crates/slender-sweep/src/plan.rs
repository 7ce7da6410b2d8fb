//! From configuration files to a list of runs, before anything starts.
//!
//! A sweep is a list of configurations, a sweep file, or a sweep directory that exists; each gives
//! [`PlannedRun`]s. Every configuration is loaded and checked first, and all problems are reported together: a
//! sweep that dies on its ninth file after eight hours of training helps nobody.

use crate::claim::ClaimOptions;
use crate::error::{PlanProblem, SweepError};
use crate::facts::RunFacts;
use crate::manifest::{Manifest, config_of};
use crate::paper;
use crate::search::{SEARCH_FIELD, SearchSpec, check_measured, read_search};
use crate::slurm::SlurmSettings;
use serde_json::Value;
use slender_config::sweep::{Expanded, SweepFile, is_sweep_file};
use slender_config::{Config, ConfigError, DataConfig, Origin};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to sweep, where, and how.
#[derive(Clone, Debug)]
pub struct SweepOptions {
    /// Configurations, one run each; sweep files; or a sweep directory, whose runs go on.
    pub configs: Vec<PathBuf>,
    /// Seeds in place of those of a sweep file.
    pub seeds: Option<Vec<u64>>,
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
    /// Names of the GPUs to be shared among the jobs, see [`crate::visible_gpus`].
    pub gpus: Vec<String>,
    /// How claims on run directories are kept.
    pub claims: ClaimOptions,
    /// Names the content of a configuration's prepared data (`data-<16 hex digits>`), if it can be
    /// known without asking a network; part of a run's identity.
    pub data_id: fn(&DataConfig) -> Option<String>,
}

impl SweepOptions {
    /// One job, no overrides, a two-second lock poll.
    pub fn new(configs: Vec<PathBuf>, dir: PathBuf, program: PathBuf) -> Self {
        Self {
            configs,
            seeds: None,
            sets: Vec::new(),
            dir,
            jobs: 1,
            device: None,
            program,
            retry_failed: false,
            lock_poll: Duration::from_secs(2),
            gpus: Vec::new(),
            claims: ClaimOptions::default(),
            data_id: |_| None,
        }
    }

    /// The sweep file that all runs come from, if there is one.
    pub fn source(&self) -> Option<&Path> {
        match self.configs.as_slice() {
            [one] if is_sweep_file(one) => Some(one),
            _ => None,
        }
    }

    /// Whether the runs are those that the sweep directory holds.
    pub fn is_directory(&self) -> bool {
        matches!(self.configs.as_slice(), [one] if one.is_dir())
    }

    /// CPU threads of one run, if the sweep decides them: with one job, or with a `run.threads` of
    /// the user's own, it does not.
    pub fn threads_per_run(&self) -> Option<usize> {
        let own = |set: &String| set.trim_start().starts_with("run.threads");
        let lists = |path: &PathBuf| path.is_dir() || is_sweep_file(path);
        let most = match self.configs.iter().any(lists) {
            true => usize::MAX,
            false => self.configs.len(),
        };
        let jobs = self.jobs.min(most);
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

/// The search that the runs of a sweep are dealt by, if they are.
///
/// # Errors
/// A sweep file or directory that cannot be read.
pub fn planned_search(options: &SweepOptions) -> Result<Option<SearchSpec>, SweepError> {
    if let Some(path) = options.source() {
        let search = SweepFile::read(path).and_then(|mut file| read_search(&mut file));
        let search =
            search.map_err(|source| SweepError::Plan(vec![PlanProblem::SweepFile { source }]))?;
        return Ok(search.map(|search| search.spec));
    }
    if !options.is_directory() {
        return Ok(None);
    }
    let manifest = Manifest::read(&options.dir)?;
    let field = manifest.and_then(|manifest| manifest.other.get(SEARCH_FIELD).cloned());
    Ok(field.and_then(|field| serde_json::from_value(field).ok()))
}

/// Loads and checks every configuration of a sweep; starts and writes nothing.
///
/// # Errors
/// All problems of all configurations together.
pub fn plan(options: &SweepOptions) -> Result<Vec<PlannedRun>, SweepError> {
    if options.configs.is_empty() {
        return Err(SweepError::NoConfigs);
    }
    let mut planner = Planner {
        options,
        runs: Vec::new(),
        names: HashMap::new(),
        problems: Vec::new(),
        data: Vec::new(),
    };
    for path in &options.configs {
        if path.is_dir() {
            if options.configs.len() > 1 || !options.sets.is_empty() || options.seeds.is_some() {
                let dir = path.clone();
                planner.problems.push(PlanProblem::Directory { dir });
                continue;
            }
            return read_plan(path);
        } else if is_sweep_file(path) {
            planner.sweep_file(path);
        } else {
            planner.config(path);
        }
    }
    if planner.problems.is_empty() {
        Ok(planner.runs)
    } else {
        Err(SweepError::Plan(planner.problems))
    }
}

/// A plan in the making.
struct Planner<'a> {
    options: &'a SweepOptions,
    runs: Vec<PlannedRun>,
    /// Name → index of its run.
    names: HashMap<String, usize>,
    problems: Vec<PlanProblem>,
    /// Data sections and what names their content, which costs a look at the text.
    data: Vec<(DataConfig, Option<String>)>,
}

impl Planner<'_> {
    fn sets(&self) -> Vec<String> {
        let mut sets = self.options.sets.clone();
        if let Some(device) = &self.options.device {
            sets.push(format!("run.device={device}"));
        }
        sets
    }

    /// One run of a configuration, or one for each of the seeds that were asked for.
    fn config(&mut self, path: &Path) {
        let seeds = match &self.options.seeds {
            None => vec![None],
            Some(seeds) => seeds.iter().copied().map(Some).collect(),
        };
        for seed in seeds {
            let mut sets = self.sets();
            // The order of the data follows the seed, unless the configuration fixes it.
            sets.extend(seed.map(|seed| format!("run.seed={seed}")));
            let mut config = match Config::load(path, &sets) {
                Ok(config) => config,
                Err(source) if self.said(&source) => return,
                Err(source) => {
                    let file = path.to_owned();
                    return self.problems.push(PlanProblem::Config { file, source });
                }
            };
            let variant = config.name().to_owned();
            let name = seed.map_or_else(|| variant.clone(), |seed| format!("{variant}-s{seed}"));
            if seed.is_some() {
                config.run.name = Some(name.clone());
            }
            let expanded = Expanded {
                name,
                variant,
                seed: config.run.seed,
                axes: BTreeMap::new(),
                config,
            };
            self.add(path, expanded);
        }
    }

    /// Whether a slip of the command line, which every configuration has, was said of another one.
    fn said(&self, source: &ConfigError) -> bool {
        let of_command_line = match source {
            ConfigError::Set { .. } => true,
            ConfigError::Invalid(problems) => {
                (problems.iter()).all(|problem| problem.origin == Some(Origin::Set))
            }
            _ => false,
        };
        let text = source.to_string();
        let same = |known: &PlanProblem| match known {
            PlanProblem::Config { source, .. } => source.to_string() == text,
            _ => false,
        };
        of_command_line && self.problems.iter().any(same)
    }

    fn sweep_file(&mut self, path: &Path) {
        let seeds = self.options.seeds.as_deref();
        let expanded = SweepFile::read(path).and_then(|mut file| {
            let search = read_search(&mut file)?;
            SlurmSettings::of(file.merged())?;
            let runs = file.expand(&self.sets(), seeds)?;
            if search.is_some() {
                check_measured(&file, &runs)?;
            }
            Ok(runs)
        });
        match expanded {
            Err(source) => self.problems.push(PlanProblem::SweepFile { source }),
            Ok(runs) => runs.into_iter().for_each(|run| self.add(path, run)),
        }
    }

    fn add(&mut self, path: &Path, run: Expanded) {
        if let Some(first) = self.names.get(&run.name) {
            self.problems.push(PlanProblem::SameName {
                name: run.name,
                first: self.runs[*first].config_path.clone(),
                second: path.to_owned(),
            });
            return;
        }
        let data = self.data_id(&run.config.data);
        match planned(path, self.options, run, data) {
            Err(problem) => self.problems.push(problem),
            Ok(run) => {
                self.names.insert(run.name.clone(), self.runs.len());
                self.runs.push(run);
            }
        }
    }

    fn data_id(&mut self, data: &DataConfig) -> Option<String> {
        // The order of sequences is no part of what is prepared.
        let mut key = data.clone();
        key.order_seed = None;
        if let Some((_, id)) = self.data.iter().find(|(known, _)| *known == key) {
            return id.clone();
        }
        let id = (self.options.data_id)(data);
        self.data.push((key, id.clone()));
        id
    }
}

/// Checks a run against the paper's rows and against what its directory holds.
fn planned(
    path: &Path,
    options: &SweepOptions,
    run: Expanded,
    data: Option<String>,
) -> Result<PlannedRun, PlanProblem> {
    let Expanded {
        name,
        variant,
        seed,
        axes,
        config,
    } = run;
    if let Some(row) = &config.run.paper_row
        && paper::row(row).is_none()
    {
        return Err(PlanProblem::PaperRow {
            file: path.to_owned(),
            row: row.clone(),
            nearest: paper::nearest_id(row).to_owned(),
        });
    }
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
        variant,
        seed,
        axes,
        identity: config.identity(data.as_deref()),
        facts: RunFacts::of(&config),
        dir,
        relative_dir,
        config_path: path.to_owned(),
        config,
        name,
    })
}
