//! Products of a packed weight with a few rows, at the speed of memory.
//!
//! A panel of a weight holds 32 of its rows, term by term: lanes are rows, so a product is one
//! multiplication and addition of vectors a term, without horizontal sums, and the panel is read front
//! to back. Several rows of the input share what is read. Sums are divided into blocks as in
//! `gemm::block_len`, each added term by term, so that the bits are those of the training kernels.

use super::vector::{LANES, Lanes32, Plain, Q8_BLOCK};
use crate::fused::gemm::block_len;
use crate::fused::simd::{Isa, isa};

/// Most rows of the input in one product.
pub(super) const MAX_ROWS: usize = 8;

/// How the 32 weights of a term are read.
pub(super) trait Format {
    /// # Safety
    /// `panel` is of this format and has the term; the processor is the vector's.
    unsafe fn load<V: Lanes32>(panel: *const u8, term: usize, scales: V) -> V;
    /// What the terms from `term`, a multiple of 32, to the next one are multiplied by.
    ///
    /// # Safety
    /// As `load`.
    unsafe fn scales<V: Lanes32>(panel: *const u8, term: usize) -> V;
    /// Bytes of 32 terms.
    const BLOCK: usize;
}

/// Bytes between what is read and what is asked of memory.
///
/// The processor's own prefetching stops at every page. Measured on two cores, f32, bf16 and q8_0 weights
/// of 30 layers: 44, 41 and 24 GB/s without asking, 55, 54 and 59 with 6 KB ahead.
pub(crate) const AHEAD: usize = 6144;

/// Asks memory for `len` bytes from `at` on, wherever that is.
#[inline(always)]
pub(crate) fn prefetch(at: *const u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..len).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, len);
}

pub(super) struct F32;

impl Format for F32 {
    const BLOCK: usize = 4 * LANES * LANES;

    #[inline(always)]
    unsafe fn load<V: Lanes32>(panel: *const u8, term: usize, _scales: V) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load(panel.cast::<f32>().add(term * LANES)) }
    }

    #[inline(always)]
    unsafe fn scales<V: Lanes32>(_panel: *const u8, _term: usize) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::zero() }
    }
}

pub(super) struct Bf16;

impl Format for Bf16 {
    const BLOCK: usize = 2 * LANES * LANES;

    #[inline(always)]
    unsafe fn load<V: Lanes32>(panel: *const u8, term: usize, _scales: V) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load_bf16(panel.add(term * 2 * LANES)) }
    }

    #[inline(always)]
    unsafe fn scales<V: Lanes32>(_panel: *const u8, _term: usize) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::zero() }
    }
}

pub(super) struct Q8;

impl Format for Q8 {
    const BLOCK: usize = Q8_BLOCK;

    #[inline(always)]
    unsafe fn load<V: Lanes32>(panel: *const u8, term: usize, scales: V) -> V {
        // SAFETY: the caller's promise. The product of a byte and a half-precision number has at most
        // 18 significant bits, so it is exact.
        unsafe {
            let block = panel.add(term / LANES * Q8_BLOCK + 2 * LANES);
            V::load_i8(block.add(term % LANES * LANES)).mul(scales)
        }
    }

    #[inline(always)]
    unsafe fn scales<V: Lanes32>(panel: *const u8, term: usize) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load_scales(panel.add(term / LANES * Q8_BLOCK)) }
    }
}

/// One panel and `N` rows of the input.
#[derive(Clone, Copy)]
pub(super) struct Product {
    /// The panel.
    pub panel: *const u8,
    /// `[terms][N]`.
    pub x: *const f32,
    pub terms: usize,
    /// `[N][32]`.
    pub out: *mut f32,
}

/// Panels one after another beat two side by side, whose sums would wait less for each other: 59 GB/s
/// against 43 with q8_0, because memory then sees one stream a thread.
///
/// # Safety
/// The fields of `p` describe memory that may be read or, for `out`, written by this thread alone, and
/// the panel is of format `F`; the processor is that of `V`.
#[inline(always)]
unsafe fn compute<V: Lanes32, F: Format, const N: usize>(p: &Product) {
    let block = block_len(p.terms);
    let mut first = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while first < p.terms {
            let end = (first + block).min(p.terms);
            let mut sums = [V::zero(); N];
            let mut from = first;
            while from < end {
                // Blocks of sums are multiples of 32 terms, unless there is only one.
                let to = (from + LANES).min(end);
                prefetch(
                    p.panel.wrapping_add(from / LANES * F::BLOCK + AHEAD),
                    F::BLOCK,
                );
                let scales = F::scales::<V>(p.panel, from);
                for term in from..to {
                    let weight = F::load(p.panel, term, scales);
                    for (n, sum) in sums.iter_mut().enumerate() {
                        *sum = weight.mul_add(V::splat(*p.x.add(term * N + n)), *sum);
                    }
                }
                from = to;
            }
            for (n, mut sum) in sums.into_iter().enumerate() {
                let out = p.out.add(n * LANES);
                if first > 0 {
                    sum = V::load(out).add(sum);
                }
                sum.store(out);
            }
            first = end;
        }
    }
}

/// # Safety
/// As [`compute`].
unsafe fn select<F: Format, const N: usize>(p: &Product) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
        unsafe fn avx512<F: Format, const N: usize>(p: &Product) {
            // SAFETY: the caller's promise.
            unsafe { compute::<super::vector::Avx512, F, N>(p) }
        }
        #[target_feature(enable = "avx2,fma")]
        unsafe fn avx2<F: Format, const N: usize>(p: &Product) {
            // SAFETY: the caller's promise.
            unsafe { compute::<super::vector::Avx2, F, N>(p) }
        }
        match isa() {
            // SAFETY: the caller's promise, and `isa` is what the processor has.
            Isa::Avx512 => return unsafe { avx512::<F, N>(p) },
            // SAFETY: as above.
            Isa::Avx2 => return unsafe { avx2::<F, N>(p) },
            Isa::Baseline => {}
        }
    }
    // SAFETY: the caller's promise.
    unsafe { compute::<Plain, F, N>(p) }
}

/// A panel by `rows` rows of the input, 1 to [`MAX_ROWS`].
///
/// # Safety
/// As [`compute`].
pub(super) unsafe fn run<F: Format>(rows: usize, p: &Product) {
    // SAFETY: the caller's promise.
    unsafe {
        match rows {
            1 => select::<F, 1>(p),
            2 => select::<F, 2>(p),
            3 => select::<F, 3>(p),
            4 => select::<F, 4>(p),
            5 => select::<F, 5>(p),
            6 => select::<F, 6>(p),
            7 => select::<F, 7>(p),
            8 => select::<F, 8>(p),
            _ => unreachable!("one to eight rows"),
        }
    }
}

/// # Safety
/// As [`dequantize`].
#[inline(always)]
unsafe fn unpack<V: Lanes32, F: Format>(panel: *const u8, terms: usize, out: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut scales = V::zero();
        for term in 0..terms {
            if term % LANES == 0 {
                scales = F::scales::<V>(panel, term);
            }
            F::load::<V>(panel, term, scales).store(out.add(term * LANES));
        }
    }
}

/// A panel as f32, `[terms][32]`.
///
/// # Safety
/// `panel` has the terms in format `F`, and `out` room for them.
pub(super) unsafe fn dequantize<F: Format>(panel: *const u8, terms: usize, out: *mut f32) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
        unsafe fn avx512<F: Format>(panel: *const u8, terms: usize, out: *mut f32) {
            // SAFETY: the caller's promise.
            unsafe { unpack::<super::vector::Avx512, F>(panel, terms, out) }
        }
        #[target_feature(enable = "avx2,fma")]
        unsafe fn avx2<F: Format>(panel: *const u8, terms: usize, out: *mut f32) {
            // SAFETY: the caller's promise.
            unsafe { unpack::<super::vector::Avx2, F>(panel, terms, out) }
        }
        match isa() {
            // SAFETY: the caller's promise, and `isa` is what the processor has.
            Isa::Avx512 => return unsafe { avx512::<F>(panel, terms, out) },
            // SAFETY: as above.
            Isa::Avx2 => return unsafe { avx2::<F>(panel, terms, out) },
            Isa::Baseline => {}
        }
    }
    // SAFETY: the caller's promise.
    unsafe { unpack::<Plain, F>(panel, terms, out) }
}
