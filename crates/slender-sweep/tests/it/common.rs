//! A stand-in for the slender program, and configurations for it.
//!
//! The stand-in is a shell script that writes run directories as `docs/formats.md` says. How a run
//! behaves is decided by its name, so that one script serves every test.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What the script does, by the run's name: `bad*` fails with 70, `usage*` with 2 before it has a
/// status, `flaky*` is interrupted (75) once after 5 of 10 steps, `stuck*` is interrupted for ever
/// without progress, `locked*` is locked (73) once, `killed*` dies of SIGKILL once, `slow*` waits
/// for SIGUSR1, `noeval*` cannot be evaluated.
const SCRIPT: &str = r##"#!/bin/sh
set -e
here=$(dirname "$0")
echo "$*" >> "$here/calls.txt"
status() { # state step
    printf '{"format":"slender-status/1","state":"%s","step":%s,"total_steps":10,"tokens":%s,"skipped_batches":0,"train_loss":3.2,"valid_loss":3.3,"valid_bits_per_byte":1.9,"elapsed_s":12.5,"updated_at":1770000000,"pid":%s,"error":%s}' \
        "$1" "$2" "$(($2 * 256))" "$$" "${3:-null}" > "$dir/status.json.tmp"
    mv "$dir/status.json.tmp" "$dir/status.json"
}
once() { if [ -e "$dir/.$1" ]; then return 1; else touch "$dir/.$1"; fi; }
case "$1" in
train)
    config=$2; dir=$4; name=$(basename "$dir")
    case "$name" in
    usage*) echo "error: no such device" >&2; exit 2 ;;
    locked*) if once locked; then echo "error: locked by process 1" >&2; exit 73; fi ;;
    stuck*) status interrupted 5; exit 75 ;;
    flaky*) if once flaky; then status interrupted 5; exit 75; fi ;;
    killed*) if once killed; then status running 5; kill -9 $$; fi ;;
    slow*) trap 'status interrupted 5; exit 75' USR1; status running 1; while :; do sleep 0.05; done ;;
    bad*)
        status failed 4 '"the loss is not finite at step 4"'
        for i in 1 2 3; do echo "line $i <of> the log" >&2; done
        exit 70 ;;
    esac
    cp "$config" "$dir/config.toml"
    printf '%s\n' '{"format":"slender-metrics/1"}' \
        '{"kind":"train","step":5,"tokens":1280,"loss":6.1}' \
        '{"kind":"train","step":10,"tokens":2560,"loss":4.1}' \
        '{"kind":"valid","step":5,"tokens":1280,"loss":5.5,"bits_per_byte":2.9}' \
        '{"kind":"valid","step":10,"tokens":2560,"loss":4.25,"bits_per_byte":2.125}' > "$dir/metrics.jsonl"
    status finished 10 ;;
eval)
    dir=$2; name=$(basename "$dir")
    case "$name" in noeval*) echo "error: arc_easy: no such file" >&2; exit 1 ;; esac
    mkdir -p "$dir/eval"
    printf '%s' '{"format":"slender-eval/1","model":"x","step":10,"weights_hash":"","tokenizer_hash":"","results":{"arc_easy":{"acc,none":0.3,"acc_stderr,none":0.03,"acc_norm,none":0.29,"acc_norm_stderr,none":0.03},"boolq":{"acc,none":0.6,"acc_stderr,none":0.04}},"n-samples":{"arc_easy":{"original":570,"effective":100,"published":2376},"boolq":{"original":300,"effective":100}},"versions":{"arc_easy":1,"boolq":1},"fixture":{"arc_easy":true,"boolq":true},"chance":{"arc_easy":0.25,"boolq":0.5}}' > "$dir/eval/final.json" ;;
esac
"##;

/// A temporary folder with the program and configurations.
pub struct Bench {
    pub folder: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("slender");
        std::fs::write(&program, SCRIPT).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A configuration of `layers` layers; its run is named like the file.
    pub fn config(&self, name: &str, layers: usize, extra_run: &str) -> PathBuf {
        let path = self.path(&format!("{name}.toml"));
        write_config(&path, layers, extra_run);
        path
    }

    /// The command lines the program was called with.
    pub fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("calls.txt")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

pub fn write_config(path: &Path, layers: usize, extra_run: &str) {
    let text = format!(
        r#"[model]
n_layers = {layers}
dim = 64
n_heads = 4
n_kv_heads = 2
max_seq_len = 64
tie_embeddings = true
layer_sharing = {{ kind = "none" }}
[data]
sources = [{{ kind = "builtin", name = "books-mini" }}]
tokenizer = {{ kind = "bpe", vocab_size = 512 }}
[train]
batch_size = 4
steps = 10
lr = 1e-3
[eval]
tasks = ["arc_easy", "boolq"]
[run]
log_every = 1
{extra_run}
"#
    );
    std::fs::write(path, text).unwrap();
}
