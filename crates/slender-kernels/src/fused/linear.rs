//! A linear map without bias and its gradients, on rows.

use super::buffers::{fresh, scratch};
use super::gemm::{LANES, Left, Out, Right, multiply, multiply_by_rows};
use super::panels::{packed_len, panels_of, rows_to_packed, to_lanes, to_rows};
use rayon::prelude::*;

/// Most panels that a task of a row-wise kernel takes.
const MAX_GROUP: usize = 8;
/// Rows of a weight gradient that a task takes, eight tiles.
const GRADIENT_ROWS: usize = 96;

/// Panels that a task takes of `panels`: as many as keep all threads at work, since every task reads
/// the weights once. Does not influence any result.
pub(crate) fn group_of(panels: usize) -> usize {
    let threads = rayon::current_num_threads();
    let rounds = panels.div_ceil(threads * MAX_GROUP).max(1);
    panels.div_ceil(rounds * threads).max(1)
}

/// Rows `x` `[N, from]` to rows `[N, to]`, by `left` as a `[to, from]` matrix.
fn map(x: &[f32], [from, to]: [usize; 2], left: Left<'_>) -> Vec<f32> {
    let tokens = x.len() / from;
    let mut y = fresh(tokens * to);
    let group = group_of(panels_of(tokens)) * LANES;
    y.par_chunks_mut(group * to)
        .zip(x.par_chunks(group * from))
        .for_each(|(y, x)| {
            let panels = panels_of(x.len() / from);
            let mut input = scratch(panels * from * LANES);
            let mut output = scratch(panels * to * LANES);
            for (x, input) in x
                .chunks(LANES * from)
                .zip(input.chunks_exact_mut(from * LANES))
            {
                to_lanes(x, x.len() / from, from, from, input);
            }
            multiply(
                [to, from, panels],
                left,
                Right::new(&input, from * LANES),
                Out::panels(&mut output, to * LANES, false),
            );
            for (y, output) in y
                .chunks_mut(LANES * to)
                .zip(output.chunks_exact(to * LANES))
            {
                to_rows(output, y.len() / to, to, y, to);
            }
        });
    y
}

/// `x` `[N, in]` by `weight` `[out, in]` to `[N, out]`.
pub(crate) fn forward(x: &[f32], weight: &[f32], inner: usize) -> Vec<f32> {
    map(x, [inner, weight.len() / inner], Left::Rows(weight, inner))
}

/// `dy` `[N, out]` by `weight` `[out, in]` to the gradient of `x`, `[N, in]`.
pub(crate) fn input_gradient(dy: &[f32], weight: &[f32], outer: usize) -> Vec<f32> {
    let inner = weight.len() / outer;
    map(dy, [outer, inner], Left::Columns(weight, inner))
}

/// Adds `Σ_tokens dy · x` to, or writes it over, `gradient` `[out, in]`.
pub(crate) fn weight_gradient(
    dy: &[f32],
    x: &[f32],
    gradient: &mut [f32],
    inner: usize,
    accumulate: bool,
) {
    let outer = gradient.len() / inner;
    let tokens = x.len() / inner;
    let panels = panels_of(tokens);
    let mut lanes = scratch(panels * outer * LANES);
    let mut packed = scratch(panels * packed_len(inner));
    lanes
        .par_chunks_exact_mut(outer * LANES)
        .zip(packed.par_chunks_exact_mut(packed_len(inner)))
        .zip(
            dy.par_chunks(LANES * outer)
                .zip(x.par_chunks(LANES * inner)),
        )
        .for_each(|((lanes, packed), (dy, x))| {
            to_lanes(dy, dy.len() / outer, outer, outer, lanes);
            rows_to_packed(x, x.len() / inner, inner, inner, packed);
        });
    let gradient = Gradient {
        gradient,
        accumulate,
        inner,
        dy: &lanes,
        dy_panel: outer * LANES,
        dy_row: 0,
        x: &packed,
    };
    weight_gradients([gradient], tokens);
}

/// What a weight's gradient `Σ_tokens dy · x` is computed from.
pub(crate) struct Gradient<'a> {
    /// `[out, in]`.
    pub gradient: &'a mut [f32],
    /// Adds to what is there.
    pub accumulate: bool,
    /// Columns of the weight.
    pub inner: usize,
    /// Token panels that hold the output's gradient, `dy_panel` apart, from row `dy_row` on.
    pub dy: &'a [f32],
    pub dy_panel: usize,
    pub dy_row: usize,
    /// Feature panels of the input.
    pub x: &'a [f32],
}

/// Several weights' gradients over `tokens` tokens, each divided among all threads.
pub(crate) fn weight_gradients<'a>(
    gradients: impl IntoIterator<Item = Gradient<'a>>,
    tokens: usize,
) {
    let gradients: Vec<Gradient<'a>> = gradients.into_iter().collect();
    gradients.into_par_iter().for_each(|g| {
        multiply_by_rows(
            [g.gradient.len() / g.inner, tokens, g.inner.div_ceil(LANES)],
            Left::Panels(&g.dy[g.dy_row * LANES..], g.dy_panel),
            Right {
                data: g.x,
                panel: LANES * LANES,
                outer: packed_len(g.inner),
            },
            Out::rows(g.gradient, g.inner, g.accumulate),
            GRADIENT_ROWS,
        );
    });
}

/// `x ← factor · x (+ sum)` on all threads.
pub(crate) fn scale(x: &mut [f32], factor: f32, sum: Option<&[f32]>) {
    const BLOCK: usize = 1 << 14;
    match sum {
        None if factor == 1.0 => {}
        None => x
            .par_chunks_mut(BLOCK)
            .for_each(|x| x.iter_mut().for_each(|x| *x *= factor)),
        Some(sum) => x
            .par_chunks_mut(BLOCK)
            .zip(sum.par_chunks(BLOCK))
            .for_each(|(x, sum)| {
                x.iter_mut()
                    .zip(sum)
                    .for_each(|(x, sum)| *x = *x * factor + sum)
            }),
    }
}
