//! Batches: packing loses nothing, any step can be asked for, mixtures keep their shares.

mod common;

use common::{data_config, documents, files_source, options, prepared, write_text};
use slender_config::SourceRole;
use slender_data::{DataError, Dataset, prepare};
use std::collections::BTreeMap;
use std::path::Path;

/// Tokens of one side of the first source, straight from the shard files.
fn stream(dir: &Path, train: bool) -> Vec<i32> {
    let data = Dataset::open(dir).unwrap();
    let source = &data.manifest().sources[0];
    let side = if train { &source.train } else { &source.valid };
    let mut tokens = Vec::new();
    for shard in &side.shards {
        let bytes = std::fs::read(dir.join(&shard.file)).unwrap();
        let body = &bytes[64..64 + 2 * shard.tokens as usize];
        tokens.extend(
            body.chunks(2)
                .map(|pair| i32::from(u16::from_le_bytes([pair[0], pair[1]]))),
        );
    }
    tokens
}

#[test]
fn packing_loses_no_token() {
    let dir = tempfile::tempdir().unwrap();
    let prepared = prepared(dir.path(), 120);
    let data = Dataset::open(&prepared.dir).unwrap();
    let tokens = stream(&prepared.dir, true);
    for seq_len in [1, 7, 64, 1000, tokens.len() - 1] {
        let order = data.train(seq_len, 3).unwrap();
        let count = order.sequences_per_epoch();
        assert_eq!(count, (tokens.len() as u64 - 1).div_ceil(seq_len as u64));
        assert_eq!(order.tokens_per_epoch(), count * seq_len as u64);
        for epoch in 0..2 {
            // Every window starts at a multiple of the length, but for the last, which ends with the stream.
            let mut starts: Vec<usize> = (0..count)
                .map(|i| {
                    let sequence = order.sequence(epoch * count + i);
                    assert_eq!((sequence.epoch, sequence.source), (epoch, 0));
                    let last = tokens.len() - 1 - seq_len;
                    (0..=last)
                        .step_by(seq_len)
                        .chain([last])
                        .find(|at| {
                            tokens[*at..at + seq_len] == sequence.inputs
                                && tokens[at + 1..at + seq_len + 1] == sequence.targets
                        })
                        .expect("a window of the stream")
                })
                .collect();
            starts.sort_unstable();
            let mut covered = vec![false; tokens.len()];
            for start in &starts {
                covered[start + 1..start + seq_len + 1].fill(true);
            }
            // Windows with equal content are found at the first place; at 64 tokens there are none.
            if seq_len >= 64 {
                assert!(covered[1..].iter().all(|c| *c), "length {seq_len}");
            }
        }
    }
}

#[test]
fn any_step_can_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let prepared = prepared(dir.path(), 120);
    let order = Dataset::open(&prepared.dir).unwrap().train(32, 9).unwrap();
    let sequential: Vec<_> = (0..40).map(|step| order.batch(step, 4)).collect();
    // Another process, another order of asking.
    let again = Dataset::open(&prepared.dir).unwrap().train(32, 9).unwrap();
    for step in (0..40).rev() {
        assert_eq!(again.batch(step, 4), sequential[step as usize]);
    }
    // Sequences follow the run, not the batch size: micro-batches and other batch sizes see the same order.
    let rows: Vec<i32> = sequential.iter().flat_map(|b| b.inputs.clone()).collect();
    let other: Vec<i32> = (0..20)
        .flat_map(|step| again.batch(step, 8).inputs)
        .collect();
    assert_eq!(rows, other);
    assert_eq!(again.sequences(6, 2).inputs, sequential[1].inputs[2 * 32..]);
    let batch = &sequential[0];
    assert_eq!(
        (batch.batch_size, batch.seq_len, batch.inputs.len()),
        (4, 32, 128)
    );
    assert_eq!((batch.targets.len(), batch.segments.len()), (128, 128));
    // Another seed, another order; another epoch, another order.
    let reseeded = Dataset::open(&prepared.dir).unwrap().train(32, 10).unwrap();
    assert_ne!(reseeded.batch(0, 4), sequential[0]);
    let n = order.sequences_per_epoch();
    let epoch =
        |e: u64| -> Vec<Vec<i32>> { (0..n).map(|i| order.sequence(e * n + i).inputs).collect() };
    let (mut first, mut second) = (epoch(0), epoch(1));
    assert_ne!(first, second);
    first.sort();
    second.sort();
    assert_eq!(first, second);
    assert!((order.epochs(n) - 1.0).abs() < 1e-12);
    // A very late step costs no more.
    order.batch(1 << 40, 4);
}

#[test]
fn segments_follow_documents() {
    let dir = tempfile::tempdir().unwrap();
    let prepared = prepared(dir.path(), 120);
    let data = Dataset::open(&prepared.dir).unwrap();
    let start = data.manifest().document_start_id.unwrap() as i32;
    let order = data.train(300, 0).unwrap();
    let mut longest = 0;
    for i in 0..order.sequences_per_epoch() {
        let sequence = order.sequence(i);
        let mut expected = 0;
        for (at, (token, segment)) in sequence.inputs.iter().zip(&sequence.segments).enumerate() {
            expected += i32::from(at > 0 && *token == start);
            assert_eq!(*segment, expected, "sequence {i}, place {at}");
        }
        longest = longest.max(expected);
    }
    assert!(longest >= 2);
}

#[test]
fn validation_counts_each_token_once() {
    let dir = tempfile::tempdir().unwrap();
    let prepared = prepared(dir.path(), 200);
    let data = Dataset::open(&prepared.dir).unwrap();
    let tokens = stream(&prepared.dir, false);
    let source = &prepared.manifest.sources[0];
    for seq_len in [1, 13, 64, 100_000] {
        let windows = data.valid_windows(seq_len, 0).unwrap();
        let batches: Vec<_> = windows.batches(3).collect();
        assert_eq!(
            batches.iter().map(|b| b.batch_size).sum::<usize>(),
            windows.len()
        );
        let targets: Vec<i32> = batches.iter().flat_map(|b| b.targets.clone()).collect();
        let counted: Vec<i32> = targets.iter().copied().filter(|t| *t >= 0).collect();
        assert_eq!(counted, tokens[1..]);
        assert_eq!(windows.total_tokens(), tokens.len() as u64 - 1);
        // The one token that is no target is a document start, which has no bytes: the count is exact.
        assert_eq!(windows.total_bytes(), source.valid.bytes);
        let inputs: Vec<i32> = batches.iter().flat_map(|b| b.inputs.clone()).collect();
        let used = inputs
            .iter()
            .zip(&targets)
            .filter(|(_, t)| **t >= 0)
            .map(|(i, _)| *i);
        assert!(used.eq(tokens[..tokens.len() - 1].iter().copied()));
    }
    let all = data.valid_windows(16, 0).unwrap();
    let some = data.valid_windows(16, 100).unwrap();
    assert_eq!(some.len(), 6);
    assert!(some.total_tokens() <= 100 && some.total_tokens() > 80);
    let sum = (0..some.len()).map(|i| some.window(i).bytes).sum::<u64>();
    assert_eq!(some.total_bytes(), sum);
    // Spread over the set, not its start.
    assert_eq!(some.window(3).inputs, all.window(3 * all.len() / 6).inputs);
}

#[test]
fn llama_bytes_are_exact() {
    let Some(shared) = common::shared_data() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    write_text(&path, &documents(100, 4));
    let mut config = data_config(dir.path(), vec![files_source(&path)]);
    config.tokenizer.kind = slender_config::TokenizerKind::File;
    config.tokenizer.path = Some(shared.join("tokenizers/llama2/tokenizer.model"));
    config.tokenizer.vocab_size = Some(32_000);
    config.sources[0].role = SourceRole::Valid;
    let prepared = prepare(&config, &options(dir.path())).unwrap();
    let windows = Dataset::open(&prepared.dir)
        .unwrap()
        .valid_windows(50, 0)
        .unwrap();
    assert_eq!(
        windows.total_bytes(),
        prepared.manifest.sources[0].valid.bytes
    );
    assert_eq!(windows.window(0).inputs[0], 1);
}

#[test]
fn mixtures_keep_their_shares() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.txt"), dir.path().join("b.txt"));
    write_text(&a, &documents(200, 1));
    write_text(&b, &documents(50, 2));
    let mut config = data_config(dir.path(), vec![files_source(&a), files_source(&b)]);
    let count = |config: &slender_config::DataConfig, n: u64| -> BTreeMap<usize, u64> {
        let prepared = prepare(config, &options(dir.path())).unwrap();
        let order = Dataset::open(&prepared.dir).unwrap().train(32, 5).unwrap();
        let mut counts = BTreeMap::new();
        for i in 0..n {
            *counts.entry(order.sequence(i).source).or_default() += 1;
        }
        let epochs = order.source_epochs(n);
        assert!(epochs[0].0.ends_with("a.txt") && epochs.len() == 2);
        counts
    };
    config.sources[0].weight = Some(0.25);
    config.sources[1].weight = Some(0.75);
    assert_eq!(count(&config, 400), BTreeMap::from([(0, 100), (1, 300)]));
    assert_eq!(count(&config, 8), BTreeMap::from([(0, 2), (1, 6)]));
    // Without weights, an epoch of the mixture is an epoch of each source.
    config.sources[0].weight = None;
    config.sources[1].weight = None;
    let prepared = prepare(&config, &options(dir.path())).unwrap();
    let order = Dataset::open(&prepared.dir).unwrap().train(32, 5).unwrap();
    let n = order.sequences_per_epoch();
    assert!(
        order
            .source_epochs(n)
            .iter()
            .all(|(_, epochs)| *epochs == 1.0)
    );
}

#[test]
fn too_little_text_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let prepared = prepared(dir.path(), 60);
    let data = Dataset::open(&prepared.dir).unwrap();
    let have = prepared.manifest.train_tokens();
    let error = data.train(have as usize, 0).unwrap_err().to_string();
    assert!(
        error.contains(&have.to_string()) && error.contains("hint:"),
        "{error}"
    );
    data.train(have as usize - 1, 0).unwrap();

    let mut config = data_config(dir.path(), vec![files_source(&dir.path().join("a.txt"))]);
    config.valid_fraction = 0.0;
    let data = Dataset::open(&prepare(&config, &options(dir.path())).unwrap().dir).unwrap();
    let error = data.valid_windows(16, 0).unwrap_err();
    assert!(matches!(error, DataError::TooFewTokens { .. }));
    assert!(error.to_string().contains("valid_fraction"));
    config.sources[0].role = SourceRole::Valid;
    config.tokenizer.kind = slender_config::TokenizerKind::File;
    config.tokenizer.path = Some(prepared.dir.join("tokenizer.json"));
    let data = Dataset::open(&prepare(&config, &options(dir.path())).unwrap().dir).unwrap();
    assert!(
        data.train(16, 0)
            .unwrap_err()
            .to_string()
            .contains("no source")
    );
}
