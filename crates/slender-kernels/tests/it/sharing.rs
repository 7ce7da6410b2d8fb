//! A weight that serves several times gets the sum of all its gradients, added up in place without
//! changing any tensor that somebody else holds.

use crate::attention::masks;
use crate::blocks::{Sizes, feed_forward_inputs, fused_feed_forward, plain_feed_forward};
use crate::common::{Errors, Input, Random, bits, compare, device, for_cases, ints, seed, tensor};
use burn::tensor::Tensor;
use proptest::prelude::*;
use slender_kernels::{
    self as ops, AttentionWeights, RopeTable, add_gradients, attention_block, cross_entropy,
    linear, reference,
};

#[test]
fn a_weight_used_several_times_gets_the_sum() {
    let shapes = (1usize..70, 1usize..50, 1usize..5, seed());
    for_cases("linear, shared", 48, shapes, |(n, d, times, seed)| {
        let random = &mut Random(seed);
        let inputs = [
            Input::new(random, [n, d], 1.0),
            Input::weight(random, [d, d]),
        ];
        let repeat = |i: &[Tensor<2>], layer: fn(Tensor<3>, Tensor<2>) -> Tensor<3>| {
            let mut x = i[0].clone().reshape([1, n, d]);
            for _ in 0..times {
                x = layer(x, i[1].clone());
            }
            x.reshape([n * d])
        };
        compare(
            &inputs,
            seed,
            |i| repeat(i, linear),
            |i| repeat(i, reference::linear),
        )
    });
}

#[test]
fn shared_half_blocks_get_the_sum() {
    let shapes = (1usize..4, 1usize..50, 1usize..4, any::<bool>(), seed());
    for_cases(
        "half-blocks, shared",
        48,
        shapes,
        |(b, t, times, recompute, seed)| {
            let sizes = Sizes {
                b,
                t,
                dim: 24,
                h: 4,
                kv: 2,
                head: 6,
            };
            let random = &mut Random(seed);
            let mut inputs = sizes.inputs(random);
            inputs.extend(feed_forward_inputs(random, 1, 24, 50).drain(1..));
            let table = RopeTable::new(t, 6, 10_000.0, &device());
            let (mask, forbidden) = masks(None, [b, t]);
            let x = |i: &[Tensor<2>]| i[0].clone().reshape([b, t, 24]);
            let fused = |i: &[Tensor<2>]| {
                let layer = |x, _| {
                    let x = sizes.fused(x, &i[1..6], &table, &mask, recompute);
                    fused_feed_forward(x, &i[6..], recompute)
                };
                (0..times).fold(x(i), layer).reshape([b * t * 24])
            };
            let plain = |i: &[Tensor<2>]| {
                let layer = |x, _| {
                    plain_feed_forward(sizes.plain(x, &i[1..6], &table, &forbidden), &i[6..])
                };
                (0..times).fold(x(i), layer).reshape([b * t * 24])
            };
            compare(&inputs, seed, fused, plain)
        },
    );
}

/// One matrix as queries, keys, values and output of the same half-block, and as its own input.
#[test]
fn one_weight_in_all_places_of_a_half_block_gets_the_sum() {
    let shapes = (1usize..4, 2usize..20, any::<bool>(), seed());
    for_cases(
        "attention_block of one weight",
        24,
        shapes,
        |(b, half, recompute, seed)| {
            let dim = 2 * half;
            let sizes = Sizes {
                b,
                t: dim,
                dim,
                h: 1,
                kv: 1,
                head: dim,
            };
            let random = &mut Random(seed);
            let inputs = [Input::weight(random, [dim, dim]), Input::norm(random, dim)];
            let table = RopeTable::new(dim, dim, 10_000.0, &device());
            let (mask, forbidden) = masks(None, [b, dim]);
            let x = |w: &Tensor<2>| w.clone().reshape([1, dim, dim]).repeat_dim(0, b);
            let weights = |i: &[Tensor<2>]| {
                let w = &i[0];
                [i[1].clone(), w.clone(), w.clone(), w.clone(), w.clone()]
            };
            let flat = |y: Tensor<3>| y.reshape([b * dim * dim]);
            compare(
                &inputs,
                seed,
                |i| flat(sizes.fused(x(&i[0]), &weights(i), &table, &mask, recompute)),
                |i| flat(sizes.plain(x(&i[0]), &weights(i), &table, &forbidden)),
            )
        },
    );
}

/// The addition gives the same tensor to both of its parents, here two weights that get more
/// gradients: before, after and at the same depth of the graph.
#[test]
fn a_gradient_that_is_held_elsewhere_is_not_changed() {
    let (n, d) = (33, 20);
    let agrees =
        |seed: u64, build: &dyn Fn(&[Tensor<2>], bool) -> Tensor<2>| -> Result<Errors, String> {
            let random = &mut Random(seed);
            let inputs = [
                Input::new(random, [n, d], 1.0),
                Input::weight(random, [d, d]),
                Input::weight(random, [d, d]),
            ];
            let flat = |y: Tensor<2>| y.reshape([-1]);
            compare(
                &inputs,
                seed,
                |i| flat(build(i, true)),
                |i| flat(build(i, false)),
            )
        };
    let layer = |x: &Tensor<2>, w: &Tensor<2>, fused: bool| -> Tensor<2> {
        let x = x.clone().unsqueeze::<3>();
        let y = if fused {
            linear(x, w.clone())
        } else {
            reference::linear(x, w.clone())
        };
        y.squeeze_dim::<2>(0)
    };
    // How many layers lie before the use of the weight, and before the sum.
    for depth in 0..3 {
        for before in 0..3 {
            for sum_first in [false, true] {
                let build = |i: &[Tensor<2>], fused: bool| {
                    let (x, a, b) = (&i[0], &i[1], &i[2]);
                    let deep = |x: &Tensor<2>| (0..depth).fold(x.clone(), |x, _| x.mul_scalar(0.9));
                    let sum = || {
                        let mut sum = a.clone() + b.clone();
                        for _ in 0..before {
                            sum = sum + b.clone();
                        }
                        sum
                    };
                    let used =
                        || Tensor::cat(vec![layer(&deep(x), a, fused), layer(x, b, fused)], 0);
                    if sum_first {
                        let sum = sum();
                        Tensor::cat(vec![sum, used()], 0)
                    } else {
                        let used = used();
                        Tensor::cat(vec![used, sum()], 0)
                    }
                };
                agrees(11 + depth as u64, &build).expect("the gradients agree");
            }
        }
    }
}

/// Gradients outside the graph are added in the memory of the first, but not where that is shared.
#[test]
fn adding_gradients_leaves_a_shared_tensor_alone() {
    let a = tensor(&[1.0, 2.0, 3.0], [3]).inner();
    let b = tensor(&[10.0, 20.0, 30.0], [3]).inner();
    let held = a.clone();
    let sum = add_gradients(a, b.clone());
    assert_eq!(
        sum.into_data().iter::<f32>().collect::<Vec<_>>(),
        [11.0, 22.0, 33.0]
    );
    assert_eq!(
        held.clone().into_data().iter::<f32>().collect::<Vec<_>>(),
        [1.0, 2.0, 3.0]
    );
    let doubled = add_gradients(held.clone(), held);
    assert_eq!(
        doubled.into_data().iter::<f32>().collect::<Vec<_>>(),
        [2.0, 4.0, 6.0]
    );
    assert_eq!(
        b.into_data().iter::<f32>().collect::<Vec<_>>(),
        [10.0, 20.0, 30.0]
    );
}

/// The gradient of a loss's sum is one number expanded to a whole tensor; it is read as such.
#[test]
fn unit_gradients_are_read_as_ones() {
    let random = &mut Random(12);
    let inputs = feed_forward_inputs(random, 40, 24, 50);
    let run = |ones: bool| {
        let leaves: Vec<Tensor<2>> = inputs
            .iter()
            .map(|input| tensor(&input.values, input.dims).require_grad())
            .collect();
        let y = fused_feed_forward(leaves[0].clone().reshape([1, 40, 24]), &leaves[1..], false);
        let loss = if ones {
            (y * tensor(&[1.0; 960], [1, 40, 24])).sum()
        } else {
            y.sum()
        };
        let gradients = loss.backward();
        leaves
            .iter()
            .map(|leaf| bits(leaf.grad(&gradients).expect("a gradient")))
            .collect::<Vec<_>>()
    };
    assert!(run(false) == run(true));
}

/// Weights that are not trained get no gradient, and those that are the same as when all are.
#[test]
fn frozen_weights_change_no_other_gradient() {
    let sizes = Sizes {
        b: 2,
        t: 19,
        dim: 24,
        h: 4,
        kv: 2,
        head: 6,
    };
    let random = &mut Random(13);
    let mut inputs = sizes.inputs(random);
    inputs.extend(feed_forward_inputs(random, 1, 24, 50).drain(1..));
    inputs.push(Input::weight(random, [60, 24]));
    let targets: Vec<i32> = (0..38).map(|_| random.below(60) as i32).collect();
    let table = RopeTable::new(19, 6, 10_000.0, &device());
    let (mask, _) = masks(None, [2, 19]);
    let run = |frozen: u32, recompute: bool| {
        let trained = |index: usize| frozen >> index & 1 == 0;
        let leaves: Vec<Tensor<2>> = inputs
            .iter()
            .enumerate()
            .map(|(index, input)| {
                let leaf = tensor(&input.values, input.dims);
                if trained(index) {
                    leaf.require_grad()
                } else {
                    leaf
                }
            })
            .collect();
        let x = leaves[0].clone().reshape([2, 19, 24]);
        let weights = AttentionWeights {
            norm: leaves[1].clone().reshape([24]),
            q: leaves[2].clone(),
            k: leaves[3].clone(),
            v: leaves[4].clone(),
            o: leaves[5].clone(),
        };
        let x = attention_block(x, weights, 4, 1e-5, &table, &mask, recompute);
        let x = fused_feed_forward(x, &leaves[6..10], recompute);
        let loss = cross_entropy(
            x.reshape([38, 24]),
            leaves[10].clone(),
            ints(&targets, [38]),
        );
        let gradients = loss.backward();
        leaves
            .iter()
            .map(|leaf| leaf.grad(&gradients).map(bits))
            .collect::<Vec<_>>()
    };
    let all = run(0, false);
    assert!(all.iter().all(Option::is_some));
    // All but one, one alone, the input, every second one.
    let single = (0..11).map(|index| 1 << index);
    let but_one = (0..11).map(|index| !(1 << index));
    for frozen in single
        .chain(but_one)
        .chain([0b0101_0101_0101, 0b1010_1010_1010])
    {
        let some = run(frozen, frozen % 2 == 0);
        for (index, (some, all)) in some.iter().zip(&all).enumerate() {
            if frozen >> index & 1 == 0 {
                assert!(some == all, "gradient {index} with {frozen:b} frozen");
            } else {
                assert!(some.is_none(), "gradient {index} with {frozen:b} frozen");
            }
        }
    }
}

/// The embedding's gradient is added to the output's where both are the same weight.
#[test]
fn a_tied_embedding_gets_the_sum_of_both_gradients() {
    let (n, v, d) = (50, 70, 12);
    let random = &mut Random(14);
    let values = random.normals(v * d, 0.5);
    let tokens: Vec<i32> = (0..n).map(|_| random.below(v) as i32).collect();
    let targets: Vec<i32> = (0..n).map(|_| random.below(v) as i32).collect();
    let run = |input: Tensor<2>, output: Tensor<2>| {
        let x = ops::embedding(input, ints(&tokens, [1, n])).reshape([n, d]);
        cross_entropy(x, output, ints(&targets, [n]))
            .mul_scalar(0.37)
            .backward()
    };
    let leaf = || tensor(&values, [v, d]).require_grad();
    let (input, output, tied) = (leaf(), leaf(), leaf());
    let apart = run(input.clone(), output.clone());
    let together = run(tied.clone(), tied.clone());
    let get = |leaf: Tensor<2>, gradients| leaf.grad(gradients).expect("a gradient");
    let sum = get(input, &apart) + get(output, &apart);
    let difference = (get(tied, &together) - sum.clone())
        .abs()
        .max()
        .into_scalar::<f32>();
    assert!(
        difference <= 1e-6 * sum.abs().max().into_scalar::<f32>(),
        "{difference}"
    );
}
