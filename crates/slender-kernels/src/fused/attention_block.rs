//! The whole attention half of a block: `y = x + o(attention(rope(q(n)), rope(k(n)), v(n)))` with
//! `n = norm(x)`.
//!
//! Everything between the rows of `x` and the rows of `y` is in token panels, so nothing is permuted
//! around attention. Training keeps the rotated queries, keys, the values, attention's output and
//! the two numbers of each query's softmax.

use super::attention::{self, Heads, Inputs, Of, Outputs, Ranges};
use super::buffers::{fresh, scratch};
use super::feed_forward::{Target, add_rows, norm_backward, normed_lanes, sum_rows};
use super::gemm::{LANES, Left, Out, Right, multiply};
use super::linear::{Gradient, group_of, weight_gradients};
use super::norm::forward_rows;
use super::panels::{lanes_to_packed, packed_len, panels_of, rows_to_packed, to_lanes};
use super::rope::{lane_table, rotate_lanes};
use rayon::prelude::*;

/// Weights of a half-block, with what they are multiplied by.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    /// `[D]`.
    pub norm: &'a [f32],
    /// `[H·Dh, D]`.
    pub q: &'a [f32],
    /// `[K·Dh, D]`.
    pub k: &'a [f32],
    /// `[K·Dh, D]`.
    pub v: &'a [f32],
    /// `[D, H·Dh]`.
    pub o: &'a [f32],
    /// `[T.., Dh/2]`.
    pub cos: &'a [f32],
    /// `[T.., Dh/2]`.
    pub sin: &'a [f32],
    pub heads: usize,
    pub eps: f32,
}

/// Sizes that follow from the weights.
#[derive(Clone, Copy)]
struct Sizes {
    d: usize,
    /// Width of a head.
    head: usize,
    /// Width of all query heads.
    query: usize,
    /// Width of all key heads.
    key: usize,
    kv_heads: usize,
}

impl Sizes {
    /// Rows of a panel of queries, keys and values.
    fn qkv(&self) -> usize {
        self.query + 2 * self.key
    }
}

impl<'a> Weights<'a> {
    fn sizes(&self) -> Sizes {
        let d = self.norm.len();
        let (query, key) = (self.q.len() / d, self.k.len() / d);
        let head = query / self.heads;
        Sizes {
            d,
            head,
            query,
            key,
            kv_heads: key / head,
        }
    }

    /// The three projections, each with its first row among queries, keys and values.
    fn projections(&self) -> [(&'a [f32], usize); 3] {
        let Sizes { query, key, .. } = self.sizes();
        [(self.q, 0), (self.k, query), (self.v, query + key)]
    }

    /// Rotates the queries and keys of one panel.
    fn rotate(&self, qkv: &mut [f32], t: usize, panel: usize, direction: f32) {
        let Sizes {
            head, query, key, ..
        } = self.sizes();
        let mut table = scratch(head * LANES);
        lane_table(self.cos, self.sin, head / 2, t, panel, &mut table);
        for head in qkv[..(query + key) * LANES].chunks_exact_mut(head * LANES) {
            rotate_lanes(head, &table, direction);
        }
    }

    fn inputs<'b>(&self, qkv: &'b [f32], ranges: &'b Ranges) -> Inputs<'b> {
        let sizes = self.sizes();
        let part = |at| Heads {
            data: qkv,
            width: sizes.qkv(),
            at,
        };
        Inputs {
            q: part(0),
            k: part(sizes.query),
            v: part(sizes.query + sizes.key),
            heads: self.heads,
            kv_heads: sizes.kv_heads,
            head_dim: sizes.head,
            ranges,
        }
    }

    /// Lengths of what training keeps for `tokens` tokens; see [`Kept`].
    pub(crate) fn kept_len(&self, tokens: usize) -> [usize; 3] {
        let (sizes, panels) = (self.sizes(), panels_of(tokens));
        [sizes.qkv(), sizes.query, 2 * self.heads].map(|rows| panels * rows * LANES)
    }
}

/// What the forward pass leaves for the backward pass, in token panels.
pub(crate) struct Kept<'a> {
    /// Rotated queries and keys, and values: `[panel][(H + 2 K)·Dh][32]`.
    pub qkv: &'a mut [f32],
    /// Attention's output, `[panel][H·Dh][32]`.
    pub out: &'a mut [f32],
    /// Maximum and inverse sum of each query's softmax, `[panel][H][2][32]`.
    pub softmax: &'a mut [f32],
}

/// Rows `x` `[N, D]` of sequences of `t` tokens to `y` `[N, D]`; fills `kept`.
pub(crate) fn forward(
    x: &[f32],
    w: &Weights<'_>,
    t: usize,
    ranges: &Ranges,
    kept: &mut Kept<'_>,
) -> Vec<f32> {
    let sizes = w.sizes();
    let d = sizes.d;
    let group = group_of(panels_of(x.len() / d));
    let rows = group * LANES * d;
    kept.qkv
        .par_chunks_mut(group * sizes.qkv() * LANES)
        .zip(x.par_chunks(rows))
        .enumerate()
        .for_each(|(index, (qkv, x))| {
            let panels = panels_of(x.len() / d);
            let mut normed = scratch(panels * d * LANES);
            normed_lanes(x, w.norm, w.eps, &mut normed);
            for (weight, row) in w.projections() {
                multiply(
                    [weight.len() / d, d, panels],
                    Left::Rows(weight, d),
                    Right::new(&normed, d * LANES),
                    Out::panels(&mut qkv[row * LANES..], sizes.qkv() * LANES, false),
                );
            }
            for (panel, qkv) in qkv.chunks_exact_mut(sizes.qkv() * LANES).enumerate() {
                w.rotate(qkv, t, index * group + panel, 1.0);
            }
        });
    attention::forward(&w.inputs(kept.qkv, ranges), kept.out, kept.softmax);
    let mut y = fresh(x.len());
    y.par_chunks_mut(rows)
        .zip(x.par_chunks(rows))
        .zip(kept.out.par_chunks(group * sizes.query * LANES))
        .for_each(|((y, x), attended)| {
            let panels = panels_of(x.len() / d);
            let mut out = scratch(panels * d * LANES);
            multiply(
                [d, sizes.query, panels],
                Left::Rows(w.o, sizes.query),
                Right::new(attended, sizes.query * LANES),
                Out::panels(&mut out, d * LANES, false),
            );
            add_rows(&out, x, d, y);
        });
    y
}

/// Gradients of the weights.
pub(crate) struct Targets<'a> {
    pub norm: Target<'a>,
    pub q: Target<'a>,
    pub k: Target<'a>,
    pub v: Target<'a>,
    pub o: Target<'a>,
}

/// The gradient of `x` from that of `y`; writes the gradients of the weights.
pub(crate) fn backward(
    x: &[f32],
    w: &Weights<'_>,
    t: usize,
    ranges: &Ranges,
    kept: &Kept<'_>,
    dy: &[f32],
    targets: Targets<'_>,
) -> Vec<f32> {
    let sizes = w.sizes();
    let (d, query) = (sizes.d, sizes.query);
    let tokens = x.len() / d;
    let panels = panels_of(tokens);
    let group = group_of(panels);
    let rows = group * LANES * d;

    // Gradient of attention's output, and the operands of the weight gradients.
    let mut dy_lanes = scratch(panels * d * LANES);
    let mut dout = scratch(panels * query * LANES);
    let mut attended = scratch(panels * packed_len(query));
    let mut normed = scratch(panels * packed_len(d));
    dy_lanes
        .par_chunks_mut(group * d * LANES)
        .zip(dout.par_chunks_mut(group * query * LANES))
        .zip(kept.out.par_chunks(group * query * LANES))
        .zip(attended.par_chunks_mut(group * packed_len(query)))
        .zip(normed.par_chunks_mut(group * packed_len(d)))
        .zip(x.par_chunks(rows).zip(dy.par_chunks(rows)))
        .for_each(|(((((dy_lanes, dout), out), attended), normed), (x, dy))| {
            let mut scaled = scratch(LANES * d);
            for (((x, dy), lanes), normed) in x
                .chunks(LANES * d)
                .zip(dy.chunks(LANES * d))
                .zip(dy_lanes.chunks_exact_mut(d * LANES))
                .zip(normed.chunks_exact_mut(packed_len(d)))
            {
                let count = x.len() / d;
                to_lanes(dy, count, d, d, lanes);
                forward_rows(x, w.norm, &mut scaled, w.eps);
                rows_to_packed(&scaled, count, d, d, normed);
            }
            for (out, attended) in out
                .chunks_exact(query * LANES)
                .zip(attended.chunks_exact_mut(packed_len(query)))
            {
                lanes_to_packed(out, query, attended);
            }
            multiply(
                [query, d, panels_of(x.len() / d)],
                Left::Columns(w.o, query),
                Right::new(dy_lanes, d * LANES),
                Out::panels(dout, query * LANES, false),
            );
        });

    let outputs = Outputs {
        out: kept.out,
        softmax: kept.softmax,
        dout: &dout,
    };
    let batch = tokens / t;
    let by_head = attention::backward(&w.inputs(kept.qkv, ranges), &outputs, batch, [t, t]);

    let mut dx = fresh(x.len());
    let mut dnorm = scratch(panels * d);
    let mut dqkv = scratch(panels * sizes.qkv() * LANES);
    dx.par_chunks_mut(rows)
        .zip(x.par_chunks(rows).zip(dy.par_chunks(rows)))
        .zip(dqkv.par_chunks_mut(group * sizes.qkv() * LANES))
        .zip(dnorm.par_chunks_mut(group * d))
        .enumerate()
        .for_each(|(index, (((dx, (x, dy)), dqkv), dnorm))| {
            let count = panels_of(x.len() / d);
            for (panel, dqkv) in dqkv.chunks_exact_mut(sizes.qkv() * LANES).enumerate() {
                let panel = index * group + panel;
                let (dq, dkv) = dqkv.split_at_mut(query * LANES);
                let (dk, dv) = dkv.split_at_mut(sizes.key * LANES);
                by_head.panel(Of::Queries, panel, dq);
                by_head.panel(Of::Keys, panel, dk);
                by_head.panel(Of::Values, panel, dv);
                w.rotate(dqkv, t, panel, -1.0);
            }
            let mut dnormed = scratch(count * d * LANES);
            for (weight, row) in w.projections() {
                multiply(
                    [d, weight.len() / d, count],
                    Left::Columns(weight, d),
                    Right::new(&dqkv[row * LANES..], sizes.qkv() * LANES),
                    Out::panels(&mut dnormed, d * LANES, row > 0),
                );
            }
            norm_backward(x, w.norm, w.eps, &dnormed, dy, dx, dnorm);
        });
    sum_rows(&dnorm, targets.norm);
    let projections = w.projections().map(|(_, row)| row).into_iter();
    let gradients = projections.zip([targets.q, targets.k, targets.v]);
    let gradients = gradients.map(|(row, target)| Gradient {
        gradient: target.values,
        accumulate: target.accumulate,
        inner: d,
        dy: &dqkv,
        dy_panel: sizes.qkv() * LANES,
        dy_row: row,
        x: &normed,
    });
    let output = Gradient {
        gradient: targets.o.values,
        accumulate: targets.o.accumulate,
        inner: query,
        dy: &dy_lanes,
        dy_panel: d * LANES,
        dy_row: 0,
        x: &attended,
    };
    weight_gradients(gradients.chain([output]), tokens);
    dx
}
