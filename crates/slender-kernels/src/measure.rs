//! How fast the matrix products of a decoder run here, and how fast memory is read, for `slender bench`.

use crate::fused::simd::multiversion;
use crate::fused::{input_gradient, linear_forward, weight_gradient};
use crate::infer::{AHEAD, Team, prefetch};
use std::time::Instant;

/// A product of a linear layer with weight `[out, in]` over a number of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// `x · wᵀ`.
    Forward,
    /// `dy · w`.
    InputGradient,
    /// `dyᵀ · x`.
    WeightGradient,
}

impl Product {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Forward, Self::InputGradient, Self::WeightGradient];

    /// A short name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::InputGradient => "input gradient",
            Self::WeightGradient => "weight gradient",
        }
    }
}

/// Speed of the CPU kernels in FLOP/s on all threads of the pool, the best of several repetitions
/// that take about `seconds` together; conversions from and to rows included.
pub fn product_speed(
    product: Product,
    tokens: usize,
    [outer, inner]: [usize; 2],
    seconds: f64,
) -> f64 {
    let values =
        |len: usize| -> Vec<f32> { (0..len).map(|i| (i % 31) as f32 / 31.0 - 0.5).collect() };
    let (x, dy, w) = (
        values(tokens * inner),
        values(tokens * outer),
        values(outer * inner),
    );
    let mut gradient = vec![0.0; outer * inner];
    let mut run = || {
        let start = Instant::now();
        match product {
            Product::Forward => drop(linear_forward(&x, &w, inner)),
            Product::InputGradient => drop(input_gradient(&dy, &w, outer)),
            Product::WeightGradient => weight_gradient(&dy, &x, &mut gradient, inner, false),
        }
        start.elapsed().as_secs_f64()
    };
    let first = run();
    let repetitions = (seconds / first.max(1e-9)).clamp(3.0, 1000.0) as usize;
    let best = (0..repetitions).map(|_| run()).fold(first, f64::min);
    2.0 * (tokens * outer * inner) as f64 / best
}

/// Bytes that [`memory_speed`] reads: far more than caches hold.
const READ_BYTES: usize = 512 << 20;
/// Bytes that a thread reads at a time.
const PIECE_BYTES: usize = 1 << 20;

multiversion! {
    /// A sum that reads `values` once, asking for them as the products of decoding do.
    fn read(values: &[f32], sum: &mut f32) {
        let mut lanes = [0.0_f32; 128];
        for values in values.as_chunks::<128>().0 {
            prefetch(values.as_ptr().cast::<u8>().wrapping_add(AHEAD), 512);
            for (lane, x) in lanes.iter_mut().zip(values) {
                *lane += x;
            }
        }
        *sum = lanes.iter().sum();
    }
}

/// Speed in bytes per second at which all threads of the pool together read memory front to back, the
/// best of several times.
pub fn memory_speed() -> f64 {
    let values = vec![1.0_f32; READ_BYTES / 4];
    Team::session(|team| {
        let time = |_| {
            let start = Instant::now();
            team.run(READ_BYTES / PIECE_BYTES, |pieces| {
                let len = PIECE_BYTES / 4;
                let mut sum = 0.0;
                read(&values[pieces.start * len..pieces.end * len], &mut sum);
                std::hint::black_box(sum);
            });
            start.elapsed().as_secs_f64()
        };
        let best = (0..4).map(time).fold(f64::INFINITY, f64::min);
        READ_BYTES as f64 / best
    })
}
