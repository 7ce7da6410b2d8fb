//! The leaderboard: one table for what was measured alike, and nothing ranked that was not.

use super::common::Bench;
use slender_sweep::{Stop, SweepError, SweepOptions, leaderboard, run_sweep};
use std::path::Path;

/// Runs a sweep of `layers`, and says where the data of its runs came from.
fn sweep(bench: &Bench, name: &str, layers: &[usize], data: &str) -> std::path::PathBuf {
    let configs = layers
        .iter()
        .map(|l| bench.config(&format!("{name}-{l}"), *l, ""));
    let dir = bench.path(&format!("sweeps/{name}"));
    let options = SweepOptions::new(configs.collect(), dir.clone(), bench.path("slender"));
    run_sweep(&options, &Stop::new(), &|_| {}).unwrap();
    for l in layers {
        let run = format!(
            r#"{{"format":"slender-run/1","source":{{"version":"0.1.0","commit":"0123456789abcdef","dirty":true}},"data_manifest":"{data}"}}"#
        );
        std::fs::write(dir.join(format!("runs/{name}-{l}/run.json")), run).unwrap();
    }
    run_sweep(&options, &Stop::new(), &|_| {}).unwrap();
    dir
}

#[test]
fn sweeps_on_the_same_data_share_a_table_and_others_do_not() {
    let bench = Bench::new();
    sweep(&bench, "one", &[2, 4], "aaaa");
    sweep(&bench, "two", &[6], "aaaa");
    sweep(&bench, "other", &[8], "bbbb");
    let board = leaderboard(&[bench.path("sweeps")]).unwrap();
    assert_eq!(board.boards.len(), 2);
    let shared = board
        .boards
        .iter()
        .find(|b| b.data_manifest.as_deref() == Some("aaaa"))
        .unwrap();
    let mut variants: Vec<&str> = shared.entries.iter().map(|e| e.variant.as_str()).collect();
    variants.sort_unstable();
    assert_eq!(variants, ["one-2", "one-4", "two-6"]);
    let places: Vec<usize> = shared.entries.iter().map(|entry| entry.place).collect();
    assert_eq!(places, [1, 2, 3]);
    assert_eq!(shared.entries[0].commits, ["01234567+"]);
    let out = bench.path("experiments");
    let files = board.write(&out).unwrap();
    let markdown = std::fs::read_to_string(&files[0]).unwrap();
    assert!(
        markdown.contains("Table 2.") && markdown.contains("two-6"),
        "{markdown}"
    );
    let json = std::fs::read_to_string(&files[1]).unwrap();
    assert!(json.contains("slender-leaderboard/1"));
}

#[test]
fn what_cannot_be_compared_is_named_and_not_ranked() {
    let bench = Bench::new();
    let dir = sweep(&bench, "gone", &[2, 4], "aaaa");
    std::fs::remove_dir_all(dir.join("runs/gone-4")).unwrap();
    let results = slender_sweep::collect(&dir).unwrap();
    slender_sweep::write_report(&results, &dir).unwrap();
    let board = leaderboard(std::slice::from_ref(&dir)).unwrap();
    assert_eq!(board.boards[0].entries.len(), 1);
    assert_eq!(board.left_out, ["gone, gone-4: no run of it is trained"]);

    let error = leaderboard(&[bench.path("sweeps/gone/runs")]).unwrap_err();
    assert!(matches!(error, SweepError::NoResults { .. }), "{error}");
    let text = std::fs::read_to_string(dir.join("results.json")).unwrap();
    let old = text.replace("slender-results/2", "slender-results/1");
    std::fs::write(dir.join("results.json"), old).unwrap();
    let error = leaderboard(std::slice::from_ref(&dir))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("slender-results/1") && error.contains("hint:"),
        "{error}"
    );
    assert!(leaderboard(&[Path::new("/nowhere").to_owned()]).is_err());
}

#[test]
fn a_file_that_cannot_be_read_is_left_out_and_a_sweep_named_twice_is_ranked_once() {
    let bench = Bench::new();
    let good = sweep(&bench, "good", &[2], "aaaa");
    let bad = sweep(&bench, "bad", &[4], "aaaa");
    let text = std::fs::read_to_string(bad.join("results.json")).unwrap();
    std::fs::write(bad.join("results.json"), &text[..text.len() / 2]).unwrap();
    let board = leaderboard(&[bench.path("sweeps"), good.join("."), good.clone()]).unwrap();
    assert_eq!(board.boards.len(), 1);
    assert_eq!(board.boards[0].entries.len(), 1);
    let warning = &board.warnings[0];
    assert!(
        warning.contains("bad/results.json") && warning.contains("hint: `slender sweep report"),
        "{warning}"
    );
    assert!(board.markdown().contains("bad/results.json"));
    // Where there is nothing else, it is an error.
    let error = leaderboard(&[bad]).unwrap_err().to_string();
    assert!(
        error.contains("line ") && error.contains("hint:"),
        "{error}"
    );
    let error = leaderboard(&[Path::new("/nowhere").to_owned()]).unwrap_err();
    assert!(matches!(error, SweepError::NoResults { .. }), "{error}");
}

#[test]
fn a_broken_index_says_the_way_out() {
    let bench = Bench::new();
    let dir = sweep(&bench, "s", &[2], "aaaa");
    std::fs::write(
        dir.join("sweep.json"),
        "{\"format\": \"slender-sweep/2\",\n \"ru",
    )
    .unwrap();
    let error = slender_sweep::collect(&dir).unwrap_err().to_string();
    assert!(
        error.contains("sweep.json") && error.contains("line 2"),
        "{error}"
    );
    assert!(error.contains("hint: put a copy of it back"), "{error}");
    // What the hint says works: the finished run is kept.
    std::fs::remove_file(dir.join("sweep.json")).unwrap();
    let before = bench.calls().len();
    let configs = vec![dir.join("configs/s-2.toml")];
    let options = SweepOptions::new(configs, dir.clone(), bench.path("slender"));
    run_sweep(&options, &Stop::new(), &|_| {}).unwrap();
    assert_eq!(bench.calls().len(), before);
}
