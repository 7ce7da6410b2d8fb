//! The command line as its users meet it: the real program, its messages word for word.
//!
//! Every expected error stands here in full, so this file is also the list of what the program
//! says. Nothing trains; a temporary folder is the cache and the hub is offline.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The configuration that the error cases break.
const GOOD: &str = r#"[model]
n_layers = 2
dim = 32
n_heads = 4
n_kv_heads = 2
max_seq_len = 64
tie_embeddings = true
layer_sharing = { kind = "none" }

[data]
sources = [{ kind = "builtin", name = "books-mini" }]

[data.tokenizer]
kind = "bpe"
vocab_size = 512

[train]
batch_size = 4
steps = 10
lr = 1e-3
"#;

fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap()
}

/// A folder of its own for each test.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slender"));
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env("SLENDER_CACHE", self.0.path().join("cache"))
            .env("HF_HOME", self.0.path().join("hf"))
            .env("HF_HUB_OFFLINE", "1")
            .env("NO_COLOR", "1");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// stdout of a command that succeeds.
    fn stdout(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// stderr of a command that is used wrongly: exit code 2, and nothing on stdout.
    fn misuse(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{arguments:?} wrote to stdout");
        stderr.replace(
            &*self.0.path().canonicalize().unwrap().to_string_lossy(),
            "DIR",
        )
    }
}

/// What `config show` says about [`GOOD`] after replacing `from`, which must be there, by `to`.
fn broken(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from:?} is not in the configuration");
    let folder = Folder::new();
    folder.write("c.toml", &GOOD.replacen(from, to, 1));
    folder.misuse(&["config", "show", "c.toml"])
}

/// What `config show` says about [`GOOD`] with a `--set` argument.
fn broken_set(argument: &str) -> String {
    let folder = Folder::new();
    folder.write("c.toml", GOOD);
    folder.misuse(&["config", "show", "c.toml", "--set", argument])
}

fn config_files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            config_files(&path, out);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            out.push(path);
        }
    }
}

#[test]
fn help_names_every_command() {
    let folder = Folder::new();
    let help = folder.stdout(&["--help"]);
    for command in [
        "train", "eval", "sweep", "search", "generate", "chat", "init", "inspect", "bench",
        "config", "data",
    ] {
        assert!(
            help.contains(&format!("\n  {command} ")),
            "{command}: {help}"
        );
        assert!(
            folder
                .stdout(&[command, "--help"])
                .contains("Usage: slender")
        );
    }
    for code in [
        "0 done",
        "2 wrong usage",
        "70 failed",
        "73 the run",
        "75 stopped",
    ] {
        assert!(help.contains(code), "{code}: {help}");
    }
    assert!(folder.stdout(&["--version"]).starts_with("slender 0."));
    assert!(folder.misuse(&[]).contains("Usage: slender <COMMAND>"));
    assert!(folder.misuse(&["trian"]).contains("'train'"));
}

#[test]
fn the_generated_pages_are_up_to_date() {
    let folder = Folder::new();
    let page = |name: &str| std::fs::read_to_string(repository().join("docs").join(name)).unwrap();
    for (name, arguments) in [
        ("config.md", &["config", "reference"][..]),
        ("cli.md", &["config", "reference", "--cli"][..]),
        ("sweep-file.md", &["config", "reference", "--sweep"][..]),
    ] {
        let same = page(name) == folder.stdout(arguments);
        assert!(
            same,
            "docs/{name} differs from the program: run `just docs`"
        );
    }
}

#[test]
fn show_resolves_extends_overrides_and_derived_defaults() {
    let folder = Folder::new();
    folder.write(
        "base/base.toml",
        &GOOD.replace("lr = 1e-3", "lr = 1e-3\nwarmup_steps = 3"),
    );
    folder.write(
        "leaf.toml",
        "extends = \"base/base.toml\"\n[model]\ndim = 64\nlayer_sharing = { kind = \"reverse\" }\n",
    );
    let shown = folder.stdout(&["config", "show", "leaf.toml", "--set", "train.lr=0.5"]);
    let lines: Vec<&str> = shown.lines().collect();
    for line in [
        "# slender-config/1",
        "dim = 64",
        "head_dim = 16",
        "ffn_hidden = 256",
        "kind = \"reverse\"",
        "repeats = 2",
        "seq_len = 64",
        "micro_batch_size = 4",
        "warmup_steps = 3",
        "lr = 0.5",
        "name = \"leaf\"",
        "order_seed = 0",
    ] {
        assert!(lines.contains(&line), "{line}: {shown}");
    }
    assert!(!shown.contains("extends"));
}

#[test]
fn a_resolved_configuration_means_the_same_from_anywhere() {
    let folder = Folder::new();
    let text = GOOD
        .replace(
            r#"{ kind = "builtin", name = "books-mini" }"#,
            r#"{ kind = "files", paths = ["text", "../more.txt"] }"#,
        )
        .replace("[train]", "[eval]\ndata_dir = \"bench\"\n\n[train]");
    folder.write("configs/c.toml", &text);
    let first = folder.stdout(&["config", "show", "configs/c.toml"]);
    folder.write("elsewhere/c.toml", &first);
    assert_eq!(
        first,
        folder.stdout(&["config", "show", "elsewhere/c.toml"])
    );
    let inside = folder
        .command(&["config", "show", "c.toml"])
        .current_dir(folder.0.path().join("configs"))
        .output()
        .unwrap();
    assert_eq!(first, String::from_utf8(inside.stdout).unwrap());
}

#[test]
fn every_configuration_in_the_repository_is_valid_and_resolves_to_itself() {
    let mut files = Vec::new();
    config_files(&repository().join("configs"), &mut files);
    files.retain(|file| !file.parent().unwrap().ends_with("base"));
    assert!(files.len() > 80, "{}", files.len());
    let folder = Folder::new();
    for file in files {
        let shown = folder.stdout(&["config", "show", file.to_str().unwrap()]);
        folder.write("again.toml", &shown);
        assert_eq!(
            shown,
            folder.stdout(&["config", "show", "again.toml"]),
            "{}",
            file.display()
        );
    }
}

#[test]
fn the_final_models_have_the_paper_s_parameters() {
    let folder = Folder::new();
    for (config, parameters) in [
        ("125m-30x576-gqa3", 124_635_456_u64),
        ("350m-32x960-gqa5", 345_355_200),
        ("600m-40x1152-gqa6", 603_188_352),
        ("1b-54x1280-gqa5", 1_005_461_760),
        ("1.5b-54x1600-gqa5", 1_511_188_800),
    ] {
        for name in [config.to_owned(), format!("{config}-ls")] {
            let file = repository().join(format!("configs/{name}.toml"));
            let json = folder.stdout(&["inspect", file.to_str().unwrap(), "--json"]);
            let json: Value = serde_json::from_str(&json).unwrap();
            assert_eq!(json["params_total"], parameters, "{name}");
            assert_eq!(json["name"], name.as_str());
            for key in [
                "params_embedding",
                "params_non_embedding",
                "params_without_norms",
                "train_flops_per_token",
                "forward_flops_per_token",
                "kv_cache_bytes_per_token",
                "train_memory_bytes",
            ] {
                assert!(json[key].as_u64().is_some_and(|n| n > 0), "{name}: {key}");
            }
        }
    }
}

#[test]
fn inspect_prints_a_table_or_a_list() {
    let folder = Folder::new();
    folder.write("a.toml", GOOD);
    folder.write("b.toml", &GOOD.replace("dim = 32", "dim = 64"));
    let table = folder.stdout(&["inspect", "a.toml", "b.toml"]);
    assert_eq!(table.lines().count(), 3, "{table}");
    let json: Value =
        serde_json::from_str(&folder.stdout(&["inspect", "a.toml", "b.toml", "--json"])).unwrap();
    assert_eq!(json[1]["name"], "b");
}

#[test]
fn the_schema_is_for_editors() {
    let schema: Value = serde_json::from_str(&Folder::new().stdout(&["config", "schema"])).unwrap();
    for key in ["extends", "model", "data", "train", "eval", "run"] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
    assert_eq!(schema["properties"]["model"]["additionalProperties"], false);
}

#[test]
fn unknown_keys_name_the_nearest_or_the_right_section() {
    insta::assert_snapshot!(broken("n_kv_heads = 2", "n_kv_haeds = 2"), @"
    error: c.toml:5: `model.n_kv_haeds`: unknown key
      hint: did you mean `model.n_kv_heads`?
    ");
    insta::assert_snapshot!(broken("batch_size = 4", "batch_size = 4\nffn = \"relu\""), @"
    error: c.toml:19: `train.ffn`: unknown key
      hint: `ffn` belongs to another section: `model.ffn`
    ");
    insta::assert_snapshot!(broken("[train]", "[trian]"), @"
    error: c.toml:17: `trian`: unknown key
      hint: did you mean `train`?
    ");
    insta::assert_snapshot!(broken("name = \"books-mini\"", "nmae = \"books-mini\""), @"
    error: c.toml:11: `data.sources[0].nmae`: unknown key
      hint: did you mean `data.sources[0].name`?
    ");
    insta::assert_snapshot!(broken("[data.tokenizer]", "zzz = 1\n[data.tokenizer]"), @"
    error: c.toml:13: `data.zzz`: unknown key
      hint: keys here: sources, tokenizer, valid_fraction, document_mask, max_bytes, max_tokens, order_seed, cache_dir
    ");
}

#[test]
fn wrong_types_are_said_in_plain_words() {
    insta::assert_snapshot!(broken("dim = 32", "dim = \"32\""), @r#"
    error: c.toml:3: `model.dim`: invalid type: string "32", expected a whole number, not negative
      hint: Width of the residual stream.
    "#);
    insta::assert_snapshot!(broken("n_layers = 2", "n_layers = -2"), @"
    error: c.toml:2: `model.n_layers`: invalid value: integer `-2`, expected a whole number, not negative
      hint: Number of distinct transformer blocks (weights). Sharing may execute each several times.
    ");
    insta::assert_snapshot!(broken("lr = 1e-3", "lr = \"fast\""), @r#"
    error: c.toml:20: `train.lr`: invalid type: string "fast", expected a number
      hint: Peak learning rate.
    "#);
    insta::assert_snapshot!(broken("\"none\"", "\"imediate\""), @"
    error: c.toml:8: `model.layer_sharing.kind`: unknown variant `imediate`, expected one of `none`, `immediate`, `repeat-all-over`, `reverse`
      hint: Order in which shared blocks are executed (MobileLLM, Figure 6).
    ");
}

#[test]
fn the_switches_that_shape_the_model_have_no_default() {
    insta::assert_snapshot!(broken("tie_embeddings = true\n", ""), @"
    error: c.toml:1: `model.tie_embeddings`: is missing
      hint: Whether the output projection is the transposed input embedding: `true` or `false`. Required.
    ");
    insta::assert_snapshot!(broken("layer_sharing = { kind = \"none\" }\n", ""), @r#"
    error: c.toml:1: `model.layer_sharing`: is missing
      hint: Whether and how blocks are executed several times: `{ kind = "none" }`, or such as `{ kind = "immediate", repeats = 2 }`. Required.
    "#);
}

#[test]
fn several_problems_are_reported_together() {
    insta::assert_snapshot!(broken("dim = 32\nn_heads = 4", "dmi = 32"), @"
    error: c.toml:3: `model.dmi`: unknown key
      hint: did you mean `model.dim`?
    c.toml:1: `model.n_heads`: is missing
      hint: Query heads.
    ");
    insta::assert_snapshot!(broken("batch_size = 4\nsteps = 10", "batch_size = 4\nsteps = 10\nmicro_batch_size = 3\nseq_len = 65"), @"
    error: c.toml:21: `train.seq_len`: sequences of 65 tokens do not fit a model of at most 64
      hint: use 1 to 64, or raise model.max_seq_len
    c.toml:20: `train.micro_batch_size`: 3 does not divide batch_size 4
      hint: every forward pass takes the same number of sequences; use a divisor of batch_size
    ");
}

#[test]
fn impossible_shapes_are_errors() {
    insta::assert_snapshot!(broken("n_heads = 4\nn_kv_heads = 2", "n_heads = 5\nn_kv_heads = 5"), @"
    error: c.toml:4: `model.n_heads`: dim 32 is not divisible by 5 heads
      hint: use a divisor of dim (1, 2, 4, 8, 16, 32) or give head_dim
    ");
    insta::assert_snapshot!(broken("n_kv_heads = 2", "n_kv_heads = 3"), @"
    error: c.toml:5: `model.n_kv_heads`: 3 key-value heads do not divide 4 query heads
      hint: each key-value head serves an equal group of query heads; use one of 1, 2, 4
    ");
    insta::assert_snapshot!(broken("dim = 32", "dim = 36"), @"
    error: c.toml:4: `model.n_heads`: head_dim is 9, but RoPE rotates pairs and needs an even number
      hint: choose heads so that dim / n_heads is even, or give an even head_dim
    ");
    insta::assert_snapshot!(broken("n_heads = 4", "n_heads = 0"), @"
    error: c.toml:4: `model.n_heads`: must be at least 1
      hint: give a positive number
    ");
    insta::assert_snapshot!(broken("\"none\"", "\"none\", repeats = 3"), @r#"
    error: c.toml:8: `model.layer_sharing`: kind = "none" contradicts repeats = 3
      hint: drop repeats, or choose kind = "immediate", "repeat-all-over" or "reverse"
    "#);
}

#[test]
fn the_budget_is_given_once() {
    insta::assert_snapshot!(broken("steps = 10", "steps = 10\ntokens = 1000"), @"
    error: c.toml:20: `train.tokens`: both steps and tokens are given
      hint: give one of train.steps and train.tokens; an inherited one is dropped by setting it to 0
    ");
    insta::assert_snapshot!(broken("steps = 10\n", ""), @"
    error: c.toml:17: `train.steps`: there is no budget
      hint: give train.steps or train.tokens
    ");
}

#[test]
fn recomputing_needs_the_fused_halves_of_a_block() {
    insta::assert_snapshot!(broken("steps = 10", "steps = 10\nrecompute = \"block\"\ndropout = 0.1"), @r#"
    error: c.toml:20: `train.recompute`: `block` needs the fused halves of a block, and train.dropout is on
      hint: leave it at `none`, and lower train.micro_batch_size to save memory
    "#);
    let folder = Folder::new();
    folder.write("c.toml", GOOD);
    let set = "train.recompute=\"block\"";
    let shown = folder.stdout(&["config", "show", "c.toml", "--set", set]);
    assert!(shown.contains("recompute = \"block\""), "{shown}");
    // What is computed again is not kept.
    let memory = |sets: &[&str]| {
        let arguments = [
            &[
                "inspect",
                "c.toml",
                "--json",
                "--set=data.tokenizer.vocab_size=300",
            ],
            sets,
        ]
        .concat();
        let value: Value = serde_json::from_str(&folder.stdout(&arguments)).unwrap();
        value["train_memory_bytes"].as_u64().unwrap()
    };
    assert!(memory(&["--set", set]) < memory(&[]));
}

#[test]
fn bench_reports_every_phase() {
    let folder = Folder::new();
    folder.write("c.toml", GOOD);
    let vocabulary = "--set=data.tokenizer.vocab_size=300";
    for (mode, phases) in [
        (
            "train",
            &["data_s", "forward_s", "backward_s", "optimizer_s"][..],
        ),
        ("score", &["data_s", "forward_s"]),
    ] {
        let arguments = [
            "bench",
            mode,
            "c.toml",
            vocabulary,
            "--repetitions=2",
            "--json",
        ];
        let value: Value = serde_json::from_str(&folder.stdout(&arguments)).unwrap();
        for phase in phases {
            assert!(value[phase]["median"].as_f64().unwrap() >= 0.0, "{value}");
        }
        assert_eq!(value["backward_s"].is_null(), mode == "score");
        assert_eq!(value["data"], "synthetic");
        assert!(value["tokens_per_s"]["median"].as_f64().unwrap() > 0.0);
        assert!(value["peak_memory_bytes"].as_u64().unwrap() > 0);
        // Counted in hundredths of a second, which a tiny model may not need.
        assert!(value["first_step_s"].as_f64().unwrap() >= 0.0);
    }
    let value: Value =
        serde_json::from_str(&folder.stdout(&["bench", "matmul", "--json"])).unwrap();
    assert!(value["matmul_peak_flops_per_s"].as_f64().unwrap() > 0.0);
}

#[test]
fn files_that_cannot_be_read_are_named() {
    insta::assert_snapshot!(broken("dim = 32", "dim = = 32"), @"error: c.toml:3: not valid TOML: extra `=`, expected nothing");
    let folder = Folder::new();
    insta::assert_snapshot!(folder.misuse(&["config", "show", "absent.toml"]), @"error: cannot read absent.toml: No such file or directory (os error 2)");
    folder.write("empty.toml", "");
    insta::assert_snapshot!(folder.misuse(&["config", "show", "empty.toml"]), @"
    error: empty.toml:1: `model`: is missing
      hint: The decoder's shape.
    empty.toml:1: `data`: is missing
      hint: Corpus and tokenizer.
    empty.toml:1: `train`: is missing
      hint: Optimizer, schedule, batch and budget. Exactly one of `steps` and `tokens` is given.
    ");
}

#[test]
fn extends_ends_somewhere() {
    let folder = Folder::new();
    folder.write("a.toml", "# first\nextends = \"b.toml\"\n");
    folder.write("b.toml", "extends = \"a.toml\"\n");
    insta::assert_snapshot!(folder.misuse(&["config", "show", "a.toml"]), @"
    error: b.toml:1: `extends`: goes in a circle: a.toml -> b.toml -> a.toml
      hint: the last file of a chain extends nothing
    ");
    folder.write("c.toml", "extends = \"nope.toml\"\n");
    insta::assert_snapshot!(folder.misuse(&["config", "show", "c.toml"]), @"
    error: c.toml:1: `extends`: no such file: nope.toml
      hint: the path is relative to the file that names it
    ");
}

#[test]
fn overrides_are_checked_like_files() {
    insta::assert_snapshot!(broken_set("train.lr"), @"
    error: --set train.lr: there is no `=`
      hint: write --set section.key=value, for example --set train.lr=1e-3
    ");
    insta::assert_snapshot!(broken_set("train.lrr=1"), @"
    error: --set: `train.lrr`: unknown key
      hint: did you mean `train.lr`?
    ");
    insta::assert_snapshot!(broken_set("train.lr=abc"), @r#"
    error: --set: `train.lr`: invalid type: string "abc", expected a number
      hint: Peak learning rate.
    "#);
    insta::assert_snapshot!(broken_set("lr=1"), @"
    error: --set: `lr`: unknown key
      hint: `lr` belongs to another section: `train.lr`
    ");
    insta::assert_snapshot!(broken_set("data.sources[3].weight=1"), @"
    error: --set data.sources[3].weight=1: `sources` has no table at index 3
      hint: write --set section.key=value, for example --set train.lr=1e-3
    ");
}

#[test]
fn overrides_take_whole_numbers_in_any_notation() {
    let folder = Folder::new();
    folder.write("c.toml", GOOD);
    let shown = folder.stdout(&[
        "config",
        "show",
        "c.toml",
        "--set",
        "train.steps=0",
        "--set",
        "train.tokens=1e9",
        "--set",
        "train.lr=1e0",
    ]);
    assert!(shown.contains("\ntokens = 1000000000\n"), "{shown}");
    assert!(
        shown.contains("\nlr = 1.0\n") && !shown.contains("\nsteps = "),
        "{shown}"
    );
}

#[test]
fn devices_are_known_and_built() {
    insta::assert_snapshot!(broken_set("run.device=gpu"), @"
    error: --set: `run.device`: unknown device `gpu`
      hint: use flex, ndarray, wgpu or cuda, with an optional index such as cuda:1
    ");
    let folder = Folder::new();
    folder.write("c.toml", GOOD);
    if !cfg!(feature = "cuda") {
        insta::assert_snapshot!(folder.misuse(&["train", "c.toml", "--device", "cuda"]), @"
        error: this build has no `cuda` backend
          hint: build with `cargo build --release --package slender --features cuda`
        ");
        assert!(!folder.0.path().join("runs").exists());
    }
}

#[test]
fn names_of_tasks_and_paper_rows_are_checked_before_any_work() {
    let folder = Folder::new();
    folder.write("c.toml", GOOD);
    let with = |set: &str| folder.misuse(&["train", "c.toml", "--set", set]);
    let tasks = with("eval.tasks=[\"piqaa\"]");
    assert!(
        tasks.contains("`piqaa`") && tasks.contains("did you mean `piqa`?"),
        "{tasks}"
    );
    let row = with("run.paper_row=T11-125M-31L");
    assert!(
        row.contains("`T11-125M-31L`") && row.contains("did you mean `T11-125M-30L`?"),
        "{row}"
    );
    let eval = folder.misuse(&["eval", ".", "--tasks", "arc_esay"]);
    assert!(eval.contains("did you mean `arc_easy`?"), "{eval}");
    assert!(!folder.0.path().join("runs").exists());
    assert!(!folder.0.path().join("cache").exists());
}

#[test]
fn what_is_no_model_cannot_be_evaluated() {
    let folder = Folder::new();
    for path in [".", "absent"] {
        let error = folder.misuse(&["eval", path, "--tasks", "piqa", "--data-dir", "builtin"]);
        assert!(
            error.starts_with("error: ") && error.contains(path),
            "{error}"
        );
    }
    let error = folder.misuse(&["eval", "."]);
    assert!(
        error.contains("--tasks") && error.contains("hint:"),
        "{error}"
    );
}

#[test]
fn tasks_are_listed_with_sizes_and_chance_levels() {
    let folder = Folder::new();
    let table = folder.stdout(&["eval", "list"]);
    assert_eq!(table, folder.stdout(&["eval", "--list"]));
    let line = |name: &str| table.lines().find(|l| l.starts_with(name)).unwrap();
    assert!(line("hellaswag ").contains("10042") && line("hellaswag ").contains("25.0%"));
    assert!(line("blimp (67)").contains("67000") && line("wikitext").contains("ppl/word"));
    let blimp = folder.stdout(&["eval", "list", "blimp"]);
    assert!(
        blimp.contains("blimp_wh_island") && blimp.lines().count() == 68,
        "{blimp}"
    );
    let list: serde_json::Value =
        serde_json::from_str(&folder.stdout(&["eval", "list", "--json"])).unwrap();
    assert_eq!(list["tasks"].as_array().unwrap().len(), 86);
    let error = folder.misuse(&["eval", "list", "helaswag"]);
    assert!(error.contains("did you mean `hellaswag`?"), "{error}");
}

#[test]
fn wrong_uses_of_results_say_the_way_out() {
    let folder = Folder::new();
    let error = folder.misuse(&["compare", "a.jsonl", "b.jsonl"]);
    assert!(
        error.contains("a.jsonl does not exist") && error.contains("--samples"),
        "{error}"
    );
    let error = folder.misuse(&["eval", "show", "."]);
    assert!(error.contains("holds no evaluated examples"), "{error}");
    folder.write("bad.jsonl", "{\"task\": 1}\n");
    let output = folder
        .command(&["eval", "show", "bad.jsonl"])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && error.contains("bad.jsonl:1"),
        "{error}"
    );
    let error = folder.misuse(&["eval", ".", "--tasks", "piqa", "--max-length", "0"]);
    assert!(error.contains("--max-length"), "{error}");
    for more in [["--samples", "x.jsonl"], ["--limit", "3"]] {
        let error = folder.misuse(&["eval", ".", "--perplexity", "x.txt", more[0], more[1]]);
        assert!(
            error.contains("--perplexity") && error.contains(more[0]),
            "{error}"
        );
    }
    let error = folder.misuse(&["eval", ".", "--tasks", "piqa", "--split", "sciq=validation"]);
    assert!(
        error.contains("--split sciq=validation: sciq is not among"),
        "{error}"
    );
    let error = folder.misuse(&["eval", ".", "--tasks", "piqa", "--split", "piqa"]);
    assert!(error.contains("write TASK=SPLIT"), "{error}");
}

#[test]
fn a_sweep_checks_all_configurations_before_it_starts_any() {
    let folder = Folder::new();
    folder.write("a.toml", &GOOD.replace("dim = 32", "dmi = 32"));
    folder.write("b.toml", &GOOD.replace("lr = 1e-3", "lr = 0"));
    folder.write("good.toml", GOOD);
    let error = folder.misuse(&["sweep", "run", "good.toml", "a.toml", "b.toml"]);
    assert!(error.contains("a.toml:3: `model.dmi`"), "{error}");
    assert!(error.contains("b.toml:20: `train.lr`"), "{error}");
    assert!(!folder.0.path().join("sweeps").exists());
}

#[test]
fn shipped_texts_are_listed() {
    let list = Folder::new().stdout(&["data", "list"]);
    assert!(
        list.contains("books-mini") && list.contains("public domain"),
        "{list}"
    );
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let folder = Folder::new();
    for arguments in [
        &["config", "reference"][..],
        &["config", "schema"],
        &["eval", "list"],
    ] {
        let mut child = folder
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && stderr.is_empty(),
            "{arguments:?}: {stderr}"
        );
    }
}
