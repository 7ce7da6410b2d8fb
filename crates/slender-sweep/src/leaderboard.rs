//! Sweeps together: which variant is best under the same data and the same evaluation.
//!
//! Two numbers are ranked in one table only if they were measured alike: validation loss on the same
//! windows of the same prepared data, scores on the same questions with the same prompts as well. Everything else gets a
//! table of its own, and what sets the tables apart is said above them. Budgets may differ; they are
//! printed beside the numbers.

use crate::error::SweepError;
use crate::files::{check_format, io, read_optional, write_atomic};
use crate::format::{list, percent};
use crate::provenance::{EvalSettings, Provenance, Validation};
use crate::results::{RESULTS_FORMAT, SweepResults};
use serde::Serialize;
use serde_json::Value;
use slender_config::human_count;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Format name and version of `LEADERBOARD.json`.
pub const LEADERBOARD_FORMAT: &str = "slender-leaderboard/1";

/// A number with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ranked {
    /// The mean over seeds.
    pub mean: f64,
    /// Lower end of the 95 % interval.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

/// One variant of one sweep.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Place in its table, from 1, by validation loss in bits per byte, else by mean score.
    pub place: usize,
    /// The sweep.
    pub sweep: String,
    /// The variant.
    pub variant: String,
    /// Seeds that were trained.
    pub seeds: Vec<u64>,
    /// All parameters.
    pub params_total: Option<u64>,
    /// Tokens of one training.
    pub tokens: Option<u64>,
    /// FLOPs of one training.
    pub train_flops: Option<f64>,
    /// Validation loss in bits per byte.
    pub valid_bits_per_byte: Option<Ranked>,
    /// Mean accuracy over the tasks.
    pub average: Option<Ranked>,
    /// The same without BoolQ.
    pub average_without_boolq: Option<Ranked>,
    /// Commits that the programs were built from; `+` marks uncommitted changes.
    pub commits: Vec<String>,
}

/// Variants that were measured alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Board {
    /// Hash of the manifest of the prepared data.
    pub data_manifest: Option<String>,
    /// What the validation loss was measured on; `None` where that is not known.
    pub validation: Option<Validation>,
    /// How the tasks were evaluated; `None` where there are no scores.
    pub evaluation: Option<EvalSettings>,
    /// The variants, best first.
    pub entries: Vec<Entry>,
}

/// Every sweep that was read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Leaderboard {
    /// [`LEADERBOARD_FORMAT`].
    pub format: String,
    /// One table for each way of measuring.
    pub boards: Vec<Board>,
    /// Variants that are in no table, and why.
    pub left_out: Vec<String>,
    /// Files that could not be read, and the way out.
    pub warnings: Vec<String>,
}

/// Reads `results.json` of each folder; of a folder without one, those of its sub-folders.
///
/// # Errors
/// A folder without results, or nothing but files that cannot be read. One that cannot be among others is left
/// out with a warning.
pub fn leaderboard(dirs: &[PathBuf]) -> Result<Leaderboard, SweepError> {
    let mut files = Vec::new();
    for dir in dirs {
        let own = dir.join("results.json");
        if own.is_file() {
            files.push(own);
            continue;
        }
        if !dir.is_dir() {
            return Err(SweepError::NoResults { path: dir.clone() });
        }
        let entries = std::fs::read_dir(dir).map_err(|source| io("read", dir, source))?;
        let mut inner: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path().join("results.json")))
            .filter(|path| path.is_file())
            .collect();
        if inner.is_empty() {
            return Err(SweepError::NoResults { path: dir.clone() });
        }
        inner.sort();
        files.append(&mut inner);
    }
    let mut board = Leaderboard {
        format: LEADERBOARD_FORMAT.into(),
        boards: Vec::new(),
        left_out: Vec::new(),
        warnings: Vec::new(),
    };
    // A sweep may be named by itself and by its folder.
    let mut known = BTreeSet::new();
    files.retain(|file| known.insert(std::fs::canonicalize(file).unwrap_or_else(|_| file.clone())));
    let mut failed = Vec::new();
    for file in &files {
        if let Err(error) = add_sweep(file, &mut board) {
            failed.push(error);
        }
    }
    if failed.len() == files.len()
        && let Some(error) = failed.pop()
    {
        return Err(error);
    }
    board.warnings = failed.iter().map(SweepError::to_string).collect();
    for board in &mut board.boards {
        let key = |entry: &Entry| match (entry.valid_bits_per_byte, entry.average) {
            (Some(loss), _) => (0, loss.mean),
            (None, Some(score)) => (1, -score.mean),
            (None, None) => (2, 0.0),
        };
        board.entries.sort_by(|a, b| {
            let (a, b) = (key(a), key(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        });
        for (index, entry) in board.entries.iter_mut().enumerate() {
            entry.place = index + 1;
        }
    }
    Ok(board)
}

/// The way out of a results.json that cannot be read.
fn rewrite(path: &Path) -> String {
    let dir = path.parent().unwrap_or(path).display();
    format!("\n  hint: `slender sweep report {dir}` writes it anew")
}

fn add_sweep(path: &Path, board: &mut Leaderboard) -> Result<(), SweepError> {
    let text = read_optional(path)?.unwrap_or_default();
    let value: Value = serde_json::from_str(&text).map_err(|error| SweepError::Format {
        path: path.to_owned(),
        message: format!("not {RESULTS_FORMAT}: {error}{}", rewrite(path)),
    })?;
    let format = value.get("format").and_then(Value::as_str);
    if format == Some("slender-results/1") {
        return Err(SweepError::Format {
            path: path.to_owned(),
            message: format!(
                "the format is `slender-results/1`, which has no variants and no provenance{}",
                rewrite(path)
            ),
        });
    }
    check_format(path, format, RESULTS_FORMAT)?;
    let sweep = value["name"].as_str().unwrap_or("sweep").to_owned();
    let runs = value["runs"].as_array().cloned().unwrap_or_default();
    let mut stopped = 0;
    for variant in value["variants"].as_array().into_iter().flatten() {
        let name = variant["name"].as_str().unwrap_or_default().to_owned();
        let own: Vec<&Value> = runs
            .iter()
            .filter(|run| run["variant"] == variant["name"])
            .filter(|run| matches!(run["state"].as_str(), Some("finished" | "trained")))
            .collect();
        let sources: Vec<Provenance> = own
            .iter()
            .filter_map(|run| serde_json::from_value(run["provenance"].clone()).ok())
            .collect();
        let mut leave = |why: &str| board.left_out.push(format!("{sweep}, {name}: {why}"));
        let Some(first) = sources.first() else {
            let mut all = runs.iter().filter(|run| run["variant"] == variant["name"]);
            if !value["search"].is_null() && all.all(|run| run["state"] == "paused") {
                stopped += 1;
                continue;
            }
            leave("no run of it is trained");
            continue;
        };
        let alike = |other: &Provenance| {
            other.data_manifest == first.data_manifest
                && other.validation == first.validation
                && other.evaluation == first.evaluation
        };
        if !sources.iter().all(alike) {
            leave("its seeds were not measured alike");
            continue;
        }
        if first.data_manifest.is_none() {
            leave("its data is not known");
            continue;
        }
        let place = board.boards.iter().position(|known| {
            known.data_manifest == first.data_manifest
                && known.validation == first.validation
                && known.evaluation == first.evaluation
        });
        let place = place.unwrap_or_else(|| {
            board.boards.push(Board {
                data_manifest: first.data_manifest.clone(),
                validation: first.validation.clone(),
                evaluation: first.evaluation.clone(),
                entries: Vec::new(),
            });
            board.boards.len() - 1
        });
        let entry = entry(&sweep, name, variant, &own, &sources);
        board.boards[place].entries.push(entry);
    }
    if stopped > 0 {
        let variants = if stopped == 1 { "variant" } else { "variants" };
        board.left_out.push(format!(
            "{sweep}: {stopped} {variants} that the search did not train to the end"
        ));
    }
    Ok(())
}

fn entry(
    sweep: &str,
    name: String,
    variant: &Value,
    runs: &[&Value],
    sources: &[Provenance],
) -> Entry {
    let ranked = |key: &str| {
        let spread = &variant[key];
        Some(Ranked {
            mean: spread["mean"].as_f64()?,
            low: spread["low"].as_f64(),
            high: spread["high"].as_f64(),
        })
    };
    let seeds = variant["seeds"].as_array().into_iter().flatten();
    let commits: BTreeSet<String> = sources.iter().map(commit_words).collect();
    Entry {
        place: 0,
        sweep: sweep.to_owned(),
        variant: name,
        seeds: seeds.filter_map(Value::as_u64).collect(),
        params_total: variant["params_total"].as_u64(),
        tokens: runs.first().and_then(|run| run["tokens"].as_u64()),
        train_flops: variant["train_flops"].as_f64(),
        valid_bits_per_byte: ranked("valid_bits_per_byte"),
        average: ranked("average"),
        average_without_boolq: ranked("average_without_boolq"),
        commits: commits.into_iter().collect(),
    }
}

/// `validation: 65.5K tokens in windows of 128, `.
fn validation_words(validation: &Validation) -> String {
    let length = validation.seq_len;
    match (validation.tokens, validation.loss_tokens) {
        (Some(tokens), _) => {
            let tokens = human_count(tokens as f64);
            format!("validation: {tokens} tokens in windows of {length}, ")
        }
        (None, Some(0)) => format!("validation: all in windows of {length}, "),
        (None, Some(most)) => {
            let most = human_count(most as f64);
            format!("validation: at most {most} tokens in windows of {length}, ")
        }
        (None, None) => format!("validation: windows of {length}, "),
    }
}

fn commit_words(source: &Provenance) -> String {
    let commit = source.commit.as_deref().unwrap_or("not known");
    let short = commit.get(..8).filter(|_| source.commit.is_some());
    let dirty = if source.dirty == Some(true) { "+" } else { "" };
    format!("{}{dirty}", short.unwrap_or(commit))
}

impl EvalSettings {
    /// In words: protocol, shots, tasks and questions.
    pub(crate) fn words(&self) -> String {
        let counts: Vec<u64> = self
            .tasks
            .values()
            .filter_map(|task| task.examples)
            .collect();
        let questions: u64 = counts.iter().sum();
        let shots = self.num_fewshot.unwrap_or(0);
        let tasks = match self.tasks.len() {
            1 => "1 task".to_owned(),
            n => format!("{n} tasks"),
        };
        format!(
            "{}, {shots} shots, {tasks}, {questions} questions",
            self.protocol
        )
    }
}

impl Leaderboard {
    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut out = String::from(
            "# Leaderboard\n\nWritten by `slender sweep leaderboard`. Variants are ranked within a table, by validation loss in bits per byte; tables differ in data or evaluation, and their numbers do not compare. ± is half the 95 % interval of the mean over seeds; places inside each other's intervals are not established. `+` marks a program built from uncommitted changes.\n",
        );
        for (index, board) in self.boards.iter().enumerate() {
            let data = board.data_manifest.as_deref().unwrap_or("not known");
            let evaluation = match &board.evaluation {
                Some(settings) => settings.words(),
                None => "none".to_owned(),
            };
            let _ = write!(
                out,
                "\n## Table {}. Data {}, {}evaluation: {evaluation}\n\n| | sweep | variant | seeds | parameters | tokens | bits/byte | mean score (%) | w/o BoolQ (%) | commit |\n|---:|---|---|---:|---:|---:|---:|---:|---:|---|\n",
                index + 1,
                data.get(..12).unwrap_or(data),
                board
                    .validation
                    .as_ref()
                    .map_or_else(String::new, validation_words)
            );
            for entry in &board.entries {
                let show = |ranked: Option<Ranked>, show: &dyn Fn(f64) -> String| match ranked {
                    None => "–".to_owned(),
                    Some(Ranked {
                        mean,
                        low: Some(low),
                        high: Some(high),
                    }) => {
                        format!("{} ± {}", show(mean), show((high - low) / 2.0))
                    }
                    Some(ranked) => show(ranked.mean),
                };
                let loss = |value: f64| format!("{value:.3}");
                let count = |n: Option<u64>| n.map_or("–".into(), |n| human_count(n as f64));
                let _ = writeln!(
                    out,
                    "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                    entry.place,
                    crate::markdown::escape(&entry.sweep),
                    crate::markdown::escape(&entry.variant),
                    entry.seeds.len(),
                    count(entry.params_total),
                    count(entry.tokens),
                    show(entry.valid_bits_per_byte, &loss),
                    show(entry.average, &percent),
                    show(entry.average_without_boolq, &percent),
                    entry.commits.join(", ")
                );
            }
        }
        if !(self.left_out.is_empty() && self.warnings.is_empty()) {
            out.push_str("\n## Not ranked\n\n");
            for line in self.left_out.iter().chain(&self.warnings) {
                let _ = writeln!(out, "- {}", crate::markdown::escape(line));
            }
        }
        out
    }

    /// Writes `LEADERBOARD.md` and `LEADERBOARD.json` into `dir`; returns their paths.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<[PathBuf; 2], SweepError> {
        std::fs::create_dir_all(dir).map_err(|source| io("create", dir, source))?;
        let files = [dir.join("LEADERBOARD.md"), dir.join("LEADERBOARD.json")];
        write_atomic(&files[0], self.markdown().as_bytes())?;
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        write_atomic(&files[1], text.as_bytes())?;
        Ok(files)
    }
}

/// Where a sweep's numbers come from, a line each; runs that differ are said to.
pub(crate) fn provenance_words(results: &SweepResults) -> Vec<String> {
    let sources: Vec<&Provenance> = results
        .runs
        .iter()
        .map(|run| &run.provenance)
        .filter(|source| **source != Provenance::default())
        .collect();
    let distinct = |of: &dyn Fn(&Provenance) -> Option<String>| -> Vec<String> {
        let all: BTreeSet<String> = sources.iter().filter_map(|source| of(source)).collect();
        all.into_iter().collect()
    };
    let mut lines = Vec::new();
    let mut say = |what: &str, values: Vec<String>| match values.len() {
        0 => {}
        1..=4 => lines.push(format!("{what}: {}", list(&values))),
        n => lines.push(format!("{what}: {n} different ones")),
    };
    say("slender", distinct(&|s| s.version.clone()));
    say(
        "commit",
        distinct(&|s| s.commit.as_ref().map(|_| commit_words(s))),
    );
    say("data", distinct(&|s| s.data_manifest.clone()));
    say(
        "evaluation",
        distinct(&|s| Some(s.evaluation.as_ref()?.words())),
    );
    let seeds: BTreeSet<u64> = results.runs.iter().map(|run| run.seed).collect();
    if results.runs.iter().any(|run| run.variant != run.name) {
        let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
        say("seeds", vec![list(&seeds)]);
    }
    lines
}
