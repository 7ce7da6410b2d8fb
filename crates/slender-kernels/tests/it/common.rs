//! Comparing a fused operation with its plain composition, in f32 and in f64, over random shapes.
//!
//! The plain composition runs on the same device in f32 and, because a kernel serves f32 alone, also
//! in f64. Where fused and plain differ, the f64 result says which of the two is inexact.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::cell::RefCell;

/// Largest accepted `max|a - b| / max|b|` of one tensor.
pub const BOUND: f64 = 1e-5;

pub fn device() -> Device {
    Device::flex().autodiff()
}

/// A stream of normally distributed numbers that f32 holds exactly, by SplitMix64 and Box-Muller.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// In (0, 1).
    pub fn uniform(&mut self) -> f64 {
        ((self.bits() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    pub fn normal(&mut self, scale: f64) -> f32 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        (radius * (std::f64::consts::TAU * self.uniform()).cos() * scale) as f32
    }

    pub fn normals(&mut self, count: usize, scale: f64) -> Vec<f32> {
        (0..count).map(|_| self.normal(scale)).collect()
    }
}

/// A matrix that operations take as input and that gets a gradient.
#[derive(Clone, Debug)]
pub struct Input {
    pub dims: [usize; 2],
    pub values: Vec<f32>,
    /// Lies transposed in memory, so that the operation sees a view.
    pub transposed: bool,
}

impl Input {
    pub fn new(random: &mut Random, dims: [usize; 2], scale: f64) -> Self {
        Self {
            dims,
            values: random.normals(dims[0] * dims[1], scale),
            transposed: false,
        }
    }

    /// A weight `[out, in]` that keeps the size of what it multiplies.
    pub fn weight(random: &mut Random, dims: [usize; 2]) -> Self {
        Self::new(random, dims, 1.0 / (dims[1] as f64).sqrt())
    }

    /// The weight of a norm, `[1, D]`, around 1.
    pub fn norm(random: &mut Random, d: usize) -> Self {
        let mut input = Self::new(random, [1, d], 0.3);
        input.values.iter_mut().for_each(|x| *x += 1.0);
        input
    }

    pub fn transposed(mut self, transposed: bool) -> Self {
        self.transposed = transposed;
        self
    }

    /// As it lies in memory.
    fn leaf(&self, dtype: DType) -> Tensor<2> {
        let [rows, columns] = self.dims;
        let dims = if self.transposed {
            [columns, rows]
        } else {
            [rows, columns]
        };
        tensor(&self.values, dims).cast(dtype).require_grad()
    }

    fn view(&self, leaf: &Tensor<2>) -> Tensor<2> {
        if self.transposed {
            leaf.clone().transpose()
        } else {
            leaf.clone()
        }
    }
}

pub fn tensor<const R: usize>(values: &[f32], dims: [usize; R]) -> Tensor<R> {
    Tensor::from_data(TensorData::new(values.to_vec(), dims), &device())
}

pub fn ints<const R: usize>(values: &[i32], dims: [usize; R]) -> Tensor<R, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), dims), &device())
}

/// The bits of a tensor's f32 elements.
pub fn bits<const R: usize>(tensor: Tensor<R>) -> Vec<u32> {
    tensor.into_data().iter::<f32>().map(f32::to_bits).collect()
}

/// What an operation makes of its inputs: the output, then the gradient of each input under a
/// random projection of the output.
fn results(
    inputs: &[Input],
    dtype: DType,
    projection: &mut Random,
    operation: impl Fn(&[Tensor<2>]) -> Tensor<1>,
) -> Vec<Vec<f64>> {
    let leaves: Vec<Tensor<2>> = inputs.iter().map(|input| input.leaf(dtype)).collect();
    let views: Vec<Tensor<2>> = inputs.iter().zip(&leaves).map(|(i, l)| i.view(l)).collect();
    let output = operation(&views);
    let count = output.dims()[0];
    let projection = tensor(&projection.normals(count, 1.0), [count]).cast(dtype);
    let mut results = vec![output.clone().into_data().iter::<f64>().collect()];
    let gradients = (output * projection).sum().backward();
    for leaf in &leaves {
        let gradient = leaf.grad(&gradients).expect("every input has a gradient");
        results.push(gradient.into_data().iter::<f64>().collect());
    }
    results
}

/// Relative errors, the worst of all tensors.
#[derive(Clone, Copy, Debug, Default)]
pub struct Errors {
    /// The fused operation in f32 against the plain one in f64.
    pub fused: f64,
    /// The plain operation in f32 against that in f64.
    pub plain: f64,
    /// The fused operation against the plain one, both in f32.
    pub between: f64,
}

impl Errors {
    /// Within the bound of the truth, and of the plain f32 composition unless that is what is off.
    fn accepted(&self) -> bool {
        self.fused <= BOUND && (self.between <= BOUND || self.plain >= self.fused)
    }

    fn worst(&mut self, other: Self) {
        self.fused = self.fused.max(other.fused);
        self.plain = self.plain.max(other.plain);
        self.between = self.between.max(other.between);
    }
}

/// Compares outputs and the gradients of all inputs.
///
/// # Errors
/// Which result is off, and by how much.
pub fn compare(
    inputs: &[Input],
    seed: u64,
    fused: impl Fn(&[Tensor<2>]) -> Tensor<1>,
    plain: impl Fn(&[Tensor<2>]) -> Tensor<1>,
) -> Result<Errors, String> {
    let fused = results(inputs, DType::F32, &mut Random(seed), fused);
    let truth = results(inputs, DType::F64, &mut Random(seed), &plain);
    let plain = results(inputs, DType::F32, &mut Random(seed), plain);
    let largest = |values: &[f64]| values.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    let of_all = truth[1..].iter().map(|g| largest(g)).fold(0.0, f64::max);
    let mut worst = Errors::default();
    for (index, truth) in truth.iter().enumerate() {
        // A gradient may vanish exactly, as that of a softmax over one key does; what rounding
        // leaves of it is held against the operation's other gradients.
        let scale = match largest(truth) {
            own if own > 1e-10 * of_all => own,
            _ => of_all,
        };
        let error = |a: &[f64], b: &[f64]| -> f64 {
            assert_eq!(a.len(), b.len());
            let difference = a.iter().zip(b).map(|(a, b)| (a - b).abs());
            // A NaN must not pass as the smaller of two numbers.
            let difference =
                difference.fold(0.0, |x: f64, y| if x > y || x.is_nan() { x } else { y });
            if difference == 0.0 {
                0.0
            } else {
                difference / scale
            }
        };
        let errors = Errors {
            fused: error(&fused[index], truth),
            plain: error(&plain[index], truth),
            between: error(&fused[index], &plain[index]),
        };
        if !errors.accepted() {
            return Err(match index {
                0 => format!("output: {errors:?}"),
                _ => format!("gradient of input {}: {errors:?}", index - 1),
            });
        }
        worst.worst(errors);
    }
    Ok(worst)
}

/// Runs `test` on `cases` draws of a strategy, the same ones every time, and prints the worst errors.
///
/// `SLENDER_TEST_CASES` is a factor of the number of cases: more to search for a bug, fewer where
/// vector instructions are missing and the kernels are slow. Among thousands there are some whose
/// gradient is the small difference of large terms, in which f32 has not got five digits.
pub fn for_cases<S: Strategy>(
    name: &str,
    cases: u32,
    strategy: S,
    test: impl Fn(S::Value) -> Result<Errors, String>,
) {
    let factor = std::env::var("SLENDER_TEST_CASES");
    let factor: f64 = factor.map_or(1.0, |text| text.parse().expect("a factor"));
    let config = Config {
        cases: (f64::from(cases) * factor).ceil() as u32,
        failure_persistence: None,
        max_shrink_iters: 64,
        ..Config::default()
    };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let worst = RefCell::new(Errors::default());
    let outcome = TestRunner::new_with_rng(config, random).run(&strategy, |case| {
        let errors = test(case).map_err(TestCaseError::fail)?;
        worst.borrow_mut().worst(errors);
        Ok(())
    });
    let Errors {
        fused,
        plain,
        between,
    } = worst.into_inner();
    let set = std::env::var("SLENDER_SIMD").unwrap_or_else(|_| "best".into());
    println!("{name:34} {set:6} fused {fused:.1e}, plain {plain:.1e}, between {between:.1e}");
    if let Err(error) = outcome {
        panic!("{name}: {error}");
    }
}

/// Sizes around the widths of tiles and panels, and any below 40.
pub fn size() -> impl Strategy<Value = usize> + Clone {
    let edges = prop::sample::select(vec![
        1, 11, 12, 13, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 95, 96, 97, 100, 128,
    ]);
    prop_oneof![1usize..40, edges]
}

/// Numbers of sequences and of tokens in each: several in a panel, and several panels.
pub fn batch() -> impl Strategy<Value = [usize; 2]> + Clone {
    let lengths = prop_oneof![Just(1usize), 2usize..40, 40usize..140];
    (1usize..5, lengths).prop_map(|(b, t)| [b, t])
}

/// Where the values of a case come from; not shrunk, for that would change all of them.
pub fn seed() -> impl Strategy<Value = u64> + Clone {
    any::<u64>().no_shrink()
}

/// Runs `work` with a pool of so many threads.
pub fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.expect("a pool").install(work)
}
