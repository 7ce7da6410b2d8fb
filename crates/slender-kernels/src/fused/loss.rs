//! Output projection with cross-entropy, a chunk of tokens at a time.
//!
//! A chunk's logits are token panels, `[panel][V][32]`: the softmax runs down the lanes and all three
//! products read the `[V, D]` weight where it lies. The gradient is computed in the same pass as the
//! loss, for an upstream gradient of 1; the backward pass only scales it. `[N, V]` logits never exist.

use super::buffers::{fresh, scratch};
use super::gemm::{LANES, Left, Out, Right, multiply_by_rows};
use super::linear::{Gradient, weight_gradients};
use super::panels::{all_to_lanes, all_to_rows, packed_len, panels_of, rows_to_packed};
use super::simd::{exp, multiversion};
use rayon::prelude::*;

/// Elements of logits held at once, 32 MB: fewer make the weight and its gradient, which are read
/// once a chunk, the larger traffic.
const CHUNK: usize = 1 << 23;
/// Rows of the vocabulary that a task computes.
const ROWS_PER_TASK: usize = 96;

/// Exponentials that are summed before they join the total.
const SUMMED: usize = 128;

multiversion! {
    /// Lane by lane: the largest logit, and the sum of `exp(logit - largest)`.
    fn lane_softmax(logits: &[f32], max: &mut [f32; LANES], sum: &mut [f32; LANES]) {
        *max = [f32::NEG_INFINITY; LANES];
        for row in logits.chunks_exact(LANES) {
            for lane in 0..LANES {
                let x = row[lane];
                max[lane] = if x > max[lane] { x } else { max[lane] };
            }
        }
        *sum = [0.0; LANES];
        // Sums of sums: one sum over a whole vocabulary would lose two digits.
        for rows in logits.chunks(SUMMED * LANES) {
            let mut part = [0.0; LANES];
            for row in rows.chunks_exact(LANES) {
                for lane in 0..LANES {
                    part[lane] += exp(row[lane] - max[lane]);
                }
            }
            for lane in 0..LANES {
                sum[lane] += part[lane];
            }
        }
    }
}

multiversion! {
    /// `exp(logit - max) · factor` in place. Not the exponential of the difference to the
    /// log-sum-exp: rounding that to f32 costs digits when logits are large.
    fn probabilities(logits: &mut [f32], max: &[f32; LANES], factor: &[f32; LANES]) {
        for row in logits.chunks_exact_mut(LANES) {
            for lane in 0..LANES {
                let x = row[lane] - max[lane];
                // Exactly zero, not the smallest number that `exp` gives: those are slow.
                row[lane] = if x < -87.0 { 0.0 } else { exp(x) * factor[lane] };
            }
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

/// Gradients for an upstream gradient of 1.
struct Gradients {
    hidden: Vec<f32>,
    weight: Vec<f32>,
}

impl Problem<'_> {
    /// The summed loss.
    pub(crate) fn loss(&self) -> f32 {
        self.run(None)
    }

    /// The summed loss, and the gradients of `hidden` and `weight`.
    pub(crate) fn loss_and_gradients(&self) -> (f32, Vec<f32>, Vec<f32>) {
        let mut gradients = Gradients {
            hidden: fresh(self.hidden.len()),
            weight: fresh(self.weight.len()),
        };
        let loss = self.run(Some(&mut gradients));
        (loss, gradients.hidden, gradients.weight)
    }

    fn run(&self, mut gradients: Option<&mut Gradients>) -> f32 {
        let (n, d, v) = (self.targets.len(), self.d, self.v);
        let panels = (CHUNK / (v * LANES)).clamp(2, 64).min(panels_of(n).max(1));
        let mut logits = scratch(panels * v * LANES);
        let mut lanes = scratch(panels * d * LANES);
        let mut total = 0.0_f64;
        for start in (0..n).step_by(panels * LANES) {
            let end = (start + panels * LANES).min(n);
            let count = panels_of(end - start);
            let hidden = &self.hidden[start * d..end * d];
            let targets = &self.targets[start..end];
            let (logits, lanes) = (
                &mut logits[..count * v * LANES],
                &mut lanes[..count * d * LANES],
            );
            all_to_lanes(hidden, d, lanes);
            self.logits(lanes, logits);
            let losses: Vec<f64> = logits
                .par_chunks_exact_mut(v * LANES)
                .zip(targets.par_chunks(LANES))
                .map(|(logits, targets)| softmax_loss(logits, targets, gradients.is_some()))
                .collect();
            total += losses.iter().sum::<f64>();
            if let Some(gradients) = &mut gradients {
                self.hidden_gradient(logits, &mut gradients.hidden[start * d..end * d]);
                let accumulate = start > 0;
                self.weight_gradient(hidden, logits, &mut gradients.weight, accumulate);
            }
        }
        if n == 0
            && let Some(gradients) = gradients
        {
            gradients.weight.fill(0.0);
        }
        total as f32
    }

    /// Token panels `[panel][D][32]` to `[panel][V][32]`.
    fn logits(&self, lanes: &[f32], logits: &mut [f32]) {
        let (d, v) = (self.d, self.v);
        multiply_by_rows(
            [v, d, lanes.len() / (d * LANES)],
            Left::Rows(self.weight, d),
            Right::new(lanes, d * LANES),
            Out::panels(logits, v * LANES, false),
            ROWS_PER_TASK,
        );
    }

    /// `Σ_v error · weight` to rows, from `error` in token panels.
    fn hidden_gradient(&self, error: &[f32], rows: &mut [f32]) {
        let (d, v) = (self.d, self.v);
        let mut lanes = scratch(error.len() / v * d);
        multiply_by_rows(
            [d, v, error.len() / (v * LANES)],
            Left::Columns(self.weight, d),
            Right::new(error, v * LANES),
            Out::panels(&mut lanes, d * LANES, false),
            // Every task reads all logits, so there is one for each thread.
            d.div_ceil(rayon::current_num_threads()),
        );
        all_to_rows(&lanes, d, rows);
    }

    /// Adds `Σ_tokens error · hidden` to `gradient`, or writes it.
    fn weight_gradient(
        &self,
        hidden: &[f32],
        error: &[f32],
        gradient: &mut [f32],
        accumulate: bool,
    ) {
        let (d, v) = (self.d, self.v);
        let mut packed = scratch(error.len() / (v * LANES) * packed_len(d));
        packed
            .par_chunks_exact_mut(packed_len(d))
            .zip(hidden.par_chunks(LANES * d))
            .for_each(|(packed, rows)| rows_to_packed(rows, rows.len() / d, d, d, packed));
        let gradient = Gradient {
            gradient,
            accumulate,
            inner: d,
            dy: error,
            dy_panel: v * LANES,
            dy_row: 0,
            x: &packed,
        };
        weight_gradients([gradient], hidden.len() / d);
    }
}

/// The summed loss of one panel of logits, which become `softmax - onehot` if `gradient`, 0 in the
/// lanes of ignored targets and beyond the last.
fn softmax_loss(logits: &mut [f32], targets: &[i32], gradient: bool) -> f64 {
    let (mut max, mut sum, mut factor) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    lane_softmax(logits, &mut max, &mut sum);
    let mut loss = 0.0;
    for (lane, &target) in targets
        .iter()
        .enumerate()
        .filter(|(_, target)| **target >= 0)
    {
        factor[lane] = 1.0 / sum[lane];
        // The difference to the maximum first: it is exact where it matters.
        let right = logits[target as usize * LANES + lane] - max[lane];
        loss += f64::from(sum[lane].ln() - right);
    }
    if gradient {
        probabilities(logits, &max, &factor);
        for (lane, &target) in targets
            .iter()
            .enumerate()
            .filter(|(_, target)| **target >= 0)
        {
            logits[target as usize * LANES + lane] -= 1.0;
        }
    }
    loss
}
