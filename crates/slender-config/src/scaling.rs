//! How learning rate and initial weights follow width and depth: standard, or the maximal update
//! parametrization, so that a rate that was tuned on a small model serves a larger one.
//!
//! With `m = dim / base_dim`, `l = executed layers / base_layers` and `α = depth_alpha` the rules for
//! AdamW are those of Tensor Programs V (arXiv 2203.03466, Table 3 and, for tied embeddings, Table 8)
//! in width, and of Tensor Programs VI (arXiv 2310.02244, α = 1/2) or CompleteP (arXiv 2505.01618,
//! Table 1, α = 1) in depth. They are usually written with multipliers in the forward pass. Here
//! every multiplier is folded into the weight it stands before: for a factor `c` on a weight, its
//! initial values and its learning rate are multiplied by `c` and its epsilon divided by it, which
//! under Adam gives the same function after every step. So the model stays a plain Llama and nothing
//! has to be recorded beside its weights. The `1/m` on tied logits, which has no weight of its own,
//! goes into the last norm.
//!
//! Decoupled decay multiplies a weight by `1 - rate · decay`; the decay is divided by the factor of
//! the rate, so that this product is the same for every weight at every width (CompleteP's `λ·m`).

use crate::shape::ModelShape;
use crate::train::{Parametrization, TrainConfig};

/// Factors of one weight beside what the configuration says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightScale {
    /// On the standard deviation of a matrix, on the initial 1 of a norm.
    pub init: f64,
    /// On the learning rate; weight decay is divided by it.
    pub lr: f64,
    /// On AdamW's epsilon.
    pub eps: f64,
}

impl WeightScale {
    /// No scaling.
    pub const ONE: Self = Self {
        init: 1.0,
        lr: 1.0,
        eps: 1.0,
    };

    /// A factor of the forward pass folded into the weight.
    fn folded(self, factor: f64) -> Self {
        Self {
            init: self.init * factor,
            lr: self.lr * factor,
            eps: self.eps / factor,
        }
    }
}

/// The scaling of one model's weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// `dim / base_dim`.
    width: f64,
    /// Executed layers over `base_layers`.
    depth: f64,
    /// Exponent of the depth rule.
    alpha: f64,
    /// Factor on queries: `sqrt(base_head_dim / head_dim)`.
    queries: f64,
    tied: bool,
    qk_norm: bool,
}

impl Scaling {
    /// Every factor 1.
    pub const STANDARD: Self = Self {
        width: 1.0,
        depth: 1.0,
        alpha: 1.0,
        queries: 1.0,
        tied: false,
        qk_norm: false,
    };

    /// What `[train]` asks for a model of `shape`.
    pub fn of(train: &TrainConfig, shape: &ModelShape) -> Self {
        if train.parametrization == Parametrization::Standard {
            return Self::STANDARD;
        }
        let over = |value: usize, base: Option<usize>| value as f64 / base.unwrap_or(value) as f64;
        Self {
            width: over(shape.dim, train.base_dim),
            // Shared blocks count once for each execution: each adds to the residual stream.
            depth: over(shape.n_executed_layers(), train.base_layers),
            alpha: train.depth_alpha.unwrap_or(1.0),
            queries: over(shape.head_dim, train.base_head_dim).powf(-0.5),
            tied: shape.tie_embeddings,
            qk_norm: shape.qk_norm,
        }
    }

    /// The factors of the weight with this name, such as `model.layers.0.self_attn.q_proj.weight`.
    pub fn of_weight(&self, name: &str) -> WeightScale {
        let (width, depth, alpha) = (self.width, self.depth, self.alpha);
        let mut parts = name.rsplit('.').skip(1);
        let kind = parts.next().unwrap_or_default();
        let in_block = name.contains(".layers.");
        let (hidden_lr, block_eps) = (depth.powf(alpha - 1.0), depth.powf(-alpha) / width);
        let hidden = WeightScale {
            init: width.powf(-0.5),
            lr: hidden_lr / width,
            eps: block_eps,
        };
        let norm = WeightScale {
            init: 1.0,
            lr: hidden_lr,
            eps: block_eps,
        };
        // Gradients of these fall as 1/m with the width, whatever the depth.
        let outer = WeightScale {
            eps: 1.0 / width,
            ..WeightScale::ONE
        };
        match kind {
            "q_norm" => norm.folded(self.queries),
            "q_proj" if !self.qk_norm => hidden.folded(self.queries),
            "q_proj" | "k_proj" | "v_proj" | "gate_proj" | "up_proj" => hidden,
            // The last matrix of a branch takes the branch's factor.
            "o_proj" | "down_proj" => hidden.folded(depth.powf(-alpha)),
            "embed_tokens" => outer,
            "lm_head" => outer.folded(1.0 / width),
            "norm" if !in_block && self.tied => outer.folded(1.0 / width),
            "norm" if !in_block => outer,
            _ => norm,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ModelConfig, SharingKind};

    fn shape(dim: usize, layers: usize, tied: bool) -> ModelShape {
        let text = format!(
            "n_layers = {layers}\ndim = {dim}\nn_heads = {}\nn_kv_heads = 1\nhead_dim = 16\n\
             tie_embeddings = {tied}\nlayer_sharing = {{ kind = \"none\" }}",
            dim / 16
        );
        let config: ModelConfig = toml::from_str(&text).unwrap();
        ModelShape::resolve(&config, 300).unwrap()
    }

    fn train(more: &str) -> TrainConfig {
        let text = format!("batch_size = 4\nlr = 1.0\nsteps = 10\n{more}");
        toml::from_str(&text).unwrap()
    }

    const Q: &str = "model.layers.3.self_attn.q_proj.weight";
    const O: &str = "model.layers.3.self_attn.o_proj.weight";
    const DOWN: &str = "model.layers.3.mlp.down_proj.weight";
    const NORM: &str = "model.layers.3.input_layernorm.weight";
    const LAST: &str = "model.norm.weight";
    const EMBED: &str = "model.embed_tokens.weight";
    const HEAD: &str = "lm_head.weight";

    #[test]
    fn at_the_base_and_in_the_standard_parametrization_every_factor_is_exactly_one() {
        let mup = "parametrization = \"mup\"\nbase_dim = 64\nbase_layers = 4\nbase_head_dim = 16";
        for (train, dim) in [(train(""), 640), (train(mup), 64)] {
            let scaling = Scaling::of(&train, &shape(dim, 4, true));
            for name in [Q, O, DOWN, NORM, LAST, EMBED, HEAD] {
                assert_eq!(scaling.of_weight(name), WeightScale::ONE, "{name}");
            }
        }
    }

    /// AdamW on one number, `steps` times, for the loss `(c·w - 2)² / 2` with a multiplier `c`.
    fn adamw(start: f64, multiplier: f64, lr: f64, eps: f64, decay: f64, steps: i32) -> f64 {
        let (mut w, mut m, mut v) = (start, 0.0, 0.0);
        for step in 1..=steps {
            let gradient = multiplier * (multiplier * w - 2.0);
            m = 0.9 * m + 0.1 * gradient;
            v = 0.95 * v + 0.05 * gradient * gradient;
            let (m_hat, v_hat): (f64, f64) = (
                m / (1.0 - 0.9_f64.powi(step)),
                v / (1.0 - 0.95_f64.powi(step)),
            );
            w = w * (1.0 - lr * decay) - lr * m_hat / (v_hat.sqrt() + eps);
        }
        w
    }

    #[test]
    fn a_folded_factor_trains_as_a_multiplier_in_the_forward_pass_does() {
        let (factor, lr, eps, decay) = (0.25, 0.03, 1e-2, 0.1);
        let scale = WeightScale::ONE.folded(factor);
        for steps in [1, 7, 40] {
            let multiplied = factor * adamw(0.5, factor, lr, eps, decay, steps);
            let (start, decay) = (0.5 * scale.init, decay / scale.lr);
            let folded = adamw(start, 1.0, lr * scale.lr, eps * scale.eps, decay, steps);
            assert!((multiplied - folded).abs() < 1e-12, "{multiplied} {folded}");
        }
    }

    #[test]
    fn width_follows_tensor_programs_v() {
        let train = train("parametrization = \"mup\"\nbase_dim = 64");
        let untied = Scaling::of(&train, &shape(256, 4, false));
        let scale = |init, lr, eps| WeightScale { init, lr, eps };
        for name in [Q, O, DOWN] {
            assert_eq!(untied.of_weight(name), scale(0.5, 0.25, 0.25), "{name}");
        }
        assert_eq!(untied.of_weight(EMBED), scale(1.0, 1.0, 0.25));
        assert_eq!(untied.of_weight(HEAD), scale(0.25, 0.25, 1.0));
        assert_eq!(untied.of_weight(LAST), scale(1.0, 1.0, 0.25));
        assert_eq!(untied.of_weight(NORM), scale(1.0, 1.0, 0.25));
        let tied = Scaling::of(&train, &shape(256, 4, true));
        assert_eq!(tied.of_weight(EMBED), scale(1.0, 1.0, 0.25));
        assert_eq!(tied.of_weight(LAST), scale(0.25, 0.25, 1.0));
    }

    #[test]
    fn depth_follows_completep_or_tensor_programs_vi() {
        let with = |alpha: &str| {
            let keys = "parametrization = \"mup\"\nbase_dim = 64\nbase_layers = 2\ndepth_alpha = ";
            Scaling::of(&train(&format!("{keys}{alpha}")), &shape(64, 8, true))
        };
        let complete = with("1.0");
        // The branch's 1/l is in the last matrix; its rate is η/l, the others keep η.
        assert_eq!(complete.of_weight(Q).lr, 1.0);
        assert_eq!(
            (complete.of_weight(O).init, complete.of_weight(O).lr),
            (0.25, 0.25)
        );
        assert_eq!(complete.of_weight(O).eps, 1.0);
        assert_eq!(complete.of_weight(Q).eps, 0.25);
        let root = with("0.5");
        assert_eq!((root.of_weight(Q).init, root.of_weight(Q).lr), (1.0, 0.5));
        assert_eq!((root.of_weight(O).init, root.of_weight(O).lr), (0.5, 0.25));
    }

    #[test]
    fn shared_blocks_count_each_execution_and_heads_scale_queries_once() {
        let mut shape = shape(64, 4, true);
        (shape.sharing, shape.repeats) = (SharingKind::Immediate, 2);
        let keys = "parametrization = \"mup\"\nbase_dim = 64\nbase_layers = 4\nbase_head_dim = 4";
        let scaling = Scaling::of(&train(keys), &shape);
        assert_eq!(scaling.of_weight(O).init, 0.5);
        assert_eq!(
            (scaling.of_weight(Q).init, scaling.of_weight(Q).lr),
            (0.5, 0.5)
        );
        shape.qk_norm = true;
        let scaling = Scaling::of(&train(keys), &shape);
        assert_eq!(scaling.of_weight(Q).init, 1.0);
        assert_eq!(
            scaling
                .of_weight("model.layers.0.self_attn.q_norm.weight")
                .init,
            0.5
        );
    }
}
