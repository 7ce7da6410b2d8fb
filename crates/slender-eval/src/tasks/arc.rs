//! AI2 Reasoning Challenge: grade-school science questions, mostly with four choices.
//!
//! Scored on the test split. The key is looked up among the labels, which are letters in most rows
//! and digits in some.

use super::{HubSource, Metric, Output, Paper, Read, Shots, Task, no_caveat};
use crate::error::EvalError;
use crate::example::Example;
use crate::row::Row;

const SOURCE: &str = "AI2 Reasoning Challenge, Clark et al. 2018 (arXiv:1803.05457), CC BY-SA 4.0";
const FIELDS: &str = "id, question, choices.text, choices.label, answerKey";

/// The easy set.
pub(super) static EASY: Task = Task {
    name: "arc_easy",
    title: "ARC-easy",
    folder: "arc_easy",
    split: "test",
    file: None,
    output: Output::Choice,
    hub: HubSource {
        repo: "allenai/ai2_arc",
        config: Some("ARC-Easy"),
    },
    examples: 2376,
    chance: 0.250_161,
    version: 1.0,
    metrics: &[Metric::Acc, Metric::AccNorm],
    source: SOURCE,
    fields: FIELDS,
    fixture: Some(include_str!("../../fixtures/arc_easy.jsonl")),
    read: Read::One(read),
    paper: Paper::Characters,
    shots: Shots::Train,
    caveat: no_caveat,
};

/// The challenge set: questions that retrieval and word co-occurrence get wrong.
pub(super) static CHALLENGE: Task = Task {
    name: "arc_challenge",
    title: "ARC-challenge",
    folder: "arc_challenge",
    split: "test",
    file: None,
    output: Output::Choice,
    hub: HubSource {
        repo: "allenai/ai2_arc",
        config: Some("ARC-Challenge"),
    },
    examples: 1172,
    chance: 0.250_156,
    version: 1.0,
    metrics: &[Metric::Acc, Metric::AccNorm],
    source: SOURCE,
    fields: FIELDS,
    fixture: Some(include_str!("../../fixtures/arc_challenge.jsonl")),
    read: Read::One(read),
    paper: Paper::Characters,
    shots: Shots::Train,
    caveat: no_caveat,
};

fn read(row: &Row<'_>) -> Result<Example, EvalError> {
    let choices = row.texts("choices.text")?;
    let gold = row.labelled("answerKey", "choices.label")?;
    if gold >= choices.len() {
        return Err(row.bad("choices.label", "has more entries than `choices.text`"));
    }
    let context = format!("Question: {}\nAnswer:", row.text("question")?);
    Ok(Example::shared(row.id("id"), context, choices, gold))
}
