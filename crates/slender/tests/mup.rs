//! The maximal update parametrization on the real program: at its base it changes no bit, away from
//! it the weights follow the table, and the checkpoint stays a plain Llama.

use safetensors::SafeTensors;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text: String = (0..400)
            .map(|i| format!("{i} geese and {} ducks cross the river.\n", i * i % 31))
            .collect();
        std::fs::write(folder.path().join("corpus.txt"), text).unwrap();
        let config = format!(
            r#"
[model]
n_layers = 2
dim = 64
n_heads = 4
n_kv_heads = 2
ffn_hidden = 128
max_seq_len = 32
tie_embeddings = true
layer_sharing = {{ kind = "none" }}
[data]
sources = [{{ kind = "files", paths = ["corpus.txt"] }}]
valid_fraction = 0.0
cache_dir = "{cache}"
[data.tokenizer]
kind = "bpe"
vocab_size = 300
[train]
batch_size = 4
steps = 6
lr = 3e-3
"#,
            cache = folder.path().join("cache").display()
        );
        std::fs::write(folder.path().join("run.toml"), config).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn slender(&self, args: &[&str], sets: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slender"));
        command
            .arg(args[0])
            .arg(self.path("run.toml"))
            .args(&args[1..]);
        for set in sets {
            command.args(["--set", set]);
        }
        command.output().unwrap()
    }

    fn train(&self, run: &str, sets: &[&str]) -> Vec<u8> {
        let dir = self.path(run);
        let output = self.slender(&["train", "--run-dir", dir.to_str().unwrap()], sets);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        std::fs::read(dir.join("checkpoints/step-00000006/model.safetensors")).unwrap()
    }
}

/// Root mean square of a weight.
fn rms(folder: &Path, name: &str) -> f64 {
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let data = tensors.tensor(name).unwrap().data().to_vec();
    let values = data
        .chunks(4)
        .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())));
    let count = values.len() as f64;
    (values.map(|x| x * x).sum::<f64>() / count).sqrt()
}

#[test]
fn at_its_base_mup_changes_no_bit_and_elsewhere_it_does() {
    let bench = Bench::new();
    let standard = bench.train("standard", &[]);
    let mup = "train.parametrization=mup";
    let at_base = bench.train(
        "base",
        &[
            mup,
            "train.base_dim=64",
            "train.base_layers=2",
            "train.base_head_dim=16",
        ],
    );
    assert!(standard == at_base, "at the base every factor is one");
    for other in [
        "train.base_dim=32",
        "train.base_layers=1",
        "train.base_head_dim=8",
    ] {
        let run = other.replace('=', "-");
        let base = if other.contains("base_dim") {
            other
        } else {
            "train.base_dim=64"
        };
        assert!(
            standard != bench.train(&run, &[mup, base, other]),
            "{other} changed nothing"
        );
    }
    let config = bench.path("base/checkpoints/step-00000006/config.json");
    assert!(
        std::fs::read_to_string(config)
            .unwrap()
            .contains("LlamaForCausalLM")
    );
}

#[test]
fn initial_weights_follow_the_table() {
    let bench = Bench::new();
    let model = bench.path("model");
    let sets = [
        "train.parametrization=mup",
        "train.base_dim=16",
        "train.base_layers=1",
    ];
    let output = bench.slender(&["init", "--out", model.to_str().unwrap()], &sets);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // Four times the base width, twice the base depth; the standard deviation at the base is 0.02.
    let near = |name: &str, expected: f64| {
        let found = rms(&model, name);
        assert!(
            (found / expected - 1.0).abs() < 0.05,
            "{name}: {found}, expected {expected}"
        );
    };
    near("model.embed_tokens.weight", 0.02);
    near("model.layers.1.self_attn.q_proj.weight", 0.01);
    near("model.layers.1.mlp.down_proj.weight", 0.005);
    near("model.layers.1.input_layernorm.weight", 1.0);
    near("model.norm.weight", 0.25);
}

#[test]
fn keys_that_do_nothing_are_refused_with_the_way_out() {
    let bench = Bench::new();
    let said = |sets: &[&str]| {
        let output = bench.slender(&["train"], sets);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let text = said(&["train.base_dim=64"]);
    assert!(
        text.contains("`train.base_dim`: does nothing in the standard parametrization"),
        "{text}"
    );
    let text = said(&["train.parametrization=mup"]);
    assert!(
        text.contains("`train.base_dim`: is missing") && text.contains("hint: "),
        "{text}"
    );
    let text = said(&[
        "train.parametrization=mup",
        "train.base_dim=64",
        "train.depth_alpha=1",
    ]);
    assert!(
        text.contains("`train.depth_alpha`: does nothing without train.base_layers"),
        "{text}"
    );
    let text = said(&["train.parametrization=mup", "train.base_dim=0"]);
    assert!(
        text.contains("`train.base_dim`: must be at least 1"),
        "{text}"
    );
}
