//! Metrics of a run: JSON lines for programs, TensorBoard events for people.
//!
//! A resumed run first drops every line after its checkpoint, so the file always reads as if the
//! run had never stopped.

use crate::error::TrainError;
use crate::rundir::{RunDir, write_atomic};
use crate::tensorboard::EventWriter;
use serde_json::{Map, Value, json};
use std::io::Write;

/// Format of `metrics.jsonl`.
pub const METRICS_FORMAT: &str = "slender-metrics/1";

/// Score of one zero-shot task during training.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskMetric {
    /// Task name.
    pub task: String,
    /// Metric name and value, such as `acc` and `acc_stderr`.
    pub values: Vec<(String, f64)>,
    /// Examples scored.
    pub examples: usize,
}

/// Appends to `metrics.jsonl` and to a TensorBoard event file.
#[derive(Debug)]
pub struct MetricsWriter {
    dir: RunDir,
    file: std::fs::File,
    events: EventWriter,
}

impl MetricsWriter {
    /// Opens the metrics of `dir` for a run that continues after `step`, dropping later lines.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(dir: &RunDir, step: u64) -> Result<Self, TrainError> {
        let path = dir.metrics();
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        let mut kept = format!("{}\n", json!({ "format": METRICS_FORMAT }));
        for line in old.lines().skip(1) {
            // A line cut short by a kill does not parse and is dropped as well.
            let value = serde_json::from_str::<Value>(line).ok();
            let value = value.as_ref();
            let at = value.and_then(|v| v.get("step")?.as_u64());
            // What a pause measured has been decided upon since, and is not measured again.
            let pause = value.is_some_and(|v| v["kind"] == "pause");
            if at.is_some_and(|at| at <= step || pause) {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        write_atomic(&path, kept.as_bytes())?;
        let open = std::fs::OpenOptions::new().append(true).open(&path);
        let file = open.map_err(|source| TrainError::Io { file: path, source })?;
        let events = EventWriter::create(&dir.tensorboard(), step)?;
        Ok(Self {
            dir: dir.clone(),
            file,
            events,
        })
    }

    /// Writes one line of `kind` with its `values`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write(
        &mut self,
        kind: &str,
        step: u64,
        tokens: u64,
        values: &[(&str, f64)],
    ) -> Result<(), TrainError> {
        let mut line = head(kind, step, tokens);
        for (name, value) in values {
            let count = name.ends_with("_tokens");
            let value = if count {
                json!(*value as u64)
            } else {
                json!(value)
            };
            line.insert((*name).to_owned(), value);
        }
        self.line(&line)?;
        let scalars: Vec<(String, f64)> = values
            .iter()
            .map(|(name, value)| (format!("{kind}/{name}"), *value))
            .collect();
        self.events.scalars(step, &scalars)
    }

    /// Writes the scores of one task.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write_task(
        &mut self,
        step: u64,
        tokens: u64,
        metric: &TaskMetric,
    ) -> Result<(), TrainError> {
        let mut line = head("task", step, tokens);
        line.insert("task".into(), json!(metric.task));
        for (name, value) in &metric.values {
            line.insert(name.clone(), json!(value));
        }
        line.insert("examples".into(), json!(metric.examples));
        self.line(&line)?;
        let scalars: Vec<(String, f64)> = metric
            .values
            .iter()
            .map(|(name, value)| (format!("task/{}/{name}", metric.task), *value))
            .collect();
        self.events.scalars(step, &scalars)
    }

    fn line(&mut self, line: &Map<String, Value>) -> Result<(), TrainError> {
        let mut text = serde_json::to_string(line).unwrap_or_default();
        text.push('\n');
        // One write call per line, so that a reader never meets half of one.
        self.file
            .write_all(text.as_bytes())
            .map_err(|source| TrainError::Io {
                file: self.dir.metrics(),
                source,
            })
    }
}

/// Loss and bits per byte that the pause at `step` measured, if there was one.
pub(crate) fn pause_at(dir: &RunDir, step: u64) -> Option<(f64, f64)> {
    let text = std::fs::read_to_string(dir.metrics()).ok()?;
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut pauses = lines.filter(|line| line["kind"] == "pause" && line["step"] == step);
    let line = pauses.next()?;
    Some((line["loss"].as_f64()?, line["bits_per_byte"].as_f64()?))
}

fn head(kind: &str, step: u64, tokens: u64) -> Map<String, Value> {
    let mut line = Map::new();
    line.insert("kind".into(), json!(kind));
    line.insert("step".into(), json!(step));
    line.insert("tokens".into(), json!(tokens));
    line
}
