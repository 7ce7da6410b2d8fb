//! Graphs that are abandoned, forward passes under autodiff without a backward pass, do not stay.
//!
//! Burn reclaims them in the next backward pass, so that is what these tests end with, as a program
//! does that trains. Weights must have been part of a backward pass: operations hold those that they
//! add gradients to, and Burn keeps a graph whose leaves are held. Each test measures the memory of a
//! process of its own.

use crate::attention::masks;
use crate::common::{Random, device, ints, tensor};
use crate::instruction_sets::{is_child, run_alone};
use burn::tensor::Tensor;
use slender_kernels::{
    AttentionWeights, FeedForwardWeights, RopeTable, attention_block, cross_entropy, embedding,
    feed_forward_block, linear,
};

const TOKENS: usize = 512;
const DIM: usize = 96;
const HIDDEN: usize = 384;
const VOCAB: usize = 512;

/// Resident memory of this process in MB.
#[cfg(target_os = "linux")]
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let size = line.and_then(|line| line.split_whitespace().nth(1));
    size.expect("a size in kB")
        .parse::<f64>()
        .expect("a number")
        / 1e3
}

struct Weights {
    embedding: Tensor<2>,
    norm: Tensor<1>,
    square: Tensor<2>,
    key: Tensor<2>,
    wide: Tensor<2>,
    down: Tensor<2>,
}

impl Weights {
    fn new() -> Self {
        let random = &mut Random(1);
        let mut weight = |dims: [usize; 2]| {
            tensor(&random.normals(dims[0] * dims[1], 0.05), dims).require_grad()
        };
        Self {
            embedding: weight([VOCAB, DIM]),
            norm: tensor(&[1.0; DIM], [DIM]).require_grad(),
            square: weight([DIM, DIM]),
            key: weight([DIM / 2, DIM]),
            wide: weight([HIDDEN, DIM]),
            down: weight([DIM, HIDDEN]),
        }
    }

    /// All operations that keep weights for their backward pass; some 6 MB of activations.
    fn loss(&self, recompute: bool) -> Tensor<1> {
        let ids: Vec<i32> = (0..TOKENS).map(|i| (i * 7 % VOCAB) as i32).collect();
        let x = embedding(self.embedding.clone(), ints(&ids, [2, TOKENS / 2]));
        let weights = AttentionWeights {
            norm: self.norm.clone(),
            q: self.square.clone(),
            k: self.key.clone(),
            v: self.key.clone(),
            o: self.square.clone(),
        };
        let table = RopeTable::new(TOKENS / 2, DIM / 4, 10_000.0, &device());
        let (mask, _) = masks(None, [2, TOKENS / 2]);
        let x = attention_block(x, weights, 4, 1e-5, &table, &mask, recompute);
        let weights = FeedForwardWeights {
            norm: self.norm.clone(),
            gate: self.wide.clone(),
            up: self.wide.clone(),
            down: self.down.clone(),
        };
        let x = feed_forward_block(x, weights, 1e-5, recompute);
        let x = linear(x, self.square.clone()).reshape([TOKENS, DIM]);
        cross_entropy(x, self.embedding.clone(), ints(&ids, [TOKENS]))
    }
}

/// Asserts that 200 times `work` take no more memory than 50.
#[cfg(target_os = "linux")]
fn does_not_grow(work: impl Fn(usize)) {
    (0..50).for_each(&work);
    let before = resident();
    (50..250).for_each(&work);
    let grown = resident() - before;
    println!("{before:.0} MB, then {grown:.1} MB more");
    assert!(grown < 60.0, "{grown:.1} MB more after 200 passes");
}

#[cfg(target_os = "linux")]
#[test]
fn abandoned_graphs_of_weights_that_live_do_not_stay() {
    if !is_child() {
        return run_alone(
            "memory::abandoned_graphs_of_weights_that_live_do_not_stay",
            &[],
        );
    }
    let weights = Weights::new();
    does_not_grow(|index| {
        let loss = weights.loss(index % 2 == 0);
        drop(loss);
        if index % 10 == 9 {
            weights.loss(false).backward();
        }
    });
}

/// Models that are trained, run forward once more and dropped.
#[cfg(target_os = "linux")]
#[test]
fn abandoned_graphs_of_trained_weights_do_not_outlive_them() {
    if !is_child() {
        const NAME: &str = "memory::abandoned_graphs_of_trained_weights_do_not_outlive_them";
        return run_alone(NAME, &[]);
    }
    does_not_grow(|index| {
        let weights = Weights::new();
        weights.loss(index % 2 == 0).backward();
        drop(weights.loss(index % 2 == 0));
    });
}
