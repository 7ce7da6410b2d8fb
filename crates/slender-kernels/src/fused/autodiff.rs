//! The kernels under autodiff: each records its inputs and, in the backward pass, calls its
//! gradient kernel.

use super::{AttentionParts, FusedOps, Kernels};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend, TensorMetadata};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

/// A tensor of the graph. Weights are kept as such, because a gradient that is there already is
/// taken out of the container and added to in place.
///
/// The price: Burn keeps a graph whose weights are dropped before any backward pass has reached
/// them. Weights of models are leaves that live as long as training, and scoring runs without
/// autodiff, so no graph of this program ends like that.
type Tracked<B> = FloatTensor<Autodiff<B>>;

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
        let (x, x_node) = x.into_parts();
        let y = B::linear_forward(&x, weight.primitive());
        match Linear
            .prepare::<C>([x_node, weight.node()])
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
        let out = B::attention_forward([&q, &k, &v], &starts);
        match Attention
            .prepare::<C>([q_node, k_node, v_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((q, k, v, starts), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn slender_attention_block(
        x: FloatTensor<Self>,
        norm: FloatTensor<Self>,
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        o: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        starts: IntTensor<Self>,
        heads: usize,
        eps: f32,
        recompute: bool,
    ) -> FloatTensor<Self> {
        let weights = [norm, q, k, v, o];
        let (x, x_node) = x.into_parts();
        let [n0, n1, n2, n3, n4] = weights.each_ref().map(Tracked::<B>::node);
        let parts = AttentionParts {
            weights: weights.each_ref().map(|weight| weight.primitive().clone()),
            cos: cos.into_primitive(),
            sin: sin.into_primitive(),
            starts,
            heads,
            eps,
        };
        match AttentionBlock
            .prepare::<C>([x_node, n0, n1, n2, n3, n4])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let (y, kept) = B::attention_block(&x, &parts, !recompute);
                prep.finish((x, parts, weights, kept), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::attention_block(&x, &parts, false).0),
        }
    }

    fn slender_feed_forward(
        x: FloatTensor<Self>,
        norm: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        down: FloatTensor<Self>,
        eps: f32,
        recompute: bool,
    ) -> FloatTensor<Self> {
        let weights = [norm, gate, up, down];
        let (x, x_node) = x.into_parts();
        let [n0, n1, n2, n3] = weights.each_ref().map(Tracked::<B>::node);
        let plain = weights.each_ref().map(|weight| weight.primitive().clone());
        match FeedForward
            .prepare::<C>([x_node, n0, n1, n2, n3])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let (y, kept) = B::feed_forward(&x, &plain, eps, !recompute);
                prep.finish((x, weights, eps, kept), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::feed_forward(&x, &plain, eps, false).0),
        }
    }

    fn slender_embedding(weight: FloatTensor<Self>, tokens: IntTensor<Self>) -> FloatTensor<Self> {
        let y = B::gather(weight.primitive(), &tokens);
        match Embedding
            .prepare::<C>([weight.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((weight, tokens), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    /// Not differentiable: gradients are summed outside the graph.
    fn slender_sum(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(<B as Kernels>::sum(a.into_primitive(), b.primitive()))
    }

    /// Not differentiable: a gradient's norm is read, not trained.
    fn slender_squared_norm(x: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::squared_norm(x.primitive()))
    }

    fn slender_cross_entropy(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        let (hidden, hidden_node) = hidden.into_parts();
        match CrossEntropy
            .prepare::<C>([hidden_node, weight.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let [loss, dhidden, dweight] =
                    B::cross_entropy_grad(&hidden, weight.primitive(), &targets);
                prep.finish((dhidden, dweight, weight), loss)
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::cross_entropy(&hidden, weight.primitive(), &targets))
            }
        }
    }
}

#[derive(Debug)]
struct Linear;

impl<B: Kernels> Backward<B, 2> for Linear {
    type State = (FloatTensor<B>, Tracked<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, weight) = ops.state;
        let dy = grads.consume::<B>(&ops.node);
        let [x_node, weight_node] = ops.parents;
        if let Some(node) = x_node {
            grads.register::<B>(node.id, B::linear_grad_input(&dy, weight.primitive()));
        }
        if let Some(node) = weight_node {
            let sum = grads.remove::<B>(&weight);
            grads.register::<B>(node.id, B::linear_grad_weight(&dy, &x, sum));
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
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, IntTensor<B>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (q, k, v, starts) = ops.state;
        let dout = grads.consume::<B>(&ops.node);
        let gradients = B::attention_grad([&q, &k, &v], &starts, &dout);
        register!(B, grads, ops.parents, gradients);
    }
}

#[derive(Debug)]
struct AttentionBlock;

impl<B: Kernels> Backward<B, 6> for AttentionBlock {
    type State = (
        FloatTensor<B>,
        AttentionParts<B>,
        [Tracked<B>; 5],
        Option<[FloatTensor<B>; 3]>,
    );

    fn backward(self, ops: Ops<Self::State, 6>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, parts, weights, kept) = ops.state;
        let dy = grads.consume::<B>(&ops.node);
        let sums = weights.each_ref().map(|weight| grads.remove::<B>(weight));
        let (dx, [d0, d1, d2, d3, d4]) = B::attention_block_grad(&x, &parts, kept, &dy, sums);
        register!(B, grads, ops.parents, [dx, d0, d1, d2, d3, d4]);
    }
}

#[derive(Debug)]
struct FeedForward;

impl<B: Kernels> Backward<B, 5> for FeedForward {
    type State = (FloatTensor<B>, [Tracked<B>; 4], f32, Option<FloatTensor<B>>);

    fn backward(self, ops: Ops<Self::State, 5>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, weights, eps, kept) = ops.state;
        let dy = grads.consume::<B>(&ops.node);
        let sums = weights.each_ref().map(|weight| grads.remove::<B>(weight));
        let weights = weights.map(Tracked::<B>::into_primitive);
        let (dx, [d0, d1, d2, d3]) = B::feed_forward_grad(&x, &weights, eps, kept, &dy, sums);
        register!(B, grads, ops.parents, [dx, d0, d1, d2, d3]);
    }
}

#[derive(Debug)]
struct Embedding;

impl<B: Kernels> Backward<B, 1> for Embedding {
    type State = (Tracked<B>, IntTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (weight, tokens) = ops.state;
        let dy = grads.consume::<B>(&ops.node);
        let sum = grads.remove::<B>(&weight);
        let rows = weight.primitive().shape()[0];
        let gradient = B::gather_grad(&dy, &tokens, rows, sum);
        register!(B, grads, ops.parents, [gradient]);
    }
}

#[derive(Debug)]
struct CrossEntropy;

impl<B: Kernels> Backward<B, 2> for CrossEntropy {
    type State = (FloatTensor<B>, FloatTensor<B>, Tracked<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (dhidden, dweight, weight) = ops.state;
        // The upstream gradient is one number, `[1]`; both gradients are linear in it.
        let upstream = grads.consume::<B>(&ops.node);
        let sum = grads.remove::<B>(&weight);
        let dhidden = B::scaled(dhidden, &upstream, None);
        let dweight = B::scaled(dweight, &upstream, sum);
        register!(B, grads, ops.parents, [dhidden, dweight]);
    }
}
