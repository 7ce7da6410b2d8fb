//! The examples of a task, from a directory, the hub or the shipped slices, never silently fewer.
//!
//! A score on part of a benchmark looks exactly like a score on all of it. So a missing file is an
//! error and not an empty task, a shipped slice is marked as a fixture, and a file whose number of
//! examples is not the published one is reported beside the result.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::EvalError;
use crate::example::Example;
use crate::hub;
use crate::row::Row;
use crate::tasks::{self, Known, Output, Task};

/// The split of few-shot examples.
pub(crate) const POOL: &str = "train";

/// Where examples come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DataSource {
    /// The slices shipped with this crate, 40 examples each, marked as fixtures.
    Builtin,
    /// A directory with `<task folder>/<split>.jsonl`.
    Dir(PathBuf),
    /// The hub's copies that the harness reads.
    #[default]
    Hub,
}

impl DataSource {
    /// The meaning of `--data-dir` and of `eval.data_dir`: unset is the hub, `builtin` the shipped
    /// slices, anything else a directory.
    pub fn from_setting(setting: Option<&Path>) -> Self {
        match setting {
            None => DataSource::Hub,
            Some(path) if path == Path::new("builtin") => DataSource::Builtin,
            Some(path) => DataSource::Dir(path.to_owned()),
        }
    }

    /// A word or path for the settings in the output.
    pub fn describe(&self) -> String {
        match self {
            DataSource::Builtin => "builtin".to_owned(),
            DataSource::Dir(path) => path.display().to_string(),
            DataSource::Hub => "hub".to_owned(),
        }
    }
}

/// How the content of a file compares with the published split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Every example is that of a known copy.
    #[serde(rename = "known")]
    Known,
    /// No hash of this split is known; at most the number of examples was compared.
    #[default]
    #[serde(rename = "not checked")]
    Unchecked,
    /// Another number of examples, or an example that no known copy has.
    #[serde(rename = "altered")]
    Altered,
    /// A slice that ships with the program.
    #[serde(rename = "fixture")]
    Fixture,
}

/// What to do with examples that are not those of any known copy of the split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Altered {
    /// Stop with an error.
    Refuse,
    /// Score them and say so beside the result.
    #[default]
    Report,
}

/// Where few-shot examples came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// File, or repository and file.
    pub origin: String,
    /// BLAKE3 of the file's bytes, in hex.
    pub blake3: String,
    /// Hash of every request and right answer.
    pub digest: String,
    /// Number of examples.
    pub examples: usize,
    /// How it compares with the published split.
    pub content: Content,
}

/// The examples of one task and what is known of their origin.
#[derive(Clone, Debug)]
pub struct TaskData {
    /// All examples, in the order of the file.
    pub examples: Vec<Example>,
    /// The row each example was read from, for few-shot sampling.
    pub(crate) rows: Vec<Value>,
    /// The split.
    pub split: String,
    /// File, or repository and file.
    pub origin: String,
    /// BLAKE3 of the file's bytes, in hex; over several files, of their hashes in order.
    pub blake3: String,
    /// Hash of every request and right answer ([`tasks::digest`]).
    pub digest: String,
    /// Whether this is a shipped slice.
    pub fixture: bool,
    /// How it compares with the published split.
    pub content: Content,
    /// Where its few-shot examples came from, where that is another split.
    pub pool: Option<Pool>,
    /// What a reader of the scores must know: another number of examples, another copy of the data.
    pub warnings: Vec<String>,
}

impl TaskData {
    /// Loads the split that the task scores.
    ///
    /// # Errors
    /// A missing or unreadable file, a line that is no JSON object, a field that is missing or makes
    /// no sense (named with file, line and field), a hub that cannot be reached, or no example at all.
    pub fn load(task: &'static Task, source: &DataSource) -> Result<Self, EvalError> {
        Self::load_split(task, source, None, Altered::Report)
    }

    /// Loads `split` of the task, or the one it scores.
    ///
    /// # Errors
    /// As [`TaskData::load`]; with [`Altered::Refuse`] also examples that are not the published ones.
    pub fn load_split(
        task: &'static Task,
        source: &DataSource,
        split: Option<&str>,
        altered: Altered,
    ) -> Result<Self, EvalError> {
        let split = split.unwrap_or(task.split);
        let mut data = Self::read(task, source, split)?;
        if split != task.split {
            data.warnings.push(format!(
                "scored on the {split} split, content not checked; the harness scores {}",
                task.split
            ));
        } else if !data.fixture {
            data.check(task, altered)?;
        }
        Ok(data)
    }

    /// Loads the train split, from which few-shot examples are drawn, and compares its number of examples
    /// with the published one.
    ///
    /// # Errors
    /// As [`TaskData::load_split`].
    pub fn load_pool(
        task: &'static Task,
        source: &DataSource,
        altered: Altered,
    ) -> Result<Self, EvalError> {
        let mut data = Self::read(task, source, POOL).map_err(|error| match error {
            EvalError::MissingData {
                task: name, path, ..
            } if is_folder(source) => {
                let hint = pool_hint(task);
                EvalError::MissingData {
                    task: name,
                    path,
                    hint,
                }
            }
            other => other,
        })?;
        let published = tasks::published_train(task.name);
        match published {
            Some(sizes) if !sizes.contains(&data.examples.len()) => {
                let problem = format!(
                    "{} has {} examples, the published {POOL} split has {}",
                    data.origin,
                    data.examples.len(),
                    sizes[0]
                );
                data.altered(task, problem, altered)?;
            }
            _ => data.warnings.push("content not checked".to_owned()),
        }
        Ok(data)
    }

    /// The examples of a split as they are.
    fn read(task: &'static Task, source: &DataSource, split: &str) -> Result<Self, EvalError> {
        let (rows, origin, blake3) = match source {
            DataSource::Builtin => {
                let (Some(fixture), true) = (task.fixture, split == task.split) else {
                    return Err(EvalError::NoFixture {
                        task: task.name,
                        split: split.to_owned(),
                    });
                };
                let origin = format!("builtin/{}.jsonl", task.name);
                let hash = blake3::hash(fixture.as_bytes()).to_hex().to_string();
                (parse_lines(fixture, &origin)?, origin, hash)
            }
            DataSource::Dir(dir) => {
                let path = locate(task, dir, split)?;
                let (text, hash) = read_hashed(&path)?;
                let origin = path.display().to_string();
                let rows = parse_text(task, &path, &text, &origin)?;
                (rows, origin, hash.to_hex().to_string())
            }
            DataSource::Hub => hub::fetch(task, split)?,
        };
        let fixture = *source == DataSource::Builtin;
        let mut data = Self::from_rows(task, &rows, origin, blake3, fixture)?;
        split.clone_into(&mut data.split);
        Ok(data)
    }

    /// Reads rows that are already in memory; `rows` are `(line number from 1, JSON object)`.
    ///
    /// # Errors
    /// A field that is missing or makes no sense, or no row at all.
    pub fn from_rows(
        task: &'static Task,
        rows: &[(usize, Value)],
        origin: String,
        blake3: String,
        fixture: bool,
    ) -> Result<Self, EvalError> {
        let row_at = |(line, value)| Row {
            task,
            value,
            origin: &origin,
            line,
        };
        let mut examples = Vec::with_capacity(rows.len());
        let mut sources = Vec::with_capacity(rows.len());
        for (line, value) in rows {
            for example in task.examples_of(&row_at((*line, value)))? {
                examples.push(example);
                sources.push(value.clone());
            }
        }
        let (Some((line, first)), false) = (rows.first(), examples.is_empty()) else {
            return Err(EvalError::NoExamples {
                task: task.name,
                origin,
            });
        };
        let caveat = (task.caveat)(&row_at((*line, first)));
        Ok(Self {
            digest: tasks::digest(&examples),
            rows: sources,
            split: task.split.to_owned(),
            examples,
            origin,
            blake3,
            fixture,
            content: if fixture {
                Content::Fixture
            } else {
                Content::Unchecked
            },
            pool: None,
            warnings: caveat.map(str::to_owned).into_iter().collect(),
        })
    }

    /// Records the split that few-shot examples came from.
    pub(crate) fn drawn_from(&mut self, pool: TaskData) {
        let said = pool.warnings.into_iter();
        self.warnings
            .extend(said.map(|warning| format!("few-shot examples: {warning}")));
        self.pool = Some(Pool {
            origin: pool.origin,
            blake3: pool.blake3,
            digest: pool.digest,
            examples: pool.examples.len(),
            content: pool.content,
        });
    }

    /// Compares the examples with the known copies of the split.
    fn check(&mut self, task: &Task, altered: Altered) -> Result<(), EvalError> {
        let counted = self.examples.len() == task.examples;
        let unseen = match tasks::known(task.name, &self.digest) {
            Known::Yes { note } => {
                self.content = Content::Known;
                if !note.is_empty() {
                    self.warnings.push(note.to_owned());
                }
                return Ok(());
            }
            Known::Unchecked => true,
            Known::No => self.is_unseen_form(task),
        };
        if counted && unseen {
            self.warnings.push(format!(
                "content not checked: no hash of this copy of the {} split is known, only its number of \
                 examples was compared",
                task.split
            ));
            return Ok(());
        }
        let problem = if counted {
            format!(
                "an example of {} differs from every known copy of the {} split",
                self.origin, task.split
            )
        } else {
            format!(
                "{} has {} examples, the published {} split has {}",
                self.origin,
                self.examples.len(),
                task.split,
                task.examples
            )
        };
        self.altered(task, problem, altered)
    }

    /// Whether this claims to be a copy that was not at hand when the hashes were taken: SuperGLUE's form of
    /// BoolQ, and all of TriviaQA, of which only the Wikipedia part is known.
    fn is_unseen_form(&self, task: &Task) -> bool {
        match task.name {
            "boolq" => self.warnings.is_empty(),
            "triviaqa" => self.examples.len() == task.examples,
            _ => false,
        }
    }

    fn altered(&mut self, task: &Task, problem: String, altered: Altered) -> Result<(), EvalError> {
        if altered == Altered::Refuse {
            return Err(EvalError::Altered {
                task: task.name,
                problem,
                repo: task.hub.repo,
            });
        }
        self.content = Content::Altered;
        self.warnings.push(problem);
        Ok(())
    }
}

/// `<dir>/<folder>/<file>`, with the task's name accepted for the folder.
fn locate(task: &'static Task, dir: &Path, split: &str) -> Result<PathBuf, EvalError> {
    let file = task.file_of(split);
    let mut names = vec![file.clone(), format!("{split}.jsonl")];
    if task.output == Output::Text {
        names.push(format!("{split}.txt"));
    }
    for folder in [task.folder, task.name] {
        for name in &names {
            let path = dir.join(folder).join(name);
            if path.is_file() {
                return Ok(path);
            }
        }
    }
    let path = dir.join(task.folder).join(&file);
    let others = other_splits(task, &path);
    let hint = if !dir.is_dir() {
        format!("{} is not a directory", dir.display())
    } else if let Some(other) = others.first() {
        format!(
            "the harness scores the {} split of {}; put {} rows of {} there as JSON lines, or \
             score another split knowingly with --split {}={other}",
            task.split, task.name, task.examples, task.hub.repo, task.name
        )
    } else {
        format!(
            "the layout is <data dir>/{}/{file} with the rows of {} as JSON lines; without \
             --data-dir they are fetched from the hub",
            task.folder, task.hub.repo
        )
    };
    Err(EvalError::MissingData {
        task: task.name,
        path,
        hint,
    })
}

/// Whether this is a directory that exists.
fn is_folder(source: &DataSource) -> bool {
    matches!(source, DataSource::Dir(dir) if dir.is_dir())
}

/// The way out where the file of the few-shot examples is missing.
fn pool_hint(task: &Task) -> String {
    let sizes = tasks::published_train(task.name);
    let rows = match sizes.and_then(|sizes| sizes.first()) {
        Some(rows) => format!(" ({rows} rows)"),
        None => String::new(),
    };
    format!(
        "few-shot examples are drawn from the {POOL} split: put that of {}{rows} there as JSON lines, or score \
         without shots",
        task.hub.repo
    )
}

/// Splits whose file stands beside the missing one.
fn other_splits(task: &Task, missing: &Path) -> Vec<&'static str> {
    let folder = missing.parent().unwrap_or(Path::new(""));
    ["validation", "test", "train"]
        .into_iter()
        .filter(|split| *split != task.split && folder.join(task.file_of(split)).is_file())
        .collect()
}

/// The text of a file without a byte order mark.
///
/// # Errors
/// It cannot be read, or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, EvalError> {
    read_hashed(path).map(|(text, _)| text)
}

/// The text of a file without a byte order mark, and the hash of its bytes.
pub(crate) fn read_hashed(path: &Path) -> Result<(String, blake3::Hash), EvalError> {
    let bytes = std::fs::read(path).map_err(|source| EvalError::Io {
        verb: "read",
        path: path.to_owned(),
        source,
    })?;
    let hash = blake3::hash(&bytes);
    let text = String::from_utf8(bytes).map_err(|error| {
        let whole = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + whole.iter().filter(|byte| **byte == b'\n').count();
        EvalError::NotUtf8 {
            place: format!("{}:{line}", path.display()),
        }
    })?;
    let text = match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    };
    Ok((text, hash))
}

/// Rows of a file: JSON lines, one JSON array, or for whole texts the raw text.
fn parse_text(
    task: &Task,
    path: &Path,
    text: &str,
    origin: &str,
) -> Result<Vec<(usize, Value)>, EvalError> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    if ending == Some("txt") && task.output == Output::Text {
        let pages = tasks::pages(text).into_iter().enumerate();
        return Ok(pages
            .map(|(i, page)| (i + 1, serde_json::json!({"page": page})))
            .collect());
    }
    if ending == Some("json") {
        let bad = |message: String| EvalError::BadJson {
            place: origin.to_owned(),
            message,
        };
        let rows: Vec<Value> =
            serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
        return Ok(rows
            .into_iter()
            .enumerate()
            .map(|(i, row)| (i + 1, row))
            .collect());
    }
    parse_lines(text, origin)
}

/// JSON lines with their numbers; blank lines are skipped.
pub(crate) fn parse_lines(text: &str, origin: &str) -> Result<Vec<(usize, Value)>, EvalError> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(i, line)| {
            let bad = |message: String| EvalError::BadJson {
                place: format!("{origin}:{}", i + 1),
                message,
            };
            let value: Value =
                serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
            if value.is_object() {
                Ok((i + 1, value))
            } else {
                Err(bad("another JSON value".to_owned()))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
