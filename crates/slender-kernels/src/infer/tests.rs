//! The inference kernels against the training kernels, bit by bit, and against plain loops in f64.
//!
//! These tests run once more with each lower instruction set (`fused::simd`).

use super::*;
use crate::fused::linear;
use crate::fused::panels::{all_to_lanes, all_to_rows, panels_of};
use crate::fused::{attention, gemm::LANES, norm, rope};
use std::ops::Range;

/// Numbers between -1 and 1, by a linear congruence.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn many(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    // Zeros of both signs are one.
    values.iter().map(|x| (x + 0.0).to_bits()).collect()
}

fn with_threads<T: Send>(threads: usize, work: impl FnOnce(&Team) -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.expect("a pool").install(|| Team::session(work))
}

/// `x · wᵀ` in f64.
fn plain_product(x: &[f32], w: &[f32], terms: usize) -> Vec<f64> {
    let mut out = Vec::new();
    for x in x.chunks_exact(terms) {
        for w in w.chunks_exact(terms) {
            out.push(
                x.iter()
                    .zip(w)
                    .map(|(&x, &w)| f64::from(x) * f64::from(w))
                    .sum(),
            );
        }
    }
    out
}

#[test]
fn products_are_those_of_the_training_kernels_on_rounded_weights() {
    let mut random = Random(1);
    for (rows, terms) in [
        (1, 1),
        (32, 32),
        (33, 31),
        (64, 640),
        (70, 641),
        (100, 1536),
        (7, 1300),
    ] {
        let weight = random.many(rows * terms);
        for format in WeightFormat::ALL {
            let mut rounded = weight.clone();
            rounded
                .chunks_exact_mut(terms)
                .for_each(|row| format.round(row));
            let packed = Packed::new(format, terms, &[&weight]);
            assert_eq!(packed.part(0), 0..rows);
            // Around the limits of the ways that a product can go.
            for n in [1, 2, 3, 5, 8, 9, 17, 24, 25, 32, 33, 70] {
                let x = random.many(n * terms);
                let expected = linear::forward(&x, &rounded, terms);
                let plain = plain_product(&x, &rounded, terms);
                for threads in [1, 3] {
                    let mut y = vec![7.0; 3];
                    with_threads(threads, |team| packed.forward(team, &x, &mut y));
                    assert_eq!(y.len(), n * packed.width());
                    for (row, (y, expected)) in y
                        .chunks_exact(packed.width())
                        .zip(expected.chunks_exact(rows))
                        .enumerate()
                    {
                        assert_eq!(
                            bits(&y[..rows]),
                            bits(expected),
                            "{format} {rows}x{terms}, row {row} of {n}, {threads} threads"
                        );
                        assert!(y[rows..].iter().all(|&y| y == 0.0), "what fills up is zero");
                    }
                }
                for (y, plain) in expected.iter().zip(&plain) {
                    assert!((f64::from(*y) - plain).abs() < 1e-4, "{y} {plain}");
                }
            }
        }
    }
}

#[test]
fn several_matrices_side_by_side_are_those_one_by_one() {
    let mut random = Random(2);
    let terms = 48;
    let matrices = [40, 8, 64].map(|rows| random.many(rows * terms));
    let slices: Vec<&[f32]> = matrices.iter().map(Vec::as_slice).collect();
    for format in WeightFormat::ALL {
        let packed = Packed::new(format, terms, &slices);
        assert_eq!(
            (packed.part(0), packed.part(1), packed.part(2)),
            (0..40, 64..72, 96..160)
        );
        let x = random.many(3 * terms);
        let mut y = Vec::new();
        packed.forward(&Team::alone(), &x, &mut y);
        for (index, matrix) in matrices.iter().enumerate() {
            let mut alone = Vec::new();
            let one = Packed::new(format, terms, &[matrix]);
            one.forward(&Team::alone(), &x, &mut alone);
            let columns = |y: &[f32], width: usize, part: Range<usize>| -> Vec<f32> {
                y.chunks_exact(width)
                    .flat_map(|row| row[part.clone()].to_vec())
                    .collect()
            };
            assert_eq!(
                columns(&y, packed.width(), packed.part(index)),
                columns(&alone, one.width(), one.part(0))
            );
        }
    }
}

#[test]
fn rows_come_back_as_the_format_rounds_them() {
    let mut random = Random(3);
    for terms in [1, 31, 32, 65, 576] {
        let mut weight = random.many(40 * terms);
        // Small, large, and zero rows; scales below half precision's normal numbers.
        for (row, factor) in [(1, 0.0), (2, 1e-5), (3, 3e4), (4, 1e-9)] {
            weight[row * terms..(row + 1) * terms]
                .iter_mut()
                .for_each(|x| *x *= factor);
        }
        for format in WeightFormat::ALL {
            let packed = Packed::new(format, terms, &[&weight]);
            for (index, row) in weight.chunks_exact(terms).enumerate() {
                let mut rounded = row.to_vec();
                format.round(&mut rounded);
                let mut found = vec![f32::NAN; terms];
                packed.row(index, &mut found);
                assert_eq!(bits(&found), bits(&rounded), "{format}, row {index}");
                // A product with a unit vector reads the same weights with vectors.
                let mut unit = vec![0.0; terms];
                unit[terms / 2] = 1.0;
                let mut y = Vec::new();
                packed.forward(&Team::alone(), &unit, &mut y);
                assert_eq!(bits(&[y[index]]), bits(&[rounded[terms / 2]]));
                let bound = match format {
                    WeightFormat::F32 => 0.0,
                    WeightFormat::Bf16 => 1.0 / 256.0,
                    WeightFormat::Q8_0 => 0.5 / 127.0 + 1.0 / 2048.0,
                };
                for (block, rounded) in row.chunks(32).zip(rounded.chunks(32)) {
                    let largest = block.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
                    // Scales that half precision cannot hold are lost; no model has such weights.
                    if largest > 1e-2 || format != WeightFormat::Q8_0 {
                        for (x, y) in block.iter().zip(rounded) {
                            assert!((x - y).abs() <= bound * largest, "{format}: {x} {y}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn q8_0_takes_34_bytes_for_32_weights() {
    let packed = Packed::new(WeightFormat::Q8_0, 576, &[&vec![0.5; 64 * 576]]);
    assert_eq!(packed.bytes(), 64 * 576 / 32 * 34);
    let packed = Packed::new(WeightFormat::Bf16, 576, &[&vec![0.5; 64 * 576]]);
    assert_eq!(packed.bytes(), 64 * 576 * 2);
}

/// Rows of one sequence: rotated queries, rotated keys, values.
struct Sequence {
    rows: Vec<f32>,
    width: usize,
}

impl Sequence {
    fn new(random: &mut Random, heads: &Heads, len: usize) -> Self {
        let width = heads.query() + 2 * heads.key() + 3;
        let mut rows = random.many(len * width);
        // Scores between -20 and 20, so that maxima move.
        rows.iter_mut().for_each(|x| *x *= 4.0);
        Self { rows, width }
    }

    fn parts(heads: &Heads) -> [Range<usize>; 2] {
        let (q, k) = (heads.query(), heads.key());
        [q..q + k, q + k..q + 2 * k]
    }

    fn len(&self) -> usize {
        self.rows.len() / self.width
    }

    fn column(&self, range: Range<usize>) -> Vec<f32> {
        let rows = self.rows.chunks_exact(self.width);
        rows.flat_map(|row| row[range.clone()].to_vec()).collect()
    }

    /// `[N, H·Dh]` by the training kernel.
    fn trained(&self, heads: &Heads) -> Vec<f32> {
        let n = self.len();
        let lanes = |values: &[f32], width: usize| {
            let mut lanes = vec![0.0; panels_of(n) * width * LANES];
            all_to_lanes(values, width, &mut lanes);
            lanes
        };
        let [key, value] = Self::parts(heads);
        let q = lanes(&self.column(0..heads.query()), heads.query());
        let [k, v] = [key, value].map(|part| lanes(&self.column(part), heads.key()));
        let ranges = attention::Ranges::new(&vec![0; n], 1, n, n);
        let side = |data, width| attention::Heads { data, width, at: 0 };
        let inputs = attention::Inputs {
            q: side(&q, heads.query()),
            k: side(&k, heads.key()),
            v: side(&v, heads.key()),
            heads: heads.heads,
            kv_heads: heads.kv_heads,
            head_dim: heads.head_dim,
            ranges: &ranges,
        };
        let mut out = vec![0.0; panels_of(n) * heads.query() * LANES];
        let mut softmax = vec![0.0; panels_of(n) * heads.heads * 2 * LANES];
        attention::forward(&inputs, &mut out, &mut softmax);
        let mut rows = vec![0.0; n * heads.query()];
        all_to_rows(&out, heads.query(), &mut rows);
        rows
    }

    /// `[N, H·Dh]` in f64.
    fn plain(&self, heads: &Heads) -> Vec<f64> {
        let (d, group) = (heads.head_dim, heads.heads / heads.kv_heads);
        let [key, value] = Self::parts(heads);
        let rows: Vec<&[f32]> = self.rows.chunks_exact(self.width).collect();
        let mut out = Vec::new();
        for (position, row) in rows.iter().enumerate() {
            for head in 0..heads.heads {
                let at = head / group * d;
                let scores: Vec<f64> = rows[..=position]
                    .iter()
                    .map(|other| {
                        let q = &row[head * d..][..d];
                        let k = &other[key.start + at..][..d];
                        let dot: f64 = q
                            .iter()
                            .zip(k)
                            .map(|(&q, &k)| f64::from(q) * f64::from(k))
                            .sum();
                        dot / (d as f64).sqrt()
                    })
                    .collect();
                let max = scores.iter().fold(f64::MIN, |a, &b| a.max(b));
                let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for i in 0..d {
                    let values = rows.iter().map(|row| f64::from(row[value.start + at + i]));
                    out.push(weights.iter().zip(values).map(|(w, v)| w * v).sum::<f64>() / sum);
                }
            }
        }
        out
    }
}

const SHAPES: [Heads; 6] = [
    Heads {
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
    },
    Heads {
        heads: 4,
        kv_heads: 4,
        head_dim: 8,
    },
    Heads {
        heads: 5,
        kv_heads: 1,
        head_dim: 48,
    },
    Heads {
        heads: 2,
        kv_heads: 2,
        head_dim: 6,
    },
    Heads {
        heads: 8,
        kv_heads: 1,
        head_dim: 34,
    },
    Heads {
        heads: 4,
        kv_heads: 2,
        head_dim: 128,
    },
];

#[test]
fn attention_over_a_cache_is_that_of_training_however_tokens_arrive() {
    let mut random = Random(4);
    for heads in SHAPES {
        // Beyond two blocks of scores.
        for len in [1, 2, 31, 32, 33, 257, 530] {
            let sequence = Sequence::new(&mut random, &heads, len);
            let trained = sequence.trained(&heads);
            let expected = bits(&trained);
            for (out, plain) in trained.iter().zip(sequence.plain(&heads)) {
                assert!((f64::from(*out) - plain).abs() < 2e-4, "{out} {plain}");
            }
            // One by one, all at once, and in uneven pieces.
            for pieces in [vec![1; len], vec![len], vec![7, 1, 40, 1, 300]] {
                with_threads(2, |team| {
                    let mut cache = LayerCache::default();
                    let (mut from, mut found) = (0, Vec::new());
                    let mut pieces = pieces.iter().copied().chain(std::iter::repeat(90));
                    while from < len {
                        let count = pieces.next().unwrap_or(1).min(len - from);
                        let width = sequence.width;
                        let rows = &sequence.rows[from * width..(from + count) * width];
                        cache.append(&heads, rows, width, Sequence::parts(&heads));
                        let mut out = Vec::new();
                        attend(team, &heads, rows, width, &[(&cache, count)], &mut out);
                        found.extend(out);
                        from += count;
                    }
                    assert_eq!(cache.len(), len);
                    assert!(bits(&found) == expected, "{heads:?}, {len} tokens");
                });
            }
        }
    }
}

#[test]
fn sequences_of_a_batch_do_not_see_one_another() {
    let mut random = Random(5);
    let heads = SHAPES[0];
    let lengths = [(40, 1), (300, 1), (70, 33), (5, 5), (1, 1), (33, 2)];
    let sequences = lengths.map(|(len, _)| Sequence::new(&mut random, &heads, len));
    let caches = sequences.each_ref().map(|sequence| {
        let mut cache = LayerCache::default();
        let parts = Sequence::parts(&heads);
        cache.append(&heads, &sequence.rows, sequence.width, parts);
        cache
    });
    for choice in [vec![0, 1, 2, 3, 4, 5], vec![0, 1, 4], vec![2], vec![5, 0]] {
        let (mut queries, mut batch, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for index in choice {
            let (sequence, count) = (&sequences[index], lengths[index].1);
            let from = sequence.len() - count;
            queries.extend_from_slice(&sequence.rows[from * sequence.width..]);
            batch.push((&caches[index], count));
            expected.extend_from_slice(&sequence.trained(&heads)[from * heads.query()..]);
        }
        let mut out = Vec::new();
        let width = sequences[0].width;
        with_threads(3, |team| {
            attend(team, &heads, &queries, width, &batch, &mut out)
        });
        assert_eq!(bits(&out), bits(&expected));
    }
}

#[test]
fn a_truncated_cache_goes_on_as_if_the_rest_had_never_been() {
    let mut random = Random(6);
    let heads = SHAPES[2];
    let sequence = Sequence::new(&mut random, &heads, 300);
    let other = Sequence::new(&mut random, &heads, 300);
    let (width, parts) = (sequence.width, Sequence::parts(&heads));
    for keep in [0, 1, 32, 45, 256, 299] {
        let mut cache = LayerCache::default();
        cache.append(&heads, &sequence.rows[..keep * width], width, parts.clone());
        cache.append(&heads, &other.rows[keep * width..], width, parts.clone());
        cache.truncate(keep);
        assert_eq!((cache.len(), cache.is_empty()), (keep, keep == 0));
        let rest = &sequence.rows[keep * width..];
        cache.append(&heads, rest, width, parts.clone());
        let mut out = Vec::new();
        let batch = [(&cache, 300 - keep)];
        attend(&Team::alone(), &heads, rest, width, &batch, &mut out);
        assert_eq!(
            bits(&out),
            bits(&sequence.trained(&heads)[keep * heads.query()..])
        );
    }
}

#[test]
fn rows_are_those_of_the_training_kernels() {
    let mut random = Random(7);
    let (n, d) = (37, 48);
    let (x, weight) = (random.many(n * d), random.many(d));
    let mut y = Vec::new();
    with_threads(2, |team| rms_norm_rows(team, &x, &weight, 1e-5, &mut y));
    assert_eq!(y, norm::forward(&x, &weight, 1e-5));

    let (cos, sin) = (random.many(n * d / 8), random.many(n * d / 8));
    let expected = rope::forward(&x, [1, n, 4, d / 4], &cos, &sin, 1.0);
    let table = Rope::new(cos, sin, d / 4);
    let mut rotated = x.clone();
    let mut scratch = Vec::new();
    for (position, row) in rotated.chunks_exact_mut(d).enumerate() {
        table.rotate(row, position, &mut scratch);
    }
    assert_eq!(rotated, expected);

    let [gate, up] = [0..20, 25..45];
    let columns = |range: Range<usize>| -> Vec<f32> {
        x.chunks_exact(d)
            .flat_map(|row| row[range.clone()].to_vec())
            .collect()
    };
    let expected = crate::fused::swiglu::forward(&columns(gate.clone()), &columns(up.clone()));
    with_threads(2, |team| swiglu_rows(team, &x, d, [gate, up], &mut y));
    assert_eq!(y, expected);

    relu_rows(&x, d, 20, &mut y);
    let expected: Vec<f32> = columns(0..20).iter().map(|x| x.max(0.0)).collect();
    assert_eq!(y, expected);
}
