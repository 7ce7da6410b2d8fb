//! What a sweep's directories say, in every state a run can be in, and of a thousand runs at once.

use super::common::Bench;
use slender_sweep::{
    ClaimOptions, Holder, ListSource, Manifest, Phase, StatusReport, SweepOptions, SweepState,
    cancel_workers, prepare_sweep, retry_failed, source_for,
};
use std::path::{Path, PathBuf};
use std::time::Instant;

fn prepared(bench: &Bench, names: &[&str]) -> PathBuf {
    let configs = names.iter().map(|name| bench.config(name, 2, "")).collect();
    let options = SweepOptions::new(configs, bench.path("sweep"), bench.path("slender"));
    assert_eq!(prepare_sweep(&options).unwrap(), names);
    for name in names {
        std::fs::create_dir_all(bench.path("sweep/runs").join(name)).unwrap();
    }
    bench.path("sweep")
}

fn status(run: &Path, state: &str, step: u64) {
    let text = format!(
        r#"{{"format":"slender-status/1","state":"{state}","step":{step},"total_steps":10,"tokens":1,"valid_loss":3.25,"elapsed_s":20.0,"updated_at":1,"error":null}}"#
    );
    std::fs::write(run.join("status.json"), text).unwrap();
}

fn read(dir: &Path) -> SweepState {
    SweepState::read(dir, &ClaimOptions::default()).unwrap()
}

/// The whole directory's report.
fn report_of(dir: &Path) -> StatusReport {
    let manifest = Manifest::read(dir).unwrap().unwrap();
    let names: Vec<String> = manifest.runs.iter().map(|run| run.name.clone()).collect();
    StatusReport::of(read(dir), source_for(&manifest, &names).as_mut())
}

/// Paused trials of a search are left to do only as long as the search says so.
#[test]
fn a_search_says_itself_when_it_is_over() {
    let bench = Bench::new();
    let dir = prepared(&bench, &["a", "b", "c", "d"]);
    let run = |name: &str| dir.join("runs").join(name);
    Manifest::update(&dir, |manifest| {
        let spec = serde_json::json!({ "method": "asha", "eta": 2, "min_share": 0.5 });
        manifest.other.insert("search".into(), spec);
        Ok(())
    })
    .unwrap();
    let pause = |name: &str, loss: f64| {
        status(&run(name), "paused", 5);
        let path = run(name).join("status.json");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"error\"", "\"until\":5,\"error\"")).unwrap();
        let line = format!("{{\"kind\":\"pause\",\"step\":5,\"loss\":{loss}}}\n");
        std::fs::write(run(name).join("metrics.jsonl"), line).unwrap();
    };
    for (index, name) in ["a", "b", "c", "d"].iter().enumerate() {
        assert!(!report_of(&dir).over, "{name} is left");
        pause(name, 3.0 + index as f64);
    }
    // The best two of four go on.
    let evaluated = |name: &str| {
        status(&run(name), "finished", 10);
        std::fs::create_dir(run(name).join("eval")).unwrap();
        let results = r#"{"format":"slender-eval/1","results":{"arc_easy":{},"boolq":{}}}"#;
        std::fs::write(run(name).join("eval/final.json"), results).unwrap();
    };
    for name in ["a", "b"] {
        assert!(!report_of(&dir).over, "{name} is promoted");
        evaluated(name);
    }
    let report = report_of(&dir);
    assert!(report.over && !report.failed());
    let headline = report.headline();
    assert!(
        headline.starts_with("4 runs: 2 paused, 2 finished;"),
        "{headline}"
    );
    assert!(headline.ends_with("; the search is over"), "{headline}");
    assert_eq!(report.to_json()["over"], true);
    // Without the search the same directories have work left.
    let names = ["a", "b", "c", "d"].map(str::to_owned);
    let mut list = ListSource::only(names.to_vec());
    assert!(!StatusReport::of(read(&dir), &mut list).over);
    // A failed trial ends nothing, but is said.
    status(&run("d"), "failed", 5);
    let report = report_of(&dir);
    assert!(report.over && report.failed());
}

#[test]
fn every_state_is_told_apart() {
    let bench = Bench::new();
    let names = [
        "a-new",
        "b-lost",
        "c-alone",
        "d-claimed",
        "e-failed",
        "f-trained",
        "g-done",
        "h-stopped",
    ];
    let dir = prepared(&bench, &names);
    let run = |name: &str| dir.join("runs").join(name);
    status(&run("b-lost"), "running", 4);
    status(&run("c-alone"), "running", 5);
    let lock = std::fs::File::create(run("c-alone").join("lock")).unwrap();
    lock.lock().unwrap();
    status(&run("d-claimed"), "running", 5);
    // This process is alive, so it has what it says it has.
    let me = serde_json::to_value(Holder::me()).unwrap();
    let mut claim = serde_json::json!({
        "format": "slender-claim/1", "token": "x", "stage": "train", "claimed_at": 1, "job": "slurm 12_3",
    });
    claim
        .as_object_mut()
        .unwrap()
        .extend(me.as_object().unwrap().clone());
    std::fs::write(
        run("d-claimed").join("claim.json"),
        claim.to_string() + "\n",
    )
    .unwrap();
    status(&run("e-failed"), "failed", 2);
    status(&run("f-trained"), "finished", 10);
    status(&run("g-done"), "finished", 10);
    std::fs::create_dir(run("g-done").join("eval")).unwrap();
    std::fs::write(
        run("g-done").join("eval/final.json"),
        r#"{"format":"slender-eval/1","results":{"arc_easy":{},"boolq":{}}}"#,
    )
    .unwrap();
    status(&run("h-stopped"), "interrupted", 6);

    let state = read(&dir);
    let phases: Vec<Phase> = state.runs.iter().map(|run| run.phase).collect();
    assert_eq!(
        phases,
        [
            Phase::Pending,
            Phase::Lost,
            Phase::Training,
            Phase::Training,
            Phase::Failed,
            Phase::Trained,
            Phase::Finished,
            Phase::Interrupted,
        ]
    );
    let busy: Vec<bool> = state.runs.iter().map(|run| run.busy).collect();
    assert_eq!(busy, [false, false, true, true, false, false, false, false]);
    let report = report_of(&dir);
    assert_eq!(
        report.headline(),
        "8 runs: 1 failed, 1 lost, 1 interrupted, 2 training, 1 trained, 1 pending, 1 finished; 52 % of all steps"
    );
    let table = report.table(false);
    let line = |name: &str| {
        let line = table.lines().find(|line| line.starts_with(name));
        line.unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(line("a-new"), "a-new pending 0/10 - - - -");
    assert_eq!(
        line("b-lost"),
        "b-lost lost 4/10 3.2500 - - - its process is gone; resume continues it"
    );
    assert!(line("c-alone").ends_with("trained by a process that is no worker"));
    let claimed = line("d-claimed");
    assert!(
        claimed.contains("5/10 3.2500 20") && claimed.contains("slurm 12_3)"),
        "{claimed}"
    );
    let json = report.to_json();
    assert_eq!(json["counts"]["training"], 2);
    assert_eq!(json["runs"][3]["worker"]["job"], "slurm 12_3");

    drop(lock);
    assert_eq!(read(&dir).runs[2].phase, Phase::Lost);
    assert_eq!(
        retry_failed(&dir, None, &ClaimOptions::default()).unwrap(),
        ["e-failed"]
    );
    assert_eq!(read(&dir).runs[4].phase, Phase::Interrupted);
    assert_eq!(cancel_workers(&dir, &ClaimOptions::default()).unwrap(), 1);
}

#[test]
fn a_thousand_runs_are_read_at_once() {
    let bench = Bench::new();
    let dir = prepared(&bench, &["a-new"]);
    let path = dir.join("sweep.json");
    let mut index: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let entry = index["runs"][0].clone();
    let attempt = "{\"event\":\"start\",\"stage\":\"train\",\"host\":\"lab\",\"pid\":1,\"from_step\":0,\"at\":1}\n";
    let attempts = "{\"format\":\"slender-attempts/1\"}\n".to_owned() + &attempt.repeat(5);
    let runs: Vec<serde_json::Value> = (0..1000)
        .map(|number| {
            let mut entry = entry.clone();
            let name = format!("run-{number}");
            entry["name"] = name.clone().into();
            entry["dir"] = format!("runs/{name}").into();
            let run = dir.join("runs").join(&name);
            std::fs::create_dir_all(run.join("eval")).unwrap();
            std::fs::write(run.join("attempts.jsonl"), &attempts).unwrap();
            if number % 2 == 0 {
                status(&run, "running", 4);
            } else {
                status(&run, "finished", 10);
                let results = r#"{"format":"slender-eval/1","results":{"arc_easy":{},"boolq":{}}}"#;
                std::fs::write(run.join("eval/final.json"), results).unwrap();
            }
            entry
        })
        .collect();
    index["runs"] = runs.into();
    std::fs::write(&path, index.to_string()).unwrap();
    let start = Instant::now();
    let report = report_of(&dir);
    let text = report.headline() + &report.table(false);
    eprintln!(
        "status of 1,000 runs: {:.0} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    assert!(
        text.starts_with("1000 runs: 500 lost, 500 finished; 70 %"),
        "{text}"
    );
    assert!(text.ends_with("500 finished or pending runs are not shown; --all shows them\n"));
}
