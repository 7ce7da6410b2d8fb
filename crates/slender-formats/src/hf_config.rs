//! `config.json` in Hugging Face `LlamaForCausalLM` terms.
//!
//! A model without extras is an ordinary Llama config. What Llama cannot say (shared blocks, a
//! plain feed-forward, QK-norm) is recorded under `slender`, and `architectures` then names
//! `SlenderForCausalLM`, so that no other program runs such weights wrongly without noticing.

use crate::{Dtype, FormatError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use slender_config::{FfnKind, ModelShape, SharingKind};
use std::path::Path;

/// Block sharing and other traits a Llama config has no key for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharingRecord {
    /// Format version of this record.
    pub version: u32,
    /// Order of execution.
    pub kind: SharingKind,
    /// Executions of each block.
    pub repeats: usize,
    /// Feed-forward kind.
    pub ffn: FfnKind,
    /// RMSNorm on queries and keys.
    pub qk_norm: bool,
}

/// A `config.json` as a shape and its special tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct HfConfig {
    /// The model's shape.
    pub shape: ModelShape,
    /// Beginning-of-sequence token.
    pub bos_token_id: Option<u32>,
    /// End-of-sequence token.
    pub eos_token_id: Option<u32>,
}

impl HfConfig {
    /// Whether a Llama of the same number of layers computes the same: nothing is shared, and neither the
    /// feed-forward nor the attention is of another kind.
    pub fn is_plain_llama(&self) -> bool {
        let s = &self.shape;
        s.sharing == SharingKind::None && s.ffn == FfnKind::Swiglu && !s.qk_norm
    }

    /// The JSON text of `config.json` beside weights in f32.
    pub fn to_json(&self) -> String {
        self.to_json_with(Dtype::F32)
    }

    /// The JSON text of `config.json` beside weights stored as `dtype`.
    pub fn to_json_with(&self, dtype: Dtype) -> String {
        let s = &self.shape;
        let dtype = match dtype {
            Dtype::F16 => "float16",
            Dtype::Bf16 => "bfloat16",
            _ => "float32",
        };
        let plain = self.is_plain_llama();
        let act = match s.ffn {
            FfnKind::Swiglu => "silu",
            FfnKind::Relu => "relu",
            FfnKind::Gelu => "gelu",
        };
        let mut config = json!({
            "architectures": [if plain { "LlamaForCausalLM" } else { "SlenderForCausalLM" }],
            "model_type": if plain { "llama" } else { "slender" },
            "vocab_size": s.vocab_size,
            "hidden_size": s.dim,
            "intermediate_size": s.ffn_hidden,
            "num_hidden_layers": s.n_layers,
            "num_attention_heads": s.n_heads,
            "num_key_value_heads": s.n_kv_heads,
            "head_dim": s.head_dim,
            "hidden_act": act,
            "max_position_embeddings": s.max_seq_len,
            "rope_theta": s.rope_theta,
            "rope_parameters": {"rope_type": "default", "rope_theta": s.rope_theta},
            "rms_norm_eps": s.norm_eps,
            "initializer_range": s.init_std,
            "tie_word_embeddings": s.tie_embeddings,
            "attention_bias": false,
            "mlp_bias": false,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_id,
            "dtype": dtype,
            "torch_dtype": dtype,
        });
        if !plain {
            let record = SharingRecord {
                version: 1,
                kind: s.sharing,
                repeats: s.repeats,
                ffn: s.ffn,
                qk_norm: s.qk_norm,
            };
            config["slender"] = serde_json::to_value(record).unwrap_or(Value::Null);
        }
        serde_json::to_string_pretty(&config).unwrap_or_default() + "\n"
    }

    /// Reads `config.json`.
    ///
    /// # Errors
    /// A missing or malformed file, a missing key, or a feature this program does not compute
    /// (RoPE scaling, biases, another architecture): refused by name, never ignored.
    pub fn read(path: &Path) -> Result<Self, FormatError> {
        let text = std::fs::read(path).map_err(|source| FormatError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// Parses the text of a `config.json`; `path` is named in errors.
    ///
    /// # Errors
    /// As [`HfConfig::read`].
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, FormatError> {
        let bad = |message: String| FormatError::malformed(path, message);
        let json: Value = serde_json::from_slice(text).map_err(|error| {
            bad(format!(
                "not JSON: {error}\n  hint: the file is empty or damaged; fetch or copy the model's folder again"
            ))
        })?;
        let number = |key: &str| {
            let number = json.get(key).and_then(Value::as_u64)?;
            usize::try_from(number).ok()
        };
        let need = |key: &str| {
            number(key).ok_or_else(|| bad(format!("`{key}` is missing or not a whole number")))
        };
        let float = |key: &str| json.get(key).and_then(Value::as_f64);

        refuse_unsupported(path, &json)?;
        let record = match json.get("slender") {
            None => None,
            Some(value) => {
                let record: SharingRecord = serde_json::from_value(value.clone())
                    .map_err(|error| bad(format!("`slender`: {error}")))?;
                if record.version != 1 {
                    return Err(FormatError::unsupported(
                        path,
                        format!(
                            "`slender` record has version {}, this program reads 1",
                            record.version
                        ),
                    ));
                }
                Some(record)
            }
        };
        let act = json
            .get("hidden_act")
            .and_then(Value::as_str)
            .unwrap_or("silu");
        if record.is_none() && act != "silu" {
            return Err(FormatError::unsupported(
                path,
                format!(
                    "hidden_act `{act}` with a gated feed-forward is not supported; only silu is"
                ),
            ));
        }
        let shared = json.get("layer_sharing").and_then(Value::as_bool) == Some(true);
        let (sharing, repeats) = match (record, shared) {
            (Some(record), _) => (record.kind, record.repeats),
            (None, true) => (SharingKind::Immediate, 2),
            (None, false) => (SharingKind::None, 1),
        };
        // MobileLLM's own configs say `tie_word_embeddings: false` and tie through `share_embedding`.
        let flag = |key: &str| json.get(key).and_then(Value::as_bool);
        let tied = flag("share_embedding")
            .or(flag("tie_word_embeddings"))
            .unwrap_or(false);
        let (dim, n_heads) = (need("hidden_size")?, need("num_attention_heads")?);
        let theta = float("rope_theta").or_else(|| {
            json.pointer("/rope_parameters/rope_theta")
                .and_then(Value::as_f64)
        });
        let token = |key: &str| {
            let value = json.get(key)?;
            let first = value
                .as_array()
                .and_then(|list| list.first())
                .unwrap_or(value);
            first.as_u64().and_then(|id| u32::try_from(id).ok())
        };
        let model = slender_config::ModelConfig {
            from: None,
            n_layers: need("num_hidden_layers")?,
            dim,
            n_heads,
            n_kv_heads: number("num_key_value_heads").unwrap_or(n_heads),
            head_dim: number("head_dim"),
            ffn: record.map_or(FfnKind::Swiglu, |record| record.ffn),
            ffn_hidden: Some(need("intermediate_size")?),
            max_seq_len: need("max_position_embeddings")?,
            rope_theta: theta.unwrap_or(10_000.0),
            norm_eps: float("rms_norm_eps").unwrap_or(1e-6),
            init_std: float("initializer_range").unwrap_or(0.02),
            qk_norm: record.is_some_and(|record| record.qk_norm),
            tie_embeddings: tied,
            layer_sharing: slender_config::LayerSharing {
                kind: sharing,
                repeats: Some(repeats),
            },
            pad_vocab_multiple: 1,
        };
        let shape = ModelShape::resolve(&model, need("vocab_size")?).map_err(|problems| {
            let texts: Vec<String> = problems
                .iter()
                .map(|p| format!("{}: {}", p.key, p.message))
                .collect();
            bad(texts.join("; "))
        })?;
        Ok(Self {
            shape,
            bos_token_id: token("bos_token_id"),
            eos_token_id: token("eos_token_id"),
        })
    }
}

/// Keys with which other members of the family ask for another computation, and what the value must be for
/// ours to be the right one. Absent and null are always fine.
const MUST_BE: [(&str, Harmless); 22] = [
    ("attention_bias", Harmless::False),
    ("mlp_bias", Harmless::False),
    ("use_bias", Harmless::False),
    ("qkv_bias", Harmless::False),
    ("rope_interleaved", Harmless::False),
    ("qk_norm", Harmless::False),
    ("use_qk_norm", Harmless::False),
    ("use_sliding_window", Harmless::False),
    ("sliding_window", Harmless::Null),
    ("partial_rotary_factor", Harmless::Number(1.0)),
    ("logit_scale", Harmless::Number(1.0)),
    ("logits_scaling", Harmless::Number(1.0)),
    ("embedding_multiplier", Harmless::Number(1.0)),
    ("residual_multiplier", Harmless::Number(1.0)),
    ("attention_multiplier", Harmless::Null),
    ("query_pre_attn_scalar", Harmless::Null),
    ("attn_logit_softcapping", Harmless::Null),
    ("final_logit_softcapping", Harmless::Null),
    ("num_experts", Harmless::Number(0.0)),
    ("num_local_experts", Harmless::Number(0.0)),
    ("n_routed_experts", Harmless::Number(0.0)),
    ("quantization_config", Harmless::Null),
];

/// A value that changes nothing.
#[derive(Clone, Copy)]
enum Harmless {
    False,
    Null,
    Number(f64),
}

impl Harmless {
    fn allows(self, value: &Value) -> bool {
        match self {
            Harmless::False => value == false,
            Harmless::Null => false,
            Harmless::Number(number) => value.as_f64() == Some(number),
        }
    }
}

/// Refuses by name what this program does not compute.
fn refuse_unsupported(path: &Path, json: &Value) -> Result<(), FormatError> {
    let no = |message: String| Err(FormatError::unsupported(path, message));
    let kind = json.get("model_type").and_then(Value::as_str).unwrap_or("");
    if !matches!(kind, "llama" | "slender" | "mobilellm") {
        return no(format!(
            "model_type `{kind}` is not supported; this program reads llama, mobilellm and its own"
        ));
    }
    let scaled = |value: &Value| {
        let kind = value.get("rope_type").or_else(|| value.get("type"));
        kind.is_some_and(|kind| kind != "default")
    };
    for key in ["rope_scaling", "rope_parameters"] {
        if json.get(key).is_some_and(scaled) {
            return no(format!(
                "`{key}` asks for scaled positions, which are not supported"
            ));
        }
    }
    for (key, harmless) in MUST_BE {
        let value = json.get(key).unwrap_or(&Value::Null);
        if !value.is_null() && !harmless.allows(value) {
            // A window that is switched off is written down all the same.
            if key == "sliding_window"
                && json.get("use_sliding_window") == Some(&Value::Bool(false))
            {
                continue;
            }
            return no(match harmless {
                Harmless::False if key.ends_with("bias") => {
                    format!("`{key}` is {value}; biases are not supported")
                }
                _ => format!("`{key}` is {value}, which is not supported"),
            });
        }
    }
    let layers = json.get("layer_types").and_then(Value::as_array);
    if let Some(other) = layers
        .into_iter()
        .flatten()
        .find(|kind| *kind != "full_attention")
    {
        return no(format!("`layer_types` has {other}, which is not supported"));
    }
    Ok(())
}
