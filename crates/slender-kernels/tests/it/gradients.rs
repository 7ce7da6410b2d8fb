//! Values and gradients of every operation against a second implementation in f64 loops.
//!
//! Each operation is written down once more from its formula, one element at a time. The kernel's
//! output is compared with it directly; the kernel's gradients of `Σ r·output`, with random `r`, are
//! compared with central differences of it. Differences in f64 with a step of 1e-5 are good to about
//! 1e-9, so the bound of 1e-5 of the largest value is spent on the kernel's own f32 rounding.
//! Differences in f32 would need a bound of 1e-2 and miss most mistakes; the last test shows that
//! this bound finds the likely ones. Shapes include ones beyond a tile of the fused kernels; with
//! `SLENDER_FUSED=0` and the filter `gradients::` the same tests check the plain compositions (below
//! 5e-7 in both).

use burn::tensor::{Device, Int, Tensor, TensorData};
use slender_kernels::{self as ops, AttentionMask, RopeTable};

/// Largest accepted `max|a - b| / max|b|` of one tensor.
const BOUND: f64 = 1e-5;

/// Deterministic values in -2..2 that f32 holds exactly.
fn values(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 41) as f64 / (1u64 << 21) as f64 - 2.0
    };
    (0..count).map(|_| next()).collect()
}

fn flat(values: &[f64], device: &Device) -> Tensor<1> {
    let values: Vec<f32> = values.iter().map(|&x| x as f32).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

fn host(tensor: Tensor<1>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

fn ints<const D: usize>(values: &[i32], dims: [usize; D], device: &Device) -> Tensor<D, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), dims), device)
}

fn relative_error(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().chain(b).all(|x| x.is_finite()));
    let largest = b.iter().fold(0.0, |worst: f64, x| worst.max(x.abs()));
    let difference = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    difference.fold(0.0, f64::max) / largest
}

/// Relative errors of `kernel` against `reference`: of the output, and of the gradient of every
/// input. Both take flat inputs of `sizes` elements and give a flat output.
fn compare(
    sizes: &[usize],
    kernel: impl Fn(&[Tensor<1>]) -> Tensor<1>,
    reference: impl Fn(&[Vec<f64>]) -> Vec<f64>,
) -> (f64, Vec<f64>) {
    let mut inputs: Vec<Vec<f64>> = sizes.iter().zip(1..).map(|(&n, i)| values(n, i)).collect();
    let device = Device::flex().autodiff();
    let tensors: Vec<Tensor<1>> = inputs
        .iter()
        .map(|input| flat(input, &device).require_grad())
        .collect();
    let output = kernel(&tensors);
    let expected = reference(&inputs);
    let output_error = relative_error(&host(output.clone()), &expected);

    let weights = values(expected.len(), 99);
    let graph = (output * flat(&weights, &device)).sum().backward();
    let weighted = |inputs: &[Vec<f64>]| -> f64 {
        let output = reference(inputs);
        output.iter().zip(&weights).map(|(x, w)| x * w).sum()
    };
    let mut errors = Vec::new();
    for (index, tensor) in tensors.iter().enumerate() {
        let mut expected = Vec::with_capacity(sizes[index]);
        for at in 0..sizes[index] {
            let (step, x) = (1e-5, inputs[index][at]);
            inputs[index][at] = x + step;
            let above = weighted(&inputs);
            inputs[index][at] = x - step;
            let below = weighted(&inputs);
            inputs[index][at] = x;
            expected.push((above - below) / (2.0 * step));
        }
        let grad = tensor.grad(&graph).expect("every input has a gradient");
        errors.push(relative_error(&host(grad), &expected));
    }
    (output_error, errors)
}

/// Prints and bounds the errors of [`compare`].
fn check(name: &str, (output, gradients): (f64, Vec<f64>)) {
    let list: Vec<String> = gradients.iter().map(|e| format!("{e:.1e}")).collect();
    println!(
        "{name:24} output {output:.1e}, gradients {}",
        list.join(" ")
    );
    assert!(output <= BOUND, "{name}: output {output:.1e}");
    let worst = gradients.into_iter().fold(0.0, f64::max);
    assert!(worst <= BOUND, "{name}: gradient {worst:.1e}");
}

// The formulas, over flat inputs.

fn rms_norm_reference(d: usize, eps: f64) -> impl Fn(&[Vec<f64>]) -> Vec<f64> {
    move |inputs| {
        let rows = inputs[0].chunks(d).flat_map(|row| {
            let mean = row.iter().map(|x| x * x).sum::<f64>() / d as f64;
            let root = (mean + eps).sqrt();
            row.iter().zip(&inputs[1]).map(move |(x, w)| x / root * w)
        });
        rows.collect()
    }
}

fn swiglu_reference(inputs: &[Vec<f64>]) -> Vec<f64> {
    let pairs = inputs[0].iter().zip(&inputs[1]);
    pairs.map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect()
}

/// The error function by its Maclaurin series, exact to 1e-14 for |x| < 2.
fn erf(x: f64) -> f64 {
    let (mut sum, mut term) = (x, x);
    for n in 1..60 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn gelu_reference(inputs: &[Vec<f64>]) -> Vec<f64> {
    let gelu = |x: &f64| x * 0.5 * (1.0 + erf(x / std::f64::consts::SQRT_2));
    inputs[0].iter().map(gelu).collect()
}

/// Which dimension pairs with which: half-split, or neighbours.
#[derive(Clone, Copy)]
enum Pairs {
    Half,
    Neighbours,
}

/// The input is `[B, T, heads, d]`; rows start at position `start`.
fn rope_reference(
    [t, heads, d]: [usize; 3],
    start: usize,
    theta: f64,
    pairs: Pairs,
) -> impl Fn(&[Vec<f64>]) -> Vec<f64> {
    move |inputs| {
        let mut out = inputs[0].clone();
        for (row, x) in out.chunks_mut(d).enumerate() {
            let position = (start + row / heads % t) as f64;
            for i in 0..d / 2 {
                let angle = position / theta.powf(2.0 * i as f64 / d as f64);
                let (sin, cos) = angle.sin_cos();
                let (j, k) = match pairs {
                    Pairs::Half => (i, i + d / 2),
                    Pairs::Neighbours => (2 * i, 2 * i + 1),
                };
                (x[j], x[k]) = (x[j] * cos - x[k] * sin, x[j] * sin + x[k] * cos);
            }
        }
        out
    }
}

/// Dimensions of an attention: batch, queries, keys, heads, key-value heads, head width.
#[derive(Clone, Copy)]
struct Heads {
    b: usize,
    t: usize,
    s: usize,
    h: usize,
    kv: usize,
    d: usize,
}

impl Heads {
    fn sizes(self) -> [usize; 3] {
        let keys = self.b * self.s * self.kv * self.d;
        [self.b * self.t * self.h * self.d, keys, keys]
    }

    fn kernel(self, mask: &AttentionMask, inputs: &[Tensor<1>]) -> Tensor<1> {
        let Self { b, t, s, h, kv, d } = self;
        let q = inputs[0].clone().reshape([b, t, h, d]);
        let k = inputs[1].clone().reshape([b, s, kv, d]);
        let v = inputs[2].clone().reshape([b, s, kv, d]);
        ops::attention(q, k, v, mask).reshape([b * t * h * d])
    }

    /// What can go wrong is what is passed in: `sees(row, query, key)`, `group(head)`, the scale.
    fn reference(
        self,
        sees: impl Fn(usize, usize, usize) -> bool,
        group: impl Fn(usize) -> usize,
        scale: f64,
    ) -> impl Fn(&[Vec<f64>]) -> Vec<f64> {
        let Self { b, t, s, h, kv, d } = self;
        move |inputs| {
            let mut out = Vec::new();
            for (row, i, head) in
                (0..b * t * h).map(|index| (index / (t * h), index / h % t, index % h))
            {
                let at = ((row * t + i) * h + head) * d;
                let q = &inputs[0][at..at + d];
                let start = |j: usize| ((row * s + j) * kv + group(head)) * d;
                let seen: Vec<usize> = (0..s).filter(|&j| sees(row, i, j)).collect();
                let weights: Vec<f64> = seen
                    .iter()
                    .map(|&j| {
                        let k = &inputs[1][start(j)..start(j) + d];
                        let dot: f64 = q.iter().zip(k).map(|(q, k)| q * k).sum();
                        (dot * scale).exp()
                    })
                    .collect();
                let total: f64 = weights.iter().sum();
                out.extend((0..d).map(|x| {
                    let terms = seen.iter().zip(&weights);
                    terms
                        .map(|(&j, w)| w / total * inputs[2][start(j) + x])
                        .sum::<f64>()
                }));
            }
            out
        }
    }
}

/// Inputs: hidden `[N, D]`, weight `[V, D]`. Negative targets add nothing.
fn cross_entropy_reference(d: usize, targets: &[i32]) -> impl Fn(&[Vec<f64>]) -> Vec<f64> {
    move |inputs| {
        let mut loss = 0.0;
        for (x, &target) in inputs[0].chunks(d).zip(targets) {
            let dot = |w: &[f64]| x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>();
            let logits: Vec<f64> = inputs[1].chunks(d).map(dot).collect();
            if target >= 0 {
                let total: f64 = logits.iter().map(|z| z.exp()).sum();
                loss += total.ln() - logits[target as usize];
            }
        }
        vec![loss]
    }
}

fn rope_kernel([b, t, h, d]: [usize; 4], start: usize, theta: f64, x: &Tensor<1>) -> Tensor<1> {
    let table = RopeTable::new(64, d, theta, &x.device()).slice(start, t);
    ops::rope(x.clone().reshape([b, t, h, d]), &table).reshape([b * t * h * d])
}

fn cross_entropy_kernel([n, v, d]: [usize; 3], targets: &[i32], inputs: &[Tensor<1>]) -> Tensor<1> {
    let hidden = inputs[0].clone().reshape([n, d]);
    let weight = inputs[1].clone().reshape([v, d]);
    ops::cross_entropy(hidden, weight, ints(targets, [n], &inputs[0].device()))
}

#[test]
fn rms_norm() {
    for (rows, d, eps) in [(6, 19, 1e-5), (2, 64, 1e-2), (5, 1, 1e-1), (70, 3, 1e-5)] {
        let kernel = |inputs: &[Tensor<1>]| {
            let x = inputs[0].clone().reshape([1, rows, d]);
            ops::rms_norm(x, inputs[1].clone(), eps).reshape([rows * d])
        };
        let reference = rms_norm_reference(d, eps);
        check("rms_norm", compare(&[rows * d, d], kernel, reference));
    }
    // Per head, as QK-norm uses it.
    let kernel = |inputs: &[Tensor<1>]| {
        let x = inputs[0].clone().reshape([2, 3, 2, 6]);
        ops::rms_norm(x, inputs[1].clone(), 1e-5).reshape([72])
    };
    let reference = rms_norm_reference(6, 1e-5);
    check("rms_norm, heads", compare(&[72, 6], kernel, reference));
}

#[test]
fn feed_forward_activations() {
    let dims = [2, 7, 19];
    let count = 2 * 7 * 19;
    let swiglu = |inputs: &[Tensor<1>]| {
        let [gate, up] = [0, 1].map(|i| inputs[i].clone().reshape(dims));
        ops::swiglu(gate, up).reshape([count])
    };
    check("swiglu", compare(&[count, count], swiglu, swiglu_reference));
    let gelu = |inputs: &[Tensor<1>]| ops::gelu(inputs[0].clone().reshape(dims)).reshape([count]);
    check("gelu", compare(&[count], gelu, gelu_reference));
    let relu = |inputs: &[Tensor<1>]| ops::relu(inputs[0].clone().reshape(dims)).reshape([count]);
    let reference = |inputs: &[Vec<f64>]| inputs[0].iter().map(|x| x.max(0.0)).collect();
    check("relu", compare(&[count], relu, reference));
}

#[test]
fn rope() {
    for ([b, t, h, d], start, theta) in [
        ([2, 5, 3, 6], 0, 10_000.0),
        ([1, 9, 1, 16], 40, 500_000.0),
        ([3, 1, 2, 2], 7, 10_000.0),
        ([2, 33, 1, 4], 0, 10_000.0),
    ] {
        let kernel = |inputs: &[Tensor<1>]| rope_kernel([b, t, h, d], start, theta, &inputs[0]);
        let reference = rope_reference([t, h, d], start, theta, Pairs::Half);
        check("rope", compare(&[b * t * h * d], kernel, reference));
    }
}

/// Two rows of grouped queries, three query heads a key-value head.
const GROUPED: Heads = Heads {
    b: 2,
    t: 7,
    s: 7,
    h: 6,
    kv: 2,
    d: 4,
};
/// Documents of the two rows.
const SEGMENTS: [i32; 14] = [0, 0, 0, 1, 2, 2, 2, 0, 1, 1, 1, 1, 1, 1];

fn same_document(row: usize, query: usize, key: usize) -> bool {
    key <= query && SEGMENTS[row * 7 + query] == SEGMENTS[row * 7 + key]
}

#[test]
fn causal_attention() {
    let device = Device::flex().autodiff();
    // Grouped, multi-head, multi-query; then fewer queries than keys, as with a cache; then tiles.
    for (t, s, h, kv) in [
        (7, 7, 6, 2),
        (5, 5, 4, 4),
        (9, 9, 4, 1),
        (3, 8, 4, 2),
        (1, 8, 4, 2),
        (67, 67, 2, 1),
        (65, 70, 2, 2),
    ] {
        let (b, d) = (2, 4);
        let heads = Heads { b, t, s, h, kv, d };
        let mask = AttentionMask::causal(t, s, &device);
        let kernel = |inputs: &[Tensor<1>]| heads.kernel(&mask, inputs);
        let sees = |_, i, j| j + t <= i + s;
        let reference = heads.reference(sees, |head| head / (h / kv), 0.5);
        let name = format!("attention {t}x{s}, {h}/{kv}");
        check(&name, compare(&heads.sizes(), kernel, reference));
    }
}

#[test]
fn attention_within_documents() {
    let device = Device::flex().autodiff();
    let mask = AttentionMask::documents(ints(&SEGMENTS, [2, 7], &device));
    let kernel = |inputs: &[Tensor<1>]| GROUPED.kernel(&mask, inputs);
    let reference = GROUPED.reference(same_document, |head| head / 3, 0.5);
    check(
        "attention, documents",
        compare(&GROUPED.sizes(), kernel, reference),
    );

    // Documents that begin before, at and after the edge of a tile, and one of a single token.
    let (b, t) = (2, 67);
    let row = |starts: [usize; 3]| (0..t).map(move |i| starts.iter().filter(|&&s| i >= s).count());
    let segments: Vec<i32> = row([1, 30, 66])
        .chain(row([40, 64, 65]))
        .map(|n| n as i32)
        .collect();
    let (h, kv, d) = (2, 1, 4);
    let heads = Heads {
        b,
        t,
        s: t,
        h,
        kv,
        d,
    };
    let mask = AttentionMask::documents(ints(&segments, [b, t], &device));
    let kernel = |inputs: &[Tensor<1>]| heads.kernel(&mask, inputs);
    let sees = |b, i, j| j <= i && segments[b * t + i] == segments[b * t + j];
    let reference = heads.reference(sees, |_| 0, 0.5);
    check(
        "attention, 67 in documents",
        compare(&heads.sizes(), kernel, reference),
    );
}

#[test]
fn cross_entropy() {
    let (n, v, d) = (9, 23, 5);
    let targets = [3, ops::IGNORE, 22, 0, 0, 7, ops::IGNORE, 1, 22];
    let kernel = |inputs: &[Tensor<1>]| cross_entropy_kernel([n, v, d], &targets, inputs);
    let reference = cross_entropy_reference(d, &targets);
    check("cross_entropy", compare(&[n * d, v * d], kernel, reference));

    // With no target at all the loss and its gradients are zero, not NaN.
    let device = Device::flex().autodiff();
    let inputs = [
        flat(&values(n * d, 1), &device).require_grad(),
        flat(&values(v * d, 2), &device).require_grad(),
    ];
    let loss = cross_entropy_kernel([n, v, d], &[ops::IGNORE; 9], &inputs);
    assert_eq!(host(loss.clone()), [0.0]);
    let graph = loss.backward();
    for input in &inputs {
        assert!(host(input.grad(&graph).unwrap()).iter().all(|&g| g == 0.0));
    }
}

#[test]
fn log_probs() {
    let (n, v, d) = (4, 13, 5);
    let kernel = |inputs: &[Tensor<1>]| {
        let hidden = inputs[0].clone().reshape([n, d]);
        ops::log_probs(hidden, inputs[1].clone().reshape([v, d])).reshape([n * v])
    };
    let reference = |inputs: &[Vec<f64>]| {
        // The loss of one row alone with one target is minus that log-probability.
        let one = |i: usize| {
            let row = inputs[0][i / v * d..][..d].to_vec();
            let target = (i % v) as i32;
            -cross_entropy_reference(d, &[target])(&[row, inputs[1].clone()])[0]
        };
        (0..n * v).map(one).collect()
    };
    check("log_probs", compare(&[n * d, v * d], kernel, reference));
}

#[test]
fn embedding() {
    let (v, d) = (11, 5);
    // Token 4 is met three times, so its row's gradient is a sum; most rows are not met.
    let tokens = [4, 0, 4, 10, 4, 7];
    let kernel = |inputs: &[Tensor<1>]| {
        let weight = inputs[0].clone().reshape([v, d]);
        let tokens = ints(&tokens, [2, 3], &weight.device());
        ops::embedding(weight, tokens).reshape([6 * d])
    };
    let reference = |inputs: &[Vec<f64>]| {
        let rows = tokens
            .iter()
            .flat_map(|&t| &inputs[0][t as usize * d..][..d]);
        rows.copied().collect()
    };
    check("embedding", compare(&[v * d], kernel, reference));
}

#[test]
fn linear() {
    let (b, t, d_in, d_out) = (2, 3, 7, 5);
    let kernel = |inputs: &[Tensor<1>]| {
        let x = inputs[0].clone().reshape([b, t, d_in]);
        ops::linear(x, inputs[1].clone().reshape([d_out, d_in])).reshape([b * t * d_out])
    };
    let reference = |inputs: &[Vec<f64>]| {
        let product = |x: &[f64], w: &[f64]| x.iter().zip(w).map(|(x, w)| x * w).sum();
        let rows = inputs[0].chunks(d_in);
        rows.flat_map(|x| inputs[1].chunks(d_in).map(move |w| product(x, w)))
            .collect()
    };
    check(
        "linear",
        compare(&[b * t * d_in, d_out * d_in], kernel, reference),
    );
}

/// The likely mistakes, made in the reference: each is found in the output or in a gradient.
#[test]
fn wrong_formulas_are_found() {
    let device = Device::flex().autodiff();
    let found = |name: &str, (output, gradients): (f64, Vec<f64>)| {
        let worst = gradients.into_iter().fold(output, f64::max);
        println!("{name:34} {worst:.1e}");
        assert!(worst > 3.0 * BOUND, "{name}: {worst:.1e}");
    };

    let norm = |inputs: &[Tensor<1>]| {
        let x = inputs[0].clone().reshape([6, 19]);
        ops::rms_norm(x, inputs[1].clone(), 1e-5).reshape([114])
    };
    let wrong = rms_norm_reference(19, 2e-4);
    found(
        "rms_norm with another eps",
        compare(&[114, 19], norm, wrong),
    );

    let gelu =
        |inputs: &[Tensor<1>]| ops::gelu(inputs[0].clone().reshape([1, 1, 50])).reshape([50]);
    let tanh = |inputs: &[Vec<f64>]| {
        let inner = |x: f64| (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
        let gelu = |&x: &f64| 0.5 * x * (1.0 + inner(x).tanh());
        inputs[0].iter().map(gelu).collect()
    };
    found("gelu by tanh", compare(&[50], gelu, tanh));

    let rope = |inputs: &[Tensor<1>]| rope_kernel([2, 5, 3, 6], 0, 1e4, &inputs[0]);
    let neighbours = rope_reference([5, 3, 6], 0, 1e4, Pairs::Neighbours);
    found("rope of neighbours", compare(&[180], rope, neighbours));
    let shifted = rope_reference([5, 3, 6], 1, 1e4, Pairs::Half);
    found("rope from position 1", compare(&[180], rope, shifted));

    let mask = AttentionMask::documents(ints(&SEGMENTS, [2, 7], &device));
    let kernel = |inputs: &[Tensor<1>]| GROUPED.kernel(&mask, inputs);
    let sizes = GROUPED.sizes();
    let leaky = GROUPED.reference(|_, i, j| j <= i, |head| head / 3, 0.5);
    found("attention across documents", compare(&sizes, kernel, leaky));
    let interleaved = GROUPED.reference(same_document, |head| head % 2, 0.5);
    found(
        "attention, heads interleaved",
        compare(&sizes, kernel, interleaved),
    );
    let unscaled = GROUPED.reference(same_document, |head| head / 3, 1.0);
    found("attention, not scaled", compare(&sizes, kernel, unscaled));

    let targets = [3, ops::IGNORE, 1, 0];
    let loss = |inputs: &[Tensor<1>]| cross_entropy_kernel([4, 6, 5], &targets, inputs);
    let scored = cross_entropy_reference(5, &[3, 0, 1, 0]);
    found(
        "cross_entropy of ignored targets",
        compare(&[20, 30], loss, scored),
    );
}
