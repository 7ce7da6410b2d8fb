//! Results to the last bit: whatever the number of threads, the sequences beside, and whether
//! activations are kept or computed again.

use crate::attention::{masks, segments};
use crate::blocks::{Sizes, feed_forward_inputs, fused_feed_forward};
use crate::common::{Input, Random, bits, device, ints, tensor, with_threads};
use burn::tensor::{Device, Tensor};
use slender_kernels::{
    self as ops, AttentionMask, RopeTable, attention, cross_entropy, linear, rms_norm, swiglu,
};

/// Bits of the output and of all gradients under a random projection.
fn all_bits(inputs: &[Input], operation: impl Fn(&[Tensor<2>]) -> Tensor<1>) -> Vec<Vec<u32>> {
    let leaves: Vec<Tensor<2>> = inputs
        .iter()
        .map(|input| tensor(&input.values, input.dims).require_grad())
        .collect();
    let output = operation(&leaves);
    let count = output.dims()[0];
    let projection = tensor(&Random(77).normals(count, 1.0), [count]);
    let mut all = vec![bits(output.clone())];
    let gradients = (output * projection).sum().backward();
    all.extend(
        leaves
            .iter()
            .map(|leaf| bits(leaf.grad(&gradients).expect("a gradient"))),
    );
    all
}

/// Asserts that 1, 2, 3 and 5 threads compute the same.
fn same_on_all_threads(
    name: &str,
    inputs: &[Input],
    operation: impl Fn(&[Tensor<2>]) -> Tensor<1> + Sync,
) {
    let one = with_threads(1, || all_bits(inputs, &operation));
    for threads in [2, 3, 5] {
        let other = with_threads(threads, || all_bits(inputs, &operation));
        for (index, (one, other)) in one.iter().zip(&other).enumerate() {
            assert!(
                one == other,
                "{name}: result {index} with {threads} threads"
            );
        }
    }
}

/// Six sequences of 45 tokens: 9 panels, in which sequences end anywhere.
const SIZES: Sizes = Sizes {
    b: 6,
    t: 45,
    dim: 72,
    h: 6,
    kv: 2,
    head: 12,
};
const HIDDEN: usize = 200;

fn attention_parts(documents: bool) -> (RopeTable, AttentionMask) {
    let table = RopeTable::new(SIZES.t, SIZES.head, 10_000.0, &device());
    let ids = documents.then(|| segments(&mut Random(8), [SIZES.b, SIZES.t], 0.1));
    (table, masks(ids.as_deref(), [SIZES.b, SIZES.t]).0)
}

fn run_attention_block(
    documents: bool,
    recompute: bool,
) -> impl Fn(&[Tensor<2>]) -> Tensor<1> + Sync {
    let (table, mask) = attention_parts(documents);
    move |i| {
        let Sizes { b, t, dim, .. } = SIZES;
        let x = i[0].clone().reshape([b, t, dim]);
        let y = SIZES.fused(x, &i[1..], &table, &mask, recompute);
        y.reshape([b * t * dim])
    }
}

fn run_feed_forward(recompute: bool) -> impl Fn(&[Tensor<2>]) -> Tensor<1> + Sync {
    move |i| {
        let Sizes { b, t, dim, .. } = SIZES;
        let x = i[0].clone().reshape([b, t, dim]);
        fused_feed_forward(x, &i[1..], recompute).reshape([b * t * dim])
    }
}

#[test]
fn half_blocks_do_not_depend_on_threads() {
    let inputs = SIZES.inputs(&mut Random(1));
    for (documents, recompute) in [(false, false), (true, false), (true, true)] {
        let run = run_attention_block(documents, recompute);
        same_on_all_threads("attention_block", &inputs, run);
    }
    let inputs = feed_forward_inputs(&mut Random(2), SIZES.b * SIZES.t, SIZES.dim, HIDDEN);
    for recompute in [false, true] {
        same_on_all_threads("feed_forward_block", &inputs, run_feed_forward(recompute));
    }
}

#[test]
fn embedding_and_loss_do_not_depend_on_threads() {
    let (n, v, d) = (300, 501, 40);
    let random = &mut Random(3);
    // Few different tokens, so that most rows of the gradient are sums.
    let tokens: Vec<i32> = (0..n).map(|_| random.below(30) as i32 * 16).collect();
    let weight = [Input::new(random, [v, d], 1.0)];
    same_on_all_threads("embedding", &weight, |i| {
        ops::embedding(i[0].clone(), ints(&tokens, [1, n])).reshape([n * d])
    });

    // Two chunks of tokens.
    let n = 2100;
    let targets: Vec<i32> = (0..n).map(|_| random.below(v + 20) as i32 - 20).collect();
    let inputs = [
        Input::new(random, [n, d], 1.0),
        Input::weight(random, [v, d]),
    ];
    let targets: Vec<i32> = targets.iter().map(|&id| id.max(ops::IGNORE)).collect();
    same_on_all_threads("cross_entropy", &inputs, |i| {
        cross_entropy(i[0].clone(), i[1].clone(), ints(&targets, [n]))
    });
}

#[test]
fn single_operations_do_not_depend_on_threads() {
    let (b, t, d) = (4, 130, 64);
    let random = &mut Random(4);
    let inputs = [
        Input::new(random, [b * t, d], 1.0),
        Input::norm(random, d),
        Input::weight(random, [96, d]),
    ];
    same_on_all_threads("linear, norm, swiglu", &inputs, |i| {
        let x = i[0].clone().reshape([b, t, d]);
        let y = linear(rms_norm(x, i[1].clone().reshape([d]), 1e-5), i[2].clone());
        swiglu(y.clone(), y).reshape([b * t * 96])
    });
    let inputs = [64, 32, 32].map(|width| Input::new(random, [b * t, width], 1.0));
    let mask = AttentionMask::causal(t, t, &Device::flex());
    same_on_all_threads("attention", &inputs, |i| {
        let part = |index: usize, heads| i[index].clone().reshape([b, t, heads, 16]);
        attention(part(0, 4), part(1, 2), part(2, 2), &mask).reshape([b * t * 64])
    });
}

#[test]
fn recomputing_gives_the_same_bits_as_keeping() {
    let inputs = SIZES.inputs(&mut Random(5));
    for documents in [false, true] {
        let [kept, again] = [false, true]
            .map(|recompute| all_bits(&inputs, run_attention_block(documents, recompute)));
        assert!(kept == again, "attention_block");
    }
    let inputs = feed_forward_inputs(&mut Random(6), SIZES.b * SIZES.t, SIZES.dim, HIDDEN);
    let [kept, again] =
        [false, true].map(|recompute| all_bits(&inputs, run_feed_forward(recompute)));
    assert!(kept == again, "feed_forward_block");
}

/// A run without autodiff, as evaluation does it, gives the bits of training's forward pass.
#[test]
fn evaluation_gives_the_bits_of_training() {
    let inputs = SIZES.inputs(&mut Random(7));
    let plain: Vec<Tensor<2>> = inputs
        .iter()
        .map(|input| tensor(&input.values, input.dims).inner())
        .collect();
    let run = run_attention_block(true, false);
    assert!(bits(run(&plain)) == all_bits(&inputs, &run)[0]);

    let inputs = feed_forward_inputs(&mut Random(8), SIZES.b * SIZES.t, SIZES.dim, HIDDEN);
    let plain: Vec<Tensor<2>> = inputs
        .iter()
        .map(|input| tensor(&input.values, input.dims).inner())
        .collect();
    let run = run_feed_forward(false);
    assert!(bits(run(&plain)) == all_bits(&inputs, &run)[0]);
}

/// One sequence alone, and the same one among others: outputs and gradients of its tokens.
#[test]
fn a_sequence_does_not_depend_on_those_beside_it() {
    let (b, t, dim, hidden) = (5, 21, 72, 200);
    let random = &mut Random(9);
    let inputs = feed_forward_inputs(random, b * t, dim, hidden);
    let projection = random.normals(b * t * dim, 1.0);
    let weights: Vec<Tensor<2>> = inputs[1..]
        .iter()
        .map(|input| tensor(&input.values, input.dims))
        .collect();
    // The wide one has sums of two blocks, and so has the gradient of the narrow one's input.
    let wide = Input::weight(random, [700, dim]);
    let wide = tensor(&wide.values, wide.dims);
    let run = |first: usize, count: usize| {
        let part = |values: &[f32]| {
            let range = first * t * dim..(first + count) * t * dim;
            tensor(&values[range], [count, t, dim])
        };
        let mut results = Vec::new();
        for operation in 0..2 {
            let x = part(&inputs[0].values).require_grad();
            let y = match operation {
                0 => fused_feed_forward(x.clone(), &weights, false),
                _ => linear(linear(x.clone(), wide.clone()), wide.clone().transpose()),
            };
            let gradients = (y.clone() * part(&projection)).sum().backward();
            results.push(bits(y));
            results.push(bits(x.grad(&gradients).expect("a gradient")));
        }
        results
    };
    let together = run(0, b);
    for sequence in 0..b {
        let alone = run(sequence, 1);
        for (alone, together) in alone.iter().zip(&together) {
            let len = t * dim;
            assert!(alone == &together[sequence * len..(sequence + 1) * len]);
        }
    }
}
