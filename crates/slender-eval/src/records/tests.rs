use super::*;

fn record(task: &str, doc_id: usize) -> ExampleRecord {
    let task = tasks::find(task).unwrap();
    let data = crate::TaskData::load(task, &crate::DataSource::Builtin).unwrap();
    let example = &data.examples[doc_id];
    let score = |i| ChoiceScore {
        log_likelihood: -1.0 - i as f64,
        greedy: false,
        tokens: 1,
    };
    let scores: Vec<ChoiceScore> = (0..example.choices.len()).map(score).collect();
    ExampleRecord::new(task, doc_id, example, &scores, None, false)
}

fn read(text: &str) -> Result<Vec<ExampleRecord>, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.jsonl");
    std::fs::write(&path, text).unwrap();
    read_records(&path).map_err(|error| error.to_string())
}

fn line(record: &ExampleRecord) -> String {
    serde_json::to_string(record).unwrap() + "\n"
}

type Change<'a> = &'a dyn Fn(&mut ExampleRecord);

#[test]
fn what_no_evaluation_wrote_is_refused_with_its_line() {
    let good = record("winogrande", 0);
    assert_eq!(read(&line(&good)).unwrap(), std::slice::from_ref(&good));
    let changed = |change: Change<'_>| {
        let mut other = record("winogrande", 1);
        change(&mut other);
        read(&(line(&good) + &line(&other))).unwrap_err()
    };
    let cases: [(&str, Change<'_>); 8] = [
        ("`truths` has 0 entries", &|r| r.truths = Some(Vec::new())),
        ("`contexts` has 1 entries", &|r| {
            r.contexts = Some(vec!["a".into()])
        }),
        ("`log_likelihoods` has 0", &|r| r.log_likelihoods.clear()),
        ("`continuations` is empty", &|r| r.continuations.clear()),
        ("does not begin with `prompt`", &|r| {
            r.prompt = "elsewhere".into()
        }),
        ("`gold` is 2, which names none of 2", &|r| r.gold = 2),
        ("has a `generated`", &|r| r.generated = Some("x".into())),
        ("slender-examples/9", &|r| {
            r.format = "slender-examples/9".into()
        }),
    ];
    for (expected, change) in cases {
        let error = changed(change);
        assert!(
            error.contains(expected) && error.contains("x.jsonl:2"),
            "{expected}: {error}"
        );
    }
    let twice = read(&line(&good).repeat(2)).unwrap_err();
    assert!(
        twice.contains("example 0 of winogrande stands twice, first at")
            && twice.contains("x.jsonl:2"),
        "{twice}"
    );
    let whole = line(&good);
    let cut = read(&whole[..whole.len() / 2]).unwrap_err();
    assert!(cut.contains("hint: the file is cut short"), "{cut}");
}

#[test]
fn records_of_version_1_are_brought_up_to_date() {
    let mut old = record("winogrande", 0);
    let new = old.clone();
    old.format.clear();
    old.chosen_paper = Some(1 - old.chosen);
    old.right_paper = Some(!old.right);
    let text = line(&old).replace("\"format\":\"\",", "");
    assert!(!text.contains("format"));
    assert_eq!(read(&text).unwrap(), [new]);
}

#[test]
fn a_file_that_cannot_be_written_is_refused_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    check_records_file(&at("new/x.parquet")).unwrap();
    check_records_file(&at("x.JSONL")).unwrap();
    std::fs::write(at("file"), "").unwrap();
    for (name, expected) in [
        ("", "is a directory"),
        ("x.csv", "no ending"),
        ("x", "no ending"),
        ("file/x.jsonl", "cannot be written"),
    ] {
        let error = check_records_file(&at(name)).unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.contains("hint:"),
            "{error}"
        );
    }
    // A directory in its place: the temporary file goes.
    std::fs::create_dir_all(at("y.jsonl/inside")).unwrap();
    assert!(write_records(&at("y.jsonl"), &[record("piqa", 0)]).is_err());
    let mut left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["file", "new", "y.jsonl"]);
}

#[test]
fn the_common_start_stops_at_a_character() {
    let start =
        |texts: &[&str]| common_start(&texts.iter().map(|&t| t.to_owned()).collect::<Vec<_>>());
    assert_eq!(start(&["so Sarah", "so Maria"]), "so ");
    assert_eq!(start(&["é", "è"]), "");
    assert_eq!(start(&["same", "same"]), "same");
    assert_eq!(start(&[]), "");
}
