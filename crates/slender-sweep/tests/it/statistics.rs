//! What the report claims, and what it does not, on runs whose numbers are made up.

#[path = "../browser/fixture.rs"]
mod fixture;

use slender_sweep::{Basis, Covers, SweepResults, Verdict, collect, write_report};
use std::path::{Path, PathBuf};

/// A sweep of four variants with three seeds; the shallowest is worse by far.
fn sweep(folder: &Path) -> (PathBuf, SweepResults) {
    let page = fixture::report(folder);
    let dir = page.parent().unwrap().to_owned();
    let results = collect(&dir).unwrap();
    (dir, results)
}

fn verdict(results: &SweepResults, metric: &str, a: &str, b: &str) -> Verdict {
    let same = |c: &&slender_sweep::Comparison| c.metric == metric && c.a == a && c.b == b;
    results.comparisons.iter().find(same).unwrap().verdict
}

fn said(results: &SweepResults) -> String {
    let all: Vec<&str> = results.summary.iter().map(|s| s.text.as_str()).collect();
    all.join("\n")
}

#[test]
fn a_difference_inside_the_noise_is_called_that_and_a_large_one_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (_, results) = sweep(folder.path());
    let names: Vec<&str> = results.variants.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["tiny-2x96", "tiny-4x64", "tiny-8x48", "tiny-16x32"]);
    let loss = "valid_bits_per_byte";
    assert_eq!(
        verdict(&results, loss, "tiny-2x96", "tiny-8x48"),
        Verdict::Better
    );
    assert_eq!(
        verdict(&results, loss, "tiny-4x64", "tiny-8x48"),
        Verdict::InsideNoise
    );
    let text = said(&results);
    assert!(
        text.contains("inside the noise (seeds alone make differences of up to"),
        "{text}"
    );
    assert!(text.contains("cannot be told apart"), "{text}");
    // Six pairs, four variants: Holm multiplies the smallest p by six.
    let of_loss = results.comparisons.iter().filter(|c| c.metric == loss);
    let smallest = of_loss
        .min_by(|a, b| a.p.unwrap().total_cmp(&b.p.unwrap()))
        .unwrap();
    assert!((smallest.p_holm.unwrap() / smallest.p.unwrap() - 6.0).abs() < 1e-9);
    let noise = results
        .noise
        .iter()
        .find(|noise| noise.metric == loss)
        .unwrap();
    assert!(noise.noise.paired);
    assert_eq!(
        (noise.seeds, noise.noise.df, noise.noise.df_within),
        (3, 6.0, 8.0)
    );
    let average = results
        .comparisons
        .iter()
        .find(|c| c.metric == "average")
        .unwrap();
    assert_eq!(average.basis, Basis::SeedsAndQuestions);
    let spread = results.variants[0].average.unwrap();
    assert_eq!(spread.covers, Some(Covers::SeedsAndQuestions));
    assert!(spread.low.unwrap() < spread.mean && spread.mean < spread.high.unwrap());
    let trend = results
        .trend
        .iter()
        .find(|trend| trend.metric == loss)
        .unwrap();
    assert_eq!(
        (trend.test.test, trend.n_layers.as_slice()),
        ("page", &[2, 4, 8, 16][..])
    );
}

#[test]
fn one_seed_claims_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, _) = sweep(folder.path());
    for entry in std::fs::read_dir(dir.join("runs")).unwrap() {
        let path = entry.unwrap().path();
        if !path.to_string_lossy().ends_with("-s0") {
            std::fs::remove_dir_all(path).unwrap();
        }
    }
    let results = collect(&dir).unwrap();
    assert!(results.noise.is_empty());
    assert!(
        results
            .comparisons
            .iter()
            .all(|c| c.verdict == Verdict::Unknown)
    );
    let text = said(&results);
    assert!(
        text.contains("with one seed the noise is not known"),
        "{text}"
    );
    for claim in ["is better", "is worse", "are worse", "beyond the noise"] {
        assert!(!text.contains(claim), "{claim}: {text}");
    }
    let task = results
        .comparisons
        .iter()
        .find(|c| c.metric == "piqa")
        .unwrap();
    assert_eq!(task.basis, Basis::Questions);
    assert!(task.p.is_some() && task.least_significant_difference.is_none());
}

#[test]
fn results_differ_in_timing_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, _) = sweep(folder.path());
    let read = || {
        write_report(&collect(&dir).unwrap(), &dir).unwrap();
        let text = std::fs::read_to_string(dir.join("results.json")).unwrap();
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        for run in value["runs"].as_array_mut().unwrap() {
            run.as_object_mut().unwrap().remove("timing").unwrap();
        }
        value
    };
    let before = read();
    for entry in std::fs::read_dir(dir.join("runs")).unwrap() {
        let path = entry.unwrap().path().join("status.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut status: serde_json::Value = serde_json::from_str(&text).unwrap();
        status["elapsed_s"] = serde_json::json!(98765.4);
        std::fs::write(&path, status.to_string()).unwrap();
    }
    assert_eq!(before, read());
}

#[test]
fn scores_without_their_questions_are_compared_over_seeds() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, _) = sweep(folder.path());
    for entry in std::fs::read_dir(dir.join("runs")).unwrap() {
        let path = entry.unwrap().path().join("eval/final-examples.jsonl");
        std::fs::remove_file(path).unwrap();
    }
    let results = collect(&dir).unwrap();
    let average = results
        .comparisons
        .iter()
        .find(|c| c.metric == "average")
        .unwrap();
    assert_eq!(average.basis, Basis::Seeds);
    assert_eq!(
        results.variants[0].average.unwrap().covers,
        Some(Covers::Seeds)
    );
}

#[test]
fn level_scores_are_called_level() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, _) = sweep(folder.path());
    let scores = std::fs::read(dir.join("runs/tiny-2x96-s0/eval/final.json")).unwrap();
    for entry in std::fs::read_dir(dir.join("runs")).unwrap() {
        std::fs::write(entry.unwrap().path().join("eval/final.json"), &scores).unwrap();
    }
    let text = said(&collect(&dir).unwrap());
    assert!(text.contains("are level with"), "{text}");
    assert!(!text.contains("0.0 points"), "{text}");
}
