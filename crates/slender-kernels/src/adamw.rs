//! AdamW (Loshchilov and Hutter, 2019) on one weight, and the squared norm that clipping needs.
//!
//! On CPU backends the update is one pass over host memory, all threads, in place; elsewhere it is
//! a composition of tensor operations. Both round the same way to within an ulp or two, and both
//! are independent of the number of threads: sums are taken over fixed blocks in fixed order.

use crate::fused::simd::multiversion;
use crate::fused::{self, FusedOps};
use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Tensor, TensorData};
use rayon::prelude::*;

/// Hyper-parameters of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled decay; 0 for weights that are not decayed.
    pub weight_decay: f64,
    /// Number of this update, from 1.
    pub step: u64,
    /// Factor on the gradient: the clipping scale.
    pub grad_scale: f64,
}

/// First and second moment of one weight, of its shape.
#[derive(Clone, Debug)]
pub struct Moments<const D: usize> {
    /// Running mean of the gradient.
    pub exp_avg: Tensor<D>,
    /// Running mean of its square.
    pub exp_avg_sq: Tensor<D>,
}

/// Elements per block of a parallel pass; also the unit of summation.
const BLOCK: usize = 1 << 14;

/// Whether tensors of `device` live in host memory, where the one-pass update applies.
pub fn is_host(device: &Device) -> bool {
    let name = format!("{device:?}");
    name.contains("Flex") || name.contains("NdArray")
}

/// `a + b` of two gradients, on flex in the memory of `a` and on all threads.
pub fn add_gradients(a: Tensor<1>, b: Tensor<1>) -> Tensor<1> {
    if fused::applies(&a) {
        Tensor::from_dispatch(Dispatch::slender_sum(a.into_dispatch(), b.into_dispatch()))
    } else {
        a + b
    }
}

/// Sum of squares of each tensor in f64; on a device, one read for all of them.
pub fn squared_norms(tensors: &[Tensor<1>]) -> Vec<f64> {
    match tensors.first() {
        None => Vec::new(),
        Some(first) if is_host(&first.device()) => tensors.iter().map(squared_norm_host).collect(),
        Some(_) => {
            let sums = tensors
                .iter()
                .map(|tensor| tensor.clone().square().sum())
                .collect(); // [1] each
            Tensor::cat(sums, 0).into_data().iter::<f64>().collect()
        }
    }
}

fn squared_norm_host(tensor: &Tensor<1>) -> f64 {
    if fused::applies(tensor) {
        // Reads the gradient where it lies.
        let parts = Dispatch::slender_squared_norm(tensor.clone().into_dispatch());
        let parts: Tensor<1> = Tensor::from_dispatch(parts);
        return parts.into_data().iter::<f64>().sum();
    }
    let data = tensor.clone().into_data();
    squared_norm(data.as_slice::<f32>().expect("gradients are f32"))
}

/// Sum of squares in f64, over fixed blocks on all threads.
pub(crate) fn squared_norm(values: &[f32]) -> f64 {
    let blocks: Vec<f64> = values
        .par_chunks(BLOCK)
        .map(|block| {
            let mut sum = 0.0;
            squared_sum(block, &mut sum);
            sum
        })
        .collect();
    blocks.iter().sum()
}

multiversion! {
    /// Sum of squares in f64, in 16 fixed lanes.
    fn squared_sum(block: &[f32], sum: &mut f64) {
        let mut lanes = [0.0_f64; 16];
        let (whole, rest) = block.as_chunks::<16>();
        for values in whole {
            for (lane, &x) in lanes.iter_mut().zip(values) {
                *lane += f64::from(x) * f64::from(x);
            }
        }
        for (lane, &x) in lanes.iter_mut().zip(rest) {
            *lane += f64::from(x) * f64::from(x);
        }
        *sum = lanes.iter().sum();
    }
}

/// One AdamW update: the new weight and moments.
///
/// `m ← β₁m + (1-β₁)g`, `v ← β₂v + (1-β₂)g²`,
/// `w ← w(1 - lr·λ) - lr · (m/(1-β₁ᵗ)) / (sqrt(v/(1-β₂ᵗ)) + ε)`, with `g` the scaled gradient.
pub fn adamw_update<const D: usize>(
    weight: Tensor<D>,
    grad: Tensor<D>,
    moments: Moments<D>,
    opt: &AdamW,
) -> (Tensor<D>, Moments<D>) {
    let device = weight.device();
    if is_host(&device) && weight.dtype() == DType::F32 {
        update_host(weight, grad, moments, opt, &device)
    } else {
        update_composed(weight, grad, moments, opt)
    }
}

fn update_composed<const D: usize>(
    weight: Tensor<D>,
    grad: Tensor<D>,
    moments: Moments<D>,
    opt: &AdamW,
) -> (Tensor<D>, Moments<D>) {
    let (bias1, bias2) = bias_corrections(opt);
    let grad = grad.mul_scalar(opt.grad_scale);
    let exp_avg = moments.exp_avg.mul_scalar(opt.beta1) + grad.clone().mul_scalar(1.0 - opt.beta1);
    let exp_avg_sq =
        moments.exp_avg_sq.mul_scalar(opt.beta2) + grad.square().mul_scalar(1.0 - opt.beta2);
    let denominator = exp_avg_sq
        .clone()
        .div_scalar(bias2)
        .sqrt()
        .add_scalar(opt.eps);
    let update = exp_avg.clone().div(denominator).mul_scalar(opt.lr / bias1);
    let weight = weight.mul_scalar(1.0 - opt.lr * opt.weight_decay) - update;
    (
        weight,
        Moments {
            exp_avg,
            exp_avg_sq,
        },
    )
}

fn update_host<const D: usize>(
    weight: Tensor<D>,
    grad: Tensor<D>,
    moments: Moments<D>,
    opt: &AdamW,
    device: &Device,
) -> (Tensor<D>, Moments<D>) {
    let (bias1, bias2) = bias_corrections(opt);
    let factors = Factors {
        decay: (1.0 - opt.lr * opt.weight_decay) as f32,
        beta1: opt.beta1 as f32,
        beta2: opt.beta2 as f32,
        rest1: (1.0 - opt.beta1) as f32,
        rest2: (1.0 - opt.beta2) as f32,
        step: (opt.lr / bias1) as f32,
        scale_v: (1.0 / bias2) as f32,
        eps: opt.eps as f32,
        scale: opt.grad_scale as f32,
    };

    let mut w = weight.into_data();
    let mut m = moments.exp_avg.into_data();
    let mut v = moments.exp_avg_sq.into_data();
    let g = grad.into_data();
    let floats = "weights, gradients and moments are f32";
    w.as_mut_slice::<f32>()
        .expect(floats)
        .par_chunks_mut(BLOCK)
        .zip(m.as_mut_slice::<f32>().expect(floats).par_chunks_mut(BLOCK))
        .zip(v.as_mut_slice::<f32>().expect(floats).par_chunks_mut(BLOCK))
        .zip(g.as_slice::<f32>().expect(floats).par_chunks(BLOCK))
        .for_each(|(((w, m), v), g)| {
            update_block(w, m, v, g, &factors);
        });
    let back = |data: TensorData| Tensor::from_data(data, device);
    (
        back(w),
        Moments {
            exp_avg: back(m),
            exp_avg_sq: back(v),
        },
    )
}

/// The constants of one update.
struct Factors {
    decay: f32,
    beta1: f32,
    beta2: f32,
    rest1: f32,
    rest2: f32,
    step: f32,
    scale_v: f32,
    eps: f32,
    scale: f32,
}

multiversion! {
    /// The update of equal lengths of weights, moments and gradients.
    fn update_block(w: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], f: &Factors) {
        for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(g) {
            let g = g * f.scale;
            *m = f.beta1 * *m + f.rest1 * g;
            *v = f.beta2 * *v + f.rest2 * (g * g);
            *w = *w * f.decay - f.step * *m / ((*v * f.scale_v).sqrt() + f.eps);
        }
    }
}

fn bias_corrections(opt: &AdamW) -> (f64, f64) {
    (
        1.0 - opt.beta1.powf(opt.step as f64),
        1.0 - opt.beta2.powf(opt.step as f64),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_composed_updates_agree() {
        let device = Device::flex();
        let tensor = |seed: f32| {
            let values: Vec<f32> = (0..3000).map(|i| (i as f32 * seed).sin()).collect();
            Tensor::<2>::from_data(TensorData::new(values, [60, 50]), &device)
        };
        let opt = AdamW {
            lr: 0.01,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.1,
            step: 3,
            grad_scale: 0.5,
        };
        let moments = || Moments {
            exp_avg: tensor(0.3),
            exp_avg_sq: tensor(0.7).square(),
        };
        let (wa, ma) = update_host(tensor(0.1), tensor(0.2), moments(), &opt, &device);
        let (wb, mb) = update_composed(tensor(0.1), tensor(0.2), moments(), &opt);
        for (a, b) in [
            (wa, wb),
            (ma.exp_avg, mb.exp_avg),
            (ma.exp_avg_sq, mb.exp_avg_sq),
        ] {
            let difference = (a - b).abs().max().into_scalar::<f32>();
            assert!(difference < 1e-6, "{difference}");
        }
    }

    #[test]
    fn one_step_from_zero_moments_moves_by_the_learning_rate() {
        // With zero moments and no decay, the first update is -lr · sign(g).
        let device = Device::flex();
        let one = |x: f32| Tensor::<1>::from_data(TensorData::new(vec![x], [1]), &device);
        let opt = AdamW {
            lr: 0.1,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-12,
            weight_decay: 0.0,
            step: 1,
            grad_scale: 1.0,
        };
        let moments = Moments {
            exp_avg: one(0.0),
            exp_avg_sq: one(0.0),
        };
        let (w, _) = adamw_update(one(1.0), one(-3.0), moments, &opt);
        assert!((w.into_scalar::<f32>() - 1.1).abs() < 1e-6);
    }
}
