//! A whole SwiGLU half of a block: `y = x + down(silu(gate(n)) · up(n))` with `n = norm(x)`.
//!
//! Tasks take a few panels of tokens through everything, so that intermediate results stay in cache
//! and threads meet once. Training keeps the gate and up projections and nothing else; the backward
//! pass normalises again (a hundredth of the products), and overwrites what was kept with gradients.

use super::buffers::{fresh, scratch};
use super::gemm::{LANES, Left, Out, Right, multiply};
use super::linear::{Gradient, group_of, weight_gradients};
use super::norm::{backward_rows, forward_rows};
use super::panels::{lanes_to_packed, packed_len, panels_of, rows_to_packed, to_lanes, to_rows};
use super::swiglu::{backward_in_place, forward_block};
use rayon::prelude::*;

/// Features of the hidden layer that a task computes at a time: their gate, up and product stay in
/// the second-level cache.
const FEATURES: usize = 96;

/// Weights of a half-block.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    /// `[D]`.
    pub norm: &'a [f32],
    /// `[F, D]`.
    pub gate: &'a [f32],
    /// `[F, D]`.
    pub up: &'a [f32],
    /// `[D, F]`.
    pub down: &'a [f32],
    /// Added to the mean square.
    pub eps: f32,
}

impl Weights<'_> {
    fn dim(&self) -> usize {
        self.norm.len()
    }

    fn hidden(&self) -> usize {
        self.up.len() / self.dim()
    }

    /// Elements that training keeps for `tokens` tokens: gate and up in token panels.
    pub(crate) fn kept_len(&self, tokens: usize) -> usize {
        panels_of(tokens) * 2 * self.hidden() * LANES
    }
}

/// Normalised token panels of rows `x`.
pub(crate) fn normed_lanes(x: &[f32], norm: &[f32], eps: f32, out: &mut [f32]) {
    let d = norm.len();
    let mut rows = scratch(LANES * d);
    for (x, out) in x.chunks(LANES * d).zip(out.chunks_exact_mut(d * LANES)) {
        forward_rows(x, norm, &mut rows, eps);
        to_lanes(&rows, x.len() / d, d, d, out);
    }
}

/// Rows `x` `[N, D]` to `y` `[N, D]`; fills `kept` where it is given.
pub(crate) fn forward(x: &[f32], w: &Weights<'_>, kept: Option<&mut [f32]>) -> Vec<f32> {
    let (d, f) = (w.dim(), w.hidden());
    let tokens = x.len() / d;
    let group = group_of(panels_of(tokens));
    let mut y = fresh(x.len());
    let rows = y
        .par_chunks_mut(group * LANES * d)
        .zip(x.par_chunks(group * LANES * d));
    match kept {
        Some(kept) => rows
            .zip(kept.par_chunks_mut(group * 2 * f * LANES))
            .for_each(|((y, x), kept)| forward_group(x, w, y, kept)),
        None => rows.for_each(|(y, x)| {
            let mut kept = scratch(panels_of(x.len() / d) * 2 * f * LANES);
            forward_group(x, w, y, &mut kept);
        }),
    }
    y
}

fn forward_group(x: &[f32], w: &Weights<'_>, y: &mut [f32], kept: &mut [f32]) {
    let (d, f) = (w.dim(), w.hidden());
    let panels = panels_of(x.len() / d);
    let mut normed = scratch(panels * d * LANES);
    let mut hidden = scratch(panels * f * LANES);
    normed_lanes(x, w.norm, w.eps, &mut normed);
    for first in (0..f).step_by(FEATURES) {
        let count = FEATURES.min(f - first);
        for (weight, at) in [(w.gate, first), (w.up, f + first)] {
            multiply(
                [count, d, panels],
                Left::Rows(&weight[first * d..], d),
                Right::new(&normed, d * LANES),
                Out::panels(&mut kept[at * LANES..], 2 * f * LANES, false),
            );
        }
        for panel in 0..panels {
            let kept = &kept[panel * 2 * f * LANES..][..2 * f * LANES];
            let (gate, up) = kept.split_at(f * LANES);
            let range = first * LANES..(first + count) * LANES;
            let hidden = &mut hidden[panel * f * LANES..][range.clone()];
            forward_block(&gate[range.clone()], &up[range], hidden);
        }
    }
    let mut out = normed;
    multiply(
        [d, f, panels],
        Left::Rows(w.down, f),
        Right::new(&hidden, f * LANES),
        Out::panels(&mut out, d * LANES, false),
    );
    add_rows(&out, x, d, y);
}

/// `y = x + out`, from token panels `out` to rows.
pub(crate) fn add_rows(out: &[f32], x: &[f32], d: usize, y: &mut [f32]) {
    for ((y, x), out) in y
        .chunks_mut(LANES * d)
        .zip(x.chunks(LANES * d))
        .zip(out.chunks_exact(d * LANES))
    {
        to_rows(out, y.len() / d, d, y, d);
        y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
    }
}

/// A weight's gradient to be written or added to.
pub(crate) struct Target<'a> {
    pub values: &'a mut [f32],
    /// Adds to what is there.
    pub accumulate: bool,
}

/// Gradients of the weights.
pub(crate) struct Targets<'a> {
    pub norm: Target<'a>,
    pub gate: Target<'a>,
    pub up: Target<'a>,
    pub down: Target<'a>,
}

/// The gradient of `x` from that of `y`; writes the gradients of the weights.
///
/// `kept` is what [`forward`] filled; it is overwritten.
pub(crate) fn backward(
    x: &[f32],
    w: &Weights<'_>,
    kept: &mut [f32],
    dy: &[f32],
    targets: Targets<'_>,
) -> Vec<f32> {
    let (d, f) = (w.dim(), w.hidden());
    let tokens = x.len() / d;
    let panels = panels_of(tokens);
    let group = group_of(panels);
    let mut dx = fresh(x.len());
    let mut dnorm = scratch(panels * d);
    let mut dy_lanes = scratch(panels * d * LANES);
    let mut normed = scratch(panels * packed_len(d));
    let mut hidden = scratch(panels * packed_len(f));
    let rows = group * LANES * d;
    dx.par_chunks_mut(rows)
        .zip(x.par_chunks(rows).zip(dy.par_chunks(rows)))
        .zip(kept.par_chunks_mut(group * 2 * f * LANES))
        .zip(
            dnorm
                .par_chunks_mut(group * d)
                .zip(dy_lanes.par_chunks_mut(group * d * LANES)),
        )
        .zip(normed.par_chunks_mut(group * packed_len(d)))
        .zip(hidden.par_chunks_mut(group * packed_len(f)))
        .for_each(
            |(((((dx, (x, dy)), kept), (dnorm, dy_lanes)), normed), hidden)| {
                Group {
                    x,
                    dy,
                    dx,
                    kept,
                    dnorm,
                    dy_lanes,
                    normed,
                    hidden,
                }
                .backward(w);
            },
        );
    sum_rows(&dnorm, targets.norm);
    weight_gradients(
        [
            Gradient {
                gradient: targets.gate.values,
                accumulate: targets.gate.accumulate,
                inner: d,
                dy: kept,
                dy_panel: 2 * f * LANES,
                dy_row: 0,
                x: &normed,
            },
            Gradient {
                gradient: targets.up.values,
                accumulate: targets.up.accumulate,
                inner: d,
                dy: kept,
                dy_panel: 2 * f * LANES,
                dy_row: f,
                x: &normed,
            },
            Gradient {
                gradient: targets.down.values,
                accumulate: targets.down.accumulate,
                inner: f,
                dy: &dy_lanes,
                dy_panel: d * LANES,
                dy_row: 0,
                x: &hidden,
            },
        ],
        tokens,
    );
    dx
}

/// Sums rows of partial gradients in order.
pub(crate) fn sum_rows(parts: &[f32], target: Target<'_>) {
    if !target.accumulate {
        target.values.fill(0.0);
    }
    for part in parts.chunks_exact(target.values.len()) {
        target
            .values
            .iter_mut()
            .zip(part)
            .for_each(|(sum, part)| *sum += part);
    }
}

/// What one task of the backward pass reads and writes, for its panels.
struct Group<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    /// Gate and up, then their gradients.
    kept: &'a mut [f32],
    /// A row a panel.
    dnorm: &'a mut [f32],
    /// Token panels of `dy`.
    dy_lanes: &'a mut [f32],
    /// Feature panels of the normalised input.
    normed: &'a mut [f32],
    /// Feature panels of the hidden layer.
    hidden: &'a mut [f32],
}

impl Group<'_> {
    fn backward(self, w: &Weights<'_>) {
        let (d, f) = (w.dim(), w.hidden());
        let panels = panels_of(self.x.len() / d);
        let mut rows = scratch(LANES * d);
        for (((x, dy), dy_lanes), normed) in self
            .x
            .chunks(LANES * d)
            .zip(self.dy.chunks(LANES * d))
            .zip(self.dy_lanes.chunks_exact_mut(d * LANES))
            .zip(self.normed.chunks_exact_mut(packed_len(d)))
        {
            let count = x.len() / d;
            to_lanes(dy, count, d, d, dy_lanes);
            forward_rows(x, w.norm, &mut rows, w.eps);
            rows_to_packed(&rows, count, d, d, normed);
        }
        let mut dh = scratch(panels * FEATURES * LANES);
        for first in (0..f).step_by(FEATURES) {
            let count = FEATURES.min(f - first);
            multiply(
                [count, d, panels],
                Left::Columns(&w.down[first..], f),
                Right::new(self.dy_lanes, d * LANES),
                Out::panels(&mut dh, FEATURES * LANES, false),
            );
            let range = first * LANES..(first + count) * LANES;
            for (panel, dh) in dh.chunks_exact_mut(FEATURES * LANES).enumerate() {
                let kept = &mut self.kept[panel * 2 * f * LANES..][..2 * f * LANES];
                let (gate, up) = kept.split_at_mut(f * LANES);
                let dh = &mut dh[..count * LANES];
                backward_in_place(&mut gate[range.clone()], &mut up[range.clone()], dh);
                let hidden = &mut self.hidden[panel * packed_len(f)..][..packed_len(f)];
                let blocks = first * LANES..packed_len(first + count);
                lanes_to_packed(dh, count, &mut hidden[blocks]);
            }
        }
        let mut dnormed = scratch(panels * d * LANES);
        for (weight, at, accumulate) in [(w.gate, 0, false), (w.up, f, true)] {
            multiply(
                [d, f, panels],
                Left::Columns(weight, d),
                Right::new(&self.kept[at * LANES..], 2 * f * LANES),
                Out::panels(&mut dnormed, d * LANES, accumulate),
            );
        }
        norm_backward(
            self.x, w.norm, w.eps, &dnormed, self.dy, self.dx, self.dnorm,
        );
    }
}

/// The end of both halves' backward pass: through the norm, plus the residual's own gradient.
///
/// `dnormed` is in token panels; `dnorm` gets a row of partial sums a panel.
pub(crate) fn norm_backward(
    x: &[f32],
    norm: &[f32],
    eps: f32,
    dnormed: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dnorm: &mut [f32],
) {
    let d = norm.len();
    let mut rows = scratch(LANES * d);
    for ((((x, dy), dx), dnormed), dnorm) in x
        .chunks(LANES * d)
        .zip(dy.chunks(LANES * d))
        .zip(dx.chunks_mut(LANES * d))
        .zip(dnormed.chunks_exact(d * LANES))
        .zip(dnorm.chunks_exact_mut(d))
    {
        let count = x.len() / d;
        to_rows(dnormed, count, d, &mut rows, d);
        dnorm.fill(0.0);
        backward_rows(x, norm, &rows[..count * d], dx, dnorm, eps);
        dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy);
    }
}
