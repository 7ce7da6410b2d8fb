//! Micro-kernels: a tile of up to [`ROWS`] rows by 32 lanes, accumulated in registers.
//!
//! `c[i][lane] (+)= Σ_k a[i][k] · b[k][lane]` with `k` in order from the first to the last, one
//! accumulator an element. The order does not depend on the tile's height, its place or the number
//! of threads, and the fused multiply-add of AVX-512 and AVX2 rounds alike: an element of a product
//! is the same to the last bit whatever else is computed beside it.
//!
//! On AVX-512 twelve rows of two vectors take 24 accumulators and run at the processor's peak as
//! long as `b` comes from the second-level cache or nearer.

use crate::fused::simd::{Isa, isa};

/// Lanes of a panel: the width of every tile.
pub(crate) const LANES: usize = 32;
/// Most rows of a tile.
pub(crate) const ROWS: usize = 12;

/// Where a tile reads and writes. `k` runs over `outer` stretches of `inner` values each.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// `a[i][o, k]` is at `a + o * a_outer + i * a_row + k * a_step`; `a_row` or `a_step` is 1.
    pub a: *const f32,
    pub a_row: usize,
    pub a_step: usize,
    pub a_outer: usize,
    /// `b[o, k][lane]` is at `b + o * b_outer + k * LANES + lane`.
    pub b: *const f32,
    pub b_outer: usize,
    pub outer: usize,
    pub inner: usize,
    /// `c[i][lane]` is at `c + i * c_row + lane`.
    pub c: *mut f32,
    pub c_row: usize,
    /// Adds to `c` instead of replacing it.
    pub accumulate: bool,
}

/// Computes a tile of `rows` rows, 1 to [`ROWS`].
///
/// # Safety
/// Every address that the fields of `tile` describe for `rows` rows is inside an allocation that
/// may be read (`a`, `b`) or written by this thread alone (`c`).
pub(super) unsafe fn run(rows: usize, tile: &Tile) {
    debug_assert!((1..=ROWS).contains(&rows) && (tile.a_row == 1 || tile.a_step == 1));
    // SAFETY: the caller's promise covers all that the kernels touch; `isa` is what the processor has.
    unsafe {
        match isa() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => x86::avx512(rows, tile),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::avx2(rows, tile),
            _ => baseline(rows, tile),
        }
    }
}

/// Rows of a baseline tile: four accumulators of 16 lanes fill the 16 registers of SSE2.
const BASELINE_ROWS: usize = 4;

/// `a · b + c`, fused where the target always has the instruction.
#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(target_arch = "aarch64") {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

/// # Safety
/// As [`run`].
unsafe fn baseline(rows: usize, tile: &Tile) {
    for first in (0..rows).step_by(BASELINE_ROWS) {
        for half in [0, LANES / 2] {
            // SAFETY: a part of the tile that the caller vouches for.
            unsafe {
                match (rows - first).min(BASELINE_ROWS) {
                    1 => baseline_rows::<1>(first, half, tile),
                    2 => baseline_rows::<2>(first, half, tile),
                    3 => baseline_rows::<3>(first, half, tile),
                    _ => baseline_rows::<4>(first, half, tile),
                }
            }
        }
    }
}

/// `R` rows from `first`, 16 lanes from `half`.
///
/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn baseline_rows<const R: usize>(first: usize, half: usize, tile: &Tile) {
    const HALF: usize = LANES / 2;
    let mut sums = [[0.0_f32; HALF]; R];
    // SAFETY: a part of the tile that the caller vouches for.
    unsafe {
        for o in 0..tile.outer {
            let a = tile.a.add(o * tile.a_outer + first * tile.a_row);
            let b = tile.b.add(o * tile.b_outer + half);
            for k in 0..tile.inner {
                let b: &[f32; HALF] = &*b.add(k * LANES).cast();
                for (i, sums) in sums.iter_mut().enumerate() {
                    let a = *a.add(i * tile.a_row + k * tile.a_step);
                    for (sum, &b) in sums.iter_mut().zip(b) {
                        *sum = multiply_add(a, b, *sum);
                    }
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            let c: &mut [f32; HALF] = &mut *tile.c.add((first + i) * tile.c_row + half).cast();
            for (c, &sum) in c.iter_mut().zip(sums) {
                *c = if tile.accumulate { *c + sum } else { sum };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{LANES, Tile};
    use std::arch::x86_64::*;

    macro_rules! by_rows {
        ($kernel:ident, $rows:expr, $tile:expr, $($n:literal)+) => {
            match ($rows, $tile.a_row == 1) {
                $(($n, true) => $kernel::<$n, true>($tile), ($n, false) => $kernel::<$n, false>($tile),)+
                _ => unreachable!("a tile has one to twelve rows"),
            }
        };
    }

    /// # Safety
    /// As [`super::run`], on a processor with AVX-512.
    pub(super) unsafe fn avx512(rows: usize, tile: &Tile) {
        // SAFETY: the caller's promise.
        unsafe { by_rows!(avx512_rows, rows, tile, 1 2 3 4 5 6 7 8 9 10 11 12) }
    }

    /// `COLUMNS`: `a_row` is 1; otherwise `a_step` is.
    ///
    /// # Safety
    /// As [`super::run`] for `R` rows, on a processor with AVX-512.
    #[target_feature(enable = "avx512f")]
    unsafe fn avx512_rows<const R: usize, const COLUMNS: bool>(tile: &Tile) {
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        // SAFETY: addresses that the caller vouches for.
        unsafe {
            for o in 0..tile.outer {
                let mut a = tile.a.add(o * tile.a_outer);
                let mut b = tile.b.add(o * tile.b_outer);
                let rows: [*const f32; R] = std::array::from_fn(|i| a.add(i * tile.a_row));
                for k in 0..tile.inner {
                    let b0 = _mm512_loadu_ps(b);
                    let b1 = _mm512_loadu_ps(b.add(16));
                    for (i, sum) in sums.iter_mut().enumerate() {
                        let x = if COLUMNS { *a.add(i) } else { *rows[i].add(k) };
                        let x = _mm512_set1_ps(x);
                        sum[0] = _mm512_fmadd_ps(x, b0, sum[0]);
                        sum[1] = _mm512_fmadd_ps(x, b1, sum[1]);
                    }
                    if COLUMNS {
                        a = a.add(tile.a_step);
                    }
                    b = b.add(LANES);
                }
            }
            for (i, sum) in sums.iter_mut().enumerate() {
                let c = tile.c.add(i * tile.c_row);
                if tile.accumulate {
                    sum[0] = _mm512_add_ps(_mm512_loadu_ps(c), sum[0]);
                    sum[1] = _mm512_add_ps(_mm512_loadu_ps(c.add(16)), sum[1]);
                }
                _mm512_storeu_ps(c, sum[0]);
                _mm512_storeu_ps(c.add(16), sum[1]);
            }
        }
    }

    /// Rows of an AVX2 tile: six of two vectors take 12 of 16 registers.
    const AVX2_ROWS: usize = 6;

    /// # Safety
    /// As [`super::run`], on a processor with AVX2 and FMA.
    pub(super) unsafe fn avx2(rows: usize, tile: &Tile) {
        for first in (0..rows).step_by(AVX2_ROWS) {
            for half in [0, LANES / 2] {
                // SAFETY: a part of the tile that the caller vouches for.
                unsafe {
                    let part = Tile {
                        a: tile.a.add(first * tile.a_row),
                        b: tile.b.add(half),
                        c: tile.c.add(first * tile.c_row + half),
                        ..*tile
                    };
                    by_rows!(avx2_rows, (rows - first).min(AVX2_ROWS), &part, 1 2 3 4 5 6);
                }
            }
        }
    }

    /// 16 lanes of `R` rows.
    ///
    /// # Safety
    /// As [`super::run`] for `R` rows, on a processor with AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2_rows<const R: usize, const COLUMNS: bool>(tile: &Tile) {
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        // SAFETY: addresses that the caller vouches for.
        unsafe {
            for o in 0..tile.outer {
                let mut a = tile.a.add(o * tile.a_outer);
                let mut b = tile.b.add(o * tile.b_outer);
                let rows: [*const f32; R] = std::array::from_fn(|i| a.add(i * tile.a_row));
                for k in 0..tile.inner {
                    let b0 = _mm256_loadu_ps(b);
                    let b1 = _mm256_loadu_ps(b.add(8));
                    for (i, sum) in sums.iter_mut().enumerate() {
                        let x = if COLUMNS { *a.add(i) } else { *rows[i].add(k) };
                        let x = _mm256_set1_ps(x);
                        sum[0] = _mm256_fmadd_ps(x, b0, sum[0]);
                        sum[1] = _mm256_fmadd_ps(x, b1, sum[1]);
                    }
                    if COLUMNS {
                        a = a.add(tile.a_step);
                    }
                    b = b.add(LANES);
                }
            }
            for (i, sum) in sums.iter_mut().enumerate() {
                let c = tile.c.add(i * tile.c_row);
                if tile.accumulate {
                    sum[0] = _mm256_add_ps(_mm256_loadu_ps(c), sum[0]);
                    sum[1] = _mm256_add_ps(_mm256_loadu_ps(c.add(8)), sum[1]);
                }
                _mm256_storeu_ps(c, sum[0]);
                _mm256_storeu_ps(c.add(8), sum[1]);
            }
        }
    }
}
