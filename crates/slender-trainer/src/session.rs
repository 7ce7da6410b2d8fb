//! One `slender train`: find out where the run stands, get everything ready, train, and leave the
//! directory in a state that says what happened.

use crate::checkpoint::{CHECKPOINT_FORMAT, CheckpointState, checkpoint_steps, newest_checkpoint};
use crate::error::TrainError;
use crate::estimate::{Estimate, matmul_peak};
use crate::inherit::keep_generation_config;
use crate::metrics::{MetricsWriter, TaskMetric};
use crate::optimizer::Optimizer;
use crate::progress::{Progress, Verbosity};
use crate::rundir::{
    Beginning, Provenance, RunDir, RunFacts, RunState, STATUS_FORMAT, Status, unix_time,
    write_atomic, write_run,
};
use crate::signals::StopFlag;
use crate::train_loop::{End, TrainLoop};
use burn::tensor::Device;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use slender_config::{
    Config, Content, DataConfig, DeviceSpec, ModelShape, Recompute, SourceConfig, SourceRole,
    TokenizerKind, human_bytes, human_count, human_seconds,
};
use slender_data::{Dataset, PrepareOptions, Tokenizer};
use slender_model::{GENERATION_CONFIG, Transformer, is_run_or_checkpoint};
use std::path::{Path, PathBuf};

/// How a run is started.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// The run directory.
    pub dir: RunDir,
    /// How much is said on stderr.
    pub verbosity: Verbosity,
    /// Where the program comes from.
    pub provenance: Provenance,
    /// Asks for a checkpoint and a clean stop.
    pub stop: StopFlag,
    /// Pause after this step of the whole budget; the schedule stays that of the whole budget.
    pub until: Option<u64>,
}

/// A zero-shot evaluation during training: model, tokenizer, step, to scores or an error message.
pub type TaskHook<'a> =
    Box<dyn FnMut(&Transformer, &Tokenizer, u64) -> Result<Vec<TaskMetric>, String> + 'a>;

/// What the caller adds to the loop.
#[derive(Default)]
pub struct TrainHooks<'a> {
    /// Zero-shot tasks, run every `eval.tasks_every` steps.
    pub tasks: Option<TaskHook<'a>>,
}

/// How a call to [`train`] ended.
#[derive(Clone, Debug, PartialEq)]
pub enum TrainOutcome {
    /// The budget is used up; `fresh` is false when it already was.
    Finished {
        /// Whether this call trained anything.
        fresh: bool,
        /// Final status.
        status: Status,
    },
    /// Step `until` is reached; `fresh` is false when it already was.
    Paused {
        /// Whether this call trained anything.
        fresh: bool,
        /// Status at the pause, with the validation loss of that step.
        status: Status,
    },
    /// A signal asked for a stop; the checkpoint holds everything.
    Interrupted {
        /// The checkpoint.
        checkpoint: PathBuf,
    },
}

/// Trains `config` in a run directory: from the start, from its newest checkpoint, or not at all
/// when it is finished.
///
/// # Errors
/// See [`TrainError`]; the directory's status then says `failed` and why, unless the directory
/// belongs to another process or another configuration.
pub fn train(
    config: &Config,
    options: &TrainOptions,
    hooks: TrainHooks<'_>,
) -> Result<TrainOutcome, TrainError> {
    let dir = &options.dir;
    let _lock = dir.lock()?;
    check_same_config(config, dir)?;
    if let Some(status) = dir.read_status()
        && status.state == RunState::Finished
        && status.step >= config.train.total_steps()
    {
        return Ok(TrainOutcome::Finished {
            fresh: false,
            status,
        });
    }
    if let Some(until) = options.until
        && let Some(status) = dir.read_status()
        && status.state == RunState::Paused
        && status.step >= until
    {
        return Ok(TrainOutcome::Paused {
            fresh: false,
            status,
        });
    }
    let result = run(config, options, hooks);
    if let Err(error) = &result
        && let Some(mut status) = dir.read_status()
    {
        status.state = RunState::Failed;
        status.error = Some(error.to_string());
        status.updated_at = unix_time();
        dir.write_status(&status)?;
    }
    result
}

/// A directory that already has a configuration takes only that one.
fn check_same_config(config: &Config, dir: &RunDir) -> Result<(), TrainError> {
    let path = dir.config();
    // Until there is a checkpoint nothing is lost by another configuration: a first start that
    // failed over a mistake in it must not stand in the way of the correction.
    if !path.exists() || checkpoint_steps(dir).is_empty() {
        return Ok(());
    }
    let stored = Config::load(&path, &[])?;
    let keys = config.differing_keys(&stored);
    if keys.is_empty() {
        Ok(())
    } else {
        Err(TrainError::DifferentConfig {
            dir: dir.root().to_owned(),
            keys,
        })
    }
}

fn run(
    config: &Config,
    options: &TrainOptions,
    hooks: TrainHooks<'_>,
) -> Result<TrainOutcome, TrainError> {
    let dir = &options.dir;
    let train = &config.train;
    let total = train.total_steps();
    // A pause at the end, or beyond it, is the end.
    let until = options.until.filter(|until| *until < total);
    let target = until.unwrap_or(total);
    let progress = Progress::new(options.verbosity, target);
    write_atomic(&dir.config(), config.to_toml().as_bytes())?;
    if dir.read_status().is_none() {
        dir.write_status(&initial_status(config, until))?;
    }

    let spec: DeviceSpec = config
        .run
        .device
        .parse()
        .expect("a loaded configuration names a device");
    let device = slender_kernels::open_device(&spec)?.autodiff();

    let checkpoint = newest_checkpoint(dir, &mut |text| progress.say(&format!("warning: {text}")))?;
    let done = checkpoint
        .as_ref()
        .map_or(0, |checkpoint| checkpoint.state.step);
    let peak = matmul_peak(&device);
    let again = train.recompute == Recompute::Block;
    if again && !slender_kernels::has_kernels(&device) {
        progress.say("warning: train.recompute does nothing without the fused kernels\n  hint: unset SLENDER_FUSED");
    }
    let fresh = |shape: &ModelShape| {
        Transformer::with_scaling(shape, config.run.seed, &config.scaling_of(shape), &device)
            .with_recompute(again)
    };
    // Before the data, which may take hours to fetch, so that a user knows what is being begun.
    let (early, from) = match &config.model.from {
        Some(path) if checkpoint.is_none() => {
            let (model, from) = begin_from(config, path, &device)?;
            (Some(model.with_recompute(again)), Some(from))
        }
        _ => (config.shape().map(|shape| fresh(&shape)), None),
    };
    if let Some(model) = &early {
        announce(config, model, done, target, peak, &device, &progress);
    }

    let mut prepare = PrepareOptions::from_env();
    prepare.progress = options.verbosity != Verbosity::Quiet;
    let prepared = slender_data::prepare(&data_config(config, dir), &prepare)?;
    let dataset = Dataset::open(&prepared.dir)?;
    let keeps_valid = config.data.valid_fraction > 0.0
        || config
            .data
            .sources
            .iter()
            .any(|source| source.role == SourceRole::Valid);
    let windows = keeps_valid
        .then(|| dataset.valid_windows(train.seq_len(), config.eval.loss_tokens))
        .transpose()?;
    let tokenizer = Tokenizer::from_file(&prepared.dir.join(slender_data::TOKENIZER_FILE))?;
    let manifest = prepared.manifest.hash();
    if let Some(checkpoint) = &checkpoint
        && checkpoint.state.data_manifest != manifest
    {
        let then = checkpoint.state.data_manifest.clone();
        return Err(TrainError::DataChanged {
            then,
            now: manifest,
        });
    }
    let shape = shape_for(config, tokenizer.vocab_size())?;
    if let (Some(model), Some(from)) = (&early, &from)
        && *model.shape() != shape
    {
        return Err(from_problem(format!(
            "the tokenizer has {} tokens, the embedding in {} only {} rows",
            tokenizer.vocab_size(),
            from.path,
            model.shape().vocab_size
        )));
    }
    let accounting = config.accounting_of(&shape);
    let begins = || {
        let order = dataset.train(train.seq_len(), config.run.seed)?;
        let first = order.sequence(0).inputs.first().copied();
        let begun = tokenizer.document_start_id().map(i64::from);
        Ok::<bool, TrainError>(first.map(i64::from) == begun)
    };
    let adds =
        config.data.sources.iter().any(is_text) || begins_texts(config, &tokenizer) && begins()?;
    // A run without settings begins texts so.
    let tokenizer = match adds && tokenizer.settings().is_empty() {
        true => tokenizer,
        false => tokenizer.with_add_bos(adds),
    };
    tokenizer.save_in(dir.root())?;

    let announced = early.is_some();
    let (model, optimizer, state) = match &checkpoint {
        Some(checkpoint) => {
            drop(early);
            let (model, optimizer) = checkpoint.load(&shape, &device)?;
            let model = model.with_recompute(again);
            (model, optimizer, checkpoint.state.clone())
        }
        None => {
            let model = early
                .filter(|model| *model.shape() == shape)
                .unwrap_or_else(|| fresh(&shape));
            let optimizer = Optimizer::new(&model, &device);
            (model, optimizer, initial_state(config, &manifest))
        }
    };
    if !announced {
        announce(config, &model, done, target, peak, &device, &progress);
    }
    // Also when a run goes on whose beginning did not keep it, while the model is still there.
    let from_is_there = config.model.from.as_ref().is_some_and(|from| from.exists());
    if checkpoint.is_none() || from_is_there && !dir.root().join(GENERATION_CONFIG).is_file() {
        keep_generation_config(dir, config.model.from.as_deref(), &tokenizer)?;
    }
    if checkpoint.is_none() {
        let facts = RunFacts {
            provenance: &options.provenance,
            data_manifest: &manifest,
            data_dir: &prepared.dir,
            tokenizer_hash: tokenizer.hash(),
            from: from.as_ref(),
            accounting: &accounting,
            device: &config.run.device,
        };
        write_run(dir, config, &facts)?;
    }
    warn_about_memory(accounting.train_memory_bytes, &spec, &progress);

    let optimizer = optimizer.with_scaling(&config.scaling_of(&shape));
    let metrics = MetricsWriter::open(dir, state.step)?;
    let end = TrainLoop {
        config,
        dir,
        device: &device,
        dataset: &dataset,
        windows: windows.as_ref(),
        tokenizer: &tokenizer,
        stop: &options.stop,
        until,
        peak,
        flops_per_token: accounting.train_flops_per_token,
        model: Some(model),
        optimizer,
        state,
        metrics,
        progress,
        tasks: hooks.tasks,
    }
    .run()?;
    Ok(match end {
        End::Finished(status) => TrainOutcome::Finished {
            fresh: true,
            status,
        },
        End::Paused(status) => TrainOutcome::Paused {
            fresh: true,
            status,
        },
        End::Interrupted(checkpoint) => TrainOutcome::Interrupted { checkpoint },
    })
}

/// The weights that `model.from` names, and where they are from.
fn begin_from(
    config: &Config,
    path: &Path,
    device: &Device,
) -> Result<(Transformer, Beginning), TrainError> {
    // The embedding's rows are the checkpoint's, whatever the tokenizer's size.
    let shape = shape_for(config, 1)?;
    let (model, weights_hash) = Transformer::read_from(&shape, path, device)
        .map_err(|error| from_problem(error.to_string()))?;
    let path = path.display().to_string();
    Ok((model, Beginning { path, weights_hash }))
}

fn from_problem(message: String) -> TrainError {
    // A way out of its own is better than the general one.
    let (message, hint) = match message.split_once("\n  hint: ") {
        Some((message, hint)) => (message.to_owned(), hint.to_owned()),
        None => (
            message,
            "name a model that slender reads, with the tokenizer it was trained with".to_owned(),
        ),
    };
    let problem = slender_config::Problem {
        origin: None,
        key: "model.from".into(),
        message,
        hint: Some(hint),
    };
    TrainError::Config(slender_config::ConfigError::Invalid(vec![problem]))
}

/// A source of texts that is trained on. Documents begin with BOS; conversations begin as their template writes
/// them, and after these alone a text begins with BOS if both they and the texts of the model that the run began
/// with do.
fn is_text(source: &SourceConfig) -> bool {
    source.role != SourceRole::Valid && source.content == Content::Text
}

/// Whether the texts of the model that the run begins with begin with BOS, as far as its tokenizer knows: by
/// its template, by its settings, or because it is a run, which says so where they do not.
fn begins_texts(config: &Config, tokenizer: &Tokenizer) -> bool {
    let from = config.model.from.as_deref();
    let said = tokenizer.settings().add_bos();
    tokenizer.begins_texts() || said.unwrap_or(from.is_some_and(is_run_or_checkpoint))
}

/// The configured data; where the tokenizer's files are gone, as a checkpoint that a run began from may be,
/// the run's own copy takes their place.
fn data_config(config: &Config, dir: &RunDir) -> DataConfig {
    let mut data = config.data.clone();
    let tokenizer = &mut data.tokenizer;
    let gone = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| !path.exists());
    if tokenizer.kind == TokenizerKind::File
        && (gone(&tokenizer.path) || gone(&tokenizer.chat_template))
        && dir.tokenizer().is_file()
    {
        tokenizer.path = Some(dir.tokenizer());
        tokenizer.chat_template = None;
    }
    data
}

/// The shape of `config` for a tokenizer of `vocab` tokens.
///
/// # Errors
/// Every contradiction in `[model]`, as a configuration error.
pub fn shape_for(config: &Config, vocab: usize) -> Result<ModelShape, TrainError> {
    config.shape_for(vocab).map_err(|problems| {
        let problems = problems.into_iter().map(|problem| slender_config::Problem {
            origin: None,
            key: format!("model.{}", problem.key),
            message: problem.message,
            hint: Some(problem.hint),
        });
        TrainError::Config(slender_config::ConfigError::Invalid(problems.collect()))
    })
}

fn initial_status(config: &Config, until: Option<u64>) -> Status {
    Status {
        format: STATUS_FORMAT.into(),
        state: RunState::Running,
        step: 0,
        total_steps: config.train.total_steps(),
        until,
        tokens: 0,
        skipped_batches: 0,
        train_loss: None,
        valid_loss: None,
        valid_bits_per_byte: None,
        elapsed_s: 0.0,
        updated_at: unix_time(),
        pid: std::process::id(),
        error: None,
    }
}

fn initial_state(config: &Config, manifest: &str) -> CheckpointState {
    CheckpointState {
        format: CHECKPOINT_FORMAT.into(),
        step: 0,
        tokens: 0,
        updates: 0,
        next_batch: 0,
        order_seed: config.data.order_seed.unwrap_or(config.run.seed),
        data_manifest: manifest.to_owned(),
        rng: ChaCha8Rng::seed_from_u64(config.run.seed),
        skipped: 0,
        skipped_in_a_row: 0,
        train_loss: None,
        valid_loss: None,
        valid_bits_per_byte: None,
        best: None,
        elapsed_s: 0.0,
        files: Default::default(),
    }
}

/// Says what is about to happen and how long it will take.
fn announce(
    config: &Config,
    model: &Transformer,
    done: u64,
    target: u64,
    peak: f64,
    device: &Device,
    progress: &Progress,
) {
    let (train, shape) = (&config.train, model.shape());
    let accounting = config.accounting_of(shape);
    let left = target.saturating_sub(done) * train.tokens_per_step();
    let estimate = Estimate::measure(model, &accounting, left, device);
    progress.say(&format!(
        "{}: {} parameters ({}), {} tokens in {} steps on {} ({} threads)",
        config.name(),
        human_count(accounting.params_total as f64),
        shape.label(),
        human_count((train.total_steps() * train.tokens_per_step()) as f64),
        train.total_steps(),
        config.run.device,
        rayon::current_num_threads(),
    ));
    if done > 0 {
        progress.say(&format!(
            "resuming after step {done} of {}",
            train.total_steps()
        ));
    }
    if target < train.total_steps() {
        progress.say(&format!("pausing after step {target}"));
    }
    progress.say(&format!(
        "expected: about {} at {:.0} tokens/s ({:.1} GFLOP/s measured on a short sequence; matmul peak {:.0} GFLOP/s)",
        human_seconds(estimate.seconds),
        estimate.tokens_per_s,
        estimate.flops_per_s / 1e9,
        peak / 1e9,
    ));
}

/// Warns when the estimate of training memory exceeds what a CPU device has left.
fn warn_about_memory(needed: u64, spec: &DeviceSpec, progress: &Progress) {
    let cpu = matches!(
        spec.backend,
        slender_config::Backend::Flex | slender_config::Backend::NdArray
    );
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("MemAvailable"));
    let kilobytes: Option<u64> = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    if let Some(available) = kilobytes.map(|kb| kb * 1024)
        && cpu
        && needed > available
    {
        progress.say(&format!(
            "warning: training needs about {}, {} is free\n  hint: lower train.micro_batch_size, or set train.recompute = \"block\"",
            human_bytes(needed),
            human_bytes(available),
        ));
    }
}
