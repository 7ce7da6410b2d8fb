//! Half-blocks against the plain compositions of their parts.

use crate::attention::{documents, heads, masks, segments};
use crate::common::{Input, Random, batch, compare, device, for_cases, seed, size};
use crate::operations::rope_factors;
use burn::tensor::{Bool, Tensor};
use proptest::prelude::*;
use slender_kernels::{
    AttentionMask, AttentionWeights, FeedForwardWeights, RopeTable, attention_block,
    feed_forward_block, reference,
};

const EPS: f64 = 1e-5;

/// Sizes of an attention half-block.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub b: usize,
    pub t: usize,
    /// Residual width.
    pub dim: usize,
    /// Query heads.
    pub h: usize,
    /// Key-value heads.
    pub kv: usize,
    /// Width of a head.
    pub head: usize,
}

impl Sizes {
    /// `x` and the weights of norm, queries, keys, values and output.
    pub fn inputs(&self, random: &mut Random) -> Vec<Input> {
        let Self {
            dim, h, kv, head, ..
        } = *self;
        vec![
            Input::new(random, [self.b * self.t, dim], 1.0),
            Input::norm(random, dim),
            Input::weight(random, [h * head, dim]),
            Input::weight(random, [kv * head, dim]),
            Input::weight(random, [kv * head, dim]),
            Input::weight(random, [dim, h * head]),
        ]
    }

    pub fn fused(
        &self,
        x: Tensor<3>,
        weights: &[Tensor<2>],
        table: &RopeTable,
        mask: &AttentionMask,
        recompute: bool,
    ) -> Tensor<3> {
        let weights = AttentionWeights {
            norm: weights[0].clone().reshape([self.dim]),
            q: weights[1].clone(),
            k: weights[2].clone(),
            v: weights[3].clone(),
            o: weights[4].clone(),
        };
        attention_block(x, weights, self.h, EPS, table, mask, recompute)
    }

    pub fn plain(
        &self,
        x: Tensor<3>,
        weights: &[Tensor<2>],
        table: &RopeTable,
        forbidden: &Tensor<4, Bool>,
    ) -> Tensor<3> {
        let Self {
            b, t, h, kv, head, ..
        } = *self;
        let [cos, sin] = rope_factors(table, t, x.dtype());
        let norm = weights[0].clone().reshape([self.dim]);
        let normed = reference::rms_norm(x.clone(), norm, EPS);
        let project = |index: usize, heads: usize| {
            let y = reference::linear(normed.clone(), weights[index].clone());
            y.reshape([b, t, heads, head])
        };
        let q = reference::rope(project(1, h), cos.clone(), sin.clone());
        let k = reference::rope(project(2, kv), cos, sin);
        let out = reference::attention(q, k, project(3, kv), forbidden.clone());
        x + reference::linear(out.reshape([b, t, h * head]), weights[4].clone())
    }
}

#[test]
fn attention_block_agrees() {
    let shapes = (
        batch(),
        size(),
        heads(),
        documents(),
        any::<[bool; 6]>(),
        any::<bool>(),
        seed(),
    );
    for_cases(
        "attention_block",
        96,
        shapes,
        |([b, t], dim, [kv, group, half], new, views, recompute, seed)| {
            let sizes = Sizes {
                b,
                t,
                dim,
                h: kv * group,
                kv,
                head: 2 * half,
            };
            let mut inputs = sizes.inputs(&mut Random(seed));
            for (input, view) in inputs.iter_mut().zip(views) {
                input.transposed = view;
            }
            let ids = new.map(|new| segments(&mut Random(!seed), [b, t], new));
            let (mask, forbidden) = masks(ids.as_deref(), [b, t]);
            let table = RopeTable::new(t + 2, 2 * half, 10_000.0, &device());
            let x = |i: &[Tensor<2>]| i[0].clone().reshape([b, t, dim]);
            let flat = |y: Tensor<3>| y.reshape([b * t * dim]);
            compare(
                &inputs,
                seed,
                |i| flat(sizes.fused(x(i), &i[1..], &table, &mask, recompute)),
                |i| flat(sizes.plain(x(i), &i[1..], &table, &forbidden)),
            )
        },
    );
}

/// `x` and the weights of norm, gate, up and down.
pub fn feed_forward_inputs(random: &mut Random, n: usize, dim: usize, hidden: usize) -> Vec<Input> {
    vec![
        Input::new(random, [n, dim], 1.0),
        Input::norm(random, dim),
        Input::weight(random, [hidden, dim]),
        Input::weight(random, [hidden, dim]),
        Input::weight(random, [dim, hidden]),
    ]
}

pub fn fused_feed_forward(x: Tensor<3>, weights: &[Tensor<2>], recompute: bool) -> Tensor<3> {
    let weights = FeedForwardWeights {
        norm: weights[0].clone().reshape([x.dims()[2]]),
        gate: weights[1].clone(),
        up: weights[2].clone(),
        down: weights[3].clone(),
    };
    feed_forward_block(x, weights, EPS, recompute)
}

pub fn plain_feed_forward(x: Tensor<3>, weights: &[Tensor<2>]) -> Tensor<3> {
    let norm = weights[0].clone().reshape([x.dims()[2]]);
    let normed = reference::rms_norm(x.clone(), norm, EPS);
    let gate = reference::linear(normed.clone(), weights[1].clone());
    let up = reference::linear(normed, weights[2].clone());
    x + reference::linear(reference::swiglu(gate, up), weights[3].clone())
}

#[test]
fn feed_forward_block_agrees() {
    let hidden = prop_oneof![4 => size(), 1 => 129usize..400, 1 => 641usize..700];
    let dim = prop_oneof![6 => size(), 1 => 641usize..700];
    let shapes = (
        batch(),
        dim,
        hidden,
        any::<[bool; 5]>(),
        any::<bool>(),
        seed(),
    );
    for_cases(
        "feed_forward_block",
        96,
        shapes,
        |([b, t], dim, hidden, views, recompute, seed)| {
            let mut inputs = feed_forward_inputs(&mut Random(seed), b * t, dim, hidden);
            for (input, view) in inputs.iter_mut().zip(views) {
                input.transposed = view;
            }
            let x = |i: &[Tensor<2>]| i[0].clone().reshape([b, t, dim]);
            let flat = |y: Tensor<3>| y.reshape([b * t * dim]);
            compare(
                &inputs,
                seed,
                |i| flat(fused_feed_forward(x(i), &i[1..], recompute)),
                |i| flat(plain_feed_forward(x(i), &i[1..])),
            )
        },
    );
}
