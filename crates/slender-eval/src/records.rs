//! What happened on each example, so that a score can be looked into and two models compared.

use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::EvalError;
use crate::example::{Contexts, Example};
use crate::metrics::{ChoiceScore, Chosen};

/// One scored example; a line of the JSON-lines file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExampleRecord {
    /// Task name.
    pub task: String,
    /// Index in the task's file, from 0, as the harness's `doc_id`.
    pub doc_id: usize,
    /// The data set's own name for the example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The context; where each choice has its own, the part that they share at the start.
    pub prompt: String,
    /// The text of each choice.
    pub choices: Vec<String>,
    /// The context of each choice, only where they differ (WinoGrande).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contexts: Option<Vec<String>>,
    /// The scored text of each choice, delimiter included.
    pub continuations: Vec<String>,
    /// Log-likelihood of each choice in nats.
    pub log_likelihoods: Vec<f64>,
    /// Whether greedy decoding would give exactly this choice.
    pub greedy: Vec<bool>,
    /// Scored tokens of each choice.
    pub tokens: Vec<usize>,
    /// Length of each choice in Unicode code points, the divisor of `acc_norm`.
    pub characters: Vec<usize>,
    /// Length of each choice in UTF-8 bytes.
    pub bytes: Vec<usize>,
    /// Index of the right choice.
    pub gold: usize,
    /// Index of the choice with the highest log-likelihood.
    pub chosen: usize,
    /// Index of the choice with the highest log-likelihood per character.
    pub chosen_norm: usize,
    /// Whether `chosen` is right.
    pub right: bool,
    /// Whether `chosen_norm` is right.
    pub right_norm: bool,
    /// Whether the context was cut or the continuation scored in windows, to fit the model.
    pub truncated: bool,
}

impl ExampleRecord {
    /// The record of an example with the scores of its choices, in order.
    pub fn new(
        task: &str,
        doc_id: usize,
        example: &Example,
        scores: &[ChoiceScore],
        chosen: Chosen,
        truncated: bool,
    ) -> Self {
        let (prompt, contexts) = match &example.contexts {
            Contexts::Shared(context) => (context.clone(), None),
            Contexts::PerChoice(contexts) => (common_start(contexts), Some(contexts.clone())),
        };
        Self {
            task: task.to_owned(),
            doc_id,
            id: example.id.clone(),
            prompt,
            choices: example.choices.clone(),
            contexts,
            continuations: example.continuations.clone(),
            log_likelihoods: scores.iter().map(|score| score.log_likelihood).collect(),
            greedy: scores.iter().map(|score| score.greedy).collect(),
            tokens: scores.iter().map(|score| score.tokens).collect(),
            characters: example.choices.iter().map(|c| c.chars().count()).collect(),
            bytes: example.choices.iter().map(String::len).collect(),
            gold: example.gold,
            chosen: chosen.plain,
            chosen_norm: chosen.per_character,
            right: chosen.plain == example.gold,
            right_norm: chosen.per_character == example.gold,
            truncated,
        }
    }
}

/// Writes records as JSON lines.
///
/// # Errors
/// The file cannot be written.
pub fn write_records(path: &Path, records: &[ExampleRecord]) -> Result<(), EvalError> {
    let write = || -> std::io::Result<()> {
        let mut out = std::io::BufWriter::new(std::fs::File::create(path)?);
        for record in records {
            serde_json::to_writer(&mut out, record)?;
            out.write_all(b"\n")?;
        }
        out.flush()
    };
    write().map_err(|source| EvalError::Io {
        verb: "write",
        path: path.to_owned(),
        source,
    })
}

/// The longest common start of the texts.
fn common_start(texts: &[String]) -> String {
    let Some(first) = texts.first() else {
        return String::new();
    };
    first
        .char_indices()
        .map(|(i, c)| &first[..i + c.len_utf8()])
        .take_while(|start| texts.iter().all(|text| text.starts_with(start)))
        .last()
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_start_stops_at_a_character() {
        let start =
            |texts: &[&str]| common_start(&texts.iter().map(|&t| t.to_owned()).collect::<Vec<_>>());
        assert_eq!(start(&["so Sarah", "so Maria"]), "so ");
        assert_eq!(start(&["é", "è"]), "");
        assert_eq!(start(&["same", "same"]), "same");
        assert_eq!(start(&[]), "");
    }
}
