//! How fast a model decodes here, beside how fast memory can be read.
//!
//! Decoding reads every weight for every token and computes little with it, so the time of a token is at
//! best the bytes of the weights divided by the memory's speed, which is measured in the same run.

use super::{Engine, InferError, Rows, Sequence};
use serde::Serialize;
use slender_kernels::memory_speed;
use std::time::Instant;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct DecodePlan {
    /// Sequences decoded together.
    pub batch: usize,
    /// Tokens of each prompt.
    pub prompt_len: usize,
    /// Tokens decoded after it.
    pub tokens: usize,
    /// Counted repetitions.
    pub repetitions: usize,
}

/// Speed of decoding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecodeSpeed {
    /// Format of the weights.
    pub weights: &'static str,
    /// Threads of the pool.
    pub threads: usize,
    /// Sequences decoded together.
    pub batch: usize,
    /// Tokens of each prompt.
    pub prompt_len: usize,
    /// Tokens decoded after it.
    pub tokens: usize,
    /// Counted repetitions.
    pub repetitions: usize,
    /// Tokens of prompts per second, the median.
    pub prompt_tokens_per_s: f64,
    /// Decoded tokens per second of all sequences: median, smallest, largest.
    pub decode_tokens_per_s: [f64; 3],
    /// Seconds of a step, which decodes a token of each sequence, the median.
    pub step_s: f64,
    /// Bytes of weights that a step reads, those of shared blocks as often as they run; absent without
    /// the CPU kernels.
    pub weight_bytes_read: Option<usize>,
    /// Of these the distinct ones.
    pub weight_bytes: Option<usize>,
    /// `weight_bytes_read / step_s`.
    pub bytes_per_s: f64,
    /// Speed at which this machine's memory can be read, bytes per second.
    pub memory_bytes_per_s: f64,
}

/// Times of a measurement, one a counted repetition, in the order they were taken.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodeTimes {
    /// Seconds to read the prompts.
    pub prompt_s: Vec<f64>,
    /// Seconds of a step, which decodes a token of each sequence.
    pub step_s: Vec<f64>,
}

/// Reads a prompt and decodes, several times; the first time is not counted.
///
/// # Errors
/// More tokens than the model has positions for, or nothing to do.
pub fn decode_times(engine: &Engine, plan: &DecodePlan) -> Result<DecodeTimes, InferError> {
    let DecodePlan {
        batch,
        prompt_len,
        tokens,
        repetitions,
    } = *plan;
    for (name, value) in [
        ("batch", batch),
        ("tokens", tokens),
        ("repetitions", repetitions),
    ] {
        if value == 0 {
            let message = format!("{name} is 0\n  hint: it is at least 1");
            return Err(InferError::Setting(message));
        }
    }
    let token = |i: usize| (i * 7919 % engine.shape().vocab_size) as u32;
    let prompts: Vec<Vec<u32>> = (0..batch)
        .map(|b| (0..prompt_len).map(|i| token(b * 31 + i)).collect())
        .collect();
    let (mut reading, mut decoding) = (Vec::new(), Vec::new());
    engine.session(|team| {
        let mut sequences: Vec<Sequence> = (0..batch).map(|_| engine.sequence()).collect();
        for repetition in 0..=repetitions {
            sequences
                .iter_mut()
                .for_each(|sequence| sequence.truncate(0));
            let mut all: Vec<&mut Sequence> = sequences.iter_mut().collect();
            let start = Instant::now();
            let slices: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
            engine.forward(team, &mut all, &slices, Rows::Last)?;
            let read_s = start.elapsed().as_secs_f64();
            let start = Instant::now();
            for step in 0..tokens {
                let next: Vec<u32> = (0..batch).map(|b| token(b + step * 17)).collect();
                let slices: Vec<&[u32]> = next.iter().map(std::slice::from_ref).collect();
                engine.forward(team, &mut all, &slices, Rows::Last)?;
            }
            if repetition > 0 {
                reading.push(read_s);
                decoding.push(start.elapsed().as_secs_f64() / tokens as f64);
            }
        }
        Ok::<_, InferError>(())
    })?;
    Ok(DecodeTimes {
        prompt_s: reading,
        step_s: decoding,
    })
}

/// The speed of decoding from [`decode_times`], beside that of memory.
///
/// # Errors
/// More tokens than the model has positions for, or nothing to do.
pub fn decode_speed(engine: &Engine, plan: &DecodePlan) -> Result<DecodeSpeed, InferError> {
    let DecodePlan {
        batch,
        prompt_len,
        tokens,
        repetitions,
    } = *plan;
    let times = decode_times(engine, plan)?;
    let (mut reading, mut decoding) = (times.prompt_s, times.step_s);
    reading.sort_by(f64::total_cmp);
    decoding.sort_by(f64::total_cmp);
    let median = |values: &[f64]| values[values.len() / 2];
    let step_s = median(&decoding);
    let speed = |seconds: f64| batch as f64 / seconds;
    let (weight_bytes_read, weight_bytes) = engine.weight_bytes().unzip();
    Ok(DecodeSpeed {
        weights: engine.format().name(),
        threads: rayon::current_num_threads(),
        batch,
        prompt_len,
        tokens,
        repetitions,
        prompt_tokens_per_s: (batch * prompt_len) as f64 / median(&reading),
        decode_tokens_per_s: [
            speed(step_s),
            speed(decoding[decoding.len() - 1]),
            speed(decoding[0]),
        ],
        step_s,
        weight_bytes_read,
        weight_bytes,
        bytes_per_s: weight_bytes_read.unwrap_or(0) as f64 / step_s,
        memory_bytes_per_s: memory_speed(),
    })
}
