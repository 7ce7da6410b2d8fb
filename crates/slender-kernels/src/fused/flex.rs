//! The kernels on flex tensors: borrow slices, compute, wrap the result.

use super::attention::{self, Heads, Inputs, Of, Outputs, Ranges};
use super::attention_block::{self as block, Kept};
use super::buffers::{fresh, scratch};
use super::feed_forward::{self, Target};
use super::gemm::LANES;
use super::loss::Problem;
use super::panels::{all_to_lanes, all_to_rows, panels_of};
use super::{AttentionParts, FusedOps, Kernels, embedding, linear, norm, rope, swiglu};
use burn::backend::Flex;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, Shape, TensorData};
use burn_flex::FlexTensor;
use rayon::prelude::*;

type F = FloatTensor<Flex>;
type I = IntTensor<Flex>;

/// A contiguous tensor whose storage is exactly its elements.
fn contiguous(tensor: &FlexTensor) -> FlexTensor {
    tensor.to_contiguous()
}

/// As [`contiguous`], for writing: no second handle stays alive, which would make writing copy.
fn into_contiguous(tensor: FlexTensor) -> FlexTensor {
    let whole = tensor.storage::<f32>().len() == tensor.layout().shape().num_elements();
    if tensor.is_contiguous() && tensor.layout().start_offset() == 0 && whole {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

fn dims<const R: usize>(tensor: &FlexTensor) -> [usize; R] {
    let shape: &Shape = tensor.layout().shape();
    std::array::from_fn(|axis| shape[axis])
}

/// Length of the last axis.
fn width(tensor: &FlexTensor) -> usize {
    let shape = tensor.layout().shape();
    shape[shape.num_dims() - 1]
}

fn wrap(values: Vec<f32>, like: &FlexTensor) -> FlexTensor {
    shaped(values, like.layout().shape().clone())
}

fn shaped(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.into()))
}

/// Wraps `values` in the shape of `like` with a last axis of `width`.
fn with_width(values: Vec<f32>, like: &FlexTensor, width: usize) -> FlexTensor {
    let mut shape = like.layout().shape().clone();
    let last = shape.num_dims() - 1;
    shape[last] = width;
    shaped(values, shape)
}

/// Int tensors of any width as i32.
fn ints(tensor: &FlexTensor) -> Vec<i32> {
    let tensor = contiguous(tensor);
    match tensor.dtype() {
        DType::I32 => tensor.storage::<i32>().to_vec(),
        _ => tensor.into_data().iter::<i32>().collect(),
    }
}

/// Sums that gradients are added to in place, or fresh memory that they are written to.
struct Sums<const N: usize> {
    tensors: [F; N],
    accumulate: [bool; N],
}

impl<const N: usize> Sums<N> {
    fn new(like: [&F; N], sums: [Option<F>; N]) -> Self {
        let accumulate = std::array::from_fn(|i| sums[i].is_some());
        let mut sums = sums.into_iter();
        let tensors = like.map(|like| match sums.next().flatten() {
            Some(sum) => into_contiguous(sum),
            None => wrap(fresh(like.layout().shape().num_elements()), like),
        });
        Self {
            tensors,
            accumulate,
        }
    }

    fn targets(&mut self) -> [Target<'_>; N] {
        let mut accumulate = self.accumulate.into_iter();
        self.tensors.each_mut().map(|tensor| Target {
            values: tensor.storage_mut(),
            accumulate: accumulate.next().unwrap_or(false),
        })
    }
}

impl Kernels for Flex {
    fn linear_forward(x: &F, weight: &F) -> F {
        let (x, w) = (contiguous(x), contiguous(weight));
        let [out, inner] = dims(&w);
        with_width(linear::forward(x.storage(), w.storage(), inner), &x, out)
    }

    fn linear_grad_input(dy: &F, weight: &F) -> F {
        let (dy, w) = (contiguous(dy), contiguous(weight));
        let [out, inner] = dims(&w);
        let dx = linear::input_gradient(dy.storage(), w.storage(), out);
        with_width(dx, &dy, inner)
    }

    fn linear_grad_weight(dy: &F, x: &F, sum: Option<F>) -> F {
        let (dy, x) = (contiguous(dy), contiguous(x));
        let (out, inner) = (width(&dy), width(&x));
        let accumulate = sum.is_some();
        let mut dw = match sum {
            Some(sum) => into_contiguous(sum),
            None => shaped(fresh(out * inner), [out, inner]),
        };
        linear::weight_gradient(
            dy.storage(),
            x.storage(),
            dw.storage_mut(),
            inner,
            accumulate,
        );
        dw
    }

    fn rms_norm(x: &F, weight: &F, eps: f32) -> F {
        let (x, w) = (contiguous(x), contiguous(weight));
        wrap(norm::forward(x.storage(), w.storage(), eps), &x)
    }

    fn rms_norm_grad(x: &F, weight: &F, dy: &F, eps: f32) -> (F, F) {
        let (x, w, dy) = (contiguous(x), contiguous(weight), contiguous(dy));
        let (dx, dw) = norm::backward(x.storage(), w.storage(), dy.storage(), eps);
        (wrap(dx, &x), wrap(dw, &w))
    }

    fn swiglu(gate: &F, up: &F) -> F {
        let (gate, up) = (contiguous(gate), contiguous(up));
        wrap(swiglu::forward(gate.storage(), up.storage()), &gate)
    }

    fn swiglu_grad(gate: &F, up: &F, dy: &F) -> (F, F) {
        let (gate, up, dy) = (contiguous(gate), contiguous(up), contiguous(dy));
        let (dg, du) = swiglu::backward(gate.storage(), up.storage(), dy.storage());
        (wrap(dg, &gate), wrap(du, &up))
    }

    fn rope(x: &F, cos: &F, sin: &F, direction: f32) -> F {
        let (x, cos, sin) = (contiguous(x), contiguous(cos), contiguous(sin));
        wrap(
            rope::forward(
                x.storage(),
                dims(&x),
                cos.storage(),
                sin.storage(),
                direction,
            ),
            &x,
        )
    }

    fn attention_forward(qkv: [&F; 3], starts: &I) -> F {
        let call = AttentionCall::new(qkv, starts);
        let (mut out, mut softmax) = call.buffers();
        attention::forward(&call.inputs(), &mut out, &mut softmax);
        call.rows(&out, qkv[0], call.heads, call.t)
    }

    fn attention_grad(qkv: [&F; 3], starts: &I, dout: &F) -> [F; 3] {
        let call = AttentionCall::new(qkv, starts);
        let dout = contiguous(dout);
        call.gradients(qkv, dout.storage())
    }

    fn attention_block(x: &F, parts: &AttentionParts<Self>, keep: bool) -> (F, Option<[F; 3]>) {
        let (x, parts) = (contiguous(x), BlockTensors::new(parts));
        let weights = parts.weights();
        let [batch, t, _] = dims(&x);
        let ranges = Ranges::new(&parts.starts, batch, t, t);
        let lengths = weights.kept_len(batch * t);
        if keep {
            let [mut qkv, mut out, mut softmax] = lengths.map(fresh);
            let mut kept = Kept {
                qkv: &mut qkv,
                out: &mut out,
                softmax: &mut softmax,
            };
            let y = block::forward(x.storage(), &weights, t, &ranges, &mut kept);
            let kept = [qkv, out, softmax].map(|values| {
                let len = values.len();
                shaped(values, [len])
            });
            (wrap(y, &x), Some(kept))
        } else {
            let [mut qkv, mut out, mut softmax] = lengths.map(scratch);
            let mut kept = Kept {
                qkv: &mut qkv,
                out: &mut out,
                softmax: &mut softmax,
            };
            let y = block::forward(x.storage(), &weights, t, &ranges, &mut kept);
            (wrap(y, &x), None)
        }
    }

    fn attention_block_grad(
        x: &F,
        parts: &AttentionParts<Self>,
        kept: Option<[F; 3]>,
        dy: &F,
        sums: [Option<F>; 5],
    ) -> (F, [F; 5]) {
        let kept = kept.or_else(|| Self::attention_block(x, parts, true).1);
        let [mut qkv, mut out, mut softmax] =
            kept.expect("the forward pass keeps what it is asked to");
        let (x, dy) = (contiguous(x), contiguous(dy));
        let mut sums = Sums::new(parts.weights.each_ref(), sums);
        let parts = BlockTensors::new(parts);
        let [batch, t, _] = dims(&x);
        let ranges = Ranges::new(&parts.starts, batch, t, t);
        let [norm, q, k, v, o] = sums.targets();
        let kept = Kept {
            qkv: qkv.storage_mut(),
            out: out.storage_mut(),
            softmax: softmax.storage_mut(),
        };
        let dx = block::backward(
            x.storage(),
            &parts.weights(),
            t,
            &ranges,
            &kept,
            dy.storage(),
            block::Targets { norm, q, k, v, o },
        );
        (wrap(dx, &x), sums.tensors)
    }

    fn feed_forward(x: &F, weights: &[F; 4], eps: f32, keep: bool) -> (F, Option<F>) {
        let x = contiguous(x);
        let tensors = weights.each_ref().map(contiguous);
        let weights = feed_forward_weights(&tensors, eps);
        let mut kept = keep.then(|| fresh(weights.kept_len(x.storage::<f32>().len() / width(&x))));
        let y = feed_forward::forward(x.storage(), &weights, kept.as_deref_mut());
        let kept = kept.map(|values| {
            let len = values.len();
            shaped(values, [len])
        });
        (wrap(y, &x), kept)
    }

    fn feed_forward_grad(
        x: &F,
        weights: &[F; 4],
        eps: f32,
        kept: Option<F>,
        dy: &F,
        sums: [Option<F>; 4],
    ) -> (F, [F; 4]) {
        let kept = kept.or_else(|| Self::feed_forward(x, weights, eps, true).1);
        let mut kept = kept.expect("the forward pass keeps what it is asked to");
        let (x, dy) = (contiguous(x), contiguous(dy));
        let mut sums = Sums::new(weights.each_ref(), sums);
        let tensors = weights.each_ref().map(contiguous);
        let [norm, gate, up, down] = sums.targets();
        let targets = feed_forward::Targets {
            norm,
            gate,
            up,
            down,
        };
        let weights = feed_forward_weights(&tensors, eps);
        let dx = feed_forward::backward(
            x.storage(),
            &weights,
            kept.storage_mut(),
            dy.storage(),
            targets,
        );
        (wrap(dx, &x), sums.tensors)
    }

    fn gather(weight: &F, tokens: &I) -> F {
        let weight = contiguous(weight);
        let [_, d] = dims(&weight);
        let [b, t] = dims(tokens);
        shaped(
            embedding::gather(weight.storage(), &ints(tokens), d),
            [b, t, d],
        )
    }

    fn gather_grad(dy: &F, tokens: &I, rows: usize, sum: Option<F>) -> F {
        let dy = contiguous(dy);
        let d = width(&dy);
        let accumulate = sum.is_some();
        let mut gradient = match sum {
            Some(sum) => into_contiguous(sum),
            None => shaped(fresh(rows * d), [rows, d]),
        };
        let target = Target {
            values: gradient.storage_mut(),
            accumulate,
        };
        embedding::scatter(dy.storage(), &ints(tokens), d, target);
        gradient
    }

    fn cross_entropy(hidden: &F, weight: &F, targets: &I) -> F {
        let (hidden, weight, targets) = (contiguous(hidden), contiguous(weight), ints(targets));
        let [v, d] = dims(&weight);
        let problem = Problem {
            hidden: hidden.storage(),
            weight: weight.storage(),
            targets: &targets,
            d,
            v,
        };
        shaped(vec![problem.loss()], [1])
    }

    fn cross_entropy_grad(hidden: &F, weight: &F, targets: &I) -> [F; 3] {
        let (hidden, weight, targets) = (contiguous(hidden), contiguous(weight), ints(targets));
        let [v, d] = dims(&weight);
        let problem = Problem {
            hidden: hidden.storage(),
            weight: weight.storage(),
            targets: &targets,
            d,
            v,
        };
        let (loss, dhidden, dweight) = problem.loss_and_gradients();
        [
            shaped(vec![loss], [1]),
            wrap(dhidden, &hidden),
            wrap(dweight, &weight),
        ]
    }

    fn sum(a: F, b: &F) -> F {
        let mut a = into_contiguous(a);
        linear::scale(a.storage_mut(), 1.0, Some(contiguous(b).storage()));
        a
    }

    fn squared_norm(x: &F) -> F {
        let sum = crate::adamw::squared_norm(contiguous(x).storage());
        let high = sum as f32;
        shaped(vec![high, (sum - f64::from(high)) as f32], [2])
    }

    fn scaled(x: F, factor: &F, sum: Option<F>) -> F {
        let mut x = into_contiguous(x);
        let factor = contiguous(factor).storage::<f32>()[0];
        let sum = sum.map(|sum| contiguous(&sum));
        let sum = sum.as_ref().map(|sum| sum.storage());
        linear::scale(x.storage_mut(), factor, sum);
        x
    }
}

/// The tensors of an attention half-block, contiguous.
struct BlockTensors {
    weights: [F; 5],
    cos: F,
    sin: F,
    starts: Vec<i32>,
    heads: usize,
    eps: f32,
}

impl BlockTensors {
    fn new(parts: &AttentionParts<Flex>) -> Self {
        Self {
            weights: parts.weights.each_ref().map(contiguous),
            cos: contiguous(&parts.cos),
            sin: contiguous(&parts.sin),
            starts: ints(&parts.starts),
            heads: parts.heads,
            eps: parts.eps,
        }
    }

    fn weights(&self) -> block::Weights<'_> {
        let [norm, q, k, v, o] = self.weights.each_ref().map(|tensor| tensor.storage());
        block::Weights {
            norm,
            q,
            k,
            v,
            o,
            cos: self.cos.storage(),
            sin: self.sin.storage(),
            heads: self.heads,
            eps: self.eps,
        }
    }
}

fn feed_forward_weights(tensors: &[F; 4], eps: f32) -> feed_forward::Weights<'_> {
    let [norm, gate, up, down] = tensors.each_ref().map(|tensor| tensor.storage());
    feed_forward::Weights {
        norm,
        gate,
        up,
        down,
        eps,
    }
}

/// Attention on rows: `q` `[B, T, H, Dh]`, `k` and `v` `[B, S, K, Dh]` brought into token panels.
struct AttentionCall {
    lanes: [super::buffers::Scratch; 3],
    ranges: Ranges,
    batch: usize,
    t: usize,
    s: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl AttentionCall {
    fn new(qkv: [&F; 3], starts: &I) -> Self {
        let [batch, t, heads, head_dim] = dims(qkv[0]);
        let [_, s, kv_heads, _] = dims(qkv[1]);
        let lanes = qkv.map(|rows| {
            let rows = contiguous(rows);
            let [_, _, heads, _] = dims(&rows);
            lanes_of(rows.storage(), heads * head_dim)
        });
        Self {
            lanes,
            ranges: Ranges::new(&ints(starts), batch, t, s),
            batch,
            t,
            s,
            heads,
            kv_heads,
            head_dim,
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        let part = |index: usize, heads: usize| Heads {
            data: &self.lanes[index],
            width: heads * self.head_dim,
            at: 0,
        };
        Inputs {
            q: part(0, self.heads),
            k: part(1, self.kv_heads),
            v: part(2, self.kv_heads),
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            ranges: &self.ranges,
        }
    }

    /// Room for the output and the softmax.
    fn buffers(&self) -> (super::buffers::Scratch, super::buffers::Scratch) {
        let lanes = panels_of(self.batch * self.t) * LANES * self.heads;
        (scratch(lanes * self.head_dim), scratch(2 * lanes))
    }

    /// Token panels of `heads` heads as the tensor `[B, positions, heads, Dh]`.
    fn rows(&self, lanes: &[f32], like: &F, heads: usize, positions: usize) -> F {
        let width = heads * self.head_dim;
        let mut rows = fresh(self.batch * positions * width);
        all_to_rows(lanes, width, &mut rows);
        wrap(rows, like)
    }

    fn gradients(&self, qkv: [&F; 3], dout: &[f32]) -> [F; 3] {
        let (mut out, mut softmax) = self.buffers();
        attention::forward(&self.inputs(), &mut out, &mut softmax);
        let dout = lanes_of(dout, self.heads * self.head_dim);
        let outputs = Outputs {
            out: &out,
            softmax: &softmax,
            dout: &dout,
        };
        let sizes = [self.t, self.s];
        let gradients = attention::backward(&self.inputs(), &outputs, self.batch, sizes);
        [Of::Queries, Of::Keys, Of::Values].map(|of| {
            let (heads, positions, like) = match of {
                Of::Queries => (self.heads, self.t, qkv[0]),
                Of::Keys => (self.kv_heads, self.s, qkv[1]),
                Of::Values => (self.kv_heads, self.s, qkv[2]),
            };
            let width = heads * self.head_dim;
            let mut lanes = scratch(panels_of(self.batch * positions) * width * LANES);
            lanes
                .par_chunks_exact_mut(width * LANES)
                .enumerate()
                .for_each(|(panel, lanes)| gradients.panel(of, panel, lanes));
            self.rows(&lanes, like, heads, positions)
        })
    }
}

/// Rows `[N, width]` in token panels.
fn lanes_of(rows: &[f32], width: usize) -> super::buffers::Scratch {
    let mut lanes = scratch(panels_of(rows.len() / width) * width * LANES);
    all_to_lanes(rows, width, &mut lanes);
    lanes
}

impl FusedOps for Flex {
    fn slender_linear(x: F, weight: F) -> F {
        Self::linear_forward(&x, &weight)
    }
    fn slender_rms_norm(x: F, weight: F, eps: f32) -> F {
        Self::rms_norm(&x, &weight, eps)
    }
    fn slender_swiglu(gate: F, up: F) -> F {
        Self::swiglu(&gate, &up)
    }
    fn slender_rope(x: F, cos: F, sin: F) -> F {
        <Self as Kernels>::rope(&x, &cos, &sin, 1.0)
    }
    fn slender_attention(q: F, k: F, v: F, starts: I) -> F {
        Self::attention_forward([&q, &k, &v], &starts)
    }
    fn slender_attention_block(
        x: F,
        norm: F,
        q: F,
        k: F,
        v: F,
        o: F,
        cos: F,
        sin: F,
        starts: I,
        heads: usize,
        eps: f32,
        _recompute: bool,
    ) -> F {
        let parts = AttentionParts {
            weights: [norm, q, k, v, o],
            cos,
            sin,
            starts,
            heads,
            eps,
        };
        Self::attention_block(&x, &parts, false).0
    }
    fn slender_feed_forward(
        x: F,
        norm: F,
        gate: F,
        up: F,
        down: F,
        eps: f32,
        _recompute: bool,
    ) -> F {
        <Self as Kernels>::feed_forward(&x, &[norm, gate, up, down], eps, false).0
    }
    fn slender_sum(a: F, b: F) -> F {
        <Self as Kernels>::sum(a, &b)
    }
    fn slender_squared_norm(x: F) -> F {
        Self::squared_norm(&x)
    }
    fn slender_embedding(weight: F, tokens: I) -> F {
        Self::gather(&weight, &tokens)
    }
    fn slender_cross_entropy(hidden: F, weight: F, targets: I) -> F {
        Self::cross_entropy(&hidden, &weight, &targets)
    }
}
