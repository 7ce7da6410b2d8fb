//! Nothing is concluded across variants that were not measured alike, nor from seeds that agree by chance.

use serde_json::{Value, json};
use slender_sweep::search::{Objective, front};
use slender_sweep::{
    SentenceKind, SweepOptions, SweepResults, Verdict, collect, plan, write_report,
};
use std::collections::BTreeMap;
use std::f64::consts::LN_2;
use std::path::{Path, PathBuf};

/// One run as its directory shows it.
pub struct Made {
    pub variant: &'static str,
    pub seed: u64,
    pub bits: f64,
    /// What the configuration says instead of the usual.
    pub sets: &'static [&'static str],
    pub manifest: &'static str,
    pub tokenizer: &'static str,
    /// Tokens and bytes of the measured text.
    pub text: (u64, u64),
    pub questions: u64,
    pub right: f64,
    pub tasks: &'static [&'static str],
    /// How the tasks' examples compare with the published ones.
    pub content: &'static str,
}

pub const USUAL: Made = Made {
    variant: "x",
    seed: 0,
    bits: 2.0,
    sets: &[],
    manifest: "aaaa",
    tokenizer: "tttt",
    text: (1000, 4000),
    questions: 100,
    right: 0.5,
    tasks: &["arc_easy", "boolq"],
    content: "known",
};

/// Writes a sweep directory of these runs.
pub fn make(folder: &Path, runs: &[Made]) -> PathBuf {
    let dir = folder.join("sweep");
    let mut entries = Vec::new();
    for run in runs {
        let name = format!("{}-s{}", run.variant, run.seed);
        let path = folder.join(format!("{name}.toml"));
        super::common::write_config(&path, 2, &format!("seed = {}", run.seed));
        let mut options = SweepOptions::new(vec![path.clone()], dir.clone(), folder.join("none"));
        options.sets = run.sets.iter().map(|set| (*set).to_owned()).collect();
        let planned = plan(&options).unwrap().remove(0);
        let relative = format!("runs/{name}");
        let own = dir.join(&relative);
        std::fs::create_dir_all(own.join("eval")).unwrap();
        std::fs::write(own.join("config.toml"), planned.config.to_toml()).unwrap();
        let write = |file: &str, value: Value| std::fs::write(own.join(file), value.to_string());
        let (tokens, bytes) = run.text;
        let loss = run.bits * LN_2 * bytes as f64 / tokens as f64;
        write("status.json", json!({"format": "slender-status/2", "state": "finished", "step": 10, "total_steps": 10, "tokens": 2560, "valid_loss": loss, "valid_bits_per_byte": run.bits})).unwrap();
        let valid = json!({"kind": "valid", "step": 10, "tokens": 2560, "loss": loss, "bits_per_byte": run.bits, "valid_tokens": tokens});
        std::fs::write(
            own.join("metrics.jsonl"),
            format!("{{\"format\":\"slender-metrics/1\"}}\n{valid}\n"),
        )
        .unwrap();
        write("run.json", json!({"format": "slender-run/1", "data_manifest": run.manifest, "tokenizer_hash": run.tokenizer})).unwrap();
        let of_tasks = |value: Value| -> Value {
            let pairs = run
                .tasks
                .iter()
                .map(|task| ((*task).to_owned(), value.clone()));
            Value::Object(pairs.collect())
        };
        write(
            "eval/final.json",
            json!({"format": "slender-eval/1", "results": of_tasks(json!({"acc,none": run.right})),
            "n-samples": of_tasks(json!({"original": 500, "effective": run.questions})),
            "data": of_tasks(json!({"blake3": "dddd", "content": run.content})),
            "warnings": of_tasks(json!(["a warning"])),
            "protocol": {"name": "lm-eval", "version": "0.4.13"}, "settings": {"num_fewshot": 0}}),
        )
        .unwrap();
        entries.push(json!({"name": name, "variant": run.variant, "seed": run.seed, "config": format!("runs/{name}/config.toml"), "dir": relative, "facts": planned.facts}));
    }
    std::fs::write(
        dir.join("sweep.json"),
        json!({"format": "slender-sweep/2", "runs": entries}).to_string(),
    )
    .unwrap();
    dir
}

fn results(runs: &[Made]) -> (tempfile::TempDir, PathBuf, SweepResults) {
    let folder = tempfile::tempdir().unwrap();
    let dir = make(folder.path(), runs);
    let results = collect(&dir).unwrap();
    (folder, dir, results)
}

/// Two variants of two seeds, far apart in everything.
fn pair(change: impl Fn(&mut Made)) -> Vec<Made> {
    let mut runs = Vec::new();
    for seed in 0..2 {
        let wobble = seed as f64 * 1e-3;
        runs.push(Made {
            variant: "one",
            seed,
            bits: 2.5 + wobble,
            right: 0.3 + wobble,
            ..USUAL
        });
        let mut other = Made {
            variant: "two",
            seed,
            bits: 2.0 + 1.1 * wobble,
            right: 0.6 + 1.1 * wobble,
            ..USUAL
        };
        change(&mut other);
        runs.push(other);
    }
    runs
}

fn said(results: &SweepResults) -> String {
    let all: Vec<&str> = results.summary.iter().map(|s| s.text.as_str()).collect();
    all.join("\n")
}

fn compared(results: &SweepResults, metric: &str) -> bool {
    results.comparisons.iter().any(|c| c.metric == metric)
}

const LOSS: &str = "valid_bits_per_byte";

#[test]
fn variants_that_were_measured_alike_are_compared() {
    let (_folder, _, results) = results(&pair(|_| {}));
    assert!(results.measured_apart.is_empty());
    let text = said(&results);
    assert!(text.contains("two is better than one"), "{text}");
    assert!(!results.pareto.is_empty() || results.comparisons[0].verdict == Verdict::Better);
}

#[test]
fn losses_on_other_text_are_not_compared_and_scores_still_are() {
    type Change = fn(&mut Made);
    let cases: [(Change, &str); 3] = [
        (
            |run| {
                run.sets = &["eval.loss_tokens=512"];
                run.text = (500, 2000);
            },
            "eval.loss_tokens",
        ),
        (
            |run| {
                run.sets = &["data.valid_fraction=0.5"];
                run.manifest = "bbbb";
                run.text = (5000, 20000);
            },
            "data.valid_fraction",
        ),
        (|run| run.manifest = "bbbb", "the prepared data"),
    ];
    for (change, what) in cases {
        let (_folder, dir, results) = results(&pair(change));
        assert!(!compared(&results, LOSS), "{what}");
        assert!(compared(&results, "average"), "{what}");
        assert!(results.pareto.iter().all(|front| front.quality != LOSS));
        let apart = &results.measured_apart;
        let apart = apart.iter().find(|apart| apart.metric == LOSS).unwrap();
        assert!(apart.differs.iter().any(|own| own == what), "{apart:?}");
        assert_eq!(apart.alike.len(), 2);
        let text = said(&results);
        assert!(
            text.contains("No variant is named best by validation loss"),
            "{text}"
        );
        assert!(text.contains(what), "{text}");
        assert!(!text.contains("The validation loss of"), "{text}");
        write_report(&results, &dir).unwrap();
        let page = std::fs::read_to_string(dir.join("report.html")).unwrap();
        assert!(page.contains("not comparable"), "{what}");
        let json = std::fs::read_to_string(dir.join("results.json")).unwrap();
        assert!(json.contains("\"measured_apart\""));
    }
}

#[test]
fn the_same_text_under_other_settings_is_compared() {
    // More tokens than there are, in both; another tokenizer that read the same bytes.
    let (_folder, _, found) = results(&pair(|run| run.sets = &["eval.loss_tokens=4096"]));
    assert!(compared(&found, LOSS));
    let (_folder, _, found) = results(&pair(|run| {
        run.sets = &["data.tokenizer.vocab_size=1024"];
        (run.manifest, run.tokenizer, run.text) = ("bbbb", "uuuu", (800, 4000));
    }));
    assert!(compared(&found, LOSS));
    assert!(
        said(&found).contains("do not compare across them"),
        "{}",
        said(&found)
    );
    // The same number of tokens of another tokenizer is other text.
    let (_folder, _, found) = results(&pair(|run| {
        run.sets = &["data.tokenizer.vocab_size=1024"];
        (run.manifest, run.tokenizer, run.text) = ("bbbb", "uuuu", (1000, 5000));
    }));
    assert!(!compared(&found, LOSS));
}

#[test]
fn scores_on_other_questions_are_not_compared_and_losses_still_are() {
    let (_folder, _, results) = results(&pair(|run| {
        run.sets = &["eval.limit=10"];
        run.questions = 10;
    }));
    for metric in ["average", "arc_easy"] {
        assert!(!compared(&results, metric), "{metric}");
    }
    assert!(compared(&results, LOSS));
    let text = said(&results);
    assert!(
        text.contains("eval.limit") && text.contains("10 questions a task"),
        "{text}"
    );
    assert!(!text.contains("highest mean"), "{text}");
}

#[test]
fn other_tasks_are_no_other_limit_and_no_other_data() {
    let (_folder, _, results) = results(&pair(|run| run.tasks = &["arc_easy"]));
    assert!(compared(&results, "arc_easy") && !compared(&results, "average"));
    let apart = |metric: &str| {
        let mut all = results.measured_apart.iter();
        all.find(|apart| apart.metric == metric)
    };
    assert_eq!(apart("average").unwrap().differs, ["the tasks"]);
    assert_eq!(apart("arc_easy"), None);
    // What the tasks that both have do differ in is named.
    let (_folder, _, results) = self::results(&pair(|run| {
        run.sets = &["eval.limit=10"];
        (run.tasks, run.questions) = (&["arc_easy"], 10);
    }));
    let average = &results.measured_apart;
    let average = average.iter().find(|apart| apart.metric == "average");
    assert_eq!(average.unwrap().differs, ["eval.limit", "the tasks"]);
}

#[test]
fn examples_that_are_not_the_published_ones_are_told() {
    let (_folder, _, found) = results(&pair(|_| {}));
    assert!(
        !said(&found).contains("published split"),
        "{}",
        said(&found)
    );
    for (content, words) in [
        ("altered", "and boolq differ from the published split"),
        ("not checked", "and boolq was not checked"),
    ] {
        let (_folder, dir, found) = results(&pair(|run| run.content = content));
        let caveat = found.summary.iter().find(|s| s.text.contains(words));
        assert_eq!(
            caveat.unwrap().kind,
            SentenceKind::Caveat,
            "{}",
            said(&found)
        );
        write_report(&found, &dir).unwrap();
        for file in ["report.md", "report.html"] {
            let text = std::fs::read_to_string(dir.join(file)).unwrap();
            assert!(text.contains(words), "{file}");
        }
        let json = std::fs::read_to_string(dir.join("results.json")).unwrap();
        let json: Value = serde_json::from_str(&json).unwrap();
        let task = &json["runs"][2]["tasks"]["boolq"];
        assert_eq!(task["content"], content);
        assert_eq!(task["warnings"], json!(["a warning"]));
    }
}

#[test]
fn sets_that_were_measured_alike_have_rankings_of_their_own() {
    let mut runs = pair(|_| {});
    runs.extend(pair(|_| {}).into_iter().map(|run| Made {
        variant: if run.variant == "one" {
            "three"
        } else {
            "four"
        },
        sets: &["eval.loss_tokens=512"],
        text: (500, 2000),
        ..run
    }));
    let (_folder, dir, results) = results(&runs);
    let pairs = results.comparisons.iter().filter(|c| c.metric == LOSS);
    let pairs: Vec<(&str, &str)> = pairs.map(|c| (c.a.as_str(), c.b.as_str())).collect();
    assert_eq!(pairs, [("four", "three"), ("one", "two")]);
    let text = said(&results);
    assert!(
        text.contains("Among the 2 variants with eval.loss_tokens"),
        "{text}"
    );
    write_report(&results, &dir).unwrap();
    let page = std::fs::read_to_string(dir.join("report.md")).unwrap();
    assert!(page.contains("one, against two"), "{page}");
}

#[test]
fn seeds_that_agree_to_the_last_digit_give_no_certainty() {
    let mut runs = pair(|_| {});
    for run in &mut runs {
        let one = run.variant == "one";
        (run.bits, run.right) = if one { (2.5, 0.3) } else { (2.0, 0.6) };
    }
    let (_folder, _, results) = results(&runs);
    assert!(results.noise.is_empty(), "{:?}", results.noise);
    for comparison in &results.comparisons {
        assert_eq!((comparison.p, comparison.verdict), (None, Verdict::Unknown));
    }
    let text = said(&results);
    assert!(text.contains("cannot be estimated"), "{text}");
    for claim in ["is better", "is worse", "one seed", "beyond"] {
        assert!(!text.contains(claim), "{claim}: {text}");
    }
}

#[test]
fn names_are_set_apart_as_whole_words() {
    let mut runs = pair(|_| {});
    for run in &mut runs {
        run.variant = if run.variant == "one" { "b" } else { "by" };
    }
    let (_folder, dir, results) = results(&runs);
    write_report(&results, &dir).unwrap();
    let page = std::fs::read_to_string(dir.join("report.html")).unwrap();
    assert!(page.contains("<b class=\"name\">b</b>"));
    let inside = page.split("<b class=\"name\">b</b>").skip(1);
    for rest in inside {
        assert!(!rest.starts_with(char::is_alphanumeric), "b{}", &rest[..20]);
    }
}

/// Rank of every variant.
fn ranks(dir: &Path, by: &[Objective]) -> BTreeMap<String, usize> {
    let results = collect(dir).unwrap();
    let runs = results.runs.iter();
    let variants = runs
        .map(|run| (run.name.clone(), run.variant.clone()))
        .collect();
    let found = front(&results, by, &variants);
    let points = found.points.into_iter();
    points.map(|point| (point.name, point.rank)).collect()
}

#[test]
fn losses_inside_the_noise_do_not_put_a_larger_model_on_the_front() {
    let by = [
        Objective::ValidBitsPerByte,
        Objective::Cost(slender_sweep::search::Cost::ParamsTotal),
    ];
    let of = |gap: f64| {
        let mut runs = pair(|run| run.sets = &["model.n_layers=4"]);
        for run in &mut runs {
            let own = if run.variant == "one" { 2.5 } else { 2.5 - gap };
            run.bits = own + 0.01 * run.seed as f64 * if run.variant == "one" { 1.0 } else { -1.0 };
        }
        let folder = tempfile::tempdir().unwrap();
        let dir = make(folder.path(), &runs);
        ranks(&dir, &by)
    };
    assert_eq!(of(0.005), [("one".into(), 0), ("two".into(), 1)].into());
    assert_eq!(of(0.5), [("one".into(), 0), ("two".into(), 0)].into());
}

#[test]
fn times_whose_rounds_overlap_count_as_equal() {
    let folder = tempfile::tempdir().unwrap();
    let made = |variant, bits| Made {
        variant,
        bits,
        ..USUAL
    };
    let dir = make(folder.path(), &[made("slow", 2.0), made("quick", 2.5)]);
    let by = [Objective::ValidLoss, Objective::DecodeMs];
    let times = |slow: [f64; 3]| {
        for (name, [low, middle, high]) in [("slow", slow), ("quick", [0.0030, 0.0031, 0.0033])] {
            let setting = json!({"cpu": "A", "device": "flex", "threads": 1, "weights": "f32", "prompt_len": 16, "tokens": 64});
            let file = json!({"format": "slender-decode/1", "decode_ms": middle, "low_ms": low, "high_ms": high, "rounds": 5, "repetitions": 3, "variants": 2, "setting": setting, "host": "h", "measured_at": 0});
            std::fs::write(
                dir.join(format!("runs/{name}-s0/decode.json")),
                file.to_string(),
            )
            .unwrap();
        }
        ranks(&dir, &by)
    };
    let level = times([0.0031, 0.0032, 0.0034]);
    assert_eq!(level, [("slow".into(), 0), ("quick".into(), 1)].into());
    let apart = times([0.0041, 0.0042, 0.0044]);
    assert_eq!(apart, [("slow".into(), 0), ("quick".into(), 0)].into());
}
