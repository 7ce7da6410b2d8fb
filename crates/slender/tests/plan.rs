//! Planning with the real program: sweep files, their slips, costs, and shapes; nothing trains.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

const BASE: &str = r#"[model]
n_layers = 2
dim = 32
n_heads = 4
n_kv_heads = 2
max_seq_len = 64
tie_embeddings = true
layer_sharing = { kind = "none" }
[data]
sources = [{ kind = "builtin", name = "books-mini" }]
tokenizer = { kind = "bpe", vocab_size = 512 }
[train]
batch_size = 4
steps = 10
lr = 1e-3
"#;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("base.toml", BASE);
        folder
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_slender"))
            .args(arguments)
            .current_dir(self.0.path())
            .env("SLENDER_CACHE", self.0.path().join("cache"))
            .env("HF_HUB_OFFLINE", "1")
            .env("NO_COLOR", "1")
            .output()
            .unwrap()
    }

    fn stdout(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.stdout(arguments)).unwrap()
    }

    fn misuse(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{arguments:?} wrote to stdout");
        stderr
    }
}

fn experiments() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments")
}

#[test]
fn a_plan_says_what_a_sweep_costs_and_starts_nothing() {
    let folder = Folder::new();
    folder.write(
        "grid.toml",
        "[sweep]\nbase = \"base.toml\"\nseeds = 2\n[axes]\nmodel.n_layers = [2, 4]\n",
    );
    let plan = ["sweep", "plan", "grid.toml", "--flops-per-s", "1e9"];
    let text = folder.stdout(&plan);
    assert!(text.starts_with("run "), "{text}");
    assert!(text.contains("\nbase-n_layers4-s1  4x32-gqa2"), "{text}");
    assert!(text.contains("\n4 runs of 2 variants: "), "{text}");
    assert!(text.contains("at 1.0 GFLOP/s (as given)"), "{text}");
    assert!(!folder.0.path().join("sweeps").exists());

    let json = folder.json(&[&plan[..], &["--json"]].concat());
    assert_eq!(json["format"], "slender-plan/1");
    assert_eq!(json["dir"], "sweeps/grid");
    assert_eq!(json["flops_per_s_from"], "given");
    let run = &json["runs"][3];
    assert_eq!(
        (&run["variant"], &run["seed"]),
        (&"base-n_layers4".into(), &1.into())
    );
    assert_eq!(run["axes"]["model.n_layers"], 4);
    let inspect = folder.json(&[
        "inspect",
        "base.toml",
        "--set",
        "model.n_layers=4",
        "--json",
    ]);
    assert_eq!(run["train_flops"], inspect["train_flops_total"]);
    assert_eq!(run["params_total"], inspect["params_total"]);
    assert_eq!(run["identity"].as_str().unwrap().len(), 64);

    // Configurations plan as well; the speed is then measured here.
    let json = folder.json(&["sweep", "plan", "base.toml", "--json", "--seeds", "5"]);
    assert_eq!(json["flops_per_s_from"], "peak");
    assert!(json["runs"][0]["seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn slips_in_a_sweep_file_are_misuse() {
    let folder = Folder::new();
    folder.write(
        "typo.toml",
        "[sweep]\nbase = \"base.toml\"\n[axes]\nmodel.n_layer = [2, 4]\ntrain.lr = [1e-3, 0.0]\n",
    );
    for command in ["run", "plan"] {
        let said = folder.misuse(&["sweep", command, "typo.toml"]);
        assert!(
            said.contains("typo.toml:4: `model.n_layer`: unknown key"),
            "{said}"
        );
        assert!(
            said.contains("hint: did you mean `model.n_layers`?"),
            "{said}"
        );
    }
    assert!(!folder.0.path().join("sweeps").exists());
    let said = folder.misuse(&["train", "typo.toml"]);
    assert!(said.contains("this is a sweep file"), "{said}");
    let said = folder.misuse(&["sweep", "plan", "base.toml", "--seeds", "a"]);
    assert!(said.contains("write a number such as 3"), "{said}");
    folder.write(
        "space.toml",
        "[sweep]\nbase = \"base.toml\"\n[space]\nparams_total = 10\ndepth = 4\nhead_dim = 8\ntie_embeddings = true\n",
    );
    for command in [["sweep", "plan"], ["search", "shapes"]] {
        let said = folder.misuse(&[command[0], command[1], "space.toml"]);
        assert!(
            said.contains("space.toml:4: `space.params_total`: no shape"),
            "{said}"
        );
        assert!(said.contains("the nearest, 4x8-mha with"), "{said}");
    }
    let said = folder.misuse(&["search", "shapes", "--params", "125M"]);
    assert!(said.contains("--tied, --untied or both"), "{said}");
    let said = folder.misuse(&["search", "shapes", "--untied"]);
    assert!(said.contains("there is no budget"), "{said}");
    let said = folder.misuse(&["search", "shapes", "base.toml"]);
    assert!(
        said.contains("base.toml:1: this is no sweep file"),
        "{said}"
    );
    folder.write("plain.toml", "[sweep]\nbase = \"base.toml\"\n");
    let said = folder.misuse(&["search", "shapes", "plain.toml"]);
    assert!(said.contains("there is no [space] in it"), "{said}");
}

#[test]
fn shapes_of_table_11_are_marked() {
    let folder = Folder::new();
    let question = [
        "search",
        "shapes",
        "--params",
        "125M",
        "--tolerance",
        "0,0.31",
        "--untied",
        "--head-dim",
        "64",
        "--depths",
        "4..62",
    ];
    let text = folder.stdout(&question);
    let marked = text
        .lines()
        .filter(|line| line.contains("T11-125M-"))
        .count();
    assert_eq!(marked, 9, "{text}");
    let json = folder.json(&[&question[..], &["--pick", "9", "--json"]].concat());
    assert_eq!(json["format"], "slender-shapes/1");
    let shapes = json["shapes"].as_array().unwrap();
    assert_eq!(shapes.len(), 9);
    assert_eq!(shapes[8]["shape"]["n_layers"], 62);
}

#[test]
fn a_thousand_variants_are_planned_at_once() {
    let folder = Folder::new();
    let rates: Vec<String> = (1..=100).map(|i| format!("{i}e-5")).collect();
    folder.write(
        "large.toml",
        &format!(
            "[sweep]\nbase = \"base.toml\"\n[axes]\ntrain.lr = [{}]\nmodel.n_layers = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n",
            rates.join(", ")
        ),
    );
    let start = Instant::now();
    let json = folder.json(&["sweep", "plan", "large.toml", "--json"]);
    eprintln!("1,000 variants in {:?}", start.elapsed());
    assert_eq!(json["total"]["variants"], 1000);
}

#[test]
fn every_table_of_the_paper_plans() {
    let folder = Folder::new();
    for (table, runs) in [("depth-width", 19), ("heads", 30), ("road-map", 16)] {
        let file = experiments().join(table).join("paper.toml");
        let json = folder.json(&["sweep", "plan", &file.to_string_lossy(), "--json"]);
        assert_eq!(json["total"]["runs"], runs, "{table}");
        assert_eq!(json["total"]["unknown"], 0, "{table}");
    }
}
