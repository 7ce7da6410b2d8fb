//! The tasks, each a declaration: name, version, source, split, metrics, and how a row becomes an
//! [`Example`].
//!
//! Prompts, splits and metrics are those of lm-evaluation-harness [`HARNESS_VERSION`], checked against
//! that program on every example of the full sets (`tests/harness.rs`). The metrics live elsewhere
//! ([`crate::metrics`]); a task only says which of them it reports.

mod arc;
mod boolq;
mod hellaswag;
mod openbookqa;
mod piqa;
mod social_iqa;
mod winogrande;

use crate::error::EvalError;
use crate::example::Example;
use crate::row::Row;

/// The release of lm-evaluation-harness whose prompts, splits and metrics are used.
pub const HARNESS_VERSION: &str = "0.4.13";

/// What a task reports, named as in the harness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Share of examples whose right choice has the highest log-likelihood.
    Acc,
    /// The same after dividing each log-likelihood by the length of its choice in **characters**.
    ///
    /// The harness's documentation speaks of bytes, but its code counts Unicode code points.
    AccNorm,
}

impl Metric {
    /// The name in result files.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Acc => "acc",
            Metric::AccNorm => "acc_norm",
        }
    }
}

/// A data set on the hub, as the harness names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubSource {
    /// Repository, `owner/name`.
    pub repo: &'static str,
    /// Configuration (subset), where the repository has several.
    pub config: Option<&'static str>,
}

/// A multiple-choice task.
#[derive(Debug)]
pub struct Task {
    /// The harness's name.
    pub name: &'static str,
    /// The name for people.
    pub title: &'static str,
    /// Folder in a data directory.
    pub folder: &'static str,
    /// The split that is scored.
    pub split: &'static str,
    /// Where the hub has it.
    pub hub: HubSource,
    /// Published number of examples of the split.
    pub examples: usize,
    /// Expected accuracy of a uniform guess over the split, between 0 and 1.
    pub chance: f64,
    /// The harness's version of the task.
    pub version: f64,
    /// Metrics that the harness reports.
    pub metrics: &'static [Metric],
    /// Who made it, and its licence.
    pub source: &'static str,
    /// The fields it reads, for error messages.
    pub fields: &'static str,
    /// The shipped slice, JSON lines.
    pub fixture: &'static str,
    /// Reads one row.
    pub read: fn(&Row<'_>) -> Result<Example, EvalError>,
    /// A reason why this copy of the data gives other numbers than the harness's, if it does.
    pub caveat: fn(&Row<'_>) -> Option<&'static str>,
}

impl Task {
    /// Whether the task reports `metric`.
    pub fn reports(&self, metric: Metric) -> bool {
        self.metrics.contains(&metric)
    }
}

/// Every task, in the order of the paper's tables (MobileLLM, Table 3).
pub fn list() -> &'static [&'static Task] {
    static TASKS: [&Task; 8] = [
        &arc::EASY,
        &arc::CHALLENGE,
        &boolq::TASK,
        &piqa::TASK,
        &social_iqa::TASK,
        &hellaswag::TASK,
        &openbookqa::TASK,
        &winogrande::TASK,
    ];
    &TASKS
}

/// The task of this name.
///
/// # Errors
/// [`EvalError::UnknownTask`] with the nearest name.
pub fn find(name: &str) -> Result<&'static Task, EvalError> {
    if let Some(task) = list().iter().find(|task| task.name == name) {
        return Ok(task);
    }
    let given = name.to_lowercase();
    let similarity = |task: &Task| {
        [task.name, task.folder, &task.title.to_lowercase()]
            .iter()
            .map(|spelling| strsim::jaro_winkler(&given, spelling))
            .fold(0.0, f64::max)
    };
    let nearest = list()
        .iter()
        .map(|task| (similarity(task), task.name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(similarity, _)| *similarity > 0.6)
        .map(|(_, name)| name);
    Err(EvalError::UnknownTask {
        name: name.to_owned(),
        nearest,
    })
}

/// The tasks of these names, in the order given and each once.
///
/// # Errors
/// [`EvalError::NoTasks`] when there is none, [`EvalError::UnknownTask`] for the first unknown one.
pub fn find_all<S: AsRef<str>>(names: &[S]) -> Result<Vec<&'static Task>, EvalError> {
    let mut found: Vec<&'static Task> = Vec::new();
    for name in names {
        let task = find(name.as_ref().trim())?;
        if !found.iter().any(|other| other.name == task.name) {
            found.push(task);
        }
    }
    if found.is_empty() {
        return Err(EvalError::NoTasks);
    }
    Ok(found)
}

/// No caveat: this copy of the data is the harness's own.
fn no_caveat(_: &Row<'_>) -> Option<&'static str> {
    None
}

/// Removes surrounding whitespace as Python's `str.strip` does.
///
/// Python counts the four separators U+001C to U+001F as whitespace; Unicode, and so Rust, does not.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Whether Python's `str.isspace` holds.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for task in list() {
            assert_eq!(find(task.name).unwrap().name, task.name);
        }
        assert_eq!(list().len(), 8);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let error = find("siqa").unwrap_err().to_string();
        assert!(error.contains("did you mean `social_iqa`?"), "{error}");
        let error = find("ARC_esay").unwrap_err().to_string();
        assert!(error.contains("did you mean `arc_easy`?"), "{error}");
        let error = find("zzzz").unwrap_err().to_string();
        assert!(!error.contains("did you mean"), "{error}");
        assert!(error.contains("hint:"), "{error}");
    }

    #[test]
    fn tasks_are_listed_once_in_the_order_given() {
        let names: Vec<_> = find_all(&["piqa", " boolq", "piqa"])
            .unwrap()
            .iter()
            .map(|task| task.name)
            .collect();
        assert_eq!(names, ["piqa", "boolq"]);
        assert!(matches!(find_all::<&str>(&[]), Err(EvalError::NoTasks)));
    }
}
