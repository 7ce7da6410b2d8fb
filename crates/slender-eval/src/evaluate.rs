//! Zero-shot evaluation: load, tokenize, score, count.
//!
//! All data is loaded before anything is scored, so a missing file costs seconds and not the hours of
//! the tasks before it. Tasks are scored one after another; within a task everything shares batches.

use std::time::Instant;

use rayon::prelude::*;

use crate::data::{DataSource, TaskData};
use crate::encode::{EncodedPair, Fit, encode_pair, request_rows};
use crate::error::EvalError;
use crate::example::Example;
use crate::metrics::{ChoiceScore, Chosen, accuracy, choose};
use crate::model::{LanguageModel, RowScore, ScoreRow, TextEncoder};
use crate::records::ExampleRecord;
use crate::report::{EvalReport, Settings, TaskReport};
use crate::score::{score_rows, total};
use crate::tasks::Task;

/// What is evaluated and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalOptions {
    /// At most the first so many examples of each task, as the harness's `--limit`; `None` for all.
    pub limit: Option<usize>,
    /// Where the examples come from.
    pub data: DataSource,
    /// Put BOS before every context. Our training documents start with it, so our models expect it;
    /// many Hugging Face tokenizers (GPT-2, SmolLM2) add none, and then the harness adds none either.
    pub add_bos: bool,
    /// Input tokens of a batch, padding included. Bounds memory, changes no score.
    pub batch_tokens: usize,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self {
            limit: None,
            data: DataSource::default(),
            add_bos: true,
            batch_tokens: 8192,
        }
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
}

/// Evaluates a model on tasks, zero-shot.
///
/// The report has no model name, step or weights hash yet: [`EvalReport::for_model`] adds them.
/// `progress` is called at the start of each task and after each batch.
///
/// # Errors
/// Data that is missing or damaged, a text that the tokenizer cannot split at its boundary, a model
/// that fails or answers with NaN.
pub fn evaluate(
    model: &mut dyn LanguageModel,
    tokenizer: &dyn TextEncoder,
    tasks: &[&'static Task],
    options: &EvalOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Result<EvalReport, EvalError> {
    if tasks.is_empty() {
        return Err(EvalError::NoTasks);
    }
    let started = Instant::now();
    let data = tasks
        .iter()
        .map(|&task| TaskData::load(task, &options.data).map(|data| (task, data)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut report = EvalReport::new(Settings {
        limit: options.limit,
        data: options.data.describe(),
        add_bos: options.add_bos,
        prefix_token: tokenizer.prefix_token(),
        max_seq_len: model.max_seq_len(),
        batch_tokens: options.batch_tokens,
    });
    report.tokenizer_hash = tokenizer.fingerprint();
    for (task_index, (task, data)) in data.into_iter().enumerate() {
        let mut on_batch = |done, total| {
            progress(&Progress {
                task: task.name,
                task_index,
                task_count: tasks.len(),
                done,
                total,
            });
        };
        let (result, records) = run_task(model, tokenizer, task, data, options, &mut on_batch)?;
        report.tasks.push(result);
        report.examples.extend(records);
    }
    report.elapsed_s = started.elapsed().as_secs_f64();
    Ok(report)
}

/// The rows of one example: for each choice its range of rows and its number of scored tokens.
struct Encoded {
    rows: Vec<ScoreRow>,
    choices: Vec<(usize, usize)>,
    fit: Fit,
}

fn run_task(
    model: &mut dyn LanguageModel,
    tokenizer: &dyn TextEncoder,
    task: &'static Task,
    mut data: TaskData,
    options: &EvalOptions,
    on_batch: &mut dyn FnMut(usize, usize),
) -> Result<(TaskReport, Vec<ExampleRecord>), EvalError> {
    let loaded = data.examples.len();
    if let Some(limit) = options.limit {
        data.examples.truncate(limit);
    }
    if data.examples.is_empty() {
        return Err(EvalError::NoExamples {
            task: task.name,
            origin: format!("the first 0 of {}", data.origin),
        });
    }
    on_batch(0, 1);

    let max_seq_len = model.max_seq_len();
    let encoded = data
        .examples
        .par_iter()
        .map(|example| encode_example(tokenizer, example, options.add_bos, max_seq_len))
        .collect::<Result<Vec<_>, _>>()?;
    let rows: Vec<ScoreRow> = encoded
        .iter()
        .flat_map(|e| e.rows.iter().cloned())
        .collect();
    let scores = score_rows(model, &rows, options.batch_tokens, on_batch)?;

    let mut next = scores.as_slice();
    let mut records = Vec::with_capacity(data.examples.len());
    let mut chosen = Vec::with_capacity(data.examples.len());
    for (doc_id, (example, encoded)) in data.examples.iter().zip(&encoded).enumerate() {
        let (own, later) = next.split_at(encoded.rows.len());
        next = later;
        let choices = choice_scores(encoded, own);
        let picked = choose(example, &choices);
        chosen.push(picked);
        records.push(ExampleRecord::new(
            task.name,
            doc_id,
            example,
            &choices,
            picked,
            encoded.fit != Fit::Whole,
        ));
    }
    let fits = |fit| encoded.iter().filter(|e| e.fit == fit).count();
    let report = TaskReport::new(
        task,
        &data,
        loaded,
        measure(task, &data.examples, &chosen),
        fits(Fit::Truncated),
        fits(Fit::Windows),
    );
    Ok((report, records))
}

/// The task's metrics over its examples.
fn measure(
    task: &Task,
    examples: &[Example],
    chosen: &[Chosen],
) -> Vec<(String, crate::metrics::Estimate)> {
    task.metrics
        .iter()
        .map(|&metric| {
            let right = examples
                .iter()
                .zip(chosen)
                .map(|(example, chosen)| chosen.by(metric) == example.gold);
            (metric.name().to_owned(), accuracy(right))
        })
        .collect()
}

fn encode_example(
    tokenizer: &dyn TextEncoder,
    example: &Example,
    add_bos: bool,
    max_seq_len: usize,
) -> Result<Encoded, EvalError> {
    let mut encoded = Encoded {
        rows: Vec::new(),
        choices: Vec::new(),
        fit: Fit::Whole,
    };
    for (context, continuation) in example.requests() {
        let pair: EncodedPair = encode_pair(tokenizer, context, continuation, add_bos)?;
        let (rows, fit) = request_rows(&pair, max_seq_len)?;
        encoded.choices.push((rows.len(), pair.continuation.len()));
        encoded.rows.extend(rows);
        // The worse of the two: windows are further from the harness than a cut context.
        if encoded.fit != Fit::Windows && fit != Fit::Whole {
            encoded.fit = fit;
        }
    }
    Ok(encoded)
}

/// Adds up the rows of each choice.
fn choice_scores(encoded: &Encoded, scores: &[RowScore]) -> Vec<ChoiceScore> {
    let mut next = scores;
    encoded
        .choices
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
mod tests {
    use super::*;
    use crate::fake::{CharTokenizer, HashModel};
    use crate::metrics::Estimate;
    use crate::tasks::{self, Metric};

    fn run(names: &[&str], max_seq_len: usize, options: &EvalOptions) -> EvalReport {
        let tasks = tasks::find_all(names).unwrap();
        let mut model = HashModel::new(max_seq_len);
        evaluate(&mut model, &CharTokenizer, &tasks, options, &mut |_| {}).unwrap()
    }

    fn builtin() -> EvalOptions {
        EvalOptions {
            data: DataSource::Builtin,
            ..EvalOptions::default()
        }
    }

    fn all_names() -> Vec<&'static str> {
        tasks::list().iter().map(|task| task.name).collect()
    }

    #[test]
    fn every_example_is_scored_as_the_model_says() {
        let report = run(&all_names(), 4096, &builtin());
        assert_eq!(report.examples.len(), 8 * 40);
        for record in &report.examples {
            assert!(!record.truncated);
            for i in 0..record.choices.len() {
                let context = record.contexts.as_ref().map_or(&record.prompt, |c| &c[i]);
                let mut tokens = vec![CharTokenizer::BOS];
                tokens.extend(context.trim_end().chars().map(u32::from));
                let spaces = &context[context.trim_end().len()..];
                let mut expected = 0.0;
                for c in spaces.chars().chain(record.continuations[i].chars()) {
                    expected += f64::from(HashModel::log_prob(&tokens, u32::from(c)));
                    tokens.push(u32::from(c));
                }
                assert!((record.log_likelihoods[i] - expected).abs() < 1e-9);
            }
        }
        for task in &report.tasks {
            let own = report.examples.iter().filter(|r| r.task == task.task);
            let right = own.clone().filter(|r| r.right).count() as f64;
            assert_eq!(task.metric("acc").unwrap().value, right / 40.0);
            if let Some(Estimate { value, .. }) = task.metric("acc_norm") {
                assert_eq!(value, own.filter(|r| r.right_norm).count() as f64 / 40.0);
            }
        }
    }

    #[test]
    fn batches_change_no_score_and_settings_are_kept() {
        let small = EvalOptions {
            batch_tokens: 1,
            ..builtin()
        };
        let (a, b) = (
            run(&["piqa", "boolq"], 512, &builtin()),
            run(&["piqa", "boolq"], 512, &small),
        );
        assert_eq!(a.examples, b.examples);
        assert_eq!(a.tasks, b.tasks);
        assert_eq!(a.settings.batch_tokens, 8192);
        assert_eq!(a.settings.prefix_token, Some(CharTokenizer::BOS));
        assert!(a.settings.add_bos);
    }

    #[test]
    fn a_limit_takes_the_first_examples_and_is_reported() {
        let limited = EvalOptions {
            limit: Some(7),
            ..builtin()
        };
        let (all, some) = (
            run(&["piqa"], 512, &builtin()),
            run(&["piqa"], 512, &limited),
        );
        assert_eq!(some.examples, all.examples[..7]);
        let task = &some.tasks[0];
        assert_eq!((task.examples, task.loaded, task.published), (7, 40, 1838));
        assert!(task.fixture);
        let more = EvalOptions {
            limit: Some(1000),
            ..builtin()
        };
        assert_eq!(run(&["piqa"], 512, &more).examples.len(), 40);
    }

    #[test]
    fn bos_moves_scores() {
        let bare = EvalOptions {
            add_bos: false,
            ..builtin()
        };
        let (with, without) = (run(&["piqa"], 512, &builtin()), run(&["piqa"], 512, &bare));
        assert_ne!(
            with.examples[0].log_likelihoods,
            without.examples[0].log_likelihoods
        );
    }

    #[test]
    fn a_short_model_is_served_and_the_report_says_so() {
        let report = run(&["piqa"], 24, &builtin());
        let task = &report.tasks[0];
        assert!(task.windows > 0 && task.warnings.iter().any(|w| w.contains("in windows")));
        assert_eq!(
            report.examples.iter().filter(|r| r.truncated).count(),
            task.truncated + task.windows
        );
    }

    #[test]
    fn data_is_checked_before_anything_is_scored() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("piqa")).unwrap();
        let piqa = tasks::find("piqa").unwrap();
        std::fs::write(dir.path().join("piqa/validation.jsonl"), piqa.fixture).unwrap();
        let options = EvalOptions {
            data: DataSource::Dir(dir.path().to_owned()),
            ..EvalOptions::default()
        };
        let mut model = HashModel::new(512);
        let both = tasks::find_all(&["piqa", "boolq"]).unwrap();
        let result = evaluate(&mut model, &CharTokenizer, &both, &options, &mut |_| {});
        assert!(matches!(
            result,
            Err(EvalError::MissingData { task: "boolq", .. })
        ));
        assert!(model.calls.is_empty());
        let report = evaluate(
            &mut model,
            &CharTokenizer,
            &both[..1],
            &options,
            &mut |_| {},
        )
        .unwrap();
        assert!(!report.tasks[0].fixture);
        assert!(report.tasks[0].warnings[0].contains("has 40 examples"));
        let none = evaluate(&mut model, &CharTokenizer, &[], &options, &mut |_| {});
        assert!(matches!(none, Err(EvalError::NoTasks)));
        let zero = EvalOptions {
            limit: Some(0),
            ..options
        };
        assert!(evaluate(&mut model, &CharTokenizer, &both[..1], &zero, &mut |_| {}).is_err());
    }

    #[test]
    fn progress_ends_at_the_total_of_each_task() {
        let mut seen: Vec<Progress> = Vec::new();
        let tasks = tasks::find_all(&["piqa", "winogrande"]).unwrap();
        let mut model = HashModel::new(512);
        evaluate(&mut model, &CharTokenizer, &tasks, &builtin(), &mut |p| {
            seen.push(*p)
        })
        .unwrap();
        for (i, task) in tasks.iter().enumerate() {
            let last = seen.iter().rfind(|p| p.task == task.name).unwrap();
            assert_eq!(
                (last.done, last.task_index, last.task_count),
                (last.total, i, 2)
            );
        }
    }

    #[test]
    fn averages_leave_boolq_out_and_fall_back_to_acc() {
        let report = run(&all_names(), 4096, &builtin());
        let acc = |task: &TaskReport| task.metric("acc").unwrap().value;
        let all: f64 = report.tasks.iter().map(acc).sum::<f64>() / 8.0;
        let rest = report.tasks.iter().filter(|t| t.task != "boolq");
        let without: f64 = rest.clone().map(acc).sum::<f64>() / 7.0;
        assert!((report.average(Metric::Acc, true).unwrap().value - all).abs() < 1e-12);
        assert!((report.average(Metric::Acc, false).unwrap().value - without).abs() < 1e-12);
        let norm = |t: &TaskReport| t.metric("acc_norm").map_or_else(|| acc(t), |e| e.value);
        let norms: f64 = rest.map(norm).sum::<f64>() / 7.0;
        assert!((report.average(Metric::AccNorm, false).unwrap().value - norms).abs() < 1e-12);
        assert_eq!(
            run(&["boolq"], 4096, &builtin()).average(Metric::Acc, false),
            None
        );
    }
}
