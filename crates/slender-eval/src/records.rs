//! What happened on each example, so that a score can be looked into and two models compared.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::read_text;
use crate::error::EvalError;
use crate::example::{Contexts, Example};
use crate::metrics::{ChoiceScore, choose, exact_match, truth_share};
use crate::parquet_records;
use crate::tasks::{self, Output, Paper, Task};

/// Name and version of the form of a record. Version 1 had no such field, and divided WinoGrande's
/// log-likelihoods for `chosen_paper` by the lengths of the contexts.
pub const RECORD_FORMAT: &str = "slender-examples/2";

/// One scored example; a line of the JSON-lines file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExampleRecord {
    /// [`RECORD_FORMAT`]; empty in files of version 1.
    #[serde(default)]
    pub format: String,
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
            bits_per_byte: bits_per_byte(task, example, &log_likelihoods),
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
            format: RECORD_FORMAT.to_owned(),
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

/// Of the right choice, counted over its text without the delimiter; of a whole text, over the text as the file
/// has it, as the task's own metric counts.
fn bits_per_byte(task: &Task, example: &Example, log_likelihoods: &[f64]) -> Option<f64> {
    let text = if task.output == Output::Text {
        example.choices.get(example.gold)?.as_str()
    } else {
        example.continuations.get(example.gold)?.trim_start()
    };
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

/// Whether records can be written to `path`: before hours of scoring, not after them.
///
/// # Errors
/// A directory, an ending that is none of the two forms', or a folder that cannot be written.
pub fn check_records_file(path: &Path) -> Result<(), EvalError> {
    let bad = |problem: &str, hint: &str| {
        EvalError::Output(format!("{} {problem}\n  hint: {hint}", path.display()))
    };
    if path.is_dir() {
        return Err(bad(
            "is a directory",
            "name a file in it, such as examples.parquet",
        ));
    }
    let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
    let known = ["parquet", "jsonl", "ndjson"];
    if !ending.is_some_and(|ending| known.iter().any(|known| ending == *known)) {
        return Err(bad(
            "has no ending that says its form",
            "name it .parquet for Parquet or .jsonl for JSON lines",
        ));
    }
    let part = part_of(path);
    let write = || -> std::io::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::File::create(&part)?;
        std::fs::remove_file(&part)
    };
    write().map_err(|error| {
        bad(
            &format!("cannot be written: {error}"),
            "name a file in a folder that you can write",
        )
    })
}

/// The temporary name of a file, of this process: the orphan of a killed sweep may write the same file now.
fn part_of(path: &Path) -> PathBuf {
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".part{}", std::process::id()));
    PathBuf::from(part)
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
    let part = part_of(path);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(io)?;
    }
    let lines = || -> std::io::Result<()> {
        let mut out = std::io::BufWriter::new(std::fs::File::create(&part)?);
        for record in records {
            serde_json::to_writer(&mut out, record)?;
            out.write_all(b"\n")?;
        }
        out.flush()
    };
    let written = if is_parquet(path) {
        parquet_records::write(&part, records)
    } else {
        lines().map_err(io)
    };
    let written = written.and_then(|()| std::fs::rename(&part, path).map_err(io));
    if written.is_err() {
        // Half a file serves nobody; that it cannot be removed either is the smaller trouble.
        let _ = std::fs::remove_file(&part);
    }
    written
}

/// Reads what [`write_records`] wrote, and checks that it can be what an evaluation wrote.
///
/// # Errors
/// The file cannot be read, a line of it is no record or does not fit together, or an example stands twice.
pub fn read_records(path: &Path) -> Result<Vec<ExampleRecord>, EvalError> {
    let bad = |place: String, message: String| EvalError::BadReport { place, message };
    let mut records: Vec<ExampleRecord> = Vec::new();
    let mut places: HashMap<(String, usize), String> = HashMap::new();
    let mut add = |place: String, record: Result<ExampleRecord, String>| {
        let record = record.and_then(|mut record| {
            record.check()?;
            record.renew();
            Ok(record)
        });
        let record = record.map_err(|message| bad(place.clone(), message))?;
        let key = (record.task.clone(), record.doc_id);
        if let Some(first) = places.insert(key, place.clone()) {
            return Err(bad(
                place,
                format!(
                    "example {} of {} stands twice, first at {first}\n  hint: keep the examples of one evaluation in a file",
                    record.doc_id, record.task
                ),
            ));
        }
        records.push(record);
        Ok(())
    };
    if is_parquet(path) {
        for (i, row) in crate::parquet_rows::read(path)?.into_iter().enumerate() {
            let record = serde_json::from_value(row).map_err(|error| error.to_string());
            add(format!("{} row {}", path.display(), i + 1), record)?;
        }
        return Ok(records);
    }
    let text = read_text(path)?;
    let last = text.lines().count();
    for (i, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let cut = i + 1 == last && !text.ends_with('\n');
        let record = serde_json::from_str(line).map_err(|error| {
            if cut {
                format!("{error}\n  hint: the file is cut short; copy it again, or write it with --samples")
            } else {
                format!("{error}\n  hint: files of `slender eval --samples` have one example a line")
            }
        });
        add(format!("{}:{}", path.display(), i + 1), record)?;
    }
    Ok(records)
}

impl ExampleRecord {
    /// Whether its parts fit together as an evaluation makes them; the error says which do not.
    fn check(&self) -> Result<(), String> {
        if !["", RECORD_FORMAT].contains(&self.format.as_str()) {
            return Err(format!(
                "it is {}, this program reads {RECORD_FORMAT}",
                self.format
            ));
        }
        let n = self.continuations.len();
        if let Some(task) = tasks::list().iter().find(|task| task.name == self.task) {
            let answered = task.output == Output::Answer;
            if answered != self.generated.is_some() {
                let has = if answered { "has no" } else { "has a" };
                return Err(format!("an example of {} {has} `generated`", self.task));
            }
        }
        if self.generated.is_some() {
            return match self.choices.is_empty() {
                true => Err("`choices` names no accepted answer".to_owned()),
                false => Ok(()),
            };
        }
        if n == 0 {
            return Err("`continuations` is empty".to_owned());
        }
        let lengths = [
            ("choices", Some(self.choices.len())),
            ("contexts", self.contexts.as_ref().map(Vec::len)),
            ("log_likelihoods", Some(self.log_likelihoods.len())),
            ("greedy", Some(self.greedy.len())),
            ("tokens", Some(self.tokens.len())),
            ("characters", Some(self.characters.len())),
            ("bytes", Some(self.bytes.len())),
            ("unconditional", self.unconditional.as_ref().map(Vec::len)),
            ("truths", self.truths.as_ref().map(Vec::len)),
        ];
        for (name, length) in lengths {
            if let Some(length) = length.filter(|length| *length != n) {
                return Err(format!(
                    "`{name}` has {length} entries for {n} continuations"
                ));
            }
        }
        let indices = [
            ("gold", Some(self.gold)),
            ("chosen", Some(self.chosen)),
            ("chosen_norm", Some(self.chosen_norm)),
            ("chosen_paper", self.chosen_paper),
        ];
        for (name, index) in indices {
            if let Some(index) = index.filter(|index| *index >= n) {
                return Err(format!(
                    "`{name}` is {index}, which names none of {n} choices"
                ));
            }
        }
        let foreign = |context: &String| !context.starts_with(&self.prompt);
        if self.contexts.iter().flatten().any(foreign) {
            return Err("a context in `contexts` does not begin with `prompt`".to_owned());
        }
        Ok(())
    }

    /// Brings a record of an earlier version up to date.
    fn renew(&mut self) {
        if self.format.is_empty() {
            let plain = tasks::find(&self.task).is_ok_and(|task| task.paper == Paper::Plain);
            if plain && self.chosen_paper.is_some() {
                self.chosen_paper = Some(self.chosen);
                self.right_paper = Some(self.right);
            }
            RECORD_FORMAT.clone_into(&mut self.format);
        }
    }
}

fn is_parquet(path: &Path) -> bool {
    path.extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"))
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
mod tests;
