//! The shipped text, prepared as the smoke configurations do it.

mod common;

use common::{data_config, files_source, options};
use slender_config::{SourceConfig, SourceKind};
use slender_data::{Dataset, describe_builtin, prepare};
use std::path::Path;

#[test]
fn the_shipped_text_is_enough_for_a_4k_vocabulary() {
    let dir = tempfile::tempdir().unwrap();
    let text = &describe_builtin()[0];
    let source = SourceConfig {
        kind: SourceKind::Builtin,
        name: Some(text.name.into()),
        paths: None,
        document_separator: None,
        ..files_source(Path::new("unused"))
    };
    let mut config = data_config(dir.path(), vec![source]);
    config.tokenizer.vocab_size = Some(4096);
    config.valid_fraction = 0.01;
    let mut options = options(dir.path());
    options.shard_tokens = 1 << 25;
    let started = std::time::Instant::now();
    let prepared = prepare(&config, &options).unwrap();
    eprintln!("prepared in {:?}", started.elapsed());
    let source = &prepared.manifest.sources[0];
    assert_eq!(source.train.bytes + source.valid.bytes, text.bytes);
    assert_eq!(
        source.train.documents + source.valid.documents,
        text.documents
    );
    let per_token = source.train.bytes as f64 / source.train.tokens as f64;
    assert!(per_token > 3.0, "{per_token} bytes per token");
    let started = std::time::Instant::now();
    assert!(!prepare(&config, &options).unwrap().fresh);
    eprintln!(
        "found again in {:?}, {per_token:.2} bytes per token",
        started.elapsed()
    );
    let data = Dataset::open(&prepared.dir).unwrap();
    let valid = data.valid_windows(256, 0).unwrap();
    assert_eq!(valid.total_bytes(), source.valid.bytes);
    // A default split leaves a validation set worth the name.
    assert!(
        valid.total_tokens() > 10_000,
        "{} validation tokens",
        valid.total_tokens()
    );
    eprintln!(
        "{} train, {} validation tokens",
        source.train.tokens,
        valid.total_tokens()
    );
    let order = data.train(256, 1).unwrap();
    let started = std::time::Instant::now();
    let steps = 200;
    for step in 0..steps {
        assert_eq!(order.batch(step * 1_000_003, 16).inputs.len(), 16 * 256);
    }
    eprintln!("{:?} a batch of 16 x 256", started.elapsed() / steps as u32);
}
