//! Causal grouped-query attention on token panels.
//!
//! Queries are 32 lanes, so the softmax over keys has no horizontal sums, scores are `[keys][32]`,
//! and every product reads its operands where they lie: the left-hand side is a panel of keys or
//! values. Scores exist for one block of keys at a time; the maximum and the sum are carried along
//! (online softmax, as in FlashAttention, Dao et al., 2022), and the backward pass computes the
//! scores again and needs two numbers a query for their softmax. Memory is linear in the sequence.
//!
//! All sequences of a batch lie one after another in the same panels. A query may see a range of
//! keys, which serves causality, packed documents and the ends of sequences alike.

use super::buffers::{Scratch, scratch};
use super::gemm::{LANES, Left, Out, Right, multiply};
use super::panels::{panels_of, to_rows};
use super::simd::{exp, multiversion};
use rayon::prelude::*;

/// Panels of keys whose scores exist at once: 32 KB of them.
pub(crate) const BLOCK: usize = 8;
/// In the backward pass, where four such blocks are alive.
const BACKWARD_BLOCK: usize = 4;
/// Below every score that occurs; finite, so that differences are.
pub(crate) const LOWEST: f32 = -1e30;

/// One value a lane.
type Lane<T> = [T; LANES];

/// The keys that each query may see, as first and last index, for whole panels of queries.
pub(crate) struct Ranges {
    first: Vec<i32>,
    last: Vec<i32>,
}

impl Ranges {
    /// For `batch` sequences of `t` queries, the last of `s` keys each. `starts` has the first key
    /// of each query within its sequence, for one row that serves all or for every row.
    pub(crate) fn new(starts: &[i32], batch: usize, t: usize, s: usize) -> Self {
        let len = (batch * t).next_multiple_of(LANES);
        let (mut first, mut last) = (Vec::with_capacity(len), Vec::with_capacity(len));
        for index in 0..batch * t {
            let (b, i) = (index / t, index % t);
            let start = starts[if starts.len() == t { i } else { index }];
            let end = (i + s - t) as i32;
            let offset = (b * s) as i32;
            first.push(start.clamp(0, end) + offset);
            last.push(end + offset);
        }
        // Lanes beyond the last query see nothing.
        first.resize(len, 1);
        last.resize(len, 0);
        Self { first, last }
    }

    fn panel(&self, panel: usize) -> (&Lane<i32>, &Lane<i32>) {
        let range = panel * LANES..(panel + 1) * LANES;
        let whole = "ranges are whole panels";
        (
            self.first[range.clone()].try_into().expect(whole),
            self.last[range].try_into().expect(whole),
        )
    }
}

/// The panels of keys that a panel of queries reads, and those of them that all its lanes see whole.
fn key_panels(
    first: &Lane<i32>,
    last: &Lane<i32>,
) -> (std::ops::Range<usize>, std::ops::Range<i32>) {
    let seeing = || (0..LANES).filter(|&lane| first[lane] <= last[lane]);
    let (Some(low), Some(high)) = (
        seeing().map(|lane| first[lane]).min(),
        seeing().map(|lane| last[lane]).max(),
    ) else {
        return (0..0, 0..0);
    };
    let common_low = *first.iter().max().expect("a panel has lanes");
    let common_high = *last.iter().min().expect("a panel has lanes");
    let panels = low as usize / LANES..high as usize / LANES + 1;
    (panels, common_low..common_high + 1)
}

/// Rows of `x` for one head, `width` rows a panel, from row `at` on.
#[derive(Clone, Copy)]
pub(crate) struct Heads<'a> {
    pub data: &'a [f32],
    /// Rows of a panel.
    pub width: usize,
    /// The first head's first row.
    pub at: usize,
}

impl<'a> Heads<'a> {
    /// From the first row of `head` in `panel` on.
    fn get(&self, panel: usize, head: usize, d: usize) -> &'a [f32] {
        &self.data[(panel * self.width + self.at + head * d) * LANES..]
    }
}

/// Queries, keys and values in token panels.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub q: Heads<'a>,
    pub k: Heads<'a>,
    pub v: Heads<'a>,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub ranges: &'a Ranges,
}

impl Inputs<'_> {
    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    fn kv_head(&self, head: usize) -> usize {
        head / (self.heads / self.kv_heads)
    }

    /// Keys or values of some panels against `right` `[Dh][32]`: `[panels · 32][32]`.
    fn against(
        &self,
        side: Heads<'_>,
        panels: std::ops::Range<usize>,
        head: usize,
        right: &[f32],
        out: &mut [f32],
    ) {
        let d = self.head_dim;
        multiply(
            [panels.len() * LANES, d, 1],
            Left::Lanes(
                side.get(panels.start, self.kv_head(head), d),
                side.width * LANES,
            ),
            Right::new(right, d * LANES),
            Out::panels(out, panels.len() * LANES * LANES, false),
        );
    }
}

multiversion! {
    /// Turns a block of scores into `exp(scale · score - max)`, zero where not allowed; updates the
    /// running maximum and sum and gives the factor of what was summed before.
    fn online_softmax(
        scores: &mut [f32],
        scale: f32,
        mask: Option<(i32, &Lane<i32>, &Lane<i32>)>,
        max: &mut Lane<f32>,
        sum: &mut Lane<f32>,
        factor: &mut Lane<f32>,
    ) {
        if let Some((key, first, last)) = mask {
            for (key, row) in (key..).zip(scores.chunks_exact_mut(LANES)) {
                for lane in 0..LANES {
                    let allowed = first[lane] <= key && key <= last[lane];
                    row[lane] = if allowed { row[lane] } else { f32::NEG_INFINITY };
                }
            }
        }
        let old = *max;
        let mut highest = [f32::NEG_INFINITY; LANES];
        for row in scores.chunks_exact(LANES) {
            for lane in 0..LANES {
                let x = row[lane];
                highest[lane] = if x > highest[lane] { x } else { highest[lane] };
            }
        }
        for lane in 0..LANES {
            let x = highest[lane] * scale;
            max[lane] = if x > old[lane] { x } else { old[lane] };
            factor[lane] = exp(old[lane] - max[lane]);
        }
        let mut total = [0.0; LANES];
        for row in scores.chunks_exact_mut(LANES) {
            for lane in 0..LANES {
                let x = row[lane] * scale - max[lane];
                // Exactly zero, not the smallest number that `exp` gives: those are slow.
                let p = if x < -87.0 { 0.0 } else { exp(x) };
                row[lane] = p;
                total[lane] += p;
            }
        }
        for lane in 0..LANES {
            sum[lane] = sum[lane] * factor[lane] + total[lane];
        }
    }
}

multiversion! {
    /// Multiplies every row of 32 lanes.
    fn scale_lanes(rows: &mut [f32], factor: &Lane<f32>) {
        for row in rows.chunks_exact_mut(LANES) {
            for lane in 0..LANES {
                row[lane] *= factor[lane];
            }
        }
    }
}

/// Attention of every query, to `out` `[panel][head][Dh][32]`, and what its softmax divided by to
/// `softmax` `[panel][head][2][32]`: the largest scaled score, and the inverse of the sum of the
/// exponentials of the differences to it.
pub(crate) fn forward(inputs: &Inputs<'_>, out: &mut [f32], softmax: &mut [f32]) {
    let d = inputs.head_dim;
    out.par_chunks_exact_mut(d * LANES)
        .zip(softmax.par_chunks_exact_mut(2 * LANES))
        .enumerate()
        .for_each(|(index, (out, softmax))| {
            let (panel, head) = (index / inputs.heads, index % inputs.heads);
            forward_panel(inputs, panel, head, out, softmax);
        });
}

pub(crate) fn forward_panel(
    inputs: &Inputs<'_>,
    panel: usize,
    head: usize,
    out: &mut [f32],
    softmax: &mut [f32],
) {
    let d = inputs.head_dim;
    let (first, last) = inputs.ranges.panel(panel);
    let (keys, common) = key_panels(first, last);
    let q = &inputs.q.get(panel, head, d)[..d * LANES];
    let mut scores = scratch(BLOCK * LANES * LANES);
    let (mut max, mut sum, mut factor) = ([LOWEST; LANES], [0.0; LANES], [0.0; LANES]);
    out.fill(0.0);
    let mut from = keys.start;
    while from < keys.end {
        // Blocks end at multiples of BLOCK, so that they do not depend on where a range begins.
        let to = ((from / BLOCK + 1) * BLOCK).min(keys.end);
        let scores = &mut scores[..(to - from) * LANES * LANES];
        inputs.against(inputs.k, from..to, head, q, scores);
        let (low, high) = ((from * LANES) as i32, (to * LANES) as i32);
        let whole = common.start <= low && high <= common.end;
        let mask = (!whole).then_some((low, first, last));
        online_softmax(
            scores,
            inputs.scale(),
            mask,
            &mut max,
            &mut sum,
            &mut factor,
        );
        if from > keys.start {
            scale_lanes(out, &factor);
        }
        multiply(
            [d, scores.len() / LANES, 1],
            Left::Panels(
                inputs.v.get(from, inputs.kv_head(head), d),
                inputs.v.width * LANES,
            ),
            Right::new(scores, scores.len()),
            Out::panels(out, d * LANES, true),
        );
        from = to;
    }
    for lane in 0..LANES {
        factor[lane] = if sum[lane] == 0.0 {
            0.0
        } else {
            1.0 / sum[lane]
        };
    }
    softmax[..LANES].copy_from_slice(&max);
    softmax[LANES..].copy_from_slice(&factor);
    scale_lanes(out, &factor);
}

multiversion! {
    /// `p = exp(scale · score - max) · factor`, zero where not allowed, in place, and
    /// `dp ← p · (dp - delta) · scale`.
    fn score_gradient(
        scores: &mut [f32],
        dp: &mut [f32],
        scale: f32,
        mask: (i32, &Lane<i32>, &Lane<i32>),
        softmax: (&Lane<f32>, &Lane<f32>),
        delta: &Lane<f32>,
    ) {
        let ((key, first, last), (max, factor)) = (mask, softmax);
        for ((key, row), dp) in (key..).zip(scores.chunks_exact_mut(LANES)).zip(dp.chunks_exact_mut(LANES)) {
            for lane in 0..LANES {
                let x = row[lane] * scale - max[lane];
                let allowed = first[lane] <= key && key <= last[lane];
                let p = if !allowed || x < -87.0 { 0.0 } else { exp(x) * factor[lane] };
                row[lane] = p;
                dp[lane] = p * (dp[lane] - delta[lane]) * scale;
            }
        }
    }
}

multiversion! {
    /// `Σ a · b` over rows, lane by lane.
    fn lane_dots(a: &[f32], b: &[f32], out: &mut Lane<f32>) {
        *out = [0.0; LANES];
        for (a, b) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
            for lane in 0..LANES {
                out[lane] += a[lane] * b[lane];
            }
        }
    }
}

/// What the backward pass reads besides its inputs, all as [`forward`] wrote it.
#[derive(Clone, Copy)]
pub(crate) struct Outputs<'a> {
    pub out: &'a [f32],
    pub softmax: &'a [f32],
    /// Gradient of `out`.
    pub dout: &'a [f32],
}

/// Gradients of queries, keys and values, head by head: keys and values have one for each query
/// head that reads them, because heads are computed on different threads.
pub(crate) struct Gradients {
    /// `[segment][head]`, each with the panels `[Dh][32]` of queries, keys and values.
    values: Scratch,
    /// Panels of queries and of keys in a segment.
    segment: [usize; 2],
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

/// Which of the three gradients.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Queries,
    Keys,
    Values,
}

impl Gradients {
    /// One panel of a gradient, `[heads·Dh][32]`, those of keys and values summed over the heads
    /// that read them, in order.
    pub(crate) fn panel(&self, of: Of, panel: usize, out: &mut [f32]) {
        let len = self.head_dim * LANES;
        let [queries, keys] = self.segment;
        let (size, before, group) = match of {
            Of::Queries => (queries, 0, 1),
            Of::Keys => (keys, queries, self.heads / self.kv_heads),
            Of::Values => (keys, queries + keys, self.heads / self.kv_heads),
        };
        let get = |head: usize| {
            let chunk = (panel / size * self.heads + head) * (queries + 2 * keys);
            &self.values[(chunk + before + panel % size) * len..][..len]
        };
        for (index, sum) in out.chunks_exact_mut(len).enumerate() {
            sum.copy_from_slice(get(index * group));
            for head in index * group + 1..(index + 1) * group {
                sum.iter_mut().zip(get(head)).for_each(|(sum, x)| *sum += x);
            }
        }
    }
}

/// Panels of queries and of keys that no range crosses: the fewest sequences of `t` queries over as
/// many keys that fill whole panels; everything when the numbers differ.
fn segment([queries, keys]: [usize; 2], [t, s]: [usize; 2]) -> [usize; 2] {
    if t != s {
        return [queries, keys];
    }
    let mut sequences = 1;
    while !(sequences * t).is_multiple_of(LANES) {
        sequences += 1;
    }
    [(sequences * t / LANES).min(queries); 2]
}

/// Gradients for sequences of `t` queries over `s` keys.
pub(crate) fn backward(
    inputs: &Inputs<'_>,
    outputs: &Outputs<'_>,
    batch: usize,
    [t, s]: [usize; 2],
) -> Gradients {
    let (d, heads) = (inputs.head_dim, inputs.heads);
    let panels = [panels_of(batch * t), panels_of(batch * s)];
    let segment = segment(panels, [t, s]);
    let [queries, keys] = segment;
    let chunk = (queries + 2 * keys) * d * LANES;
    let mut values = scratch(panels[0].div_ceil(queries) * heads * chunk);
    values
        .par_chunks_exact_mut(chunk)
        .enumerate()
        .for_each(|(index, chunk)| {
            let (number, head) = (index / heads, index % heads);
            let (dq, rest) = chunk.split_at_mut(queries * d * LANES);
            let (dk, dv) = rest.split_at_mut(keys * d * LANES);
            dk.fill(0.0);
            dv.fill(0.0);
            let range = number * queries..panels[0];
            for (panel, dq) in range.zip(dq.chunks_exact_mut(d * LANES)) {
                backward_panel(
                    inputs,
                    outputs,
                    panel,
                    head,
                    number * keys,
                    [dq, &mut *dk, &mut *dv],
                );
            }
        });
    Gradients {
        values,
        segment,
        heads,
        kv_heads: inputs.kv_heads,
        head_dim: d,
    }
}

fn backward_panel(
    inputs: &Inputs<'_>,
    outputs: &Outputs<'_>,
    panel: usize,
    head: usize,
    start: usize,
    [dq, dk, dv]: [&mut [f32]; 3],
) {
    let d = inputs.head_dim;
    let index = panel * inputs.heads + head;
    let (first, last) = inputs.ranges.panel(panel);
    let (keys, _) = key_panels(first, last);
    let q = &inputs.q.get(panel, head, d)[..d * LANES];
    let out = &outputs.out[index * d * LANES..][..d * LANES];
    let dout = &outputs.dout[index * d * LANES..][..d * LANES];
    let softmax = &outputs.softmax[index * 2 * LANES..][..2 * LANES];
    let [max, factor] = [0, LANES]
        .map(|at| <&Lane<f32>>::try_from(&softmax[at..at + LANES]).expect("one value a lane"));
    let mut delta = [0.0; LANES];
    lane_dots(out, dout, &mut delta);
    let size = BACKWARD_BLOCK * LANES * LANES;
    let (mut p, mut ds) = (scratch(size), scratch(size));
    let (mut p_rows, mut ds_rows) = (scratch(size), scratch(size));
    let kv_head = inputs.kv_head(head);
    dq.fill(0.0);
    for from in keys.clone().step_by(BACKWARD_BLOCK) {
        let to = (from + BACKWARD_BLOCK).min(keys.end);
        let size = (to - from) * LANES * LANES;
        let (p, ds) = (&mut p[..size], &mut ds[..size]);
        inputs.against(inputs.k, from..to, head, q, p);
        inputs.against(inputs.v, from..to, head, dout, ds);
        score_gradient(
            p,
            ds,
            inputs.scale(),
            ((from * LANES) as i32, first, last),
            (max, factor),
            &delta,
        );
        multiply(
            [d, size / LANES, 1],
            Left::Panels(inputs.k.get(from, kv_head, d), inputs.k.width * LANES),
            Right::new(ds, size),
            Out::panels(dq, d * LANES, true),
        );
        // Lanes become keys: the sums of the other two products run over queries.
        for (lanes, rows) in [(&*p, &mut p_rows), (&*ds, &mut ds_rows)] {
            let panels = lanes.chunks_exact(LANES * LANES);
            for (lanes, rows) in panels.zip(rows.chunks_exact_mut(LANES * LANES)) {
                to_rows(lanes, LANES, LANES, rows, LANES);
            }
        }
        let at = (from - start) * d * LANES;
        for (left, right, sums) in [(dout, &p_rows, &mut *dv), (q, &ds_rows, &mut *dk)] {
            multiply(
                [d, LANES, to - from],
                Left::Rows(left, LANES),
                Right::new(right, LANES * LANES),
                Out::panels(&mut sums[at..], d * LANES, true),
            );
        }
    }
}
