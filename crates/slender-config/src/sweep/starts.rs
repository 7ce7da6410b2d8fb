//! What axes and seeds are applied to: the bases, variants and shapes of a sweep file, as trees.

use super::expand::Problems;
use super::file::SweepFile;
use super::parts::{Assignment, VariantEntry};
use super::shapes::{Found, ShapeContext};
use crate::Config;
use crate::error::{ConfigError, Problem};
use crate::load::{self, Merged};
use crate::model::SharingKind;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What axes and seeds are applied to.
pub(super) struct Start {
    pub name: String,
    pub tree: Merged,
    pub base: PathBuf,
    /// Keys of its own.
    pub keys: Vec<String>,
}

impl SweepFile {
    pub(super) fn starts(
        &self,
        sets: &[String],
        problems: &mut Problems,
    ) -> Result<Vec<Start>, ConfigError> {
        let mut files: HashMap<PathBuf, Merged> = HashMap::new();
        let mut tree_of = |base: &Path| -> Result<Merged, ConfigError> {
            if let Some(known) = files.get(base) {
                return Ok(known.clone());
            }
            let mut tree = load::read_merged(base, &[])?;
            if tree.table.contains_key("sweep") {
                let message = format!("{} is a sweep file itself", base.display());
                let hint = "a base is the configuration of one run, or a part of one";
                let problem = self.problem("sweep.base", message, Some(hint.into()));
                return Err(ConfigError::Invalid(vec![problem]));
            }
            tree.file.clone_from(&self.path);
            files.insert(base.to_owned(), tree.clone());
            Ok(tree)
        };
        let stem = |path: &Path| {
            path.file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        let mut starts = Vec::new();
        let mut push = |name: String,
                        base: &Path,
                        set: &[Assignment],
                        problems: &mut Problems|
         -> Result<(), ConfigError> {
            let mut tree = tree_of(base)?;
            for problem in (apply(&mut tree, &self.set).into_iter()).chain(apply(&mut tree, set)) {
                problems.add(problem, &name);
            }
            for argument in sets {
                load::apply_set(&mut tree, argument)?;
            }
            starts.push(Start {
                name,
                tree,
                base: base.to_owned(),
                keys: set
                    .iter()
                    .map(|assignment| assignment.key.clone())
                    .collect(),
            });
            Ok(())
        };
        if self.variants.is_empty() && self.space.is_none() {
            for base in &self.bases {
                push(stem(base), base, &[], problems)?;
            }
        }
        for VariantEntry {
            name, base, set, ..
        } in &self.variants
        {
            let bases = base
                .as_ref()
                .map_or(self.bases.as_slice(), std::slice::from_ref);
            for base in bases {
                let called = match name {
                    Some(name) if bases.len() == 1 => name.clone(),
                    Some(name) => format!("{}-{name}", stem(base)),
                    None => stem(base),
                };
                push(called, base, set, problems)?;
            }
        }
        if self.space.is_some() {
            for base in &self.bases {
                for found in self.shapes_over(base, sets)? {
                    let name = format!("{}-{}", stem(base), shape_name(&found, self));
                    push(name, base, &shape_keys(&found, self), problems)?;
                }
            }
        }
        Ok(starts)
    }

    /// The shapes of `[space]` for each base, with the overrides of `[set]` and `sets`; empty without a
    /// `[space]`.
    ///
    /// # Errors
    /// As [`SweepFile::expand`], and a budget that no shape meets.
    pub fn shapes(&self, sets: &[String]) -> Result<Vec<Found>, ConfigError> {
        let mut problems = Problems::default();
        self.refuse(sets, &mut problems);
        problems.finish(1)?;
        let mut out = Vec::new();
        for base in self.bases.iter().filter(|_| self.space.is_some()) {
            out.extend(self.shapes_over(base, sets)?);
        }
        Ok(out)
    }

    fn shapes_over(&self, base: &Path, sets: &[String]) -> Result<Vec<Found>, ConfigError> {
        let Some(space) = &self.space else {
            return Ok(Vec::new());
        };
        let mut tree = load::read_merged(base, &[])?;
        tree.file.clone_from(&self.path);
        apply(&mut tree, &self.set);
        for argument in sets {
            load::apply_set(&mut tree, argument)?;
        }
        // The base need not have a shape; any one serves to read the rest of it.
        let origin = self.merged().origin("space");
        for (key, value) in [
            ("model.n_layers", Value::Integer(1)),
            ("model.dim", Value::Integer(64)),
            ("model.n_heads", Value::Integer(1)),
            ("model.n_kv_heads", Value::Integer(1)),
            ("model.head_dim", Value::Integer(64)),
            ("model.tie_embeddings", Value::Boolean(true)),
        ] {
            let _ = tree.set(key, value, origin.clone());
        }
        let none = Table::from_iter([("kind".to_owned(), Value::String("none".into()))]);
        let _ = tree.set("model.layer_sharing", Value::Table(none), origin);
        let config = Config::from_merged(tree, "space")?;
        let context = ShapeContext::of(&config).ok_or_else(|| {
            let hint = "give data.tokenizer.vocab_size in the base or below [set]";
            let problem =
                self.problem("space", "the vocabulary size is unknown", Some(hint.into()));
            ConfigError::Invalid(vec![problem])
        })?;
        space.shapes(&context).map_err(|problem| {
            let key = match space.budgets.as_slice() {
                [one] => format!("space.{}", one.quantity.name()),
                _ => "space".into(),
            };
            let hint = problem.hint();
            ConfigError::Invalid(vec![self.problem(&key, problem.to_string(), Some(hint))])
        })
    }
}

/// Replaces values of a tree; giving `train.steps` drops an inherited `train.tokens`, and the other way.
pub(super) fn apply(tree: &mut Merged, layer: &[Assignment]) -> Vec<Problem> {
    let gives = |key: &str| layer.iter().any(|assignment| assignment.key == key);
    for (key, other) in [
        ("train.steps", "train.tokens"),
        ("train.tokens", "train.steps"),
    ] {
        if gives(key) && !gives(other) {
            tree.remove(other);
        }
    }
    let set = |assignment: &Assignment| {
        let Assignment { key, value, origin } = assignment;
        let message = tree.set(key, value.clone(), origin.clone()).err()?;
        Some(Problem {
            origin: origin.clone(),
            key: key.clone(),
            message,
            hint: Some("write section.key, such as train.lr".into()),
        })
    };
    layer.iter().filter_map(set).collect()
}

impl ShapeContext {
    /// What `config` says beside the shape; `None` without a known vocabulary.
    pub fn of(config: &Config) -> Option<Self> {
        Some(Self {
            vocab_size: config.shape()?.vocab_size,
            seq_len: config.train.seq_len(),
            micro_batch: config.train.micro_batch_size(),
            tokens: config.train.total_steps() * config.train.tokens_per_step(),
            ffn: config.model.ffn,
            qk_norm: config.model.qk_norm,
        })
    }
}

/// Name of a shape: its label, and what else the space leaves open.
fn shape_name(found: &Found, file: &SweepFile) -> String {
    let mut name = found.shape.label();
    let Some(space) = &file.space else {
        return name;
    };
    if space.head_dim.len() > 1 {
        name += &format!("-d{}", found.shape.head_dim);
    }
    if matches!(&space.ffn, super::FfnWidth::Ratios { ratios, .. } if ratios.len() > 1) {
        name += &format!("-ffn{}", found.shape.ffn_hidden);
    }
    if space.tie_embeddings.len() > 1 {
        name += if found.shape.tie_embeddings {
            "-tied"
        } else {
            "-untied"
        };
    }
    name
}

/// What a shape means for `[model]`.
fn shape_keys(found: &Found, file: &SweepFile) -> Vec<Assignment> {
    let shape = &found.shape;
    let whole = |number: usize| Value::Integer(number as i64);
    let sharing = Table::from_iter([
        (
            "kind".to_owned(),
            Value::String(sharing_name(shape.sharing).into()),
        ),
        ("repeats".to_owned(), whole(shape.repeats)),
    ]);
    let origin = file.merged().origin("space");
    [
        ("n_layers", whole(shape.n_layers)),
        ("dim", whole(shape.dim)),
        ("n_heads", whole(shape.n_heads)),
        ("n_kv_heads", whole(shape.n_kv_heads)),
        ("head_dim", whole(shape.head_dim)),
        ("ffn_hidden", whole(shape.ffn_hidden)),
        ("tie_embeddings", Value::Boolean(shape.tie_embeddings)),
        ("layer_sharing", Value::Table(sharing)),
    ]
    .map(|(key, value)| Assignment {
        key: format!("model.{key}"),
        value,
        origin: origin.clone(),
    })
    .to_vec()
}

fn sharing_name(kind: SharingKind) -> &'static str {
    match kind {
        SharingKind::None => "none",
        SharingKind::Immediate => "immediate",
        SharingKind::RepeatAllOver => "repeat-all-over",
        SharingKind::Reverse => "reverse",
    }
}
