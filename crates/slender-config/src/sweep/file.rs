//! Reading a sweep file: what it may hold, and everything that can be wrong with it alone.

use super::budget::Equal;
use super::parts::{
    Assignment, Axis, FOLDER_NAME, Override, VariantEntry, assignments, is_folder_name, read_axes,
    read_overrides, read_variants,
};
use super::reader::{Reader, kind, nearest};
use super::section::read_toml;
use super::space::Space;
use crate::error::{ConfigError, Origin, Problem};
use crate::load::{self, Merged};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Sections of a sweep file.
const SECTIONS: &[&str] = &[
    "sweep",
    "set",
    "axes",
    "variants",
    "overrides",
    "space",
    "slurm",
    "search",
];

/// A sweep file, checked by itself; its configurations are made by [`SweepFile::expand`].
#[derive(Debug)]
pub struct SweepFile {
    /// The file.
    pub path: PathBuf,
    /// Name of the sweep.
    pub name: String,
    /// Runs trained at the same time, unless the command line says otherwise.
    pub jobs: Option<usize>,
    /// Seeds of every variant; `None` leaves the configuration's own.
    pub seeds: Option<Vec<u64>>,
    /// What is equal among variants beside the tokens.
    pub equal: Equal,
    /// The shapes of a budget.
    pub space: Option<Space>,
    pub(super) bases: Vec<PathBuf>,
    pub(super) set: Vec<Assignment>,
    pub(super) axes: Vec<Axis>,
    /// Axes that go together, by their index; a lone axis is a group of one.
    pub(super) groups: Vec<Vec<usize>>,
    pub(super) variants: Vec<VariantEntry>,
    pub(super) overrides: Vec<Override>,
    merged: Merged,
}

/// Whether `path` is a sweep file: a TOML file with a `[sweep]` table.
pub fn is_sweep_file(path: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(path) else {
        return false;
    };
    if let Ok(merged) = load::parse(&text, path) {
        return merged.table.contains_key("sweep");
    }
    // A file with a slip in its syntax is still meant as what it looks like.
    let lines = text.trim_start_matches('\u{feff}').lines();
    let plain = |line: &str| {
        line.split('#')
            .next()
            .unwrap_or("")
            .replace([' ', '\t'], "")
    };
    let starts = ["[sweep]", "sweep=", "sweep."];
    (lines.map(plain)).any(|line| starts.iter().any(|start| line.starts_with(start)))
}

impl SweepFile {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// All problems found, each with file, line, key and a hint.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let merged = read_toml(path)?;
        if !merged.table.contains_key("sweep") {
            return Err(ConfigError::Invalid(vec![Problem {
                origin: Some(Origin::File {
                    file: path.to_owned(),
                    line: 1,
                }),
                key: String::new(),
                message: "this is no sweep file: it has no [sweep] table".into(),
                hint: Some("write [sweep] and the base below it; docs/sweeps.md shows one".into()),
            }]));
        }
        let mut problems = Vec::new();
        let file = Self::from_merged(path, merged, &mut problems);
        if problems.is_empty() {
            Ok(file)
        } else {
            Err(ConfigError::Invalid(problems))
        }
    }

    /// The whole file as it was written, and where.
    pub fn merged(&self) -> &Merged {
        &self.merged
    }

    /// A problem at `key` of this file.
    pub(super) fn problem(
        &self,
        key: &str,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Problem {
        Problem {
            origin: self.merged.origin(key).or_else(|| Some(self.first_line())),
            key: key.to_owned(),
            message: message.into(),
            hint,
        }
    }

    fn first_line(&self) -> Origin {
        Origin::File {
            file: self.path.clone(),
            line: 1,
        }
    }

    fn from_merged(path: &Path, merged: Merged, problems: &mut Vec<Problem>) -> Self {
        let empty = Table::new();
        let table = |name: &str, problems: &mut Vec<Problem>| match merged.table.get(name) {
            None => &empty,
            Some(Value::Table(table)) => table,
            Some(other) => {
                problems.push(Problem {
                    origin: merged.origin(name),
                    key: name.into(),
                    message: format!("found {}, expected a table", kind(other)),
                    hint: Some(format!("write [{name}] and its keys below it")),
                });
                &empty
            }
        };
        for key in merged.table.keys() {
            if !SECTIONS.contains(&key.as_str()) {
                let hint = match nearest(key, SECTIONS) {
                    _ if key == "executor" => {
                        "who does the work is said by --executor of `slender sweep run`, and how many runs at a time by sweep.jobs".into()
                    }
                    Some(near) => format!("did you mean [{near}]?"),
                    None => format!(
                        "sections here: {}; keys of the configuration go below [set], [axes] or [[variants]]",
                        SECTIONS.join(", ")
                    ),
                };
                problems.push(Problem {
                    origin: merged.origin(key),
                    key: key.clone(),
                    message: "unknown section".into(),
                    hint: Some(hint),
                });
            }
        }
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let mut head = Reader {
            merged: &merged,
            path: "sweep".into(),
            table: table("sweep", problems),
            problems,
        };
        head.only(&["name", "base", "seeds", "jobs", "equal"]);
        let name = head.text("name").unwrap_or_else(|| stem.into_owned());
        if !is_folder_name(&name) {
            let message = format!("`{name}` cannot be the name of a folder");
            head.wrong("name", message, FOLDER_NAME);
        }
        let bases: Vec<PathBuf> = (head.texts("base").unwrap_or_default().iter())
            .map(|base| folder.join(base))
            .collect();
        for base in bases.iter().filter(|base| !base.is_file()) {
            let message = format!("no such file: {}", base.display());
            head.wrong("base", message, "the path is relative to the sweep file");
        }
        let jobs = head.count("jobs");
        let equal = Equal::read(&mut head);
        let seeds = read_seeds(&mut head);

        let set = assignments(&merged, table("set", problems), "set", &[]);
        let (axes, groups) = read_axes(&merged, table("axes", problems), problems);
        let variants = read_variants(&merged, &folder, problems);
        let overrides = read_overrides(&merged, problems);
        let space = merged.table.contains_key("space").then(|| {
            Space::read(&mut Reader {
                merged: &merged,
                path: "space".into(),
                table: table("space", problems),
                problems,
            })
        });
        let mut file = Self {
            path: path.to_owned(),
            name,
            jobs,
            seeds,
            equal,
            space: space.flatten(),
            bases,
            set,
            axes,
            groups,
            variants,
            overrides,
            merged,
        };
        file.check_together(problems);
        for assignment in (file.set.iter_mut())
            .chain(
                file.variants
                    .iter_mut()
                    .flat_map(|variant| &mut variant.set),
            )
            .chain(file.overrides.iter_mut().flat_map(|entry| &mut entry.set))
        {
            load::resolve_path(&assignment.key, &mut assignment.value, &folder);
        }
        for axis in &mut file.axes {
            for value in &mut axis.values {
                load::resolve_path(&axis.key, value, &folder);
            }
        }
        file
    }

    /// Problems between sections.
    fn check_together(&mut self, problems: &mut Vec<Problem>) {
        let based = |variant: &VariantEntry| variant.base.is_some();
        let every_variant = !self.variants.is_empty() && self.variants.iter().all(based);
        let written = self
            .merged
            .table
            .get("sweep")
            .and_then(|sweep| sweep.get("base"));
        if self.bases.is_empty() && (!every_variant || self.space.is_some()) && written.is_none() {
            let hint = "name the configuration to build on, such as base = \"../configs/base/proxy-1m.toml\"";
            problems.push(self.problem("sweep.base", "is missing", Some(hint.into())));
        }
        let seed_axis = self.axes.iter().position(|axis| axis.key == "run.seed");
        if let Some(index) = seed_axis {
            let path = self.axes[index].path.clone();
            let hint = "write seeds = [0, 1, 2] below [sweep]; runs that differ in the seed alone are one variant";
            problems.push(self.problem(
                &path,
                "seeds are not an axis like others",
                Some(hint.into()),
            ));
        }
        let known: Vec<&str> = self.axes.iter().map(|axis| axis.key.as_str()).collect();
        for (index, entry) in self.overrides.iter().enumerate() {
            for (key, _) in &entry.when {
                let shape = self.space.is_some() && key.starts_with("model.");
                if key != "variant" && !shape && !known.contains(&key.as_str()) {
                    let hint = match nearest(key, &known) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("axes here: {}", known.join(", ")),
                    };
                    let path = format!("overrides[{index}].when.{key}");
                    problems.push(self.problem(&path, "is no axis of this sweep", Some(hint)));
                }
            }
        }
    }
}

fn read_seeds(head: &mut Reader<'_>) -> Option<Vec<u64>> {
    const HINT: &str = "write seeds = 3 for 0, 1 and 2, or a list such as seeds = [7, 8]";
    /// More seeds than anyone trains.
    const MOST: i64 = 10_000;
    let whole = |value: &Value| value.as_integer().and_then(|seed| u64::try_from(seed).ok());
    let seeds: Option<Vec<u64>> = match head.table.get("seeds")? {
        Value::Integer(count) if (1..=MOST).contains(count) => Some((0..*count as u64).collect()),
        Value::Array(seeds) if !seeds.is_empty() => seeds.iter().map(whole).collect(),
        _ => None,
    };
    let Some(seeds) = seeds else {
        head.wrong(
            "seeds",
            "expected a number of seeds, or a list of them",
            HINT,
        );
        return None;
    };
    let mut seen = std::collections::BTreeSet::new();
    if let Some(twice) = seeds.iter().find(|seed| !seen.insert(**seed)) {
        head.wrong("seeds", format!("seed {twice} is given twice"), HINT);
    }
    Some(seeds)
}
