//! What several test files need: configurations, text, and a server that answers like a hub.

#![expect(dead_code, reason = "each test file uses a part of it")]

pub mod server;

use slender_config::{
    DataConfig, SourceConfig, SourceKind, SourceRole, TokenizerConfig, TokenizerKind,
};
use slender_data::hub::HubConfig;
use slender_data::{PrepareOptions, Prepared, prepare};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Shared data of the project's developers; `None`, with a note, on machines without it.
pub fn shared_data() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: no shared data on this machine");
    None
}

/// A hub that cannot be reached, with its cache in `dir`.
pub fn hub_config(endpoint: &str, dir: &Path) -> HubConfig {
    HubConfig {
        endpoint: endpoint.into(),
        cache_dir: dir.join("hub"),
        token: None,
        offline: false,
        retries: 3,
        backoff: Duration::from_millis(1),
        timeout: Duration::from_secs(5),
        progress: false,
    }
}

/// Options for tests: quiet, small shards, no network.
pub fn options(dir: &Path) -> PrepareOptions {
    let mut options = PrepareOptions::new(hub_config("http://127.0.0.1:9", dir));
    options.progress = false;
    options.shard_tokens = 2000;
    options
}

pub fn files_source(path: &Path) -> SourceConfig {
    SourceConfig {
        kind: SourceKind::Files,
        name: None,
        paths: Some(vec![path.to_path_buf()]),
        repo: None,
        revision: None,
        files: None,
        split: None,
        content: Default::default(),
        text_column: None,
        document_separator: Some("---".into()),
        weight: None,
        role: SourceRole::Split,
    }
}

/// A configuration with a byte-level BPE of 300 tokens and its cache in `dir`.
pub fn data_config(dir: &Path, sources: Vec<SourceConfig>) -> DataConfig {
    DataConfig {
        sources,
        tokenizer: TokenizerConfig {
            kind: TokenizerKind::Bpe,
            vocab_size: Some(300),
            path: None,
            repo: None,
            revision: None,
            file: None,
            chat_template: None,
            train_bytes: None,
        },
        valid_fraction: 0.1,
        document_mask: false,
        max_bytes: 0,
        max_tokens: 0,
        order_seed: None,
        cache_dir: Some(dir.join("cache")),
    }
}

/// Documents of words, different for each seed.
pub fn documents(count: usize, seed: u64) -> Vec<String> {
    const WORDS: [&str; 16] = [
        "the", "river", "ran", "slowly", "past", "a", "house", "of", "grey", "stone", "and",
        "nobody", "came", "to", "look", "naïve",
    ];
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    (0..count)
        .map(|i| {
            let words: Vec<&str> = (0..20 + next(60))
                .map(|_| WORDS[next(16) as usize])
                .collect();
            format!("{seed}.{i} {}.", words.join(" "))
        })
        .collect()
}

/// Writes documents as a `.txt` with separator lines.
pub fn write_text(path: &Path, documents: &[String]) {
    let text: String = documents.iter().map(|d| format!("{d}\n---\n")).collect();
    std::fs::write(path, text).unwrap();
}

/// A prepared folder of `count` documents.
pub fn prepared(dir: &Path, count: usize) -> Prepared {
    let path = dir.join("a.txt");
    write_text(&path, &documents(count, 1));
    prepare(&data_config(dir, vec![files_source(&path)]), &options(dir)).unwrap()
}
