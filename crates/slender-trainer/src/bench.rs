//! `slender bench`: how fast a configuration trains and scores here, phase by phase.
//!
//! Tokens are synthetic, so that nothing but arithmetic is timed. Medians over repetitions, with
//! the spread, because machines are shared; the first repetitions warm caches and are not counted.

use crate::estimate::matmul_peak;
use crate::optimizer::{Gradients, Optimizer};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::Serialize;
use slender_config::{Config, ModelShape};
use slender_model::{Dropout, Transformer};
use std::time::Instant;

/// Repetitions that are not counted.
const WARM_UP: usize = 2;

/// Median, minimum and maximum of a series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Median.
    pub median: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self {
            median: values[values.len() / 2],
            min: values[0],
            max: values[values.len() - 1],
        }
    }
}

/// Speed of training or scoring one micro-batch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// `train` or `score`.
    pub mode: &'static str,
    /// Parameters of the model.
    pub params_total: u64,
    /// Sequences of a micro-batch.
    pub micro_batch_size: usize,
    /// Tokens of a sequence.
    pub seq_len: usize,
    /// Threads of the pool.
    pub threads: usize,
    /// Counted repetitions.
    pub repetitions: usize,
    /// Tokens per second.
    pub tokens_per_s: Spread,
    /// Model FLOP/s (see the accounting's conventions), at the median.
    pub model_flops_per_s: f64,
    /// Measured f32 matrix-product peak, FLOP/s.
    pub matmul_peak_flops_per_s: f64,
    /// `model_flops_per_s / matmul_peak_flops_per_s`.
    pub peak_share: f64,
    /// Seconds of the forward pass with the loss.
    pub forward_s: Spread,
    /// Seconds of the backward pass; absent when scoring.
    pub backward_s: Option<Spread>,
    /// Seconds of norm, clipping and AdamW; absent when scoring.
    pub optimizer_s: Option<Spread>,
    /// Peak resident memory of the process so far, bytes; 0 where unknown.
    pub peak_memory_bytes: u64,
}

/// Times `repetitions` passes over a micro-batch: with gradients and an update for `train`.
pub fn bench(
    config: &Config,
    shape: &ModelShape,
    device: &Device,
    train: bool,
    repetitions: usize,
) -> Speed {
    let (rows, t) = (config.train.micro_batch_size(), config.train.seq_len());
    let device = if train {
        device.clone().autodiff()
    } else {
        device.clone().without_autodiff()
    };
    let mut model = Transformer::new(shape, config.run.seed, &device);
    let mut optimizer = Optimizer::new(&model, &device);
    let ids: Vec<i32> = (0..rows * t)
        .map(|i| (i * 7919 % shape.vocab_size) as i32)
        .collect();
    let tensor = || Tensor::<2, Int>::from_data(TensorData::new(ids.clone(), [rows, t]), &device);
    let (mut forward, mut backward, mut update) = (Vec::new(), Vec::new(), Vec::new());
    for repetition in 0..WARM_UP + repetitions.max(1) {
        let start = Instant::now();
        let loss = model.loss_sum(tensor(), tensor(), None, &mut Dropout::off());
        let _ = loss.clone().into_data();
        let forward_s = start.elapsed().as_secs_f64();
        let (mut backward_s, mut update_s) = (0.0, 0.0);
        if train {
            let start = Instant::now();
            let mut gradients = Gradients::new(rows * t);
            gradients.accumulate(&model, loss.backward());
            let (norm, _) = gradients.norm();
            backward_s = start.elapsed().as_secs_f64();
            let start = Instant::now();
            // A learning rate of zero: the same work, the same weights in every repetition.
            model = optimizer.step(model, gradients, norm, 0.0, &config.train);
            let _ = model.model.norm.weight.val().into_data();
            update_s = start.elapsed().as_secs_f64();
        }
        if repetition >= WARM_UP {
            forward.push(forward_s);
            backward.push(backward_s);
            update.push(update_s);
        }
    }
    let accounting = shape.accounting(t, rows);
    let totals = forward
        .iter()
        .zip(&backward)
        .zip(&update)
        .map(|((f, b), u)| f + b + u);
    let tokens_per_s = Spread::of(totals.map(|seconds| (rows * t) as f64 / seconds).collect());
    let flops = if train {
        accounting.train_flops_per_token
    } else {
        accounting.forward_flops_per_token
    };
    let model_flops_per_s = tokens_per_s.median * flops as f64;
    let matmul_peak_flops_per_s = matmul_peak(&device);
    debug_assert_eq!(model.num_params() as u64, accounting.params_total);
    Speed {
        mode: if train { "train" } else { "score" },
        params_total: accounting.params_total,
        micro_batch_size: rows,
        seq_len: t,
        threads: rayon::current_num_threads(),
        repetitions: forward.len(),
        tokens_per_s,
        model_flops_per_s,
        matmul_peak_flops_per_s,
        peak_share: model_flops_per_s / matmul_peak_flops_per_s,
        forward_s: Spread::of(forward),
        backward_s: train.then(|| Spread::of(backward)),
        optimizer_s: train.then(|| Spread::of(update)),
        peak_memory_bytes: peak_memory(),
    }
}

/// Peak resident memory of this process in bytes, from the kernel's accounting.
fn peak_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmHWM"));
    let kilobytes: Option<u64> = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    kilobytes.unwrap_or(0) * 1024
}
