//! Evaluation with lm-evaluation-harness's prompts and metrics, its statistics, and perplexity of text.
//!
//! The way of an example: [`TaskData`] loads rows, a [`Task`] turns each into an [`Example`] (contexts,
//! continuations, the right answer), [`fewshot`] puts solved examples before it, [`encode`] makes rows of
//! tokens, [`score_rows`] asks a [`LanguageModel`] for log-probabilities and a [`RowCache`] for those it has,
//! an [`ExampleRecord`] holds what came of it, [`metrics`] and [`means`] count, and [`EvalReport`] says it
//! with standard errors. [`compare()`] puts two models' records side by side. Only `burn_model` and `packed`
//! know of tensors.
//!
//! ```no_run
//! # fn main() -> Result<(), slender_eval::EvalError> {
//! # let mut model: Box<dyn slender_eval::LanguageModel> = unimplemented!();
//! # let tokenizer: Box<dyn slender_eval::TextEncoder> = unimplemented!();
//! use slender_eval::{DataSource, EvalOptions, evaluate, tasks};
//!
//! let options = EvalOptions { data: DataSource::Builtin, ..EvalOptions::default() };
//! let tasks = tasks::find_all(&["arc_easy", "piqa"])?;
//! let report = evaluate(&mut *model, &*tokenizer, &tasks, &options, &mut |_| {})?;
//! print!("{}", report.for_model("my model", None, ""));
//! # Ok(())
//! # }
//! ```

mod answers;
mod burn_model;
mod cache;
pub mod compare;
mod current;
mod data;
pub mod encode;
mod error;
mod evaluate;
mod example;
#[cfg(test)]
mod fake;
pub mod fewshot;
mod forest;
mod hub;
pub mod means;
mod measure;
pub mod metrics;
mod model;
mod packed;
mod parquet_records;
mod parquet_rows;
mod perplexity;
mod plan;
mod pyliteral;
mod python_random;
mod records;
mod report;
mod rolling;
mod row;
mod score;
pub mod show;
mod softmax;
mod table;
mod task_list;
pub mod tasks;
mod tokenizer;

pub use burn_model::BurnModel;
pub use cache::{CacheKey, RowCache};
pub use compare::{Comparison, compare};
pub use current::Saved;
pub use data::{Altered, Content, DataSource, Pool, TaskData, read_text};
pub use error::EvalError;
pub use evaluate::{CacheOptions, EvalOptions, Prepared, Progress, evaluate};
pub use example::{Contexts, Example};
pub use measure::Extras;
pub use model::{LanguageModel, RowScore, ScoreRow, TextEncoder};
pub use perplexity::{Perplexity, count_words, perplexity, split_documents};
pub use records::{ExampleRecord, RECORD_FORMAT, check_records_file, read_records, write_records};
pub use report::{EvalReport, FORMAT, Settings, TaskReport};
pub use rolling::rolling_rows;
pub use row::Row;
pub use score::{score_rows, score_rows_cached, total};
pub use task_list::{task_list, task_table};
pub use tasks::{HubSource, Metric, Task};
pub use tokenizer::model_adds_bos;
