//! Dropout whose masks come from the run's own random stream.
//!
//! Burn's device generator cannot be saved, so a resumed run would see other masks. These are
//! drawn on the host from a ChaCha8 stream whose state is in the checkpoint: a few per cent slower
//! than a device mask, equal on every device, and exact across a resume.

use burn::tensor::{Tensor, TensorData};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Dropout for one forward pass: off, or with a probability and a random stream.
#[derive(Debug)]
pub struct Dropout<'a> {
    stream: Option<(f64, &'a mut ChaCha8Rng)>,
}

impl<'a> Dropout<'a> {
    /// No dropout: evaluation, or `train.dropout = 0`.
    pub fn off() -> Self {
        Self { stream: None }
    }

    /// Zeroes each element with probability `p` and scales the rest by `1/(1-p)`.
    pub fn new(p: f64, rng: &'a mut ChaCha8Rng) -> Self {
        Self {
            stream: (p > 0.0).then_some((p, rng)),
        }
    }

    /// Whether anything is dropped.
    pub fn is_on(&self) -> bool {
        self.stream.is_some()
    }

    /// Applies dropout to `x` `[B, T, D]`.
    pub fn apply(&mut self, x: Tensor<3>) -> Tensor<3> {
        let Some((p, rng)) = &mut self.stream else {
            return x;
        };
        let dims = x.dims();
        let keep = (1.0 / (1.0 - *p)) as f32;
        let count = dims.iter().product();
        let mask: Vec<f32> = (0..count)
            .map(|_| if rng.random::<f64>() < *p { 0.0 } else { keep })
            .collect();
        let device = x.device().without_autodiff();
        x * Tensor::<3>::from_data(TensorData::new(mask, dims), &device)
    }
}
