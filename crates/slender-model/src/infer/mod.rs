//! Inference: a model that reads a prompt once and then token after token, with a cache of keys and
//! values, and what turns its logits into text.
//!
//! [`Engine`] computes, [`Sampler`] chooses, [`TextStream`] and [`StopStrings`] make text of tokens, and
//! [`generate`] puts them together for any number of prompts.

mod bench;
mod composed;
mod ends;
mod engine;
mod generate;
mod kernels;
mod sampling;
mod text;

pub use bench::{DecodePlan, DecodeSpeed, DecodeTimes, decode_speed, decode_times};
pub use ends::end_tokens;
pub use engine::{Engine, InferError, Rows, Sequence};
pub use generate::{
    Finish, Generated, Generation, Request, Timings, check, generate, generate_each, generate_on,
};
pub use sampling::{Sampler, Sampling, log_prob};
pub use text::{StopStrings, TextStream};
