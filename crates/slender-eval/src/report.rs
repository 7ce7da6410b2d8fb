//! The result of an evaluation, in memory and as the file `slender-eval/1`.
//!
//! The JSON has the keys of lm-evaluation-harness (`results.<task>."acc,none"`, `versions`,
//! `n-samples`, …), so its readers read ours; what the harness has no place for stands beside them
//! under keys of our own. The table for people is in [`crate::table`].

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::answers::MAX_ANSWER;
use crate::data::{Content, Pool};
use crate::encode::{Fit, Tokenization};
use crate::error::EvalError;
use crate::fewshot::shots_of;
use crate::means::{Mean, averaged};
use crate::measure::{Extras, extras, measure};
use crate::metrics::{Estimate, PAPER_VERSION, mean_of};
use crate::plan::Plan;
use crate::records::ExampleRecord;
use crate::tasks::{self, HARNESS_VERSION, Metric, Output, Paper};

/// Name and version of the file format.
pub const FORMAT: &str = "slender-eval/1";

/// The settings that move scores, kept with every result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// First so many examples of each task, `null` for all.
    pub limit: Option<usize>,
    /// `hub`, `builtin` or a directory.
    pub data: String,
    /// Whether BOS stands before every context.
    pub add_bos: bool,
    /// The token that stands for an empty context.
    pub prefix_token: Option<u32>,
    /// Most tokens that the model reads; longer contexts lose their beginning.
    pub max_seq_len: usize,
    /// Input tokens of a batch (changes no score).
    pub batch_tokens: usize,
    /// Examples with their answers before each question, where the task's prompt is not fixed.
    #[serde(default)]
    pub num_fewshot: usize,
    /// Seed of their choice.
    #[serde(default)]
    pub fewshot_seed: u32,
    /// Tasks scored on another split than the harness's.
    #[serde(default)]
    pub splits: Vec<(String, String)>,
    /// The program, device and kernels that computed: others round otherwise.
    #[serde(default)]
    pub engine: String,
    /// The details of tokenization that move scores.
    #[serde(default)]
    pub tokenization: Tokenization,
}

/// The result of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskReport {
    /// Task name.
    pub task: String,
    /// Each metric with its standard error, in the task's order.
    pub metrics: Vec<(String, Estimate)>,
    /// Scores that the harness does not have.
    pub extras: Extras,
    /// The split that was scored.
    pub split: String,
    /// Examples with their answers in each prompt.
    pub num_fewshot: usize,
    /// Examples scored.
    pub examples: usize,
    /// Examples in the file.
    pub loaded: usize,
    /// Examples of the published split.
    pub published: usize,
    /// The harness's version of the task.
    pub version: f64,
    /// Whether a shipped slice was scored.
    pub fixture: bool,
    /// Accuracy expected of a uniform guess on the examples scored.
    pub chance: f64,
    /// File or repository.
    pub origin: String,
    /// BLAKE3 of the data file, in hex.
    pub data_blake3: String,
    /// Hash of every request and right answer of the whole split ([`tasks::digest`]).
    pub digest: String,
    /// How the data compares with the published split.
    pub content: Content,
    /// Where few-shot examples came from, where that is another split.
    pub pool: Option<Pool>,
    /// Examples whose context was cut to fit the model.
    pub truncated: usize,
    /// Examples with a continuation longer than the model, scored in windows.
    pub windows: usize,
    /// What a reader of the scores must know.
    pub warnings: Vec<String>,
}

impl TaskReport {
    pub(crate) fn new(plan: &Plan, records: &[ExampleRecord], num_fewshot: usize) -> Self {
        let (task, data) = (plan.task, &plan.data);
        let (truncated, windows) = (plan.fits(Fit::Truncated), plan.fits(Fit::Windows));
        let n = data.examples.len();
        let chances = data.examples.iter().map(|example| match &example.truths {
            Some(truths) => truths.iter().filter(|t| **t).count() as f64 / truths.len() as f64,
            None if task.has_choices() => 1.0 / example.choices.len() as f64,
            None => 0.0,
        });
        let mut warnings = data.warnings.clone();
        if truncated > 0 {
            warnings.push(format!(
                "{truncated} of {n} examples lost the beginning of a context to fit the model"
            ));
        }
        if windows > 0 {
            warnings.push(format!(
                "{windows} of {n} examples have a choice longer than the model, scored in windows \
                 (lm-evaluation-harness stops there)"
            ));
        }
        if task.output == Output::Answer && plan.answer_tokens < MAX_ANSWER {
            warnings.push(format!(
                "answers have at most {} tokens to fit the model, the harness's {MAX_ANSWER}",
                plan.answer_tokens
            ));
        }
        Self {
            task: task.name.to_owned(),
            metrics: measure(task, records),
            extras: extras(task, records),
            split: data.split.clone(),
            num_fewshot: shots_of(task, num_fewshot),
            examples: n,
            loaded: plan.loaded,
            published: task.examples,
            version: task.version,
            fixture: data.fixture,
            chance: chances.sum::<f64>() / n as f64,
            origin: data.origin.clone(),
            data_blake3: data.blake3.clone(),
            digest: data.digest.clone(),
            content: data.content,
            pool: data.pool.clone(),
            truncated,
            windows,
            warnings,
        }
    }

    /// A metric by name, where the task reports it.
    pub fn metric(&self, name: &str) -> Option<Estimate> {
        let found = self.metrics.iter().find(|(metric, _)| metric == name);
        found.map(|(_, estimate)| *estimate)
    }
}

/// The results of one model on some tasks.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalReport {
    /// What was evaluated, as the user named it.
    pub model: String,
    /// Training step of the checkpoint, where known.
    pub step: Option<u64>,
    /// Hash of the weights.
    pub weights_hash: String,
    /// Hash of the tokenizer.
    pub tokenizer_hash: String,
    /// Settings that move scores.
    pub settings: Settings,
    /// The release of lm-evaluation-harness that was followed.
    pub harness: String,
    /// The version of the `paper` protocol.
    pub paper_version: u64,
    /// One for each task, in the order they were asked for.
    pub tasks: Vec<TaskReport>,
    /// Means over tasks, with intervals.
    pub means: Vec<Mean>,
    /// Scores taken from the cache.
    pub reused: usize,
    /// Damaged cache entries that were found and computed again.
    pub damaged: usize,
    /// Seconds it took.
    pub elapsed_s: f64,
    /// Every example; not part of the JSON, see [`crate::write_records`].
    pub examples: Vec<ExampleRecord>,
}

impl EvalReport {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            model: String::new(),
            step: None,
            weights_hash: String::new(),
            tokenizer_hash: String::new(),
            settings,
            harness: HARNESS_VERSION.to_owned(),
            paper_version: PAPER_VERSION,
            tasks: Vec::new(),
            means: Vec::new(),
            reused: 0,
            damaged: 0,
            elapsed_s: 0.0,
            examples: Vec::new(),
        }
    }

    /// Says what was evaluated: its name, the training step and the hash of its weights.
    #[must_use]
    pub fn for_model(mut self, model: &str, step: Option<u64>, weights_hash: &str) -> Self {
        model.clone_into(&mut self.model);
        self.step = step;
        weights_hash.clone_into(&mut self.weights_hash);
        self
    }

    /// The result of a task, where it was run.
    pub fn task(&self, name: &str) -> Option<&TaskReport> {
        self.tasks.iter().find(|task| task.task == name)
    }

    /// Unweighted mean over the tasks that were run, BoolQ left out on request.
    ///
    /// For [`Metric::AccNorm`] a task without it counts with its `acc`. BoolQ is left out because its
    /// majority class is 62 %: small models score anything between 40 and 62 there by the balance of
    /// two words, and that noise dominates a mean over eight tasks.
    pub fn average(&self, metric: Metric, with_boolq: bool) -> Option<Estimate> {
        let scores: Option<Vec<Estimate>> = self
            .averaged(with_boolq)
            .map(|task| {
                task.metric(metric.name())
                    .or_else(|| task.metric(Metric::Acc.name()))
            })
            .collect();
        mean_of(&scores?)
    }

    /// See [`averaged`].
    fn averaged(&self, with_boolq: bool) -> impl Iterator<Item = &TaskReport> {
        let names: Vec<&str> = self.tasks.iter().map(|task| task.task.as_str()).collect();
        let counted: Vec<String> = averaged(&names)
            .into_iter()
            .filter(|name| with_boolq || *name != "boolq")
            .map(str::to_owned)
            .collect();
        self.tasks
            .iter()
            .filter(move |task| counted.contains(&task.task))
    }

    /// The report as JSON, in the form of `slender-eval/1`.
    pub fn to_json(&self) -> Value {
        let by_task = |value: &dyn Fn(&TaskReport) -> Value| -> Value {
            let pairs = self
                .tasks
                .iter()
                .map(|task| (task.task.clone(), value(task)));
            Value::Object(pairs.collect())
        };
        json!({
            "format": FORMAT,
            "model": self.model,
            "step": self.step,
            "weights_hash": self.weights_hash,
            "tokenizer_hash": self.tokenizer_hash,
            "results": by_task(&results_of),
            "average": self.average_json(true),
            "average_without_boolq": self.average_json(false),
            "n-samples": by_task(&|task| json!({
                "original": task.loaded, "effective": task.examples, "published": task.published,
            })),
            "n-shot": by_task(&|task| json!(task.num_fewshot)),
            "higher_is_better": by_task(&|task| {
                let better = |name: &str| Metric::of_name(name).is_none_or(Metric::higher_is_better);
                let names = task.metrics.iter().map(|(name, _)| (name.clone(), json!(better(name))));
                Value::Object(names.collect())
            }),
            "extras": by_task(&|task| extras_json(&task.extras)),
            "means": self.means,
            "splits": by_task(&|task| json!(task.split)),
            "versions": by_task(&|task| json!(task.version)),
            "fixture": by_task(&|task| json!(task.fixture)),
            "chance": by_task(&|task| json!(task.chance)),
            "data": by_task(&|task| json!({
                "origin": task.origin,
                "blake3": task.data_blake3,
                "digest": task.digest,
                "content": task.content,
            })),
            "fewshot_data": by_task(&|task| json!(task.pool)),
            "fitted": by_task(&|task| json!({"truncated": task.truncated, "windows": task.windows})),
            "warnings": by_task(&|task| json!(task.warnings)),
            "settings": self.settings,
            "protocol": {"name": "lm-eval", "version": self.harness},
            "protocols": {
                "lm-eval": {"version": self.harness, "keys": "results"},
                "paper": {"version": self.paper_version, "keys": "extras.<task>.paper", "normalised by": by_task(&|task| {
                    match tasks::find(&task.task).map(|task| task.paper) {
                        Ok(Paper::Characters) => json!("characters of the choice"),
                        Ok(Paper::Plain) => json!("nothing: every choice is scored by the same text"),
                        Ok(Paper::AfterAnswer) => json!("likelihood of the choice after \"Answer:\""),
                        _ => Value::Null,
                    }
                })},
            },
            "cache": {"reused": self.reused, "damaged": self.damaged},
            "elapsed_s": self.elapsed_s,
        })
    }

    fn average_json(&self, with_boolq: bool) -> Value {
        let mut map = Map::new();
        for metric in [Metric::Acc, Metric::AccNorm] {
            if let Some(estimate) = self.average(metric, with_boolq) {
                map.insert(metric.name().to_owned(), json!(estimate.value));
                map.insert(format!("{}_stderr", metric.name()), json!(estimate.stderr));
            }
        }
        let names: Vec<&str> = self
            .averaged(with_boolq)
            .map(|task| task.task.as_str())
            .collect();
        map.insert("tasks".to_owned(), json!(names));
        Value::Object(map)
    }

    /// Writes the JSON, whole or not at all.
    ///
    /// # Errors
    /// The file or its folder cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), EvalError> {
        let write = || -> std::io::Result<()> {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let mut text = serde_json::to_string_pretty(&self.to_json())?;
            text.push('\n');
            // Of its own process: the orphan of a killed sweep may write the same file now.
            let part = path.with_extension(format!("json.part{}", std::process::id()));
            std::fs::write(&part, text)?;
            std::fs::rename(&part, path)
        };
        write().map_err(|source| EvalError::Io {
            verb: "write",
            path: path.to_owned(),
            source,
        })
    }

    /// Reads what [`EvalReport::write`] wrote, without the examples.
    ///
    /// # Errors
    /// The file cannot be read, is another format or version, or lacks a part.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let text = std::fs::read_to_string(path).map_err(|source| EvalError::Io {
            verb: "read",
            path: path.to_owned(),
            source,
        })?;
        let bad = |message: String| EvalError::BadReport {
            place: path.display().to_string(),
            message,
        };
        let value: Value = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        Self::from_json(&value).map_err(bad)
    }

    /// Reads the form of [`EvalReport::to_json`]; the error says what is wrong.
    ///
    /// # Errors
    /// Another format or version, or a part that is missing.
    pub fn from_json(value: &Value) -> Result<Self, String> {
        let format = value["format"].as_str().unwrap_or("no format");
        if format != FORMAT {
            return Err(format!("it is {format}, this program reads {FORMAT}"));
        }
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let results = value["results"].as_object().ok_or("`results` is missing")?;
        let settings = Settings::deserialize(&value["settings"])
            .map_err(|error| format!("`settings`: {error}"))?;
        let tasks = results
            .iter()
            .map(|(name, result)| task_from_json(value, name, result))
            .collect::<Result<Vec<_>, String>>()?;
        Ok(Self {
            model: text("model"),
            step: value["step"].as_u64(),
            weights_hash: text("weights_hash"),
            tokenizer_hash: text("tokenizer_hash"),
            settings,
            harness: value["protocol"]["version"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            paper_version: value["protocols"]["paper"]["version"].as_u64().unwrap_or(1),
            tasks,
            means: Vec::<Mean>::deserialize(&value["means"]).unwrap_or_default(),
            reused: 0,
            damaged: 0,
            elapsed_s: value["elapsed_s"].as_f64().unwrap_or(0.0),
            examples: Vec::new(),
        })
    }
}

fn extras_json(extras: &Extras) -> Value {
    let mut map = Map::new();
    let named = [
        ("paper", extras.paper),
        ("bits_per_byte", extras.bits_per_byte),
        ("margin", extras.margin),
    ];
    for (name, estimate) in named {
        if let Some(estimate) = estimate {
            map.insert(name.to_owned(), json!(estimate.value));
            map.insert(format!("{name}_stderr"), json!(estimate.stderr));
        }
    }
    Value::Object(map)
}

/// `{"alias": …, "acc,none": …, "acc_stderr,none": …}`; an unknown error is `"N/A"` as in the harness.
fn results_of(task: &TaskReport) -> Value {
    let mut map = Map::new();
    map.insert("alias".to_owned(), json!(task.task));
    for (name, estimate) in &task.metrics {
        let stderr = estimate.stderr.map_or(json!("N/A"), |stderr| json!(stderr));
        map.insert(format!("{name},none"), json!(estimate.value));
        map.insert(format!("{name}_stderr,none"), stderr);
    }
    Value::Object(map)
}

fn task_from_json(report: &Value, name: &str, result: &Value) -> Result<TaskReport, String> {
    let missing = |key: &str| format!("`{key}` of task {name} is missing");
    let count = |key: &str, of: &str| {
        let number = report[key][name][of].as_u64();
        number.map_or_else(|| Err(missing(key)), |n| Ok(n as usize))
    };
    let number = |key: &str| report[key][name].as_f64().ok_or_else(|| missing(key));
    let origin = |key: &str| {
        report["data"][name][key]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let fitted = |key: &str| report["fitted"][name][key].as_u64().unwrap_or(0) as usize;
    let metrics = result
        .as_object()
        .ok_or_else(|| missing("results"))?
        .iter()
        .filter_map(|(key, value)| {
            let metric = key.strip_suffix(",none")?;
            let is_error = metric.ends_with("_stderr");
            let estimate = Estimate {
                value: value.as_f64()?,
                stderr: result[format!("{metric}_stderr,none")].as_f64(),
            };
            (!is_error).then(|| (metric.to_owned(), estimate))
        })
        .collect();
    let extra = |key: &str| {
        let extras = &report["extras"][name];
        let value = extras[key].as_f64()?;
        let stderr = extras[format!("{key}_stderr")].as_f64();
        Some(Estimate { value, stderr })
    };
    let warnings = report["warnings"][name].as_array();
    Ok(TaskReport {
        task: name.to_owned(),
        metrics,
        extras: Extras {
            paper: extra("paper"),
            bits_per_byte: extra("bits_per_byte"),
            margin: extra("margin"),
        },
        split: report["splits"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        num_fewshot: report["n-shot"][name].as_u64().unwrap_or(0) as usize,
        examples: count("n-samples", "effective")?,
        loaded: count("n-samples", "original")?,
        published: count("n-samples", "published")?,
        version: number("versions")?,
        fixture: report["fixture"][name]
            .as_bool()
            .ok_or_else(|| missing("fixture"))?,
        chance: number("chance")?,
        origin: origin("origin"),
        data_blake3: origin("blake3"),
        digest: origin("digest"),
        content: Content::deserialize(&report["data"][name]["content"]).unwrap_or_default(),
        pool: Option::<Pool>::deserialize(&report["fewshot_data"][name]).unwrap_or_default(),
        truncated: fitted("truncated"),
        windows: fitted("windows"),
        warnings: warnings
            .into_iter()
            .flatten()
            .filter_map(|warning| warning.as_str().map(str::to_owned))
            .collect(),
    })
}

#[cfg(test)]
mod tests;
