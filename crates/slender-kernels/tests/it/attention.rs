//! Attention against its plain composition: causal, within documents, and of the last of more keys.

use crate::common::{Errors, Input, Random, batch, compare, for_cases, ints, seed};
use burn::tensor::{Bool, Device, Tensor};
use proptest::prelude::*;
use slender_kernels::{AttentionMask, attention, forbidden_causal, forbidden_documents, reference};

/// Key-value heads, query heads to each, and half the width of a head.
pub fn heads() -> impl Strategy<Value = [usize; 3]> + Clone {
    let half = prop_oneof![1usize..9, Just(16usize), 17usize..34];
    (1usize..4, 1usize..5, half).prop_map(|(kv, group, half)| [kv, group, half])
}

/// Documents of a batch: each token begins a new one with this probability.
pub fn segments(random: &mut Random, [b, t]: [usize; 2], new: f64) -> Vec<i32> {
    let mut ids = Vec::with_capacity(b * t);
    for _ in 0..b {
        let mut id = random.below(5) as i32;
        for _ in 0..t {
            id += i32::from(random.uniform() < new);
            ids.push(id);
        }
    }
    ids
}

/// A mask for the kernels and for the plain composition.
pub fn masks(documents: Option<&[i32]>, [b, t]: [usize; 2]) -> (AttentionMask, Tensor<4, Bool>) {
    let device = Device::flex();
    match documents {
        Some(ids) => (
            AttentionMask::documents(ints(ids, [b, t])),
            forbidden_documents(ints(ids, [b, t])),
        ),
        None => (
            AttentionMask::causal(t, t, &device),
            forbidden_causal(t, t, &device),
        ),
    }
}

/// Probability with which a token begins a document; none: no documents.
pub fn documents() -> impl Strategy<Value = Option<f64>> + Clone {
    prop_oneof![
        Just(None),
        Just(Some(0.02)),
        Just(Some(0.15)),
        Just(Some(0.7))
    ]
}

struct Case {
    b: usize,
    t: usize,
    s: usize,
    heads: [usize; 3],
    /// Size of queries and keys: how peaked the softmax is.
    scale: f64,
    views: [bool; 3],
    seed: u64,
}

fn agrees(
    case: &Case,
    mask: &AttentionMask,
    forbidden: &Tensor<4, Bool>,
) -> Result<Errors, String> {
    let &Case { b, t, s, .. } = case;
    let [kv, group, half] = case.heads;
    let (h, d) = (kv * group, 2 * half);
    let random = &mut Random(case.seed);
    let inputs = [
        Input::new(random, [b * t, h * d], case.scale).transposed(case.views[0]),
        Input::new(random, [b * s, kv * d], case.scale).transposed(case.views[1]),
        Input::new(random, [b * s, kv * d], 1.0).transposed(case.views[2]),
    ];
    let q = |i: &[Tensor<2>]| i[0].clone().reshape([b, t, h, d]);
    let k = |i: &[Tensor<2>]| i[1].clone().reshape([b, s, kv, d]);
    let v = |i: &[Tensor<2>]| i[2].clone().reshape([b, s, kv, d]);
    let flat = |x: Tensor<4>| x.reshape([b * t * h * d]);
    compare(
        &inputs,
        case.seed,
        |i| flat(attention(q(i), k(i), v(i), mask)),
        |i| flat(reference::attention(q(i), k(i), v(i), forbidden.clone())),
    )
}

#[test]
fn causal_and_documents_agree() {
    let shapes = (
        batch(),
        heads(),
        documents(),
        0.3..2.0,
        any::<[bool; 3]>(),
        seed(),
    );
    for_cases(
        "attention",
        128,
        shapes,
        |([b, t], heads, new, scale, views, seed)| {
            let ids = new.map(|new| segments(&mut Random(!seed), [b, t], new));
            let (mask, forbidden) = masks(ids.as_deref(), [b, t]);
            let case = Case {
                b,
                t,
                s: t,
                heads,
                scale,
                views,
                seed,
            };
            agrees(&case, &mask, &forbidden)
        },
    );
}

/// Several blocks of 8 and of 4 panels of keys, whose ends are not those of sequences.
#[test]
fn long_sequences_agree() {
    let lengths = prop_oneof![257usize..300, Just(512usize), 520usize..600];
    let shapes = (1usize..3, lengths, documents(), seed());
    for_cases("attention over 256 keys", 8, shapes, |(b, t, new, seed)| {
        let ids = new.map(|new| segments(&mut Random(!seed), [b, t], new / 10.0));
        let (mask, forbidden) = masks(ids.as_deref(), [b, t]);
        let case = Case {
            b,
            t,
            s: t,
            heads: [1, 2, 4],
            scale: 1.0,
            views: [false; 3],
            seed,
        };
        agrees(&case, &mask, &forbidden)
    });
}

/// Queries that are the last of more keys, as with a cache.
#[test]
fn the_last_queries_agree() {
    let shapes = (
        batch(),
        0usize..140,
        heads(),
        0.3..2.0,
        any::<[bool; 3]>(),
        seed(),
    );
    for_cases(
        "attention of the last",
        96,
        shapes,
        |([b, t], more, heads, scale, views, seed)| {
            let s = t + more;
            let mask = AttentionMask::causal(t, s, &Device::flex());
            let forbidden = forbidden_causal(t, s, &Device::flex());
            let case = Case {
                b,
                t,
                s,
                heads,
                scale,
                views,
                seed,
            };
            agrees(&case, &mask, &forbidden)
        },
    );
}

/// Where what a panel of queries sees begins or ends one key beside the edge of a block of 256 keys:
/// only blocks that all of them see whole go without a mask.
#[test]
fn ranges_that_end_beside_a_block_agree() {
    let case = |t: usize, s: usize| Case {
        b: 1,
        t,
        s,
        heads: [1, 1, 2],
        scale: 1.0,
        views: [false; 3],
        seed: (t + s) as u64,
    };
    for before in 253..=258 {
        let case = case(33, 33 + before);
        let mask = AttentionMask::causal(case.t, case.s, &Device::flex());
        let forbidden = forbidden_causal(case.t, case.s, &Device::flex());
        agrees(&case, &mask, &forbidden).expect("the last of more keys");
    }
    for start in 255..=258 {
        let ids: Vec<i32> = (0..560).map(|i| i32::from(i >= start)).collect();
        let (mask, forbidden) = masks(Some(&ids), [1, 560]);
        agrees(&case(560, 560), &mask, &forbidden).expect("two documents");
    }
}
