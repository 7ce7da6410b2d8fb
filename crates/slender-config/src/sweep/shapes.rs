//! The solver: every decoder shape that meets a budget, and an even spread of them over depth.
//!
//! A shape has `dim = heads x head_dim`, as the paper's have. For each combination of depth, head
//! width, tying, sharing, key-value heads and feed-forward width the number of heads is raised until
//! every budget is exceeded; parameters, FLOPs and bytes all grow with it, so nothing is missed.

use super::space::{Budget, FfnWidth, KvHeads, Quantity, Space, Spread};
use crate::account::Accounting;
use crate::model::{FfnKind, SharingKind};
use crate::shape::ModelShape;

/// Most heads that are tried; `dim` is then in the tens of thousands.
const MOST_HEADS: usize = 1024;

/// What a budget depends on beside the shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShapeContext {
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Tokens of a training sequence.
    pub seq_len: usize,
    /// Sequences of a forward and backward pass.
    pub micro_batch: usize,
    /// Training tokens of a run.
    pub tokens: u64,
    /// Feed-forward kind.
    pub ffn: FfnKind,
    /// RMSNorm on queries and keys.
    pub qk_norm: bool,
}

/// A shape that meets every budget, with its costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The shape.
    pub shape: ModelShape,
    /// Parameters, FLOPs, cache, memory.
    pub accounting: Accounting,
    /// FLOPs of the whole training.
    pub train_flops: f64,
    /// Bytes moved to decode a token: [`decode_bytes`].
    pub decode_bytes: u64,
    /// Largest relative distance from a budget: 0.02 is 2 % above, -0.02 below.
    pub off: f64,
}

impl Found {
    fn of(shape: ModelShape, space: &Space, context: &ShapeContext) -> Self {
        let accounting = shape.accounting(context.seq_len, context.micro_batch);
        let mut found = Self {
            train_flops: accounting.train_flops_per_token as f64 * context.tokens as f64,
            decode_bytes: decode_bytes(
                &shape,
                &accounting,
                space.context.unwrap_or(context.seq_len),
            ),
            accounting,
            shape,
            off: 0.0,
        };
        for budget in &space.budgets {
            let off = found.quantity(budget.quantity) / budget.value - 1.0;
            if off.abs() > found.off.abs() {
                found.off = off;
            }
        }
        found
    }

    /// What a budget is about.
    pub fn quantity(&self, quantity: Quantity) -> f64 {
        match quantity {
            // Printed counts of the paper leave norms out; within any tolerance the two agree.
            Quantity::ParamsTotal => self.accounting.params_total as f64,
            Quantity::ParamsNonEmbedding => self.accounting.params_non_embedding as f64,
            Quantity::TrainFlops => self.train_flops,
            Quantity::DecodeBytes => self.decode_bytes as f64,
        }
    }

    fn within(&self, budget: &Budget) -> bool {
        let (low, high) = budget.limits();
        (low..=high).contains(&self.quantity(budget.quantity))
    }

    fn beyond(&self, budget: &Budget) -> bool {
        self.quantity(budget.quantity) > budget.limits().1
    }
}

/// Bytes that move to decode one token at 16 bits a number, with `context` tokens in the cache.
pub fn decode_bytes(shape: &ModelShape, accounting: &Accounting, context: usize) -> u64 {
    let blocks = (shape.sharing, shape.repeats);
    accounting.decode_bytes(blocks, shape.tie_embeddings, shape.dim, context)
}

/// Every shape of `space` that meets all its budgets, by depth and then by width; with
/// [`Space::spread`], a selection of them.
pub fn solve(space: &Space, context: &ShapeContext) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    candidates(space, context, &mut |candidate| {
        if space.budgets.iter().all(|budget| candidate.within(budget)) {
            found.push(candidate);
        }
    });
    found.sort_by_key(order);
    found.dedup_by(|a, b| a.shape == b.shape);
    match space.spread {
        Spread::All => found,
        Spread::Closest => closest(found),
        Spread::Pick(wanted) => pick(closest(found), wanted),
    }
}

/// The shape that comes nearest to the budgets, for a space that no shape meets.
pub fn nearest(space: &Space, context: &ShapeContext) -> Option<Found> {
    let mut best: Option<Found> = None;
    candidates(space, context, &mut |candidate| {
        if best
            .as_ref()
            .is_none_or(|best| candidate.off.abs() < best.off.abs())
        {
            best = Some(candidate);
        }
    });
    best
}

/// Every shape up to and including the first that is beyond a budget.
fn candidates(space: &Space, context: &ShapeContext, visit: &mut dyn FnMut(Found)) {
    for &n_layers in &space.depth {
        for &head_dim in &space.head_dim {
            for &tie_embeddings in &space.tie_embeddings {
                for &(sharing, repeats) in &space.sharing {
                    for kv in space.kv.choices() {
                        for width in space.ffn.choices() {
                            for heads in 1..=MOST_HEADS {
                                let dim = heads * head_dim;
                                let (Some(n_kv_heads), Some(ffn_hidden)) =
                                    (kv.heads(heads), width.hidden(dim, context.ffn))
                                else {
                                    continue;
                                };
                                if space
                                    .heads
                                    .as_ref()
                                    .is_some_and(|all| !all.contains(&heads))
                                {
                                    continue;
                                }
                                let shape = ModelShape {
                                    n_layers,
                                    dim,
                                    n_heads: heads,
                                    n_kv_heads,
                                    head_dim,
                                    ffn: context.ffn,
                                    ffn_hidden,
                                    vocab_size: context.vocab_size,
                                    max_seq_len: context.seq_len,
                                    rope_theta: 1e4,
                                    norm_eps: 1e-5,
                                    init_std: 0.02,
                                    qk_norm: context.qk_norm,
                                    tie_embeddings,
                                    sharing,
                                    repeats,
                                };
                                let found = Found::of(shape, space, context);
                                let beyond = space.budgets.iter().any(|b| found.beyond(b));
                                visit(found);
                                if beyond {
                                    break;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Freedoms whose values are compared with each other, rather than used to meet the budget.
type Kind = (bool, u8, usize);

fn kind(shape: &ModelShape) -> Kind {
    let sharing = match shape.sharing {
        SharingKind::None => 0,
        SharingKind::Immediate => 1,
        SharingKind::RepeatAllOver => 2,
        SharingKind::Reverse => 3,
    };
    (!shape.tie_embeddings, sharing, shape.repeats)
}

fn order(found: &Found) -> (usize, Kind, usize, usize, usize, usize) {
    let shape = &found.shape;
    (
        shape.n_layers,
        kind(shape),
        shape.dim,
        shape.head_dim,
        shape.n_kv_heads,
        shape.ffn_hidden,
    )
}

/// Of each depth, and each kind of tying and sharing, the shape nearest to the budget.
fn closest(found: Vec<Found>) -> Vec<Found> {
    let mut out: Vec<Found> = Vec::new();
    for candidate in found {
        let same = |known: &&mut Found| {
            known.shape.n_layers == candidate.shape.n_layers
                && kind(&known.shape) == kind(&candidate.shape)
        };
        match out.iter_mut().find(same) {
            Some(known) if known.off.abs() <= candidate.off.abs() => {}
            Some(known) => *known = candidate,
            None => out.push(candidate),
        }
    }
    out
}

/// `wanted` shapes of each kind, evenly spread over the logarithm of depth, both ends included.
///
/// Between the ends each place is taken by the shape nearest to the budget among those that are nearer
/// to this place than to the next.
fn pick(found: Vec<Found>, wanted: usize) -> Vec<Found> {
    let mut kinds: Vec<Kind> = found.iter().map(|one| kind(&one.shape)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut out = Vec::new();
    for of in kinds {
        let mut left: Vec<&Found> = found.iter().filter(|one| kind(&one.shape) == of).collect();
        if left.len() <= wanted {
            out.extend(left.into_iter().cloned());
            continue;
        }
        let log = |one: &Found| (one.shape.n_layers as f64).ln();
        let (low, high) = (log(left[0]), log(left[left.len() - 1]));
        let step = (high - low) / (wanted.max(2) - 1) as f64;
        // The ends first: what is between them must not take their places.
        let mut places: Vec<usize> = (0..wanted).collect();
        places.sort_by_key(|place| *place != 0 && *place != wanted - 1);
        for place in places {
            let end = wanted > 1 && (place == 0 || place == wanted - 1);
            let middle = low + (high - low) / 2.0;
            let target = if wanted == 1 {
                middle
            } else {
                low + place as f64 * step
            };
            let rank = |one: &Found| {
                let distance = (log(one) - target).abs();
                let near = !end && distance <= step / 2.0;
                (!near, if near { one.off.abs() } else { distance })
            };
            let best = (0..left.len()).min_by(|a, b| {
                let (a, b) = (rank(left[*a]), rank(left[*b]));
                a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
            });
            out.extend(best.map(|best| left.remove(best).clone()));
        }
    }
    out.sort_by_key(order);
    out
}

/// How many key-value heads a number of query heads gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KvChoice {
    Ratio(usize),
    Heads(usize),
}

impl KvChoice {
    fn heads(self, heads: usize) -> Option<usize> {
        match self {
            Self::Ratio(ratio) => heads.is_multiple_of(ratio).then(|| heads / ratio),
            Self::Heads(kv) => heads.is_multiple_of(kv).then_some(kv),
        }
    }
}

impl KvHeads {
    fn choices(&self) -> Vec<KvChoice> {
        match self {
            Self::Ratios(ratios) => ratios.iter().map(|n| KvChoice::Ratio(*n)).collect(),
            Self::Heads(heads) => heads.iter().map(|n| KvChoice::Heads(*n)).collect(),
        }
    }
}

/// How the feed-forward's width follows from the residual width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum FfnChoice {
    Rule { multiple: Option<usize> },
    Ratio { ratio: f64, multiple: usize },
}

impl FfnChoice {
    fn hidden(self, dim: usize, ffn: FfnKind) -> Option<usize> {
        match self {
            Self::Rule { multiple: None } => Some(ffn.default_hidden(dim)),
            Self::Rule {
                multiple: Some(multiple),
            } => Some(match ffn {
                FfnKind::Swiglu => (8 * dim / 3).next_multiple_of(multiple),
                FfnKind::Relu | FfnKind::Gelu => (4 * dim).next_multiple_of(multiple),
            }),
            Self::Ratio { ratio, multiple } => {
                let steps = (ratio * dim as f64 / multiple as f64).round() as usize;
                (steps > 0).then_some(steps * multiple)
            }
        }
    }
}

impl FfnWidth {
    fn choices(&self) -> Vec<FfnChoice> {
        match self {
            Self::Rule { multiple_of } => vec![FfnChoice::Rule {
                multiple: *multiple_of,
            }],
            Self::Ratios {
                ratios,
                multiple_of,
            } => (ratios.iter())
                .map(|ratio| FfnChoice::Ratio {
                    ratio: *ratio,
                    multiple: *multiple_of,
                })
                .collect(),
        }
    }
}
