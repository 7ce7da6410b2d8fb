//! Numbers and refusals of each reader, against what the formats' own libraries say.
//!
//! The files are those of the fuzz corpus; `golden.json` holds what gguf-py and torch read from them.

use serde_json::Value;
use slender_formats::gguf::GgufFile;
use slender_formats::{
    Blob, Checkpoint, Dtype, FormatError, HfConfig, Storage, Unfinished, llama2c, torch,
    write_gguf, write_model,
};
use std::path::{Path, PathBuf};

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(name)
}

/// A blob whose messages name it by the corpus' short name.
fn blob(name: &str) -> Blob {
    Blob::from_bytes(name, std::fs::read(corpus(name)).unwrap())
}

fn golden(pointer: &str) -> Vec<f32> {
    let json: Value = serde_json::from_str(include_str!("golden.json")).unwrap();
    let list = json.pointer(pointer).unwrap().as_array().unwrap();
    list.iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

#[test]
fn gguf_blocks_are_read_as_its_own_library_reads_them() {
    for name in ["q8_0", "q4_0", "q4_1", "bf16"] {
        let file = GgufFile::read(&blob(&format!("gguf/{name}"))).unwrap();
        let tensor = |name: &str| file.tensors.iter().find(|t| t.name() == name).unwrap();
        let embedding = tensor("token_embd.weight").values().unwrap();
        assert_eq!(embedding[..64], golden(&format!("/{name}/embedding")));
        let k = tensor("blk.0.attn_k.weight");
        assert_eq!(k.dims(), [16, 32]);
        let column: Vec<f32> = k.values().unwrap().chunks(32).map(|row| row[0]).collect();
        assert_eq!(column, golden(&format!("/{name}/k_column")));

        // As a model, the rows of each of the two key heads (of eight) are halves, not pairs.
        let model = Checkpoint::read(&blob(&format!("gguf/{name}"))).unwrap();
        let ours = model
            .tensors
            .iter()
            .find(|t| t.name() == "model.layers.0.self_attn.k_proj.weight");
        let ours: Vec<f32> = ours
            .unwrap()
            .values()
            .unwrap()
            .chunks(32)
            .map(|row| row[0])
            .collect();
        let order = [0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15];
        assert_eq!(ours, order.map(|row| column[row]));
        assert!(model.config.shape.tie_embeddings);
        assert_eq!(model.config.bos_token_id, Some(1));
        assert_eq!(file.metadata.str("tokenizer.ggml.model"), Some("llama"));
        assert_eq!(file.metadata.f64("x.d"), Some(1.5));
    }
}

#[test]
fn gguf_written_is_gguf_read() {
    let model = Checkpoint::read(&blob("gguf/q8_0")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (dtype, file) in [
        (Storage::Keep, "keep"),
        (Storage::As(Dtype::F32), "f32"),
        (Storage::As(Dtype::F16), "f16"),
        (Storage::As(Dtype::Q8_0), "q8_0"),
    ] {
        let path = dir.path().join(file);
        write_gguf(&path, &model, dtype, "m", Default::default()).unwrap();
        let again = Checkpoint::open(&path).unwrap();
        assert_eq!(again.config.shape, model.config.shape);
        let most = |tensor: &slender_formats::LazyTensor| tensor.values().unwrap();
        for (a, b) in model.tensors.iter().zip(&again.tensors) {
            assert_eq!(a.name(), b.name());
            let (a, b) = (most(a), most(b));
            let exact = matches!(dtype, Storage::Keep | Storage::As(Dtype::F32));
            for (a, b) in a.iter().zip(&b) {
                assert!(
                    (a - b).abs() <= if exact { 0.0 } else { 0.02 },
                    "{file} {a} {b}"
                );
            }
        }
    }
}

#[test]
fn torch_tensors_are_read_without_running_anything() {
    let tensors = torch::read(&blob("torch/zip"));
    // The third is a transposed view.
    assert_eq!(
        tensors.unwrap_err().to_string(),
        "torch/zip: weight `c` of shape [2, 2] is not stored row by row (strides [1, 2])\n  hint: call .contiguous() on it before saving, or save as safetensors"
    );
    let tensors = torch::read(&blob("torch/plain")).unwrap();
    let named = |name: &str| tensors.iter().find(|t| t.name() == name).unwrap();
    assert_eq!(named("model.a.weight").dims(), [2, 3]);
    assert_eq!(
        named("model.a.weight").values().unwrap(),
        golden("/torch/model.a.weight")
    );
    assert_eq!(named("b").dtype(), Dtype::F16);
    assert_eq!(named("b").values().unwrap(), golden("/torch/b"));
    let says = |name: &str| torch::read(&blob(name)).unwrap_err().to_string();
    assert_eq!(
        says("torch/code"),
        "torch/code: its pickle asks to call `posix.system`; no code of a checkpoint is run\n  hint: load it where you trust it, and save its state_dict() as safetensors"
    );
    assert_eq!(
        says("torch/legacy"),
        "torch/legacy: not a checkpoint of PyTorch 1.6 or later\n  hint: load it with torch and save it again"
    );
    assert_eq!(
        says("torch/expanded"),
        "torch/expanded: weight `a` of shape [1048576] is not stored row by row (strides [0])\n  hint: call .contiguous() on it before saving, or save as safetensors"
    );
}

#[test]
fn every_version_of_llama2c_is_read() {
    for (name, tied) in [
        ("v0_tied", true),
        ("v0_untied", false),
        ("v1", true),
        ("v2", false),
    ] {
        let model = Checkpoint::read(&blob(&format!("llama2c/{name}"))).unwrap();
        let shape = &model.config.shape;
        assert_eq!((shape.dim, shape.n_layers, shape.n_kv_heads), (4, 2, 1));
        assert_eq!(shape.tie_embeddings, tied, "{name}");
        for tensor in &model.tensors {
            assert!(tensor.values().unwrap().iter().all(|x| x.is_finite()));
        }
    }
    let (_, tensors) = llama2c::read(&blob("llama2c/v0_tied")).unwrap();
    let bytes = std::fs::read(corpus("llama2c/v0_tied")).unwrap();
    let first = f32::from_le_bytes(bytes[28..32].try_into().unwrap());
    assert_eq!(tensors[0].values().unwrap()[0], first);
    let cut = Blob::from_bytes("cut.bin", bytes[..bytes.len() - 4].to_vec());
    assert_eq!(
        Checkpoint::read(&cut).unwrap_err().to_string(),
        format!(
            "cut.bin: has {} bytes; a llama2.c checkpoint, version 0, of 2 layers, dim 4, hidden 6, vocabulary 5 and sequence 3 has {}\n  hint: is the file whole?",
            bytes.len() - 4,
            bytes.len()
        )
    );
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    let says = |name: &str| Checkpoint::read(&blob(name)).unwrap_err().to_string();
    assert_eq!(
        says("gguf/scaled"),
        "gguf/scaled: metadata `llama.rope.scaling.factor` asks for something that is not supported"
    );
    assert_eq!(
        says("gguf/other"),
        "gguf/other: architecture `qwen2` is not supported; llama is"
    );
    let plain = std::fs::read(corpus("hf_config/mobilellm")).unwrap();
    let plain: Value = serde_json::from_slice(&plain).unwrap();
    for (key, value, text) in [
        (
            "sliding_window",
            "4096",
            "`sliding_window` is 4096, which is not supported",
        ),
        (
            "num_local_experts",
            "8",
            "`num_local_experts` is 8, which is not supported",
        ),
        (
            "partial_rotary_factor",
            "0.5",
            "`partial_rotary_factor` is 0.5, which is not supported",
        ),
        (
            "quantization_config",
            "{}",
            "`quantization_config` is {}, which is not supported",
        ),
        (
            "attention_bias",
            "true",
            "`attention_bias` is true; biases are not supported",
        ),
        (
            "layer_types",
            r#"["full_attention", "sliding_attention"]"#,
            "`layer_types` has \"sliding_attention\", which is not supported",
        ),
        (
            "rope_scaling",
            r#"{"rope_type": "llama3"}"#,
            "`rope_scaling` is {\"rope_type\":\"llama3\"}; it asks for scaled positions, which are not supported",
        ),
        (
            "rope_scaling",
            r#"{"factor": 8.0}"#,
            "`rope_scaling` is {\"factor\":8.0}; it asks for scaled positions, which are not supported",
        ),
        (
            "rope_parameters",
            r#"{"rope_type": "default", "type": "yarn"}"#,
            "`rope_parameters` is {\"rope_type\":\"default\",\"type\":\"yarn\"}; it asks for scaled positions, which are not supported",
        ),
        (
            "rope_parameters",
            r#"{"rope_type": "default", "partial_rotary_factor": 0.5}"#,
            "`rope_parameters` is {\"rope_type\":\"default\",\"partial_rotary_factor\":0.5}; it asks for scaled positions, which are not supported",
        ),
        (
            "rope_scaling",
            r#""linear""#,
            "`rope_scaling` is \"linear\"; it asks for scaled positions, which are not supported",
        ),
        ("layer_types", "7", "`layer_types` is 7, not a list"),
    ] {
        let mut json = plain.clone();
        json[key] = serde_json::from_str(value).unwrap();
        let error = HfConfig::parse(Path::new("c"), json.to_string().as_bytes()).unwrap_err();
        assert!(matches!(error, FormatError::Unsupported { .. }), "{error}");
        assert_eq!(error.to_string(), format!("c: {text}"));
    }
}

#[test]
fn a_config_that_is_no_json_says_the_way_out() {
    for text in ["", "{\"a\":"] {
        let error = HfConfig::parse(Path::new("c"), text.as_bytes()).unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("c: not JSON: ") && error.contains("hint: "),
            "{error}"
        );
    }
}

#[test]
fn sharing_is_expanded_in_its_order_of_execution() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = Checkpoint::read(&blob("llama2c/v1")).unwrap();
    model.config.shape.sharing = slender_config::SharingKind::Reverse;
    model.config.shape.repeats = 2;
    let out = Unfinished::folder(&folder.path().join("compact")).unwrap();
    // Small shards, so that the index is written too.
    write_model(&out, &model, Storage::Keep, 100).unwrap();
    out.finish().unwrap();
    let compact = Checkpoint::open(&folder.path().join("compact")).unwrap();
    assert_eq!(compact.config, model.config);
    assert!(compact.files.len() > 3);
    let expanded = compact.expanded().unwrap();
    assert!(expanded.config.is_plain_llama());
    assert_eq!(expanded.config.shape.n_layers, 4);
    let q = |model: &Checkpoint, layer: usize| {
        let name = format!("model.layers.{layer}.self_attn.q_proj.weight");
        let tensor = model.tensors.iter().find(|t| t.name() == name).unwrap();
        tensor.values().unwrap()
    };
    for (layer, block) in [0, 1, 1, 0].into_iter().enumerate() {
        assert_eq!(q(&expanded, layer), q(&model, block));
    }
    let out = Unfinished::folder(&folder.path().join("expanded")).unwrap();
    write_model(&out, &expanded, Storage::As(Dtype::Bf16), 1 << 20).unwrap();
    assert!(!folder.path().join("expanded").exists());
    out.finish().unwrap();
    let read = Checkpoint::open(&folder.path().join("expanded")).unwrap();
    assert_eq!(read.config, expanded.config);
    assert_eq!(read.plain_dtype(), Dtype::Bf16);
}

#[test]
fn an_unfinished_folder_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("a/b");
    let folder = Unfinished::folder(&target).unwrap();
    folder.write("x", "y").unwrap();
    drop(folder);
    assert_eq!(std::fs::read_dir(dir.path().join("a")).unwrap().count(), 0);
    std::fs::create_dir(&target).unwrap();
    let error = Unfinished::folder(&target).unwrap_err().to_string();
    assert!(
        error.ends_with("b exists\n  hint: choose a path that does not"),
        "{error}"
    );
}

#[test]
fn an_index_that_lies_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let model = Checkpoint::read(&blob("llama2c/v1")).unwrap();
    let target = dir.path().join("m");
    let out = Unfinished::folder(&target).unwrap();
    write_model(&out, &model, Storage::Keep, 500).unwrap();
    out.finish().unwrap();
    let index = target.join("model.safetensors.index.json");
    let text = std::fs::read_to_string(&index).unwrap();
    let two = "\"model-00002-of-00003.safetensors\"";
    assert!(text.contains(two), "{text}");
    std::fs::write(
        &index,
        text.replacen(two, "\"model-00001-of-00003.safetensors\"", 1),
    )
    .unwrap();
    let error = Checkpoint::open(&target).unwrap_err().to_string();
    assert!(error.contains("not where the index says"), "{error}");
}

/// A `config.json` with some keys replaced.
fn config_with(changes: &[(&str, &str)]) -> Result<HfConfig, String> {
    let mut json: Value =
        serde_json::from_slice(&std::fs::read(corpus("hf_config/smollm2")).unwrap()).unwrap();
    for (key, value) in changes {
        json[*key] = serde_json::from_str(value).unwrap();
    }
    HfConfig::parse(Path::new("c"), json.to_string().as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn values_of_another_type_are_errors_and_null_is_absence() {
    let plain = config_with(&[]).unwrap();
    for (key, value, kind) in [
        ("rope_theta", "\"500000\"", "a number"),
        ("rms_norm_eps", "\"1e-3\"", "a number"),
        ("initializer_range", "[0.02]", "a number"),
        ("num_key_value_heads", "\"3\"", "a whole number"),
        ("num_key_value_heads", "1.5", "a whole number"),
        ("head_dim", "-64", "a whole number"),
        ("hidden_size", "\"576\"", "a whole number"),
        ("tie_word_embeddings", "\"true\"", "true or false"),
        ("share_embedding", "1", "true or false"),
        ("layer_sharing", "\"immediate\"", "true or false"),
        ("hidden_act", "[\"silu\"]", "a text"),
        ("bos_token_id", "\"1\"", "a token's number"),
        (
            "eos_token_id",
            "\"2\"",
            "a token's number or a list of them",
        ),
        (
            "eos_token_id",
            "[2,null]",
            "a token's number or a list of them",
        ),
    ] {
        let error = config_with(&[(key, value)]).unwrap_err();
        assert_eq!(error, format!("c: `{key}` is {value}, not {kind}"));
    }
    assert_eq!(
        config_with(&[("rope_parameters", r#"{"rope_theta": "5e5"}"#)]).unwrap_err(),
        "c: `rope_parameters.rope_theta` is \"5e5\", not a number"
    );
    let long = format!("\"{}\"", "é".repeat(100));
    let error = config_with(&[("rms_norm_eps", &long)]).unwrap_err();
    assert!(error.ends_with("é…, not a number"), "{error}");
    assert_eq!(
        config_with(&[("hidden_size", "null")]).unwrap_err(),
        "c: `hidden_size` is missing"
    );
    let nulls = config_with(&[
        ("head_dim", "null"),
        ("layer_sharing", "null"),
        ("rope_scaling", "null"),
        ("hidden_act", "null"),
        ("slender", "null"),
    ]);
    assert_eq!(nulls.unwrap(), plain);
}

#[test]
fn two_bases_of_the_rotary_embedding_must_be_one() {
    let theta = |a: &str, b: &str| {
        config_with(&[("rope_theta", a), ("rope_parameters", b)]).map(|c| c.shape.rope_theta)
    };
    assert_eq!(
        theta("10000", r#"{"rope_theta": 500000}"#).unwrap_err(),
        "c: `rope_theta` is 10000 and `rope_parameters.rope_theta` is 500000\n  hint: write in both what the model was trained with, or leave one out"
    );
    let both = theta("500000", r#"{"rope_theta": 5e5, "rope_type": "default"}"#);
    assert_eq!(both, Ok(5e5));
    assert_eq!(theta("null", r#"{"rope_theta": 7e5}"#), Ok(7e5));
    assert_eq!(theta("8e5", "null"), Ok(8e5));
    assert_eq!(theta("null", "null"), Ok(1e4));
}

#[test]
fn every_end_token_is_kept() {
    let config = config_with(&[("eos_token_id", "[2, 426]")]).unwrap();
    assert_eq!(config.eos_token_ids, [2, 426]);
    let again = HfConfig::parse(Path::new("c"), config.to_json().as_bytes()).unwrap();
    assert_eq!(again, config);
    assert!(config.generation_config().unwrap().contains("426"));
    let one = config_with(&[("eos_token_id", "2")]).unwrap();
    assert!(one.to_json().contains("\"eos_token_id\": 2,"));
    assert_eq!(one.generation_config(), None);
    let none = config_with(&[("eos_token_id", "null")]).unwrap();
    assert!(none.to_json().contains("\"eos_token_id\": null,"));

    let mut meta = slender_formats::gguf::GgufMetadata::new();
    assert_eq!(
        slender_formats::gguf::add_ends(&mut meta, &[3, 4]),
        [0u32; 0]
    );
    let ids = |meta: &slender_formats::gguf::GgufMetadata| {
        ["eos", "eot", "eom"].map(|name| meta.u64(&format!("tokenizer.ggml.{name}_token_id")))
    };
    assert_eq!(ids(&meta), [Some(3), Some(4), None]);
    assert_eq!(
        slender_formats::gguf::add_ends(&mut meta, &[5, 3, 6, 7]),
        [7]
    );
    assert_eq!(ids(&meta), [Some(3), Some(5), Some(6)]);

    // A conversation's own ends in GGUF; one beyond the vocabulary is none.
    let model = Checkpoint::read(&blob("gguf/bf16")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("turns.gguf");
    let mut extra = slender_formats::gguf::GgufMetadata::new();
    for (name, id) in [("eos", 2u32), ("eot", 0), ("eom", 4_000_000_000)] {
        extra.set(format!("tokenizer.ggml.{name}_token_id"), id);
    }
    write_gguf(&path, &model, Storage::Keep, "m", extra).unwrap();
    let read = Checkpoint::open(&path).unwrap();
    assert_eq!(read.config.eos_token_ids, [2, 0]);
}

#[test]
fn files_that_stand_for_others_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let says = |path: &Path| Checkpoint::open(path).unwrap_err().to_string();
    // A folder of a llama2.c checkpoint.
    std::fs::copy(corpus("llama2c/v1"), path("tiny.bin")).unwrap();
    std::fs::write(path("a-tokenizer.bin"), "no model").unwrap();
    let error = says(dir.path());
    let hint = format!(
        "is not a model: it has neither config.json nor a GGUF file\n  hint: there is a llama2.c checkpoint in it: give {}",
        path("tiny.bin").display()
    );
    assert!(error.ends_with(&hint), "{error}");

    // One of several GGUF files.
    let model = Checkpoint::read(&blob("gguf/bf16")).unwrap();
    let mut extra = slender_formats::gguf::GgufMetadata::new();
    extra.set("split.count", 2u32);
    let first = path("m-00001-of-00002.gguf");
    write_gguf(&first, &model, Storage::Keep, "m", extra).unwrap();
    std::fs::copy(&first, path("m-00002-of-00002.gguf")).unwrap();
    for source in [&*first, dir.path()] {
        let error = says(source);
        assert!(
            error.contains(
                "m-00001-of-00002.gguf: is one of the 2 files of a split model (`split.count`)"
            ) && error.contains("hint: join them with"),
            "{error}"
        );
    }

    // A pointer of git-lfs.
    let pointed = path("pointed");
    std::fs::create_dir(&pointed).unwrap();
    std::fs::copy(corpus("hf_config/smollm2"), pointed.join("config.json")).unwrap();
    std::fs::write(
        pointed.join("model.safetensors"),
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 538090408\n",
    )
    .unwrap();
    let error = says(&pointed);
    assert!(
        error.contains("model.safetensors: a git-lfs pointer, not the file it stands for\n  hint: run `git lfs pull`"),
        "{error}"
    );

    // A run directory.
    let run = path("run");
    std::fs::create_dir_all(run.join("checkpoints/step-00000004")).unwrap();
    std::fs::write(run.join("run.json"), "{}").unwrap();
    let newest = run.join("checkpoints/step-00000004");
    assert!(
        says(&run).ends_with(&format!(
            "is not a model: it is a run directory, whose checkpoints are model folders\n  hint: give one of them, the newest is {}; other commands take the run itself",
            newest.display()
        )),
        "{}",
        says(&run)
    );
}

#[test]
fn a_model_to_be_imported_is_told_from_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let says = |path: &Path| {
        let found = slender_formats::resolve_model_dir(path);
        let found = found.and_then(|dir| slender_formats::weight_files(&dir));
        found.unwrap_err().to_string()
    };
    std::fs::write(path("text.txt"), "no model").unwrap();
    assert!(says(&path("text.txt")).contains("it is a file\n  hint: give a run directory"));
    std::fs::copy(corpus("llama2c/v1"), path("tiny.bin")).unwrap();
    std::fs::copy(corpus("gguf/q8_0"), path("tiny.gguf")).unwrap();
    let folder = path("hf");
    std::fs::create_dir(&folder).unwrap();
    let torch = folder.join("pytorch_model.bin");
    std::fs::copy(corpus("torch/plain"), &torch).unwrap();
    assert!(says(&torch).contains("give a run directory"));
    std::fs::copy(corpus("hf_config/smollm2"), folder.join("config.json")).unwrap();
    for (given, source) in [
        (&path("tiny.bin"), &path("tiny.bin")),
        (&path("tiny.gguf"), &path("tiny.gguf")),
        (&dir.path().to_owned(), &dir.path().to_owned()),
        (&torch, &folder),
        (&folder, &folder),
    ] {
        let hint = format!(
            "  hint: make a model folder of it with `slender import {} --out DIR`, and give DIR",
            source.display()
        );
        let error = says(given);
        assert!(error.ends_with(&hint), "{error}");
    }
}

#[test]
fn small_defects_of_files_are_forgiven_or_named() {
    let mut marked = b"\xEF\xBB\xBF".to_vec();
    marked.extend(std::fs::read(corpus("hf_config/smollm2")).unwrap());
    assert_eq!(
        HfConfig::parse(Path::new("c"), &marked).unwrap(),
        config_with(&[]).unwrap()
    );

    let mut tokenizer = 3u32.to_le_bytes().to_vec();
    for piece in ["a", "bc", "def"] {
        tokenizer.extend(0f32.to_le_bytes());
        tokenizer.extend((piece.len() as u32).to_le_bytes());
        tokenizer.extend(piece.as_bytes());
    }
    let read = |bytes: &[u8]| llama2c::sentencepiece(&Blob::from_bytes("t.bin", bytes.to_vec()));
    assert!(read(&tokenizer).is_ok());
    for cut in [1, 4, 9] {
        let error = read(&tokenizer[..tokenizer.len() - cut])
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("t.bin: not a whole llama2.c tokenizer: ends at byte")
                && error.ends_with("\n  hint: is the file whole?"),
            "{error}"
        );
    }
}
