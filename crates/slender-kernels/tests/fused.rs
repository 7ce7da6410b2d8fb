//! Every fused kernel against its plain reference: values and gradients, over shapes that are not
//! multiples of any block or vector width, and independent of the number of threads.

use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use slender_kernels::{
    AttentionMask, RopeTable, attention, cross_entropy, forbidden_causal, forbidden_documents,
    linear, reference, rms_norm, rope, swiglu,
};

fn device() -> Device {
    Device::flex().autodiff()
}

fn random<const D: usize>(dims: [usize; D]) -> Tensor<D> {
    Tensor::random(dims, Distribution::Normal(0.0, 1.0), &device()).require_grad()
}

fn difference<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    let scale = b.clone().abs().max().into_scalar::<f32>().max(1e-6);
    (a - b).abs().max().into_scalar::<f32>() / scale
}

/// Compares outputs and the gradients of all inputs under a random projection of the output.
macro_rules! check {
    ($name:expr, $fused:expr, $plain:expr, [$($input:expr),+], $tolerance:expr) => {{
        let (fused, plain) = ($fused, $plain);
        let error = difference(fused.clone().inner(), plain.clone().inner());
        assert!(error < $tolerance, "{}: output differs by {error}", $name);
        let projection = Tensor::random(fused.dims(), Distribution::Normal(0.0, 1.0), &device());
        let fused_grads = (fused * projection.clone()).sum().backward();
        let plain_grads = (plain * projection).sum().backward();
        for (index, error) in [$(difference(
            $input.grad(&fused_grads).expect("a gradient").inner(),
            $input.grad(&plain_grads).expect("a gradient").inner(),
        )),+].into_iter().enumerate() {
            assert!(error < $tolerance, "{}: gradient {index} differs by {error}", $name);
        }
    }};
}

#[test]
fn linear_agrees() {
    for [b, t, d_in, d_out] in [[1, 1, 3, 5], [2, 17, 33, 65], [3, 70, 128, 352]] {
        let (x, w) = (random([b, t, d_in]), random([d_out, d_in]));
        check!(
            "linear",
            linear(x.clone(), w.clone()),
            reference::linear(x.clone(), w.clone()),
            [x, w],
            2e-6
        );
    }
}

#[test]
fn rms_norm_agrees() {
    for [b, t, d] in [[1, 1, 4], [2, 33, 19], [3, 40, 128]] {
        let (x, w) = (random([b, t, d]), random([d]));
        check!(
            "rms_norm",
            rms_norm(x.clone(), w.clone(), 1e-5),
            reference::rms_norm(x.clone(), w.clone(), 1e-5),
            [x, w],
            5e-6
        );
    }
    let (x, w) = (random([2, 5, 3, 8]), random([8]));
    check!(
        "rms_norm per head",
        rms_norm(x.clone(), w.clone(), 1e-5),
        reference::rms_norm(x.clone(), w.clone(), 1e-5),
        [x, w],
        5e-6
    );
}

#[test]
fn swiglu_agrees() {
    for dims in [[1, 1, 1], [2, 33, 19], [1, 100, 352]] {
        let (gate, up) = (
            random(dims).mul_scalar(4.0).detach().require_grad(),
            random(dims),
        );
        check!(
            "swiglu",
            swiglu(gate.clone(), up.clone()),
            reference::swiglu(gate.clone(), up.clone()),
            [gate, up],
            2e-6
        );
    }
}

#[test]
fn rope_agrees() {
    for [b, t, h, d] in [[1, 1, 1, 2], [2, 33, 3, 6], [1, 130, 4, 32]] {
        let table = RopeTable::new(t + 7, d, 10_000.0, &device());
        let x = random([b, t, h, d]);
        let factor = |values: Tensor<2>| values.narrow(0, 0, t).reshape([1, t, 1, d / 2]);
        let plain = reference::rope(x.clone(), factor(table.cos()), factor(table.sin()));
        check!("rope", rope(x.clone(), &table), plain, [x], 2e-6);
    }
}

#[test]
fn attention_agrees() {
    // B, T, H, K, Dh: multi-head, grouped, multi-query, one token, several tiles.
    for [b, t, h, kv, d] in [
        [1, 1, 1, 1, 2],
        [2, 20, 4, 4, 8],
        [2, 70, 6, 2, 16],
        [1, 200, 3, 1, 32],
    ] {
        let (q, k, v) = (
            random([b, t, h, d]),
            random([b, t, kv, d]),
            random([b, t, kv, d]),
        );
        let mask = AttentionMask::causal(t, t, &device());
        let forbidden = forbidden_causal(t, t, &Device::flex());
        let plain = reference::attention(q.clone(), k.clone(), v.clone(), forbidden);
        check!(
            "causal",
            attention(q.clone(), k.clone(), v.clone(), &mask),
            plain,
            [q, k, v],
            1e-5
        );

        // Documents of uneven length, other ones in every row.
        let ids: Vec<i32> = (0..b)
            .flat_map(|row| (0..t).map(move |i| (i * (row + 1) / 13) as i32))
            .collect();
        let segments =
            || Tensor::<2, Int>::from_data(TensorData::new(ids.clone(), [b, t]), &Device::flex());
        let mask = AttentionMask::documents(segments());
        let plain = reference::attention(
            q.clone(),
            k.clone(),
            v.clone(),
            forbidden_documents(segments()),
        );
        check!(
            "documents",
            attention(q.clone(), k.clone(), v.clone(), &mask),
            plain,
            [q, k, v],
            1e-5
        );
    }
}

#[test]
fn attention_of_the_last_queries_agrees() {
    let (t, s) = (5, 80);
    let (q, k, v) = (
        random([2, t, 4, 8]),
        random([2, s, 2, 8]),
        random([2, s, 2, 8]),
    );
    let mask = AttentionMask::causal(t, s, &device());
    let plain = reference::attention(
        q.clone(),
        k.clone(),
        v.clone(),
        forbidden_causal(t, s, &Device::flex()),
    );
    check!(
        "cached",
        attention(q.clone(), k.clone(), v.clone(), &mask),
        plain,
        [q, k, v],
        1e-5
    );
}

#[test]
fn cross_entropy_agrees() {
    for [n, d, v] in [[1, 3, 2], [37, 16, 301], [300, 24, 9000]] {
        let (h, w) = (random([n, d]), random([v, d]));
        let ids: Vec<i32> = (0..n as i32)
            .map(|i| if i % 7 == 6 { -1 } else { i * 31 % v as i32 })
            .collect();
        let targets = || Tensor::<1, Int>::from_data(TensorData::new(ids.clone(), [n]), &device());
        let fused = cross_entropy(h.clone(), w.clone(), targets());
        let plain = reference::cross_entropy(h.clone(), w.clone(), targets());
        check!("cross_entropy", fused, plain, [h, w], 1e-5);
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
    let hidden = nan([2, 3, 4]).reshape([6, 4]);
    let targets = Tensor::<1, Int>::zeros([6], &Device::flex());
    let loss = cross_entropy(hidden, Tensor::ones([5, 4], &Device::flex()), targets);
    assert!(loss.into_scalar::<f32>().is_nan());
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let (x, w) = (random([4, 130, 64]), random([64]));
    let (q, k, v) = (
        random([2, 130, 4, 16]),
        random([2, 130, 2, 16]),
        random([2, 130, 2, 16]),
    );
    let (h, e) = (random([260, 32]), random([5000, 32]));
    let ids: Vec<i32> = (0..260).map(|i| i * 17 % 5000).collect();
    let compute = || {
        let mask = AttentionMask::causal(130, 130, &device());
        let targets = Tensor::<1, Int>::from_data(TensorData::new(ids.clone(), [260]), &device());
        let loss = attention(q.clone(), k.clone(), v.clone(), &mask).sum()
            + swiglu(rms_norm(x.clone(), w.clone(), 1e-5), x.clone()).sum()
            + cross_entropy(h.clone(), e.clone(), targets);
        let grads = loss.backward();
        let mut bits: Vec<u32> = Vec::new();
        let mut add = |data: TensorData| bits.extend(data.iter::<f32>().map(f32::to_bits));
        add(loss.into_data());
        for grad in [q.grad(&grads), k.grad(&grads), v.grad(&grads)] {
            add(grad.expect("a gradient").into_data());
        }
        add(x.grad(&grads).expect("a gradient").into_data());
        add(w.grad(&grads).expect("a gradient").into_data());
        add(h.grad(&grads).expect("a gradient").into_data());
        add(e.grad(&grads).expect("a gradient").into_data());
        bits
    };
    let pool = |threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool")
    };
    let one = pool(1).install(compute);
    assert!(one == pool(2).install(compute) && one == pool(5).install(compute));
}
