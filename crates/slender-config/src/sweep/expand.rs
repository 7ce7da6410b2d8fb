//! From a sweep file to the configuration of every run.
//!
//! Runs are starts (bases, variants or shapes) times axes times seeds. The base is read once, and each
//! run is its tree with a few values replaced, checked like a file of its own: a thousand take a
//! fraction of a second. A problem that many runs share is said once.

use super::budget::{Equal, equalize, train_flops};
use super::file::SweepFile;
use super::names::{labels, part};
use super::parts::{Assignment, Override};
use super::starts::{Start, apply};
use crate::Config;
use crate::error::{ConfigError, Problem};
use crate::load::Merged;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use toml::Value;

/// More runs than a sweep may have.
pub const MOST_RUNS: usize = 100_000;

/// Keys that say nothing of what a sweep varies.
const NAMES: &[&str] = &["run.paper_row", "run.name"];

/// One run of a sweep file.
#[derive(Clone, Debug, PartialEq)]
pub struct Expanded {
    /// Name of the run, unique in the sweep.
    pub name: String,
    /// The name without its seed.
    pub variant: String,
    /// The seed.
    pub seed: u64,
    /// What the sweep varies, and the value here: dotted key → value.
    pub axes: BTreeMap<String, Json>,
    /// The checked configuration.
    pub config: Config,
}

/// Problems, each with the variants that have it.
#[derive(Default)]
pub(super) struct Problems {
    found: Vec<(Problem, Vec<String>)>,
}

impl Problems {
    pub fn add(&mut self, problem: Problem, variant: &str) {
        match self.found.iter_mut().find(|(known, _)| *known == problem) {
            Some((_, variants)) => variants.push(variant.to_owned()),
            None => self.found.push((problem, vec![variant.to_owned()])),
        }
    }

    pub fn finish(self, total: usize) -> Result<(), ConfigError> {
        if self.found.is_empty() {
            return Ok(());
        }
        let said = self.found.into_iter().map(|(mut problem, variants)| {
            let first = &variants[0];
            match variants.len() {
                _ if first.is_empty() => {}
                all if all == total => {}
                1 => problem.message += &format!(" (variant `{first}`)"),
                some => {
                    problem.message += &format!(" ({some} of {total} variants, such as `{first}`)");
                }
            }
            problem
        });
        Err(ConfigError::Invalid(said.collect()))
    }
}

impl SweepFile {
    /// The configuration of every run, in order: starts, then axes with the last one fastest, then
    /// seeds. `sets` are overrides of the command line (`section.key=value`), `seeds` replaces the
    /// file's.
    ///
    /// # Errors
    /// All problems found, each with file, line, key and a hint, and which variants have it.
    pub fn expand(
        &self,
        sets: &[String],
        seeds: Option<&[u64]>,
    ) -> Result<Vec<Expanded>, ConfigError> {
        let seeds = seeds.or(self.seeds.as_deref());
        let mut problems = Problems::default();
        self.refuse(sets, &mut problems);
        let starts = self.starts(sets, &mut problems)?;
        let per_start: usize = (self.groups.iter())
            .map(|group| self.axes[group[0]].values.len())
            .try_fold(1, usize::checked_mul)
            .unwrap_or(usize::MAX);
        let total = (starts.len().checked_mul(per_start))
            .and_then(|variants| variants.checked_mul(seeds.map_or(1, <[u64]>::len)));
        if total.is_none_or(|total| total > MOST_RUNS) {
            let hint =
                format!("a sweep has at most {MOST_RUNS} runs; zip axes, or take values out");
            let problem = self.problem("axes", "the axes cross to too many runs", Some(hint));
            return Err(ConfigError::Invalid(vec![problem]));
        }
        let variants = self.variants_of(&starts, per_start, &mut problems);
        problems.finish(starts.len() * per_start)?;
        self.finish(&starts, variants, seeds)
    }

    /// Every start with every combination of the axes: name, start, configuration.
    fn variants_of(
        &self,
        starts: &[Start],
        per_start: usize,
        problems: &mut Problems,
    ) -> Vec<(String, usize, Config, bool)> {
        let keys: Vec<&str> = self.axes.iter().map(|axis| axis.key.as_str()).collect();
        let labels = labels(&keys);
        let mut out = Vec::with_capacity(starts.len() * per_start);
        let mut conditions = Conditions::default();
        let mut taken: HashMap<String, usize> = HashMap::new();
        for (index, start) in starts.iter().enumerate() {
            'combination: for number in 0..per_start {
                let mut name = start.name.clone();
                let mut layer = Vec::new();
                let mut rest = number;
                let mut choices = vec![0; self.groups.len()];
                for (choice, group) in choices.iter_mut().zip(&self.groups).rev() {
                    let length = self.axes[group[0]].values.len();
                    (*choice, rest) = (rest % length, rest / length);
                }
                for (choice, group) in choices.iter().zip(&self.groups) {
                    for axis in group {
                        let (axis, label) = (&self.axes[*axis], &labels[*axis]);
                        let value = &axis.values[*choice];
                        name = format!("{name}-{}", part(label, value));
                        layer.push(Assignment {
                            key: axis.key.clone(),
                            value: value.clone(),
                            origin: (self.merged().origin(&format!("{}[{choice}]", axis.path)))
                                .or_else(|| axis.origin.clone()),
                        });
                    }
                }
                let mut tree = start.tree.clone();
                let mut wrong = apply(&mut tree, &layer);
                conditions.look(&self.overrides, start, &tree);
                for entry in &self.overrides {
                    let holds = |(key, wanted): &(String, Value)| holds(start, &tree, key, wanted);
                    let holds = entry.when.iter().all(holds);
                    if holds && entry.skip {
                        continue 'combination;
                    }
                    if holds {
                        wrong.extend(apply(&mut tree, &entry.set));
                        conditions.look(&self.overrides, start, &tree);
                    }
                }
                if let Some(first) = taken.insert(name.clone(), index) {
                    let place = self.variants.get(index).and_then(|v| v.origin.clone());
                    let message = match first == index {
                        true => {
                            format!("two variants are called `{name}`: an axis has a value twice")
                        }
                        false => format!("two variants are called `{name}`"),
                    };
                    wrong.push(Problem {
                        origin: place.or_else(|| self.merged().origin("sweep")),
                        key: String::new(),
                        message,
                        hint: Some("give one of them another `name`".into()),
                    });
                }
                let ordered = tree.get("data.order_seed").is_some();
                match Config::from_merged(tree, &name) {
                    Ok(mut config) => {
                        config.run.name = Some(name.clone());
                        out.push((name.clone(), index, config, ordered));
                    }
                    Err(error) => wrong.extend(error.problems().iter().cloned()),
                }
                for problem in wrong {
                    problems.add(problem, &name);
                }
            }
        }
        for (index, key, values) in conditions.never(&self.overrides) {
            let path = format!("overrides[{index}].when.{key}");
            let hint = format!("values here: {values}");
            problems.add(self.problem(&path, "no run has this value", Some(hint)), "");
        }
        out
    }

    /// Equal budgets, seeds, and what varies.
    fn finish(
        &self,
        starts: &[Start],
        mut variants: Vec<(String, usize, Config, bool)>,
        seeds: Option<&[u64]>,
    ) -> Result<Vec<Expanded>, ConfigError> {
        if variants.is_empty() {
            let hint = "give [sweep] a base, or take overrides with skip out".to_owned();
            let problem = self.problem("sweep", "there is no run", Some(hint));
            return Err(ConfigError::Invalid(vec![problem]));
        }
        let reference = train_flops(&variants[0].2);
        for (_, _, config, _) in &mut variants {
            equalize(config, self.equal, reference);
        }
        let keys = self.varied(starts, &variants);
        let mut out = Vec::with_capacity(variants.len() * seeds.map_or(1, <[u64]>::len));
        for (variant, _, config, ordered) in variants {
            let tree = serde_json::to_value(&config).unwrap_or_default();
            let value = |key: &String| {
                let pointer = format!("/{}", key.replace('.', "/"));
                (
                    key.clone(),
                    tree.pointer(&pointer).cloned().unwrap_or_default(),
                )
            };
            let axes: BTreeMap<String, Json> = keys.iter().map(value).collect();
            let Some(seeds) = seeds else {
                out.push(Expanded {
                    name: variant.clone(),
                    seed: config.run.seed,
                    variant,
                    axes,
                    config,
                });
                continue;
            };
            for &seed in seeds {
                let name = format!("{variant}-s{seed}");
                let mut config = config.clone();
                config.run.seed = seed;
                config.run.name = Some(name.clone());
                if !ordered {
                    config.data.order_seed = Some(seed);
                }
                out.push(Expanded {
                    name,
                    variant: variant.clone(),
                    seed,
                    axes: axes.clone(),
                    config,
                });
            }
        }
        Ok(out)
    }

    /// Dotted keys that the sweep varies: axes, what variants and overrides give, and where bases differ.
    fn varied(
        &self,
        starts: &[Start],
        variants: &[(String, usize, Config, bool)],
    ) -> BTreeSet<String> {
        let overrides = self.overrides.iter().flat_map(|entry| &entry.set);
        let mut keys: BTreeSet<String> = (self.axes.iter().map(|axis| axis.key.clone()))
            .chain(starts.iter().flat_map(|start| start.keys.iter().cloned()))
            .chain(overrides.map(|assignment| assignment.key.clone()))
            .collect();
        let mut bases: BTreeSet<&Path> = BTreeSet::new();
        let first = &variants[0].2;
        for (_, start, config, _) in variants {
            if bases.insert(&starts[*start].base) {
                keys.extend(config.differing_keys(first));
            }
        }
        if self.equal != Equal::Tokens {
            keys.insert("train.steps".into());
        }
        let inside = |key: &String| {
            let mut parts = key.rsplit_once('.').map(|(above, _)| above);
            while let Some(above) = parts {
                if keys.contains(above) {
                    return true;
                }
                parts = above.rsplit_once('.').map(|(above, _)| above);
            }
            false
        };
        (keys
            .iter()
            .filter(|key| !inside(key) && !NAMES.contains(&key.as_str())))
        .cloned()
        .collect()
    }
}

/// Whether a run from `start` with the values of `tree` has `wanted` for `key` of a `when`.
fn holds(start: &Start, tree: &Merged, key: &str, wanted: &Value) -> bool {
    match key {
        "variant" => wanted.as_str() == Some(start.name.as_str()),
        key => tree.get(key).is_some_and(|value| same(value, wanted)),
    }
}

/// Which conditions of overrides any run meets, and what runs have instead.
#[derive(Default)]
struct Conditions {
    met: BTreeSet<(usize, usize)>,
    values: BTreeMap<String, BTreeSet<String>>,
}

impl Conditions {
    fn look(&mut self, overrides: &[Override], start: &Start, tree: &Merged) {
        for (index, entry) in overrides.iter().enumerate() {
            for (place, (key, wanted)) in entry.when.iter().enumerate() {
                if holds(start, tree, key, wanted) {
                    self.met.insert((index, place));
                } else {
                    let value = match key.as_str() {
                        "variant" => Some(start.name.clone()),
                        key => tree.get(key).map(Value::to_string),
                    };
                    let known = self.values.entry(key.clone()).or_default();
                    known.extend(value);
                }
            }
        }
    }

    /// Conditions that no run meets: override, key, and the values that there are.
    fn never(&self, overrides: &[Override]) -> Vec<(usize, String, String)> {
        /// Values that a hint lists.
        const SHOWN: usize = 12;
        let mut out = Vec::new();
        for (index, entry) in overrides.iter().enumerate() {
            for (place, (key, _)) in entry.when.iter().enumerate() {
                // Without runs there is nothing to say of them.
                let Some(values) = self.values.get(key) else {
                    continue;
                };
                if !self.met.contains(&(index, place)) {
                    let shown: Vec<&str> = values.iter().take(SHOWN).map(String::as_str).collect();
                    let more = if values.len() > SHOWN { ", …" } else { "" };
                    out.push((index, key.clone(), shown.join(", ") + more));
                }
            }
        }
        out
    }
}

/// Equality of values, whole numbers and others alike.
fn same(a: &Value, b: &Value) -> bool {
    let number = |value: &Value| value.as_float().or(value.as_integer().map(|n| n as f64));
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}
