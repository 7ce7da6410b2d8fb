//! Beginning with a checkpoint and learning from conversations, with the real program.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const STEPS: u64 = 40;
const TEMPLATE: &str = "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";

/// An untrained model in `m`, conversations, and configurations that begin with it.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let rows: String = (0..120)
            .map(|i| {
                let kind = ["red", "green", "blue"][i % 3];
                format!("{{\"messages\": [{{\"role\": \"user\", \"content\": \"Colour of {kind} thing {i}?\"}}, {{\"role\": \"assistant\", \"content\": \"It is {kind}.\"}}]}}\n")
            })
            .collect();
        write("chats.jsonl", &rows);
        write("t.jinja", TEMPLATE);
        let text: String = (0..300)
            .map(|i| {
                format!(
                    "user: the thing number {i} is red, green or blue. assistant: {}\n",
                    i * 7
                )
            })
            .collect();
        write("corpus.txt", &text);
        let cache = folder.path().join("cache").display().to_string();
        write(
            "base.toml",
            &format!(
                r#"
[model]
n_layers = 2
dim = 32
n_heads = 4
n_kv_heads = 2
max_seq_len = 64
tie_embeddings = true
layer_sharing = {{ kind = "immediate", repeats = 2 }}
[data]
sources = [{{ kind = "files", paths = ["corpus.txt"] }}]
valid_fraction = 0.0
cache_dir = "{cache}"
[data.tokenizer]
kind = "bpe"
vocab_size = 300
[train]
batch_size = 4
steps = 1
lr = 1e-3
[run]
seed = 3
"#
            ),
        );
        let bench = Self { folder };
        for (name, lr) in [("still", "1e-300"), ("tune", "5e-3")] {
            let text = format!(
                r#"
[model]
from = "m"
[data]
sources = [{{ kind = "files", paths = ["chats.jsonl"], content = "conversations" }}]
valid_fraction = 0.1
document_mask = true
cache_dir = "{cache}"
[data.tokenizer]
chat_template = "t.jinja"
[train]
batch_size = 8
micro_batch_size = 4
steps = {STEPS}
lr = {lr}
weight_decay = 0.0
dropout = 0.1
[eval]
loss_every = 10
[run]
log_every = 1
checkpoint_every = 10
keep_last = 100
"#
            );
            std::fs::write(bench.path(&format!("{name}.toml")), text).unwrap();
        }
        let init = bench.slender(&["init", "base.toml", "--out", "m"]);
        assert!(init.status.success(), "{}", said(&init));
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn slender(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_slender"))
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    fn train(&self, config: &str, run: &str) -> Output {
        self.slender(&["train", config, "--run-dir", run])
    }

    fn weights(&self, run: &str, step: u64) -> Vec<u8> {
        let file = format!("{run}/checkpoints/step-{step:08}/model.safetensors");
        std::fs::read(self.path(&file)).unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn losses(run: &Path, kind: &str) -> Vec<f64> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|line| line["kind"] == kind)
        .map(|line| line["loss"].as_f64().unwrap())
        .collect()
}

#[test]
fn a_run_begins_with_the_checkpoint_and_does_not_need_it_again() {
    let bench = Bench::new();
    // Without a learning rate the weights stay as they were, to the bit.
    let output = bench.train("still.toml", "still");
    assert!(output.status.success(), "{}", said(&output));
    let original = std::fs::read(bench.path("m/model.safetensors")).unwrap();
    assert_eq!(bench.weights("still", STEPS), original);

    // With one, the answers are learned. The model ends texts in more ways than the tokenizer says.
    let ends = json!({"eos_token_id": [257, 0], "temperature": 0.5});
    std::fs::write(bench.path("m/generation_config.json"), ends.to_string()).unwrap();
    let output = bench.train("tune.toml", "tune");
    assert!(output.status.success(), "{}", said(&output));
    let (train, valid) = (
        losses(&bench.path("tune"), "train"),
        losses(&bench.path("tune"), "valid"),
    );
    assert!(train[0] > 5.0 && train[train.len() - 1] < 1.5, "{train:?}");
    assert!(valid[valid.len() - 1] < 1.5, "{valid:?}");
    let run: Value =
        serde_json::from_slice(&std::fs::read(bench.path("tune/run.json")).unwrap()).unwrap();
    let hash = blake3::hash(&original).to_hex().to_string();
    assert_eq!(run["from"]["weights_hash"], hash);
    // The checkpoint can be talked to.
    let settings = bench.path(&format!(
        "tune/checkpoints/step-{STEPS:08}/tokenizer_config.json"
    ));
    let settings: Value = serde_json::from_slice(&std::fs::read(settings).unwrap()).unwrap();
    assert!(
        settings["chat_template"]
            .as_str()
            .unwrap()
            .contains("assistant: ")
    );

    let kept = |file: &str| -> Value {
        serde_json::from_slice(&std::fs::read(bench.path(file)).unwrap()).unwrap()
    };
    let last = format!("tune/checkpoints/step-{STEPS:08}");
    let copy = format!("{last}/generation_config.json");
    assert_eq!(kept("tune/generation_config.json"), ends);
    assert_eq!(kept(&copy), ends);
    assert!(kept(&format!("{last}/state.json"))["files"]["generation_config.json"].is_string());
    assert!(!bench.path("still/generation_config.json").exists());
    let output = bench.slender(&["export", "tune", "--format", "hf", "--out", "out"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(kept("out/generation_config.json"), ends);

    // A run that was cut off goes on from its own files alone, to the same bytes.
    let whole = bench.weights("tune", STEPS);
    std::fs::remove_file(bench.path("tune/status.json")).unwrap();
    for step in [30, STEPS] {
        std::fs::remove_dir_all(bench.path(&format!("tune/checkpoints/step-{step:08}"))).unwrap();
    }
    std::fs::remove_dir_all(bench.path("m")).unwrap();
    std::fs::remove_file(bench.path("t.jinja")).unwrap();
    let output = bench.train("tune/config.toml", "tune");
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains("resuming after step 20"),
        "{}",
        said(&output)
    );
    assert_eq!(bench.weights("tune", STEPS), whole);
    assert_eq!(kept(&copy), ends);

    // A run that has not begun cannot do without.
    let output = bench.train("tune.toml", "new");
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("model.from"), "{}", said(&output));
}

/// Conversations begin as their template writes them; texts begin with BOS.
#[test]
fn what_a_text_begins_with_is_what_the_model_was_trained_on() {
    let bench = Bench::new();
    let begins = |run: &str, sets: &[&str]| {
        let mut arguments = vec!["train", "tune.toml", "--run-dir", run];
        for set in ["train.steps=2", "train.warmup_steps=0"].iter().chain(sets) {
            arguments.extend(["--set", set]);
        }
        let output = bench.slender(&arguments);
        assert!(output.status.success(), "{}", said(&output));
        let (folder, gguf) = (format!("{run}-hf"), format!("{run}.gguf"));
        for (format, out) in [("hf", &folder), ("gguf", &gguf)] {
            let output = bench.slender(&["export", run, "--format", format, "--out", out]);
            assert!(output.status.success(), "{}", said(&output));
        }
        let read = |name: &str| -> Value {
            let file = bench.path(&format!("{folder}/{name}"));
            serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
        };
        let adds = read("tokenizer_config.json")["add_bos_token"] == true;
        let template = slender_data::begins_with_token(&read("tokenizer.json")["post_processor"]);
        let gguf = slender_formats::gguf::GgufFile::open(&bench.path(&gguf)).unwrap();
        let in_gguf = gguf.metadata.get("tokenizer.ggml.add_bos_token").cloned();
        let in_gguf = format!("{in_gguf:?}").contains("true");
        let tokens = |model: &str| {
            let arguments = [
                "generate",
                model,
                "--prompt",
                "a",
                "--max-tokens",
                "1",
                "--json",
            ];
            let output = bench.slender(&arguments);
            let line: Value = serde_json::from_slice(&output.stdout).unwrap();
            line["prompt_tokens"].as_u64().unwrap()
        };
        let generated = tokens(run);
        assert_eq!(generated, tokens(&folder));
        // A checkpoint imported says the same.
        let (checkpoint, copy) = (
            format!("{run}/checkpoints/step-00000002"),
            format!("{run}-in"),
        );
        let output = bench.slender(&["import", &checkpoint, "--out", &copy]);
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(generated, tokens(&copy));
        assert_eq!([adds, template, in_gguf], [generated == 2; 3], "{run}");
        adds
    };
    assert!(!begins("chats", &[]));
    // Whatever names the model that it begins with: a run of texts, or what was exported of it.
    let texts = "data.sources=[{ kind = \"files\", paths = [\"corpus.txt\"], role = \"train\" }]";
    let no_validation = ["data.valid_fraction=0.0", "eval.loss_every=0"];
    assert!(begins("texts", &[&[texts], &no_validation[..]].concat()));
    assert!(!begins("chats-of-run", &["model.from=texts"]));
    assert!(!begins("chats-of-export", &["model.from=texts-hf"]));
    let mixed = "data.sources=[{ kind = \"files\", paths = [\"chats.jsonl\"], content = \"conversations\" }, \
        { kind = \"files\", paths = [\"corpus.txt\"], role = \"train\" }]";
    assert!(begins("mixed", &[mixed]));
}

/// Micro-batches hold unequal numbers of answers; a step is the mean over all that its batch counts.
#[test]
fn micro_batches_do_not_change_what_is_learned() {
    let bench = Bench::new();
    let train = |run: &str, rows: &str| {
        let rows = format!("train.micro_batch_size={rows}");
        let mut arguments = vec!["train", "tune.toml", "--run-dir", run];
        for set in [&*rows, "train.steps=12", "train.dropout=0.0"] {
            arguments.extend(["--set", set]);
        }
        let output = bench.slender(&arguments);
        assert!(output.status.success(), "{}", said(&output));
        losses(&bench.path(run), "train")
    };
    let whole = train("whole", "8");
    assert!(whole[0] - whole[11] > 1.0, "{whole:?}");
    for rows in ["1", "2"] {
        for (a, b) in whole.iter().zip(train(rows, rows)) {
            assert!((a - b).abs() < 1e-4, "{rows}: {a} {b}");
        }
    }
}

#[test]
fn checkpoints_that_do_not_fit_are_refused() {
    let bench = Bench::new();
    let refused = |change: &[&str], part: &str| {
        let mut arguments = vec!["train", "tune.toml", "--run-dir", "run"];
        for set in change {
            arguments.extend(["--set", set]);
        }
        let output = bench.slender(&arguments);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(part), "{}", said(&output));
    };
    refused(&["model.dim=64"], "`model.dim`: is 64");
    refused(
        &["model.from=nowhere"],
        "nowhere is no folder with a config.json",
    );
    refused(
        &["data.tokenizer.chat_template=none.jinja"],
        "data.tokenizer.chat_template: cannot read ",
    );
    std::fs::write(bench.path("m.gguf"), "GGUF").unwrap();
    refused(&["model.from=m.gguf"], "with `slender import ");
    let settings = bench.path("m/generation_config.json");
    std::fs::write(&settings, "{\"eos_token_id\": \"2\"}").unwrap();
    refused(&[], "generation_config.json: `eos_token_id` is \"2\", not");
    std::fs::remove_file(settings).unwrap();
    let config = bench.path("m/config.json");
    let original: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    let with = |key: &str, value: Value| {
        let mut json = original.clone();
        json[key] = value;
        std::fs::write(&config, json.to_string()).unwrap();
    };
    with("rope_scaling", json!({ "type": "linear", "factor": 2.0 }));
    refused(&[], "scal");
    with("hidden_size", json!(64));
    refused(&[], "model.embed_tokens.weight");
}
