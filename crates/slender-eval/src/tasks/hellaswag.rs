//! HellaSwag: which of four endings follows, in captions of films and steps of instructions.
//!
//! The text is cleaned as in the original evaluation: WikiHow's markers (`[header]`, `[title]`, …)
//! go, and the second half of the context starts with a capital.

use super::{HubSource, Metric, Output, Paper, Read, Shots, Task, no_caveat, strip};
use crate::error::EvalError;
use crate::example::Example;
use crate::row::Row;

/// The validation split (the test labels are not public).
pub(super) static TASK: Task = Task {
    name: "hellaswag",
    title: "HellaSwag",
    folder: "hellaswag",
    split: "validation",
    file: None,
    output: Output::Choice,
    hub: HubSource {
        repo: "Rowan/hellaswag",
        config: None,
    },
    examples: 10042,
    chance: 0.25,
    version: 1.0,
    metrics: &[Metric::Acc, Metric::AccNorm],
    source: "HellaSwag, Zellers et al. 2019 (arXiv:1905.07830), MIT",
    fields: "activity_label, ctx_a, ctx_b, endings, label (0 to 3)",
    fixture: Some(include_str!("../../fixtures/hellaswag.jsonl")),
    read: Read::One(read),
    paper: Paper::Characters,
    shots: Shots::TrainOthers,
    caveat: no_caveat,
};

fn read(row: &Row<'_>) -> Result<Example, EvalError> {
    let endings = row.texts("endings")?;
    let gold = row.choice("label", 0, endings.len())?;
    let choices = endings.iter().map(|ending| clean(ending)).collect();
    let context = clean(&format!(
        "{}: {} {}",
        row.text("activity_label")?,
        row.text("ctx_a")?,
        capitalize(row.text("ctx_b")?)
    ));
    Ok(Example::shared(row.id("ind"), context, choices, gold))
}

/// Without surrounding space, ` [title]` as a full stop, other bracketed markers and doubled spaces gone.
fn clean(text: &str) -> String {
    let text = strip(text).replace(" [title]", ". ");
    drop_brackets(&text).replace("  ", " ")
}

/// Removes every shortest `[…]` that does not span a line break.
fn drop_brackets(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        let inside = &rest[open + 1..];
        match inside.find([']', '\n']) {
            Some(close) if inside.as_bytes()[close] == b']' => {
                kept.push_str(&rest[..open]);
                rest = &inside[close + 1..];
            }
            _ => {
                kept.push_str(&rest[..=open]);
                rest = inside;
            }
        }
    }
    kept.push_str(rest);
    kept
}

/// The first letter in upper case and **all others in lower case**, as Python's `str.capitalize`.
fn capitalize(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        None => String::new(),
        Some(first) => first.to_uppercase().collect::<String>() + &letters.as_str().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_and_doubled_spaces_go() {
        assert_eq!(
            clean(" [header] How to knit [title] Buy wool. [step] Two  needles [x"),
            " How to knit. Buy wool. Two needles [x"
        );
        assert_eq!(clean("a [b\nc] d [e]"), "a [b\nc] d ");
        assert_eq!(clean("[[a]]"), "]");
    }

    #[test]
    fn the_rest_of_the_second_half_loses_its_capitals() {
        assert_eq!(capitalize("the man in the USA"), "The man in the usa");
        assert_eq!(capitalize(""), "");
    }
}
