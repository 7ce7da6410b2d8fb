//! LAMBADA: the last word of a passage that one must have read to guess it.
//!
//! OpenAI's version, whose text is not tokenized. The context is everything before the last space.

use super::{HubSource, Metric, Output, Paper, Read, Shots, Task, no_caveat};
use crate::error::EvalError;
use crate::example::Example;
use crate::row::Row;

/// The test split.
pub(super) static TASK: Task = Task {
    name: "lambada_openai",
    title: "LAMBADA",
    folder: "lambada",
    split: "test",
    file: None,
    output: Output::Continuation,
    hub: HubSource {
        repo: "EleutherAI/lambada_openai",
        config: Some("default"),
    },
    examples: 5153,
    chance: 0.0,
    version: 1.0,
    metrics: &[Metric::Perplexity, Metric::Acc],
    source: "LAMBADA, Paperno et al. 2016 (arXiv:1606.06031), CC BY 4.0; OpenAI's version",
    fields: "text",
    fixture: None,
    read: Read::One(read),
    paper: Paper::None,
    shots: Shots::Own,
    caveat: no_caveat,
};

fn read(row: &Row<'_>) -> Result<Example, EvalError> {
    let text = row.text("text")?;
    let (context, word) = text.rsplit_once(' ').unwrap_or(("", text));
    Ok(Example::shared(
        None,
        context.to_owned(),
        vec![word.to_owned()],
        0,
    ))
}
