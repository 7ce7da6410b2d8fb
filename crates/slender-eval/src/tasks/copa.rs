//! COPA: which of two sentences is the cause or the effect of a premise.
//!
//! The premise loses its full stop and gains a connector; the choices start in lower case. Two spaces stand
//! before a choice, the delimiter's and the harness's own.

use super::{HubSource, Metric, Output, Paper, Read, Shots, Task, no_caveat, strip};
use crate::error::EvalError;
use crate::example::Example;
use crate::row::Row;

/// The validation split of the SuperGLUE copy.
pub(super) static TASK: Task = Task {
    name: "copa",
    title: "COPA",
    folder: "copa",
    split: "validation",
    file: None,
    output: Output::Choice,
    hub: HubSource {
        repo: "aps/super_glue",
        config: Some("copa"),
    },
    examples: 100,
    chance: 0.5,
    version: 1.0,
    metrics: &[Metric::Acc],
    source: "COPA, Roemmele et al. 2011, BSD-2-Clause; in SuperGLUE's form",
    fields: "premise, choice1, choice2, question (cause or effect), label (0 or 1)",
    fixture: None,
    read: Read::One(read),
    paper: Paper::None,
    shots: Shots::TrainOthers,
    caveat: no_caveat,
};

fn read(row: &Row<'_>) -> Result<Example, EvalError> {
    let connector = match row.text("question")? {
        "cause" => "because",
        "effect" => "therefore",
        _ => return Err(row.bad("question", "is neither `cause` nor `effect`")),
    };
    let premise = strip(row.text("premise")?);
    let premise = match premise.char_indices().last() {
        Some((last, _)) => &premise[..last],
        None => return Err(row.bad("premise", "is empty")),
    };
    let choices = ["choice1", "choice2"]
        .into_iter()
        .map(|field| Ok(format!(" {}", uncapitalize(row.text(field)?))))
        .collect::<Result<Vec<_>, EvalError>>()?;
    let gold = row.choice("label", 0, 2)?;
    let context = format!("{premise} {connector}");
    Ok(Example::shared(row.id("idx"), context, choices, gold))
}

/// The first letter in lower case, the rest as it is.
fn uncapitalize(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().collect::<String>() + letters.as_str()
    })
}
