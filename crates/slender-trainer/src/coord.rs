//! The coordinate check: do activations, and what training does to them, depend on the width?
//!
//! The same few steps are taken at several widths (or depths), and after each step every part of the
//! model is measured on the same tokens: the mean absolute coordinate, and how far it has moved from
//! where it started. In a parametrization that transfers the learning rate, the movement is the same
//! at every width (Tensor Programs V, arXiv 2203.03466, Appendix D.1); a part that moves more the wider
//! the model will at some width be unstable, and one that moves less will stop learning. The learning
//! rate is held at its peak, without warm-up, so that few steps tell.

use crate::error::TrainError;
use crate::optimizer::{Gradients, Optimizer};
use crate::session::shape_for;
use crate::train_loop::MicroBatch;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::Serialize;
use slender_config::Config;
use slender_data::Dataset;
use slender_model::{Dropout, Part, Transformer};

/// Rows of the batch that activations are measured on.
const PROBE_ROWS: usize = 4;

/// What grows from model to model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grow {
    /// `model.dim`, with as many more heads and as much wider feed-forwards.
    Width,
    /// `model.n_layers`.
    Depth,
}

/// Activations of one part after one step, means over tokens, coordinates and seeds; over width also
/// over the blocks, over depth their sum, because it is what all blocks add together that matters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Activation {
    /// Mean absolute coordinate.
    pub size: f64,
    /// Mean absolute difference from the untrained model.
    pub change: f64,
}

/// What a coordinate check does with each model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoordPlan {
    /// What grows from model to model.
    pub grow: Grow,
    /// Optimizer steps.
    pub steps: u64,
    /// Seeds to average over, counted from the configuration's.
    pub seeds: u64,
}

/// One model of a coordinate check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CoordRun {
    /// Its width or depth.
    pub size: usize,
    /// Its parameters.
    pub params: u64,
    /// For every step, from 0 (untrained), the activations of every part, in the order of [`Part::ALL`].
    pub steps: Vec<Vec<Activation>>,
    /// Training loss of every step, nats per token.
    pub losses: Vec<f64>,
}

/// `config` with another width or depth, all proportions kept.
///
/// # Errors
/// In words, where the proportions do not allow that size.
pub fn grown(config: &Config, grow: Grow, size: usize) -> Result<Config, String> {
    let mut config = config.clone();
    let model = &mut config.model;
    if grow == Grow::Depth {
        model.n_layers = size;
        return Ok(config);
    }
    let dim = model.dim;
    let scaled = |what: &str, value: usize| match (value * size).is_multiple_of(dim) {
        true if value * size >= dim => Ok(value * size / dim),
        _ => Err(format!(
            "width {size} does not keep the proportions of the configuration: its {value} {what} at width {dim} \
             would not be a whole number\n  hint: use multiples of {dim}, or a configuration with a smaller model.dim"
        )),
    };
    model.n_heads = scaled("heads", model.n_heads)?;
    model.n_kv_heads = scaled("key-value heads", model.n_kv_heads)?;
    model.ffn_hidden = (model.ffn_hidden)
        .map(|hidden| scaled("feed-forward units", hidden))
        .transpose()?;
    model.dim = size;
    Ok(config)
}

/// Trains `config` on `dataset` as `plan` says, measuring before and after every step; `size` is only a
/// label.
///
/// # Errors
/// A shape that contradicts itself, or data that cannot be read.
pub fn coord_run(
    config: &Config,
    size: usize,
    dataset: &Dataset,
    vocab: usize,
    device: &Device,
    plan: CoordPlan,
) -> Result<CoordRun, TrainError> {
    let CoordPlan { grow, steps, seeds } = plan;
    let shape = shape_for(config, vocab)?;
    let device = device.clone().autodiff();
    let (train, scaling) = (&config.train, config.scaling_of(&shape));
    let order = dataset.train(train.seq_len(), config.data.order_seed.unwrap_or(0))?;
    let probe = order.batch(steps, train.batch_size.min(PROBE_ROWS));
    let mut run = CoordRun {
        size,
        params: config.accounting_of(&shape).params_total,
        steps: Vec::new(),
        losses: vec![0.0; steps as usize],
    };
    for seed in 0..seeds {
        let seed = config.run.seed + seed;
        let mut model = Transformer::with_scaling(&shape, seed, &scaling, &device);
        let mut optimizer = Optimizer::new(&model, &device).with_scaling(&scaling);
        let mut start: Vec<Tensor<3>> = Vec::new();
        for step in 0..=steps {
            let (rows, t) = (probe.inputs.len() / train.seq_len(), train.seq_len());
            let inner = device.clone().without_autodiff();
            let tokens = MicroBatch::tokens(&probe.inputs, rows, t, &inner);
            let mut trace = model.valid().trace(tokens);
            // A factor of the output that is folded into the last norm is no coordinate of its input.
            let folded = scaling.of_weight("model.norm.weight").init;
            for (_, values) in trace.iter_mut().filter(|(part, _)| *part == Part::Hidden) {
                *values = values.clone().div_scalar(folded);
            }
            if start.is_empty() {
                start = trace.iter().map(|(_, values)| values.clone()).collect();
            }
            let measured = measure(&trace, &start, grow);
            match run.steps.get_mut(step as usize) {
                None => run.steps.push(measured),
                Some(sums) => {
                    for (sum, one) in sums.iter_mut().zip(measured) {
                        sum.size += one.size;
                        sum.change += one.change;
                    }
                }
            }
            if step == steps {
                break;
            }
            let batch = order.batch(step, train.batch_size);
            let targets = train.batch_size * t;
            let mut gradients = Gradients::new(targets);
            let mut loss = 0.0;
            for micro in 0..train.batch_size / train.micro_batch_size() {
                let parts = MicroBatch::new(&batch, micro, config, &device);
                let off = &mut Dropout::off();
                let sum = model.loss_sum(parts.inputs, parts.targets, parts.segments, off); // [1]
                loss += f64::from(
                    sum.clone()
                        .into_data()
                        .iter::<f32>()
                        .next()
                        .unwrap_or(f32::NAN),
                );
                gradients.accumulate(&model, sum.backward());
            }
            run.losses[step as usize] += loss / targets as f64 / seeds as f64;
            let (norm, _) = gradients.norm();
            model = optimizer.step(model, gradients, norm, train.lr, train);
        }
    }
    for activation in run.steps.iter_mut().flatten() {
        activation.size /= seeds as f64;
        activation.change /= seeds as f64;
    }
    Ok(run)
}

/// Sizes and changes of every part.
fn measure(trace: &[(Part, Tensor<3>)], start: &[Tensor<3>], grow: Grow) -> Vec<Activation> {
    let mean = |values: Tensor<3>| -> f64 {
        let data = values.abs().mean().into_data();
        f64::from(data.iter::<f32>().next().unwrap_or(f32::NAN))
    };
    let one = |part: &Part| {
        let (mut size, mut change, mut count) = (0.0, 0.0, 0.0);
        for ((_, values), before) in trace.iter().zip(start).filter(|((at, _), _)| at == part) {
            size += mean(values.clone());
            change += mean(values.clone() - before.clone());
            count += 1.0;
        }
        if grow == Grow::Depth {
            count = 1.0;
        }
        Activation {
            size: size / count,
            change: change / count,
        }
    };
    Part::ALL.iter().map(one).collect()
}

/// The exponent `e` of the least-squares line `ln y = e · ln x + c`; `None` with fewer than two points or
/// values that have no logarithm.
pub fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let sound = logs.iter().all(|(x, y)| x.is_finite() && y.is_finite());
    let count = logs.len() as f64;
    let mean_x = logs.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = logs.iter().map(|(_, y)| y).sum::<f64>() / count;
    let spread: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let together: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    (sound && spread > 0.0).then(|| together / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_of_powers_are_found_again() {
        let power = |e: f64| [64.0, 128.0, 256.0].map(|x: f64| (x, 3.0 * x.powf(e)));
        for e in [-0.5, 0.0, 1.0] {
            assert!((exponent(&power(e)).unwrap() - e).abs() < 1e-12);
        }
        assert_eq!(exponent(&[(64.0, 1.0)]), None);
        assert_eq!(exponent(&[(64.0, 1.0), (128.0, 0.0)]), None);
    }
}
