//! `config.json` in Hugging Face `LlamaForCausalLM` terms.
//!
//! A model without extras is an ordinary Llama config. What Llama cannot say (shared blocks, a
//! plain feed-forward, QK-norm) is recorded under `slender`, and `architectures` then names
//! `SlenderForCausalLM`, so that no other program runs such weights wrongly without noticing.

use crate::generation::one_or_several;
use crate::json_keys::{Keys, parse, shown};
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
    /// End-of-sequence tokens: any of them ends a text. One is written as a number, several as a list.
    pub eos_token_ids: Vec<u32>,
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
            "eos_token_id": one_or_several(&self.eos_token_ids),
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
        let json = parse(path, text)?;
        let keys = Keys::new(path, &json);

        refuse_unsupported(path, &json)?;
        let record = match keys.get("slender") {
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
        let act = keys.text("hidden_act")?.unwrap_or("silu");
        if record.is_none() && act != "silu" {
            return Err(FormatError::unsupported(
                path,
                format!(
                    "hidden_act `{act}` with a gated feed-forward is not supported; only silu is"
                ),
            ));
        }
        let shared = keys.flag("layer_sharing")? == Some(true);
        let (sharing, repeats) = match (record, shared) {
            (Some(record), _) => (record.kind, record.repeats),
            (None, true) => (SharingKind::Immediate, 2),
            (None, false) => (SharingKind::None, 1),
        };
        // MobileLLM's own configs say `tie_word_embeddings: false` and tie through `share_embedding`.
        let tied = keys.flag("tie_word_embeddings")?;
        let tied = keys.flag("share_embedding")?.or(tied).unwrap_or(false);
        let (dim, n_heads) = (keys.need("hidden_size")?, keys.need("num_attention_heads")?);
        let model = slender_config::ModelConfig {
            from: None,
            n_layers: keys.need("num_hidden_layers")?,
            dim,
            n_heads,
            n_kv_heads: keys.number("num_key_value_heads")?.unwrap_or(n_heads),
            head_dim: keys.number("head_dim")?,
            ffn: record.map_or(FfnKind::Swiglu, |record| record.ffn),
            ffn_hidden: Some(keys.need("intermediate_size")?),
            max_seq_len: keys.need("max_position_embeddings")?,
            rope_theta: rope_theta(path, &keys)?.unwrap_or(10_000.0),
            norm_eps: keys.float("rms_norm_eps")?.unwrap_or(1e-6),
            init_std: keys.float("initializer_range")?.unwrap_or(0.02),
            qk_norm: record.is_some_and(|record| record.qk_norm),
            tie_embeddings: tied,
            layer_sharing: slender_config::LayerSharing {
                kind: sharing,
                repeats: Some(repeats),
            },
            pad_vocab_multiple: 1,
        };
        let shape = ModelShape::resolve(&model, keys.need("vocab_size")?).map_err(|problems| {
            let texts: Vec<String> = problems
                .iter()
                .map(|p| format!("{}: {}", p.key, p.message))
                .collect();
            bad(texts.join("; "))
        })?;
        Ok(Self {
            shape,
            bos_token_id: keys.token("bos_token_id")?,
            eos_token_ids: keys.tokens("eos_token_id")?,
        })
    }
}

/// Where configurations name the base of the rotary embedding: as Llama does, as transformers 5 does, and in
/// the key that the latter reads as its own.
const THETAS: [&str; 3] = [
    "rope_theta",
    "rope_parameters.rope_theta",
    "rope_scaling.rope_theta",
];

/// The base of the rotary embedding.
///
/// # Errors
/// A value that is no number, or two that contradict each other: which of them a program takes depends on the
/// program.
fn rope_theta(path: &Path, keys: &Keys<'_>) -> Result<Option<f64>, FormatError> {
    let mut found: Option<(&str, f64)> = None;
    for key in THETAS {
        let Some(theta) = keys.float(key)? else {
            continue;
        };
        match found {
            Some((other, first)) if first != theta => {
                return Err(FormatError::malformed(
                    path,
                    format!(
                        "`{other}` is {first} and `{key}` is {theta}\n  hint: write in both what the model was trained with, or leave one out"
                    ),
                ));
            }
            _ => found = Some((key, theta)),
        }
    }
    Ok(found.map(|(_, theta)| theta))
}

/// Whether a `rope_scaling` or `rope_parameters` changes nothing but the base: its type is `default`, or it has
/// none and says nothing else either.
fn is_plain_rope(value: &Value) -> bool {
    let Some(keys) = value.as_object() else {
        return value.is_null();
    };
    let given = || keys.iter().filter(|(_, value)| !value.is_null());
    let mut types = given().filter(|(key, _)| matches!(&***key, "rope_type" | "type"));
    let partial = keys.get("partial_rotary_factor");
    if partial.is_some_and(|share| !share.is_null() && share.as_f64() != Some(1.0)) {
        return false;
    }
    match types.next() {
        Some((_, first)) => first == "default" && types.all(|(_, kind)| kind == "default"),
        None => given().all(|(key, _)| matches!(&**key, "rope_theta" | "partial_rotary_factor")),
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
    for key in ["rope_scaling", "rope_parameters"] {
        if let Some(value) = json.get(key)
            && !is_plain_rope(value)
        {
            return no(format!(
                "`{key}` is {}; it asks for scaled positions, which are not supported",
                shown(value)
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
                    format!("`{key}` is {}; biases are not supported", shown(value))
                }
                _ => format!("`{key}` is {}, which is not supported", shown(value)),
            });
        }
    }
    match json.get("layer_types") {
        None | Some(Value::Null) => {}
        Some(Value::Array(layers)) => {
            if let Some(other) = layers.iter().find(|kind| *kind != "full_attention") {
                return no(format!(
                    "`layer_types` has {}, which is not supported",
                    shown(other)
                ));
            }
        }
        Some(other) => return no(format!("`layer_types` is {}, not a list", shown(other))),
    }
    Ok(())
}
