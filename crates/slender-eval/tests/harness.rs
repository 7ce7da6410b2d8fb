//! Our tasks against lm-evaluation-harness itself: requests, right answers, scores and errors.
//!
//! `tests/reference/` was written by the harness's own code (`harness.py` there says how). The shipped
//! slices are compared everywhere; the full sets where `shared/data` lies beside the repository, which
//! is skipped with a word elsewhere.

use std::path::PathBuf;

use serde_json::Value;
use slender_eval::metrics::{ChoiceScore, Estimate, accuracy, choose, mean, truth_share};
use slender_eval::tasks::{Output, Paper};
use slender_eval::{
    Altered, DataSource, Example, HubSource, Metric, Row, Task, TaskData, fewshot, rolling_rows,
    tasks,
};

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

/// Tasks that read the paper's data, which have shipped slices.
fn with_slices() -> Vec<&'static Task> {
    let tasks: Vec<&Task> = tasks::list()
        .iter()
        .copied()
        .filter(|t| t.fixture.is_some())
        .collect();
    assert_eq!(tasks.len(), 8);
    tasks
}

/// What a request is made of, as `harness.py` lists it.
fn texts(task: &Task, example: &Example) -> Vec<String> {
    match task.output {
        Output::Answer => {
            let aliases = example.choices.iter().cloned();
            std::iter::once(example.context(0).to_owned())
                .chain(aliases)
                .collect()
        }
        Output::Text => example.continuations.clone(),
        _ => example
            .requests()
            .flat_map(|(a, b)| [a.to_owned(), b.to_owned()])
            .collect(),
    }
}

/// The digest that `harness.py` takes: every request and right answer in order.
fn digest(task: &Task, examples: &[Example]) -> String {
    let mut hasher = blake3::Hasher::new();
    for example in examples {
        for text in texts(task, example) {
            hasher.update(format!("{text}\0").as_bytes());
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
    assert_eq!(seen, 2 * with_slices().len());
}

#[test]
fn versions_metrics_and_sizes_are_the_harness_s() {
    let reference = reference();
    assert_eq!(reference["lm_eval"], tasks::HARNESS_VERSION);
    let mut seen = 0;
    for task in tasks::list() {
        let expected = &reference["tasks"][task.name];
        if expected.is_null() {
            assert!(
                ["race_middle", "race_high", "wikitext"].contains(&task.name),
                "{}",
                task.name
            );
            continue;
        }
        seen += 1;
        assert_eq!(
            expected["version"].as_f64().unwrap(),
            task.version,
            "{}",
            task.name
        );
        let examples = expected["examples"].as_u64().unwrap() as usize;
        // TriviaQA lies at hand in its Wikipedia part only.
        assert!(
            examples == task.examples || task.name == "triviaqa",
            "{}",
            task.name
        );
        let metrics: Vec<&str> = task.metrics.iter().map(|metric| metric.name()).collect();
        let made_up = expected["made_up"].as_object().unwrap();
        if task.has_choices() {
            assert!(
                made_up.keys().eq(metrics.iter()),
                "{}: {metrics:?}",
                task.name
            );
        }
    }
    assert_eq!(seen, tasks::list().len() - 3);
}

#[test]
fn every_request_of_the_shipped_slices_is_the_harness_s() {
    let reference = reference();
    for task in with_slices() {
        let data = TaskData::load(task, &DataSource::Builtin).unwrap();
        let expected = &reference["tasks"][task.name]["fixture_requests_blake3"];
        assert_eq!(digest(task, &data.examples), *expected, "{}", task.name);
    }
}

#[test]
fn requests_of_made_up_rows_are_the_harness_s() {
    let reference = reference();
    let expected = reference["rows"].as_array().unwrap();
    let rows = include_str!("reference/rows.jsonl").lines();
    let mut seen = 0;
    for (line, expected) in rows.zip(expected) {
        let made: Value = serde_json::from_str(line).unwrap();
        let task = tasks::find(made["task"].as_str().unwrap()).unwrap();
        let row = Row {
            task,
            value: &made["row"],
            origin: "rows.jsonl",
            line: seen + 1,
        };
        let example = task.examples_of(&row).unwrap().remove(0);
        assert_eq!(
            serde_json::to_value(texts(task, &example)).unwrap(),
            expected["texts"],
            "{}",
            task.name
        );
        assert_eq!(
            example.gold as u64,
            expected["gold"].as_u64().unwrap(),
            "{}",
            task.name
        );
        seen += 1;
    }
    assert_eq!((seen, expected.len()), (14, 14));
}

/// The same rows in the three forms that RACE comes in give the same requests.
#[test]
fn race_reads_every_form_of_its_rows() {
    let line = include_str!("reference/rows.jsonl").lines().next().unwrap();
    let original = serde_json::from_str::<Value>(line).unwrap()["row"].clone();
    let python = r#"[{'question': 'The weather is   _  .', 'answer': 'B', 'options': ['dry', 'wet', 'hot', 'cold']}, {'question': 'Who\'s "there"?', 'answer': 'A', 'options': ["it's me", 'you', 'we', 'they']}, {'question': 'What next?', 'answer': 'D', 'options': ['a', 'b', 'c', 'the sun’s out']}]"#;
    let hub = serde_json::json!({"article": original["article"], "problems": python});
    let examples = |name: &str, value: &Value| {
        let task = tasks::find(name).unwrap();
        let row = Row {
            task,
            value,
            origin: "x",
            line: 1,
        };
        task.examples_of(&row).unwrap()
    };
    assert_eq!(examples("race", &original), examples("race", &hub));
    let all = examples("race_high", &original);
    assert_eq!((all.len(), all[2].gold), (3, 3));
    let single = serde_json::json!({
        "article": original["article"], "question": original["questions"][1],
        "options": original["options"][1], "answer": "A",
    });
    assert_eq!(examples("race_middle", &single)[0], all[1]);
    assert!(
        all[1]
            .context(0)
            .ends_with("\n\nQuestion: Who's \"there\"?\nAnswer:")
    );
}

/// Few-shot prompts, drawn with the harness's default seed from the last 20 rows of each slice.
#[test]
fn few_shot_prompts_are_the_harness_s() {
    let reference = reference();
    for task in with_slices() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(task.folder);
        std::fs::create_dir(&folder).unwrap();
        let lines: Vec<&str> = task.fixture.unwrap().lines().collect();
        std::fs::write(
            folder.join(format!("{}.jsonl", task.split)),
            lines[..20].join("\n"),
        )
        .unwrap();
        std::fs::write(folder.join("train.jsonl"), lines[20..].join("\n")).unwrap();
        let source = DataSource::Dir(dir.path().to_owned());
        for (shots, expected) in reference["shots"][task.name]
            .as_array()
            .unwrap()
            .iter()
            .enumerate()
        {
            let mut data = TaskData::load_split(task, &source, None, Altered::Report).unwrap();
            fewshot::add_shots(
                task,
                &mut data,
                &source,
                shots,
                fewshot::DEFAULT_SEED,
                20,
                Altered::Report,
            )
            .unwrap();
            assert_eq!(
                digest(task, &data.examples),
                *expected,
                "{} with {shots}",
                task.name
            );
        }
    }
}

#[test]
fn every_request_and_score_of_the_full_sets_is_the_harness_s() {
    let Some(bench) = bench() else { return };
    let reference = reference();
    for task in tasks::list() {
        let expected = &reference["tasks"][task.name];
        if expected.is_null() {
            continue;
        }
        let split = (task.name == "sciq").then_some("validation");
        let source = DataSource::Dir(bench.clone());
        let data = TaskData::load_split(task, &source, split, Altered::Refuse).unwrap();
        assert_eq!(
            data.examples.len() as u64,
            expected["examples"].as_u64().unwrap(),
            "{}",
            task.name
        );
        assert!(!data.fixture);
        assert_eq!(
            digest(task, &data.examples),
            expected["requests_blake3"],
            "{}",
            task.name
        );
        if !task.has_choices() {
            continue;
        }
        let guess = data.examples.iter().map(|e| match &e.truths {
            Some(truths) => truths.iter().filter(|t| **t).count() as f64 / truths.len() as f64,
            None => 1.0 / e.choices.len() as f64,
        });
        let guess = guess.sum::<f64>() / data.examples.len() as f64;
        assert!((guess - task.chance).abs() < 1e-4, "{}: {guess}", task.name);
        check_made_up(task, &data.examples, &expected["made_up"]);
    }
}

/// acc and acc_norm with their errors, for made-up log-likelihoods.
fn check_made_up(task: &Task, examples: &[Example], expected: &Value) {
    let scores = |example: &Example| -> Vec<ChoiceScore> {
        let score = |(context, continuation)| ChoiceScore {
            log_likelihood: made_up(context, continuation),
            greedy: false,
            tokens: 1,
        };
        example.requests().map(score).collect()
    };
    for &metric in task.metrics {
        let right = |example: &Example| {
            let chosen = choose(example, &scores(example), Paper::None, None);
            let choice = if metric == Metric::Acc {
                chosen.plain
            } else {
                chosen.per_character
            };
            choice == example.gold
        };
        let estimate: Estimate = if task.output == Output::Truths {
            let share = |e: &Example| truth_share(&scores(e), e.truths.as_ref().unwrap());
            mean(examples.iter().map(share).collect::<Vec<_>>().into_iter())
        } else {
            accuracy(examples.iter().map(right).collect::<Vec<_>>().into_iter())
        };
        let expected = &expected[metric.name()];
        let (value, stderr) = (expected["value"].as_f64(), expected["stderr"].as_f64());
        let name = (task.name, metric.name());
        assert!((estimate.value - value.unwrap()).abs() < 1e-9, "{name:?}");
        assert!(
            (estimate.stderr.unwrap() - stderr.unwrap()).abs() < 1e-9,
            "{name:?}"
        );
    }
}

/// Every known copy is what lies at hand; to write `digests.txt` anew, run this test with
/// `SLENDER_WRITE_DIGESTS=1`.
#[test]
fn the_known_copies_are_the_full_sets() {
    let Some(bench) = bench() else { return };
    // The raw file, cut into articles as the hub's copy is.
    let raw = tempfile::tempdir().unwrap();
    std::fs::create_dir(raw.path().join("wikitext")).unwrap();
    std::fs::copy(
        bench.join("../text/wikitext2-test.raw.txt"),
        raw.path().join("wikitext/test.txt"),
    )
    .unwrap();
    let note = |task: &Task| match task.name {
        "triviaqa" => {
            " the Wikipedia part only (rc.wikipedia.nocontext, 7993 questions); the harness scores all 17944"
        }
        "boolq" => "",
        _ => "",
    };
    let mut text = "# task, BLAKE3 of its requests (see digest.rs), note\n".to_owned();
    for task in tasks::list() {
        let source = DataSource::Dir(match task.name {
            "wikitext" => raw.path().to_owned(),
            _ => bench.clone(),
        });
        let Ok(data) = TaskData::load(task, &source) else {
            assert_eq!(task.name, "sciq");
            continue;
        };
        text += &format!("{} {}{}\n", task.name, data.digest, note(task));
    }
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/tasks/digests.txt");
    if std::env::var_os("SLENDER_WRITE_DIGESTS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), text);
}

#[test]
fn an_edited_example_is_noticed() {
    let Some(bench) = bench() else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("copa")).unwrap();
    let text = std::fs::read_to_string(bench.join("copa/validation.jsonl")).unwrap();
    let source = DataSource::Dir(dir.path().to_owned());
    let load = |text: &str, altered| {
        std::fs::write(dir.path().join("copa/validation.jsonl"), text).unwrap();
        TaskData::load_split(tasks::find("copa").unwrap(), &source, None, altered)
    };
    assert!(load(&text, Altered::Refuse).unwrap().warnings.is_empty());
    let edited = text.replacen(
        "The man turned on the faucet.",
        "The man turned off the faucet.",
        1,
    );
    assert_ne!(edited, text);
    let error = load(&edited, Altered::Refuse).unwrap_err().to_string();
    assert!(
        error.contains("differs from every known copy") && error.contains("--allow-altered"),
        "{error}"
    );
    let data = load(&edited, Altered::Report).unwrap();
    assert!(data.warnings[0].contains("differs"), "{:?}", data.warnings);
    let shorter: Vec<&str> = text.lines().skip(1).collect();
    let error = load(&shorter.join("\n"), Altered::Refuse)
        .unwrap_err()
        .to_string();
    assert!(error.contains("has 99 examples"), "{error}");
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
