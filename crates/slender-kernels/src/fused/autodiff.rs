//! The kernels under autodiff: each records its inputs and, in the backward pass, calls its
//! gradient kernel.

use super::{FusedOps, Kernels};
use burn::backend::Autodiff;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

/// Registers each gradient whose parent is tracked. A macro because the nodes' type has no public name.
macro_rules! register {
    ($backend:ident, $grads:expr, $parents:expr, $values:expr) => {
        for (node, value) in $parents.into_iter().zip($values) {
            if let Some(node) = node {
                $grads.register::<$backend>(node.id, value);
            }
        }
    };
}

impl<B: Kernels, C: CheckpointStrategy> FusedOps for Autodiff<B, C> {
    fn slender_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let y = B::linear_forward(&x, &weight);
        match Linear
            .prepare::<C>([x_node, weight_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((x, weight), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn slender_rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let y = B::rms_norm(&x, &weight, eps);
        match RmsNorm
            .prepare::<C>([x_node, weight_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((x, weight, eps), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn slender_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((gate, gate_node), (up, up_node)) = (gate.into_parts(), up.into_parts());
        let y = B::swiglu(&gate, &up);
        match SwiGlu
            .prepare::<C>([gate_node, up_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((gate, up), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn slender_rope(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (x, x_node) = x.into_parts();
        let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
        let y = B::rope(&x, &cos, &sin, 1.0);
        match Rope.prepare::<C>([x_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((cos, sin), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn slender_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        starts: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        let ((q, q_node), (k, k_node), (v, v_node)) =
            (q.into_parts(), k.into_parts(), v.into_parts());
        let out = B::attention_forward(&q, &k, &v, &starts);
        match Attention
            .prepare::<C>([q_node, k_node, v_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((q, k, v, starts, out.clone()), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn slender_cross_entropy(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        let ((hidden, hidden_node), (weight, weight_node)) =
            (hidden.into_parts(), weight.into_parts());
        match CrossEntropy
            .prepare::<C>([hidden_node, weight_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let [loss, dhidden, dweight] = B::cross_entropy_grad(&hidden, &weight, &targets);
                prep.finish((dhidden, dweight), loss)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::cross_entropy(&hidden, &weight, &targets)),
        }
    }
}

#[derive(Debug)]
struct Linear;

impl<B: Kernels> Backward<B, 2> for Linear {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, weight) = ops.state;
        let dy = grads.consume::<B>(&ops.node);
        let [x_node, weight_node] = ops.parents;
        if let Some(node) = x_node {
            grads.register::<B>(node.id, B::linear_grad_input(&dy, &weight));
        }
        if let Some(node) = weight_node {
            grads.register::<B>(node.id, B::linear_grad_weight(&dy, &x));
        }
    }
}

#[derive(Debug)]
struct RmsNorm;

impl<B: Kernels> Backward<B, 2> for RmsNorm {
    type State = (FloatTensor<B>, FloatTensor<B>, f32);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, weight, eps) = ops.state;
        let dy = grads.consume::<B>(&ops.node);
        let (dx, dw) = B::rms_norm_grad(&x, &weight, &dy, eps);
        register!(B, grads, ops.parents, [dx, dw]);
    }
}

#[derive(Debug)]
struct SwiGlu;

impl<B: Kernels> Backward<B, 2> for SwiGlu {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (gate, up) = ops.state;
        let dy = grads.consume::<B>(&ops.node);
        let (dg, du) = B::swiglu_grad(&gate, &up, &dy);
        register!(B, grads, ops.parents, [dg, du]);
    }
}

#[derive(Debug)]
struct Rope;

impl<B: Kernels> Backward<B, 1> for Rope {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (cos, sin) = ops.state;
        let dy = grads.consume::<B>(&ops.node);
        register!(B, grads, ops.parents, [B::rope(&dy, &cos, &sin, -1.0)]);
    }
}

#[derive(Debug)]
struct Attention;

impl<B: Kernels> Backward<B, 3> for Attention {
    type State = (
        FloatTensor<B>,
        FloatTensor<B>,
        FloatTensor<B>,
        IntTensor<B>,
        FloatTensor<B>,
    );

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (q, k, v, starts, out) = ops.state;
        let dout = grads.consume::<B>(&ops.node);
        let gradients = B::attention_grad([&q, &k, &v], &starts, &out, &dout);
        register!(B, grads, ops.parents, gradients);
    }
}

#[derive(Debug)]
struct CrossEntropy;

impl<B: Kernels> Backward<B, 2> for CrossEntropy {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (dhidden, dweight) = ops.state;
        // The upstream gradient is one number, `[1]`; both gradients are linear in it.
        let upstream = B::float_reshape(grads.consume::<B>(&ops.node), [1, 1].into());
        let scale = |gradient| B::float_mul(gradient, upstream.clone());
        register!(B, grads, ops.parents, [scale(dhidden), scale(dweight)]);
    }
}
