//! `[train]`, `[eval]` and `[run]`: the recipe, the measurements, and everything operational.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[train]`: optimizer, schedule, batch and budget. Exactly one of `steps` and `tokens` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrainConfig {
    /// Tokens per training sequence; at most `model.max_seq_len`. Default: `model.max_seq_len`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq_len: Option<usize>,
    /// Sequences per optimizer step.
    pub batch_size: usize,
    /// Sequences per forward and backward pass; must divide `batch_size`. Gradients accumulate over the passes. Default: `batch_size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_batch_size: Option<usize>,
    /// Budget in optimizer steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Budget in training tokens, rounded up to whole steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Peak learning rate.
    pub lr: f64,
    /// How learning rate and initial weights follow width and depth.
    #[serde(default)]
    pub parametrization: Parametrization,
    /// `mup`: the width at which `lr` and `model.init_std` hold as they are written. Required with `mup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_dim: Option<usize>,
    /// `mup`: the number of executed layers at which they hold. Unset: depth changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_layers: Option<usize>,
    /// `mup`: the head width at which attention is scaled as usual; queries shrink by `sqrt(base_head_dim / head_dim)`. Unset: head width changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_head_dim: Option<usize>,
    /// `mup` with `base_layers`: branches shrink as `layers^-depth_alpha`; 1 is CompleteP, 0.5 depth-muP. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth_alpha: Option<f64>,
    /// Learning-rate schedule after the warm-up.
    #[serde(default)]
    pub schedule: Schedule,
    /// Steps of linear warm-up from zero.
    #[serde(default)]
    pub warmup_steps: u64,
    /// Final learning rate as a share of the peak (`cosine`, `wsd`).
    #[serde(default = "default_min_lr_ratio")]
    pub min_lr_ratio: f64,
    /// `wsd`: share of all steps spent in the final linear decay.
    #[serde(default = "default_decay_fraction")]
    pub decay_fraction: f64,
    /// AdamW's exponential decay of the first moment.
    #[serde(default = "default_beta1")]
    pub beta1: f64,
    /// AdamW's exponential decay of the second moment.
    #[serde(default = "default_beta2")]
    pub beta2: f64,
    /// AdamW's epsilon, added to the root of the second moment.
    #[serde(default = "default_eps")]
    pub eps: f64,
    /// Decoupled weight decay on linear and embedding weights; norm weights are never decayed.
    #[serde(default = "default_weight_decay")]
    pub weight_decay: f64,
    /// Largest global gradient norm; larger gradients are scaled down to it. 0 turns clipping off.
    #[serde(default = "default_grad_clip")]
    pub grad_clip: f64,
    /// Dropout probability on the output of each attention and feed-forward block while training.
    #[serde(default)]
    pub dropout: f64,
    /// What the backward pass computes again instead of keeping it: less memory for more time, the same result.
    #[serde(default)]
    pub recompute: Recompute,
    /// What a non-finite loss or gradient does.
    #[serde(default)]
    pub on_nonfinite: OnNonfinite,
}

/// How learning rate and initial weights follow width and depth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Parametrization {
    /// Not at all: `lr` and `model.init_std` hold for every weight of every shape.
    #[default]
    Standard,
    /// Maximal update parametrization: a rate tuned at `base_dim` and `base_layers` serves other widths and depths.
    Mup,
}

/// What is computed again in the backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
    /// Nothing: the fastest.
    #[default]
    None,
    /// Each half of a block keeps its input alone. Needs the fused kernels: device `flex`, SwiGLU, no QK-norm, no dropout.
    Block,
}

/// Learning-rate schedule after the linear warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine from the peak to `min_lr_ratio` of it.
    #[default]
    Cosine,
    /// Warm-up, stable, decay: constant, then linear to `min_lr_ratio` over the last `decay_fraction` of all steps.
    Wsd,
    /// Constant at the peak.
    Constant,
}

/// Reaction to a loss or gradient that is not a finite number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnNonfinite {
    /// Stop before the update, with a checkpoint of the state before it.
    #[default]
    Stop,
    /// Leave the weights as they are, count the batch as skipped and go on.
    Skip,
}

/// `[eval]`: what is measured, during and after training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EvalConfig {
    /// Validation loss every so many steps (0: only at the end).
    pub loss_every: u64,
    /// Validation tokens used each time (0: all).
    pub loss_tokens: u64,
    /// Zero-shot tasks; `slender eval --list` shows the names.
    pub tasks: Vec<String>,
    /// Zero-shot tasks every so many steps during training (0: only after it).
    pub tasks_every: u64,
    /// At most this many examples of each task (0: all).
    pub limit: usize,
    /// Folder with `<task>/<split>.jsonl`, relative to the config file that names it. Unset: the hub. `builtin` names the slices shipped with slender.
    pub data_dir: Option<PathBuf>,
    /// Score examples that differ from the published split instead of refusing them; the result says so.
    pub allow_altered: bool,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self {
            loss_every: 0,
            loss_tokens: 1 << 20,
            tasks: Vec::new(),
            tasks_every: 0,
            limit: 0,
            data_dir: None,
            allow_altered: false,
        }
    }
}

/// `[run]`: identity, device, checkpoints and logging.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RunConfig {
    /// Name of the run. Default: the config file's name without `.toml`.
    pub name: Option<String>,
    /// Seed of the initial weights, of dropout and (unless `data.order_seed` is given) of the data order.
    pub seed: u64,
    /// `flex`, `ndarray`, `wgpu` or `cuda`, with an optional index such as `cuda:1`.
    pub device: String,
    /// CPU threads (0: all cores).
    pub threads: usize,
    /// Folder that holds run directories, relative to where the command runs.
    pub out_dir: PathBuf,
    /// Write a metrics line every so many steps.
    pub log_every: u64,
    /// Checkpoint every so many steps (0: only by time and at the end).
    pub checkpoint_every: u64,
    /// Checkpoint after so many minutes of wall time (0: only by steps and at the end).
    pub checkpoint_minutes: f64,
    /// Newest checkpoints kept.
    pub keep_last: usize,
    /// Keep the checkpoint with the lowest validation loss as well.
    pub keep_best: bool,
    /// Row of the paper this run reproduces, such as `T11-125M-30L`; reports put its numbers beside ours.
    pub paper_row: Option<String>,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            name: None,
            seed: 0,
            device: "flex".into(),
            threads: 0,
            out_dir: "runs".into(),
            log_every: 10,
            checkpoint_every: 0,
            checkpoint_minutes: 10.0,
            keep_last: 2,
            keep_best: true,
            paper_row: None,
        }
    }
}

fn default_min_lr_ratio() -> f64 {
    0.1
}
fn default_decay_fraction() -> f64 {
    0.2
}
fn default_beta1() -> f64 {
    0.9
}
fn default_beta2() -> f64 {
    0.95
}
fn default_eps() -> f64 {
    1e-8
}
fn default_weight_decay() -> f64 {
    0.1
}
fn default_grad_clip() -> f64 {
    1.0
}

impl TrainConfig {
    /// Tokens per sequence (resolved).
    pub fn seq_len(&self) -> usize {
        self.seq_len.unwrap_or(0)
    }

    /// Sequences per forward pass (resolved).
    pub fn micro_batch_size(&self) -> usize {
        self.micro_batch_size.unwrap_or(self.batch_size)
    }

    /// Training tokens of one optimizer step.
    pub fn tokens_per_step(&self) -> u64 {
        (self.batch_size * self.seq_len()) as u64
    }

    /// Optimizer steps of the whole run.
    pub fn total_steps(&self) -> u64 {
        match (self.steps, self.tokens) {
            (Some(steps), _) => steps,
            (None, Some(tokens)) => tokens.div_ceil(self.tokens_per_step().max(1)),
            (None, None) => 0,
        }
    }

    /// Learning rate of optimizer step `step`, counted from 0.
    ///
    /// Warm-up: `lr·(step+1)/warmup`. Cosine, with `p` the share of the remaining steps done:
    /// `lr·(r + (1-r)·(1+cos(πp))/2)`, `r = min_lr_ratio` (the paper's recipe has r = 0.1).
    pub fn lr_at(&self, step: u64) -> f64 {
        let total = self.total_steps();
        if step < self.warmup_steps {
            return self.lr * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let ratio = match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Cosine => {
                let span = total.saturating_sub(self.warmup_steps).max(1);
                let progress = ((step - self.warmup_steps) as f64 / span as f64).min(1.0);
                let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
                self.min_lr_ratio + (1.0 - self.min_lr_ratio) * cosine
            }
            Schedule::Wsd => {
                let decay = (total as f64 * self.decay_fraction).round().max(1.0);
                let left = total.saturating_sub(step) as f64;
                let progress = (1.0 - left / decay).clamp(0.0, 1.0);
                1.0 - (1.0 - self.min_lr_ratio) * progress
            }
        };
        self.lr * ratio
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(schedule: Schedule) -> TrainConfig {
        let text = "batch_size = 4\nseq_len = 8\nlr = 1.0\nsteps = 110\nwarmup_steps = 10";
        let mut config: TrainConfig = toml::from_str(text).unwrap();
        config.schedule = schedule;
        config
    }

    #[test]
    fn cosine_warms_up_and_ends_at_a_tenth() {
        let c = config(Schedule::Cosine);
        assert!((c.lr_at(0) - 0.1).abs() < 1e-12);
        assert!((c.lr_at(9) - 1.0).abs() < 1e-12);
        assert!((c.lr_at(10) - 1.0).abs() < 1e-12);
        assert!((c.lr_at(60) - 0.55).abs() < 1e-12);
        assert!((c.lr_at(110) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn wsd_is_flat_then_linear() {
        let c = config(Schedule::Wsd);
        assert_eq!(c.lr_at(87), 1.0);
        assert!((c.lr_at(99) - 0.55).abs() < 1e-12);
        assert!((c.lr_at(110) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn a_token_budget_rounds_up_to_whole_steps() {
        let mut c = config(Schedule::Constant);
        (c.steps, c.tokens) = (None, Some(65));
        assert_eq!((c.tokens_per_step(), c.total_steps()), (32, 3));
        assert_eq!(c.lr_at(50), 1.0);
    }
}
