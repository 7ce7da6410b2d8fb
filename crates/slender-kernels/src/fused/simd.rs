//! Run-time choice of instruction set, and a vectorised exponential.
//!
//! Loops are written once in plain Rust over fixed-width blocks; [`multiversion!`] compiles each for
//! AVX-512, AVX2 with FMA and the baseline (which is NEON on Arm) and picks at run time. The
//! environment variable `SLENDER_SIMD` (`avx512`, `avx2` or `none`) forces a lower one, for tests and
//! to find out whether a kernel is at fault.

use std::sync::OnceLock;

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// 512-bit vectors and 32 registers.
    Avx512,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
    /// What every processor of the target has: SSE2, or NEON on Arm.
    Baseline,
}

/// The best instruction set of this processor.
fn detected() -> Isa {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        if has!("avx512f")
            && has!("avx512vl")
            && has!("avx512bw")
            && has!("avx512dq")
            && has!("fma")
        {
            return Isa::Avx512;
        }
        if has!("avx2") && has!("fma") {
            return Isa::Avx2;
        }
    }
    Isa::Baseline
}

/// What `SLENDER_SIMD` asks for, or why that cannot be had.
fn chosen() -> Result<Isa, String> {
    let best = detected();
    let Some(name) = std::env::var_os("SLENDER_SIMD") else {
        return Ok(best);
    };
    let wanted = match name.to_str() {
        Some("avx512") => Isa::Avx512,
        Some("avx2") => Isa::Avx2,
        Some("none") => Isa::Baseline,
        _ => {
            return Err(format!(
                "SLENDER_SIMD is {name:?}\n  hint: it is one of avx512, avx2 and none, or not set at all"
            ));
        }
    };
    if (wanted == Isa::Avx512 && best != Isa::Avx512)
        || (wanted == Isa::Avx2 && best == Isa::Baseline)
    {
        return Err(format!(
            "SLENDER_SIMD asks for {}, which this processor does not have\n  hint: unset it, and the best that it has is used",
            name.to_string_lossy()
        ));
    }
    Ok(wanted)
}

/// Whether the environment asks for an instruction set that can be had.
///
/// # Errors
/// An unknown name in `SLENDER_SIMD`, or one that this processor lacks.
pub(crate) fn check_environment() -> Result<(), String> {
    chosen().map(|_| ())
}

/// The instruction set in use; a bad wish is ignored here, [`check_environment`] reports it.
#[inline]
pub(crate) fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| chosen().unwrap_or_else(|_| detected()))
}

/// Defines a function compiled for several instruction sets.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) {
            #[inline(always)]
            fn body($($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                fn avx512($($arg: $ty),*) { body($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) { body($($arg),*) }
                use crate::fused::simd::{isa, Isa};
                match isa() {
                    // SAFETY: `isa` is never more than the processor has.
                    Isa::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: `isa` is never more than the processor has.
                    Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    Isa::Baseline => {}
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use multiversion;
/// Accumulators of a reduction: fixed, so that sums do not depend on the instruction set's width.
pub(crate) const LANES: usize = 16;

/// `e^x` to within 2 ulp for `x` in [-87, 88]; smaller values give about 1e-38, larger ones
/// `e^88`, NaN stays NaN.
///
/// Cephes' reduction `x = n·ln 2 + r` and polynomial; `n` is rounded by adding and subtracting
/// `1.5·2^23`, whose low bits then hold it, so no conversion instruction is needed.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let t = x.mul_add(std::f32::consts::LOG2_E, MAGIC);
    let n = t - MAGIC;
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = 1.987_569_1e-4_f32
        .mul_add(r, 1.398_2e-3)
        .mul_add(r, 8.333_452e-3)
        .mul_add(r, 4.166_579_6e-2)
        .mul_add(r, 0.166_666_66)
        .mul_add(r, 0.5);
    let p = (p * r).mul_add(r, r) + 1.0;
    let scale = f32::from_bits(t.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(127) << 23);
    p * scale
}

multiversion! {
    /// `e^x` of every element in place, by the kernels' own exponential (2 ulp).
    pub fn exp_slice(values: &mut [f32]) {
        for value in values {
            *value = exp(*value);
        }
    }
}

/// Sum of the lanes in a fixed tree.
#[inline(always)]
pub(crate) fn sum_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Sum of `f(i)` over `0..n` in [`LANES`] accumulators.
#[inline(always)]
pub(crate) fn sum_by(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let whole = n / LANES * LANES;
    let mut i = 0;
    while i < whole {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(i + lane);
        }
        i += LANES;
    }
    for (lane, i) in (whole..n).enumerate() {
        lanes[lane] += f(i);
    }
    sum_lanes(lanes)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    /// The unit tests of this crate once more with each lower instruction set: it is fixed for the
    /// life of a process.
    fn run_all(set: &str) {
        let program = std::env::current_exe().expect("the path of this program");
        let output = Command::new(program)
            .args(["--skip", "unit_tests_pass"])
            .env("SLENDER_SIMD", set)
            .output()
            .expect("this program runs");
        let [out, err] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        let ok = output.status.success() && out.contains("test result: ok");
        assert!(ok, "{out}{err}");
    }

    #[test]
    fn unit_tests_pass_with_avx2() {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return run_all("avx2");
        }
        println!("skipped: this processor has no AVX2 with FMA");
    }

    #[test]
    fn unit_tests_pass_without_vector_extensions() {
        run_all("none");
    }
}
