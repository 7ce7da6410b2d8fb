//! OpenBookQA: elementary science, four choices, without the book of facts.
//!
//! The prompt is the bare question stem; there is no "Answer:".

use super::{HubSource, Metric, Output, Paper, Read, Shots, Task, no_caveat};
use crate::error::EvalError;
use crate::example::Example;
use crate::row::Row;

/// The main configuration, test split.
pub(super) static TASK: Task = Task {
    name: "openbookqa",
    title: "OpenBookQA",
    folder: "openbookqa",
    split: "test",
    file: None,
    output: Output::Choice,
    hub: HubSource {
        repo: "allenai/openbookqa",
        config: Some("main"),
    },
    examples: 500,
    chance: 0.25,
    version: 1.0,
    metrics: &[Metric::Acc, Metric::AccNorm],
    source: "OpenBookQA, Mihaylov et al. 2018 (arXiv:1809.02789), Apache-2.0",
    fields: "id, question_stem, choices.text, choices.label, answerKey",
    fixture: Some(include_str!("../../fixtures/openbookqa.jsonl")),
    read: Read::One(read),
    paper: Paper::AfterAnswer,
    shots: Shots::Train,
    caveat: no_caveat,
};

fn read(row: &Row<'_>) -> Result<Example, EvalError> {
    let choices = row.texts("choices.text")?;
    let gold = row.labelled("answerKey", "choices.label")?;
    if gold >= choices.len() {
        return Err(row.bad("choices.label", "has more entries than `choices.text`"));
    }
    let context = row.text("question_stem")?.to_owned();
    Ok(Example::shared(row.id("id"), context, choices, gold))
}
