//! Zero-shot evaluation with lm-evaluation-harness's prompts and metrics, and perplexity of text.
//!
//! The way of an example: [`TaskData`] loads rows, a [`Task`] turns each into an [`Example`] (contexts,
//! continuations, the right answer), [`encode`] into rows of tokens, [`score_rows`] asks a
//! [`LanguageModel`] for log-probabilities, [`metrics`] counts what was right, and [`EvalReport`] says
//! it with standard errors. Only `burn_model` knows of tensors.
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

mod burn_model;
mod data;
pub mod encode;
mod error;
mod evaluate;
mod example;
#[cfg(test)]
mod fake;
mod hub;
pub mod metrics;
mod model;
mod parquet_rows;
mod perplexity;
mod records;
mod report;
mod rolling;
mod row;
mod score;
mod softmax;
mod table;
pub mod tasks;
mod tokenizer;

pub use burn_model::BurnModel;
pub use data::{DataSource, TaskData};
pub use error::EvalError;
pub use evaluate::{EvalOptions, Progress, evaluate};
pub use example::{Contexts, Example};
pub use model::{LanguageModel, RowScore, ScoreRow, TextEncoder};
pub use perplexity::{Perplexity, count_words, perplexity};
pub use records::{ExampleRecord, write_records};
pub use report::{EvalReport, FORMAT, Settings, TaskReport};
pub use rolling::rolling_rows;
pub use row::Row;
pub use score::{score_rows, total};
pub use table::task_table;
pub use tasks::{HubSource, Metric, Task};
