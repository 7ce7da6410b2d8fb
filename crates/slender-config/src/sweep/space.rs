//! `[space]`: a budget, and the freedom within which shapes may meet it.

use super::reader::Reader;
use super::shapes::{Found, ShapeContext, nearest, solve};
use crate::account::{human_bytes, human_count};
use crate::model::SharingKind;
use crate::shape::ShapeProblem;
use std::collections::BTreeSet;

/// What a budget limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// All parameters.
    ParamsTotal,
    /// Parameters without embeddings.
    ParamsNonEmbedding,
    /// FLOPs of the whole training.
    TrainFlops,
    /// Bytes moved to decode a token.
    DecodeBytes,
}

impl Quantity {
    /// All, in the order of the reference.
    pub const ALL: [Self; 4] = [
        Self::ParamsTotal,
        Self::ParamsNonEmbedding,
        Self::TrainFlops,
        Self::DecodeBytes,
    ];

    /// Name in a sweep file.
    pub fn name(self) -> &'static str {
        match self {
            Self::ParamsTotal => "params_total",
            Self::ParamsNonEmbedding => "params_non_embedding",
            Self::TrainFlops => "train_flops",
            Self::DecodeBytes => "decode_bytes",
        }
    }

    /// A value as people write it.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::ParamsTotal | Self::ParamsNonEmbedding => human_count(value),
            Self::TrainFlops => format!("{value:.2e}"),
            Self::DecodeBytes => human_bytes(value as u64),
        }
    }
}

/// A quantity, its value, and how far a shape may be from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// What is limited.
    pub quantity: Quantity,
    /// To what.
    pub value: f64,
    /// Largest share below and above.
    pub tolerance: (f64, f64),
}

impl Budget {
    /// Smallest and largest value that meets it.
    pub fn limits(&self) -> (f64, f64) {
        let (below, above) = self.tolerance;
        (self.value * (1.0 - below), self.value * (1.0 + above))
    }
}

/// Key-value heads.
#[derive(Clone, Debug, PartialEq)]
pub enum KvHeads {
    /// Query heads for each key-value head.
    Ratios(Vec<usize>),
    /// Key-value heads.
    Heads(Vec<usize>),
}

/// Hidden width of the feed-forward.
#[derive(Clone, Debug, PartialEq)]
pub enum FfnWidth {
    /// The paper's rule: 8/3 of the residual width (4 of a plain feed-forward), raised to a multiple;
    /// `None` leaves the multiple as the configuration's default has it.
    Rule {
        /// The multiple.
        multiple_of: Option<usize>,
    },
    /// Shares of the residual width, rounded to a multiple.
    Ratios {
        /// The shares.
        ratios: Vec<f64>,
        /// The multiple.
        multiple_of: usize,
    },
}

/// Which of the shapes that meet the budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// All.
    #[default]
    All,
    /// Of each depth the one nearest to the budget.
    Closest,
    /// So many of these, evenly spread over the logarithm of depth.
    Pick(usize),
}

/// Budgets and freedom.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    /// At least one; a shape meets all.
    pub budgets: Vec<Budget>,
    /// Distinct blocks.
    pub depth: Vec<usize>,
    /// Width of one head.
    pub head_dim: Vec<usize>,
    /// Query heads; `None` is any number.
    pub heads: Option<BTreeSet<usize>>,
    /// Key-value heads.
    pub kv: KvHeads,
    /// Feed-forward width.
    pub ffn: FfnWidth,
    /// Tied or untied embeddings, or both.
    pub tie_embeddings: Vec<bool>,
    /// Orders of sharing with repeats.
    pub sharing: Vec<(SharingKind, usize)>,
    /// Tokens in the cache when [`Quantity::DecodeBytes`] is counted; `None` is the sequence length.
    pub context: Option<usize>,
    /// Which shapes.
    pub spread: Spread,
}

/// Why a space has no shape.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("no shape of this space meets the budget{}", nearest_words(.nearest.as_deref()))]
pub struct SpaceProblem {
    /// The shape that comes nearest, with its costs.
    pub nearest: Option<Box<Found>>,
    /// The space.
    pub budgets: Vec<Budget>,
}

fn nearest_words(found: Option<&Found>) -> String {
    match found {
        Some(found) if found.off > 10.0 => format!(
            "; the nearest, {} with {} parameters, is {:.1e} times it",
            found.shape.label(),
            human_count(found.accounting.params_total as f64),
            1.0 + found.off
        ),
        Some(found) => format!(
            "; the nearest, {} with {} parameters, is {:+.1} % off",
            found.shape.label(),
            human_count(found.accounting.params_total as f64),
            100.0 * found.off
        ),
        None => "; no number of heads fits its key-value heads".into(),
    }
}

impl SpaceProblem {
    /// What to do about it.
    pub fn hint(&self) -> String {
        if self.nearest.is_none() {
            return "allow heads that kv_ratio or kv_heads divides".into();
        }
        let budget = match self.budgets.as_slice() {
            [one] => format!("{} = {}", one.quantity.name(), one.quantity.show(one.value)),
            _ => "one of the budgets".into(),
        };
        format!("raise tolerance, allow other depths or a smaller head_dim, or change {budget}")
    }
}

impl Space {
    /// The paper's freedom (depth and heads of a given width, multi-head attention, its feed-forward
    /// rule, no sharing) with a budget.
    pub fn new(
        budgets: Vec<Budget>,
        depth: Vec<usize>,
        head_dim: Vec<usize>,
        tied: Vec<bool>,
    ) -> Self {
        Self {
            budgets,
            depth,
            head_dim,
            heads: None,
            kv: KvHeads::Ratios(vec![1]),
            ffn: FfnWidth::Rule { multiple_of: None },
            tie_embeddings: tied,
            sharing: vec![(SharingKind::None, 1)],
            context: None,
            spread: Spread::All,
        }
    }

    /// Its shapes, by depth.
    ///
    /// # Errors
    /// There is none: the problem names the nearest.
    pub fn shapes(&self, context: &ShapeContext) -> Result<Vec<Found>, SpaceProblem> {
        let found = solve(self, context);
        if found.is_empty() {
            return Err(SpaceProblem {
                nearest: nearest(self, context).map(Box::new),
                budgets: self.budgets.clone(),
            });
        }
        Ok(found)
    }

    /// Reads `[space]`; `None` after a problem.
    pub(super) fn read(section: &mut Reader<'_>) -> Option<Self> {
        let before = section.problems.len();
        section.only(&[
            "params_total",
            "params_non_embedding",
            "train_flops",
            "decode_bytes",
            "tolerance",
            "depth",
            "head_dim",
            "heads",
            "kv_ratio",
            "kv_heads",
            "ffn_ratio",
            "ffn_multiple_of",
            "tie_embeddings",
            "sharing",
            "repeats",
            "context",
            "closest",
            "pick",
        ]);
        let tolerance = read_tolerance(section);
        let budgets: Vec<Budget> = (Quantity::ALL.into_iter())
            .filter_map(|quantity| {
                let value = section.quantity(quantity.name())?;
                Some(Budget {
                    quantity,
                    value,
                    tolerance,
                })
            })
            .collect();
        if budgets.is_empty() && section.problems.len() == before {
            section.wrong(
                "",
                "there is no budget",
                "give params_total, params_non_embedding, train_flops or decode_bytes",
            );
        }
        let mut needed = |key: &str, hint: &str| {
            if !section.table.contains_key(key) {
                section.wrong(key, "is missing", hint);
            }
            section.wholes(key)
        };
        let depth = needed("depth", "write depth = \"4..62\", or a list of depths");
        let head_dim = needed("head_dim", "write head_dim = 64, or a list of widths");
        if let Some(odd) = head_dim.iter().flatten().find(|width| *width % 2 == 1) {
            let message = format!("{odd} is odd, but RoPE rotates pairs");
            section.wrong("head_dim", message, "give even numbers");
        }
        let tie_embeddings = read_tying(section);
        let sharing = read_sharing(section);
        let heads = section
            .wholes("heads")
            .map(|heads| heads.into_iter().collect());
        let kv = match (section.wholes("kv_ratio"), section.wholes("kv_heads")) {
            (Some(_), Some(_)) => {
                section.wrong(
                    "kv_heads",
                    "kv_ratio is given as well",
                    "give one of the two",
                );
                KvHeads::Ratios(vec![1])
            }
            (None, Some(heads)) => KvHeads::Heads(heads),
            (ratios, None) => KvHeads::Ratios(ratios.unwrap_or_else(|| vec![1])),
        };
        let multiple_of = match section.table.contains_key("ffn_multiple_of") {
            true => section.count("ffn_multiple_of"),
            false => None,
        };
        let ffn = match section.numbers("ffn_ratio") {
            Some(ratios) => FfnWidth::Ratios {
                ratios,
                multiple_of: multiple_of.unwrap_or(64),
            },
            None => FfnWidth::Rule { multiple_of },
        };
        let context = match section.table.contains_key("context") {
            true => section.count("context"),
            false => None,
        };
        let closest = section.flag("closest").unwrap_or(false);
        let spread = match section.table.contains_key("pick") {
            true => section.count("pick").map_or(Spread::All, Spread::Pick),
            false if closest => Spread::Closest,
            false => Spread::All,
        };
        (section.problems.len() == before).then_some(Self {
            budgets,
            depth: depth?,
            head_dim: head_dim?,
            heads,
            kv,
            ffn,
            tie_embeddings: tie_embeddings?,
            sharing,
            context,
            spread,
        })
    }
}

/// `0.05`, or `[below, above]`.
fn read_tolerance(section: &mut Reader<'_>) -> (f64, f64) {
    const DEFAULT: (f64, f64) = (0.05, 0.05);
    let Some(value) = section.table.get("tolerance") else {
        return DEFAULT;
    };
    let number = |value: &toml::Value| value.as_float().or(value.as_integer().map(|n| n as f64));
    let pair = match value {
        toml::Value::Array(pair) if pair.len() == 2 => number(&pair[0]).zip(number(&pair[1])),
        one => number(one).map(|both| (both, both)),
    };
    let sound =
        |pair: &(f64, f64)| (0.0..=1.0).contains(&pair.0) && (0.0..=100.0).contains(&pair.1);
    pair.filter(sound).unwrap_or_else(|| {
        section.wrong(
            "tolerance",
            "expected a share of the budget",
            "write 0.05 for 5 % on either side, or [0, 0.3] for what is below and above",
        );
        DEFAULT
    })
}

/// Like the configuration's own `tie_embeddings`, this has no default.
fn read_tying(section: &mut Reader<'_>) -> Option<Vec<bool>> {
    const HINT: &str = "write true, false or [true, false]";
    match section.table.get("tie_embeddings") {
        Some(toml::Value::Boolean(flag)) => Some(vec![*flag]),
        Some(toml::Value::Array(flags)) if !flags.is_empty() => {
            let flags: Option<Vec<bool>> = flags.iter().map(toml::Value::as_bool).collect();
            if flags.is_none() {
                section.wrong("tie_embeddings", "expected true or false", HINT);
            }
            flags
        }
        Some(_) => {
            section.wrong("tie_embeddings", "expected true or false", HINT);
            None
        }
        None => {
            section.wrong("tie_embeddings", "is missing", HINT);
            None
        }
    }
}

fn read_sharing(section: &mut Reader<'_>) -> Vec<(SharingKind, usize)> {
    let names = section
        .texts("sharing")
        .unwrap_or_else(|| vec!["none".into()]);
    let repeats = section.wholes("repeats").unwrap_or_else(|| vec![2]);
    match sharing_choices(&names, &repeats) {
        Ok(choices) => choices,
        Err(ShapeProblem { key, message, hint }) => {
            section.wrong(key, message, hint);
            Vec::new()
        }
    }
}

/// Orders of sharing by name, each with each number of repeats; `none` has one.
///
/// # Errors
/// The key, what is wrong with it, and the way out.
pub fn sharing_choices(
    names: &[String],
    repeats: &[usize],
) -> Result<Vec<(SharingKind, usize)>, ShapeProblem> {
    let wrong = |key, message, hint: &str| ShapeProblem {
        key,
        message,
        hint: hint.into(),
    };
    let mut out = Vec::new();
    for name in names {
        let kind = match name.as_str() {
            "none" => {
                out.push((SharingKind::None, 1));
                continue;
            }
            "immediate" => SharingKind::Immediate,
            "repeat-all-over" => SharingKind::RepeatAllOver,
            "reverse" => SharingKind::Reverse,
            other => {
                let hint = "use none, immediate, repeat-all-over or reverse";
                return Err(wrong("sharing", format!("unknown order `{other}`"), hint));
            }
        };
        for &times in repeats {
            if times > 64 {
                let message = format!("repeats = {times} is out of range");
                return Err(wrong("repeats", message, "use 2 to 64"));
            }
            out.extend((times > 1).then_some((kind, times)));
        }
        if repeats == [1] {
            let hint = "a block that is executed once is not shared: use sharing = \"none\"";
            let message = format!("1 contradicts sharing = \"{name}\"");
            return Err(wrong("repeats", message, hint));
        }
    }
    let mut seen = std::collections::HashSet::new();
    out.retain(|choice| seen.insert(*choice));
    Ok(out)
}
