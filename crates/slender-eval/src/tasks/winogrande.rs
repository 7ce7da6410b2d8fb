//! WinoGrande: whom does the blank stand for; `acc` only.
//!
//! Partial evaluation: each option is filled into the blank, and what is compared is the
//! log-likelihood of the **same** rest of the sentence after the two contexts. Its length is the same too, so
//! the `paper` protocol has nothing to divide by.

use super::{HubSource, Metric, Output, Paper, Read, Shots, Task, no_caveat, strip};
use crate::error::EvalError;
use crate::example::{Contexts, Example};
use crate::row::Row;

/// The validation split of the largest training size (all sizes share it).
pub(super) static TASK: Task = Task {
    name: "winogrande",
    title: "WinoGrande",
    folder: "winogrande",
    split: "validation",
    file: None,
    output: Output::Choice,
    hub: HubSource {
        repo: "allenai/winogrande",
        config: Some("winogrande_xl"),
    },
    examples: 1267,
    chance: 0.5,
    version: 1.0,
    metrics: &[Metric::Acc],
    source: "WinoGrande, Sakaguchi et al. 2019 (arXiv:1907.10641), CC BY",
    fields: "sentence (with one `_`), option1, option2, answer (1 or 2)",
    fixture: Some(include_str!("../../fixtures/winogrande.jsonl")),
    read: Read::One(read),
    paper: Paper::Plain,
    shots: Shots::TrainOthers,
    caveat: no_caveat,
};

fn read(row: &Row<'_>) -> Result<Example, EvalError> {
    let (before, after) = row
        .text("sentence")?
        .split_once('_')
        .ok_or_else(|| row.bad("sentence", "has no `_` to fill in"))?;
    let contexts: Vec<String> = [row.text("option1")?, row.text("option2")?]
        .into_iter()
        .map(|option| format!("{before}{option}"))
        .collect();
    let continuation = format!(" {}", strip(after));
    Ok(Example {
        id: None,
        continuations: vec![continuation; contexts.len()],
        choices: contexts.clone(),
        contexts: Contexts::PerChoice(contexts),
        gold: row.choice("answer", 1, 2)?,
        truths: None,
    })
}
