//! What happens to rows between products: norms, rotations, activations. The arithmetic, and so the
//! bits, is that of the training kernels.

use super::Team;
use crate::fused::norm::forward_rows;
use crate::fused::rope::rotate;
use crate::fused::swiglu::forward_block;

/// Rows that a thread takes at a time; fewer are not worth sharing out.
const ROWS: usize = 16;

/// Rows `x` `[N, D]`, each normalised and scaled by `weight` `[D]`, to `y`, which is given its length.
pub fn rms_norm_rows(team: &Team, x: &[f32], weight: &[f32], eps: f64, y: &mut Vec<f32>) {
    y.resize(x.len(), 0.0);
    let len = ROWS * weight.len();
    team.chunks_mut(y, len, |index, y| {
        forward_rows(&x[index * len..][..y.len()], weight, y, eps as f32);
    });
}

/// `silu(gate) · up` of `rows` `[N, width]`, in which `gate` and `up` are columns, to `y` `[N, F]`,
/// which is given its length.
pub fn swiglu_rows(
    team: &Team,
    rows: &[f32],
    width: usize,
    [gate, up]: [std::ops::Range<usize>; 2],
    y: &mut Vec<f32>,
) {
    let f = gate.len();
    y.resize(rows.len() / width * f, 0.0);
    team.chunks_mut(y, ROWS * f, |index, y| {
        let rows = rows[index * ROWS * width..].chunks_exact(width);
        for (row, y) in rows.zip(y.chunks_exact_mut(f)) {
            forward_block(&row[gate.clone()], &row[up.clone()], y);
        }
    });
}

/// `max(x, 0)` of the first `f` columns of `rows` `[N, width]` to `y` `[N, f]`, which is given its length.
pub fn relu_rows(rows: &[f32], width: usize, f: usize, y: &mut Vec<f32>) {
    y.clear();
    for row in rows.chunks_exact(width) {
        y.extend(row[..f].iter().map(|x| x.max(0.0)));
    }
}

/// Cosines and sines of positions on the host, `[T, Dh/2]` each.
#[derive(Clone, Debug)]
pub struct Rope {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl Rope {
    /// From the rows of a table for heads of width `head_dim`.
    pub fn new(cos: Vec<f32>, sin: Vec<f32>, head_dim: usize) -> Self {
        Self {
            cos,
            sin,
            half: head_dim / 2,
        }
    }

    /// Rotates the heads in `heads` `[H·Dh]` as at `position`.
    pub fn rotate(&self, heads: &mut [f32], position: usize, scratch: &mut Vec<f32>) {
        let at = position * self.half..(position + 1) * self.half;
        scratch.clear();
        scratch.extend_from_slice(heads);
        rotate(scratch, &self.cos[at.clone()], &self.sin[at], heads, 1.0);
    }
}
