use super::*;
use crate::fake::{CharTokenizer, HashModel};
use crate::{DataSource, EvalOptions, evaluate, tasks};

fn report(limit: Option<usize>) -> EvalReport {
    let tasks = tasks::find_all(&["arc_easy", "boolq"]).unwrap();
    let options = EvalOptions {
        data: DataSource::Builtin,
        limit,
        ..EvalOptions::default()
    };
    let mut model = HashModel::new(4096);
    evaluate(&mut model, &CharTokenizer, &tasks, &options, &mut |_| {})
        .unwrap()
        .for_model("runs/a", Some(300), "abc")
}

#[test]
fn keys_are_those_of_the_harness() {
    let json = report(None).to_json();
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let arc = &json["results"]["arc_easy"];
    let names = [
        "alias",
        "acc,none",
        "acc_stderr,none",
        "acc_norm,none",
        "acc_norm_stderr,none",
    ];
    assert_eq!(keys(arc), names);
    assert_eq!(keys(&json["results"]["boolq"]), names[..3]);
    assert_eq!(json["format"], "slender-eval/1");
    assert_eq!(json["versions"]["boolq"], 2.0);
    assert_eq!(json["fixture"]["boolq"], true);
    assert_eq!(json["chance"]["boolq"], 0.5);
    assert_eq!(json["n-samples"]["arc_easy"]["original"], 40);
    assert_eq!(json["n-samples"]["arc_easy"]["published"], 2376);
    assert_eq!(json["average_without_boolq"]["tasks"], json!(["arc_easy"]));
    assert_eq!(json["average_without_boolq"]["acc"], arc["acc,none"]);
    assert_eq!(json["step"], 300);
}

#[test]
fn one_example_has_no_error_as_in_the_harness() {
    let report = report(Some(1));
    let json = report.to_json();
    assert_eq!(json["results"]["boolq"]["acc_stderr,none"], "N/A");
    assert_eq!(json["average"]["acc_stderr"], Value::Null);
    assert!(report.to_string().contains("± ?"));
}

#[test]
fn what_is_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("eval/step.json");
    let mut report = report(Some(9));
    report.write(&path).unwrap();
    report.examples.clear();
    assert_eq!(EvalReport::read(&path).unwrap(), report);
}

#[test]
fn another_version_is_refused_with_both_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.json");
    std::fs::write(&path, r#"{"format": "slender-eval/9"}"#).unwrap();
    let error = EvalReport::read(&path).unwrap_err().to_string();
    assert!(
        error.contains("slender-eval/9") && error.contains(FORMAT),
        "{error}"
    );
    std::fs::write(&path, "{").unwrap();
    assert!(EvalReport::read(&path).is_err());
    std::fs::write(&path, r#"{"format": "slender-eval/1", "results": {}}"#).unwrap();
    let error = EvalReport::read(&path).unwrap_err().to_string();
    assert!(error.contains("settings"), "{error}");
}

#[test]
fn records_are_json_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("examples.jsonl");
    let report = report(Some(3));
    crate::write_records(&path, &report.examples).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let read: Vec<ExampleRecord> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(read, report.examples);
    assert_eq!(read.len(), 6);
}
