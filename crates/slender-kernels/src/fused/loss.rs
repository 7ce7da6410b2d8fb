//! Output projection with cross-entropy, a few rows of logits at a time.
//!
//! The gradient is computed in the same pass as the loss, while a chunk's logits are in cache, for
//! an upstream gradient of 1; the backward pass only scales it. `[N, V]` logits never exist.

use super::linear::{Threads, View, product};
use super::simd::{exp, multiversion, sum_by};
use rayon::prelude::*;

/// Elements of logits held at once.
const CHUNK: usize = 1 << 20;
/// Rows a task takes within a chunk.
const ROWS: usize = 4;

multiversion! {
    /// Turns rows of logits into `softmax - onehot` (0 where ignored) and writes each row's loss.
    fn softmax_loss(logits: &mut [f32], v: usize, targets: &[i32], losses: &mut [f32]) {
        for ((row, &target), loss) in logits.chunks_exact_mut(v).zip(targets).zip(losses) {
            if target < 0 {
                row.fill(0.0);
                *loss = 0.0;
                continue;
            }
            let mut max = f32::NEG_INFINITY;
            for &x in row.iter() {
                max = if x > max || x.is_nan() { x } else { max };
            }
            let right = row[target as usize] - max;
            for x in row.iter_mut() {
                *x = exp(*x - max);
            }
            let sum = sum_by(v, |i| row[i]);
            *loss = sum.ln() - right;
            let inverse = 1.0 / sum;
            for x in row.iter_mut() {
                *x *= inverse;
            }
            row[target as usize] -= 1.0;
        }
    }
}

/// Shapes: `hidden` `[n, d]`, `weight` `[v, d]`, `targets` `[n]`.
pub(crate) struct Problem<'a> {
    pub hidden: &'a [f32],
    pub weight: &'a [f32],
    pub targets: &'a [i32],
    pub d: usize,
    pub v: usize,
}

impl Problem<'_> {
    /// Calls `each(rows, hidden, softmax - onehot)` chunk by chunk; returns the summed loss.
    fn chunks(&self, mut each: impl FnMut(std::ops::Range<usize>, &[f32], &[f32])) -> f32 {
        let (n, d, v) = (self.targets.len(), self.d, self.v);
        let rows = (CHUNK / v).clamp(32, 4096).min(n.max(1));
        let mut logits = vec![0.0; rows * v];
        let mut losses = vec![0.0; n];
        for start in (0..n).step_by(rows) {
            let range = start..(start + rows).min(n);
            let hidden = &self.hidden[range.start * d..range.end * d];
            let logits = &mut logits[..range.len() * v];
            let weight = View::new(self.weight, v, d);
            product(
                logits,
                v,
                View::new(hidden, range.len(), d),
                weight.t(),
                1.0,
                false,
                Threads::All,
            );
            logits
                .par_chunks_mut(ROWS * v)
                .zip(self.targets[range.clone()].par_chunks(ROWS))
                .zip(losses[range.clone()].par_chunks_mut(ROWS))
                .for_each(|((logits, targets), losses)| softmax_loss(logits, v, targets, losses));
            each(range, hidden, logits);
        }
        losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() as f32
    }

    /// The summed loss.
    pub(crate) fn loss(&self) -> f32 {
        self.chunks(|_, _, _| {})
    }

    /// The summed loss, and the gradients of `hidden` and `weight`.
    pub(crate) fn loss_and_gradients(&self) -> (f32, Vec<f32>, Vec<f32>) {
        let (d, v) = (self.d, self.v);
        let mut dhidden = vec![0.0; self.hidden.len()];
        let mut dweight = vec![0.0; self.weight.len()];
        let loss = self.chunks(|rows, hidden, error| {
            let error = View::new(error, rows.len(), v);
            let out = &mut dhidden[rows.start * d..rows.end * d];
            product(
                out,
                d,
                error,
                View::new(self.weight, v, d),
                1.0,
                false,
                Threads::All,
            );
            product(
                &mut dweight,
                d,
                error.t(),
                View::new(hidden, rows.len(), d),
                1.0,
                true,
                Threads::All,
            );
        });
        (loss, dhidden, dweight)
    }
}
