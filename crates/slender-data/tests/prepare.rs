//! Preparing data: identity, resuming after a kill, damage, splits, limits.

mod common;

use common::server::Server;
use common::{data_config, documents, files_source, hub_config, options, prepared, write_text};
use slender_config::{SourceConfig, SourceKind, SourceRole, TokenizerKind};
use slender_data::{
    DataError, Dataset, MANIFEST_FILE, Manifest, PrepareOptions, Tokenizer, prepare, prepared_dir,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Content of every file of a folder but the lock.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                std::fs::read(entry.path()).unwrap(),
            )
        })
        .filter(|(name, _)| name != "prepare.lock")
        .collect()
}

/// Texts of one side of a prepared folder, by decoding its stream.
fn texts(dir: &Path, train: bool) -> Vec<String> {
    let data = Dataset::open(dir).unwrap();
    let mut tokens = Vec::new();
    if train {
        let order = data.train(16, 0).unwrap();
        let manifest = data.manifest();
        let total: u64 = manifest.sources.iter().map(|s| s.train.tokens).sum();
        assert!(total > 0 && order.tokens_per_epoch() >= total - 1);
    }
    for source in &data.manifest().sources {
        let side = if train { &source.train } else { &source.valid };
        for shard in &side.shards {
            let bytes = std::fs::read(dir.join(&shard.file)).unwrap();
            let body = &bytes[64..64 + 2 * shard.tokens as usize];
            tokens.extend(
                body.chunks(2)
                    .map(|pair| u32::from(u16::from_le_bytes([pair[0], pair[1]]))),
            );
        }
    }
    let start = data.manifest().document_start_id.unwrap();
    tokens
        .split(|t| *t == start)
        .skip(1)
        .map(|ids| data.tokenizer().decode(ids))
        .collect()
}

#[test]
fn documents_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let prepared = prepared(dir.path(), 300);
    assert!(prepared.fresh && prepared.dir.starts_with(dir.path().join("cache")));
    let (train, valid) = (texts(&prepared.dir, true), texts(&prepared.dir, false));
    assert!(valid.len() > 10 && valid.len() < 60, "{}", valid.len());
    let all: BTreeSet<String> = train.iter().chain(&valid).cloned().collect();
    assert_eq!(all, documents(300, 1).into_iter().collect());
    // Each side keeps the order of the source.
    let order = documents(300, 1);
    let kept: Vec<&String> = order.iter().filter(|d| train.contains(d)).collect();
    assert_eq!(kept, train.iter().collect::<Vec<_>>());
    let source = &prepared.manifest.sources[0];
    let bytes: usize = order.iter().map(String::len).sum();
    assert_eq!(source.train.bytes + source.valid.bytes, bytes as u64);
    assert_eq!(source.train.documents + source.valid.documents, 300);
    assert!(source.train.shards.len() > 2);
    Dataset::open(&prepared.dir).unwrap().verify().unwrap();
}

#[test]
fn the_second_time_is_a_no_op() {
    let dir = tempfile::tempdir().unwrap();
    let first = prepared(dir.path(), 100);
    let before = contents(&first.dir);
    let again = prepared(dir.path(), 100);
    assert!(!again.fresh);
    assert_eq!(
        (again.dir, again.manifest),
        (first.dir.clone(), first.manifest)
    );
    assert_eq!(contents(&first.dir), before);
}

#[test]
fn the_folder_follows_the_content() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    write_text(&path, &documents(20, 1));
    let config = data_config(dir.path(), vec![files_source(&path)]);
    let options = options(dir.path());
    let base = prepared_dir(&config, &options).unwrap();
    let changed = |change: &dyn Fn(&mut slender_config::DataConfig)| {
        let mut config = config.clone();
        change(&mut config);
        prepared_dir(&config, &options).unwrap()
    };
    for other in [
        changed(&|c| c.valid_fraction = 0.2),
        changed(&|c| c.max_bytes = 1000),
        changed(&|c| c.max_tokens = 1000),
        changed(&|c| c.tokenizer.vocab_size = Some(301)),
        changed(&|c| c.sources[0].document_separator = None),
        changed(&|c| c.sources[0].role = SourceRole::Train),
        changed(&|c| c.sources[0].weight = Some(1.0)),
    ] {
        assert_ne!(other, base);
    }
    // What does not touch tokens does not touch the folder, nor does where the file lies.
    assert_eq!(changed(&|c| c.document_mask = true), base);
    assert_eq!(changed(&|c| c.order_seed = Some(5)), base);
    let moved = dir.path().join("b.txt");
    std::fs::copy(&path, &moved).unwrap();
    assert_eq!(
        changed(&|c| c.sources[0].paths = Some(vec![moved.clone()])),
        base
    );
    write_text(&path, &documents(21, 1));
    assert_ne!(prepared_dir(&config, &options).unwrap(), base);
}

#[test]
fn a_killed_run_is_resumed_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let whole = prepared(dir.path(), 300);
    let expected = contents(&whole.dir);
    let parts = expected
        .keys()
        .filter(|name| name.starts_with("s00-p") && name.ends_with(".json"))
        .count();
    assert!(parts >= 4, "{parts} parts");

    let other = tempfile::tempdir().unwrap();
    let path = other.path().join("a.txt");
    write_text(&path, &documents(300, 1));
    let config = data_config(other.path(), vec![files_source(&path)]);
    let stopped = PrepareOptions {
        stop_after_parts: Some(1),
        ..options(other.path())
    };
    let folder = prepared_dir(&config, &stopped).unwrap();
    for round in 1..parts {
        let error = prepare(&config, &stopped).unwrap_err();
        assert!(matches!(error, DataError::Stopped { .. }), "{error}");
        assert!(matches!(
            Dataset::open(&folder),
            Err(DataError::NotPrepared { .. })
        ));
        let made = contents(&folder)
            .keys()
            .filter(|name| name.contains("-p") && name.ends_with(".json"))
            .count();
        assert_eq!(made, round);
        // What a kill in the middle of writing leaves.
        std::fs::write(folder.join("s00-p00009-train.bin.tmp-1"), b"half").unwrap();
    }
    let result = prepare(&config, &options(other.path())).unwrap();
    let mut got = contents(&result.dir);
    // Names of the input files differ; everything else is the same byte for byte.
    let (mut a, mut b) = (whole.manifest, result.manifest);
    (a.sources[0].name, a.sources[0].inputs) = (String::new(), Vec::new());
    (b.sources[0].name, b.sources[0].inputs) = (String::new(), Vec::new());
    assert_eq!(a, b);
    let mut expected = expected;
    got.remove(MANIFEST_FILE);
    expected.remove(MANIFEST_FILE);
    assert!(got == expected, "{:?}\n{:?}", got.keys(), expected.keys());
}

#[test]
fn finished_parts_are_kept_and_damaged_ones_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = prepared(dir.path(), 300);
    let expected = contents(&first.dir);
    let shard = first
        .dir
        .join(&first.manifest.sources[0].train.shards[2].file);
    let damage: [(&str, &dyn Fn()); 4] = [
        ("lost manifest", &|| {
            std::fs::remove_file(first.dir.join(MANIFEST_FILE)).unwrap()
        }),
        ("lost shard", &|| std::fs::remove_file(&shard).unwrap()),
        ("truncated shard", &|| {
            let bytes = std::fs::read(&shard).unwrap();
            std::fs::write(&shard, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("lost manifest and a flipped bit", &|| {
            let mut bytes = std::fs::read(&shard).unwrap();
            bytes[100] ^= 1;
            std::fs::write(&shard, bytes).unwrap();
            std::fs::remove_file(first.dir.join(MANIFEST_FILE)).unwrap();
        }),
    ];
    for (what, break_it) in damage {
        break_it();
        let again = prepared(dir.path(), 300);
        assert!(again.fresh, "{what}");
        assert!(contents(&first.dir) == expected, "{what}");
    }
}

#[test]
fn verify_finds_a_flipped_bit() {
    let dir = tempfile::tempdir().unwrap();
    let prepared = prepared(dir.path(), 100);
    let shard = prepared
        .dir
        .join(&prepared.manifest.sources[0].train.shards[0].file);
    let mut bytes = std::fs::read(&shard).unwrap();
    bytes[200] ^= 4;
    std::fs::write(&shard, bytes).unwrap();
    let data = Dataset::open(&prepared.dir).unwrap();
    let error = data.verify().unwrap_err().to_string();
    assert!(
        error.contains("damaged") && error.contains(shard.file_name().unwrap().to_str().unwrap()),
        "{error}"
    );
}

#[test]
fn opening_something_else_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        Dataset::open(dir.path()),
        Err(DataError::NotPrepared { .. })
    ));
    let prepared = prepared(dir.path(), 60);
    let manifest = prepared.dir.join(MANIFEST_FILE);
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("slender-data/1", "slender-data/9")).unwrap();
    let error = Dataset::open(&prepared.dir).unwrap_err().to_string();
    assert!(
        error.contains("slender-data/9") && error.contains("slender-data/1"),
        "{error}"
    );
    std::fs::write(&manifest, &text[..text.len() / 2]).unwrap();
    assert!(matches!(
        Dataset::open(&prepared.dir),
        Err(DataError::Corrupt { .. })
    ));
    std::fs::write(&manifest, text).unwrap();
    let other = Tokenizer::from_file(&prepared.dir.join("tokenizer.json")).unwrap();
    let json = std::fs::read_to_string(prepared.dir.join("tokenizer.json")).unwrap();
    std::fs::write(
        prepared.dir.join("tokenizer.json"),
        json.replace("<|endoftext|>", "<|x|>"),
    )
    .unwrap();
    assert!(
        Dataset::open(&prepared.dir)
            .unwrap_err()
            .to_string()
            .contains("tokenizer"),
        "{other:?}"
    );
}

#[test]
fn the_split_does_not_depend_on_other_documents() {
    let dir = tempfile::tempdir().unwrap();
    let side = |name: &str, documents: &[String]| -> BTreeSet<String> {
        let path = dir.path().join(name);
        write_text(&path, documents);
        let result = prepare(
            &data_config(dir.path(), vec![files_source(&path)]),
            &options(dir.path()),
        )
        .unwrap();
        texts(&result.dir, false).into_iter().collect()
    };
    let base = documents(200, 1);
    let valid = side("a.txt", &base);
    let mut more: Vec<String> = documents(100, 2)
        .into_iter()
        .chain(base.iter().rev().cloned())
        .collect();
    let with_more = side("b.txt", &more);
    assert!(valid.is_subset(&with_more));
    more.retain(|d| !with_more.contains(d) || valid.contains(d));
    assert_eq!(side("c.txt", &more), valid);
}

#[test]
fn roles_and_limits() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.txt"), dir.path().join("b.txt"));
    write_text(&a, &documents(200, 1));
    write_text(&b, &documents(50, 2));
    let mut config = data_config(dir.path(), vec![files_source(&a), files_source(&b)]);
    config.sources[0].role = SourceRole::Train;
    config.sources[1].role = SourceRole::Valid;
    let options = options(dir.path());
    let manifest = prepare(&config, &options).unwrap().manifest;
    let counts: Vec<_> = manifest
        .sources
        .iter()
        .map(|s| (s.train.documents, s.valid.documents))
        .collect();
    assert_eq!(counts, [(200, 0), (0, 50)]);
    let all = manifest.train_tokens();
    assert_eq!(manifest.sources[0].train_tokens_used, all);

    config.max_bytes = 5000;
    let limited = prepare(&config, &options).unwrap().manifest;
    for (source, seed) in limited.sources.iter().zip([1, 2]) {
        let bytes = source.train.bytes + source.valid.bytes;
        let next = documents(200, seed)[(source.train.documents + source.valid.documents) as usize]
            .len() as u64;
        assert!(bytes <= 5000 && bytes + next > 5000);
    }
    config.max_bytes = 10;
    let error = prepare(&config, &options).unwrap_err().to_string();
    assert!(
        error.contains("max_bytes = 10") || error.contains("vocabulary"),
        "{error}"
    );

    config.max_bytes = 0;
    config.max_tokens = all / 3;
    let limited = prepare(&config, &options).unwrap().manifest;
    assert_eq!(limited.sources[0].train_tokens_used, all / 3);
    assert!(limited.train_tokens() < all / 3 + 200);
}

#[test]
fn max_tokens_is_shared() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.txt"), dir.path().join("b.txt"));
    write_text(&a, &documents(200, 1));
    write_text(&b, &documents(100, 2));
    let mut config = data_config(dir.path(), vec![files_source(&a), files_source(&b)]);
    config.max_tokens = 3000;
    let used = |config: &slender_config::DataConfig| -> Vec<u64> {
        let manifest = prepare(config, &options(dir.path())).unwrap().manifest;
        manifest
            .sources
            .iter()
            .map(|s| s.train_tokens_used)
            .collect()
    };
    let even = used(&config);
    assert!(
        even.iter().sum::<u64>() <= 3000 && even.iter().sum::<u64>() >= 2998,
        "{even:?}"
    );
    config.sources[0].weight = Some(3.0);
    config.sources[1].weight = Some(1.0);
    assert_eq!(used(&config), [2250, 750]);
    config.sources[1].weight = None;
    let error = prepare(&config, &options(dir.path()))
        .unwrap_err()
        .to_string();
    assert!(error.contains("data.sources[1].weight"), "{error}");
}

#[test]
fn configuration_errors_name_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    write_text(&path, &documents(20, 1));
    let message = |change: &dyn Fn(&mut slender_config::DataConfig)| {
        let mut config = data_config(dir.path(), vec![files_source(&path)]);
        change(&mut config);
        prepare(&config, &options(dir.path()))
            .unwrap_err()
            .to_string()
    };
    assert!(message(&|c| c.sources.clear()).contains("data.sources"));
    assert!(message(&|c| c.sources[0].paths = None).contains("data.sources[0].paths"));
    assert!(message(&|c| c.sources[0].paths = Some(vec!["nope".into()])).contains("nope"));
    assert!(message(&|c| c.sources[0].weight = Some(-1.0)).contains("data.sources[0].weight"));
    assert!(message(&|c| c.valid_fraction = 1.5).contains("data.valid_fraction"));
    assert!(message(&|c| c.tokenizer.vocab_size = None).contains("data.tokenizer.vocab_size"));
    assert!(message(&|c| c.tokenizer.kind = TokenizerKind::File).contains("data.tokenizer.path"));
    assert!(message(&|c| c.tokenizer.vocab_size = Some(100_000)).contains("hint:"));
    let builtin = |c: &mut slender_config::DataConfig| {
        c.sources[0].kind = SourceKind::Builtin;
        c.sources[0].name = Some("nope".into());
    };
    assert!(message(&builtin).contains("books-mini"));
}

#[test]
fn a_tokenizer_file_is_checked_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let first = prepared(dir.path(), 100);
    let path = dir.path().join("my-tokenizer.json");
    std::fs::copy(first.dir.join("tokenizer.json"), &path).unwrap();
    let mut config = data_config(dir.path(), vec![files_source(&dir.path().join("a.txt"))]);
    config.tokenizer.kind = TokenizerKind::File;
    config.tokenizer.path = Some(path);
    config.tokenizer.vocab_size = Some(301);
    let error = prepare(&config, &options(dir.path()))
        .unwrap_err()
        .to_string();
    assert!(error.contains("300") && error.contains("301"), "{error}");
    config.tokenizer.vocab_size = None;
    let second = prepare(&config, &options(dir.path())).unwrap();
    assert_ne!(second.dir, first.dir);
    assert_eq!(
        second.manifest.tokenizer_hash,
        first.manifest.tokenizer_hash
    );
    assert_eq!(texts(&second.dir, true), texts(&first.dir, true));
}

#[test]
fn two_processes_at_once_agree() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    write_text(&path, &documents(300, 1));
    let config = data_config(dir.path(), vec![files_source(&path)]);
    let results: Vec<Manifest> = std::thread::scope(|scope| {
        let run = || prepare(&config, &options(dir.path())).unwrap().manifest;
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(run)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
    let folder = prepared_dir(&config, &options(dir.path())).unwrap();
    assert!(!contents(&folder).keys().any(|name| name.contains(".tmp-")));
    Dataset::open(&folder).unwrap().verify().unwrap();
}

fn hub_source(patterns: Option<&[&str]>) -> SourceConfig {
    SourceConfig {
        kind: SourceKind::Hub,
        repo: Some("org/name".into()),
        files: patterns.map(|p| p.iter().map(|s| s.to_string()).collect()),
        paths: None,
        ..files_source(Path::new("unused"))
    }
}

fn jsonl(documents: &[String]) -> Vec<u8> {
    documents
        .iter()
        .flat_map(|d| (serde_json::json!({ "text": d }).to_string() + "\n").into_bytes())
        .collect()
}

#[test]
fn hub_datasets_are_fetched_as_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (jsonl(&documents(100, 1)), jsonl(&documents(100, 2)));
    let server = Server::start(&[
        ("data/train-0.jsonl", &first),
        ("data/train-1.jsonl", &second),
        ("data/test-0.jsonl", b"broken"),
        ("README.md", b"about"),
    ]);
    let mut options = options(dir.path());
    options.hub = hub_config(&server.url, dir.path());
    let mut config = data_config(dir.path(), vec![hub_source(None)]);
    config.max_bytes = 10_000;
    let result = prepare(&config, &options).unwrap();
    let fetched = |server: &Server| -> BTreeSet<String> {
        server
            .take_seen()
            .into_iter()
            .filter(|r| r.method == "GET" && !r.path.starts_with("/api/"))
            .map(|r| r.path)
            .collect()
    };
    assert_eq!(
        fetched(&server).len(),
        1,
        "the second file is beyond max_bytes"
    );
    assert_eq!(result.manifest.sources[0].name, "hub org/name");

    config.max_bytes = 0;
    let result = prepare(&config, &options).unwrap();
    assert_eq!(fetched(&server).len(), 1);
    assert_eq!(result.manifest.sources[0].inputs.len(), 2);
    assert!(!prepare(&config, &options).unwrap().fresh);
    assert!(fetched(&server).is_empty());
    // The same again without a network.
    options.hub.offline = true;
    assert!(!prepare(&config, &options).unwrap().fresh);

    options.hub.offline = false;
    config.sources = vec![hub_source(Some(&["data/*-1.jsonl"]))];
    assert_eq!(
        prepare(&config, &options).unwrap().manifest.sources[0]
            .inputs
            .len(),
        1
    );
    config.sources = vec![hub_source(Some(&["README.md"]))];
    let error = prepare(&config, &options).unwrap_err().to_string();
    assert!(
        error.contains("data.sources[0].files") && error.contains("data/train-0.jsonl"),
        "{error}"
    );
    config.sources = vec![hub_source(Some(&["nothing/*"]))];
    assert!(
        prepare(&config, &options)
            .unwrap_err()
            .to_string()
            .contains("nothing/*")
    );
}

#[test]
fn hub_tokenizers() {
    let dir = tempfile::tempdir().unwrap();
    let first = prepared(dir.path(), 100);
    let json = std::fs::read(first.dir.join("tokenizer.json")).unwrap();
    let server = Server::start(&[
        ("tokenizer.json", &json),
        (
            "tokenizer_config.json",
            br#"{"bos_token": null, "eos_token": "<|endoftext|>"}"#,
        ),
    ]);
    let mut options = options(dir.path());
    options.hub = hub_config(&server.url, dir.path());
    let mut config = data_config(dir.path(), vec![files_source(&dir.path().join("a.txt"))]);
    config.tokenizer.kind = TokenizerKind::Hub;
    config.tokenizer.repo = Some("org/name".into());
    let manifest = prepare(&config, &options).unwrap().manifest;
    assert_eq!(manifest.tokenizer_hash, first.manifest.tokenizer_hash);
    assert_eq!(
        (manifest.bos_id, manifest.document_start_id),
        (None, Some(0))
    );
    config.tokenizer.file = Some("other.json".into());
    assert!(
        prepare(&config, &options)
            .unwrap_err()
            .to_string()
            .contains("other.json")
    );
}
