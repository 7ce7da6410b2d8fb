//! The examples of a task as tokens: everything that is known before the model is asked.

use rayon::prelude::*;

use crate::answers::MAX_ANSWER;
use crate::data::TaskData;
use crate::encode::{Fit, encode_pair, request_rows};
use crate::error::EvalError;
use crate::example::Example;
use crate::model::{ScoreRow, TextEncoder};
use crate::rolling::rolling_rows;
use crate::score::work;
use crate::tasks::{Output, Paper, Task};

/// The context of the `paper` protocol's likelihood of a choice by itself.
const BARE: &str = "Answer:";

/// A task ready to be scored.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) task: &'static Task,
    pub(crate) data: TaskData,
    /// Examples in the file, of which the first were taken.
    pub(crate) loaded: usize,
    /// One for each example.
    pub(crate) encoded: Vec<Encoded>,
    /// The longest generated answer.
    pub(crate) answer_tokens: usize,
    work: usize,
}

/// One example as tokens.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// The rows of all requests, in order.
    pub(crate) rows: Vec<ScoreRow>,
    /// For each request its number of rows and of scored tokens; the choices first, then the choices after
    /// [`BARE`] where the `paper` protocol asks for them.
    pub(crate) requests: Vec<(usize, usize)>,
    /// The prompt of an answer.
    pub(crate) prompt: Vec<u32>,
    pub(crate) fit: Fit,
}

impl Plan {
    /// Tokenizes the examples of `data`.
    ///
    /// # Errors
    /// A text that the tokenizer cannot split, or a model too short for anything.
    pub(crate) fn new(
        task: &'static Task,
        data: TaskData,
        loaded: usize,
        tokenizer: &dyn TextEncoder,
        add_bos: bool,
        max_seq_len: usize,
    ) -> Result<Self, EvalError> {
        // The harness wants room for its 256 tokens; a shorter model gives half of what it has.
        let answer_tokens = MAX_ANSWER.min(max_seq_len / 2);
        let room = max_seq_len - answer_tokens;
        let encoded = data
            .examples
            .par_iter()
            .map(|example| match task.output {
                Output::Answer => encode_prompt(tokenizer, example, add_bos, room),
                Output::Text => encode_text(tokenizer, example, add_bos, max_seq_len),
                _ => encode_choices(tokenizer, task, example, add_bos, max_seq_len),
            })
            .collect::<Result<Vec<_>, EvalError>>()?;
        let rows: Vec<ScoreRow> = encoded
            .iter()
            .flat_map(|e| e.rows.iter().cloned())
            .collect();
        let prompts: usize = encoded.iter().map(|e| e.prompt.len()).sum();
        Ok(Self {
            task,
            data,
            loaded,
            work: work(&rows) + prompts,
            encoded,
            answer_tokens,
        })
    }

    /// Input tokens that the task has in all.
    pub(crate) fn work(&self) -> usize {
        self.work
    }

    /// Examples that had to be changed in this way to fit the model.
    pub(crate) fn fits(&self, fit: Fit) -> usize {
        self.encoded.iter().filter(|e| e.fit == fit).count()
    }
}

fn encode_choices(
    tokenizer: &dyn TextEncoder,
    task: &Task,
    example: &Example,
    add_bos: bool,
    max_seq_len: usize,
) -> Result<Encoded, EvalError> {
    let mut encoded = Encoded {
        rows: Vec::new(),
        requests: Vec::new(),
        prompt: Vec::new(),
        fit: Fit::Whole,
    };
    let bare = example
        .continuations
        .iter()
        .map(|text| (BARE, text.as_str()));
    let bare = bare.filter(|_| task.paper == Paper::AfterAnswer);
    for (context, continuation) in example.requests().chain(bare) {
        let pair = encode_pair(tokenizer, context, continuation, add_bos)?;
        let (rows, fit) = request_rows(&pair, max_seq_len)?;
        encoded.requests.push((rows.len(), pair.continuation.len()));
        encoded.rows.extend(rows);
        // The worse of the two: windows are further from the harness than a cut context.
        if encoded.fit != Fit::Windows && fit != Fit::Whole {
            encoded.fit = fit;
        }
    }
    Ok(encoded)
}

/// A whole text in rolling windows, after BOS or EOS. Where the tokenizer adds BOS, it is one of the scored
/// tokens: the harness does so, unlike [`crate::perplexity()`].
fn encode_text(
    tokenizer: &dyn TextEncoder,
    example: &Example,
    add_bos: bool,
    max_seq_len: usize,
) -> Result<Encoded, EvalError> {
    if max_seq_len == 0 {
        return Err(EvalError::NoContext);
    }
    let prefix = tokenizer.prefix_token().ok_or(EvalError::NoPrefixToken)?;
    let tokens = tokenizer.encode(&example.continuations[0], add_bos)?;
    let rows = rolling_rows(&tokens, prefix, max_seq_len);
    Ok(Encoded {
        requests: vec![(rows.len(), tokens.len())],
        rows,
        prompt: Vec::new(),
        fit: Fit::Whole,
    })
}

fn encode_prompt(
    tokenizer: &dyn TextEncoder,
    example: &Example,
    add_bos: bool,
    room: usize,
) -> Result<Encoded, EvalError> {
    let mut prompt = tokenizer.encode(example.context(0), add_bos)?;
    let cut = prompt.len().saturating_sub(room);
    if room == 0 {
        return Err(EvalError::NoContext);
    }
    prompt.drain(..cut);
    Ok(Encoded {
        rows: Vec::new(),
        requests: Vec::new(),
        prompt,
        fit: if cut == 0 { Fit::Whole } else { Fit::Truncated },
    })
}
