//! What is counted is what is built, what is written is what is read, and what cannot be read is
//! refused by name.

use burn::module::Module;
use burn::tensor::Device;
use proptest::prelude::*;
use slender_config::{FfnKind, LayerSharing, ModelConfig, ModelShape, SharingKind};
use slender_model::{
    HfConfig, ModelError, NamedTensor, Transformer, read_weights, weight_names, write_tensors,
};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Every small shape that `[model]` can say.
fn shapes() -> impl Strategy<Value = ModelShape> {
    let heads = (1usize..=3, 1usize..=3, 1usize..=4, any::<bool>());
    let ffn = prop_oneof![
        Just(FfnKind::Swiglu),
        Just(FfnKind::Relu),
        Just(FfnKind::Gelu)
    ];
    let sharing = prop_oneof![
        Just((SharingKind::None, 1)),
        (1usize..=3).prop_map(|repeats| (SharingKind::Immediate, repeats)),
        (1usize..=3).prop_map(|repeats| (SharingKind::RepeatAllOver, repeats)),
        (1usize..=3).prop_map(|repeats| (SharingKind::Reverse, repeats)),
    ];
    let switches = (any::<bool>(), any::<bool>());
    let sizes = (1usize..=4, 1usize..=9, 1usize..=40, 1usize..=60);
    (heads, ffn, sharing, switches, sizes).prop_map(
        |((kv, group, half, explicit), ffn, (kind, repeats), (qk_norm, tied), sizes)| {
            let (n_layers, max_seq_len, ffn_hidden, vocab) = sizes;
            let n_heads = kv * group;
            let model = ModelConfig {
                from: None,
                n_layers,
                // An explicit head width need not be dim / n_heads.
                dim: if explicit { 7 } else { n_heads * 2 * half },
                n_heads,
                n_kv_heads: kv,
                head_dim: explicit.then_some(2 * half),
                ffn,
                ffn_hidden: Some(ffn_hidden),
                max_seq_len,
                rope_theta: 10_000.0,
                norm_eps: 1e-5,
                init_std: 0.02,
                qk_norm,
                tie_embeddings: tied,
                layer_sharing: LayerSharing {
                    kind,
                    repeats: Some(repeats),
                },
                pad_vocab_multiple: if explicit { 8 } else { 1 },
            };
            ModelShape::resolve(&model, vocab).expect("a shape that fits together")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_formula_counts_the_built_model(shape in shapes(), seq_len in 1usize..=9) {
        let model = Transformer::new(&shape, 0, &Device::flex());
        let accounting = shape.accounting(seq_len, 2);
        let tensors = model.to_tensors();
        let count = |wanted: &dyn Fn(&str) -> bool| -> u64 {
            let wanted = tensors.iter().filter(|tensor| wanted(&tensor.name));
            wanted.map(|tensor| tensor.values.len() as u64).sum()
        };
        let embedding = |name: &str| name.contains("embed_tokens") || name.contains("lm_head");
        let norm = |name: &str| name.contains("norm");

        prop_assert_eq!(accounting.params_total, count(&|_| true));
        prop_assert_eq!(accounting.params_total, model.num_params() as u64);
        prop_assert_eq!(accounting.params_embedding, count(&embedding));
        prop_assert_eq!(accounting.params_non_embedding, count(&|name| !embedding(name)));
        prop_assert_eq!(accounting.params_without_norms, count(&|name| !norm(name)));
        // The optimizer takes weights with one axis for norms; the names say the same.
        for tensor in &tensors {
            prop_assert_eq!(tensor.dims.len() == 1, norm(&tensor.name), "{}", tensor.name);
        }
        prop_assert_eq!(tensors.iter().any(|t| t.name == "lm_head.weight"), !shape.tie_embeddings);

        let schedule = shape.schedule();
        prop_assert_eq!(schedule.len(), shape.n_executed_layers());
        for layer in 0..shape.n_layers {
            let times = schedule.iter().filter(|&&executed| executed == layer).count();
            prop_assert_eq!(times, shape.repeats);
        }
        // A key and a value of 2 bytes a number, for each key-value head of each executed block.
        let one_block = 2 * 2 * shape.n_kv_heads * shape.head_dim;
        let cache = (schedule.len() * one_block) as u64;
        prop_assert_eq!(accounting.kv_cache_bytes_per_token, cache);

        // Every matrix weight is one multiplication and one addition a token each time it is
        // executed; the look-up is free and the output projection is not.
        let matrices = |prefix: &str| count(&|name| name.starts_with(prefix) && !norm(name));
        let executed: u64 = schedule.iter().map(|l| 2 * matrices(&format!("model.layers.{l}."))).sum();
        let scores = 2 * schedule.len() * seq_len * shape.n_heads * shape.head_dim;
        let output = 2 * shape.vocab_size * shape.dim;
        let forward = executed + (scores + output) as u64;
        prop_assert_eq!(accounting.forward_flops_per_token, forward);
        prop_assert_eq!(accounting.train_flops_per_token, 3 * forward);
    }

    #[test]
    fn a_written_model_reads_back_identical(shape in shapes(), seed in any::<u64>()) {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::flex();
        let model = Transformer::new(&shape, seed, &device);
        let (files, config) = write(folder.path(), &shape, &model.to_tensors());
        let read = HfConfig::read(&config).unwrap();
        prop_assert_eq!(&read.shape, &shape);
        prop_assert_eq!((read.bos_token_id, read.eos_token_ids), (Some(1), vec![]));
        let again = Transformer::read(&read.shape, &files, &device).unwrap();
        prop_assert_eq!(again.to_tensors(), model.to_tensors());
        let dims = |tensor: NamedTensor| (tensor.name, tensor.dims);
        let listed: Vec<_> = again.to_tensors().into_iter().map(dims).collect();
        prop_assert_eq!(weight_names(&shape, &device), listed);
        let expected: Vec<_> = slender_formats::expected_weights(&shape).collect();
        prop_assert_eq!(weight_names(&shape, &device), expected);
    }
}

/// Writes `config.json` and `model.safetensors`; returns the weights files and the config.
fn write(folder: &Path, shape: &ModelShape, tensors: &[NamedTensor]) -> (Vec<PathBuf>, PathBuf) {
    let config = HfConfig {
        shape: shape.clone(),
        bos_token_id: Some(1),
        eos_token_ids: Vec::new(),
    };
    let (weights, json) = (folder.join("model.safetensors"), folder.join("config.json"));
    write_tensors(&weights, tensors, HashMap::new()).unwrap();
    std::fs::write(&json, config.to_json()).unwrap();
    (vec![weights], json)
}

/// A grouped, tied, plain Llama shape and its weights.
fn small_model() -> (ModelShape, Vec<NamedTensor>) {
    let model = ModelConfig {
        from: None,
        n_layers: 2,
        dim: 8,
        n_heads: 2,
        n_kv_heads: 1,
        head_dim: None,
        ffn: FfnKind::Swiglu,
        ffn_hidden: Some(12),
        max_seq_len: 8,
        rope_theta: 10_000.0,
        norm_eps: 1e-5,
        init_std: 0.02,
        qk_norm: false,
        tie_embeddings: true,
        layer_sharing: LayerSharing {
            kind: SharingKind::None,
            repeats: None,
        },
        pad_vocab_multiple: 1,
    };
    let shape = ModelShape::resolve(&model, 16).unwrap();
    let tensors = Transformer::new(&shape, 0, &Device::flex()).to_tensors();
    (shape, tensors)
}

fn message(result: Result<Transformer, ModelError>) -> String {
    result.expect_err("must be refused").to_string()
}

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    let folder = tempfile::tempdir().unwrap();
    let (shape, tensors) = small_model();
    let (files, _) = write(folder.path(), &shape, &tensors);
    let whole = std::fs::read(&files[0]).unwrap();
    let cuts = (0..whole.len()).step_by(61).chain([whole.len() - 1]);
    for length in cuts {
        std::fs::write(&files[0], &whole[..length]).unwrap();
        let text = message(Transformer::read(&shape, &files, &Device::flex()));
        let named = text.contains("model.safetensors") && text.contains("not a whole safetensors");
        assert!(named, "{length} bytes: {text}");
    }
    std::fs::write(&files[0], [&whole[..], b"more"].concat()).unwrap();
    let text = message(Transformer::read(&shape, &files, &Device::flex()));
    assert!(text.contains("not a whole safetensors"), "{text}");
}

#[test]
fn weights_that_do_not_fit_the_config_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (shape, tensors) = small_model();
    let read_with = |change: &dyn Fn(&mut Vec<NamedTensor>)| {
        let mut tensors = tensors.clone();
        change(&mut tensors);
        let (files, _) = write(folder.path(), &shape, &tensors);
        Transformer::read(&shape, &files, &Device::flex())
    };
    let named = "model.layers.1.mlp.up_proj.weight";
    let at = tensors.iter().position(|t| t.name == named).unwrap();

    let text = message(read_with(&|tensors| {
        tensors.remove(at);
    }));
    assert!(text.contains(named) && text.contains("missing"), "{text}");

    let text = message(read_with(&|tensors| tensors[at].dims.reverse()));
    let shapes = text.contains("[8, 12]") && text.contains("[12, 8]");
    assert!(text.contains(named) && shapes, "{text}");

    let extra = |name: &str| NamedTensor {
        name: name.into(),
        dims: vec![2],
        values: vec![0.0; 2],
    };
    for name in [
        "model.layers.2.input_layernorm.weight",
        "model.layers.0.self_attn.q_proj.bias",
    ] {
        let text = message(read_with(&|tensors| tensors.push(extra(name))));
        assert!(
            text.contains(name) && text.contains("belongs to no part"),
            "{text}"
        );
    }
    // What old Llama files and tied checkpoints carry besides is no other architecture.
    let harmless = read_with(&|tensors| {
        tensors.push(extra("model.layers.0.self_attn.rotary_emb.inv_freq"));
        let mut head = tensors[0].clone();
        head.name = "lm_head.weight".into();
        tensors.push(head);
    });
    assert_eq!(harmless.unwrap().to_tensors(), tensors);
}

#[test]
fn a_dtype_that_is_not_a_float_of_16_or_32_bits_is_refused() {
    use safetensors::{Dtype, tensor::TensorView};
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let view = TensorView::new(Dtype::F64, vec![2], &[0; 16]).unwrap();
    std::fs::write(&file, safetensors::serialize([("x", view)], None).unwrap()).unwrap();
    let text = read_weights(&file).expect_err("f64").to_string();
    assert!(text.contains("`x`") && text.contains("F64"), "{text}");

    // 16-bit files are read exactly.
    let bytes = half::bf16::from_f32(-1.5).to_le_bytes();
    let view = TensorView::new(Dtype::BF16, vec![1], &bytes).unwrap();
    std::fs::write(&file, safetensors::serialize([("x", view)], None).unwrap()).unwrap();
    assert_eq!(read_weights(&file).unwrap()[0].values, [-1.5]);
}

#[test]
fn configs_that_ask_for_more_than_is_computed_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (shape, tensors) = small_model();
    let (_, config) = write(folder.path(), &shape, &tensors);
    let plain: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
    let error_with = |key: &str, value: serde_json::Value| {
        let mut json = plain.clone();
        json[key] = value;
        std::fs::write(&config, json.to_string()).unwrap();
        let text = HfConfig::read(&config).expect_err(key).to_string();
        assert!(text.contains("config.json"), "{text}");
        text
    };
    for (key, value, says) in [
        (
            "rope_scaling",
            r#"{"rope_type": "llama3", "factor": 8.0}"#,
            "`rope_scaling`",
        ),
        (
            "rope_scaling",
            r#"{"type": "linear", "factor": 2.0}"#,
            "`rope_scaling`",
        ),
        (
            "rope_parameters",
            r#"{"rope_type": "yarn"}"#,
            "`rope_parameters`",
        ),
        ("attention_bias", "true", "`attention_bias`"),
        ("mlp_bias", "true", "`mlp_bias`"),
        ("model_type", r#""mistral""#, "`mistral`"),
        ("hidden_act", r#""gelu""#, "`gelu`"),
        ("hidden_size", "null", "`hidden_size`"),
        ("hidden_size", "-8", "`hidden_size`"),
        ("num_key_value_heads", "3", "n_kv_heads"),
        ("head_dim", "3", "head_dim"),
        ("rms_norm_eps", "-1.0", "norm_eps"),
        ("vocab_size", "0", "vocab"),
        (
            "slender",
            r#"{"version": 2, "kind": "none", "repeats": 1, "ffn": "relu", "qk_norm": false}"#,
            "version 2",
        ),
        ("slender", r#"{"version": 1}"#, "`slender`"),
    ] {
        let text = error_with(key, serde_json::from_str(value).unwrap());
        assert!(text.contains(says), "{key} = {value}: {text}");
    }
    for text in ["", "{", "[]", "{}"] {
        std::fs::write(&config, text).unwrap();
        HfConfig::read(&config).expect_err(text);
    }
    let missing = HfConfig::read(&folder.path().join("none.json")).expect_err("no file");
    assert!(missing.to_string().contains("none.json"), "{missing}");
    // What Hugging Face writes for an unscaled model is accepted.
    let mut json = plain.clone();
    json["rope_parameters"] = serde_json::json!({"rope_type": "default", "rope_theta": 5e5});
    json.as_object_mut().unwrap().remove("rope_theta");
    std::fs::write(&config, json.to_string()).unwrap();
    assert_eq!(HfConfig::read(&config).unwrap().shape.rope_theta, 5e5);
}
