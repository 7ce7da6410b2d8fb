//! The step loop.
//!
//! A step is: batch, forward and backward over its micro-batches, norm, update. Everything that
//! happens at a cadence (metrics, validation, tasks, checkpoints) happens after the update, in this
//! order, so that a checkpoint of step n holds all that was known at step n.

use crate::checkpoint::{Checkpoint, CheckpointState, checkpoint_steps, prune};
use crate::error::TrainError;
use crate::metrics::{MetricsWriter, pause_at};
use crate::optimizer::{Gradients, Optimizer};
use crate::progress::{Progress, Pulse};
use crate::rundir::{RunDir, RunState, STATUS_FORMAT, Status, unix_time};
use crate::session::TaskHook;
use crate::signals::StopFlag;
use crate::validate::{ValidLoss, validation_loss};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use slender_config::{Config, OnNonfinite};
use slender_data::{Batch, Dataset, Tokenizer, ValidWindows};
use slender_model::{Dropout, Transformer};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How the loop ended.
pub(crate) enum End {
    Finished(Status),
    Paused(Status),
    Interrupted(PathBuf),
}

/// Shortest time between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Skipped batches in a row after which skipping is given up.
const MAX_SKIPPED_IN_A_ROW: u64 = 100;

pub(crate) struct TrainLoop<'a> {
    pub config: &'a Config,
    pub dir: &'a RunDir,
    pub device: &'a Device,
    pub dataset: &'a Dataset,
    /// `None` when the configuration keeps no text for validation.
    pub windows: Option<&'a ValidWindows>,
    pub tokenizer: &'a Tokenizer,
    pub stop: &'a StopFlag,
    /// Pause after this step, which is before the last one.
    pub until: Option<u64>,
    pub peak: f64,
    pub flops_per_token: u64,
    /// Always present between steps; taken while the optimizer rebuilds it.
    pub model: Option<Transformer>,
    pub optimizer: Optimizer,
    pub state: CheckpointState,
    pub metrics: MetricsWriter,
    pub progress: Progress,
    pub tasks: Option<TaskHook<'a>>,
}

/// Loss and gradient norm of one step, or `None` when a stop was asked for in its middle.
struct StepResult {
    loss: f64,
    norm: f64,
    lr: f64,
    seconds: f64,
}

/// Wall time of training proper since the last metrics line.
struct Clock {
    started: Instant,
    training: Duration,
    tokens: u64,
    heartbeat: Instant,
    checkpoint: Instant,
    /// Speed of the latest measured stretch, tokens per second.
    speed: f64,
}

impl TrainLoop<'_> {
    pub(crate) fn run(mut self) -> Result<End, TrainError> {
        let train = &self.config.train;
        let total = train.total_steps();
        let order = self.dataset.train(train.seq_len(), self.state.order_seed)?;
        let now = Instant::now();
        let mut clock = Clock {
            started: now,
            training: Duration::ZERO,
            tokens: 0,
            heartbeat: now,
            checkpoint: now,
            speed: 0.0,
        };
        let before = self.state.elapsed_s;
        self.heartbeat(RunState::Running)?;
        let target = self.until.unwrap_or(total);
        while self.state.step < target {
            if self.stop.is_set() {
                return self.interrupted();
            }
            let start = Instant::now();
            let batch = order.batch(self.state.next_batch, train.batch_size);
            let Some(mut result) = self.step(&batch)? else {
                return self.interrupted();
            };
            result.seconds = start.elapsed().as_secs_f64();
            clock.training += start.elapsed();
            clock.tokens += train.tokens_per_step();
            self.state.elapsed_s = before + clock.started.elapsed().as_secs_f64();
            self.after_step(&result, total, &mut clock)?;
        }
        match self.until {
            Some(_) => self.pause(),
            None => self.finish(),
        }
    }

    /// One optimizer step on `batch`; advances the state.
    fn step(&mut self, batch: &Batch) -> Result<Option<StepResult>, TrainError> {
        let train = &self.config.train;
        let model = self.model.take().expect("present between steps");
        // Dropout draws from a copy, so that an interrupted step leaves the stream where it was.
        let mut rng = self.state.rng.clone();
        // Of the mean over the targets that count in the whole batch, whatever the micro-batch.
        let targets = batch
            .targets
            .iter()
            .filter(|target| **target >= 0)
            .count()
            .max(1);
        let mut gradients = Gradients::new(targets);
        let mut loss_sum = 0.0;
        for micro in 0..train.batch_size / train.micro_batch_size() {
            if self.stop.is_set() {
                self.model = Some(model);
                return Ok(None);
            }
            let parts = MicroBatch::new(batch, micro, self.config, self.device);
            let mut dropout = Dropout::new(train.dropout, &mut rng);
            let sum = model.loss_sum(parts.inputs, parts.targets, parts.segments, &mut dropout); // [1]
            let value = sum.clone().into_data().iter::<f32>().next();
            loss_sum += f64::from(value.unwrap_or(f32::NAN));
            gradients.accumulate(&model, sum.backward());
        }
        let loss = loss_sum / targets as f64;
        let (norm, offender) = gradients.norm();
        let step = self.state.step + 1;
        let lr = train.lr_at(self.state.step);
        if loss.is_finite() && norm.is_finite() {
            self.model = Some(self.optimizer.step(model, gradients, norm, lr, train));
            self.state.updates = self.optimizer.updates;
            self.state.skipped_in_a_row = 0;
            self.state.train_loss = Some(loss);
        } else {
            self.model = Some(model);
            let tensor = match offender {
                _ if !loss.is_finite() => "the loss".to_owned(),
                Some(index) => format!("the gradient of {}", self.optimizer.name(index)),
                None => "the gradient norm".to_owned(),
            };
            if train.on_nonfinite == OnNonfinite::Stop {
                let checkpoint = self.checkpoint()?;
                self.progress.finish();
                return Err(TrainError::NonFinite {
                    step,
                    tensor,
                    checkpoint,
                });
            }
            self.state.skipped += 1;
            self.state.skipped_in_a_row += 1;
            self.progress.say(&format!(
                "step {step}: {tensor} is not finite, batch skipped ({} so far)",
                self.state.skipped
            ));
            if self.state.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW {
                let skipped = self.state.skipped_in_a_row;
                return Err(TrainError::AllSkipped { step, skipped });
            }
        }
        self.state.rng = rng;
        self.state.step = step;
        self.state.next_batch += 1;
        self.state.tokens += train.tokens_per_step();
        Ok(Some(StepResult {
            loss,
            norm,
            lr,
            seconds: 0.0,
        }))
    }

    /// Metrics, validation, tasks, checkpoint and heartbeat, where they are due.
    fn after_step(
        &mut self,
        result: &StepResult,
        total: u64,
        clock: &mut Clock,
    ) -> Result<(), TrainError> {
        let (run, eval) = (&self.config.run, &self.config.eval);
        let step = self.state.step;
        let last = step == total;
        let due = |every: u64| every > 0 && step.is_multiple_of(every);
        let seconds = clock.training.as_secs_f64().max(1e-9);
        let speed = clock.tokens as f64 / seconds;
        // Shown speed: the steps of about the last ten seconds, so that a slow first step fades.
        let weight = (result.seconds / 10.0).clamp(0.02, 1.0);
        let now = self.config.train.tokens_per_step() as f64 / result.seconds.max(1e-9);
        clock.speed = if clock.speed == 0.0 {
            now
        } else {
            clock.speed.powf(1.0 - weight) * now.powf(weight)
        };
        self.progress.pulse(&Pulse {
            step,
            loss: result.loss,
            lr: result.lr,
            tokens_per_s: clock.speed,
            flops_per_s: clock.speed * self.flops_per_token as f64,
            peak_share: clock.speed * self.flops_per_token as f64 / self.peak,
            seconds_left: ((self.until.unwrap_or(total) - step)
                * self.config.train.tokens_per_step()) as f64
                / clock.speed,
        });
        if due(run.log_every) || last {
            let flops = speed * self.flops_per_token as f64;
            let mut values = vec![
                ("loss", result.loss),
                ("lr", result.lr),
                ("grad_norm", result.norm),
                ("tokens_per_s", speed),
                ("model_flops_per_s", flops),
                ("peak_share", flops / self.peak),
                ("elapsed_s", self.state.elapsed_s),
            ];
            // JSON has no NaN; a skipped batch logs what it has.
            values.retain(|(_, value)| value.is_finite());
            self.metrics
                .write("train", step, self.state.tokens, &values)?;
            (clock.training, clock.tokens) = (Duration::ZERO, 0);
        }
        let best = (due(eval.loss_every) || last) && self.validate()?;
        if due(eval.tasks_every) && !last {
            self.run_tasks()?;
        }
        let minutes = run.checkpoint_minutes;
        let by_time = minutes > 0.0 && clock.checkpoint.elapsed().as_secs_f64() > 60.0 * minutes;
        // After the tasks, so that a resume from this step misses none of its scores.
        let keep = best && run.keep_best;
        if due(run.checkpoint_every) || by_time || keep || last {
            self.checkpoint()?;
            clock.checkpoint = Instant::now();
        }
        if clock.heartbeat.elapsed() > HEARTBEAT {
            self.heartbeat(RunState::Running)?;
            clock.heartbeat = Instant::now();
        }
        Ok(())
    }

    /// Measures the validation loss; true when it is the lowest so far.
    fn validate(&mut self) -> Result<bool, TrainError> {
        let step = self.state.step;
        let Some(valid) = self.measure()? else {
            return Ok(false);
        };
        self.state.valid_loss = Some(valid.loss);
        self.state.valid_bits_per_byte = Some(valid.bits_per_byte);
        self.metrics
            .write("valid", step, self.state.tokens, &valid.values())?;
        self.progress.say(&format!(
            "step {step}: validation loss {:.4}, {:.4} bits per byte",
            valid.loss, valid.bits_per_byte
        ));
        let best = self.state.best.is_none_or(|(loss, _)| valid.loss < loss);
        if best {
            self.state.best = Some((valid.loss, step));
        }
        Ok(best)
    }

    /// Validation loss of the weights as they are; `None` when no text is kept for it.
    fn measure(&self) -> Result<Option<ValidLoss>, TrainError> {
        let Some(windows) = self.windows else {
            return Ok(None);
        };
        let model = self.model.as_ref().expect("present between steps").valid();
        let (mask, rows) = (
            self.config.data.document_mask,
            self.config.train.micro_batch_size(),
        );
        validation_loss(&model, windows, mask, rows, self.device).map(Some)
    }

    fn run_tasks(&mut self) -> Result<(), TrainError> {
        let step = self.state.step;
        let Some(tasks) = &mut self.tasks else {
            return Ok(());
        };
        let model = self.model.as_ref().expect("present between steps").valid();
        let scores = tasks(&model, self.tokenizer, step)
            .map_err(|message| TrainError::Tasks { step, message })?;
        for score in &scores {
            self.metrics.write_task(step, self.state.tokens, score)?;
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<PathBuf, TrainError> {
        let model = self.model.as_ref().expect("present between steps");
        let folder = Checkpoint::write(
            self.dir,
            model,
            &self.optimizer,
            self.tokenizer,
            self.state.clone(),
        )?;
        let best = self.state.best.filter(|_| self.config.run.keep_best);
        prune(
            self.dir,
            self.config.run.keep_last,
            best.map(|(_, step)| step),
        )?;
        Ok(folder)
    }

    fn interrupted(&mut self) -> Result<End, TrainError> {
        let checkpoint = self.checkpoint()?;
        self.heartbeat(RunState::Interrupted)?;
        self.progress.finish();
        Ok(End::Interrupted(checkpoint))
    }

    /// Leaves a checkpoint, the validation loss and a status of the step that `until` named.
    ///
    /// The measurement changes no state: not what the checkpoint holds, and not which one is best.
    /// It is written before the status, so a status of `paused` always has its loss.
    fn pause(mut self) -> Result<End, TrainError> {
        let step = self.state.step;
        if !checkpoint_steps(self.dir).contains(&step) {
            self.checkpoint()?;
        }
        let mut measured = pause_at(self.dir, step);
        if measured.is_none()
            && let Some(valid) = self.measure()?
        {
            self.metrics
                .write("pause", step, self.state.tokens, &valid.values())?;
            measured = Some((valid.loss, valid.bits_per_byte));
        }
        let mut status = self.status(RunState::Paused);
        if let Some((loss, bits_per_byte)) = measured {
            (status.valid_loss, status.valid_bits_per_byte) = (Some(loss), Some(bits_per_byte));
        }
        self.dir.write_status(&status)?;
        self.progress.finish();
        Ok(End::Paused(status))
    }

    fn finish(mut self) -> Result<End, TrainError> {
        // A run killed between its last checkpoint and its last status arrives here with no step left.
        let status = self.heartbeat(RunState::Finished)?;
        self.progress.finish();
        Ok(End::Finished(status))
    }

    fn heartbeat(&mut self, state: RunState) -> Result<Status, TrainError> {
        let status = self.status(state);
        self.dir.write_status(&status)?;
        Ok(status)
    }

    fn status(&self, state: RunState) -> Status {
        Status {
            format: STATUS_FORMAT.into(),
            state,
            step: self.state.step,
            total_steps: self.config.train.total_steps(),
            until: self.until,
            tokens: self.state.tokens,
            skipped_batches: self.state.skipped,
            train_loss: self.state.train_loss,
            valid_loss: self.state.valid_loss,
            valid_bits_per_byte: self.state.valid_bits_per_byte,
            elapsed_s: self.state.elapsed_s,
            updated_at: unix_time(),
            pid: std::process::id(),
            error: None,
        }
    }
}

/// One micro-batch on the device; all `[B, T]`.
pub(crate) struct MicroBatch {
    pub inputs: Tensor<2, Int>,
    pub targets: Tensor<2, Int>,
    pub segments: Option<Tensor<2, Int>>,
}

impl MicroBatch {
    pub(crate) fn new(batch: &Batch, index: usize, config: &Config, device: &Device) -> Self {
        let (rows, t) = (config.train.micro_batch_size(), config.train.seq_len());
        let range = index * rows * t..(index + 1) * rows * t;
        let tensor = |values: &[i32]| Self::tokens(&values[range.clone()], rows, t, device);
        Self {
            inputs: tensor(&batch.inputs),
            targets: tensor(&batch.targets),
            segments: config.data.document_mask.then(|| tensor(&batch.segments)),
        }
    }

    /// Whole numbers as `[rows, t]`.
    pub(crate) fn tokens(values: &[i32], rows: usize, t: usize, device: &Device) -> Tensor<2, Int> {
        Tensor::from_data(TensorData::new(values.to_vec(), [rows, t]), device)
    }
}
