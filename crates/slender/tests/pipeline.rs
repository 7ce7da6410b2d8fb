//! Train, evaluate, sweep and report with the real program, on a tiny model: tasks during training
//! and after it, a sweep that is killed and resumed, and a run that fails without sinking the rest.
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
            "every winter morning",
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
dim = 32
n_heads = 2
n_kv_heads = 1
ffn_hidden = 64
max_seq_len = 64
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
steps = 30
lr = 5e-3
warmup_steps = 3
[eval]
tasks = ["piqa", "winogrande"]
limit = 4
data_dir = "builtin"
[run]
log_every = 5
checkpoint_every = 5
"#,
            folder.path().join("cache").display()
        );
        std::fs::write(folder.path().join("base.toml"), base).unwrap();
        for layers in [1, 2, 3] {
            let text = format!("extends = \"base.toml\"\n[model]\nn_layers = {layers}\n");
            std::fs::write(folder.path().join(format!("tiny-{layers}.toml")), text).unwrap();
        }
        let broken = "extends = \"base.toml\"\n[model]\nn_layers = 1\n[train]\nlr = 1e30\ngrad_clip = 0.0\nwarmup_steps = 0\n";
        std::fs::write(folder.path().join("tiny-broken.toml"), broken).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn slender<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slender"));
        command
            .args(arguments)
            .env("HF_HUB_OFFLINE", "1")
            .env("SLENDER_CACHE", self.path("cache"))
            .current_dir(self.folder.path());
        command
    }

    fn sweep(&self, dir: &str, configs: &[&str]) -> Command {
        let mut command = self.slender(["sweep", "run", "--jobs", "2", "--dir", dir]);
        command.args(configs);
        command
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Results without what depends on the clock or on where the sweep lives.
fn comparable(dir: &Path) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                for key in ["timing", "name_of_sweep"] {
                    map.remove(key);
                }
                map.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = json(&dir.join("results.json"));
    strip(&mut value);
    value.as_object_mut().unwrap().remove("name");
    value
}

#[test]
fn tasks_are_scored_during_training_and_after_it() {
    let bench = Bench::new();
    let train = bench
        .slender([
            "train",
            "tiny-2.toml",
            "--run-dir",
            "run",
            "--set",
            "eval.tasks_every=10",
        ])
        .output()
        .unwrap();
    assert!(train.status.success(), "{}", said(&train));
    let metrics = std::fs::read_to_string(bench.path("run/metrics.jsonl")).unwrap();
    let lines: Vec<Value> = metrics
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let task = |line: &&Value| line["kind"] == "task" && line["task"] == "piqa";
    let steps: Vec<u64> = lines
        .iter()
        .filter(task)
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [10, 20], "the last scores are the evaluation's");
    let loss = |line: &Value| line["loss"].as_f64().unwrap();
    let losses: Vec<f64> = lines
        .iter()
        .filter(|line| line["kind"] == "train")
        .map(loss)
        .collect();
    assert!(
        losses[0] > 4.0 && *losses.last().unwrap() < 3.5,
        "{losses:?}"
    );

    let eval = || {
        bench
            .slender(["eval", "run", "--from-config", "--save", "--json"])
            .output()
            .unwrap()
    };
    let first = eval();
    assert!(first.status.success(), "{}", said(&first));
    let printed: Value = serde_json::from_slice(&first.stdout).unwrap();
    let saved = json(&bench.path("run/eval/final.json"));
    for value in [&printed, &saved] {
        assert!(value["results"]["piqa"]["acc,none"].is_number(), "{value}");
        assert!(value["results"]["piqa"]["acc_stderr,none"].is_number());
        assert!(value["results"]["winogrande"]["acc,none"].is_number());
        assert_eq!(value["fixture"]["piqa"], true);
        assert_eq!(value["n-samples"]["piqa"]["effective"], 4);
    }
    let again = eval();
    assert!(
        again.status.success() && said(&again).contains("already evaluated"),
        "{}",
        said(&again)
    );
    let printed: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(printed["results"], saved["results"]);

    // What asks for output gets it; what would change a number is evaluated again.
    let more = |more: &[&str]| {
        let mut command = bench.slender(["eval", "run", "--save"]);
        let output = command.args(more).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    let from_config = ["--from-config", "--samples", "copy.parquet"];
    assert!(more(&from_config).contains("already evaluated"));
    assert!(bench.path("copy.parquet").is_file());
    let one = ["--tasks", "piqa", "--limit", "4", "--data-dir", "builtin"];
    assert!(more(&one).contains("has these tasks and more"));
    assert!(json(&bench.path("run/eval/final.json"))["results"]["winogrande"].is_object());
    std::fs::remove_file(bench.path("run/eval/final-examples.jsonl")).unwrap();
    assert!(more(&["--from-config"]).contains("does not hold the examples"));
    assert!(bench.path("run/eval/final-examples.jsonl").is_file());
    let shorter = more(&["--from-config", "--max-length", "24"]);
    assert!(
        shorter.contains("another evaluation (the longest input)"),
        "{shorter}"
    );
    let all = more(&["--from-config", "--limit", "0"]);
    assert!(
        all.contains("the limit of examples") || all.contains("the longest input"),
        "{all}"
    );
    let saved = json(&bench.path("run/eval/final.json"));
    assert_eq!(saved["n-samples"]["piqa"]["effective"], 40, "0 is all");

    let text = bench
        .slender(["eval", "run", "--perplexity", "corpus.txt", "--json"])
        .output()
        .unwrap();
    assert!(text.status.success(), "{}", said(&text));
    let perplexity: Value = serde_json::from_slice(&text.stdout).unwrap();
    assert!(perplexity["bits_per_byte"].as_f64().unwrap() < 4.0);
}

/// A model to evaluate, the untrained one of a configuration.
fn untrained(bench: &Bench, seed: &str) -> String {
    let name = format!("model-{seed}");
    let made = bench
        .slender(["init", "tiny-1.toml", "--out", &name, "--set"])
        .arg(format!("run.seed={seed}"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", said(&made));
    name
}

/// The results of an evaluation without what may differ from run to run.
fn scores(output: &Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    serde_json::json!([value["results"], value["extras"], value["means"]])
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn an_interrupted_evaluation_goes_on_and_a_damaged_cache_is_mended() {
    let bench = Bench::new();
    let model = untrained(&bench, "1");
    let eval = |more: &[&str]| {
        let mut command =
            bench.slender(["eval", &model, "--tasks", "paper", "--data-dir", "builtin"]);
        command.args(["--batch-tokens", "64", "--json"]).args(more);
        command
    };
    let whole = scores(&eval(&["--no-cache"]).output().unwrap());

    // Killed as soon as something is kept, several times, each time further on.
    let cache = bench.path("kept");
    let lines = || -> usize {
        let text = |path: &PathBuf| std::fs::read(path).unwrap_or_default();
        files(&cache)
            .iter()
            .map(|path| text(path).iter().filter(|b| **b == b'\n').count())
            .sum()
    };
    let mut before = 0;
    for _ in 0..3 {
        let mut child = eval(&["--cache-dir", "kept"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while lines() <= before + 20 && child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < Duration::from_secs(120));
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(lines() > before, "nothing was kept");
        before = lines();
    }
    let resumed = eval(&["--cache-dir", "kept"]).output().unwrap();
    assert_eq!(scores(&resumed), whole);
    assert!(
        said(&resumed).contains("scores taken from the cache"),
        "{}",
        said(&resumed)
    );

    // One digit of one score.
    let largest = files(&cache)
        .into_iter()
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    let at = bytes.windows(6).rposition(|w| w == b"bits\":").unwrap() + 8;
    bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
    std::fs::write(&largest, bytes).unwrap();
    let mended = eval(&["--cache-dir", "kept"]).output().unwrap();
    assert_eq!(scores(&mended), whole);
    assert!(
        said(&mended).contains("1 damaged cache entries"),
        "{}",
        said(&mended)
    );
    let again = eval(&["--cache-dir", "kept"]).output().unwrap();
    assert!(
        !said(&again).contains("damaged") && scores(&again) == whole,
        "{}",
        said(&again)
    );
}

#[test]
fn two_models_are_compared_and_their_examples_shown() {
    let bench = Bench::new();
    for (seed, file) in [("1", "a.jsonl"), ("2", "b.parquet")] {
        let model = untrained(&bench, seed);
        let output = bench
            .slender([
                "eval",
                &model,
                "--tasks",
                "paper",
                "--data-dir",
                "builtin",
                "--samples",
                file,
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let table = String::from_utf8(output.stdout).unwrap();
        for part in [
            "mean of 8 tasks, acc:",
            "without boolq",
            "chance_corrected",
            "tokens: no BOS",
        ] {
            assert!(table.contains(part), "{part}: {table}");
        }
    }
    let json_of = |arguments: &[&str]| -> Value {
        let output = bench.slender(arguments).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let compared = json_of(&["compare", "a.jsonl", "b.parquet", "--json"]);
    let rows = compared["rows"].as_array().unwrap();
    let row = |over: &str, score: &str| {
        let found = rows
            .iter()
            .find(|r| r["over"] == over && r["score"] == score);
        found
            .unwrap_or_else(|| panic!("{over} {score}: {compared}"))
            .clone()
    };
    let boolq = row("boolq", "acc");
    let (only_a, only_b) = (
        boolq["only"][0].as_f64().unwrap(),
        boolq["only"][1].as_f64().unwrap(),
    );
    let difference = boolq["difference"].as_f64().unwrap();
    assert!((difference - (only_b - only_a) / 40.0).abs() < 1e-12);
    assert_eq!(row("mean", "paper")["n"], 8);
    assert_eq!(row("mean without boolq", "acc")["n"], 7);
    let bits = row("hellaswag", "bits/byte");
    assert!(bits["low"].as_f64().unwrap() <= bits["difference"].as_f64().unwrap());

    let shown = bench
        .slender(["eval", "show", "a.jsonl", "b.parquet", "--limit", "1"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.status.success() && text.contains("/char"),
        "{text}{}",
        said(&shown)
    );
    let same = bench
        .slender(["compare", "a.jsonl", "a.jsonl"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&same.stdout).contains("+0.0"));
}

#[test]
fn a_killed_sweep_ends_in_the_results_of_an_undisturbed_one() {
    let bench = Bench::new();
    let configs = ["tiny-1.toml", "tiny-2.toml", "tiny-3.toml"];
    let whole = bench.sweep("whole", &configs).output().unwrap();
    assert!(whole.status.success(), "{}", said(&whole));

    // A name of its own, by which this test's workers are found.
    let dir = format!("killed-{}", std::process::id());
    // Killed at different moments, sometimes with its workers, sometimes leaving them orphaned.
    for round in 0..6_u64 {
        let mut sweep = bench
            .sweep(&dir, &configs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(150 + 170 * round));
        sweep.kill().unwrap();
        sweep.wait().unwrap();
        if round % 2 == 0 {
            let pattern = format!("slender train.*{dir}");
            // No worker may be alive at this moment; then there is nothing to kill.
            let _ = Command::new("pkill").args(["-9", "-f", &pattern]).status();
        }
    }
    let start = Instant::now();
    let resumed = bench.sweep(&dir, &configs).output().unwrap();
    assert!(
        resumed.status.success(),
        "after {:?}: {}",
        start.elapsed(),
        said(&resumed)
    );
    assert_eq!(
        comparable(&bench.path("whole")),
        comparable(&bench.path(&dir))
    );

    let again = bench.sweep(&dir, &configs).output().unwrap();
    assert!(
        again.status.success() && !said(&again).contains(": training"),
        "{}",
        said(&again)
    );
}

#[test]
fn a_failing_run_does_not_sink_the_sweep() {
    let bench = Bench::new();
    let sweep = bench
        .sweep("sweep", &["tiny-broken.toml", "tiny-1.toml"])
        .output()
        .unwrap();
    assert_eq!(sweep.status.code(), Some(70), "{}", said(&sweep));
    assert!(said(&sweep).contains("is not finite"), "{}", said(&sweep));
    let results = json(&bench.path("sweep/results.json"));
    let states: Vec<&str> = results["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["state"].as_str().unwrap())
        .collect();
    assert!(
        states.contains(&"failed") && states.contains(&"finished"),
        "{states:?}"
    );
    let report = std::fs::read_to_string(bench.path("sweep/report.html")).unwrap();
    assert!(report.contains("tiny-broken") && report.contains("is not finite"));

    // Another configuration in the same directory is refused before anything starts.
    let other = bench
        .sweep("sweep", &["tiny-1.toml", "--set", "train.lr=1e-3"])
        .output()
        .unwrap();
    assert_eq!(other.status.code(), Some(2));
    assert!(said(&other).contains("train.lr"), "{}", said(&other));
}

/// Losses of every step of a training of 200 steps in folder `run`.
fn losses(bench: &Bench, run: &str, fused: &str, sets: &[&str]) -> Vec<f64> {
    let dir = bench.path(run);
    let mut command = Command::new(env!("CARGO_BIN_EXE_slender"));
    command
        .current_dir(bench.folder.path())
        .env("SLENDER_FUSED", fused)
        .args(["train", "tiny-3.toml", "--run-dir"])
        .arg(&dir)
        .args([
            "--set=model.layer_sharing={ kind = \"immediate\", repeats = 2 }",
            "--set=data.document_mask=true",
            "--set=train.steps=200",
            "--set=train.lr=1e-3",
            "--set=train.micro_batch_size=2",
            "--set=run.log_every=1",
        ]);
    for set in sets {
        command.arg(format!("--set={set}"));
    }
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|line| line["lr"].is_number())
        .map(|line| line["loss"].as_f64().unwrap())
        .collect()
}

#[test]
fn two_hundred_steps_lose_as_much_with_the_fused_kernels_as_with_plain_operations() {
    let bench = Bench::new();
    let plain = losses(&bench, "plain", "0", &[]);
    let fused = losses(&bench, "fused", "1", &[]);
    assert_eq!((plain.len(), fused.len()), (200, 200));
    assert!(
        plain[199] < 0.5 * plain[0],
        "it learns: {} to {}",
        plain[0],
        plain[199]
    );
    assert_ne!(plain, fused, "both runs took the same path");
    for (step, (plain, fused)) in plain.iter().zip(&fused).enumerate() {
        assert!(
            (plain - fused).abs() < 1e-4,
            "step {}: {plain} and {fused}",
            step + 1
        );
    }
    // Computing activations again changes no bit.
    let again = losses(&bench, "again", "1", &["train.recompute=\"block\""]);
    assert_eq!(again, fused);
}

/// The slice of PIQA as a folder's file: not the published split.
fn altered_data(bench: &Bench) {
    let slice = include_str!("../../slender-eval/fixtures/piqa.jsonl");
    std::fs::create_dir_all(bench.path("bench/piqa")).unwrap();
    std::fs::write(bench.path("bench/piqa/validation.jsonl"), slice).unwrap();
    let text = "extends = \"tiny-1.toml\"\n[eval]\ntasks = [\"piqa\"]\ndata_dir = \"bench\"\n";
    std::fs::write(bench.path("altered.toml"), text).unwrap();
}

#[test]
fn altered_data_of_a_configuration_is_refused_as_that_of_an_argument() {
    let bench = Bench::new();
    altered_data(&bench);
    let train = |more: &[&str]| {
        let mut command = bench.slender(["train", "altered.toml", "--run-dir", "run"]);
        command.args(more).output().unwrap()
    };
    let refused = train(&["--set", "eval.tasks_every=10"]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(
        said(&refused).contains("has 40 examples") && !bench.path("run").exists(),
        "before training: {}",
        said(&refused)
    );
    let trained = train(&[]);
    assert!(trained.status.success(), "{}", said(&trained));
    let eval = |more: &[&str]| {
        let mut command = bench.slender(["eval", "run", "--from-config", "--json"]);
        command.args(more).output().unwrap()
    };
    let refused = eval(&[]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(
        said(&refused).contains("has 40 examples") && said(&refused).contains("eval.allow_altered"),
        "{}",
        said(&refused)
    );
    let allowed = eval(&["--allow-altered"]);
    assert!(allowed.status.success(), "{}", said(&allowed));
    let value: Value = serde_json::from_slice(&allowed.stdout).unwrap();
    assert_eq!(value["data"]["piqa"]["content"], "altered");
    let again = train(&["--set", "eval.allow_altered=true"]);
    assert!(again.status.success(), "{}", said(&again));
}

#[test]
fn few_shot_examples_are_checked_and_recorded() {
    let bench = Bench::new();
    altered_data(&bench);
    std::fs::copy(
        bench.path("bench/piqa/validation.jsonl"),
        bench.path("bench/piqa/train.jsonl"),
    )
    .unwrap();
    let model = untrained(&bench, "1");
    let eval = |more: &[&str]| {
        let fixed = ["eval", &model, "--tasks", "piqa", "--json", "--limit", "2"];
        bench
            .slender(fixed)
            .args(["--data-dir", "bench", "--allow-altered"])
            .args(more)
            .output()
            .unwrap()
    };
    let output = eval(&["--num-fewshot", "2"]);
    assert!(output.status.success(), "{}", said(&output));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let pool = &value["fewshot_data"]["piqa"];
    assert_eq!(pool["content"], "altered");
    assert!(pool["origin"].as_str().unwrap().ends_with("train.jsonl"));
    assert_eq!(pool["blake3"].as_str().unwrap().len(), 64);
    let warnings = value["warnings"]["piqa"].to_string();
    assert!(
        warnings.contains("few-shot examples:")
            && warnings.contains("published train split has 16113"),
        "{warnings}"
    );
}

#[test]
fn a_file_of_examples_is_checked_before_anything_is_scored() {
    let bench = Bench::new();
    let model = untrained(&bench, "1");
    std::fs::create_dir(bench.path("folder")).unwrap();
    for (file, expected) in [
        ("folder", "is a directory"),
        ("x.csv", "no ending"),
        ("corpus.txt/x.jsonl", "cannot be written"),
    ] {
        let output = bench
            .slender(["eval", &model, "--tasks", "paper", "--samples", file])
            .output()
            .unwrap();
        // Nothing was asked of the hub either, which is offline.
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
    let absent = bench
        .slender(["eval", &model, "--perplexity", "corpus.txt"])
        .args(["--document-separator", "<|eot|>"])
        .output()
        .unwrap();
    assert_eq!(absent.status.code(), Some(2), "{}", said(&absent));
    assert!(
        said(&absent).contains("no line of corpus.txt"),
        "{}",
        said(&absent)
    );
}
