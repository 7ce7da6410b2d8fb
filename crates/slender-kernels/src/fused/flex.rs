//! The kernels on flex tensors: borrow slices, compute, wrap the result.

use super::attention::{self, Dims};
use super::linear::{View, matmul};
use super::loss::Problem;
use super::{FusedOps, Kernels, norm, rope, swiglu};
use burn::backend::Flex;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, Shape, TensorData};
use burn_flex::FlexTensor;

type F = FloatTensor<Flex>;
type I = IntTensor<Flex>;

/// A contiguous tensor whose storage is exactly its elements.
fn contiguous(tensor: &FlexTensor) -> FlexTensor {
    tensor.to_contiguous()
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

impl Kernels for Flex {
    fn linear_forward(x: &F, weight: &F) -> F {
        let (x, w) = (contiguous(x), contiguous(weight));
        let [out, inner] = dims(&w);
        let rows = x.storage::<f32>().len() / inner;
        let y = matmul(
            View::new(x.storage(), rows, inner),
            View::new(w.storage(), out, inner).t(),
        );
        with_width(y, &x, out)
    }

    fn linear_grad_input(dy: &F, weight: &F) -> F {
        let (dy, w) = (contiguous(dy), contiguous(weight));
        let [out, inner] = dims(&w);
        let rows = dy.storage::<f32>().len() / out;
        let dx = matmul(
            View::new(dy.storage(), rows, out),
            View::new(w.storage(), out, inner),
        );
        with_width(dx, &dy, inner)
    }

    fn linear_grad_weight(dy: &F, x: &F) -> F {
        let (dy, x) = (contiguous(dy), contiguous(x));
        let (out, inner) = (width(&dy), width(&x));
        let rows = dy.storage::<f32>().len() / out;
        let dw = matmul(
            View::new(dy.storage(), rows, out).t(),
            View::new(x.storage(), rows, inner),
        );
        shaped(dw, [out, inner])
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

    fn attention_forward(q: &F, k: &F, v: &F, starts: &I) -> F {
        let dims = attention_dims(q, k);
        let (q, k, v) = (contiguous(q), contiguous(k), contiguous(v));
        wrap(
            attention::forward(q.storage(), k.storage(), v.storage(), &ints(starts), &dims),
            &q,
        )
    }

    fn attention_grad([q, k, v]: [&F; 3], starts: &I, out: &F, dout: &F) -> [F; 3] {
        let dims = attention_dims(q, k);
        let [q, k, v, out, dout] = [q, k, v, out, dout].map(contiguous);
        let inputs = [q.storage(), k.storage(), v.storage()];
        let [dq, dk, dv] =
            attention::backward(inputs, &ints(starts), out.storage(), dout.storage(), &dims);
        [wrap(dq, &q), wrap(dk, &k), wrap(dv, &v)]
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
}

fn attention_dims(q: &FlexTensor, k: &FlexTensor) -> Dims {
    let [batch, t, heads, head_dim] = dims(q);
    let [_, s, kv_heads, _] = dims(k);
    Dims {
        batch,
        t,
        s,
        heads,
        kv_heads,
        head_dim,
    }
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
        Self::attention_forward(&q, &k, &v, &starts)
    }
    fn slender_cross_entropy(hidden: F, weight: F, targets: I) -> F {
        Self::cross_entropy(&hidden, &weight, &targets)
    }
}
