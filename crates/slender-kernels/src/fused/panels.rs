//! From rows of features to panels of 32 tokens and back.
//!
//! Burn's tensors are row-major, `[tokens, features]`. Inside the kernels activations are token
//! panels, `[panel][feature][32 tokens]`, whose lanes are tokens; products that sum over tokens read
//! the other operand as feature panels, `[panel of tokens][block of features][32 tokens][32
//! features]`. Tokens beyond the last are zero. A conversion costs about a hundredth of the
//! products around it.

use super::gemm::LANES;
use super::simd::{Isa, isa};
use rayon::prelude::*;

/// Panels of `tokens` tokens.
pub(crate) fn panels_of(tokens: usize) -> usize {
    tokens.div_ceil(LANES)
}

/// Elements of one panel of tokens in feature panels of `features` features.
pub(crate) fn packed_len(features: usize) -> usize {
    features.div_ceil(LANES) * LANES * LANES
}

/// Edge of the blocks that are transposed in registers.
const EDGE: usize = 16;

/// `to[j * to_stride + i] = from[i * from_stride + j]` for `i < rows` and `j < columns`.
fn transpose(
    [rows, columns]: [usize; 2],
    from: &[f32],
    from_stride: usize,
    to: &mut [f32],
    to_stride: usize,
) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!((rows - 1) * from_stride + columns <= from.len());
    assert!((columns - 1) * to_stride + rows <= to.len());
    let vectors = isa() == Isa::Avx512;
    for i in (0..rows).step_by(EDGE) {
        for j in (0..columns).step_by(EDGE) {
            let (height, width) = (EDGE.min(rows - i), EDGE.min(columns - j));
            #[cfg(target_arch = "x86_64")]
            if vectors && height == EDGE && width == EDGE {
                // SAFETY: the processor has AVX-512, and the block is inside both slices by the
                // assertions above.
                unsafe {
                    x86::transpose_block(
                        from.as_ptr().add(i * from_stride + j),
                        from_stride,
                        to.as_mut_ptr().add(j * to_stride + i),
                        to_stride,
                    );
                }
                continue;
            }
            let _ = vectors;
            for y in i..i + height {
                for x in j..j + width {
                    to[x * to_stride + y] = from[y * from_stride + x];
                }
            }
        }
    }
}

/// Up to 32 rows, `stride` apart, to `[features][32]`.
pub(crate) fn to_lanes(
    rows: &[f32],
    count: usize,
    features: usize,
    stride: usize,
    out: &mut [f32],
) {
    let out = &mut out[..features * LANES];
    transpose([count, features], rows, stride, out, LANES);
    if count < LANES {
        for lanes in out.chunks_exact_mut(LANES) {
            lanes[count..].fill(0.0);
        }
    }
}

/// All rows `[N, features]` to token panels, on all threads.
pub(crate) fn all_to_lanes(rows: &[f32], features: usize, out: &mut [f32]) {
    out.par_chunks_exact_mut(features * LANES)
        .zip(rows.par_chunks(LANES * features))
        .for_each(|(out, rows)| to_lanes(rows, rows.len() / features, features, features, out));
}

/// Token panels to all rows `[N, features]`, on all threads.
pub(crate) fn all_to_rows(lanes: &[f32], features: usize, out: &mut [f32]) {
    out.par_chunks_mut(LANES * features)
        .zip(lanes.par_chunks_exact(features * LANES))
        .for_each(|(out, lanes)| to_rows(lanes, out.len() / features, features, out, features));
}

/// `[features][32]` to up to 32 rows, `stride` apart.
pub(crate) fn to_rows(
    lanes: &[f32],
    count: usize,
    features: usize,
    out: &mut [f32],
    stride: usize,
) {
    transpose([features, count], lanes, LANES, out, stride);
}

/// `[features][32]` to one panel of feature panels, `[block][32 tokens][32 features]`.
pub(crate) fn lanes_to_packed(lanes: &[f32], features: usize, out: &mut [f32]) {
    let blocks = out.chunks_exact_mut(LANES * LANES);
    for (block, (out, lanes)) in blocks.zip(lanes.chunks(LANES * LANES)).enumerate() {
        let width = LANES.min(features - block * LANES);
        transpose([width, LANES], lanes, LANES, out, LANES);
        if width < LANES {
            for row in out.chunks_exact_mut(LANES) {
                row[width..].fill(0.0);
            }
        }
    }
}

/// Up to 32 rows, `stride` apart, to one panel of feature panels.
pub(crate) fn rows_to_packed(
    rows: &[f32],
    count: usize,
    features: usize,
    stride: usize,
    out: &mut [f32],
) {
    for (block, out) in out.chunks_exact_mut(LANES * LANES).enumerate() {
        let from = block * LANES;
        let width = LANES.min(features - from);
        for (token, out) in out.chunks_exact_mut(LANES).enumerate() {
            if token < count && width == LANES {
                // A copy of constant length is two vector moves.
                out.copy_from_slice(&rows[token * stride + from..][..LANES]);
            } else if token < count {
                out[..width].copy_from_slice(&rows[token * stride + from..][..width]);
                out[width..].fill(0.0);
            } else {
                out.fill(0.0);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Transposes 16 by 16 elements: pairs, then quarters, then 128-bit lanes.
    ///
    /// # Safety
    /// The processor has AVX-512; 16 rows of 16 elements at both addresses are valid.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn transpose_block(
        from: *const f32,
        from_stride: usize,
        to: *mut f32,
        to_stride: usize,
    ) {
        // SAFETY: the caller vouches for the 16 rows of 16 elements.
        unsafe {
            let mut quads = [_mm512_setzero_ps(); 16];
            for i in 0..4 {
                let row = |n: usize| _mm512_loadu_ps(from.add((4 * i + n) * from_stride));
                let (r0, r1, r2, r3) = (row(0), row(1), row(2), row(3));
                let low01 = _mm512_castps_pd(_mm512_unpacklo_ps(r0, r1));
                let high01 = _mm512_castps_pd(_mm512_unpackhi_ps(r0, r1));
                let low23 = _mm512_castps_pd(_mm512_unpacklo_ps(r2, r3));
                let high23 = _mm512_castps_pd(_mm512_unpackhi_ps(r2, r3));
                quads[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(low01, low23));
                quads[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low01, low23));
                quads[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high01, high23));
                quads[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high01, high23));
            }
            for c in 0..4 {
                // Quad `4 i + c` holds column `4 l + c` of rows `4 i..4 i + 4` in its lane `l`.
                let even_low = _mm512_shuffle_f32x4::<0x88>(quads[c], quads[4 + c]);
                let odd_low = _mm512_shuffle_f32x4::<0xdd>(quads[c], quads[4 + c]);
                let even_high = _mm512_shuffle_f32x4::<0x88>(quads[8 + c], quads[12 + c]);
                let odd_high = _mm512_shuffle_f32x4::<0xdd>(quads[8 + c], quads[12 + c]);
                let column = |n: usize, x| _mm512_storeu_ps(to.add((4 * n + c) * to_stride), x);
                column(0, _mm512_shuffle_f32x4::<0x88>(even_low, even_high));
                column(1, _mm512_shuffle_f32x4::<0x88>(odd_low, odd_high));
                column(2, _mm512_shuffle_f32x4::<0xdd>(even_low, even_high));
                column(3, _mm512_shuffle_f32x4::<0xdd>(odd_low, odd_high));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_agree_with_their_definition() {
        for (count, features) in [(32, 64), (7, 33), (32, 1), (1, 48), (31, 100)] {
            let stride = features + 3;
            let rows: Vec<f32> = (0..count * stride).map(|i| i as f32).collect();
            let at = |token: usize, feature: usize| {
                if token < count && feature < features {
                    rows[token * stride + feature]
                } else {
                    0.0
                }
            };
            let mut lanes = vec![-1.0; features * LANES];
            to_lanes(&rows, count, features, stride, &mut lanes);
            for feature in 0..features {
                for token in 0..LANES {
                    assert_eq!(lanes[feature * LANES + token], at(token, feature));
                }
            }
            let mut back = vec![-1.0; count * stride];
            to_rows(&lanes, count, features, &mut back, stride);
            for token in 0..count {
                assert_eq!(
                    back[token * stride..][..features],
                    rows[token * stride..][..features]
                );
            }
            let mut packed = [
                vec![-1.0; packed_len(features)],
                vec![-1.0; packed_len(features)],
            ];
            lanes_to_packed(&lanes, features, &mut packed[0]);
            rows_to_packed(&rows, count, features, stride, &mut packed[1]);
            for packed in &packed {
                for feature in 0..features.next_multiple_of(LANES) {
                    for token in 0..LANES {
                        let index = (feature / LANES * LANES + token) * LANES + feature % LANES;
                        assert_eq!(packed[index], at(token, feature), "{token} {feature}");
                    }
                }
            }
        }
    }
}
