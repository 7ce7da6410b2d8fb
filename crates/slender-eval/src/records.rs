//! What happened on each example, so that a score can be looked into and two models compared.

use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::EvalError;
use crate::example::{Contexts, Example};
use crate::metrics::{ChoiceScore, choose, exact_match, truth_share};
use crate::parquet_records;
use crate::tasks::Task;

/// One scored example; a line of the JSON-lines file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// The text of each choice; the accepted answers of a question.
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
    /// Whether `chosen` is right; for one continuation, whether it is greedy; for an answer, whether it matches.
    pub right: bool,
    /// Whether `chosen_norm` is right.
    pub right_norm: bool,
    /// Whether the context was cut or the continuation scored in windows, to fit the model.
    pub truncated: bool,
    /// Log-likelihood of each choice after `Answer:` alone, where the `paper` protocol asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconditional: Option<Vec<f64>>,
    /// The choice of the `paper` protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_paper: Option<usize>,
    /// Whether `chosen_paper` is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right_paper: Option<bool>,
    /// Which choices are true, where several are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truths: Option<Vec<bool>>,
    /// The share of probability that the true choices get, where several are true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truth_share: Option<f64>,
    /// Negative log-likelihood of the right choice per byte of its text, in bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits_per_byte: Option<f64>,
    /// Log-likelihood of the right choice less that of the likeliest wrong one, in nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// The generated answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<String>,
}

impl ExampleRecord {
    /// The record of an example with the scores of its choices, in order.
    pub fn new(
        task: &Task,
        doc_id: usize,
        example: &Example,
        scores: &[ChoiceScore],
        unconditional: Option<Vec<f64>>,
        truncated: bool,
    ) -> Self {
        let chosen = choose(example, scores, task.paper, unconditional.as_deref());
        let log_likelihoods: Vec<f64> = scores.iter().map(|s| s.log_likelihood).collect();
        let several = task.has_choices();
        let one = scores.first().is_some_and(|score| score.greedy);
        let right = |choice: usize| if several { choice == example.gold } else { one };
        let share = example.truths.as_ref();
        Self {
            log_likelihoods: log_likelihoods.clone(),
            greedy: scores.iter().map(|score| score.greedy).collect(),
            tokens: scores.iter().map(|score| score.tokens).collect(),
            chosen: chosen.plain,
            chosen_norm: chosen.per_character,
            right: right(chosen.plain),
            right_norm: right(chosen.per_character),
            unconditional,
            chosen_paper: chosen.paper,
            right_paper: chosen.paper.map(right),
            truth_share: share.map(|truths| truth_share(scores, truths)),
            bits_per_byte: bits_per_byte(example, &log_likelihoods),
            margin: several.then(|| margin(&log_likelihoods, example.gold)),
            ..Self::unscored(task, doc_id, example, truncated)
        }
    }

    /// The record of a question with the answer that was generated.
    pub fn answered(
        task: &Task,
        doc_id: usize,
        example: &Example,
        answer: String,
        truncated: bool,
    ) -> Self {
        let right = exact_match(&answer, &example.choices);
        Self {
            right,
            right_norm: right,
            generated: Some(answer),
            ..Self::unscored(task, doc_id, example, truncated)
        }
    }

    fn unscored(task: &Task, doc_id: usize, example: &Example, truncated: bool) -> Self {
        let (prompt, contexts) = match &example.contexts {
            Contexts::Shared(context) => (context.clone(), None),
            Contexts::PerChoice(contexts) => (common_start(contexts), Some(contexts.clone())),
        };
        Self {
            task: task.name.to_owned(),
            doc_id,
            id: example.id.clone(),
            prompt,
            choices: example.choices.clone(),
            contexts,
            continuations: example.continuations.clone(),
            characters: example.choices.iter().map(|c| c.chars().count()).collect(),
            bytes: example.choices.iter().map(String::len).collect(),
            gold: example.gold,
            truths: example.truths.clone(),
            truncated,
            ..Self::default()
        }
    }

    /// Whether another record is of the same example: same prompts, choices and right answer.
    pub fn same_example(&self, other: &Self) -> bool {
        let parts = |record: &Self| {
            (
                record.prompt.clone(),
                record.contexts.clone(),
                record.continuations.clone(),
                record.choices.clone(),
                record.gold,
            )
        };
        parts(self) == parts(other)
    }
}

/// Of the right choice, counted over its text without the delimiter.
fn bits_per_byte(example: &Example, log_likelihoods: &[f64]) -> Option<f64> {
    let text = example.continuations.get(example.gold)?.trim_start();
    let log_likelihood = log_likelihoods.get(example.gold)?;
    (!text.is_empty()).then(|| -log_likelihood / std::f64::consts::LN_2 / text.len() as f64)
}

fn margin(log_likelihoods: &[f64], gold: usize) -> f64 {
    let wrong = log_likelihoods
        .iter()
        .enumerate()
        .filter(|(i, _)| *i != gold);
    let best = wrong.map(|(_, x)| *x).fold(f64::NEG_INFINITY, f64::max);
    log_likelihoods[gold] - best
}

/// Writes records, as Parquet if the file is named so, else as JSON lines; whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write_records(path: &Path, records: &[ExampleRecord]) -> Result<(), EvalError> {
    let io = |source| EvalError::Io {
        verb: "write",
        path: path.to_owned(),
        source,
    };
    let mut part = path.as_os_str().to_owned();
    // Of its own process: the orphan of a killed sweep may write the same file now.
    part.push(format!(".part{}", std::process::id()));
    let part = Path::new(&part);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(io)?;
    }
    if is_parquet(path) {
        parquet_records::write(part, records)?;
    } else {
        let write = || -> std::io::Result<()> {
            let mut out = std::io::BufWriter::new(std::fs::File::create(part)?);
            for record in records {
                serde_json::to_writer(&mut out, record)?;
                out.write_all(b"\n")?;
            }
            out.flush()
        };
        write().map_err(io)?;
    }
    std::fs::rename(part, path).map_err(io)
}

/// Reads what [`write_records`] wrote.
///
/// # Errors
/// The file cannot be read, or a line of it is no record.
pub fn read_records(path: &Path) -> Result<Vec<ExampleRecord>, EvalError> {
    let bad = |place: String, message: String| EvalError::BadReport { place, message };
    if is_parquet(path) {
        let rows = crate::parquet_rows::read(path)?.into_iter().enumerate();
        return rows
            .map(|(i, row)| {
                serde_json::from_value(row)
                    .map_err(|e| bad(format!("{} row {}", path.display(), i + 1), e.to_string()))
            })
            .collect();
    }
    let text = std::fs::read_to_string(path).map_err(|source| EvalError::Io {
        verb: "read",
        path: path.to_owned(),
        source,
    })?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(i, line)| {
            serde_json::from_str(line)
                .map_err(|e| bad(format!("{}:{}", path.display(), i + 1), e.to_string()))
        })
        .collect()
}

fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "parquet")
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
