//! CommonsenseQA: the five choices stand in the prompt and the letter is scored.

use super::{HubSource, Metric, Output, Paper, Read, Shots, Task, no_caveat, strip};
use crate::error::EvalError;
use crate::example::Example;
use crate::row::Row;

/// The validation split (the test labels are not public).
pub(super) static TASK: Task = Task {
    name: "commonsense_qa",
    title: "CommonsenseQA",
    folder: "commonsense_qa",
    split: "validation",
    file: None,
    output: Output::Choice,
    hub: HubSource {
        repo: "tau/commonsense_qa",
        config: None,
    },
    examples: 1221,
    chance: 0.2,
    version: 0.0,
    metrics: &[Metric::Acc],
    source: "CommonsenseQA, Talmor et al. 2019 (arXiv:1811.00937), MIT",
    fields: "id, question, choices.text, choices.label, answerKey",
    fixture: None,
    read: Read::One(read),
    paper: Paper::None,
    shots: Shots::TrainOthers,
    caveat: no_caveat,
};

fn read(row: &Row<'_>) -> Result<Example, EvalError> {
    const LETTERS: [&str; 5] = ["A", "B", "C", "D", "E"];
    let texts = row.texts("choices.text")?;
    if texts.len() < LETTERS.len() {
        return Err(row.bad("choices.text", "has fewer than five entries"));
    }
    let mut context = format!("Question: {}\n", strip(row.text("question")?));
    for (letter, text) in LETTERS.iter().zip(&texts) {
        context += &format!("{letter}. {text}\n");
    }
    context += "Answer:";
    let answer = row.text("answerKey")?;
    let gold = LETTERS
        .iter()
        .position(|letter| *letter == answer)
        .ok_or_else(|| {
            row.bad(
                "answerKey",
                format!("is {answer:?}, not a letter from A to E"),
            )
        })?;
    let choices = LETTERS.map(str::to_owned).to_vec();
    Ok(Example::shared(row.id("id"), context, choices, gold))
}
