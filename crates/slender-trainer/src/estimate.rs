//! How fast this machine is, measured before the run begins.
//!
//! Two probes: a plain matrix product, whose speed is the denominator of the utilisation shown
//! during training, and one short sequence through the real model, from which the length of the
//! run follows. Both take seconds; a wrong guess about days costs more.

use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use slender_config::Accounting;
use slender_kernels::{Product, has_kernels, is_host, product_speed};
use slender_model::{Dropout, Transformer};
use std::time::Instant;

/// Measured f32 matrix-product speed of `device` in FLOP/s: the best of several products of 1024
/// cubed, on flex by slender's own kernels.
///
/// The products grow until one takes long enough to be timed, so that a slow device is not kept
/// busy and a fast one is not underestimated.
pub fn matmul_peak(device: &Device) -> f64 {
    let device = device.clone().without_autodiff();
    if has_kernels(&device) {
        return product_speed(Product::Forward, 1024, [1024, 1024], 0.1);
    }
    let time = |size: usize, repetitions: usize| {
        let random =
            || Tensor::<2>::random([size, size], Distribution::Uniform(-1.0, 1.0), &device);
        let (a, b) = (random(), random());
        let run = |_| {
            let start = Instant::now();
            let product = a.clone().matmul(b.clone());
            // Reading one element waits for the product.
            let _ = product.narrow(0, 0, 1).narrow(1, 0, 1).into_data();
            start.elapsed().as_secs_f64()
        };
        (0..repetitions).map(run).fold(f64::INFINITY, f64::min)
    };
    let mut size = if is_host(&device) { 1024 } else { 256 };
    while !is_host(&device) && size < 4096 && time(size, 2) < 5e-3 {
        size *= 2;
    }
    2.0 * (size as f64).powi(3) / time(size, 5)
}

/// Expected speed and length of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Model FLOP/s of a training pass over one short sequence.
    pub flops_per_s: f64,
    /// Tokens per second at the run's own sequence length.
    pub tokens_per_s: f64,
    /// Seconds for `tokens` training tokens.
    pub seconds: f64,
}

impl Estimate {
    /// Times one short sequence (at most 128 tokens) forward and backward, after one to warm up.
    ///
    /// `accounting` is that of the run's own sequence length.
    pub fn measure(
        model: &Transformer,
        accounting: &Accounting,
        tokens: u64,
        device: &Device,
    ) -> Self {
        let shape = model.shape();
        let length = shape.max_seq_len.min(128);
        let probe = shape.accounting(length, 1);
        let ids = (0..length)
            .map(|i| (i * 7919 % shape.vocab_size) as i32)
            .collect::<Vec<_>>();
        let run = || {
            let ids =
                || Tensor::<2, Int>::from_data(TensorData::new(ids.clone(), [1, length]), device);
            let loss = model.loss_sum(ids(), ids(), None, &mut Dropout::off());
            let graph = loss.backward();
            let _ = model
                .model
                .norm
                .weight
                .val()
                .grad(&graph)
                .map(Tensor::into_data);
        };
        run();
        let start = Instant::now();
        run();
        let flops = (probe.train_flops_per_token * length as u64) as f64;
        let flops_per_s = flops / start.elapsed().as_secs_f64();
        let tokens_per_s = flops_per_s / accounting.train_flops_per_token as f64;
        Self {
            flops_per_s,
            tokens_per_s,
            seconds: tokens as f64 / tokens_per_s,
        }
    }
}
