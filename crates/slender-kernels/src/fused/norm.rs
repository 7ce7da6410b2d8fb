//! RMSNorm rows: `y = x · r · w` with `r = 1/sqrt(mean(x²) + eps)`.
//!
//! Backward: with `g = dy · w`, `dx = r·g - x · r³/D · Σ(g·x)` and `dw = Σ_rows dy · x · r`.

use super::simd::{multiversion, sum_by};
use rayon::prelude::*;

/// Rows a task takes; also the unit over which weight gradients are summed.
const ROWS: usize = 32;

multiversion! {
    /// Rows of `w.len()` elements.
    pub(crate) fn forward_rows(x: &[f32], w: &[f32], y: &mut [f32], eps: f32) {
        let d = w.len();
        for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
            let r = 1.0 / (sum_by(d, |i| x[i] * x[i]) / d as f32 + eps).sqrt();
            for i in 0..d {
                y[i] = x[i] * r * w[i];
            }
        }
    }
}

multiversion! {
    /// Gradients of rows; adds to `dw`.
    pub(crate) fn backward_rows(x: &[f32], w: &[f32], dy: &[f32], dx: &mut [f32], dw: &mut [f32], eps: f32) {
        let d = w.len();
        for ((x, dy), dx) in x.chunks_exact(d).zip(dy.chunks_exact(d)).zip(dx.chunks_exact_mut(d)) {
            let r = 1.0 / (sum_by(d, |i| x[i] * x[i]) / d as f32 + eps).sqrt();
            let dot = sum_by(d, |i| dy[i] * w[i] * x[i]);
            let c = r * r * r / d as f32 * dot;
            for i in 0..d {
                dx[i] = dy[i] * w[i] * r - x[i] * c;
                dw[i] += dy[i] * x[i] * r;
            }
        }
    }
}

/// `x` `[N, D]`, `w` `[D]` to `[N, D]`.
pub(crate) fn forward(x: &[f32], w: &[f32], eps: f32) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    let block = ROWS * w.len();
    y.par_chunks_mut(block)
        .zip(x.par_chunks(block))
        .for_each(|(y, x)| forward_rows(x, w, y, eps));
    y
}

/// Gradients of `x` `[N, D]` and `w` `[D]`.
pub(crate) fn backward(x: &[f32], w: &[f32], dy: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>) {
    let d = w.len();
    let block = ROWS * d;
    let mut dx = vec![0.0; x.len()];
    let mut partial = vec![0.0; x.len().div_ceil(block) * d];
    dx.par_chunks_mut(block)
        .zip(x.par_chunks(block))
        .zip(dy.par_chunks(block))
        .zip(partial.par_chunks_mut(d))
        .for_each(|(((dx, x), dy), dw)| backward_rows(x, w, dy, dx, dw, eps));
    let mut dw = vec![0.0; d];
    for part in partial.chunks_exact(d) {
        dw.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    (dx, dw)
}
