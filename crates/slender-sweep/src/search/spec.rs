//! What a search is: how work is dealt to its trials, and by what they are compared.
//!
//! Written to `sweep.json` under `search`, so that a worker needs nothing but the sweep directory.

use super::asha::Asha;
use super::trial::{Decision, Trial};
use super::tune::Tune;
use crate::facts::RunFacts;
use serde::{Deserialize, Serialize};

/// How the budget is dealt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Every trial is trained to its end.
    Full,
    /// Asynchronous successive halving.
    #[default]
    Asha,
    /// Candidates of each group train a share, the best of each goes on: what `lr` asks for.
    Tune,
}

/// The loss that trials are compared by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Validation loss, nats per token.
    #[default]
    ValidLoss,
    /// Validation bits per byte, which compares across tokenizers.
    ValidBitsPerByte,
}

/// A further quantity to be kept small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// All parameters.
    ParamsTotal,
    /// Parameters outside the embeddings.
    ParamsNonEmbedding,
    /// FLOPs of the whole training.
    TrainFlops,
    /// FLOPs of one token's forward pass.
    ForwardFlops,
    /// Bytes that move to decode one token with a context of the training length.
    DecodeBytes,
}

impl Cost {
    /// Every cost.
    pub const ALL: [Self; 5] = [
        Self::ParamsTotal,
        Self::ParamsNonEmbedding,
        Self::TrainFlops,
        Self::ForwardFlops,
        Self::DecodeBytes,
    ];

    /// Its name in a sweep file.
    pub fn name(self) -> &'static str {
        match self {
            Self::ParamsTotal => "params_total",
            Self::ParamsNonEmbedding => "params_non_embedding",
            Self::TrainFlops => "train_flops",
            Self::ForwardFlops => "forward_flops",
            Self::DecodeBytes => "decode_bytes",
        }
    }

    /// Its value for a run; `None` where the vocabulary is not known yet.
    pub fn of(self, facts: &RunFacts) -> Option<f64> {
        let accounting = facts.accounting.as_ref()?;
        let value = match self {
            Self::ParamsTotal => accounting.params_total,
            Self::ParamsNonEmbedding => accounting.params_non_embedding,
            Self::TrainFlops => {
                let tokens = facts.total_steps * facts.tokens_per_step;
                return Some(accounting.train_flops_per_token as f64 * tokens as f64);
            }
            Self::ForwardFlops => accounting.forward_flops_per_token,
            Self::DecodeBytes => facts.decode_bytes_per_token()?,
        };
        Some(value as f64)
    }
}

/// A search, as `sweep.json` keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchSpec {
    /// How the budget is dealt.
    pub method: Method,
    /// The loss that trials are compared by.
    #[serde(default)]
    pub metric: Metric,
    /// Further quantities to be kept small.
    #[serde(default)]
    pub costs: Vec<Cost>,
    /// `asha`: one of so many is promoted.
    #[serde(default = "default_eta")]
    pub eta: u64,
    /// `asha`: share of the budget at the lowest rung; `tune`: share at which candidates are compared.
    #[serde(default = "default_share")]
    pub min_share: f64,
    /// `tune`: the key whose values are candidates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

pub(super) fn default_eta() -> u64 {
    3
}
pub(super) fn default_share() -> f64 {
    1.0 / 9.0
}

impl SearchSpec {
    /// The next piece of work among `trials`.
    pub fn decide(&self, trials: &[Trial]) -> Decision {
        match self.method {
            // One rung: every trial goes to its end, those that were begun first.
            Method::Full => Asha { eta: 2, rungs: 1 }.decide(trials),
            Method::Asha => self.asha().decide(trials),
            Method::Tune => self.tune().decide(trials),
        }
    }

    /// Its rungs, with `method` `asha`.
    pub fn asha(&self) -> Asha {
        Asha::new(self.eta, self.min_share)
    }

    /// Its comparison, with `method` `tune`.
    pub fn tune(&self) -> Tune {
        Tune {
            share: self.min_share,
        }
    }

    /// Steps at which a trial of `total` steps is measured.
    pub fn steps(&self, total: u64) -> Vec<u64> {
        match self.method {
            Method::Full => vec![total],
            Method::Tune => vec![self.tune().step(total), total],
            Method::Asha => {
                let asha = self.asha();
                (0..asha.rungs).map(|rung| asha.step(rung, total)).collect()
            }
        }
    }
}
