//! A search on the real program: killed in the middle and gone on with, it decides as one that was left
//! alone, and spends a part of what training everything would.
#![cfg(unix)]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let words = [
            "a small river",
            "the old bridge",
            "two grey geese",
            "every winter",
        ];
        let text: String = (0..500)
            .map(|i| {
                format!(
                    "{} meets {} and says {i}.\n<|endoftext|>\n",
                    words[i % 4],
                    words[i / 4 % 4]
                )
            })
            .collect();
        std::fs::write(folder.path().join("corpus.txt"), text).unwrap();
        let base = format!(
            r#"
[model]
n_layers = 1
dim = 32
n_heads = 2
n_kv_heads = 1
ffn_hidden = 64
max_seq_len = 32
tie_embeddings = true
layer_sharing = {{ kind = "none" }}
[data]
sources = [{{ kind = "files", paths = ["corpus.txt"], document_separator = "<|endoftext|>" }}]
valid_fraction = 0.1
cache_dir = "{}"
[data.tokenizer]
kind = "bpe"
vocab_size = 300
[train]
batch_size = 4
steps = 36
lr = 5e-3
warmup_steps = 2
[run]
log_every = 6
threads = 1
"#,
            folder.path().join("cache").display()
        );
        std::fs::write(folder.path().join("base.toml"), base).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, section: &str) {
        let text = format!("[sweep]\nname = \"s\"\nbase = \"base.toml\"\n{section}");
        std::fs::write(self.path(name), text).unwrap();
    }

    fn slender(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slender"));
        command.args(args).current_dir(self.folder.path());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        let output = self.slender(args).output().unwrap();
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_slice(&self.run(args).stdout).unwrap()
    }
}

fn lines(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Every pause of every run: name, step, loss to the last digit.
fn pauses(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for run in std::fs::read_dir(dir.join("runs"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = run.file_name().into_string().unwrap();
        for line in lines(&run.path())
            .iter()
            .filter(|line| line["kind"] == "pause")
        {
            all.push(format!("{name} {} {}", line["step"], line["loss"]));
        }
    }
    all.sort();
    all
}

/// Kills whatever is training in the sweep directory.
fn kill_trainings(dir: &Path) {
    for run in std::fs::read_dir(dir.join("runs"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let text = std::fs::read_to_string(run.path().join("status.json")).unwrap_or_default();
        let status: Value = serde_json::from_str(&text).unwrap_or_default();
        if status["state"] == "running" {
            let pid = status["pid"].to_string();
            let _ = Command::new("kill")
                .args(["-9", &pid])
                .stderr(Stdio::null())
                .status();
        }
    }
}

const SEARCH: &str = r#"
[search]
trials = 9
eta = 3
min_budget = 0.1
seed = 5
[search.space]
"train.lr" = { log_uniform = [1e-4, 3e-2] }
model.n_layers = [1, 2]
"#;

#[test]
fn a_search_that_is_killed_decides_as_one_that_was_left_alone() {
    let bench = Bench::new();
    bench.write("search.toml", SEARCH);
    bench.run(&["sweep", "run", "search.toml", "--dir", "whole"]);
    let whole = pauses(&bench.path("whole"));

    for at in [3, 8] {
        let mut child = bench
            .slender(&["sweep", "run", "search.toml", "--dir", "killed"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(300);
        while pauses(&bench.path("killed")).len() < at && child.try_wait().unwrap().is_none() {
            assert!(
                Instant::now() < deadline,
                "the search never came to {at} pauses"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        child.wait().unwrap();
        kill_trainings(&bench.path("killed"));
    }
    bench.run(&["sweep", "run", "search.toml", "--dir", "killed"]);
    assert_eq!(whole, pauses(&bench.path("killed")));

    let shown = |dir: &str| bench.json(&["search", "show", dir, "--json"]);
    let (a, b) = (shown("whole"), shown("killed"));
    assert_eq!(a["trials"], b["trials"]);
    let trials = a["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 9);
    assert_eq!(trials[0]["steps"], serde_json::json!([4, 12, 36]));
    let reached = |rung: usize| {
        trials
            .iter()
            .filter(|trial| !trial["losses"][rung].is_null())
            .count()
    };
    assert_eq!(reached(0), 9);
    assert!(
        (3..9).contains(&reached(1)) && (1..4).contains(&reached(2)),
        "{a:#}"
    );
    assert!(a["share_of_everything"].as_f64().unwrap() < 0.6);

    // It is over although trials are paused, and everyone who is asked says so.
    let status = bench.json(&["sweep", "status", "whole", "--exit-code", "--json"]);
    assert_eq!(status["over"], true);
    assert!(
        status["counts"]["paused"].as_u64().unwrap() > 0,
        "{status:#}"
    );
    bench.run(&["sweep", "status", "whole", "--watch", "--exit-code"]);
    std::fs::remove_file(bench.path("whole/report.html")).unwrap();
    bench.run(&["sweep", "work", "whole"]);
    assert!(bench.path("whole/report.html").is_file());
    let resumed = bench.run(&["sweep", "resume", "whole", "--executor", "slurm"]);
    let said = String::from_utf8_lossy(&resumed.stderr).into_owned();
    assert!(
        said.contains("nothing to submit") && said.contains("not to go on, says the search"),
        "{said}"
    );

    // What is trained to the end is a run like any other, and makes a front.
    let front = bench.json(&["search", "pareto", "whole", "--json"]);
    assert_eq!(front["points"].as_array().unwrap().len(), reached(2));
    assert_eq!(front["points"][0]["rank"], 0);
    assert_eq!(front["left_out"].as_array().unwrap().len(), 9 - reached(2));
}

#[test]
fn each_shape_gets_its_own_learning_rate() {
    let bench = Bench::new();
    bench.write(
        "tune.toml",
        "[axes]\n\"model.n_layers\" = [1, 2]\n[search]\nlr = { values = [1e-4, 3e-3, 1e-2], share = 0.25 }\n",
    );
    bench.run(&["sweep", "run", "tune.toml", "--dir", "tuned", "--jobs", "2"]);
    let shown = bench.json(&["search", "show", "tuned", "--json"]);
    let tuned = shown["tuned"].as_array().unwrap();
    assert_eq!(tuned.len(), 2);
    for group in tuned {
        let best = group["best"].as_f64().unwrap();
        assert!(best > 1e-4, "a rate that learns nothing wins: {group:#}");
    }
    let ended = shown["trials"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|t| !t["losses"][1].is_null());
    assert_eq!(ended.count(), 2);
}

#[test]
fn decoding_is_measured_once_and_never_mixed() {
    let bench = Bench::new();
    bench.write(
        "sizes.toml",
        "seeds = [0, 1]\n[axes]\n\"model.n_layers\" = [1, 4]\n",
    );
    bench.run(&[
        "sweep",
        "run",
        "sizes.toml",
        "--dir",
        "sizes",
        "--jobs",
        "2",
    ]);
    fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
        let objectives = "loss,decode_ms";
        let pareto = ["search", "pareto", "sizes", "--objectives", objectives];
        [&pareto[..], more, &["--json"]].concat()
    }
    let front = bench.json(&with(&["--threads", "1"]));
    let points = front["points"].as_array().unwrap();
    assert_eq!(points.len(), 2, "{front:#}");
    assert_eq!(
        front["objectives"],
        serde_json::json!(["valid_loss", "decode_ms"])
    );
    assert!(points.iter().all(|point| point["runs"] == 2));
    assert_eq!(front["decode"]["threads"], 1);

    // One run of each variant keeps what was measured, and with what.
    let files = || -> Vec<(PathBuf, String)> {
        let runs = std::fs::read_dir(bench.path("sizes/runs")).unwrap();
        let files = runs.map(|run| run.unwrap().path().join("decode.json"));
        let mut files: Vec<_> = (files.filter(|file| file.exists()))
            .map(|file| (file.clone(), std::fs::read_to_string(file).unwrap()))
            .collect();
        files.sort();
        files
    };
    let first = files();
    assert_eq!(first.len(), 2);
    for (_, text) in &first {
        let file: Value = serde_json::from_str(text).unwrap();
        assert_eq!(file["format"], "slender-decode/1");
        assert_eq!(file["setting"]["weights"], "f32");
        let value = |key: &str| file[key].as_f64().unwrap();
        assert!(value("low_ms") <= value("decode_ms") && value("decode_ms") <= value("high_ms"));
        let measured = |point: &Value| point["values"][1] == file["decode_ms"];
        assert!(points.iter().any(measured), "{front:#}");
    }
    // The second time it is read, whatever this machine's number of cores.
    assert_eq!(bench.json(&with(&[]))["points"], front["points"]);
    assert_eq!(files(), first);

    // The report has the front too.
    bench.run(&["sweep", "report", "sizes"]);
    let results = std::fs::read_to_string(bench.path("sizes/results.json")).unwrap();
    let results: Value = serde_json::from_str(&results).unwrap();
    let fronts = results["pareto"].as_array().unwrap();
    assert!(fronts.iter().any(|front| front["cost"] == "decode_ms"));

    let refused = |more: &[&str]| {
        let output = bench.slender(&with(more)).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = refused(&["--weights", "q8_0"]);
    assert!(
        said.contains("asked for is q8_0") && said.contains("--remeasure"),
        "{said}"
    );
    let mut other: Value = serde_json::from_str(&first[0].1).unwrap();
    other["setting"]["cpu"] = "another".into();
    std::fs::write(&first[0].0, other.to_string()).unwrap();
    let said = refused(&[]);
    assert!(said.contains("of another (flex)"), "{said}");
    std::fs::remove_file(&first[1].0).unwrap();
    let said = refused(&[]);
    assert!(said.contains("was measured on another"), "{said}");
    let again = bench.json(&with(&["--remeasure", "--weights", "q8_0"]));
    assert_eq!(again["decode"]["weights"], "q8_0");
    assert_eq!(files().len(), 2);
}

#[test]
fn what_is_wrong_with_a_search_is_said_before_anything_starts() {
    let bench = Bench::new();
    let refused = |section: &str| {
        bench.write("wrong.toml", section);
        let output = bench
            .slender(&["sweep", "run", "wrong.toml", "--dir", "wrong"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(!bench.path("wrong").exists());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = refused("[search]\ntrials = 4\neta = 1\n[search.space]\n\"train.lr\" = [1e-3]\n");
    assert!(
        said.contains("wrong.toml:6: `search.eta`: 1 is out of range"),
        "{said}"
    );
    let said = refused("[search]\ntrials = 2\nmetric = \"score\"\n");
    assert!(
        said.contains("wrong.toml:6: `search.metric`: `score`: tasks are scored once")
            && said.contains("search pareto DIR --by score"),
        "{said}"
    );
    let said = refused("[search]\ntrials = 2\nobjectives = [\"decode_ms\"]\n");
    assert!(
        said.contains("`decode_ms`: decoding is measured once"),
        "{said}"
    );
    let said = refused("[search]\ntrails = 4\n");
    assert!(
        said.contains("wrong.toml:5: `search.trails`: unknown key"),
        "{said}"
    );
    let said = refused("[search]\ntrials = 1\n[search.space]\n\"train.rate\" = [1e-3]\n");
    assert!(
        said.contains("train.rate") && said.contains("unknown key"),
        "{said}"
    );
    let said = refused("[axes]\ntrain.lr = [1e-3]\n[search]\nlr = { values = [1e-3] }\n");
    assert!(said.contains("`train.lr` is in [axes] too"), "{said}");
}

#[test]
fn a_failed_coordinate_check_is_no_success() {
    let bench = Bench::new();
    let code = |tolerance: &str| {
        let arguments = [
            "search",
            "coord-check",
            "base.toml",
            "--widths",
            "32,64",
            "--steps",
            "2",
            "--seeds",
            "1",
            "--tolerance",
            tolerance,
        ];
        let output = bench.slender(&arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), said)
    };
    let (failed, said) = code("0");
    assert_eq!(failed, Some(70), "{said}");
    assert!(said.contains("not width-independent"), "{said}");
    let (passed, said) = code("50");
    assert_eq!(passed, Some(0), "{said}");
    assert!(said.contains("\nwidth-independent"), "{said}");
}
