//! PIQA: a goal and two ways to reach it, one of which works.

use super::{HubSource, Metric, Output, Paper, Read, Shots, Task, no_caveat};
use crate::error::EvalError;
use crate::example::Example;
use crate::row::Row;

/// The validation split (the test labels are not public).
pub(super) static TASK: Task = Task {
    name: "piqa",
    title: "PIQA",
    folder: "piqa",
    split: "validation",
    file: None,
    output: Output::Choice,
    hub: HubSource {
        repo: "baber/piqa",
        config: None,
    },
    examples: 1838,
    chance: 0.5,
    version: 1.0,
    metrics: &[Metric::Acc, Metric::AccNorm],
    source: "PIQA, Bisk et al. 2019 (arXiv:1911.11641), AFL-3.0",
    fields: "goal, sol1, sol2, label (0 or 1)",
    fixture: Some(include_str!("../../fixtures/piqa.jsonl")),
    read: Read::One(read),
    paper: Paper::Characters,
    shots: Shots::TrainOthers,
    caveat: no_caveat,
};

fn read(row: &Row<'_>) -> Result<Example, EvalError> {
    let choices = vec![row.text("sol1")?.to_owned(), row.text("sol2")?.to_owned()];
    let gold = row.choice("label", 0, 2)?;
    let context = format!("Question: {}\nAnswer:", row.text("goal")?);
    Ok(Example::shared(None, context, choices, gold))
}
