//! `slender bench`: how fast a configuration trains and scores here, phase by phase.
//!
//! Batches come from the configuration's own data where it has been prepared, and are synthetic
//! otherwise: what they hold changes no time but that of reading them. Medians over repetitions,
//! with the spread, because machines are shared; the first repetitions warm caches and are not
//! counted.

use crate::estimate::matmul_peak;
use crate::optimizer::{Gradients, Optimizer};
use crate::train_loop::MicroBatch;
use burn::module::Module;
use burn::tensor::Device;
use serde::Serialize;
use slender_config::{Config, ModelShape, Recompute, SourceKind};
use slender_data::{Batch, Dataset, PrepareOptions, TrainOrder, prepared_dir};
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
    /// Where batches come from: `prepared` or `synthetic`.
    pub data: &'static str,
    /// Seconds of making a batch and bringing it to the device.
    pub data_s: Spread,
    /// Seconds of the forward pass with the loss.
    pub forward_s: Spread,
    /// Seconds of the backward pass; absent when scoring.
    pub backward_s: Option<Spread>,
    /// Seconds of norm, clipping and AdamW; absent when scoring.
    pub optimizer_s: Option<Spread>,
    /// Seconds from the start of the process to the end of the first step; 0 where unknown.
    pub first_step_s: f64,
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
    let again = config.train.recompute == Recompute::Block;
    let mut model = Transformer::new(shape, config.run.seed, &device).with_recompute(again);
    let mut optimizer = train.then(|| Optimizer::new(&model, &device));
    let batches = Batches::new(config, shape);
    let (mut data, mut forward) = (Vec::new(), Vec::new());
    let (mut backward, mut update) = (Vec::new(), Vec::new());
    let mut first_step_s = 0.0;
    for repetition in 0..WARM_UP + repetitions.max(1) {
        let start = Instant::now();
        let batch = MicroBatch::new(&batches.get(repetition as u64), 0, config, &device);
        let data_s = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let loss = model.loss_sum(
            batch.inputs,
            batch.targets,
            batch.segments,
            &mut Dropout::off(),
        );
        let _ = loss.clone().into_data();
        let forward_s = start.elapsed().as_secs_f64();
        let (mut backward_s, mut update_s) = (0.0, 0.0);
        if let Some(optimizer) = &mut optimizer {
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
        if repetition == 0 {
            first_step_s = process_age();
        }
        if repetition >= WARM_UP {
            data.push(data_s);
            forward.push(forward_s);
            backward.push(backward_s);
            update.push(update_s);
        }
    }
    let accounting = config.accounting_of(shape);
    let totals = data
        .iter()
        .zip(&forward)
        .zip(backward.iter().zip(&update))
        .map(|((d, f), (b, u))| d + f + b + u);
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
        data: batches.kind(),
        data_s: Spread::of(data),
        forward_s: Spread::of(forward),
        backward_s: train.then(|| Spread::of(backward)),
        optimizer_s: train.then(|| Spread::of(update)),
        first_step_s,
        peak_memory_bytes: peak_memory(),
    }
}

/// Where batches come from.
enum Batches {
    /// The configuration's data.
    Prepared(TrainOrder, usize),
    /// The same tokens every time.
    Synthetic(Batch),
}

impl Batches {
    fn new(config: &Config, shape: &ModelShape) -> Self {
        let (rows, t) = (config.train.micro_batch_size(), config.train.seq_len());
        // A hub would have to be asked over the network.
        let here = config
            .data
            .sources
            .iter()
            .all(|source| matches!(source.kind, SourceKind::Builtin | SourceKind::Files));
        let order = here
            .then(|| prepared_dir(&config.data, &PrepareOptions::from_env()).ok())
            .flatten()
            .filter(|dir| dir.is_dir())
            .and_then(|dir| Dataset::open(&dir).ok())
            .filter(|data| data.tokenizer().vocab_size() <= shape.vocab_size)
            .and_then(|data| data.train(t, config.run.seed).ok());
        match order {
            Some(order) => Self::Prepared(order, rows),
            None => {
                let ids = |first: usize| -> Vec<i32> {
                    let id = |i: usize| (i * 7919 % shape.vocab_size) as i32;
                    (first..first + rows * t).map(id).collect()
                };
                Self::Synthetic(Batch {
                    inputs: ids(0),
                    targets: ids(1),
                    segments: vec![0; rows * t],
                    batch_size: rows,
                    seq_len: t,
                })
            }
        }
    }

    fn get(&self, step: u64) -> Batch {
        match self {
            Self::Prepared(order, rows) => order.batch(step, *rows),
            Self::Synthetic(batch) => batch.clone(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Prepared(..) => "prepared",
            Self::Synthetic(_) => "synthetic",
        }
    }
}

/// Seconds since this process started, from the kernel's accounting; 0 where unknown.
fn process_age() -> f64 {
    /// Ticks a second of `/proc` on Linux.
    const TICKS: f64 = 100.0;
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let stat = read("/proc/self/stat");
    // The name, in brackets, may hold spaces; the start time is the 20th field after it.
    let started: Option<u32> = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.split(' ').nth(19)?.parse().ok());
    let uptime: Option<f64> = read("/proc/uptime")
        .split(' ')
        .next()
        .and_then(|text| text.parse().ok());
    match (uptime, started) {
        (Some(uptime), Some(started)) => (uptime - f64::from(started) / TICKS).max(0.0),
        _ => 0.0,
    }
}

/// Peak resident memory of this process in bytes, from the kernel's accounting.
fn peak_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmHWM"));
    let kilobytes: Option<u64> = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    kilobytes.unwrap_or(0) * 1024
}
