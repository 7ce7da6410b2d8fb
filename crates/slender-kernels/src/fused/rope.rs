//! Rotary embedding on the token-major layout, one pass, no copies of halves.

use super::gemm::LANES;
use super::simd::multiversion;
use rayon::prelude::*;

/// Tokens a task takes.
const TOKENS: usize = 64;

multiversion! {
    /// Rotates the heads of one token.
    pub(crate) fn rotate(x: &[f32], cos: &[f32], sin: &[f32], y: &mut [f32], direction: f32) {
        let half = cos.len();
        for (x, y) in x.chunks_exact(2 * half).zip(y.chunks_exact_mut(2 * half)) {
            let ((x1, x2), (y1, y2)) = (x.split_at(half), y.split_at_mut(half));
            for i in 0..half {
                let s = sin[i] * direction;
                y1[i] = x1[i] * cos[i] - x2[i] * s;
                y2[i] = x2[i] * cos[i] + x1[i] * s;
            }
        }
    }
}

/// Cosines, then sines, of one panel of tokens, `[2][Dh/2][32]`, from tables `[T.., Dh/2]`; tokens
/// count on from sequence to sequence of `t`.
pub(crate) fn lane_table(
    cos: &[f32],
    sin: &[f32],
    half: usize,
    t: usize,
    panel: usize,
    out: &mut [f32],
) {
    for lane in 0..LANES {
        let position = (panel * LANES + lane) % t;
        let rows = [cos, sin].map(|table| &table[position * half..(position + 1) * half]);
        for (part, row) in out.chunks_exact_mut(half * LANES).zip(rows) {
            for (lanes, &value) in part.chunks_exact_mut(LANES).zip(row) {
                lanes[lane] = value;
            }
        }
    }
}

multiversion! {
    /// Rotates one head in a token panel, `[Dh][32]`, in place, by a table of [`lane_table`].
    pub(crate) fn rotate_lanes(head: &mut [f32], table: &[f32], direction: f32) {
        let (first, second) = head.split_at_mut(head.len() / 2);
        let (cos, sin) = table.split_at(first.len());
        for (((a, b), &cos), &sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
            let (x1, x2, s) = (*a, *b, sin * direction);
            *a = x1 * cos - x2 * s;
            *b = x2 * cos + x1 * s;
        }
    }
}

/// `x` `[B, T, H, Dh]` rotated by `cos`, `sin` `[T.., Dh/2]`; `direction` -1 rotates back.
pub(crate) fn forward(
    x: &[f32],
    dims: [usize; 4],
    cos: &[f32],
    sin: &[f32],
    direction: f32,
) -> Vec<f32> {
    let [_, t, h, d] = dims;
    let (token, half) = (h * d, d / 2);
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(token * TOKENS)
        .zip(x.par_chunks(token * TOKENS))
        .enumerate()
        .for_each(|(block, (y, x))| {
            for (i, (y, x)) in y
                .chunks_exact_mut(token)
                .zip(x.chunks_exact(token))
                .enumerate()
            {
                let position = (block * TOKENS + i) % t;
                let at = position * half..(position + 1) * half;
                rotate(x, &cos[at.clone()], &sin[at], y, direction);
            }
        });
    y
}
