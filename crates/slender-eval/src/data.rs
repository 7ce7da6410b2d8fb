//! The examples of a task, from a directory, the hub or the shipped slices, never silently fewer.
//!
//! A score on part of a benchmark looks exactly like a score on all of it. So a missing file is an
//! error and not an empty task, a shipped slice is marked as a fixture, and a file whose number of
//! examples is not the published one is reported beside the result.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::EvalError;
use crate::example::Example;
use crate::hub;
use crate::row::Row;
use crate::tasks::Task;

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

/// The examples of one task and what is known of their origin.
#[derive(Clone, Debug)]
pub struct TaskData {
    /// All examples, in the order of the file.
    pub examples: Vec<Example>,
    /// File, or repository and file.
    pub origin: String,
    /// BLAKE3 of the file's bytes, in hex; over several files, of their hashes in order.
    pub blake3: String,
    /// Whether this is a shipped slice.
    pub fixture: bool,
    /// What a reader of the scores must know: another number of examples, another copy of the data.
    pub warnings: Vec<String>,
}

impl TaskData {
    /// Loads a task.
    ///
    /// # Errors
    /// A missing or unreadable file, a line that is no JSON object, a field that is missing or makes
    /// no sense (named with file, line and field), a hub that cannot be reached, or no example at all.
    pub fn load(task: &'static Task, source: &DataSource) -> Result<Self, EvalError> {
        let (rows, origin, blake3) = match source {
            DataSource::Builtin => {
                let origin = format!("builtin/{}.jsonl", task.name);
                let hash = blake3::hash(task.fixture.as_bytes()).to_hex().to_string();
                (parse_lines(task.fixture, &origin)?, origin, hash)
            }
            DataSource::Dir(dir) => {
                let path = locate(task, dir)?;
                let text = std::fs::read_to_string(&path).map_err(|source| EvalError::Io {
                    verb: "read",
                    path: path.clone(),
                    source,
                })?;
                let origin = path.display().to_string();
                let hash = blake3::hash(text.as_bytes()).to_hex().to_string();
                (parse_lines(&text, &origin)?, origin, hash)
            }
            DataSource::Hub => hub::fetch(task)?,
        };
        Self::from_rows(task, &rows, origin, blake3, *source == DataSource::Builtin)
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
        let examples = rows
            .iter()
            .map(|(line, value)| (task.read)(&row_at((*line, value))))
            .collect::<Result<Vec<_>, _>>()?;
        let Some((line, first)) = rows.first() else {
            return Err(EvalError::NoExamples {
                task: task.name,
                origin,
            });
        };
        let mut warnings = Vec::new();
        if let Some(caveat) = (task.caveat)(&row_at((*line, first))) {
            warnings.push(caveat.to_owned());
        }
        if !fixture && examples.len() != task.examples {
            warnings.push(format!(
                "{origin} has {} examples, the published {} split has {}",
                examples.len(),
                task.split,
                task.examples
            ));
        }
        Ok(Self {
            examples,
            origin,
            blake3,
            fixture,
            warnings,
        })
    }
}

/// `<dir>/<folder>/<split>.jsonl`, with the task's name accepted for the folder.
fn locate(task: &'static Task, dir: &Path) -> Result<PathBuf, EvalError> {
    let file = format!("{}.jsonl", task.split);
    let path = dir.join(task.folder).join(&file);
    let other = dir.join(task.name).join(&file);
    if path.is_file() {
        return Ok(path);
    }
    if other.is_file() {
        return Ok(other);
    }
    let hint = if !dir.is_dir() {
        format!("{} is not a directory", dir.display())
    } else if path.parent().is_some_and(Path::is_dir) {
        format!(
            "the harness scores the {} split of {}; put {} rows of {} there as JSON lines",
            task.split, task.name, task.examples, task.hub.repo
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
mod tests {
    use super::*;
    use crate::tasks;

    fn piqa_dir(lines: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("piqa")).unwrap();
        std::fs::write(dir.path().join("piqa/validation.jsonl"), lines).unwrap();
        dir
    }

    fn load(name: &str, dir: &Path) -> Result<TaskData, EvalError> {
        TaskData::load(tasks::find(name).unwrap(), &DataSource::Dir(dir.to_owned()))
    }

    #[test]
    fn every_shipped_slice_reads_and_is_marked() {
        for task in tasks::list() {
            let data = TaskData::load(task, &DataSource::Builtin).unwrap();
            assert!(data.fixture);
            assert_eq!(data.examples.len(), 40, "{}", task.name);
            assert!(data.examples.iter().all(|e| e.gold < e.choices.len()));
        }
    }

    #[test]
    fn a_missing_file_is_named_with_what_to_do() {
        let dir = piqa_dir("");
        let error = load("boolq", dir.path()).unwrap_err().to_string();
        assert!(error.contains("boolq/validation.jsonl"), "{error}");
        assert!(error.contains("hint:"), "{error}");
        let error = load("piqa", &dir.path().join("absent"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("is not a directory"), "{error}");
    }

    #[test]
    fn a_missing_field_is_named_with_file_and_line() {
        let dir = piqa_dir(concat!(
            r#"{"goal":"g","sol1":"a","sol2":"b","label":0}"#,
            "\n\n",
            r#"{"goal":"g","sol1":"a","label":1}"#,
            "\n"
        ));
        let error = load("piqa", dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("validation.jsonl:3: field `sol2` is missing"),
            "{error}"
        );
        assert!(error.contains("goal, sol1, sol2, label"), "{error}");
    }

    #[test]
    fn a_label_outside_the_choices_is_an_error() {
        let dir = piqa_dir(r#"{"goal":"g","sol1":"a","sol2":"b","label":2}"#);
        let error = load("piqa", dir.path()).unwrap_err().to_string();
        assert!(error.contains("names none of 2 choices"), "{error}");
    }

    #[test]
    fn a_broken_line_and_an_empty_file_are_errors() {
        let error = load("piqa", piqa_dir("{\"goal\": ").path())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("validation.jsonl:1: not a JSON object"),
            "{error}"
        );
        let error = load("piqa", piqa_dir("\n").path()).unwrap_err().to_string();
        assert!(error.contains("holds no example"), "{error}");
    }

    #[test]
    fn another_number_of_examples_is_reported() {
        let data = load(
            "piqa",
            piqa_dir(r#"{"goal":"g","sol1":"a","sol2":"b","label":"1"}"#).path(),
        )
        .unwrap();
        assert_eq!(data.examples[0].gold, 1);
        assert!(
            data.warnings[0].contains("has 1 examples, the published validation split has 1838")
        );
    }

    #[test]
    fn super_glue_rows_need_no_caveat() {
        let task = tasks::find("boolq").unwrap();
        let both = [
            serde_json::json!({"passage": "p", "question": "q", "label": 1, "idx": 7}),
            serde_json::json!({"passage": "p", "question": "q", "answer": true}),
        ];
        for (value, caveats) in both.into_iter().zip([0, 1]) {
            let data =
                TaskData::from_rows(task, &[(1, value)], "x".into(), String::new(), true).unwrap();
            assert_eq!(data.warnings.len(), caveats);
            assert_eq!(data.examples[0].gold, 1);
        }
    }

    #[test]
    fn the_setting_has_three_meanings() {
        assert_eq!(DataSource::from_setting(None), DataSource::Hub);
        let builtin = DataSource::from_setting(Some(Path::new("builtin")));
        assert_eq!(builtin, DataSource::Builtin);
        let dir = DataSource::from_setting(Some(Path::new("d")));
        assert_eq!(dir, DataSource::Dir("d".into()));
    }
}
