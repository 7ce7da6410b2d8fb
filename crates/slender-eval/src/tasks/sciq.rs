//! SciQ: science questions with a supporting paragraph, four choices, the right one last.

use super::{HubSource, Metric, Output, Paper, Read, Shots, Task, no_caveat};
use crate::error::EvalError;
use crate::example::Example;
use crate::row::Row;

/// The test split.
pub(super) static TASK: Task = Task {
    name: "sciq",
    title: "SciQ",
    folder: "sciq",
    split: "test",
    file: None,
    output: Output::Choice,
    hub: HubSource {
        repo: "allenai/sciq",
        config: None,
    },
    examples: 1000,
    chance: 0.25,
    version: 1.0,
    metrics: &[Metric::Acc, Metric::AccNorm],
    source: "SciQ, Welbl et al. 2017 (arXiv:1707.06209), CC BY-NC 3.0",
    fields: "support, question, distractor1, distractor2, distractor3, correct_answer",
    fixture: None,
    read: Read::One(read),
    paper: Paper::None,
    shots: Shots::Train,
    caveat: no_caveat,
};

fn read(row: &Row<'_>) -> Result<Example, EvalError> {
    let choices = [
        "distractor1",
        "distractor2",
        "distractor3",
        "correct_answer",
    ]
    .into_iter()
    .map(|field| row.text(field).map(str::to_owned))
    .collect::<Result<Vec<_>, _>>()?;
    let support = row.text("support")?.trim_start_matches(super::is_space);
    let context = format!("{support}\nQuestion: {}\nAnswer:", row.text("question")?);
    Ok(Example::shared(None, context, choices, 3))
}
