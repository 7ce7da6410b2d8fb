//! SwiGLU elements: `y = g·σ(g)·u`; `dg = dy·u·σ(g)·(1 + g·(1 - σ(g)))`, `du = dy·g·σ(g)`.

use super::simd::{exp, multiversion};
use rayon::prelude::*;

/// Elements a task takes.
const BLOCK: usize = 1 << 13;

multiversion! {
    /// `y` from equal lengths of `gate` and `up`.
    pub(crate) fn forward_block(gate: &[f32], up: &[f32], y: &mut [f32]) {
        for ((y, &g), &u) in y.iter_mut().zip(gate).zip(up) {
            *y = g / (1.0 + exp(-g)) * u;
        }
    }
}

multiversion! {
    fn backward_block(gate: &[f32], up: &[f32], dy: &[f32], dg: &mut [f32], du: &mut [f32]) {
        let inputs = gate.iter().zip(up).zip(dy);
        for ((dg, du), ((&g, &u), &dy)) in dg.iter_mut().zip(du).zip(inputs) {
            let sigmoid = 1.0 / (1.0 + exp(-g));
            *dg = dy * u * sigmoid * (1.0 + g * (1.0 - sigmoid));
            *du = dy * g * sigmoid;
        }
    }
}

multiversion! {
    /// Turns `gate` and `up` into their gradients and `dh` into the output, in place.
    pub(crate) fn backward_in_place(gate: &mut [f32], up: &mut [f32], dh: &mut [f32]) {
        for ((gate, up), dh) in gate.iter_mut().zip(up).zip(dh) {
            let (g, u, dy) = (*gate, *up, *dh);
            let sigmoid = 1.0 / (1.0 + exp(-g));
            let silu = g * sigmoid;
            *gate = dy * u * sigmoid * (1.0 + g * (1.0 - sigmoid));
            *up = dy * silu;
            *dh = silu * u;
        }
    }
}

/// Elementwise over equal lengths.
pub(crate) fn forward(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; gate.len()];
    y.par_chunks_mut(BLOCK)
        .zip(gate.par_chunks(BLOCK))
        .zip(up.par_chunks(BLOCK))
        .for_each(|((y, gate), up)| forward_block(gate, up, y));
    y
}

/// Gradients of `gate` and `up`.
pub(crate) fn backward(gate: &[f32], up: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let mut dg = vec![0.0; gate.len()];
    let mut du = vec![0.0; gate.len()];
    dg.par_chunks_mut(BLOCK)
        .zip(du.par_chunks_mut(BLOCK))
        .zip(gate.par_chunks(BLOCK))
        .zip(up.par_chunks(BLOCK))
        .zip(dy.par_chunks(BLOCK))
        .for_each(|((((dg, du), gate), up), dy)| backward_block(gate, up, dy, dg, du));
    (dg, du)
}
