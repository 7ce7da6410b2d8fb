//! The whole model: embedding, blocks in their order of execution, final norm, output projection.

use crate::block::{Attention, Block, FeedForward, Linear, Pass, RmsNorm};
use crate::dropout::Dropout;
use crate::init::initial_values;
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use slender_config::{FfnKind, ModelShape, Scaling};
use slender_kernels::{self as ops, AttentionMask, RopeTable};

/// Supplies the row-major values of a weight by its name and dimensions.
pub type Values<'a, E> = dyn FnMut(&str, &[usize]) -> Result<Vec<f32>, E> + 'a;

/// Token embedding; weight `[V, D]`.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[V, D]`.
    pub weight: Param<Tensor<2>>,
}

/// Everything between tokens and the final hidden state.
#[derive(Module, Debug)]
pub struct Decoder {
    /// `[V, D]`.
    pub embed_tokens: Embedding,
    /// The distinct blocks.
    pub layers: Vec<Block>,
    /// `[D]`, after the last block.
    pub norm: RmsNorm,
}

/// A decoder-only language model.
#[derive(Module, Debug)]
pub struct Transformer {
    /// Everything but an untied output projection.
    pub model: Decoder,
    /// `[V, D]`, absent when embeddings are tied.
    pub lm_head: Option<Linear>,
    #[module(skip)]
    shape: ModelShape,
    #[module(skip)]
    schedule: Vec<usize>,
    #[module(skip)]
    rope: RopeTable,
    #[module(skip)]
    recompute: bool,
}

impl Transformer {
    /// A model of `shape` with the initial weights of `seed`, on `device`.
    ///
    /// On an autodiff device every weight requires a gradient.
    pub fn new(shape: &ModelShape, seed: u64, device: &Device) -> Self {
        Self::with_scaling(shape, seed, &Scaling::STANDARD, device)
    }

    /// As [`Self::new`], with initial weights scaled as a parametrization asks.
    pub fn with_scaling(shape: &ModelShape, seed: u64, scaling: &Scaling, device: &Device) -> Self {
        Self::build(shape, device, &mut |name, dims| {
            let count = dims.iter().product();
            Ok::<_, std::convert::Infallible>(initial_values(
                name,
                count,
                dims.len() == 1,
                seed,
                shape.init_std,
                scaling.of_weight(name).init,
            ))
        })
        .unwrap_or_else(|never| match never {})
    }

    /// A model of `shape` whose weights `values(name, dims)` supplies in row-major order.
    ///
    /// # Errors
    /// The first error of `values`.
    pub fn build<E>(
        shape: &ModelShape,
        device: &Device,
        values: &mut Values<'_, E>,
    ) -> Result<Self, E> {
        let mut build = Builder { device, values };
        let (d, f, dh) = (shape.dim, shape.ffn_hidden, shape.head_dim);
        let (q, kv) = (shape.n_heads * dh, shape.n_kv_heads * dh);
        let embed_tokens = Embedding {
            weight: build.param("model.embed_tokens.weight", [shape.vocab_size, d])?,
        };
        let mut layers = Vec::with_capacity(shape.n_layers);
        for index in 0..shape.n_layers {
            let at = |rest: &str| format!("model.layers.{index}.{rest}.weight");
            let head_norm = |build: &mut Builder<'_, E>, name: &str| {
                shape.qk_norm.then(|| build.norm(&at(name), dh)).transpose()
            };
            let gated = shape.ffn == FfnKind::Swiglu;
            layers.push(Block {
                input_layernorm: build.norm(&at("input_layernorm"), d)?,
                self_attn: Attention {
                    q_proj: build.linear(&at("self_attn.q_proj"), q, d)?,
                    k_proj: build.linear(&at("self_attn.k_proj"), kv, d)?,
                    v_proj: build.linear(&at("self_attn.v_proj"), kv, d)?,
                    o_proj: build.linear(&at("self_attn.o_proj"), d, q)?,
                    q_norm: head_norm(&mut build, "self_attn.q_norm")?,
                    k_norm: head_norm(&mut build, "self_attn.k_norm")?,
                },
                post_attention_layernorm: build.norm(&at("post_attention_layernorm"), d)?,
                mlp: FeedForward {
                    gate_proj: gated
                        .then(|| build.linear(&at("mlp.gate_proj"), f, d))
                        .transpose()?,
                    up_proj: build.linear(&at("mlp.up_proj"), f, d)?,
                    down_proj: build.linear(&at("mlp.down_proj"), d, f)?,
                },
            });
        }
        let norm = build.norm("model.norm.weight", d)?;
        let untied = !shape.tie_embeddings;
        let lm_head = untied
            .then(|| build.linear("lm_head.weight", shape.vocab_size, d))
            .transpose()?;
        Ok(Self {
            model: Decoder {
                embed_tokens,
                layers,
                norm,
            },
            lm_head,
            shape: shape.clone(),
            schedule: shape.schedule(),
            rope: RopeTable::new(shape.max_seq_len, dh, shape.rope_theta, device),
            recompute: false,
        })
    }

    /// Cosines and sines of all positions.
    pub(crate) fn rope_table(&self) -> &RopeTable {
        &self.rope
    }

    /// The model's shape.
    pub fn shape(&self) -> &ModelShape {
        &self.shape
    }

    /// Keeps only the inputs of the halves of each block for the backward pass, which then computes
    /// the rest again, where fused kernels serve (flex without dropout). The same bits, less memory,
    /// about a third more time.
    #[must_use]
    pub fn with_recompute(mut self, recompute: bool) -> Self {
        self.recompute = recompute;
        self
    }

    /// Hidden states after the final norm: tokens `[B, T]` to `[B, T, D]`, without dropout.
    ///
    /// `segments` `[B, T]` numbers the documents of a packed row; attention then stays inside each.
    pub fn hidden(&self, tokens: Tensor<2, Int>, segments: Option<Tensor<2, Int>>) -> Tensor<3> {
        self.hidden_train(tokens, segments, &mut Dropout::off())
    }

    /// As [`Self::hidden`], with dropout.
    pub fn hidden_train(
        &self,
        tokens: Tensor<2, Int>,
        segments: Option<Tensor<2, Int>>,
        dropout: &mut Dropout,
    ) -> Tensor<3> {
        let [_, t] = tokens.dims();
        let mask = match segments {
            Some(segments) => AttentionMask::documents(segments),
            None => AttentionMask::causal(t, t, &tokens.device()),
        };
        let mut pass = Pass {
            shape: &self.shape,
            rope: self.rope.slice(0, t),
            mask,
            dropout,
            recompute: self.recompute,
        };
        let mut x = ops::embedding(self.model.embed_tokens.weight.val(), tokens); // [B, T, D]
        for &layer in &self.schedule {
            x = self.model.layers[layer].forward(x, &mut pass); // [B, T, D]
        }
        self.model.norm.forward(x, self.shape.norm_eps) // [B, T, D]
    }

    /// What flows through the model for `tokens` `[B, T]`, part by part in order of execution: the
    /// embedding, what each half of each block adds, the last residual stream, the normed hidden
    /// states (each `[B, T, D]`) and the logits (`[1, B·T, V]`).
    pub fn trace(&self, tokens: Tensor<2, Int>) -> Vec<(Part, Tensor<3>)> {
        let [b, t] = tokens.dims();
        let mut off = Dropout::off();
        let mut pass = Pass {
            shape: &self.shape,
            rope: self.rope.slice(0, t),
            mask: AttentionMask::causal(t, t, &tokens.device()),
            dropout: &mut off,
            recompute: false,
        };
        let mut x = ops::embedding(self.model.embed_tokens.weight.val(), tokens); // [B, T, D]
        let mut parts = vec![(Part::Embedding, x.clone())];
        for &layer in &self.schedule {
            let block = &self.model.layers[layer];
            let attended = block.attention_half(x.clone(), &mut pass); // [B, T, D]
            parts.push((Part::Attention, attended.clone() - x));
            x = block.feed_forward(attended.clone(), &self.shape); // [B, T, D]
            parts.push((Part::FeedForward, x.clone() - attended));
        }
        parts.push((Part::Residual, x.clone()));
        let hidden = self.model.norm.forward(x, self.shape.norm_eps); // [B, T, D]
        parts.push((Part::Hidden, hidden.clone()));
        let [_, _, d] = hidden.dims();
        let logits = self.logits(hidden.reshape([b * t, d])); // [B·T, V]
        parts.push((Part::Logits, logits.unsqueeze()));
        parts
    }

    /// Output projection: hidden `[N, D]` to logits `[N, V]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        let [n, d] = hidden.dims();
        let logits = ops::linear(hidden.reshape([1, n, d]), self.output_weight()); // [1, N, V]
        let v = self.shape.vocab_size;
        logits.reshape([n, v])
    }

    /// Log-probabilities of the next token: hidden `[N, D]` to `[N, V]`.
    pub fn log_probs(&self, hidden: Tensor<2>) -> Tensor<2> {
        ops::log_probs(hidden, self.output_weight())
    }

    /// Summed cross-entropy in nats of `targets` `[B, T]`, as `[1]`; [`ops::IGNORE`] is not scored.
    pub fn loss_sum(
        &self,
        tokens: Tensor<2, Int>,
        targets: Tensor<2, Int>,
        segments: Option<Tensor<2, Int>>,
        dropout: &mut Dropout,
    ) -> Tensor<1> {
        let hidden = self.hidden_train(tokens, segments, dropout); // [B, T, D]
        let [b, t, d] = hidden.dims();
        ops::cross_entropy(
            hidden.reshape([b * t, d]),
            self.output_weight(),
            targets.reshape([b * t]),
        )
    }

    /// `[V, D]`: the embedding when tied.
    fn output_weight(&self) -> Tensor<2> {
        match &self.lm_head {
            Some(head) => head.weight.val(),
            None => self.model.embed_tokens.weight.val(),
        }
    }
}

/// A kind of activation, as [`Transformer::trace`] tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Output of the token embedding.
    Embedding,
    /// What the attention half of a block adds to the residual stream.
    Attention,
    /// What the feed-forward half of a block adds.
    FeedForward,
    /// The residual stream after the last block.
    Residual,
    /// The residual stream after the last norm.
    Hidden,
    /// The logits.
    Logits,
}

impl Part {
    /// Every part, in order of execution.
    pub const ALL: [Self; 6] = [
        Self::Embedding,
        Self::Attention,
        Self::FeedForward,
        Self::Residual,
        Self::Hidden,
        Self::Logits,
    ];

    /// `embedding`, `attention`, `feed-forward`, `residual`, `hidden` or `logits`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Attention => "attention",
            Self::FeedForward => "feed-forward",
            Self::Residual => "residual",
            Self::Hidden => "hidden",
            Self::Logits => "logits",
        }
    }
}

struct Builder<'a, E> {
    device: &'a Device,
    values: &'a mut Values<'a, E>,
}

impl<E> Builder<'_, E> {
    fn param<const D: usize>(
        &mut self,
        name: &str,
        dims: [usize; D],
    ) -> Result<Param<Tensor<D>>, E> {
        let data = TensorData::new((self.values)(name, &dims)?, dims);
        Ok(Param::from_tensor(Tensor::from_data(data, self.device)))
    }

    fn linear(&mut self, name: &str, d_out: usize, d_in: usize) -> Result<Linear, E> {
        Ok(Linear {
            weight: self.param(name, [d_out, d_in])?,
        })
    }

    fn norm(&mut self, name: &str, dim: usize) -> Result<RmsNorm, E> {
        Ok(RmsNorm {
            weight: self.param(name, [dim])?,
        })
    }
}
