//! Thirty-two lanes, by instruction set.
//!
//! The kernels of this folder are written once over [`Lanes32`] and compiled for each instruction set. A sum of products is fused on AVX-512 and AVX2, which round alike, and is not on
//! the baseline of x86-64, exactly as in the training kernels' tiles.

/// Lanes of a vector here, which are rows of a weight, keys, or features.
pub(super) const LANES: usize = 32;

/// Bytes of 32 terms of 32 rows in blocks of 8-bit integers: a half-precision scale for each row, then
/// the integers, term by term.
pub(super) const Q8_BLOCK: usize = 2 * LANES + LANES * LANES;

/// Thirty-two numbers in the registers of an instruction set.
///
/// # Safety
/// All methods need a processor that has it. Loads read, and stores write, what they say at any
/// alignment.
pub(super) trait Lanes32: Copy {
    /// Zeros.
    unsafe fn zero() -> Self;
    /// The same number in every lane.
    unsafe fn splat(x: f32) -> Self;
    /// Thirty-two f32.
    unsafe fn load(from: *const f32) -> Self;
    /// Thirty-two bf16 in the order of [`bf16_order`].
    unsafe fn load_bf16(from: *const u8) -> Self;
    /// Thirty-two half-precision numbers, none of them negative, infinite or NaN.
    unsafe fn load_scales(from: *const u8) -> Self;
    /// Thirty-two signed bytes.
    unsafe fn load_i8(from: *const u8) -> Self;
    /// Thirty-two f32 to memory.
    unsafe fn store(self, to: *mut f32);
    /// `self · other`.
    unsafe fn mul(self, other: Self) -> Self;
    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// `self · by + sum`.
    unsafe fn mul_add(self, by: Self, sum: Self) -> Self;
}

/// Where lane `lane` is among 32 bf16: lanes `i` and `i + 16` are the halves of one 32-bit word.
pub(super) fn bf16_order(lane: usize) -> usize {
    2 * (lane % 16) + lane / 16
}

/// f32 of a half-precision number that is neither negative, infinite nor NaN.
#[inline(always)]
fn scale_from_bits(bits: u16) -> f32 {
    // The exponent's bias differs by 112; multiplying gets subnormal numbers right too.
    f32::from_bits(u32::from(bits) << 13) * f32::from_bits((127 + 112) << 23)
}

/// Without vector instructions of its own.
#[derive(Clone, Copy)]
pub(super) struct Plain([f32; LANES]);

impl Lanes32 for Plain {
    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; LANES])
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; LANES])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { from.cast::<[f32; LANES]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> Self {
        // SAFETY: the caller's promise.
        let words = unsafe { from.cast::<[u32; LANES / 2]>().read_unaligned() };
        Self(std::array::from_fn(|lane| {
            let word = u32::from_le(words[lane % 16]);
            f32::from_bits(if lane < 16 {
                word << 16
            } else {
                word & 0xffff_0000
            })
        }))
    }

    #[inline(always)]
    unsafe fn load_scales(from: *const u8) -> Self {
        // SAFETY: the caller's promise.
        let bits = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        Self(bits.map(|bits| scale_from_bits(u16::from_le(bits))))
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> Self {
        // SAFETY: the caller's promise.
        let bytes = unsafe { from.cast::<[i8; LANES]>().read_unaligned() };
        Self(bytes.map(f32::from))
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] * other.0[i]))
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }

    #[inline(always)]
    unsafe fn mul_add(self, by: Self, sum: Self) -> Self {
        Self(std::array::from_fn(|i| {
            if cfg!(target_arch = "aarch64") {
                self.0[i].mul_add(by.0[i], sum.0[i])
            } else {
                self.0[i] * by.0[i] + sum.0[i]
            }
        }))
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![expect(
        clippy::undocumented_unsafe_blocks,
        reason = "each is one instruction, under the promises of the trait"
    )]
    use super::Lanes32;
    use std::arch::x86_64::*;

    /// Two vectors of 512 bits.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512(__m512, __m512);

    impl Lanes32 for Avx512 {
        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { Self(_mm512_setzero_ps(), _mm512_setzero_ps()) }
        }

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            unsafe {
                let x = _mm512_set1_ps(x);
                Self(x, x)
            }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { Self(_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(16))) }
        }

        #[inline(always)]
        unsafe fn load_bf16(from: *const u8) -> Self {
            unsafe {
                let words = _mm512_loadu_si512(from.cast());
                let high = _mm512_and_si512(words, _mm512_set1_epi32(0xffff_0000_u32 as i32));
                Self(
                    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words)),
                    _mm512_castsi512_ps(high),
                )
            }
        }

        #[inline(always)]
        unsafe fn load_scales(from: *const u8) -> Self {
            unsafe {
                Self(
                    _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())),
                    _mm512_cvtph_ps(_mm256_loadu_si256(from.add(32).cast())),
                )
            }
        }

        #[inline(always)]
        unsafe fn load_i8(from: *const u8) -> Self {
            unsafe {
                let first = _mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()));
                let second = _mm512_cvtepi8_epi32(_mm_loadu_si128(from.add(16).cast()));
                Self(_mm512_cvtepi32_ps(first), _mm512_cvtepi32_ps(second))
            }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe {
                _mm512_storeu_ps(to, self.0);
                _mm512_storeu_ps(to.add(16), self.1);
            }
        }

        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            unsafe {
                Self(
                    _mm512_mul_ps(self.0, other.0),
                    _mm512_mul_ps(self.1, other.1),
                )
            }
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe {
                Self(
                    _mm512_add_ps(self.0, other.0),
                    _mm512_add_ps(self.1, other.1),
                )
            }
        }

        #[inline(always)]
        unsafe fn mul_add(self, by: Self, sum: Self) -> Self {
            unsafe {
                Self(
                    _mm512_fmadd_ps(self.0, by.0, sum.0),
                    _mm512_fmadd_ps(self.1, by.1, sum.1),
                )
            }
        }
    }

    /// Four vectors of 256 bits.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2([__m256; 4]);

    impl Lanes32 for Avx2 {
        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { Self([_mm256_setzero_ps(); 4]) }
        }

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            unsafe { Self([_mm256_set1_ps(x); 4]) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe {
                Self([
                    _mm256_loadu_ps(from),
                    _mm256_loadu_ps(from.add(8)),
                    _mm256_loadu_ps(from.add(16)),
                    _mm256_loadu_ps(from.add(24)),
                ])
            }
        }

        #[inline(always)]
        unsafe fn load_bf16(from: *const u8) -> Self {
            unsafe {
                let first = _mm256_loadu_si256(from.cast());
                let second = _mm256_loadu_si256(from.add(32).cast());
                let mask = _mm256_set1_epi32(0xffff_0000_u32 as i32);
                Self([
                    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(first)),
                    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(second)),
                    _mm256_castsi256_ps(_mm256_and_si256(first, mask)),
                    _mm256_castsi256_ps(_mm256_and_si256(second, mask)),
                ])
            }
        }

        #[inline(always)]
        unsafe fn load_scales(from: *const u8) -> Self {
            unsafe {
                // As `scale_from_bits`, without relying on F16C.
                let factor = _mm256_castsi256_ps(_mm256_set1_epi32((127 + 112) << 23));
                let mut out = [_mm256_setzero_ps(); 4];
                for (i, out) in out.iter_mut().enumerate() {
                    let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(16 * i).cast()));
                    let float = _mm256_castsi256_ps(_mm256_slli_epi32::<13>(bits));
                    *out = _mm256_mul_ps(float, factor);
                }
                Self(out)
            }
        }

        #[inline(always)]
        unsafe fn load_i8(from: *const u8) -> Self {
            unsafe {
                let mut out = [_mm256_setzero_ps(); 4];
                for (i, out) in out.iter_mut().enumerate() {
                    let bytes = _mm_loadl_epi64(from.add(8 * i).cast());
                    *out = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
                }
                Self(out)
            }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe {
                _mm256_storeu_ps(to, self.0[0]);
                _mm256_storeu_ps(to.add(8), self.0[1]);
                _mm256_storeu_ps(to.add(16), self.0[2]);
                _mm256_storeu_ps(to.add(24), self.0[3]);
            }
        }

        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            unsafe {
                let mut out = self.0;
                for (x, y) in out.iter_mut().zip(other.0) {
                    *x = _mm256_mul_ps(*x, y);
                }
                Self(out)
            }
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe {
                let mut out = self.0;
                for (x, y) in out.iter_mut().zip(other.0) {
                    *x = _mm256_add_ps(*x, y);
                }
                Self(out)
            }
        }

        #[inline(always)]
        unsafe fn mul_add(self, by: Self, sum: Self) -> Self {
            unsafe {
                let mut out = sum.0;
                for ((x, a), b) in out.iter_mut().zip(self.0).zip(by.0) {
                    *x = _mm256_fmadd_ps(a, b, *x);
                }
                Self(out)
            }
        }
    }
}
