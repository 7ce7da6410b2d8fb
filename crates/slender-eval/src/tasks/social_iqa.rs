//! Social IQa: everyday situations, three choices; `acc` only.
//!
//! The harness reports no `acc_norm` here and neither do we. Labels count from 1.

use super::{HubSource, Metric, Output, Paper, Read, Shots, Task, no_caveat};
use crate::error::EvalError;
use crate::example::Example;
use crate::row::Row;

/// The validation split.
pub(super) static TASK: Task = Task {
    name: "social_iqa",
    title: "SIQA",
    folder: "social_i_qa",
    split: "validation",
    file: None,
    output: Output::Choice,
    hub: HubSource {
        repo: "lighteval/siqa",
        config: None,
    },
    examples: 1954,
    chance: 1.0 / 3.0,
    version: 0.0,
    metrics: &[Metric::Acc],
    source: "Social IQa, Sap et al. 2019 (arXiv:1904.09728), CC BY 4.0",
    fields: "context, question, answerA, answerB, answerC, label (1 to 3)",
    fixture: Some(include_str!("../../fixtures/social_iqa.jsonl")),
    read: Read::One(read),
    paper: Paper::Characters,
    shots: Shots::TrainOthers,
    caveat: no_caveat,
};

fn read(row: &Row<'_>) -> Result<Example, EvalError> {
    let choices = ["answerA", "answerB", "answerC"]
        .into_iter()
        .map(|field| row.text(field).map(str::to_owned))
        .collect::<Result<Vec<_>, _>>()?;
    let gold = row.choice("label", 1, 3)?;
    let context = format!("Q: {} {}\nA:", row.text("context")?, row.text("question")?);
    Ok(Example::shared(None, context, choices, gold))
}
