//! Evaluation: load, tokenize, score, count.
//!
//! All data is loaded and tokenized before anything is scored, so a missing file costs seconds and not the
//! hours of the tasks before it, and the time left is that of all tasks. Tasks are scored one after another;
//! within a task everything shares batches.

use std::path::PathBuf;
use std::time::Instant;

use crate::answers::{Bounds, answer};
use crate::cache::{CacheKey, RowCache};
use crate::data::{Altered, DataSource, TaskData};
use crate::encode::{Fit, Tokenization};
use crate::error::EvalError;
use crate::fewshot::{self, add_shots, shots_of};
use crate::means::means;
use crate::metrics::ChoiceScore;
use crate::model::{LanguageModel, RowScore, ScoreRow, TextEncoder};
use crate::plan::{Encoded, Plan};
use crate::records::ExampleRecord;
use crate::report::{EvalReport, Settings, TaskReport};
use crate::score::{score_rows_cached, total};
use crate::tasks::{HARNESS_VERSION, Output, Task};

/// What is evaluated and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalOptions {
    /// At most the first so many examples of each task, as the harness's `--limit`; `None` for all.
    pub limit: Option<usize>,
    /// Where the examples come from.
    pub data: DataSource,
    /// Tasks that are scored on another split than the harness's: `(task, split)`.
    pub splits: Vec<(String, String)>,
    /// What to do with examples that are not the published ones.
    pub altered: Altered,
    /// Examples with their answers before each question.
    pub num_fewshot: usize,
    /// Seed of their choice.
    pub fewshot_seed: u32,
    /// Put BOS before every context. Our training documents start with it, so our models expect it;
    /// many Hugging Face tokenizers (GPT-2, SmolLM2) add none, and then the harness adds none either.
    pub add_bos: bool,
    /// Tokens that end a generated answer beside the tokenizer's end, as the model's files name them.
    pub ends: Vec<u32>,
    /// Input tokens of a batch, what rows share counted once. Bounds memory, changes no score.
    pub batch_tokens: usize,
    /// The program and device that compute: another one rounds otherwise.
    pub engine: String,
    /// Where scores are kept; `None` keeps none.
    pub cache: Option<CacheOptions>,
}

/// Where scores are kept, and whose they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// The folder of all caches.
    pub dir: PathBuf,
    /// Hash of the weights.
    pub weights: String,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self {
            limit: None,
            data: DataSource::default(),
            splits: Vec::new(),
            altered: Altered::default(),
            num_fewshot: 0,
            fewshot_seed: fewshot::DEFAULT_SEED,
            add_bos: true,
            ends: Vec::new(),
            batch_tokens: 4096,
            engine: String::new(),
            cache: None,
        }
    }
}

impl EvalOptions {
    fn split_of(&self, task: &Task) -> Option<&str> {
        let of_task = self.splits.iter().find(|(name, _)| name == task.name);
        of_task.map(|(_, split)| split.as_str())
    }
}

/// How far an evaluation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The task being scored.
    pub task: &'static str,
    /// Its place among the tasks, from 0.
    pub task_index: usize,
    /// Number of tasks.
    pub task_count: usize,
    /// Input tokens of this task scored so far.
    pub done: usize,
    /// Input tokens of this task in all.
    pub total: usize,
    /// Input tokens of all tasks scored so far.
    pub all_done: usize,
    /// Input tokens of all tasks.
    pub all_total: usize,
}

/// Evaluates a model on tasks.
///
/// The report has no model name, step or weights hash yet: [`EvalReport::for_model`] adds them.
/// `progress` is called at the start of each task and after each batch.
///
/// # Errors
/// Data that is missing or damaged, a text that the tokenizer cannot split at its boundary, a model
/// that fails or answers with NaN, a cache that cannot be written.
pub fn evaluate(
    model: &mut dyn LanguageModel,
    tokenizer: &dyn TextEncoder,
    tasks: &[&'static Task],
    options: &EvalOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Result<EvalReport, EvalError> {
    let max_seq_len = model.max_seq_len();
    Prepared::load(tokenizer, tasks, options, max_seq_len)?.run(model, progress)
}

/// An evaluation whose data is loaded and whose settings are known: what [`evaluate`] has before it asks the
/// model anything.
pub struct Prepared<'a> {
    started: Instant,
    tokenizer: &'a dyn TextEncoder,
    options: &'a EvalOptions,
    pub(crate) tasks: Vec<&'static Task>,
    pub(crate) settings: Settings,
    pub(crate) tokenizer_hash: String,
    /// For each task its examples and how many the file has.
    pub(crate) data: Vec<(TaskData, usize)>,
}

impl<'a> Prepared<'a> {
    /// Loads the data of all tasks, for a model that reads `max_seq_len` tokens.
    ///
    /// # Errors
    /// No task, or data that is missing or damaged.
    pub fn load(
        tokenizer: &'a dyn TextEncoder,
        tasks: &[&'static Task],
        options: &'a EvalOptions,
        max_seq_len: usize,
    ) -> Result<Self, EvalError> {
        if tasks.is_empty() {
            return Err(EvalError::NoTasks);
        }
        let started = Instant::now();
        let settings = Settings {
            limit: options.limit,
            data: options.data.describe(),
            add_bos: options.add_bos,
            prefix_token: tokenizer.prefix_token(),
            max_seq_len,
            batch_tokens: options.batch_tokens,
            num_fewshot: options.num_fewshot,
            fewshot_seed: options.fewshot_seed,
            splits: options.splits.clone(),
            engine: options.engine.clone(),
            tokenization: Tokenization::of(tokenizer, options.add_bos, max_seq_len)?,
        };
        let data = tasks.iter().map(|&task| load(task, options));
        Ok(Self {
            started,
            tokenizer,
            options,
            tasks: tasks.to_vec(),
            settings,
            tokenizer_hash: tokenizer.fingerprint(),
            data: data.collect::<Result<_, _>>()?,
        })
    }

    /// Evaluates, as [`evaluate`].
    ///
    /// # Errors
    /// As [`evaluate`], but for the data.
    pub fn run(
        self,
        model: &mut dyn LanguageModel,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<EvalReport, EvalError> {
        let Self {
            tokenizer, options, ..
        } = self;
        let max_seq_len = self.settings.max_seq_len;
        let mut report = EvalReport::new(self.settings);
        report.tokenizer_hash = self.tokenizer_hash;
        // All texts before any score: what is wrong with one shows before anything is computed.
        let tasks = self.tasks.iter().zip(self.data);
        let plans = tasks
            .map(|(&task, (data, loaded))| {
                Plan::new(task, data, loaded, tokenizer, options.add_bos, max_seq_len)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let all_total: usize = plans.iter().map(Plan::work).sum();
        let mut before = 0;
        for (task_index, plan) in plans.iter().enumerate() {
            let work = plan.work();
            let mut on_batch = |done: usize, total: usize| {
                // A task's own count may end elsewhere than planned (answers that end early).
                let share = (work as f64 * done as f64 / total.max(1) as f64) as usize;
                progress(&Progress {
                    task: plan.task.name,
                    task_index,
                    task_count: plans.len(),
                    done,
                    total,
                    all_done: before + share,
                    all_total,
                });
            };
            on_batch(0, work);
            let mut cache = open_cache(plan.task, tokenizer, options, max_seq_len)?;
            let records = run(
                model,
                tokenizer,
                plan,
                options,
                cache.as_mut(),
                &mut on_batch,
            )?;
            if let Some(cache) = &cache {
                report.reused += cache.reused();
                report.damaged += cache.damaged();
            }
            report
                .tasks
                .push(TaskReport::new(plan, &records, options.num_fewshot));
            report.examples.extend(records);
            before += work;
        }
        report.means = means(&report.tasks, &report.examples);
        report.elapsed_s = self.started.elapsed().as_secs_f64();
        Ok(report)
    }
}

/// The examples that are scored, with their shots, and how many the file has.
fn load(task: &'static Task, options: &EvalOptions) -> Result<(TaskData, usize), EvalError> {
    let split = options.split_of(task);
    let mut data = TaskData::load_split(task, &options.data, split, options.altered)?;
    let loaded = data.examples.len();
    let count = options.limit.unwrap_or(loaded).min(loaded);
    if count == 0 {
        return Err(EvalError::NoExamples {
            task: task.name,
            origin: format!("the first 0 of {}", data.origin),
        });
    }
    let (shots, seed) = (options.num_fewshot, options.fewshot_seed);
    let pool = add_shots(
        task,
        &mut data,
        &options.data,
        shots,
        seed,
        count,
        options.altered,
    )?;
    if let Some(pool) = pool {
        data.drawn_from(pool);
    }
    data.examples.truncate(count);
    data.rows = Vec::new();
    Ok((data, loaded))
}

fn open_cache(
    task: &Task,
    tokenizer: &dyn TextEncoder,
    options: &EvalOptions,
    max_seq_len: usize,
) -> Result<Option<RowCache>, EvalError> {
    let Some(cache) = &options.cache else {
        return Ok(None);
    };
    // Scores do not depend on them, answers do.
    let ends = match task.output {
        Output::Answer => format!(", ended by {:?}", options.ends),
        _ => String::new(),
    };
    let key = CacheKey {
        weights: cache.weights.clone(),
        tokenizer: tokenizer.fingerprint(),
        task: format!("{}@{}", task.name, task.version),
        settings: format!(
            "harness {HARNESS_VERSION}, bos {}, at most {max_seq_len} tokens, {} shots of seed {}, {}{ends}",
            options.add_bos,
            shots_of(task, options.num_fewshot),
            options.fewshot_seed,
            options.engine
        ),
    };
    RowCache::open(&cache.dir, &key).map(Some)
}

/// The records of a task's examples.
fn run(
    model: &mut dyn LanguageModel,
    tokenizer: &dyn TextEncoder,
    plan: &Plan,
    options: &EvalOptions,
    cache: Option<&mut RowCache>,
    on_batch: &mut dyn FnMut(usize, usize),
) -> Result<Vec<ExampleRecord>, EvalError> {
    let examples = plan.data.examples.iter().zip(&plan.encoded).enumerate();
    if plan.task.output == Output::Answer {
        let prompts: Vec<&[u32]> = plan.encoded.iter().map(|e| e.prompt.as_slice()).collect();
        let bounds = Bounds {
            max_tokens: plan.answer_tokens,
            ends: &options.ends,
            batch_tokens: options.batch_tokens,
        };
        let texts = answer(model, tokenizer, &prompts, bounds, cache, on_batch)?;
        let records = examples
            .zip(texts)
            .map(|((doc_id, (example, encoded)), text)| {
                let cut = encoded.fit != Fit::Whole;
                ExampleRecord::answered(plan.task, doc_id, example, text, cut)
            });
        return Ok(records.collect());
    }
    let rows: Vec<ScoreRow> = plan
        .encoded
        .iter()
        .flat_map(|e| e.rows.iter().cloned())
        .collect();
    let scores = score_rows_cached(model, &rows, options.batch_tokens, cache, on_batch)?;
    let mut next = scores.as_slice();
    let records = examples.map(|(doc_id, (example, encoded))| {
        let (own, later) = next.split_at(encoded.rows.len());
        next = later;
        let mut choices = choice_scores(encoded, own);
        let bare = choices.split_off(example.continuations.len());
        let bare = (!bare.is_empty()).then(|| bare.iter().map(|s| s.log_likelihood).collect());
        let cut = encoded.fit != Fit::Whole;
        ExampleRecord::new(plan.task, doc_id, example, &choices, bare, cut)
    });
    Ok(records.collect())
}

/// Adds up the rows of each request.
fn choice_scores(encoded: &Encoded, scores: &[RowScore]) -> Vec<ChoiceScore> {
    let mut next = scores;
    encoded
        .requests
        .iter()
        .map(|&(rows, tokens)| {
            let (own, later) = next.split_at(rows);
            next = later;
            ChoiceScore {
                log_likelihood: own.iter().map(total).sum(),
                greedy: own.iter().all(|score| score.greedy),
                tokens,
            }
        })
        .collect()
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
