//! What variants have in common beside the recipe: tokens, or compute.
//!
//! A sweep gives every variant the same tokens, as the paper does. Deep, untied or shared models then
//! cost more FLOPs, and part of what they gain may be that. `[sweep] equal` holds compute instead by
//! giving each variant as many steps as its share allows.

use super::reader::Reader;
use crate::Config;

/// What is equal among the variants of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Equal {
    /// Training tokens: every variant has the budget its configuration says.
    #[default]
    Tokens,
    /// Training FLOPs: all variants spend as many as the first one.
    TrainFlops,
    /// Tokens a FLOP of the unshared model: a variant with shared layers trains for as many FLOPs as it
    /// would without repeating them, so on fewer tokens. Other variants are as they are.
    SharedFlops,
}

impl Equal {
    /// Name in a sweep file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::TrainFlops => "train_flops",
            Self::SharedFlops => "shared_flops",
        }
    }

    pub(super) fn read(head: &mut Reader<'_>) -> Self {
        let Some(text) = head.text("equal") else {
            return Self::default();
        };
        let all = [Self::Tokens, Self::TrainFlops, Self::SharedFlops];
        if let Some(found) = all.into_iter().find(|equal| equal.name() == text) {
            return found;
        }
        head.wrong(
            "equal",
            format!("unknown value `{text}`"),
            "use \"tokens\" (the default), \"train_flops\" or \"shared_flops\"",
        );
        Self::default()
    }
}

/// FLOPs of the whole training, if the vocabulary is known.
pub(super) fn train_flops(config: &Config) -> Option<f64> {
    let tokens = config.train.total_steps() * config.train.tokens_per_step();
    Some(config.accounting()?.train_flops_per_token as f64 * tokens as f64)
}

/// Changes the length of `config`'s training so that what `equal` says holds.
///
/// `reference` is the FLOPs of the first variant's training. Steps are whole, so equality is to half a
/// step. A warm-up keeps its share of the training. Without a known vocabulary nothing changes.
pub fn equalize(config: &mut Config, equal: Equal, reference: Option<f64>) {
    let factor = match equal {
        Equal::Tokens => None,
        Equal::TrainFlops => reference.and_then(|reference| Some(reference / train_flops(config)?)),
        Equal::SharedFlops => config.shape().map(|shape| {
            let mut plain = shape.clone();
            plain.repeats = 1;
            let flops = |shape| config.accounting_of(shape).train_flops_per_token as f64;
            flops(&plain) / flops(&shape)
        }),
    };
    let Some(factor) = factor.filter(|factor| (factor - 1.0).abs() > 1e-12) else {
        return;
    };
    let train = &mut config.train;
    let scale = |steps: u64| ((steps as f64 * factor).round() as u64).max(1);
    let steps = scale(train.total_steps());
    if train.warmup_steps > 0 {
        train.warmup_steps = scale(train.warmup_steps).min(steps);
    }
    (train.steps, train.tokens) = (Some(steps), None);
}
