//! Causal grouped-query attention over tiles of query rows.
//!
//! A tile of rows sees a contiguous range of keys, from the first key of its first row's document
//! to the key of its last row. Its scores live in a scratch buffer of `TILE x keys` and are gone
//! after the tile, so memory is linear in the sequence. The backward pass computes the scores again.
//!
//! Tasks are (sequence, head) pairs. Key and value gradients are first written per query head and
//! then summed over each group in head order, so no two threads write the same place.

use super::linear::{Threads, View, product};
use super::simd::{exp, multiversion, sum_by};
use rayon::prelude::*;

/// Query rows of a tile.
const TILE: usize = 64;

/// Shapes of one attention call.
#[derive(Clone, Copy)]
pub(crate) struct Dims {
    pub batch: usize,
    /// Query positions.
    pub t: usize,
    /// Key positions; the queries are the last `t` of them.
    pub s: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
}

impl Dims {
    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

multiversion! {
    /// Softmax of each row over its own range of keys; everything outside becomes 0.
    fn softmax_rows(scores: &mut [f32], width: usize, ranges: &[(usize, usize)]) {
        for (row, &(from, to)) in scores.chunks_exact_mut(width).zip(ranges) {
            row[..from].fill(0.0);
            row[to..].fill(0.0);
            let row = &mut row[from..to];
            let mut max = f32::NEG_INFINITY;
            for &x in row.iter() {
                // Written so that a NaN is not lost.
                max = if x > max || x.is_nan() { x } else { max };
            }
            for x in row.iter_mut() {
                *x = exp(*x - max);
            }
            let inverse = 1.0 / sum_by(row.len(), |i| row[i]);
            for x in row.iter_mut() {
                *x *= inverse;
            }
        }
    }
}

multiversion! {
    /// `ds = p · (dp - delta)` row by row, into `dp`.
    fn score_gradient(p: &[f32], dp: &mut [f32], width: usize, delta: &[f32]) {
        for ((p, dp), &delta) in p.chunks_exact(width).zip(dp.chunks_exact_mut(width)).zip(delta) {
            for (dp, &p) in dp.iter_mut().zip(p) {
                *dp = p * (*dp - delta);
            }
        }
    }
}

multiversion! {
    /// `Σ dout · out` of each row; rows are `stride` apart.
    fn row_dots(a: &[f32], b: &[f32], stride: usize, d: usize, out: &mut [f32]) {
        for (row, out) in out.iter_mut().enumerate() {
            let (a, b) = (&a[row * stride..row * stride + d], &b[row * stride..row * stride + d]);
            *out = sum_by(d, |i| a[i] * b[i]);
        }
    }
}

/// A tile: its query rows, its keys, and each row's range relative to the tile's first key.
struct Tile {
    row: usize,
    rows: usize,
    key: usize,
    keys: usize,
    ranges: Vec<(usize, usize)>,
}

fn tiles<'a>(dims: &'a Dims, starts: &'a [i32]) -> impl Iterator<Item = Tile> + 'a {
    (0..dims.t).step_by(TILE).map(move |row| {
        let rows = TILE.min(dims.t - row);
        let last_key = |i: usize| i + dims.s - dims.t;
        let start = |i: usize| (starts[i].max(0) as usize).min(last_key(i));
        // Documents follow one another, so the first row starts earliest.
        let key = (row..row + rows).map(start).min().unwrap_or(0);
        let ranges = (row..row + rows)
            .map(|i| (start(i) - key, last_key(i) + 1 - key))
            .collect();
        Tile {
            row,
            rows,
            key,
            keys: last_key(row + rows - 1) + 1 - key,
            ranges,
        }
    })
}

/// The part of `x` `[B, T, H, Dh]` that begins at one position and head; rows are `H·Dh` apart.
fn head(
    x: &[f32],
    positions: usize,
    heads: usize,
    d: usize,
    b: usize,
    position: usize,
    h: usize,
) -> &[f32] {
    let end = (b + 1) * positions * heads * d;
    &x[((b * positions + position) * heads + h) * d..end]
}

/// The starts of one sequence: its own row, or the one row that serves all.
fn starts_of(starts: &[i32], t: usize, b: usize) -> &[i32] {
    if starts.len() == t {
        starts
    } else {
        &starts[b * t..(b + 1) * t]
    }
}

/// Probabilities of a tile into `p`.
fn probabilities(
    p: &mut Vec<f32>,
    q: &[f32],
    k: &[f32],
    dims: &Dims,
    tile: &Tile,
    b: usize,
    h: usize,
) {
    let (d, kv) = (dims.head_dim, h / (dims.heads / dims.kv_heads));
    let q = View::strided(
        head(q, dims.t, dims.heads, d, b, tile.row, h),
        tile.rows,
        d,
        dims.heads * d,
    );
    let k = View::strided(
        head(k, dims.s, dims.kv_heads, d, b, tile.key, kv),
        tile.keys,
        d,
        dims.kv_heads * d,
    );
    p.resize(tile.rows * tile.keys, 0.0);
    product(p, tile.keys, q, k.t(), dims.scale(), false, Threads::One);
    softmax_rows(p, tile.keys, &tile.ranges);
}

/// `q` `[B, T, H, Dh]`, `k` and `v` `[B, S, K, Dh]` to `[B, T, H, Dh]`.
pub(crate) fn forward(q: &[f32], k: &[f32], v: &[f32], starts: &[i32], dims: &Dims) -> Vec<f32> {
    let d = dims.head_dim;
    // Head-major while computing, so that every task owns a contiguous piece.
    let mut by_head = vec![0.0; dims.batch * dims.heads * dims.t * d];
    by_head
        .par_chunks_mut(dims.t * d)
        .enumerate()
        .for_each_init(Vec::new, |p, (index, out)| {
            let (b, h) = (index / dims.heads, index % dims.heads);
            let kv = h / (dims.heads / dims.kv_heads);
            for tile in tiles(dims, starts_of(starts, dims.t, b)) {
                probabilities(p, q, k, dims, &tile, b, h);
                let v = head(v, dims.s, dims.kv_heads, d, b, tile.key, kv);
                let v = View::strided(v, tile.keys, d, dims.kv_heads * d);
                let out = &mut out[tile.row * d..(tile.row + tile.rows) * d];
                product(
                    out,
                    d,
                    View::new(p, tile.rows, tile.keys),
                    v,
                    1.0,
                    false,
                    Threads::One,
                );
            }
        });
    token_major(&by_head, dims.t, dims.heads, d, dims.heads)
}

/// `[B, groups·G, T, Dh]` to `[B, T, groups, Dh]`, summing the G heads of each group in order.
fn token_major(by_head: &[f32], t: usize, heads: usize, d: usize, groups: usize) -> Vec<f32> {
    let g = heads / groups;
    let mut out = vec![0.0; by_head.len() / g];
    out.par_chunks_mut(groups * d)
        .enumerate()
        .for_each(|(token, out)| {
            let (b, position) = (token / t, token % t);
            for (group, out) in out.chunks_exact_mut(d).enumerate() {
                for h in group * g..(group + 1) * g {
                    let at = ((b * heads + h) * t + position) * d;
                    out.iter_mut()
                        .zip(&by_head[at..at + d])
                        .for_each(|(sum, x)| *sum += x);
                }
            }
        });
    out
}

#[derive(Default)]
struct Scratch {
    p: Vec<f32>,
    dp: Vec<f32>,
    delta: Vec<f32>,
}

/// Gradients of `q`, `k` and `v`.
pub(crate) fn backward(
    [q, k, v]: [&[f32]; 3],
    starts: &[i32],
    out: &[f32],
    dout: &[f32],
    dims: &Dims,
) -> [Vec<f32>; 3] {
    let d = dims.head_dim;
    let (query_len, key_len) = (dims.t * d, dims.s * d);
    let pairs = dims.batch * dims.heads;
    let mut dq = vec![0.0; pairs * query_len];
    let mut dk = vec![0.0; pairs * key_len];
    let mut dv = vec![0.0; pairs * key_len];
    let tasks = dq
        .par_chunks_mut(query_len)
        .zip(dk.par_chunks_mut(key_len))
        .zip(dv.par_chunks_mut(key_len));
    tasks
        .enumerate()
        .for_each_init(Scratch::default, |scratch, (index, ((dq, dk), dv))| {
            let (b, h) = (index / dims.heads, index % dims.heads);
            let kv = h / (dims.heads / dims.kv_heads);
            let (row_q, row_k) = (dims.heads * d, dims.kv_heads * d);
            for tile in tiles(dims, starts_of(starts, dims.t, b)) {
                let Scratch { p, dp, delta } = &mut *scratch;
                probabilities(p, q, k, dims, &tile, b, h);
                let dout = head(dout, dims.t, dims.heads, d, b, tile.row, h);
                let out = head(out, dims.t, dims.heads, d, b, tile.row, h);
                delta.resize(tile.rows, 0.0);
                row_dots(dout, out, row_q, d, delta);
                let keys = tile.key * d..(tile.key + tile.keys) * d;
                let dout = View::strided(dout, tile.rows, d, row_q);
                let probs = View::new(p, tile.rows, tile.keys);
                product(
                    &mut dv[keys.clone()],
                    d,
                    probs.t(),
                    dout,
                    1.0,
                    true,
                    Threads::One,
                );
                let v = View::strided(
                    head(v, dims.s, dims.kv_heads, d, b, tile.key, kv),
                    tile.keys,
                    d,
                    row_k,
                );
                dp.resize(tile.rows * tile.keys, 0.0);
                product(dp, tile.keys, dout, v.t(), 1.0, false, Threads::One);
                score_gradient(p, dp, tile.keys, delta);
                let ds = View::new(dp, tile.rows, tile.keys);
                let k = View::strided(
                    head(k, dims.s, dims.kv_heads, d, b, tile.key, kv),
                    tile.keys,
                    d,
                    row_k,
                );
                let dq = &mut dq[tile.row * d..(tile.row + tile.rows) * d];
                product(dq, d, ds, k, dims.scale(), false, Threads::One);
                let q = View::strided(
                    head(q, dims.t, dims.heads, d, b, tile.row, h),
                    tile.rows,
                    d,
                    row_q,
                );
                product(
                    &mut dk[keys],
                    d,
                    ds.t(),
                    q,
                    dims.scale(),
                    true,
                    Threads::One,
                );
            }
        });
    [
        token_major(&dq, dims.t, dims.heads, d, dims.heads),
        token_major(&dk, dims.s, dims.heads, d, dims.kv_heads),
        token_major(&dv, dims.s, dims.heads, d, dims.kv_heads),
    ]
}
