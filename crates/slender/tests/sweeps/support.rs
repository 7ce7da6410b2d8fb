//! What the tests of sweeps share: a folder with a small text and many small configurations.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A temporary folder with configurations that train in seconds.
pub struct Bench {
    pub folder: tempfile::TempDir,
}

impl Bench {
    /// `runs` configurations of `steps` steps: three depths, and as many seeds as it takes.
    pub fn new(runs: usize, steps: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text: String = (0..400)
            .map(|i| {
                let who = ["a heron", "the miller", "one of the twins"][i % 3];
                let what = ["counts", "forgets", "mends"][i / 3 % 3];
                format!(
                    "{who} {what} {} nets by the weir.\n<|endoftext|>\n",
                    i * i % 89
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
cache_dir = "{cache}"
[data.tokenizer]
kind = "bpe"
vocab_size = 300
[train]
batch_size = 4
steps = {steps}
lr = 5e-3
warmup_steps = 3
dropout = 0.1
[eval]
tasks = ["piqa"]
limit = 4
data_dir = "builtin"
[run]
log_every = 5
checkpoint_every = 5
"#,
            cache = folder.path().join("cache").display()
        );
        std::fs::write(folder.path().join("base.toml"), base).unwrap();
        let bench = Self { folder };
        for (index, config) in bench.configs(runs).iter().enumerate() {
            let text = format!(
                "extends = \"base.toml\"\n[model]\nn_layers = {}\n[run]\nseed = {}\n",
                1 + index % 3,
                index / 3
            );
            std::fs::write(config, text).unwrap();
        }
        bench
    }

    /// The configurations.
    pub fn configs(&self, runs: usize) -> Vec<PathBuf> {
        let name = |index: usize| format!("tiny-{}-s{}.toml", 1 + index % 3, index / 3);
        (0..runs).map(|index| self.path(&name(index))).collect()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program, in the folder.
    pub fn slender(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slender"));
        command
            .args(arguments)
            .env("HF_HUB_OFFLINE", "1")
            .env("SLENDER_CACHE", self.path("cache"))
            .current_dir(self.folder.path());
        command
    }
}

/// `results.json` of a sweep without what depends on the clock or on the folder's name.
pub fn comparable(dir: &Path) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.remove("timing");
                map.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let text = std::fs::read_to_string(dir.join("results.json")).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    strip(&mut value);
    value.as_object_mut().unwrap().remove("name");
    value
}

/// The JSON lines of a file; broken ones are left out.
pub fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Last step that a run has logged.
pub fn last_step(run_dir: &Path) -> u64 {
    let lines = lines(&run_dir.join("metrics.jsonl"));
    lines
        .iter()
        .filter_map(|line| line["step"].as_u64())
        .max()
        .unwrap_or(0)
}

/// Processes whose command line names `dir`, with their command line.
pub fn processes(dir: &Path) -> Vec<(i32, String)> {
    let dir = dir.to_string_lossy();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(dir.as_ref()) && pid != std::process::id() as i32 {
            found.push((pid, line));
        }
    }
    found
}

/// Sends a signal by name, such as `KILL`.
pub fn signal(pid: i32, name: &str) {
    // It may be gone already.
    let _ = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .stderr(std::process::Stdio::null())
        .status();
}

/// The steps from which the starts of a run's training went on, oldest first: what its log says. A
/// start that was killed before it began to train is not one.
pub fn starts(run_dir: &Path) -> Vec<u64> {
    let log = std::fs::read_to_string(run_dir.join("log.txt")).unwrap_or_default();
    let (mut starts, mut from) = (Vec::new(), 0);
    for line in log.lines() {
        if line.starts_with("# slender train ") {
            from = 0;
        } else if let Some(rest) = line.strip_prefix("resuming after step ") {
            from = rest.split(' ').next().unwrap().parse().unwrap();
        } else if line.starts_with("expected: about ") {
            starts.push(from);
        }
    }
    starts
}
