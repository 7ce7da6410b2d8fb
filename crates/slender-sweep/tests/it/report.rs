//! The report: every run is in it, whatever became of it, and no text of a run becomes markup.

use super::common::Bench;
use slender_sweep::{
    Stop, SweepError, SweepOptions, collect, refresh_report, run_sweep, write_report,
};
use std::time::Duration;

#[test]
fn the_report_names_every_run_and_escapes_it() {
    let bench = Bench::new();
    let mut configs = vec![
        bench.config("good-a", 2, ""),
        bench.config("bad-b", 4, ""),
        bench.config("good-c", 8, "paper_row = \"T11-125M-8L\""),
    ];
    let odd = "<b>odd & \"run\"</b>".replace('/', "|");
    configs.push(bench.config("odd", 6, &format!("name = '{odd}'")));
    let dir = bench.path("sweep");
    let options = SweepOptions::new(configs, dir.clone(), bench.path("slender"));
    let outcome = run_sweep(&options, &Stop::new(), &|_| {}).unwrap();
    let html = std::fs::read_to_string(&outcome.report.html).unwrap();
    let markdown = std::fs::read_to_string(&outcome.report.markdown).unwrap();
    for name in ["good-a", "bad-b", "good-c"] {
        assert!(html.contains(name), "{name}");
        assert!(markdown.contains(name), "{name}");
    }
    assert!(html.contains("&lt;b&gt;odd &amp; &quot;run&quot;"));
    assert!(!html.contains("<b>odd"));
    assert!(html.contains("line 3 &lt;of&gt; the log"));
    assert!(!markdown.contains("<b>odd"));
    assert!(html.contains("paper, T11-125M-8L"));
    for outside in ["http://", "https://", "src=", "@import", "url(http"] {
        assert!(!html.contains(outside), "not self-contained: {outside}");
    }
    assert!(!html.contains("NaN") && !html.contains("inf\""));
    for picture in ["depth.svg", "loss.svg"] {
        let svg = std::fs::read_to_string(dir.join(picture)).unwrap();
        assert!(svg.starts_with("<svg xmlns=") && svg.contains("prefers-color-scheme"));
        assert!(!svg.contains("NaN"));
    }
}

#[test]
fn missing_partial_and_foreign_run_directories_are_named() {
    let bench = Bench::new();
    let names = ["gone", "half", "newer", "good"];
    let configs = names.map(|name| bench.config(name, 2, "")).to_vec();
    let dir = bench.path("sweep");
    let options = SweepOptions::new(configs, dir.clone(), bench.path("slender"));
    run_sweep(&options, &Stop::new(), &|_| {}).unwrap();
    std::fs::remove_dir_all(dir.join("runs/gone")).unwrap();
    let half = dir.join("runs/half");
    std::fs::remove_dir_all(half.join("eval")).unwrap();
    std::fs::write(
        half.join("status.json"),
        r#"{"format":"slender-status/1","state":"running","step":3,"total_steps":10,"tokens":768}"#,
    )
    .unwrap();
    std::fs::write(
        dir.join("runs/newer/status.json"),
        r#"{"format":"slender-status/7","state":"finished"}"#,
    )
    .unwrap();
    let results = collect(&dir).unwrap();
    write_report(&results, &dir).unwrap();
    let said: Vec<&str> = results.summary.iter().map(|s| s.text.as_str()).collect();
    assert!(said.iter().any(|text| text.starts_with("gone is missing")));
    assert!(
        said.iter()
            .any(|text| text.starts_with("half is incomplete"))
    );
    assert!(results.warnings[0].contains("slender-status/7"));
    assert!(results.warnings[0].contains("slender-status/2"));
    assert_eq!(results.runs.len(), 4);
}

#[test]
fn a_folder_that_is_no_sweep_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let error = collect(folder.path()).unwrap_err();
    assert!(matches!(error, SweepError::NotASweep { .. }));
}

#[test]
fn a_report_that_is_slow_to_write_is_written_rarely() {
    let bench = Bench::new();
    let dir = bench.path("sweep");
    let configs = vec![bench.config("one", 2, "")];
    let options = SweepOptions::new(configs, dir.clone(), bench.path("slender"));
    run_sweep(&options, &Stop::new(), &|_| {}).unwrap();
    let age = |seconds: u64| {
        let file = std::fs::File::options()
            .append(true)
            .open(dir.join("results.json"));
        let then = std::time::SystemTime::now() - Duration::from_secs(seconds);
        file.unwrap().set_modified(then).unwrap();
        refresh_report(&dir, Duration::ZERO).unwrap().is_some()
    };
    assert!(!age(0) && age(60));
    // The last one took ten seconds, in another process.
    std::fs::write(dir.join("report.lock"), "10.000\n").unwrap();
    assert!(!age(60));
    assert!(age(300));
    let kept = std::fs::read_to_string(dir.join("report.lock")).unwrap();
    assert!(kept.trim().parse::<f64>().unwrap() < 10.0, "{kept}");
}
