//! Attention over a cache of keys and values.
//!
//! Keys are kept in token panels, `[panel][K·Dh][32]`, so that 32 scores are one sum of vectors; values
//! are kept in rows whose heads are filled up to multiples of 32, so that a weighted sum of values is one
//! too. One query a sequence (decoding) reads both where they lie. Several queries (a prompt) go through
//! the training kernel, panel by panel. Blocks, order and arithmetic are the same in both.

use super::Team;
use super::vector::{LANES, Lanes32, Plain};
use crate::fused::attention::{BLOCK, Heads as HeadRows, Inputs, LOWEST, Ranges, forward_panel};
use crate::fused::buffers::scratch;
use crate::fused::panels::{panels_of, to_lanes, to_rows};
use crate::fused::simd::{Isa, exp, isa, multiversion};

/// Keys of a block of scores.
const BLOCK_KEYS: usize = BLOCK * LANES;
/// Most query heads of a group that one call serves.
const GROUP: usize = 4;

/// Numbers and width of heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads, a multiple of `kv_heads`.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
}

impl Heads {
    /// Width of all query heads.
    pub fn query(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key heads, and of all value heads.
    pub fn key(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    fn padded(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    fn value_row(&self) -> usize {
        self.kv_heads * self.padded()
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// Keys and values of one sequence in one executed layer.
#[derive(Clone, Debug, Default)]
pub struct LayerCache {
    /// `[panel][K·Dh][32]`.
    keys: Vec<f32>,
    /// `[token][K][padded Dh]`.
    values: Vec<f32>,
    len: usize,
}

impl LayerCache {
    /// Tokens.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no token.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory taken.
    pub fn bytes(&self) -> usize {
        (self.keys.capacity() + self.values.capacity()) * size_of::<f32>()
    }

    /// Forgets all but the first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Adds tokens: rows that hold a rotated key, `[K·Dh]`, and a value, `[K·Dh]`, each `width` long.
    pub fn append(
        &mut self,
        heads: &Heads,
        rows: &[f32],
        width: usize,
        [key, value]: [std::ops::Range<usize>; 2],
    ) {
        let count = rows.len() / width;
        let (k, v) = (heads.key(), heads.value_row());
        self.keys
            .resize(panels_of(self.len + count) * k * LANES, 0.0);
        self.values.resize((self.len + count) * v, 0.0);
        for row in rows.chunks_exact(width) {
            let panel = &mut self.keys[self.len / LANES * k * LANES..][..k * LANES];
            let lanes = panel[self.len % LANES..].iter_mut().step_by(LANES);
            for (lane, &key) in lanes.zip(&row[key.clone()]) {
                *lane = key;
            }
            let values = &mut self.values[self.len * v..][..v];
            for (to, from) in values
                .chunks_exact_mut(heads.padded())
                .zip(row[value.clone()].chunks_exact(heads.head_dim))
            {
                to[..heads.head_dim].copy_from_slice(from);
            }
            self.len += 1;
        }
    }
}

/// Attention of the last tokens of several sequences over their caches, which hold these tokens already.
///
/// `queries` are rotated rows `[N, width]` whose first `H·Dh` elements are the queries; sequence by
/// sequence, as many rows each as its entry of `caches` says. `out` `[N, H·Dh]` is given its length.
pub fn attend(
    team: &Team,
    heads: &Heads,
    queries: &[f32],
    width: usize,
    caches: &[(&LayerCache, usize)],
    out: &mut Vec<f32>,
) {
    let query = heads.query();
    let n: usize = caches.iter().map(|&(_, count)| count).sum();
    assert_eq!(queries.len(), n * width, "a row for each query");
    out.resize(n * query, 0.0);
    // All sequences with one query in one piece of work.
    let mut row = 0;
    let mut single = Vec::new();
    for &(cache, count) in caches {
        assert!(count <= cache.len, "the cache holds its queries' tokens");
        if count == 1 {
            single.push((row, cache));
        } else if count > 1 {
            let queries = &queries[row * width..(row + count) * width];
            many(
                team,
                heads,
                queries,
                width,
                cache,
                &mut out[row * query..][..count * query],
            );
        }
        row += count;
    }
    if single.is_empty() {
        return;
    }
    let group = heads.heads / heads.kv_heads * heads.head_dim;
    let work = |index: usize, out: &mut [f32]| {
        let (row, head) = (index / heads.kv_heads, index % heads.kv_heads);
        let (row, cache) = single[row];
        let queries = &queries[row * width + head * group..][..group];
        let each = GROUP * heads.head_dim;
        for (queries, out) in queries.chunks(each).zip(out.chunks_mut(each)) {
            one(heads, queries, cache, head, out);
        }
    };
    if single.len() == caches.len() {
        team.chunks_mut(out, group, work);
    } else {
        // Rows of the longer sequences lie between.
        let mut rows = scratch(single.len() * query);
        team.chunks_mut(&mut rows, group, work);
        for (&(row, _), from) in single.iter().zip(rows.chunks_exact(query)) {
            out[row * query..][..query].copy_from_slice(from);
        }
    }
}

/// Attention of the last `out.len() / query` tokens of a sequence.
fn many(
    team: &Team,
    heads: &Heads,
    queries: &[f32],
    width: usize,
    cache: &LayerCache,
    out: &mut [f32],
) {
    let (query, key, d) = (heads.query(), heads.key(), heads.head_dim);
    let (t, s) = (queries.len() / width, cache.len);
    let mut q = scratch(panels_of(t) * query * LANES);
    team.chunks_mut(&mut q, query * LANES, |panel, q| {
        let rows = &queries[panel * LANES * width..];
        to_lanes(rows, (rows.len() / width).min(LANES), query, width, q);
    });
    let mut v = scratch(panels_of(s) * key * LANES);
    team.chunks_mut(&mut v, key * LANES, |panel, v| {
        let rows = &cache.values[panel * LANES * heads.value_row()..];
        let count = (s - panel * LANES).min(LANES);
        for (head, v) in v.chunks_exact_mut(d * LANES).enumerate() {
            let rows = &rows[head * heads.padded()..];
            to_lanes(rows, count, d, heads.value_row(), v);
        }
    });
    let ranges = Ranges::new(&vec![0; t], 1, t, s);
    let side = |data, width| HeadRows { data, width, at: 0 };
    let inputs = Inputs {
        q: side(&q, query),
        k: side(&cache.keys, key),
        v: side(&v, key),
        heads: heads.heads,
        kv_heads: heads.kv_heads,
        head_dim: d,
        ranges: &ranges,
    };
    let mut lanes = scratch(panels_of(t) * query * LANES);
    team.chunks_mut(&mut lanes, d * LANES, |index, out| {
        let (panel, head) = (index / heads.heads, index % heads.heads);
        forward_panel(&inputs, panel, head, out, &mut [0.0; 2 * LANES]);
    });
    team.chunks_mut(out, LANES * query, |panel, out| {
        let lanes = &lanes[panel * query * LANES..][..query * LANES];
        to_rows(lanes, out.len() / query, query, out, query);
    });
}

/// Some query heads of one token, `[G][Dh]` with G at most [`GROUP`], over one key-value head.
fn one(heads: &Heads, queries: &[f32], cache: &LayerCache, kv_head: usize, out: &mut [f32]) {
    let d = heads.head_dim;
    let group = queries.len() / d;
    let mut scores = [[0.0_f32; BLOCK_KEYS]; GROUP];
    let mut softmax = [Softmax::default(); GROUP];
    let padded = heads.padded();
    let mut sums = scratch(GROUP * padded);
    let mut from = 0;
    while from < cache.len {
        let count = BLOCK_KEYS.min(cache.len - from);
        let keys = KeyBlock {
            keys: &cache.keys[(from / LANES * heads.key() + kv_head * d) * LANES..],
            panel: heads.key() * LANES,
            values: &cache.values[from * heads.value_row() + kv_head * padded..],
            row: heads.value_row(),
            count,
        };
        keys.check(d, padded);
        // SAFETY: checked.
        unsafe { score_block(group, &keys, queries, d, &mut scores) };
        for (scores, softmax) in scores[..group].iter_mut().zip(&mut softmax) {
            online_softmax(&mut scores[..count], heads.scale(), softmax);
        }
        add_up(&scores[..group], count, &mut softmax);
        for (sums, softmax) in sums.chunks_exact_mut(padded).zip(&softmax[..group]) {
            if from > 0 {
                sums.iter_mut().for_each(|x| *x *= softmax.factor);
            } else {
                sums.fill(0.0);
            }
        }
        // SAFETY: checked.
        unsafe { value_block(group, &keys, &scores, padded, &mut sums) };
        from += count;
    }
    for ((out, sums), softmax) in out
        .chunks_exact_mut(d)
        .zip(sums.chunks_exact(padded))
        .zip(&softmax)
    {
        let factor = 1.0 / softmax.sum;
        out.iter_mut()
            .zip(sums)
            .for_each(|(out, x)| *out = x * factor);
    }
}

/// Running maximum and sum of a query's softmax, and the factor of what was summed before.
#[derive(Clone, Copy)]
struct Softmax {
    max: f32,
    sum: f32,
    factor: f32,
}

impl Default for Softmax {
    fn default() -> Self {
        Self {
            max: LOWEST,
            sum: 0.0,
            factor: 1.0,
        }
    }
}

multiversion! {
    /// Turns scores into `exp(scale · score - max)`; updates all of `softmax` but its sum.
    fn online_softmax(scores: &mut [f32], scale: f32, softmax: &mut Softmax) {
        let mut highest = [f32::NEG_INFINITY; 16];
        let (whole, rest) = scores.as_chunks::<16>();
        for scores in whole {
            for (highest, &x) in highest.iter_mut().zip(scores) {
                *highest = if x > *highest { x } else { *highest };
            }
        }
        for (highest, &x) in highest.iter_mut().zip(rest) {
            *highest = if x > *highest { x } else { *highest };
        }
        let highest = highest.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
        let (old, x) = (softmax.max, highest * scale);
        softmax.max = if x > old { x } else { old };
        softmax.factor = exp(old - softmax.max);
        let max = softmax.max;
        for score in scores.iter_mut() {
            let x = *score * scale - max;
            *score = if x < -87.0 { 0.0 } else { exp(x) };
        }
    }
}

/// Updates the sums, key after key; the heads of a group keep each other from waiting.
fn add_up(scores: &[[f32; BLOCK_KEYS]], count: usize, softmax: &mut [Softmax; GROUP]) {
    let mut total = [0.0_f32; GROUP];
    for key in 0..count {
        for (total, scores) in total.iter_mut().zip(scores) {
            *total += scores[key];
        }
    }
    for (softmax, total) in softmax.iter_mut().zip(total) {
        softmax.sum = softmax.sum * softmax.factor + total;
    }
}

/// Up to [`BLOCK_KEYS`] keys and values of one head, the first at the beginning of a panel.
struct KeyBlock<'a> {
    /// Panels of keys, `panel` apart.
    keys: &'a [f32],
    panel: usize,
    /// Rows of values, `row` apart.
    values: &'a [f32],
    row: usize,
    count: usize,
}

impl KeyBlock<'_> {
    /// Asserts that the kernels' accesses are inside the slices.
    fn check(&self, d: usize, padded: usize) {
        assert!(self.count > 0 && self.count <= BLOCK_KEYS);
        assert!((panels_of(self.count) - 1) * self.panel + d * LANES <= self.keys.len());
        assert!((self.count - 1) * self.row + padded <= self.values.len());
    }
}

/// Scores of `G` queries.
///
/// # Safety
/// `block` has been checked, `queries` has `G·d` elements, the processor is that of `V`.
#[inline(always)]
unsafe fn score<V: Lanes32, const G: usize>(
    block: &KeyBlock<'_>,
    queries: &[f32],
    d: usize,
    scores: &mut [[f32; BLOCK_KEYS]; GROUP],
) {
    for panel in 0..panels_of(block.count) {
        // SAFETY: the caller's promise.
        unsafe {
            let keys = block.keys.as_ptr().add(panel * block.panel);
            let mut sums = [V::zero(); G];
            for i in 0..d {
                let key = V::load(keys.add(i * LANES));
                for (head, sum) in sums.iter_mut().enumerate() {
                    let query = V::splat(*queries.as_ptr().add(head * d + i));
                    *sum = key.mul_add(query, *sum);
                }
            }
            for (scores, sum) in scores.iter_mut().zip(sums) {
                sum.store(scores.as_mut_ptr().add(panel * LANES));
            }
        }
    }
}

/// Adds the weighted values for `G` queries to `sums` `[G][padded]`.
///
/// # Safety
/// As [`score`]; `sums` has `G·padded` elements.
#[inline(always)]
unsafe fn weigh<V: Lanes32, const G: usize>(
    block: &KeyBlock<'_>,
    scores: &[[f32; BLOCK_KEYS]; GROUP],
    padded: usize,
    all: &mut [f32],
) {
    for at in (0..padded).step_by(LANES) {
        // SAFETY: the caller's promise.
        unsafe {
            let values = block.values.as_ptr().add(at);
            let mut sums = [V::zero(); G];
            for key in 0..block.count {
                let value = V::load(values.add(key * block.row));
                for (sum, scores) in sums.iter_mut().zip(scores) {
                    let weight = V::splat(*scores.as_ptr().add(key));
                    *sum = value.mul_add(weight, *sum);
                }
            }
            for (head, sum) in sums.into_iter().enumerate() {
                let to = all.as_mut_ptr().add(head * padded + at);
                V::load(to).add(sum).store(to);
            }
        }
    }
}

/// Defines a function that calls `$kernel` for the instruction set in use and `group` query heads.
macro_rules! by_group {
    ($(#[$meta:meta])* $name:ident, $kernel:ident, ($($arg:ident: $ty:ty),*)) => {
        $(#[$meta])*
        ///
        /// # Safety
        /// The block has been checked and the slices have the lengths that the kernel names.
        unsafe fn $name(group: usize, $($arg: $ty),*) {
            #[inline(always)]
            unsafe fn sized<V: Lanes32>(group: usize, $($arg: $ty),*) {
                // SAFETY: the caller's promise.
                unsafe {
                    match group {
                        1 => $kernel::<V, 1>($($arg),*),
                        2 => $kernel::<V, 2>($($arg),*),
                        3 => $kernel::<V, 3>($($arg),*),
                        _ => $kernel::<V, 4>($($arg),*),
                    }
                }
            }
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                unsafe fn avx512(group: usize, $($arg: $ty),*) {
                    // SAFETY: the caller's promise.
                    unsafe { sized::<super::vector::Avx512>(group, $($arg),*) }
                }
                #[target_feature(enable = "avx2,fma")]
                unsafe fn avx2(group: usize, $($arg: $ty),*) {
                    // SAFETY: the caller's promise.
                    unsafe { sized::<super::vector::Avx2>(group, $($arg),*) }
                }
                match isa() {
                    // SAFETY: the caller's promise, and `isa` is what the processor has.
                    Isa::Avx512 => return unsafe { avx512(group, $($arg),*) },
                    // SAFETY: as above.
                    Isa::Avx2 => return unsafe { avx2(group, $($arg),*) },
                    Isa::Baseline => {}
                }
            }
            // SAFETY: the caller's promise.
            unsafe { sized::<Plain>(group, $($arg),*) }
        }
    };
}

by_group!(
    /// Scores of up to [`GROUP`] queries.
    score_block,
    score,
    (block: &KeyBlock<'_>, queries: &[f32], d: usize, scores: &mut [[f32; BLOCK_KEYS]; GROUP])
);
by_group!(
    /// Adds the weighted values for up to [`GROUP`] queries.
    value_block,
    weigh,
    (block: &KeyBlock<'_>, scores: &[[f32; BLOCK_KEYS]; GROUP], padded: usize, all: &mut [f32])
);
