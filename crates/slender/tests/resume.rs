//! The central promise, tested on the real program: a run that is killed and resumed ends in the
//! same bytes as one that was not. Every piece of state is also shown to matter, by dropping it.
#![cfg(unix)]

use safetensors::SafeTensors;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const STEPS: u64 = 40;

/// A run directory of a small training inside a temporary folder.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text: String = (0..600)
            .map(|i| {
                format!(
                    "the {} fox number {i} jumps over {} lazy dogs.\n<|endoftext|>\n",
                    ["quick", "brown", "old"][i % 3],
                    i * i % 97
                )
            })
            .collect();
        std::fs::write(folder.path().join("corpus.txt"), text).unwrap();
        let config = format!(
            r#"
[model]
n_layers = 3
dim = 64
n_heads = 4
n_kv_heads = 2
ffn_hidden = 128
max_seq_len = 64
tie_embeddings = true
layer_sharing = {{ kind = "immediate", repeats = 2 }}
[data]
sources = [{{ kind = "files", paths = ["corpus.txt"], document_separator = "<|endoftext|>" }}]
valid_fraction = 0.1
document_mask = true
cache_dir = "{cache}"
[data.tokenizer]
kind = "bpe"
vocab_size = 300
[train]
batch_size = 8
micro_batch_size = 4
steps = {STEPS}
lr = 3e-3
warmup_steps = 5
dropout = 0.1
[eval]
loss_every = 8
[run]
seed = 7
log_every = 1
checkpoint_every = 5
keep_last = 100
"#,
            cache = folder.path().join("cache").display(),
        );
        std::fs::write(folder.path().join("run.toml"), config).unwrap();
        Self { folder }
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, run: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slender"));
        command
            .arg("train")
            .arg(self.folder.path().join("run.toml"))
            .arg("--run-dir")
            .arg(self.dir(run))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    fn train(&self, run: &str) -> Output {
        self.command(run).output().unwrap()
    }

    /// Starts a run and waits until it has logged `step`.
    ///
    /// `None` if it was over first, which a starved test machine makes possible.
    fn start_until(&self, run: &str, step: u64) -> Option<Child> {
        let mut child = self.command(run).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        while last_step(&self.dir(run)) < step {
            assert!(
                Instant::now() < deadline,
                "the run never reached step {step}"
            );
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Some(child)
    }

    /// Runs until `step` is logged, then stops the process with `stop`; starts afresh when the run
    /// was over first.
    fn stop_at(&self, run: &str, step: u64, stop: impl Fn(&mut Child)) -> Option<i32> {
        for _ in 0..5 {
            if let Some(mut child) = self.start_until(run, step) {
                stop(&mut child);
                let status = child.wait().unwrap();
                if status.code() != Some(0) && last_step(&self.dir(run)) < STEPS {
                    return status.code();
                }
            }
            std::fs::remove_dir_all(self.dir(run)).unwrap();
        }
        panic!("the run was over before it could be stopped, five times");
    }

    /// Runs until `step` is logged, then kills the process the hard way.
    fn kill_at(&self, run: &str, step: u64) {
        let code = self.stop_at(run, step, |child| child.kill().unwrap());
        assert_eq!(code, None, "killed by a signal");
    }

    fn checkpoint(&self, run: &str, step: u64) -> PathBuf {
        self.dir(run).join(format!("checkpoints/step-{step:08}"))
    }

    /// Weights, optimizer state and logged losses at the end of a run.
    fn result(&self, run: &str) -> (Vec<u8>, Vec<u8>, Vec<String>) {
        let checkpoint = self.checkpoint(run, STEPS);
        (
            std::fs::read(checkpoint.join("model.safetensors")).unwrap(),
            std::fs::read(checkpoint.join("optimizer.safetensors")).unwrap(),
            losses(&self.dir(run)),
        )
    }
}

fn lines(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn last_step(dir: &Path) -> u64 {
    lines(dir)
        .iter()
        .filter_map(|line| line["step"].as_u64())
        .max()
        .unwrap_or(0)
}

/// Every logged loss with its kind and step, to the last digit.
fn losses(dir: &Path) -> Vec<String> {
    let lines = lines(dir);
    let line = |line: &Value| {
        format!(
            "{} {} {} {}",
            line["kind"], line["step"], line["loss"], line["grad_norm"]
        )
    };
    lines.iter().skip(1).map(line).collect()
}

fn assert_finished(output: &Output) {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn assert_same(bench: &Bench, run: &str) {
    let (whole, resumed) = (bench.result("whole"), bench.result(run));
    assert_eq!(whole.2, resumed.2, "logged losses of {run}");
    assert_eq!(
        whole.2.iter().filter(|line| line.contains("train")).count() as u64,
        STEPS
    );
    assert!(whole.0 == resumed.0, "weights of {run} differ");
    assert!(whole.1 == resumed.1, "optimizer state of {run} differs");
}

#[test]
fn a_killed_run_resumes_to_the_same_bytes_and_every_piece_of_state_matters() {
    let bench = Bench::new();
    assert_finished(&bench.train("whole"));

    bench.kill_at("killed", 17);
    assert_finished(&bench.train("killed"));
    assert_same(&bench, "killed");

    // Killed again and again, also in the middle of whatever it does next.
    for step in [3, 9, 22] {
        bench.kill_at("often", step);
    }
    assert_finished(&bench.train("often"));
    assert_same(&bench, "often");

    // What a checkpoint holds is needed: without any one piece the result differs.
    let mutations: [Mutation; 4] = [
        ("data position", |dir| {
            edit_state(dir, |state| state["next_batch"] = 0.into())
        }),
        ("random stream", |dir| {
            edit_state(dir, |state| state["rng"]["word_pos"] = 0.into())
        }),
        ("update count", |dir| {
            edit_state(dir, |state| state["updates"] = 1.into())
        }),
        ("optimizer moment", zero_one_moment),
    ];
    for (index, (what, mutate)) in mutations.into_iter().enumerate() {
        let run = format!("mutated{index}");
        bench.kill_at(&run, 17);
        let newest = (0..=STEPS)
            .rev()
            .map(|step| bench.checkpoint(&run, step))
            .find(|dir| dir.exists())
            .unwrap();
        mutate(&newest);
        assert_finished(&bench.train(&run));
        assert!(
            bench.result("whole").0 != bench.result(&run).0,
            "dropping the {what} changed nothing"
        );
    }
}

/// What a checkpoint is made to forget, and how.
type Mutation = (&'static str, fn(&Path));

fn edit_state(checkpoint: &Path, edit: impl Fn(&mut Value)) {
    let file = checkpoint.join("state.json");
    let mut state: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let before = state.clone();
    edit(&mut state);
    assert_ne!(before, state, "the mutation must change the state file");
    std::fs::write(&file, state.to_string()).unwrap();
}

/// Zeroes the first moment of one weight and repairs the file's hash, as if it had never been saved.
fn zero_one_moment(checkpoint: &Path) {
    let file = checkpoint.join("optimizer.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let (start, end) = {
        let parsed = SafeTensors::deserialize(&bytes).unwrap();
        let data = parsed
            .tensor("model.layers.1.mlp.up_proj.weight.exp_avg")
            .unwrap()
            .data()
            .to_vec();
        let start = bytes
            .windows(data.len())
            .position(|window| window == data)
            .unwrap();
        (start, start + data.len())
    };
    bytes[start..end].fill(0);
    std::fs::write(&file, &bytes).unwrap();
    let hash = blake3::hash(&bytes).to_hex().to_string();
    edit_state(checkpoint, |state| {
        state["files"]["optimizer.safetensors"] = hash.clone().into()
    });
}

/// Every valid line and its digits; a pause must neither add one nor change one.
fn pauses(dir: &Path) -> Vec<(u64, f64)> {
    let lines = lines(dir);
    let pauses = lines.iter().filter(|line| line["kind"] == "pause");
    pauses
        .map(|line| {
            (
                line["step"].as_u64().unwrap(),
                line["loss"].as_f64().unwrap(),
            )
        })
        .collect()
}

fn status(dir: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(dir.join("status.json")).unwrap()).unwrap()
}

#[test]
fn a_run_that_pauses_and_goes_on_ends_in_the_same_bytes() {
    let bench = Bench::new();
    assert_finished(&bench.train("whole"));
    let until = |run: &str, step: u64| {
        let output = bench
            .command(run)
            .args(["--until", &step.to_string()])
            .output()
            .unwrap();
        assert_finished(&output);
        String::from_utf8_lossy(&output.stderr).into_owned()
    };

    // 16 has a validation of its own, 23 has neither that nor a checkpoint.
    for step in [16, 23] {
        let said = until("run", step);
        assert!(
            said.contains(&format!("paused after step {step} of {STEPS}")),
            "{said}"
        );
        let now = status(&bench.dir("run"));
        assert_eq!(now["format"], "slender-status/2");
        assert_eq!(
            (&now["state"], &now["step"], &now["until"]),
            (&"paused".into(), &step.into(), &step.into())
        );
        assert!(bench.checkpoint("run", step).exists());
        let (at, loss) = *pauses(&bench.dir("run")).last().unwrap();
        assert_eq!((at, now["valid_loss"].as_f64().unwrap()), (step, loss));
    }
    let valid = losses(&bench.dir("whole"));
    let at_16 = valid
        .iter()
        .find(|line| line.starts_with("\"valid\" 16 "))
        .unwrap();
    let (_, measured) = pauses(&bench.dir("run"))[0];
    assert!(at_16.contains(&measured.to_string()), "{at_16} {measured}");
    let before = std::fs::read(bench.dir("run").join("metrics.jsonl")).unwrap();
    assert!(until("run", 20).contains("already paused after step 23"));
    let after = std::fs::read(bench.dir("run").join("metrics.jsonl")).unwrap();
    assert!(before == after, "a paused run is left alone");

    // Killed on the way to the next pause, then paused, then trained to the end.
    let mut child = bench
        .command("run")
        .args(["--until", "35"])
        .spawn()
        .unwrap();
    while last_step(&bench.dir("run")) < 29 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    child.wait().unwrap();
    until("run", 35);
    assert_eq!(until("run", STEPS + 5).matches("pausing").count(), 0);
    assert_eq!(status(&bench.dir("run"))["state"], "finished");
    let steps: Vec<u64> = pauses(&bench.dir("run"))
        .iter()
        .map(|(step, _)| *step)
        .collect();
    assert_eq!(steps, [16, 23, 35]);

    // Apart from the lines of the pauses, nothing tells the two runs apart.
    let (whole, paused) = (bench.result("whole"), bench.result("run"));
    let kept: Vec<_> = paused
        .2
        .into_iter()
        .filter(|line| !line.starts_with("\"pause\""))
        .collect();
    assert_eq!(whole.2, kept, "logged losses");
    assert!(whole.0 == paused.0, "weights differ");
    assert!(whole.1 == paused.1, "optimizer state differs");
    let state = |run: &str| {
        let file = bench.checkpoint(run, STEPS).join("state.json");
        let mut state: Value =
            serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        state["elapsed_s"] = 0.into();
        state
    };
    assert_eq!(state("whole"), state("run"));
}

#[test]
fn signals_checkpoint_and_leave_with_the_documented_code() {
    let bench = Bench::new();
    assert_finished(&bench.train("whole"));
    for (index, signal) in ["TERM", "INT", "USR1"].into_iter().enumerate() {
        let run = format!("signal{index}");
        let code = bench.stop_at(&run, 11, |child| {
            let pid = child.id().to_string();
            let sent = Command::new("kill")
                .args([format!("-{signal}"), pid])
                .status()
                .unwrap();
            assert!(sent.success());
        });
        assert_eq!(code, Some(75), "SIG{signal}");
        let state: Value = serde_json::from_str(
            &std::fs::read_to_string(bench.dir(&run).join("status.json")).unwrap(),
        )
        .unwrap();
        assert_eq!(state["state"], "interrupted");
        assert!(
            bench
                .checkpoint(&run, state["step"].as_u64().unwrap())
                .exists()
        );
        assert_finished(&bench.train(&run));
        assert_same(&bench, &run);
    }
}

#[test]
fn a_damaged_or_half_written_checkpoint_is_never_continued() {
    let bench = Bench::new();
    assert_finished(&bench.train("whole"));
    bench.kill_at("run", 17);
    // Half a checkpoint, as a kill in the middle of writing leaves it.
    let half = bench.dir("run").join("checkpoints/.tmp-step-00000039");
    std::fs::create_dir_all(&half).unwrap();
    std::fs::write(half.join("model.safetensors"), b"half").unwrap();
    // The newest whole one loses a bit.
    let newest = (0..=STEPS)
        .rev()
        .map(|step| bench.checkpoint("run", step))
        .find(|dir| dir.exists())
        .unwrap();
    let weights = newest.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&weights, bytes).unwrap();

    let output = bench.train("run");
    assert_finished(&output);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("set aside as") && said.contains("damaged-step-"),
        "{said}"
    );
    assert_same(&bench, "run");
}

#[test]
fn a_run_directory_is_idempotent_exclusive_and_bound_to_its_configuration() {
    let bench = Bench::new();
    let mut child = bench.start_until("run", 3).expect("37 steps are left");
    let second = bench.train("run");
    assert_eq!(
        second.status.code(),
        Some(73),
        "a second process must be refused"
    );
    assert!(child.wait().unwrap().success());

    let metrics = std::fs::read(bench.dir("run").join("metrics.jsonl")).unwrap();
    assert_finished(&bench.train("run"));
    assert_eq!(
        metrics,
        std::fs::read(bench.dir("run").join("metrics.jsonl")).unwrap(),
        "a finished run is left alone"
    );

    let other = bench
        .command("run")
        .args(["--set", "train.lr=1e-2", "--set", "model.n_layers=2"])
        .output()
        .unwrap();
    assert_eq!(other.status.code(), Some(2));
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(
        said.contains("train.lr") && said.contains("model.n_layers"),
        "{said}"
    );
}

#[test]
fn a_non_finite_loss_stops_with_a_checkpoint_from_before_or_is_skipped() {
    let bench = Bench::new();
    let blow_up = [
        "--set",
        "train.lr=1e30",
        "--set",
        "train.grad_clip=0",
        "--set",
        "train.warmup_steps=0",
    ];
    let stopped = bench.command("stopped").args(blow_up).output().unwrap();
    assert_eq!(stopped.status.code(), Some(70));
    let said = String::from_utf8_lossy(&stopped.stderr);
    assert!(
        said.contains("is not finite") && said.contains("step-0000000"),
        "{said}"
    );
    let status = std::fs::read_to_string(bench.dir("stopped").join("status.json")).unwrap();
    assert!(
        status.contains("\"failed\"") && status.contains("is not finite"),
        "{status}"
    );

    let skipped = bench
        .command("skipped")
        .args(blow_up)
        .args([
            "--set",
            "train.on_nonfinite=skip",
            "--set",
            "eval.loss_every=0",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&skipped.stderr);
    assert!(said.contains("batch skipped"), "{said}");
    let status: Value = serde_json::from_str(
        &std::fs::read_to_string(bench.dir("skipped").join("status.json")).unwrap(),
    )
    .unwrap();
    assert!(status["skipped_batches"].as_u64().unwrap() > 0);
}
