//! Checks that need more than one key, and the defaults that follow from other keys.

use crate::Config;
use crate::data::{Content, DataConfig, SourceConfig, SourceKind, TokenizerConfig, TokenizerKind};
use crate::device::{Backend, DeviceSpec};
use crate::error::Problem;
use crate::load::Merged;
use crate::model::FfnKind;
use crate::shape::ModelShape;
use crate::train::{Parametrization, Recompute, TrainConfig};

/// Collects problems, each with the origin of its key.
pub(crate) struct Checker<'a> {
    merged: &'a Merged,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn wrong(
        &mut self,
        key: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let key = key.into();
        self.problems.push(Problem {
            origin: self.merged.origin(&key),
            key,
            message: message.into(),
            hint: Some(hint.into()),
        });
    }

    fn positive(&mut self, key: &str, value: f64) {
        if !(value.is_finite() && value > 0.0) {
            self.wrong(
                key,
                format!("{value} is not a positive number"),
                "give a number above 0",
            );
        }
    }

    fn fraction(&mut self, key: &str, value: f64) {
        if !(0.0..1.0).contains(&value) {
            self.wrong(
                key,
                format!("{value} is out of range"),
                "give a number from 0 up to, not including, 1",
            );
        }
    }
}

/// Fills in derived defaults and checks everything.
pub(crate) fn resolve(config: &mut Config, merged: &Merged) -> Result<(), Vec<Problem>> {
    let mut check = Checker {
        merged,
        problems: Vec::new(),
    };
    check_model(config, &mut check);
    check_train(&mut config.train, config.model.max_seq_len, &mut check);
    check_data(&mut config.data, config.run.seed, &mut check);
    check_eval_and_run(config, &mut check);
    check_recompute(config, &mut check);
    if check.problems.is_empty() {
        Ok(())
    } else {
        Err(check.problems)
    }
}

fn check_model(config: &mut Config, check: &mut Checker<'_>) {
    // The vocabulary may be unknown until the tokenizer is loaded; any size serves for the checks.
    let vocab = config.data.tokenizer.vocab_size.unwrap_or(1);
    match ModelShape::resolve(&config.model, vocab) {
        Ok(shape) => {
            config.model.head_dim = Some(shape.head_dim);
            config.model.ffn_hidden = Some(shape.ffn_hidden);
            config.model.layer_sharing.repeats = Some(shape.repeats);
        }
        Err(problems) => {
            for problem in problems {
                check.wrong(
                    format!("model.{}", problem.key),
                    problem.message,
                    problem.hint,
                );
            }
        }
    }
}

fn check_train(train: &mut TrainConfig, max_seq_len: usize, check: &mut Checker<'_>) {
    let seq_len = *train.seq_len.get_or_insert(max_seq_len);
    if seq_len == 0 || seq_len > max_seq_len {
        check.wrong(
            "train.seq_len",
            format!("sequences of {seq_len} tokens do not fit a model of at most {max_seq_len}"),
            format!("use 1 to {max_seq_len}, or raise model.max_seq_len"),
        );
    }
    let batch = train.batch_size;
    let micro = *train.micro_batch_size.get_or_insert(batch);
    if batch == 0 || batch > 1 << 24 {
        check.wrong(
            "train.batch_size",
            format!("{batch} sequences per step is out of range"),
            "give at least 1",
        );
    } else if micro == 0 || !batch.is_multiple_of(micro) {
        check.wrong(
            "train.micro_batch_size",
            format!("{micro} does not divide batch_size {batch}"),
            "every forward pass takes the same number of sequences; use a divisor of batch_size",
        );
    }
    match (train.steps, train.tokens) {
        (None, None) => check.wrong("train.steps", "there is no budget", "give train.steps or train.tokens"),
        (Some(_), Some(_)) => check.wrong(
            "train.tokens",
            "both steps and tokens are given",
            "give one of train.steps and train.tokens; an inherited one is dropped by setting it to 0",
        ),
        (Some(0), None) => check.wrong("train.steps", "the budget is 0 steps", "give at least 1"),
        (None, Some(0)) => check.wrong("train.tokens", "the budget is 0 tokens", "give at least 1"),
        _ => {}
    }
    check.positive("train.lr", train.lr);
    check_parametrization(train, check);
    check.positive("train.eps", train.eps);
    for (key, value) in [
        ("train.beta1", train.beta1),
        ("train.beta2", train.beta2),
        ("train.dropout", train.dropout),
    ] {
        check.fraction(key, value);
    }
    for (key, value) in [
        ("train.min_lr_ratio", train.min_lr_ratio),
        ("train.decay_fraction", train.decay_fraction),
    ] {
        if !(0.0..=1.0).contains(&value) {
            check.wrong(
                key,
                format!("{value} is out of range"),
                "give a number from 0 to 1",
            );
        }
    }
    for (key, value) in [
        ("train.weight_decay", train.weight_decay),
        ("train.grad_clip", train.grad_clip),
    ] {
        if !(value.is_finite() && value >= 0.0) {
            check.wrong(key, format!("{value} is out of range"), "give 0 or more");
        }
    }
    let steps = train.total_steps();
    if check.problems.is_empty() && train.warmup_steps > steps {
        check.wrong(
            "train.warmup_steps",
            format!(
                "{} warm-up steps do not fit a run of {steps}",
                train.warmup_steps
            ),
            "shorten the warm-up or lengthen the run",
        );
    }
}

fn check_parametrization(train: &TrainConfig, check: &mut Checker<'_>) {
    let bases = [
        ("train.base_dim", train.base_dim),
        ("train.base_layers", train.base_layers),
        ("train.base_head_dim", train.base_head_dim),
    ];
    if train.parametrization == Parametrization::Standard {
        let alpha = ("train.depth_alpha", train.depth_alpha.is_some());
        let given = bases.iter().map(|(key, value)| (*key, value.is_some()));
        for (key, _) in given.chain([alpha]).filter(|(_, given)| *given) {
            check.wrong(
                key,
                "does nothing in the standard parametrization",
                "set train.parametrization = \"mup\", or drop the key",
            );
        }
        return;
    }
    for (key, _) in bases.iter().filter(|(_, value)| *value == Some(0)) {
        check.wrong(
            *key,
            "must be at least 1",
            "give that of the model `lr` was tuned on",
        );
    }
    if train.base_dim.is_none() {
        check.wrong(
            "train.base_dim",
            "is missing",
            "parametrization = \"mup\" needs the width at which train.lr was tuned",
        );
    }
    if let Some(alpha) = train.depth_alpha {
        if !(0.5..=1.0).contains(&alpha) {
            check.wrong(
                "train.depth_alpha",
                format!("{alpha} is out of range"),
                "give 1 (CompleteP), 0.5 (depth-muP) or a number between",
            );
        }
        if train.base_layers.is_none() {
            check.wrong(
                "train.depth_alpha",
                "does nothing without train.base_layers",
                "give the number of executed layers at which train.lr was tuned",
            );
        }
    }
}

fn check_data(data: &mut DataConfig, seed: u64, check: &mut Checker<'_>) {
    data.order_seed.get_or_insert(seed);
    check.fraction("data.valid_fraction", data.valid_fraction);
    if data.sources.is_empty() {
        check.wrong(
            "data.sources",
            "there is no text source",
            "add one, such as { kind = \"builtin\", name = \"books-mini\" }",
        );
    }
    for source in &mut data.sources {
        source.text_column = Some(source.text_column().to_owned());
    }
    for (index, source) in data.sources.iter().enumerate() {
        check_source(source, &format!("data.sources[{index}]"), check);
    }
    check_tokenizer(&data.tokenizer, check);
}

fn check_source(source: &SourceConfig, path: &str, check: &mut Checker<'_>) {
    let given = [
        ("name", source.name.is_some(), SourceKind::Builtin),
        ("paths", source.paths.is_some(), SourceKind::Files),
        ("repo", source.repo.is_some(), SourceKind::Hub),
        ("revision", source.revision.is_some(), SourceKind::Hub),
        ("files", source.files.is_some(), SourceKind::Hub),
        ("split", source.split.is_some(), SourceKind::Hub),
    ];
    for (key, _, kind) in given
        .iter()
        .filter(|(_, given, kind)| *given && *kind != source.kind)
    {
        check.wrong(
            format!("{path}.{key}"),
            format!("`{key}` belongs to kind = \"{}\"", name_of(kind)),
            format!(
                "this source has kind = \"{}\"; drop the key or change the kind",
                name_of(&source.kind)
            ),
        );
    }
    let (needed, present) = match source.kind {
        SourceKind::Builtin => ("name", source.name.is_some()),
        SourceKind::Files => (
            "paths",
            source.paths.as_ref().is_some_and(|paths| !paths.is_empty()),
        ),
        SourceKind::Hub => ("repo", source.repo.is_some()),
    };
    if !present {
        check.wrong(
            format!("{path}.{needed}"),
            "is missing",
            format!("kind = \"{}\" needs it", name_of(&source.kind)),
        );
    }
    if source.content == Content::Conversations && source.kind == SourceKind::Builtin {
        check.wrong(
            format!("{path}.content"),
            "the shipped texts hold no conversations",
            "use kind = \"files\" or \"hub\"",
        );
    }
    if let Some(weight) = source.weight {
        check.positive(&format!("{path}.weight"), weight);
    }
}

fn check_tokenizer(tokenizer: &TokenizerConfig, check: &mut Checker<'_>) {
    let given = [
        ("path", tokenizer.path.is_some(), TokenizerKind::File),
        ("repo", tokenizer.repo.is_some(), TokenizerKind::Hub),
        ("revision", tokenizer.revision.is_some(), TokenizerKind::Hub),
        ("file", tokenizer.file.is_some(), TokenizerKind::Hub),
        (
            "train_bytes",
            tokenizer.train_bytes.is_some(),
            TokenizerKind::Bpe,
        ),
    ];
    for (key, _, kind) in given
        .iter()
        .filter(|(_, given, kind)| *given && *kind != tokenizer.kind)
    {
        check.wrong(
            format!("data.tokenizer.{key}"),
            format!("`{key}` belongs to kind = \"{}\"", name_of(kind)),
            format!(
                "this tokenizer has kind = \"{}\"; drop the key or change the kind",
                name_of(&tokenizer.kind)
            ),
        );
    }
    let (needed, present) = match tokenizer.kind {
        TokenizerKind::Bpe => ("vocab_size", tokenizer.vocab_size.is_some()),
        TokenizerKind::File => ("path", tokenizer.path.is_some()),
        TokenizerKind::Hub => ("repo", tokenizer.repo.is_some()),
    };
    if !present {
        check.wrong(
            format!("data.tokenizer.{needed}"),
            "is missing",
            format!("kind = \"{}\" needs it", name_of(&tokenizer.kind)),
        );
    }
    if tokenizer.kind == TokenizerKind::Bpe && tokenizer.vocab_size.is_some_and(|size| size < 257) {
        check.wrong(
            "data.tokenizer.vocab_size",
            "a byte-level vocabulary has at least 257 tokens: 256 bytes and the document separator",
            "give 257 or more",
        );
    }
}

/// Activations are computed again by the fused halves of a block alone.
fn check_recompute(config: &Config, check: &mut Checker<'_>) {
    if config.train.recompute == Recompute::None {
        return;
    }
    let device = config.run.device.parse::<DeviceSpec>();
    let hindrance = if config.train.dropout > 0.0 {
        Some("train.dropout is on")
    } else if config.model.ffn != FfnKind::Swiglu {
        Some("model.ffn is not `swiglu`")
    } else if config.model.qk_norm {
        Some("model.qk_norm is on")
    } else if device.is_ok_and(|device| device.backend != Backend::Flex) {
        Some("run.device is not `flex`")
    } else {
        None
    };
    if let Some(hindrance) = hindrance {
        check.wrong(
            "train.recompute",
            format!("`block` needs the fused halves of a block, and {hindrance}"),
            "leave it at `none`, and lower train.micro_batch_size to save memory",
        );
    }
}

fn check_eval_and_run(config: &Config, check: &mut Checker<'_>) {
    if let Err(error) = config.run.device.parse::<DeviceSpec>() {
        let text = error.to_string();
        let (message, hint) = text.split_once("\n  hint: ").unwrap_or((&text, ""));
        check.wrong("run.device", message, hint);
    }
    if config.run.log_every == 0 {
        check.wrong("run.log_every", "must be at least 1", "1 logs every step");
    }
    if config.run.keep_last == 0 {
        check.wrong(
            "run.keep_last",
            "must be at least 1",
            "a run needs its newest checkpoint to resume",
        );
    }
    let minutes = config.run.checkpoint_minutes;
    if !(minutes.is_finite() && minutes >= 0.0) {
        check.wrong(
            "run.checkpoint_minutes",
            format!("{minutes} is out of range"),
            "give 0 (off) or more",
        );
    }
    if let Some(name) = &config.run.name
        && (name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']))
    {
        check.wrong(
            "run.name",
            format!("`{name}` cannot be the name of a folder"),
            "use letters, digits, `-`, `_` and `.`",
        );
    }
}

/// The kebab- or lowercase name serde gives a unit variant.
fn name_of(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}
