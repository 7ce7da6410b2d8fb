//! A sweep directory of four variants with three seeds each, as `docs/formats.md` says.

use serde_json::json;
use slender_sweep::{SweepOptions, collect, plan, write_report};
use std::path::{Path, PathBuf};

/// Layers, width, and the loss that the variant ends at; the shallowest is the worst by far.
const SHAPES: [(usize, usize, f64); 4] = [(2, 96, 2.9), (4, 64, 2.61), (8, 48, 2.6), (16, 32, 2.7)];
const SEEDS: u64 = 3;
const TASKS: [&str; 3] = ["arc_easy", "boolq", "piqa"];

/// Writes the sweep and its report; returns the page.
pub fn report(folder: &Path) -> PathBuf {
    let dir = folder.join("depths");
    let mut configs = Vec::new();
    for (layers, dim, _) in SHAPES {
        for seed in 0..SEEDS {
            let path = folder.join(format!("tiny-{layers}x{dim}-s{seed}.toml"));
            std::fs::write(&path, config(layers, dim, seed)).unwrap();
            configs.push(path);
        }
    }
    let options = SweepOptions::new(configs.clone(), dir.clone(), folder.join("none"));
    let planned = plan(&options).unwrap();
    let mut runs = Vec::new();
    for (index, run) in planned.iter().enumerate() {
        let (shape, seed) = (index / SEEDS as usize, index as u64 % SEEDS);
        let relative = format!("runs/{}", run.name);
        write_run(
            &dir.join(&relative),
            &configs[index],
            SHAPES[shape].2,
            shape as u64,
            seed,
        );
        runs.push(json!({"name": run.name, "config": configs[index], "sets": [], "dir": relative, "facts": run.facts, "failure": null}));
    }
    let manifest = json!({"format": "slender-sweep/1", "runs": runs});
    std::fs::write(dir.join("sweep.json"), manifest.to_string()).unwrap();
    write_report(&collect(&dir).unwrap(), &dir).unwrap().html
}

fn config(layers: usize, dim: usize, seed: u64) -> String {
    format!(
        r#"[model]
n_layers = {layers}
dim = {dim}
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
steps = 100
lr = 1e-3
[eval]
tasks = ["arc_easy", "boolq", "piqa"]
[run]
seed = {seed}
"#
    )
}

/// A number between 0 and 1 that depends on its arguments alone.
fn hash(a: u64, b: u64, c: u64) -> f64 {
    let mut x = a.wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ b.wrapping_mul(0xC2B2_AE3D_27D4_EB4F)
        ^ (c << 17 | 1);
    for _ in 0..3 {
        x ^= x >> 29;
        x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    }
    (x >> 11) as f64 / (1u64 << 53) as f64
}

fn write_run(dir: &Path, config: &Path, end: f64, shape: u64, seed: u64) {
    std::fs::create_dir_all(dir.join("eval")).unwrap();
    std::fs::copy(config, dir.join("config.toml")).unwrap();
    let end = end + 0.03 * (hash(shape, seed, 0) - 0.5);
    let status = json!({"format": "slender-status/1", "state": "finished", "step": 100, "total_steps": 100, "tokens": 25600, "valid_loss": 1.7 * end, "valid_bits_per_byte": end, "elapsed_s": 12.5 + seed as f64});
    std::fs::write(dir.join("status.json"), status.to_string()).unwrap();
    let mut metrics = String::from("{\"format\":\"slender-metrics/1\"}\n");
    for step in 1..=100u64 {
        let fall = 4.0 * (-(step as f64) / 15.0).exp();
        let loss = 1.7 * end + fall + 0.1 * (hash(shape, seed, step) - 0.5);
        metrics +=
            &json!({"kind": "train", "step": step, "tokens": 256 * step, "loss": loss}).to_string();
        metrics.push('\n');
        if step % 20 == 0 {
            metrics += &json!({"kind": "valid", "step": step, "tokens": 256 * step, "loss": 1.7 * end + fall, "bits_per_byte": end + fall / 1.7}).to_string();
            metrics.push('\n');
        }
    }
    std::fs::write(dir.join("metrics.jsonl"), metrics).unwrap();
    let (mut results, mut samples, mut chance) = (json!({}), json!({}), json!({}));
    let mut examples = String::new();
    for (t, task) in TASKS.iter().enumerate() {
        let mut right = 0;
        for doc in 0..60u64 {
            let hard = hash(99, t as u64, doc);
            let is_right = hard + 0.5 * hash(shape, seed + 10 * t as u64, doc) < 0.75;
            right += i32::from(is_right);
            examples += &json!({"task": task, "doc_id": doc, "prompt": format!("question {doc}"), "choices": ["a", "b"], "gold": 0, "right": is_right}).to_string();
            examples.push('\n');
        }
        results[task] = json!({"acc,none": f64::from(right) / 60.0, "acc_stderr,none": 0.06});
        samples[task] = json!({"original": 60, "effective": 60, "published": 60});
        chance[task] = json!(0.5);
    }
    let eval = json!({"format": "slender-eval/1", "results": results, "n-samples": samples, "chance": chance, "settings": {"num_fewshot": 0}, "protocol": {"name": "lm-eval", "version": "0.4.13"}});
    std::fs::write(dir.join("eval/final.json"), eval.to_string()).unwrap();
    std::fs::write(dir.join("eval/final-examples.jsonl"), examples).unwrap();
    if seed == 0 {
        let ms = 0.8 + 0.3 * shape as f64;
        let setting = json!({"cpu": "Some(R) Processor(TM) 9999X @ 3.20GHz", "device": "flex", "threads": 2, "weights": "f32", "prompt_len": 16, "tokens": 48});
        let decode = json!({"format": "slender-decode/1", "decode_ms": ms, "low_ms": 0.97 * ms, "high_ms": 1.04 * ms, "rounds": 5, "repetitions": 3, "variants": 4, "setting": setting, "host": "lab", "measured_at": 1770000000});
        std::fs::write(dir.join("decode.json"), decode.to_string()).unwrap();
    }
    let run = json!({"format": "slender-run/1", "source": {"version": "0.1.0", "commit": "0123456789abcdef", "dirty": false}, "data_manifest": "548976b5", "tokenizer_hash": "b955aea2"});
    std::fs::write(dir.join("run.json"), run.to_string()).unwrap();
}
