//! TriviaQA without evidence: an answer is generated greedily and compared with every alias.
//!
//! The answer ends at a line break, a full stop or a comma, also inside an alias; case and ASCII punctuation
//! are ignored. The question already ends in a question mark where it has one, and gets another.

use super::{HubSource, Metric, Output, Paper, Read, Shots, Task, no_caveat};
use crate::error::EvalError;
use crate::example::Example;
use crate::row::Row;

/// The validation split.
pub(super) static TASK: Task = Task {
    name: "triviaqa",
    title: "TriviaQA",
    folder: "triviaqa",
    split: "validation",
    file: None,
    output: Output::Answer,
    hub: HubSource {
        repo: "mandarjoshi/trivia_qa",
        config: Some("rc.nocontext"),
    },
    examples: 17944,
    chance: 0.0,
    version: 3.0,
    metrics: &[Metric::ExactMatch],
    source: "TriviaQA, Joshi et al. 2017 (arXiv:1705.03551), Apache-2.0",
    fields: "question, question_id, answer.aliases",
    fixture: None,
    read: Read::One(read),
    paper: Paper::None,
    shots: Shots::TrainOthers,
    caveat: no_caveat,
};

fn read(row: &Row<'_>) -> Result<Example, EvalError> {
    let aliases = row.strings("answer.aliases")?;
    if aliases.is_empty() {
        return Err(row.bad("answer.aliases", "is empty"));
    }
    let context = format!("Question: {}?\nAnswer:", row.text("question")?);
    Ok(Example::question(row.id("question_id"), context, aliases))
}
