//! Conversations from file to batch.

mod common;

use common::{data_config, files_source, options};
use slender_config::{Content, DataConfig};
use slender_data::{Dataset, prepare};
use std::path::Path;

const TEMPLATE: &str = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";

fn write_rows(path: &Path, count: usize) {
    let row = |i: usize| {
        let (long, answer) = ("why ".repeat(i % 7), "so ".repeat(1 + i % 5));
        format!(
            r#"{{"messages": [{{"role": "user", "content": "question {i} {long}?"}}, {{"role": "assistant", "content": "answer {i} {answer}."}}]}}"#
        ) + "\n"
    };
    std::fs::write(path, (0..count).map(row).collect::<String>()).unwrap();
}

fn config(dir: &Path, count: usize) -> DataConfig {
    let (rows, template) = (dir.join("c.jsonl"), dir.join("t.jinja"));
    write_rows(&rows, count);
    std::fs::write(&template, TEMPLATE).unwrap();
    let mut source = files_source(&rows);
    source.content = Content::Conversations;
    let mut config = data_config(dir, vec![source]);
    config.tokenizer.chat_template = Some(template);
    config
}

#[test]
fn every_answer_is_a_target_once_an_epoch_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), 200);
    let prepared = prepare(&config, &options(dir.path())).unwrap();
    let data = Dataset::open(&prepared.dir).unwrap();
    data.verify().unwrap();
    let tokenizer = data.tokenizer().clone();
    assert_eq!(tokenizer.settings().chat_template(), Some(TEMPLATE));
    let order = data.train(64, 3).unwrap();
    let mut said = Vec::new();
    let mut firsts = 0;
    for index in 0..order.sequences_per_epoch() {
        let sequence = order.sequence(index);
        assert_eq!(sequence.inputs.len(), 64);
        // A window begins with a conversation.
        let begins = tokenizer.decode(
            &sequence.inputs[..8]
                .iter()
                .map(|id| *id as u32)
                .collect::<Vec<_>>(),
        );
        firsts += usize::from(begins.starts_with("user: "));
        let mut run = Vec::new();
        for (i, target) in sequence.targets.iter().enumerate() {
            if *target >= 0 {
                run.push(*target as u32);
            }
            if !run.is_empty() && (*target < 0 || i == 63) {
                said.push(tokenizer.decode(&std::mem::take(&mut run)));
            }
        }
    }
    assert_eq!(firsts as u64, order.sequences_per_epoch());
    let train: u64 = prepared.manifest.sources[0].train.documents;
    assert_eq!(said.len() as u64, train);
    said.sort();
    said.dedup();
    assert_eq!(said.len() as u64, train);
    for text in &said {
        assert!(
            text.starts_with("answer ") && text.ends_with(".\n"),
            "{text:?}"
        );
    }
    // Another epoch has the same windows in another order, and any can be asked for directly.
    let again = data.train(64, 3).unwrap();
    assert_eq!(again.sequence(1000), order.sequence(1000));
    // Validation counts the same way.
    let windows = data.valid_windows(64, 0).unwrap();
    let counted = windows
        .batches(4)
        .flat_map(|batch| batch.targets)
        .filter(|target| *target >= 0)
        .count();
    assert_eq!(windows.total_tokens(), counted as u64);
    let bytes: usize = windows
        .batches(1)
        .flat_map(|batch| batch.targets)
        .filter(|target| *target >= 0)
        .map(|target| tokenizer.token_bytes(target as u32))
        .sum();
    assert_eq!(windows.total_bytes(), bytes as u64);
}

#[test]
fn long_conversations_are_cut_and_questions_without_answers_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), 200);
    let prepared = prepare(&config, &options(dir.path())).unwrap();
    let data = Dataset::open(&prepared.dir).unwrap();
    for seq_len in [4, 9, 16] {
        let order = data.train(seq_len, 3).unwrap();
        let mut counted = 0;
        for index in 0..order.sequences_per_epoch() {
            let here = order
                .sequence(index)
                .targets
                .iter()
                .filter(|t| **t >= 0)
                .count();
            assert!(here > 0);
            counted += here;
        }
        let whole = data.train(512, 3).unwrap();
        let all: usize = (0..whole.sequences_per_epoch())
            .map(|i| {
                whole
                    .sequence(i)
                    .targets
                    .iter()
                    .filter(|t| **t >= 0)
                    .count()
            })
            .sum();
        assert_eq!(counted, all, "{seq_len}");
    }
}

#[test]
fn mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), 50);
    let error = |config: &DataConfig| {
        prepare(config, &options(dir.path()))
            .unwrap_err()
            .to_string()
    };
    let template = config.tokenizer.chat_template.take();
    let text = error(&config);
    assert!(
        text.contains("data.sources[0].content") && text.contains("chat_template"),
        "{text}"
    );
    config.tokenizer.chat_template = template.clone();
    let path = template.unwrap();
    std::fs::write(&path, "{% for m in messages %}").unwrap();
    // The template's own file is named, not the tokenizer's.
    let text = error(&config);
    let named = format!(
        "data.tokenizer.chat_template: chat template of {}: ",
        path.display()
    );
    assert!(text.starts_with(&named), "{text}");
    let mut gone = config.clone();
    gone.tokenizer.chat_template = Some(dir.path().join("none.jinja"));
    // Nothing is looked at before.
    gone.sources[0].paths = Some(vec!["nowhere.jsonl".into()]);
    let missing = prepare(&gone, &options(dir.path())).unwrap_err();
    assert!(missing.is_usage(), "{missing}");
    assert!(
        missing
            .to_string()
            .starts_with("data.tokenizer.chat_template: cannot read ")
            && missing.to_string().contains("none.jinja"),
        "{missing}"
    );
    std::fs::write(&path, "{{ raise_exception('no') }}").unwrap();
    let text = error(&config);
    assert!(
        text.contains("c.jsonl: conversation 1") && text.contains("no"),
        "{text}"
    );
    let prose = dir.path().join("p.txt");
    std::fs::write(&prose, "text").unwrap();
    std::fs::write(&path, TEMPLATE).unwrap();
    config.sources[0].paths = Some(vec![prose]);
    assert!(error(&config).contains("a .txt file holds no conversations"));
}

/// `scripts/golden_parquet.py` writes both files.
#[test]
fn parquet_gives_what_json_lines_give() {
    let dir = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut config = config(dir.path(), 50);
    // The tokenizer is trained on the rows of the test above, whatever is read with it.
    let first = prepare(&config, &options(dir.path())).unwrap();
    config.tokenizer.kind = slender_config::TokenizerKind::File;
    config.tokenizer.path = Some(first.dir.join("tokenizer.json"));
    let mut sequences = |name: &str| {
        config.sources[0].paths = Some(vec![data.join(name)]);
        let prepared = prepare(&config, &options(dir.path())).unwrap();
        let data = Dataset::open(&prepared.dir).unwrap();
        let order = data.train(64, 3).unwrap();
        let count = order.sequences_per_epoch();
        (0..count)
            .map(|index| order.sequence(index))
            .collect::<Vec<_>>()
    };
    let (lines, parquet) = (
        sequences("conversations.jsonl"),
        sequences("conversations.parquet"),
    );
    assert!(lines.len() > 20, "{}", lines.len());
    assert_eq!(lines, parquet);

    config.sources[0].paths = Some(vec![data.join("conversations.parquet")]);
    config.sources[0].text_column = Some("turns".into());
    let error = prepare(&config, &options(dir.path()))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("turns") && error.contains("id, messages, score, source"),
        "{error}"
    );
    config.sources[0].text_column = Some("score".into());
    let error = prepare(&config, &options(dir.path()))
        .unwrap_err()
        .to_string();
    assert!(error.contains("conversations.parquet: row 1"), "{error}");
}

#[test]
fn a_row_that_is_no_object_is_an_error() {
    for row in [
        "[1]",
        "\"x\"",
        "3",
        "null",
        r#"[{"role": "user", "content": "a"}]"#,
    ] {
        let mut read = slender_data::read_conversations(row.as_bytes(), Path::new("c.jsonl"));
        let error = read.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("c.jsonl:1"), "{row}: {error}");
    }
}
