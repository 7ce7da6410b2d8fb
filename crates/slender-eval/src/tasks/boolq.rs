//! BoolQ: a passage and a yes/no question; `acc` only.
//!
//! The harness reads SuperGLUE's copy (integer `label`, passages that start with the article's title);
//! google/boolq has a boolean `answer` and no title. Both are read, and the second is reported as a
//! caveat, because the title moves scores.

use super::{HubSource, Metric, Output, Paper, Read, Shots, Task};
use crate::error::EvalError;
use crate::example::Example;
use crate::row::Row;

/// The validation split.
pub(super) static TASK: Task = Task {
    name: "boolq",
    title: "BoolQ",
    folder: "boolq",
    split: "validation",
    file: None,
    output: Output::Choice,
    hub: HubSource {
        repo: "aps/super_glue",
        config: Some("boolq"),
    },
    examples: 3270,
    chance: 0.5,
    version: 2.0,
    metrics: &[Metric::Acc],
    source: "BoolQ, Clark et al. 2019 (arXiv:1905.10044), CC BY-SA 3.0; in SuperGLUE's form",
    fields: "passage, question, label (0 or 1) or answer (true or false)",
    fixture: Some(include_str!("../../fixtures/boolq.jsonl")),
    read: Read::One(read),
    paper: Paper::AfterAnswer,
    shots: Shots::TrainOthers,
    caveat,
};

fn read(row: &Row<'_>) -> Result<Example, EvalError> {
    let gold = match row.get("answer") {
        Some(answer) if row.get("label").is_none() => answer
            .as_bool()
            .map(usize::from)
            .ok_or_else(|| row.bad("answer", format!("is {answer}, not true or false")))?,
        _ => row.choice("label", 0, 2)?,
    };
    let context = format!(
        "{}\nQuestion: {}?\nAnswer:",
        row.text("passage")?,
        row.text("question")?
    );
    let choices = vec!["no".to_owned(), "yes".to_owned()];
    Ok(Example::shared(row.id("idx"), context, choices, gold))
}

fn caveat(row: &Row<'_>) -> Option<&'static str> {
    row.get("label").is_none().then_some(
        "passages are google/boolq's, without the article title that SuperGLUE's copy, \
         which lm-evaluation-harness reads, puts in front",
    )
}
