//! The operations without attention against their plain compositions.

use crate::common::{Input, Random, batch, compare, device, for_cases, ints, seed, size, tensor};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use proptest::prelude::*;
use slender_kernels::{
    self as ops, IGNORE, RopeTable, cross_entropy, linear, reference, rms_norm, rope, swiglu,
};

fn flat<const R: usize>(x: Tensor<R>) -> Tensor<1> {
    let count = x.shape().num_elements();
    x.reshape([count])
}

#[test]
fn linear_agrees() {
    // Sums longer than a block of 640 terms too.
    let inner = prop_oneof![4 => size(), 1 => 630usize..700, 1 => 1281usize..1400];
    let shapes = (batch(), inner, size(), any::<[bool; 2]>(), seed());
    for_cases(
        "linear",
        96,
        shapes,
        |([b, t], d_in, d_out, views, seed)| {
            let random = &mut Random(seed);
            let inputs = [
                Input::new(random, [b * t, d_in], 1.0).transposed(views[0]),
                Input::weight(random, [d_out, d_in]).transposed(views[1]),
            ];
            let x = |i: &[Tensor<2>]| i[0].clone().reshape([b, t, d_in]);
            compare(
                &inputs,
                seed,
                |i| flat(linear(x(i), i[1].clone())),
                |i| flat(reference::linear(x(i), i[1].clone())),
            )
        },
    );
}

/// A row of one element is normalised to its sign, whose gradient is what `eps` leaves of the
/// difference of two equal numbers: only with a large `eps` does f32 have its digits.
fn conditioned(d: usize, eps: f64, scale: f64) -> (f64, f64) {
    if d == 1 { (0.5, 1.0) } else { (eps, scale) }
}

#[test]
fn rms_norm_agrees() {
    let shapes = (
        batch(),
        size(),
        1e-6..1e-1,
        0.01..10.0,
        any::<bool>(),
        seed(),
    );
    for_cases(
        "rms_norm",
        96,
        shapes,
        |([b, t], d, eps, scale, view, seed)| {
            let (eps, scale) = conditioned(d, eps, scale);
            let random = &mut Random(seed);
            let inputs = [
                Input::new(random, [b * t, d], scale).transposed(view),
                Input::norm(random, d),
            ];
            let x = |i: &[Tensor<2>]| i[0].clone().reshape([b, t, d]);
            let w = |i: &[Tensor<2>]| i[1].clone().reshape([d]);
            compare(
                &inputs,
                seed,
                |i| flat(rms_norm(x(i), w(i), eps)),
                |i| flat(reference::rms_norm(x(i), w(i), eps)),
            )
        },
    );
    let shapes = (batch(), 1usize..6, size(), seed());
    for_cases("rms_norm per head", 64, shapes, |([b, t], h, d, seed)| {
        let (eps, _) = conditioned(d, 1e-5, 1.0);
        let random = &mut Random(seed);
        let inputs = [
            Input::new(random, [b * t, h * d], 1.0),
            Input::norm(random, d),
        ];
        let x = |i: &[Tensor<2>]| i[0].clone().reshape([b, t, h, d]);
        let w = |i: &[Tensor<2>]| i[1].clone().reshape([d]);
        compare(
            &inputs,
            seed,
            |i| flat(rms_norm(x(i), w(i), eps)),
            |i| flat(reference::rms_norm(x(i), w(i), eps)),
        )
    });
}

#[test]
fn swiglu_agrees() {
    let shapes = (batch(), size(), 0.1..30.0, any::<[bool; 2]>(), seed());
    for_cases("swiglu", 96, shapes, |([b, t], f, scale, views, seed)| {
        let random = &mut Random(seed);
        let inputs = [
            Input::new(random, [b * t, f], scale).transposed(views[0]),
            Input::new(random, [b * t, f], 1.0).transposed(views[1]),
        ];
        let part = |x: &Tensor<2>| x.clone().reshape([b, t, f]);
        compare(
            &inputs,
            seed,
            |i| flat(swiglu(part(&i[0]), part(&i[1]))),
            |i| flat(reference::swiglu(part(&i[0]), part(&i[1]))),
        )
    });
}

#[test]
fn rope_agrees() {
    let shapes = (
        batch(),
        1usize..5,
        1usize..34,
        0usize..50,
        any::<bool>(),
        seed(),
    );
    for_cases(
        "rope",
        96,
        shapes,
        |([b, t], h, half, start, view, seed)| {
            let d = 2 * half;
            let inputs = [Input::new(&mut Random(seed), [b * t, h * d], 1.0).transposed(view)];
            let table = RopeTable::new(start + t + 3, d, 10_000.0, &device()).slice(start, t + 3);
            let x = |i: &[Tensor<2>]| i[0].clone().reshape([b, t, h, d]);
            compare(
                &inputs,
                seed,
                |i| flat(rope(x(i), &table)),
                |i| {
                    let [cos, sin] = rope_factors(&table, t, i[0].dtype());
                    flat(reference::rope(x(i), cos, sin))
                },
            )
        },
    );
}

/// Cosines and sines as the plain composition takes them.
pub fn rope_factors(table: &RopeTable, t: usize, dtype: DType) -> [Tensor<4>; 2] {
    [table.cos(), table.sin()].map(|values| {
        let half = values.dims()[1];
        let rows = values.narrow(0, 0, t).cast(dtype);
        rows.reshape([1, t, 1, half]) // [1, T, 1, Dh/2]
    })
}

#[test]
fn embedding_agrees() {
    let shapes = (
        batch(),
        prop_oneof![size(), 200usize..700],
        size(),
        any::<bool>(),
        seed(),
    );
    for_cases("embedding", 96, shapes, |([b, t], v, d, view, seed)| {
        let random = &mut Random(seed);
        let inputs = [Input::new(random, [v, d], 1.0).transposed(view)];
        let tokens: Vec<i32> = (0..b * t).map(|_| random.below(v) as i32).collect();
        let tokens = || ints(&tokens, [b, t]);
        compare(
            &inputs,
            seed,
            |i| flat(ops::embedding(i[0].clone(), tokens())),
            |i| flat(burn::tensor::module::embedding(i[0].clone(), tokens())),
        )
    });
}

/// Targets below `v`, of which about `ignored` are not scored.
fn targets(random: &mut Random, n: usize, v: usize, ignored: f64) -> Vec<i32> {
    let target = |random: &mut Random| match random.uniform() < ignored {
        true => IGNORE,
        false => random.below(v) as i32,
    };
    (0..n).map(|_| target(random)).collect()
}

#[test]
fn cross_entropy_agrees() {
    let tokens = prop_oneof![4 => size(), 1 => 130usize..300];
    let vocab = prop_oneof![4 => size(), 4 => 129usize..700, 1 => 5000usize..9000];
    let ignored = prop_oneof![Just(0.0), Just(0.3), Just(0.9)];
    let shapes = (
        tokens,
        vocab,
        size(),
        ignored,
        0.1..4.0,
        any::<[bool; 2]>(),
        seed(),
    );
    for_cases(
        "cross_entropy",
        96,
        shapes,
        |(n, v, d, ignored, scale, views, seed)| {
            let random = &mut Random(seed);
            let inputs = [
                Input::new(random, [n, d], scale).transposed(views[0]),
                Input::weight(random, [v, d]).transposed(views[1]),
            ];
            let targets = targets(random, n, v, ignored);
            let targets = || ints(&targets, [n]);
            compare(
                &inputs,
                seed,
                |i| cross_entropy(i[0].clone(), i[1].clone(), targets()),
                |i| reference::cross_entropy(i[0].clone(), i[1].clone(), targets()),
            )
        },
    );
}

#[test]
fn cross_entropy_of_several_chunks_agrees() {
    // 64 panels of tokens are a chunk: one token more than one, and the end of a third.
    let shapes = (
        prop::sample::select(vec![2049usize, 4500]),
        20usize..50,
        3usize..20,
        seed(),
    );
    for_cases("cross_entropy in chunks", 3, shapes, |(n, v, d, seed)| {
        let random = &mut Random(seed);
        let inputs = [
            Input::new(random, [n, d], 1.0),
            Input::weight(random, [v, d]),
        ];
        let targets = targets(random, n, v, 0.2);
        let targets = || ints(&targets, [n]);
        compare(
            &inputs,
            seed,
            |i| cross_entropy(i[0].clone(), i[1].clone(), targets()),
            |i| reference::cross_entropy(i[0].clone(), i[1].clone(), targets()),
        )
    });
}

/// The ends of a model that shares its embedding with its output.
#[test]
fn tied_embedding_agrees() {
    let shapes = (batch(), size(), size(), any::<bool>(), seed());
    for_cases(
        "tied embedding",
        64,
        shapes,
        |([b, t], v, d, view, seed)| {
            let random = &mut Random(seed);
            let inputs = [
                Input::weight(random, [v, d]).transposed(view),
                Input::norm(random, d),
            ];
            let tokens: Vec<i32> = (0..b * t).map(|_| random.below(v) as i32).collect();
            let tokens = || ints(&tokens, [b, t]);
            let targets = targets(random, b * t, v, 0.2);
            let targets = || ints(&targets, [b * t]);
            let norm = |i: &[Tensor<2>]| i[1].clone().reshape([d]);
            compare(
                &inputs,
                seed,
                |i| {
                    let x = ops::embedding(i[0].clone(), tokens());
                    let x = rms_norm(x, norm(i), 1e-5).reshape([b * t, d]);
                    cross_entropy(x, i[0].clone(), targets())
                },
                |i| {
                    let x = burn::tensor::module::embedding(i[0].clone(), tokens());
                    let x = reference::rms_norm(x, norm(i), 1e-5).reshape([b * t, d]);
                    reference::cross_entropy(x, i[0].clone(), targets())
                },
            )
        },
    );
}

/// A view that begins inside its memory, and one of fewer elements than its memory has.
#[test]
fn parts_of_larger_tensors_are_read_where_they_are() {
    let random = &mut Random(5);
    let (rows, weights) = (random.normals(9 * 7, 1.0), random.normals(8 * 7, 1.0));
    let part = |values: &[f32], all, from, count| tensor(values, [all, 7]).narrow(0, from, count);
    for (from, count) in [(0, 4), (3, 5), (8, 1)] {
        let x = part(&rows, 9, from, count).reshape([1, count, 7]);
        let w = part(&weights, 8, 2, 6);
        let difference = linear(x.clone(), w.clone()) - reference::linear(x, w);
        assert!(difference.abs().max().into_scalar::<f32>() < 1e-5);
    }
}

#[test]
fn a_nan_is_never_hidden() {
    let nan =
        |dims| Tensor::<3>::from_data(TensorData::new(vec![f32::NAN; 24], dims), &Device::flex());
    let bad = |x: Tensor<3>| x.into_data().iter::<f32>().all(f32::is_nan);
    assert!(bad(swiglu(nan([2, 3, 4]), nan([2, 3, 4]))));
    let weight = Tensor::ones([4], &Device::flex());
    assert!(bad(rms_norm(nan([2, 3, 4]), weight, 1e-5)));
    assert!(bad(linear(
        nan([2, 3, 4]),
        Tensor::ones([5, 4], &Device::flex())
    )));
    let hidden = nan([2, 3, 4]).reshape([6, 4]);
    let targets = Tensor::<1, Int>::zeros([6], &Device::flex());
    let loss = cross_entropy(hidden, Tensor::ones([5, 4], &Device::flex()), targets);
    assert!(loss.into_scalar::<f32>().is_nan());
}
