//! `config.json` in Hugging Face `LlamaForCausalLM` terms.
//!
//! A model without extras is an ordinary Llama config. What Llama cannot say (shared blocks, a
//! plain feed-forward, QK-norm) is recorded under `slender`, and `architectures` then names
//! `SlenderForCausalLM`, so that no other program runs such weights wrongly without noticing.

use crate::weights::ModelError;
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
    /// The JSON text of `config.json`.
    pub fn to_json(&self) -> String {
        let s = &self.shape;
        let plain = s.sharing == SharingKind::None && s.ffn == FfnKind::Swiglu && !s.qk_norm;
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
            "rope_scaling": null,
            "rms_norm_eps": s.norm_eps,
            "initializer_range": s.init_std,
            "tie_word_embeddings": s.tie_embeddings,
            "attention_bias": false,
            "mlp_bias": false,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_id,
            "torch_dtype": "float32",
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
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let bad = |message: String| ModelError::Config {
            file: path.to_owned(),
            message,
        };
        let text = std::fs::read_to_string(path).map_err(|source| ModelError::Io {
            file: path.to_owned(),
            source,
        })?;
        let json: Value = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        let number = |key: &str| json.get(key).and_then(Value::as_u64).map(|n| n as usize);
        let need = |key: &str| {
            number(key).ok_or_else(|| bad(format!("`{key}` is missing or not a whole number")))
        };
        let float = |key: &str| json.get(key).and_then(Value::as_f64);

        let kind = json.get("model_type").and_then(Value::as_str).unwrap_or("");
        if !matches!(kind, "llama" | "slender" | "mobilellm") {
            return Err(bad(format!(
                "model_type `{kind}` is not supported; this program reads llama, mobilellm and its own"
            )));
        }
        let scaled = |value: &Value| {
            value
                .get("rope_type")
                .or_else(|| value.get("type"))
                .is_some_and(|t| t != "default")
        };
        for key in ["rope_scaling", "rope_parameters"] {
            if json.get(key).is_some_and(scaled) {
                return Err(bad(format!(
                    "`{key}` asks for scaled positions, which are not supported"
                )));
            }
        }
        for key in ["attention_bias", "mlp_bias"] {
            if json.get(key).and_then(Value::as_bool) == Some(true) {
                return Err(bad(format!("`{key}` is true; biases are not supported")));
            }
        }
        let record = match json.get("slender") {
            None => None,
            Some(value) => {
                let record: SharingRecord = serde_json::from_value(value.clone())
                    .map_err(|error| bad(format!("`slender`: {error}")))?;
                if record.version != 1 {
                    return Err(bad(format!(
                        "`slender` record has version {}, this program reads 1",
                        record.version
                    )));
                }
                Some(record)
            }
        };
        let act = json
            .get("hidden_act")
            .and_then(Value::as_str)
            .unwrap_or("silu");
        if record.is_none() && act != "silu" {
            return Err(bad(format!(
                "hidden_act `{act}` with a gated feed-forward is not supported; only silu is"
            )));
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
            first.as_u64().map(|id| id as u32)
        };
        let model = slender_config::ModelConfig {
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
