use super::*;
use crate::tasks;

fn piqa_dir(lines: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("piqa")).unwrap();
    std::fs::write(dir.path().join("piqa/validation.jsonl"), lines).unwrap();
    dir
}

fn load(name: &str, dir: &Path) -> Result<TaskData, EvalError> {
    TaskData::load(tasks::find(name).unwrap(), &DataSource::Dir(dir.to_owned()))
}

#[test]
fn every_shipped_slice_reads_and_is_marked() {
    for task in tasks::find_all(&["paper"]).unwrap() {
        let data = TaskData::load(task, &DataSource::Builtin).unwrap();
        assert!(data.fixture);
        assert_eq!(data.examples.len(), 40, "{}", task.name);
        assert!(data.examples.iter().all(|e| e.gold < e.choices.len()));
    }
}

#[test]
fn a_missing_file_is_named_with_what_to_do() {
    let dir = piqa_dir("");
    let error = load("boolq", dir.path()).unwrap_err().to_string();
    assert!(error.contains("boolq/validation.jsonl"), "{error}");
    assert!(error.contains("hint:"), "{error}");
    let error = load("piqa", &dir.path().join("absent"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("is not a directory"), "{error}");
}

#[test]
fn a_missing_file_of_shots_asks_for_the_train_split() {
    let dir = piqa_dir("");
    let pool = |name, dir: &Path| {
        let source = DataSource::Dir(dir.to_owned());
        let task = tasks::find(name).unwrap();
        let found = TaskData::load_pool(task, &source, Altered::Report);
        found.unwrap_err().to_string()
    };
    let error = pool("piqa", dir.path());
    assert!(error.contains("piqa/train.jsonl does not exist"), "{error}");
    let repo = tasks::find("piqa").unwrap().hub.repo;
    let hint = format!("the train split: put that of {repo} (16113 rows) there");
    assert!(error.contains(&hint), "{error}");
    assert!(!error.contains("1838"), "not those of validation: {error}");
    let error = pool("piqa", &dir.path().join("absent"));
    assert!(error.contains("is not a directory"), "{error}");
}

#[test]
fn a_missing_field_is_named_with_file_and_line() {
    let dir = piqa_dir(concat!(
        r#"{"goal":"g","sol1":"a","sol2":"b","label":0}"#,
        "\n\n",
        r#"{"goal":"g","sol1":"a","label":1}"#,
        "\n"
    ));
    let error = load("piqa", dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("validation.jsonl:3: field `sol2` is missing"),
        "{error}"
    );
    assert!(error.contains("goal, sol1, sol2, label"), "{error}");
}

#[test]
fn a_label_outside_the_choices_is_an_error() {
    let dir = piqa_dir(r#"{"goal":"g","sol1":"a","sol2":"b","label":2}"#);
    let error = load("piqa", dir.path()).unwrap_err().to_string();
    assert!(error.contains("names none of 2 choices"), "{error}");
}

#[test]
fn a_broken_line_and_an_empty_file_are_errors() {
    let error = load("piqa", piqa_dir("{\"goal\": ").path())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("validation.jsonl:1: not a JSON object"),
        "{error}"
    );
    let error = load("piqa", piqa_dir("\n").path()).unwrap_err().to_string();
    assert!(error.contains("holds no example"), "{error}");
}

#[test]
fn another_number_of_examples_is_reported() {
    let data = load(
        "piqa",
        piqa_dir(r#"{"goal":"g","sol1":"a","sol2":"b","label":"1"}"#).path(),
    )
    .unwrap();
    assert_eq!(data.examples[0].gold, 1);
    assert!(data.warnings[0].contains("has 1 examples, the published validation split has 1838"));
}

#[test]
fn a_byte_order_mark_is_no_text_and_a_byte_that_is_none_is_named_by_its_line() {
    let row = r#"{"goal":"g","sol1":"a","sol2":"b","label":0}"#;
    let data = load("piqa", piqa_dir(&format!("\u{feff}{row}\n")).path()).unwrap();
    assert_eq!(data.examples.len(), 1);
    let dir = piqa_dir("");
    let path = dir.path().join("piqa/validation.jsonl");
    std::fs::write(&path, [row.as_bytes(), b"\n\"\xe9\"\n"].concat()).unwrap();
    let error = load("piqa", dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("validation.jsonl:2: not UTF-8") && error.contains("hint:"),
        "{error}"
    );
}

/// As many SciQ rows as the published split has.
fn sciq_dir(n: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sciq")).unwrap();
    let row = r#"{"support":"s","question":"q","distractor1":"a","distractor2":"b","distractor3":"c","correct_answer":"d"}"#;
    let text = format!("{row}\n").repeat(n);
    std::fs::write(dir.path().join("sciq/test.jsonl"), text).unwrap();
    dir
}

#[test]
fn what_no_hash_is_known_of_is_said_not_to_be_checked() {
    let dir = sciq_dir(1000);
    let source = DataSource::Dir(dir.path().to_owned());
    let task = tasks::find("sciq").unwrap();
    let data = TaskData::load_split(task, &source, None, Altered::Refuse).unwrap();
    assert_eq!(data.content, Content::Unchecked);
    assert!(
        data.warnings[0].starts_with("content not checked"),
        "{:?}",
        data.warnings
    );
    let dir = sciq_dir(999);
    let source = DataSource::Dir(dir.path().to_owned());
    assert!(matches!(
        TaskData::load_split(task, &source, None, Altered::Refuse),
        Err(EvalError::Altered { .. })
    ));
    let data = TaskData::load_split(task, &source, None, Altered::Report).unwrap();
    assert_eq!(data.content, Content::Altered);
}

#[test]
fn another_form_of_boolq_is_unchecked_and_another_text_of_the_known_one_is_altered() {
    let task = tasks::find("boolq").unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("boolq")).unwrap();
    let source = DataSource::Dir(dir.path().to_owned());
    let content = |row: &str| {
        let text = format!("{row}\n").repeat(task.examples);
        std::fs::write(dir.path().join("boolq/validation.jsonl"), text).unwrap();
        let data = TaskData::load_split(task, &source, None, Altered::Report);
        data.unwrap().content
    };
    let super_glue = r#"{"passage": "p", "question": "q", "label": 1}"#;
    let google = r#"{"passage": "p", "question": "q", "answer": true}"#;
    assert_eq!(content(super_glue), Content::Unchecked);
    assert_eq!(content(google), Content::Altered);
}

#[test]
fn super_glue_rows_need_no_caveat() {
    let task = tasks::find("boolq").unwrap();
    let both = [
        serde_json::json!({"passage": "p", "question": "q", "label": 1, "idx": 7}),
        serde_json::json!({"passage": "p", "question": "q", "answer": true}),
    ];
    for (value, caveats) in both.into_iter().zip([0, 1]) {
        let data =
            TaskData::from_rows(task, &[(1, value)], "x".into(), String::new(), true).unwrap();
        assert_eq!(data.warnings.len(), caveats);
        assert_eq!(data.examples[0].gold, 1);
    }
}

#[test]
fn the_setting_has_three_meanings() {
    assert_eq!(DataSource::from_setting(None), DataSource::Hub);
    let builtin = DataSource::from_setting(Some(Path::new("builtin")));
    assert_eq!(builtin, DataSource::Builtin);
    let dir = DataSource::from_setting(Some(Path::new("d")));
    assert_eq!(dir, DataSource::Dir("d".into()));
}
