//! What a sweep file and the command line may not give together, because one would undo the other without
//! a word: overrides of what the sweep varies, and changes of what a `[space]` has decided.

use super::expand::Problems;
use super::file::SweepFile;
use super::space::{Quantity, Space};
use crate::error::{Origin, Problem};

/// Keys that a shape of `[space]` gives, and what decides them there.
const SHAPE: &[(&str, &str)] = &[
    ("model.n_layers", "depth"),
    ("model.dim", "heads and head_dim"),
    ("model.n_heads", "heads"),
    ("model.n_kv_heads", "kv_ratio or kv_heads"),
    ("model.head_dim", "head_dim"),
    ("model.ffn_hidden", "ffn_ratio"),
    ("model.tie_embeddings", "tie_embeddings"),
    ("model.layer_sharing", "sharing and repeats"),
];

/// Whether `key` is `top` or inside it.
fn within(key: &str, top: &str) -> bool {
    key.strip_prefix(top)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn touches(a: &str, b: &str) -> bool {
    within(a, b) || within(b, a)
}

impl Space {
    /// Whether another value of `key` changes what the shapes cost, beside the keys that they give.
    fn counts(&self, key: &str) -> bool {
        let limits = |quantities: &[Quantity]| {
            (self.budgets.iter()).any(|budget| quantities.contains(&budget.quantity))
        };
        let any = |keys: &[&str]| keys.iter().any(|known| touches(key, known));
        let length = limits(&[Quantity::TrainFlops])
            || (limits(&[Quantity::DecodeBytes]) && self.context.is_none());
        any(&["model.ffn", "model.qk_norm", "model.from"])
            // Parameters outside the embeddings are the same with every vocabulary.
            || any(&["data.tokenizer"])
                && limits(&[Quantity::ParamsTotal, Quantity::TrainFlops, Quantity::DecodeBytes])
            || any(&["train.steps", "train.tokens", "train.batch_size"])
                && limits(&[Quantity::TrainFlops])
            || any(&["train.seq_len", "model.max_seq_len"]) && length
    }
}

impl SweepFile {
    /// Keys that a sweep file may not give, and overrides that undo or are undone by what varies.
    pub(super) fn refuse(&self, sets: &[String], problems: &mut Problems) {
        let own = (self.set.iter())
            .chain(self.variants.iter().flat_map(|variant| &variant.set))
            .chain(self.overrides.iter().flat_map(|entry| &entry.set));
        let own = own.map(|assignment| (&assignment.key, &assignment.origin));
        let axes = self.axes.iter().map(|axis| (&axis.key, &axis.origin));
        for (key, origin) in own.chain(axes).filter(|(key, _)| *key == "run.name") {
            let problem = Problem {
                origin: origin.clone(),
                key: key.clone(),
                message: "runs of a sweep are named by the sweep".into(),
                hint: Some("give a variant a `name`".into()),
            };
            problems.add(problem, "");
        }
        for assignment in &self.set {
            let key = &assignment.key;
            let axis = self.axes.iter().find(|axis| within(key, &axis.key));
            let hint = match (axis, self.decider(key)) {
                (Some(axis), _) => format!("`{}` varies: take it out of [set]", axis.path),
                (None, Some(decider)) => {
                    format!("[space] decides it, by {decider}: take it out of [set]")
                }
                (None, None) => continue,
            };
            let problem = Problem {
                origin: assignment.origin.clone(),
                key: key.clone(),
                message: "the sweep varies this key, so [set] does nothing".into(),
                hint: Some(hint),
            };
            problems.add(problem, "");
        }
        for set in sets {
            let key = set.split('=').next().unwrap_or(set).trim();
            if let Some(hint) = self.varies(key) {
                let problem = Problem {
                    origin: Some(Origin::Set),
                    key: key.to_owned(),
                    message: "the sweep varies this key".into(),
                    hint: Some(hint),
                };
                problems.add(problem, "");
            }
        }
        self.refuse_sizes(problems);
    }

    /// What in `[space]` decides `key`.
    fn decider(&self, key: &str) -> Option<&'static str> {
        self.space.as_ref()?;
        let shape = SHAPE.iter().find(|(known, _)| touches(key, known));
        shape.map(|(_, decider)| *decider)
    }

    /// What to do instead of `--set` of `key`, if the sweep varies it.
    fn varies(&self, key: &str) -> Option<String> {
        if self.seeds.is_some() && key == "run.seed" {
            return Some("choose seeds with --seeds".into());
        }
        if self.axes.iter().any(|axis| touches(&axis.key, key)) {
            return Some("take the axis out of the sweep file, or leave --set out".into());
        }
        if let Some(decider) = self.decider(key) {
            return Some(format!("[space] decides it, by {decider}: leave --set out"));
        }
        let gives = |set: &[super::parts::Assignment]| set.iter().any(|own| touches(&own.key, key));
        let variant = self.variants.iter().find(|variant| gives(&variant.set))?;
        let name = variant.name.as_deref().unwrap_or("one of them");
        Some(format!(
            "[[variants]] give it (`{name}`): change it there, or leave --set out"
        ))
    }

    /// Axes and overrides under which the shapes of `[space]` would miss their budget.
    fn refuse_sizes(&self, problems: &mut Problems) {
        let Some(space) = &self.space else {
            return;
        };
        let axes = (self.axes.iter()).map(|axis| (&axis.key, &axis.path, &axis.origin));
        let overrides = self.overrides.iter().flat_map(|entry| &entry.set);
        let overrides = overrides.map(|own| (&own.key, &own.key, &own.origin));
        for (key, path, origin) in axes.chain(overrides) {
            let hint = match self.decider(key) {
                Some(decider) => format!("let [space] vary it, by {decider}"),
                None if space.counts(key) => {
                    "give one value below [set]; another value has shapes of its own, so another sweep file"
                        .into()
                }
                None => continue,
            };
            let problem = Problem {
                origin: origin.clone(),
                key: path.clone(),
                message: "changes what the shapes of [space] cost, and they would miss the budget"
                    .into(),
                hint: Some(hint),
            };
            problems.add(problem, "");
        }
    }
}
