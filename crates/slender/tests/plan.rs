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
fn a_sweep_that_cannot_run_is_refused_before_anything_is_written() {
    let folder = Folder::new();
    folder.write("empty.toml", "");
    folder.write("other.toml", "extends = \"base.toml\"\n");
    let refused = |arguments: &[&str], wanted: &str| {
        let said = folder.misuse(arguments);
        assert!(
            said.contains(wanted),
            "{arguments:?}: {said}\nwanted: {wanted}"
        );
        assert!(!folder.0.path().join("sweeps").exists(), "{arguments:?}");
        said
    };
    // Slurm's settings, wherever they are.
    let slurm = "[sweep]\nbase = \"base.toml\"\n[slurm]\npartitions = \"gpu\"\ntime = \"2h\"\n";
    folder.write("slurm.toml", slurm);
    let unknown =
        "slurm.toml:4: `slurm.partitions`: unknown key\n  hint: did you mean `slurm.partition`?";
    refused(&["sweep", "plan", "slurm.toml"], unknown);
    refused(&["sweep", "run", "slurm.toml"], unknown);
    folder.write("slurm.toml", &slurm.replace("partitions", "partition"));
    refused(
        &["sweep", "plan", "slurm.toml"],
        "slurm.toml:5: `slurm.time`: `2h` is no time limit",
    );
    let with = |file| {
        [
            "sweep",
            "run",
            "base.toml",
            "--executor",
            "slurm",
            "--slurm",
            file,
        ]
    };
    refused(&with("missing.toml"), "cannot read missing.toml");
    refused(
        &with("base.toml"),
        "base.toml:1: `slurm`: there is no such table",
    );
    // Directories.
    refused(
        &["sweep", "run", "base.toml", "--dir", "empty.toml/x"],
        "cannot make the sweep directory",
    );
    for command in ["status", "resume", "work", "cancel"] {
        refused(&["sweep", command, "."], ". is not a sweep directory");
    }
    refused(&["sweep", "retry", "."], "is not a sweep directory");
    refused(
        &["sweep", "status", ".", "--watch", "--interval", "nan"],
        "0.1 to 3600",
    );
    // Devices: a slip is said once, and what the program lacks before a run needs it.
    let said = refused(
        &[
            "sweep",
            "run",
            "base.toml",
            "other.toml",
            "--device",
            "flux",
        ],
        "flux",
    );
    assert_eq!(said.matches("flux").count(), 1, "{said}");
    let said = refused(
        &[
            "sweep",
            "run",
            "base.toml",
            "other.toml",
            "--set",
            "train.lrr=1",
        ],
        "train.lrr",
    );
    assert_eq!(said.matches("train.lrr").count(), 1, "{said}");
    if !cfg!(feature = "wgpu") {
        refused(
            &["sweep", "run", "base.toml", "--device", "wgpu"],
            "this build has no `wgpu` backend",
        );
    }
    // Texts.
    let text =
        "extends = \"base.toml\"\n[data]\nsources = [{ kind = \"files\", paths = [\"nope\"] }]\n";
    folder.write("text.toml", text);
    let said = refused(&["sweep", "run", "base.toml", "text.toml"], "run `text`: ");
    assert!(said.contains("nope"), "{said}");
    folder.write(
        "text.toml",
        &text
            .replace("files", "builtin")
            .replace("paths = [\"nope\"]", "name = \"nope\""),
    );
    refused(&["sweep", "run", "base.toml", "text.toml"], "run `text`: ");
    let plan = folder.run(&["sweep", "plan", "text.toml", "--flops-per-s", "1e9"]);
    assert!(plan.status.success(), "a plan may be for another machine");
    assert!(String::from_utf8_lossy(&plan.stderr).contains("warning: run `text`: "));
    // The tasks' examples: a folder that is not there, one without the file, and other examples.
    let tasks = "extends = \"base.toml\"\n[eval]\ntasks = [\"piqa\"]\ndata_dir = \"bench\"\n";
    folder.write("tasks.toml", tasks);
    folder.write("again.toml", tasks);
    let sweep = ["sweep", "run", "tasks.toml", "again.toml"];
    let said = refused(&sweep, "run `tasks`: `eval.data_dir`: task piqa: ");
    assert!(said.contains("bench is not a directory"), "{said}");
    assert_eq!(said.matches("eval.data_dir").count(), 1, "{said}");
    std::fs::create_dir_all(folder.0.path().join("bench/piqa")).unwrap();
    refused(&sweep, "the layout is <data dir>/piqa/validation.jsonl");
    let slice = include_str!("../../slender-eval/fixtures/piqa.jsonl");
    folder.write("bench/piqa/validation.jsonl", slice);
    refused(&sweep, "`eval.data_dir`: task piqa: ");
    let said = refused(&sweep, "has 40 examples");
    assert!(said.contains("eval.allow_altered"), "{said}");
    let plan = folder.run(&["sweep", "plan", "tasks.toml", "--flops-per-s", "1e9"]);
    assert!(plan.status.success(), "a plan may be for another machine");
    assert!(String::from_utf8_lossy(&plan.stderr).contains("warning: run `tasks`: "));
    folder.write("tasks.toml", &format!("{tasks}allow_altered = true\n"));
    let allowed = folder.run(&["sweep", "plan", "tasks.toml", "--flops-per-s", "1e9"]);
    let said = String::from_utf8_lossy(&allowed.stderr);
    assert!(!said.contains("eval.data_dir"), "{said}");
    refused(
        &[
            "search",
            "coord-check",
            "base.toml",
            "--widths",
            "32,64",
            "--tolerance",
            "nan",
        ],
        "--tolerance NaN",
    );
}

#[test]
fn a_retry_wants_names_or_failed() {
    let folder = Folder::new();
    folder.stdout(&[
        "sweep",
        "run",
        "base.toml",
        "--dir",
        "x",
        "--print",
        "slurm",
    ]);
    let said = folder.misuse(&["sweep", "retry", "x"]);
    assert!(
        said.contains("no run is named") && said.contains("--failed"),
        "{said}"
    );
}

#[test]
fn a_plan_of_a_search_is_an_upper_bound() {
    let folder = Folder::new();
    folder.write(
        "search.toml",
        "[sweep]\nbase = \"base.toml\"\n[search]\ntrials = 4\n[search.space]\ntrain.lr = { uniform = [1e-3, 1e-2] }\n",
    );
    let plan = ["sweep", "plan", "search.toml", "--flops-per-s", "1e9"];
    let text = folder.stdout(&plan);
    assert!(text.contains("all costs are upper bounds"), "{text}");
    let json = folder.json(&[&plan[..], &["--json"]].concat());
    assert_eq!(json["search"]["method"], "asha");
    let json = folder.json(&[
        "sweep",
        "plan",
        "base.toml",
        "--flops-per-s",
        "1e9",
        "--json",
    ]);
    assert!(json["search"].is_null());
}

#[test]
fn a_plan_tells_of_twins_which_a_sweep_trains() {
    let folder = Folder::new();
    folder.write(
        "twins.toml",
        "[sweep]\nbase = \"base.toml\"\n[[variants]]\nname = \"a\"\n[[variants]]\nname = \"b\"\nrun.log_every = 3\n",
    );
    let text = folder.stdout(&["sweep", "plan", "twins.toml", "--flops-per-s", "1e9"]);
    assert!(text.contains("the same as a"), "{text}");
    assert!(
        text.contains("1 run is the same as an earlier one here"),
        "{text}"
    );
    assert!(!text.contains("FLOPs left"), "{text}");
}

/// Slurm's commands as scripts: what is submitted lands in `submitted`, if there is a file `open`.
#[cfg(unix)]
fn pretend_slurm(folder: &Folder) -> String {
    use std::os::unix::fs::PermissionsExt;
    let bin = folder.0.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let sbatch = "#!/bin/sh\nif [ -e open ]; then cp \"$2\" submitted; echo 42; else echo 'invalid partition' >&2; exit 1; fi\n";
    for (name, text) in [
        ("sbatch", sbatch),
        ("squeue", "#!/bin/sh\n"),
        ("scontrol", "#!/bin/sh\n"),
        ("sacct", "#!/bin/sh\n"),
        ("scancel", "#!/bin/sh\n"),
    ] {
        let path = bin.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    format!(
        "{}:{}",
        bin.display(),
        std::env::var("PATH").unwrap_or_default()
    )
}

#[test]
#[cfg(unix)]
fn a_sweep_that_slurm_refused_stays_with_slurm() {
    let folder = Folder::new();
    let path = pretend_slurm(&folder);
    folder.write(
        "search.toml",
        "[sweep]\nbase = \"base.toml\"\n[search]\ntrials = 4\n[search.space]\ntrain.lr = { uniform = [1e-3, 1e-2] }\n",
    );
    let slender = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slender"));
        let command = command.args(arguments).current_dir(folder.0.path());
        command
            .env("PATH", &path)
            .env("SLENDER_CACHE", folder.0.path().join("cache"));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let run = [
        "sweep",
        "run",
        "search.toml",
        "--dir",
        "x",
        "--executor",
        "slurm",
        "--workers",
        "3",
    ];
    let (code, said) = slender(&run);
    assert_eq!(code, Some(70), "{said}");
    assert!(
        said.contains("invalid partition") && said.contains("sweep resume x --slurm FILE"),
        "{said}"
    );
    // Nothing trains here, now or then.
    let (code, said) = slender(&["sweep", "resume", "x"]);
    assert_eq!(code, Some(70), "{said}");
    folder.write("open", "");
    let (code, said) = slender(&["sweep", "resume", "x"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("4 trials of the search left"), "{said}");
    let script = std::fs::read_to_string(folder.0.path().join("submitted")).unwrap();
    assert!(
        script.contains("--array=0-2\n"),
        "three workers, as at first: {script}"
    );
    assert!(!folder.0.path().join("x/runs").exists());
}

#[test]
fn a_printed_script_can_run() {
    let folder = Folder::new();
    let script = folder.stdout(&[
        "sweep",
        "run",
        "base.toml",
        "--dir",
        "x",
        "--print",
        "slurm",
    ]);
    assert!(script.starts_with("#!/bin/bash\n"), "{script}");
    let logs = folder.0.path().join("x/slurm/logs");
    assert!(
        script.contains(&format!("{}/%A_%a.log", logs.display())),
        "{script}"
    );
    assert!(logs.is_dir(), "Slurm does not make the folder of its logs");
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
