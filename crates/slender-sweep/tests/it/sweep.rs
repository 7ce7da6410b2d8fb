//! Sweeps end to end, with a stand-in for the slender program.

use super::common::{self, Bench};
use slender_sweep::{
    Attempts, Event, RunOutcome, Stop, SweepError, SweepOptions, SweepOutcome, run_sweep,
};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

fn options(bench: &Bench, configs: Vec<PathBuf>) -> SweepOptions {
    let mut options = SweepOptions::new(configs, bench.path("sweep"), bench.path("slender"));
    options.lock_poll = Duration::from_millis(20);
    options
}

/// Runs the sweep and returns what it said, heartbeats left out.
fn sweep(options: &SweepOptions) -> (SweepOutcome, Vec<String>) {
    let said = Mutex::new(Vec::new());
    let outcome = run_sweep(options, &Stop::new(), &|event| {
        if !matches!(event, Event::Beat { .. }) {
            said.lock().unwrap().push(event.to_string());
        }
    });
    (outcome.unwrap(), said.into_inner().unwrap())
}

fn results(bench: &Bench) -> serde_json::Value {
    let text = std::fs::read_to_string(bench.path("sweep/results.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

const DONE: RunOutcome = RunOutcome::Finished { before: false };

#[test]
fn one_failed_run_does_not_sink_the_rest() {
    let bench = Bench::new();
    let configs = vec![
        bench.config("good-a", 2, ""),
        bench.config("bad-b", 3, ""),
        bench.config("usage-c", 3, ""),
        bench.config("noeval-d", 3, ""),
        bench.config("good-e", 4, ""),
    ];
    let (outcome, said) = sweep(&options(&bench, configs));
    assert_eq!(outcome.runs[0], ("good-a".into(), DONE));
    assert_eq!(outcome.runs[4], ("good-e".into(), DONE));
    let failed: Vec<&str> = outcome.failed().collect();
    assert_eq!(failed, ["bad-b", "usage-c", "noeval-d"]);
    assert!(!outcome.interrupted);

    let RunOutcome::Failed(failure) = &outcome.runs[1].1 else {
        panic!("bad-b should have failed");
    };
    assert_eq!(failure.code, Some(70));
    assert_eq!(
        failure.message,
        "the loss is not finite at step 4 (exit code 70)"
    );
    assert_eq!(failure.log_tail.last().unwrap(), "line 3 <of> the log");
    assert!(
        said.iter()
            .any(|line| line.contains("| line 2 <of> the log"))
    );

    let failure_of = |run: &str| {
        let attempts = Attempts::read(&bench.path(&format!("sweep/runs/{run}")));
        attempts.unwrap().failure().unwrap()
    };
    assert_eq!(failure_of("bad-b"), *failure);
    let usage = failure_of("usage-c");
    assert_eq!(usage.message, "error: no such device (exit code 2)");

    let results = results(&bench);
    assert_eq!(results["format"], "slender-results/2");
    let states: Vec<(&str, &str)> = results["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| {
            (
                run["name"].as_str().unwrap(),
                run["state"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        states,
        [
            ("bad-b", "failed"),
            ("good-a", "finished"),
            ("good-e", "finished"),
            ("noeval-d", "failed"),
            ("usage-c", "failed"),
        ]
    );
    // What was trained counts even if it could not be evaluated.
    assert_eq!(results["runs"][3]["valid_loss"], 4.25);
}

#[test]
fn a_second_sweep_does_nothing() {
    let bench = Bench::new();
    let configs = vec![
        bench.config("good-a", 2, ""),
        bench.config("bad-b", 3, ""),
        bench.config("good-c", 4, ""),
    ];
    let mut options = options(&bench, configs);
    sweep(&options);
    let calls = bench.calls();
    assert_eq!(calls.len(), 5, "{calls:?}");
    let first = std::fs::read_to_string(bench.path("sweep/results.json")).unwrap();

    let (outcome, said) = sweep(&options);
    assert_eq!(bench.calls(), calls);
    assert_eq!(outcome.runs[0].1, RunOutcome::Finished { before: true });
    assert!(said.contains(&"good-a: already finished".to_owned()));
    assert!(said.iter().any(|line| line.contains("--retry-failed")));
    let second = std::fs::read_to_string(bench.path("sweep/results.json")).unwrap();
    assert_eq!(first, second);

    options.retry_failed = true;
    sweep(&options);
    assert_eq!(bench.calls().len(), 6, "only the failed run is tried again");
}

#[test]
fn results_hold_scores_averages_and_errors() {
    let bench = Bench::new();
    let config = bench.config("good-a", 30, "paper_row = \"T11-125M-30L\"");
    sweep(&options(&bench, vec![config]));
    let results = results(&bench);
    let run = &results["runs"][0];
    assert_eq!(run["tokens"], 2560);
    assert_eq!(run["valid_bits_per_byte"], 2.125);
    assert_eq!(run["tasks"]["arc_easy"]["acc"], 0.3);
    assert_eq!(run["tasks"]["arc_easy"]["fixture"], true);
    assert_eq!(run["tasks"]["arc_easy"]["examples_total"], 2376);
    let close =
        |value: &serde_json::Value, wanted: f64| (value.as_f64().unwrap() - wanted).abs() < 1e-12;
    assert!(close(&run["average"]["mean"], 0.45));
    assert!(close(&run["average"]["stderr"], 0.025));
    assert!(close(&run["average_without_boolq"]["mean"], 0.3));
    assert!(close(&run["average_norm"]["mean"], 0.445));
    assert_eq!(run["paper"]["average_percent"], 44.8);
    assert_eq!(run["paper"]["scores_percent"]["boolq"], 58.0);
    let flops = run["facts"]["accounting"]["train_flops_per_token"].as_f64();
    assert!(close(&run["train_flops"], flops.unwrap() * 2560.0));
    let summary = results["summary"].to_string();
    assert!(summary.contains("shipped slices, not the full tasks"));
    assert!(run.get("curves").is_none());
}

#[test]
fn interrupted_killed_and_locked_runs_are_taken_up_again() {
    let bench = Bench::new();
    let configs = vec![
        bench.config("flaky-a", 2, ""),
        bench.config("killed-b", 2, ""),
        bench.config("locked-c", 2, ""),
        bench.config("stuck-d", 2, ""),
    ];
    let (outcome, said) = sweep(&options(&bench, configs));
    for run in &outcome.runs[..3] {
        assert_eq!(run.1, DONE, "{}", run.0);
    }
    assert!(said.contains(&"flaky-a: interrupted; resuming".to_owned()));
    assert!(said.contains(&"flaky-a: training, resumed; it had reached step 5".to_owned()));
    assert!(said.contains(&"killed-b: killed by signal 9; resuming".to_owned()));
    assert!(
        said.iter()
            .any(|line| line.starts_with("locked-c: another process"))
    );
    let RunOutcome::Failed(failure) = &outcome.runs[3].1 else {
        panic!("stuck-d should have failed");
    };
    assert!(failure.message.contains("without a step of progress"));
}

#[test]
fn several_jobs_divide_the_threads() {
    let bench = Bench::new();
    let names = ["good-a", "good-b", "flaky-c", "bad-d", "good-e"];
    let configs = names.iter().map(|name| bench.config(name, 2, "")).collect();
    let mut options = options(&bench, configs);
    options.jobs = 2;
    options.device = Some("flex".into());
    options.sets = vec!["train.lr=2e-3".into()];
    let (outcome, _) = sweep(&options);
    assert_eq!(outcome.failed().collect::<Vec<_>>(), ["bad-d"]);
    let order: Vec<&str> = outcome.runs.iter().map(|run| run.0.as_str()).collect();
    assert_eq!(order, names);
    let cores = std::thread::available_parallelism().unwrap().get();
    let wanted = format!("--threads {}", (cores / 2).max(1));
    let calls = bench.calls();
    let trainings: Vec<_> = calls.iter().filter(|c| c.starts_with("train")).collect();
    assert!(
        trainings.iter().all(|call| call.ends_with(&wanted)),
        "{trainings:?}"
    );
    // Overrides are in the configuration that the sweep directory keeps.
    let config = bench.path("sweep/configs/good-a.toml");
    let start = format!("train {} --run-dir", config.display());
    assert!(trainings.iter().any(|call| call.starts_with(&start)));
    let stored = slender_config::Config::load(&config, &[]).unwrap();
    assert_eq!(
        (stored.train.lr, stored.run.device.as_str()),
        (2e-3, "flex")
    );
    assert!(
        calls
            .iter()
            .any(|c| c.starts_with("eval") && c.contains("--from-config --save"))
    );
}

#[test]
fn a_request_to_stop_interrupts_and_the_next_sweep_goes_on() {
    let bench = Bench::new();
    let configs = vec![bench.config("slow-a", 2, ""), bench.config("good-b", 2, "")];
    let options = options(&bench, configs);
    let stop = Stop::new();
    let began = Instant::now();
    let outcome = run_sweep(&options, &stop, &|event| {
        if matches!(event, Event::Beat { .. }) && !stop.requested() {
            stop.request();
        }
    })
    .unwrap();
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(outcome.interrupted);
    assert!(
        outcome
            .runs
            .iter()
            .all(|run| run.1 == RunOutcome::Interrupted)
    );
    assert_eq!(bench.calls().len(), 1, "the second run was not started");
    let summary = results(&bench)["summary"].to_string();
    assert!(summary.contains("slow-a is incomplete: it is interrupted (step 5 of 10)"));
    assert!(summary.contains("good-b is missing: it was not started"));
}

#[test]
fn nothing_starts_unless_every_configuration_is_sound() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("other")).unwrap();
    let twin = bench.path("other/good-a.toml");
    common::write_config(&twin, 2, "");
    let broken = bench.path("broken.toml");
    std::fs::write(&broken, "[model]\nn_layer = 2\n").unwrap();
    let configs = vec![
        bench.config("good-a", 2, ""),
        twin,
        broken,
        bench.config("lost", 2, "paper_row = \"T11-125M-31L\""),
    ];
    let error = run_sweep(&options(&bench, configs), &Stop::new(), &|_| {}).unwrap_err();
    let SweepError::Plan(problems) = &error else {
        panic!("{error}");
    };
    assert_eq!(problems.len(), 3);
    let text = error.to_string();
    assert!(text.contains("other/good-a.toml") && text.contains("name their run `good-a`"));
    assert!(text.contains("broken.toml"));
    assert!(text.contains("the paper has no row `T11-125M-31L`") && text.contains("hint:"));
    assert!(bench.calls().is_empty());
    assert!(!bench.path("sweep").exists());
}

#[test]
fn a_further_sweep_into_the_same_directory_adds_to_it() {
    let bench = Bench::new();
    sweep(&options(&bench, vec![bench.config("good-a", 2, "")]));
    sweep(&options(&bench, vec![bench.config("good-b", 4, "")]));
    let names: Vec<_> = results(&bench)["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["name"].clone())
        .collect();
    assert_eq!(names, ["good-a", "good-b"]);
    assert_eq!(bench.calls().len(), 4);
}

#[test]
fn two_sweeps_at_once_share_the_work() {
    let bench = Bench::new();
    let names = ["good-a", "flaky-b", "good-c", "killed-d", "bad-e", "good-f"];
    let configs: Vec<PathBuf> = names.iter().map(|name| bench.config(name, 2, "")).collect();
    let options = options(&bench, configs);
    let outcomes: Vec<SweepOutcome> = std::thread::scope(|scope| {
        let start = |_| scope.spawn(|| sweep(&options).0);
        let threads: Vec<_> = (0..3).map(start).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    for outcome in &outcomes {
        assert_eq!(outcome.failed().collect::<Vec<_>>(), ["bad-e"]);
    }
    let calls = bench.calls();
    let started = |name: &str, stage: &str| {
        let end = format!("runs/{name}");
        let of = |call: &&String| call.starts_with(stage) && call.contains(&end);
        calls.iter().filter(of).count()
    };
    for name in names {
        let again = usize::from(name.starts_with("flaky") || name.starts_with("killed"));
        assert_eq!(started(name, "train"), 1 + again, "{name}: {calls:?}");
        let evals = usize::from(!name.starts_with("bad"));
        assert_eq!(started(name, "eval"), evals, "{name}: {calls:?}");
    }
    let attempts = Attempts::read(&bench.path("sweep/runs/killed-d")).unwrap();
    assert_eq!(attempts.count(), 3, "{attempts:?}");
}

#[test]
fn a_corrected_configuration_is_tried_without_being_asked() {
    let bench = Bench::new();
    let config = bench.config("usage-c", 3, "");
    let options = options(&bench, vec![config.clone()]);
    sweep(&options);
    sweep(&options);
    assert_eq!(bench.calls().len(), 1, "a failure stays one");
    common::write_config(&config, 2, "");
    sweep(&options);
    assert_eq!(bench.calls().len(), 2);
}
