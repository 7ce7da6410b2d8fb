//! `sweep.json`: a directory that stands alone, version 1 is still read, and nothing of others is lost.

use super::common::Bench;
use serde_json::{Value, json};
use slender_sweep::{Manifest, Stop, SweepOptions, collect, read_plan, run_sweep};

fn index(bench: &Bench) -> Value {
    let text = std::fs::read_to_string(bench.path("sweep/sweep.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn sweep(bench: &Bench, name: &str) {
    let config = bench.config(name, 2, "seed = 3");
    let options = SweepOptions::new(vec![config], bench.path("sweep"), bench.path("slender"));
    run_sweep(&options, &Stop::new(), &|_| {}).unwrap();
}

#[test]
fn a_sweep_directory_stands_alone() {
    let bench = Bench::new();
    sweep(&bench, "good-a");
    std::fs::remove_file(bench.path("good-a.toml")).unwrap();
    let moved = bench.path("moved");
    std::fs::rename(bench.path("sweep"), &moved).unwrap();
    let runs = read_plan(&moved).unwrap();
    let run = &runs[0];
    assert_eq!(
        (run.name.as_str(), run.variant.as_str()),
        ("good-a", "good-a")
    );
    assert_eq!((run.seed, run.config.run.seed), (3, 3));
    assert_eq!(run.config_path, moved.join("configs/good-a.toml"));
    assert_eq!(run.dir, moved.join("runs/good-a"));
    assert_eq!(run.identity, run.config.identity(None));
    assert_eq!(run.identity.len(), 64);
}

#[test]
fn fields_of_others_survive() {
    let bench = Bench::new();
    sweep(&bench, "good-a");
    let mut value = index(&bench);
    value["executor"] = json!({ "kind": "slurm" });
    value["runs"][0]["note"] = "kept".into();
    std::fs::write(bench.path("sweep/sweep.json"), value.to_string()).unwrap();
    sweep(&bench, "bad-b");
    let value = index(&bench);
    assert_eq!(value["executor"]["kind"], "slurm");
    assert_eq!(value["runs"][0]["note"], "kept");
    assert_eq!(value["runs"][1]["name"], "bad-b");
    assert_eq!(value["format"], "slender-sweep/2");
}

#[test]
fn version_1_is_read_and_becomes_version_2() {
    let bench = Bench::new();
    sweep(&bench, "good-a");
    let mut value = index(&bench);
    value["format"] = "slender-sweep/1".into();
    let run = value["runs"][0].as_object_mut().unwrap();
    for key in ["variant", "seed", "axes", "identity", "origin"] {
        run.remove(key);
    }
    run.insert("config".into(), "elsewhere/good-a.toml".into());
    run.insert("sets".into(), json!([]));
    run.insert("failure".into(), Value::Null);
    std::fs::write(bench.path("sweep/sweep.json"), value.to_string()).unwrap();
    std::fs::remove_dir_all(bench.path("sweep/configs")).unwrap();

    let read = Manifest::read(&bench.path("sweep")).unwrap().unwrap();
    assert_eq!(
        (read.runs[0].variant.as_str(), read.runs[0].seed),
        ("good-a", 3)
    );
    assert_eq!(collect(&bench.path("sweep")).unwrap().runs.len(), 1);
    assert_eq!(
        read_plan(&bench.path("sweep")).unwrap()[0].config.run.seed,
        3
    );
    assert_eq!(
        index(&bench)["format"],
        "slender-sweep/1",
        "reading writes nothing"
    );

    sweep(&bench, "good-b");
    let value = index(&bench);
    assert_eq!(value["format"], "slender-sweep/2");
    assert_eq!(value["runs"][0]["config"], "configs/good-a.toml");
    assert_eq!(value["runs"][0]["origin"], "elsewhere/good-a.toml");
    assert!(bench.path("sweep/configs/good-a.toml").is_file());
    assert_eq!(value["runs"][0]["identity"].as_str().unwrap().len(), 64);
}

#[test]
fn a_version_from_the_future_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"{"format":"slender-sweep/9","runs":[]}"#;
    std::fs::write(folder.path().join("sweep.json"), text).unwrap();
    let error = Manifest::read(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("slender-sweep/9") && error.contains("slender-sweep/2"),
        "{error}"
    );
}
