//! Our tasks against lm-evaluation-harness itself: requests, right answers, scores and errors.
//!
//! `tests/reference/` was written by the harness's own code (`harness.py` there says how). The shipped
//! slices are compared everywhere; the full sets where `shared/data` lies beside the repository, which
//! is skipped with a word elsewhere.

use std::path::PathBuf;

use serde_json::Value;
use slender_eval::metrics::{ChoiceScore, accuracy, choose};
use slender_eval::{DataSource, Example, HubSource, Metric, Task, TaskData, rolling_rows, tasks};

fn reference() -> Value {
    serde_json::from_str(include_str!("reference/harness.json")).unwrap()
}

fn bench() -> Option<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/bench");
    if !dir.is_dir() {
        eprintln!("skipped: {} is absent", dir.display());
        return None;
    }
    Some(dir)
}

/// The digest that `harness.py` takes: every request and right answer in order.
fn digest(examples: &[Example]) -> String {
    let mut hasher = blake3::Hasher::new();
    for example in examples {
        for (context, continuation) in example.requests() {
            hasher.update(format!("{context}\0{continuation}\0").as_bytes());
        }
        hasher.update(format!("{}\n", example.gold).as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// The made-up log-likelihood of `harness.py`: a hash of the request's text.
fn made_up(context: &str, continuation: &str) -> f64 {
    let hash = blake3::hash(format!("{context}\0{continuation}").as_bytes());
    -f64::from(u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]])) / 1000.0
}

#[test]
fn two_prompts_of_each_task_are_the_harness_s() {
    let mut seen = 0;
    for line in include_str!("reference/prompts.jsonl").lines() {
        let expected: Value = serde_json::from_str(line).unwrap();
        let task = tasks::find(expected["task"].as_str().unwrap()).unwrap();
        let data = TaskData::load(task, &DataSource::Builtin).unwrap();
        let example = &data.examples[expected["doc_id"].as_u64().unwrap() as usize];
        let requests: Vec<[&str; 2]> = example.requests().map(|(a, b)| [a, b]).collect();
        assert_eq!(
            serde_json::to_value(requests).unwrap(),
            expected["requests"]
        );
        assert_eq!(
            serde_json::to_value(&example.choices).unwrap(),
            expected["choices"]
        );
        assert_eq!(example.gold as u64, expected["gold"].as_u64().unwrap());
        seen += 1;
    }
    assert_eq!(seen, 2 * tasks::list().len());
}

#[test]
fn versions_metrics_and_sizes_are_the_harness_s() {
    let reference = reference();
    assert_eq!(reference["lm_eval"], tasks::HARNESS_VERSION);
    for task in tasks::list() {
        let expected = &reference["tasks"][task.name];
        assert_eq!(
            expected["version"].as_f64().unwrap(),
            task.version,
            "{}",
            task.name
        );
        assert_eq!(expected["examples"].as_u64().unwrap(), task.examples as u64);
        let metrics: Vec<&str> = task.metrics.iter().map(|metric| metric.name()).collect();
        let made_up = expected["made_up"].as_object().unwrap();
        assert!(
            made_up.keys().eq(metrics.iter()),
            "{}: {metrics:?}",
            task.name
        );
    }
}

#[test]
fn every_request_of_the_shipped_slices_is_the_harness_s() {
    let reference = reference();
    for task in tasks::list() {
        let data = TaskData::load(task, &DataSource::Builtin).unwrap();
        let expected = &reference["tasks"][task.name]["fixture_requests_blake3"];
        assert_eq!(digest(&data.examples), *expected, "{}", task.name);
    }
}

#[test]
fn every_request_and_score_of_the_full_sets_is_the_harness_s() {
    let Some(bench) = bench() else { return };
    let reference = reference();
    for task in tasks::list() {
        let data = TaskData::load(task, &DataSource::Dir(bench.clone())).unwrap();
        assert_eq!(data.examples.len(), task.examples, "{}", task.name);
        assert!(!data.fixture);
        let expected = &reference["tasks"][task.name];
        assert_eq!(
            digest(&data.examples),
            expected["requests_blake3"],
            "{}",
            task.name
        );
        let guess = data.examples.iter().map(|e| 1.0 / e.choices.len() as f64);
        assert!((guess.sum::<f64>() / task.examples as f64 - task.chance).abs() < 1e-6);

        let chosen: Vec<_> = data
            .examples
            .iter()
            .map(|example| {
                let score = |(context, continuation)| ChoiceScore {
                    log_likelihood: made_up(context, continuation),
                    greedy: false,
                    tokens: 1,
                };
                choose(example, &example.requests().map(score).collect::<Vec<_>>())
            })
            .collect();
        for &metric in task.metrics {
            let examples = data.examples.iter().zip(&chosen);
            let estimate = accuracy(examples.map(|(e, c)| c.by(metric) == e.gold));
            let expected = &expected["made_up"][metric.name()];
            let (value, stderr) = (expected["value"].as_f64(), expected["stderr"].as_f64());
            let name = (task.name, metric.name());
            assert!((estimate.value - value.unwrap()).abs() < 1e-12, "{name:?}");
            assert!(
                (estimate.stderr.unwrap() - stderr.unwrap()).abs() < 1e-12,
                "{name:?}"
            );
        }
    }
}

#[test]
fn tasks_read_the_harness_s_repositories() {
    let hub = |name: &str| {
        let task: &Task = tasks::find(name).unwrap();
        (task.hub, task.split, task.reports(Metric::AccNorm))
    };
    let repo = |repo, config| HubSource { repo, config };
    assert_eq!(
        hub("boolq"),
        (repo("aps/super_glue", Some("boolq")), "validation", false)
    );
    assert_eq!(
        hub("arc_easy"),
        (repo("allenai/ai2_arc", Some("ARC-Easy")), "test", true)
    );
    assert_eq!(
        hub("social_iqa"),
        (repo("lighteval/siqa", None), "validation", false)
    );
}

#[test]
fn rolling_windows_are_the_harness_s() {
    let list = |ids: &[u32]| {
        let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
        format!("[{}]", ids.join(","))
    };
    let mut hasher = blake3::Hasher::new();
    for n in 0..60 {
        for width in 1..15 {
            for row in rolling_rows(&(0..n).collect::<Vec<u32>>(), 100, width) {
                let line = format!("{}->{}\n", list(row.input()), list(row.targets()));
                hasher.update(line.as_bytes());
            }
        }
    }
    let expected = &reference()["rolling_windows_blake3"];
    assert_eq!(hasher.finalize().to_hex().as_str(), expected);
}
