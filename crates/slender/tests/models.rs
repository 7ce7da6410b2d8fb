//! Import and export as their users meet them: the real program on small files, its messages word for word.
//!
//! The files are those of the fuzz corpus, which hold whole models of a few hundred numbers.

use serde_json::Value;
use slender_formats::gguf::GgufMetadata;
use slender_formats::{Checkpoint, Dtype, Storage, write_gguf};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_slender"))
            .args(arguments)
            .current_dir(self.0.path())
            .env("SLENDER_CACHE", self.path("cache"))
            .env("HF_HOME", self.path("hf"))
            .env("HF_HUB_OFFLINE", "1")
            .env("NO_COLOR", "1")
            .output()
            .unwrap()
    }

    /// stdout of a command that succeeds.
    fn stdout(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Exit code and stderr of a command that fails, which says nothing on stdout and leaves nothing behind.
    fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let before = self.names();
        let output = self.run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{stderr}"
        );
        assert_eq!(self.names(), before, "{arguments:?} left something");
        (output.status.code().unwrap(), stderr)
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "hf" && name != "cache")
            .collect();
        names.sort();
        names
    }

    /// Copies a file of the corpus here.
    fn corpus(&self, name: &str, to: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        std::fs::copy(path.join(name), self.path(to)).unwrap();
    }

    /// A byte-level tokenizer.json of `n` letters, the first two of which are special.
    fn tokenizer(&self, to: &str, n: usize) {
        let names = ["<s>", "</s>", "a", "b", "c", "d", "e"];
        let vocab: serde_json::Map<String, Value> = names[..n]
            .iter()
            .enumerate()
            .map(|(id, name)| ((*name).to_owned(), id.into()))
            .collect();
        let special = |id: usize| {
            serde_json::json!({"id": id, "content": names[id], "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true})
        };
        let json = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [special(0), special(1)],
            "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false,
                "trim_offsets": true, "use_regex": true},
            "post_processor": null, "decoder": {"type": "ByteLevel", "add_prefix_space": false,
                "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []},
        });
        std::fs::write(self.path(to), json.to_string()).unwrap();
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }
}

#[test]
fn a_llama2c_checkpoint_comes_in_and_goes_out() {
    let folder = Folder::new();
    folder.corpus("llama2c/v0_tied", "tiny.bin");
    folder.tokenizer("tokenizer.json", 5);
    let import = [
        "import",
        "tiny.bin",
        "--tokenizer",
        "tokenizer.json",
        "--out",
        "model",
    ];
    assert_eq!(folder.stdout(&import), "model\n");
    assert_eq!(
        folder.fails(&import),
        (
            2,
            "error: model exists\n  hint: choose a path that does not\n".into()
        )
    );
    let original = Checkpoint::open(&folder.path("tiny.bin")).unwrap();
    let model = Checkpoint::open(&folder.path("model")).unwrap();
    assert_eq!(model.config.shape, original.config.shape);
    for (a, b) in original.tensors.iter().zip(&model.tensors) {
        assert_eq!(a.values().unwrap(), b.values().unwrap(), "{}", a.name());
    }

    // llama2.c begins every text with BOS; the folder says so, to Python and to llama.cpp.
    let begins = |name: &str| {
        let tokenizer = folder.json(&format!("{name}/tokenizer.json"));
        slender_data::begins_with_token(&tokenizer["post_processor"])
    };
    assert!(begins("model"));
    let prompt = "generate model --prompt a --max-tokens 1 --json";
    let line = folder.stdout(&prompt.split(' ').collect::<Vec<_>>());
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["prompt_tokens"], 2);

    // In shards and as bf16, with what transformers wants beside the weights.
    let export = "export model --format hf --dtype bf16 --max-shard-size 1KB --out hf-model";
    folder.stdout(&export.split(' ').collect::<Vec<_>>());
    let exported = Checkpoint::open(&folder.path("hf-model")).unwrap();
    assert_eq!(exported.plain_dtype(), Dtype::Bf16);
    let config = folder.json("hf-model/config.json");
    assert_eq!(config["architectures"][0], "LlamaForCausalLM");
    assert_eq!(config["tie_word_embeddings"], true);
    assert_eq!(config["dtype"], "bfloat16");
    let settings = folder.json("hf-model/tokenizer_config.json");
    assert_eq!(settings["bos_token"], "<s>");
    assert_eq!(settings["model_max_length"], 3);
    assert!(begins("hf-model") && settings["add_bos_token"] == true);
    let card = std::fs::read_to_string(folder.path("hf-model/README.md")).unwrap();
    assert!(
        card.contains("| layers | 2 |") && card.contains("| embeddings | tied |"),
        "{card}"
    );
    for name in [
        "special_tokens_map.json",
        "generation_config.json",
        "tokenizer.json",
    ] {
        folder.json(&format!("hf-model/{name}"));
    }
}

#[test]
fn a_gguf_file_comes_in_with_its_tokenizer_and_goes_out_again() {
    let folder = Folder::new();
    folder.corpus("gguf/q8_0", "tiny.gguf");
    folder.stdout(&["import", "tiny.gguf", "--out", "model"]);
    let settings = folder.json("model/tokenizer_config.json");
    assert_eq!(settings["bos_token"], "<s>");
    for (dtype, size) in [
        ("f32", 4.0),
        ("f16", 2.0),
        ("bf16", 2.0),
        ("q8_0", 34.0 / 32.0),
    ] {
        let file = format!("{dtype}.gguf");
        folder.stdout(&[
            "export", "model", "--format", "gguf", "--dtype", dtype, "--out", &file,
        ]);
        let matrices = 6272.0 * size;
        let length = std::fs::metadata(folder.path(&file)).unwrap().len() as f64;
        assert!(
            length > matrices && length < matrices + 3000.0,
            "{dtype}: {length}"
        );
        let out = format!("again-{dtype}");
        folder.stdout(&["import", &file, "--out", &out]);
        let values = |name: &str| {
            let model = Checkpoint::open(&folder.path(name)).unwrap();
            let tensors = model.tensors.iter();
            tensors
                .map(|tensor| tensor.values().unwrap())
                .collect::<Vec<_>>()
        };
        let (before, after) = (values("model"), values(&out));
        // What was in 8 bits is in 8 bits again, up to the scale's own rounding.
        let most = |a: &f32, b: &f32| (a - b).abs() <= if dtype == "f32" { 0.0 } else { 0.01 };
        for (a, b) in before.iter().flatten().zip(after.iter().flatten()) {
            assert!(most(a, b), "{dtype}: {a} {b}");
        }
        let tokenizer = |name: &str| std::fs::read_to_string(folder.path(name)).unwrap();
        assert_eq!(
            tokenizer("model/tokenizer.json"),
            tokenizer(&format!("{out}/tokenizer.json"))
        );
    }
}

#[test]
fn sources_that_are_no_models_are_told_apart() {
    let folder = Folder::new();
    folder.corpus("llama2c/v0_tied", "tiny.bin");
    folder.corpus("gguf/other", "other.gguf");
    folder.corpus("torch/plain", "pytorch_model.bin");
    folder.tokenizer("large.json", 7);
    let import = |source: &str| folder.fails(&["import", source, "--out", "model"]);
    assert_eq!(
        import("nothing"),
        (2, "error: nothing is not a model: there is no such file or folder\n  hint: give a folder with config.json and weights, a .gguf file, a llama2.c .bin file, or the name of a hub repository such as HuggingFaceTB/SmolLM2-135M\n".into())
    );
    assert_eq!(
        import("."),
        (
            70,
            "error: ./other.gguf: architecture `qwen2` is not supported; llama is\n".into()
        )
    );
    assert_eq!(
        import("pytorch_model.bin"),
        (2, "error: pytorch_model.bin is not a model: a PyTorch file alone says nothing of the model's shape\n  hint: give the folder with it and its config.json\n".into())
    );
    assert_eq!(
        import("large.json"),
        (70, "error: large.json: neither GGUF nor a llama2.c checkpoint: its first numbers make no model\n".into())
    );
    assert_eq!(
        import("tiny.bin"),
        (2, "error: there is no tokenizer.bin beside tiny.bin\n  hint: name one with --tokenizer FILE\n".into())
    );
    let (code, text) = folder.fails(&[
        "import",
        "tiny.bin",
        "--tokenizer",
        "large.json",
        "--out",
        "model",
    ]);
    assert_eq!(
        (code, text.as_str()),
        (
            2,
            "error: the tokenizer large.json has 7 tokens, the embedding of tiny.bin only 5 rows\n  hint: give the model's own with --tokenizer\n"
        )
    );
    let (code, text) = import("someone/something");
    assert_eq!(code, 70, "{text}");
    // Said before anything is fetched, and again with what came of it.
    let begins = "there is no someone/something here; looking for a hub repository of this name\nerror: there is no file or folder someone/something here, and as a hub repository: ";
    assert!(text.starts_with(begins), "{text}");
    assert!(
        text.contains("HF_HUB_OFFLINE is set")
            && text.ends_with("\n  hint: check the path if something here was meant\n"),
        "{text}"
    );
}

#[test]
fn every_token_that_ends_a_text_comes_in_and_goes_out() {
    let folder = Folder::new();
    // GGUF has keys of their own for the tokens that end an answer.
    folder.corpus("gguf/q8_0", "plain.gguf");
    let plain = Checkpoint::open(&folder.path("plain.gguf")).unwrap();
    let mut fields = GgufMetadata::new();
    for (key, value) in plain.gguf.as_ref().unwrap().iter() {
        if key.starts_with("tokenizer.") {
            fields.set(key, value.clone());
        }
    }
    fields.set("tokenizer.ggml.eos_token_id", 2u32);
    fields.set("tokenizer.ggml.eot_token_id", 1u32);
    fields.set("tokenizer.ggml.eom_token_id", 0u32);
    let file = folder.path("turns.gguf");
    write_gguf(&file, &plain, Storage::Keep, "m", fields).unwrap();
    folder.stdout(&["import", "turns.gguf", "--out", "model"]);
    let ends = |name: &str| folder.json(name)["eos_token_id"].clone();
    let all = serde_json::json!([2, 1, 0]);
    assert_eq!(ends("model/config.json"), all);
    assert_eq!(ends("model/generation_config.json"), all);
    folder.stdout(&["export", "model", "--format", "gguf", "--out", "out.gguf"]);
    let out = Checkpoint::open(&folder.path("out.gguf")).unwrap();
    assert_eq!(out.config.eos_token_ids, [2, 1, 0]);

    // A folder that names them in config.json alone.
    std::fs::remove_file(folder.path("model/generation_config.json")).unwrap();
    folder.stdout(&["import", "model", "--out", "again"]);
    assert_eq!(ends("again/config.json"), all);
    folder.stdout(&["export", "model", "--format", "hf", "--out", "hf-out"]);
    assert_eq!(ends("hf-out/config.json"), all);
    assert_eq!(ends("hf-out/generation_config.json"), all);

    let damaged = folder.path("model/generation_config.json");
    std::fs::write(damaged, "{\"eos_token_id\": [2,").unwrap();
    let (code, text) = folder.fails(&["import", "model", "--out", "x"]);
    assert!(
        code == 70
            && text.starts_with("error: model/generation_config.json: not JSON: EOF while parsing"),
        "{text}"
    );
}

#[test]
fn a_pickle_that_asks_for_code_is_an_error() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("evil")).unwrap();
    folder.corpus("hf_config/mobilellm", "evil/config.json");
    folder.corpus("torch/code", "evil/pytorch_model.bin");
    assert_eq!(
        folder.fails(&["import", "evil", "--out", "model"]),
        (70, "error: evil/pytorch_model.bin: its pickle asks to call `posix.system`; no code of a checkpoint is run\n  hint: load it where you trust it, and save its state_dict() as safetensors\n".into())
    );
}

#[test]
fn what_a_llama_cannot_say_is_exported_compact_or_not() {
    let folder = Folder::new();
    folder.corpus("llama2c/v1", "tiny.bin");
    folder.tokenizer("tokenizer.json", 5);
    folder.stdout(&[
        "import",
        "tiny.bin",
        "--tokenizer",
        "tokenizer.json",
        "--out",
        "model",
    ]);
    // The same weights, shared: each block twice.
    let mut config = folder.json("model/config.json");
    config["model_type"] = "slender".into();
    config["slender"] = serde_json::json!({"version": 1, "kind": "immediate", "repeats": 2,
        "ffn": "swiglu", "qk_norm": false});
    std::fs::write(folder.path("model/config.json"), config.to_string()).unwrap();
    folder.stdout(&["export", "model", "--format", "hf", "--out", "expanded"]);
    assert_eq!(folder.json("expanded/config.json")["num_hidden_layers"], 4);
    assert_eq!(folder.json("expanded/config.json")["model_type"], "llama");
    folder.stdout(&[
        "export",
        "model",
        "--format",
        "hf",
        "--sharing",
        "compact",
        "--out",
        "compact",
    ]);
    assert_eq!(
        folder.json("compact/config.json")["architectures"][0],
        "SlenderForCausalLM"
    );
    let bytes = |name: &str| std::fs::read(folder.path(name)).unwrap();
    assert_eq!(
        bytes("compact/model.safetensors"),
        bytes("model/model.safetensors")
    );
    let shape = |name: &str| Checkpoint::open(&folder.path(name)).unwrap().config.shape;
    assert_eq!(shape("compact"), shape("model"));

    assert_eq!(
        folder.fails(&[
            "export", "model", "--format", "hf", "--dtype", "q8_0", "--out", "x"
        ]),
        (
            2,
            "error: safetensors has no q8_0\n  hint: choose --dtype f32, bf16 or f16\n".into()
        )
    );
    assert_eq!(
        folder.fails(&[
            "export",
            "model",
            "--format",
            "gguf",
            "--sharing",
            "compact",
            "--out",
            "x"
        ]),
        (
            2,
            "error: --sharing compact is for --format hf; GGUF has no place for shared blocks\n"
                .into()
        )
    );
    config["slender"]["qk_norm"] = true.into();
    config["slender"]["repeats"] = 1.into();
    config["slender"]["kind"] = "none".into();
    let formats = ["hf", "gguf"];
    std::fs::write(folder.path("model/config.json"), config.to_string()).unwrap();
    for format in formats {
        let (code, text) = folder.fails(&["export", "model", "--format", format, "--out", "x"]);
        // The weights of the norms are not there, which is found first.
        assert_eq!(code, 70, "{text}");
        assert!(
            text.contains("weight `model.layers.0.self_attn.q_norm.weight` is missing"),
            "{text}"
        );
    }
    assert_eq!(
        folder.fails(&["export", "nothing", "--format", "hf", "--out", "x"]),
        (2, "error: nothing is not a model: there is no such folder\n  hint: give a run directory, one of its checkpoints, or a folder with config.json, model.safetensors and tokenizer.json\n".into())
    );
    let (code, text) = folder.fails(&[
        "export",
        "model",
        "--format",
        "hf",
        "--max-shard-size",
        "5 apples",
        "--out",
        "x",
    ]);
    assert!(
        code == 2 && text.contains("write a size such as 500MB or 5GB"),
        "{text}"
    );
}
