//! From `[[data.sources]]` to files, with everything that identifies their content.
//!
//! The identity of a source is the content of its files, not where they lie: local files count by BLAKE3
//! and size, hub files by repository, commit and name. Content hashes of local files are remembered by
//! (path, size, modification time) in `file-hashes.json` of the cache folder, so that a hundred gigabytes
//! are hashed once and not at every start.

use super::discover::{classify, discover};
use super::{Compression, Format, Input, Origin, Reading};
use crate::builtin;
use crate::fsio;
use crate::hub::{Hub, HubRepo, RepoKind};
use crate::{Content, DataConfig, DataError, SourceConfig, SourceKind, SourceRole};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A text source, resolved.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Name for messages and the manifest, such as `hub HuggingFaceFW/fineweb-edu`.
    pub name: String,
    pub role: SourceRole,
    pub weight: Option<f64>,
    pub inputs: Vec<Input>,
    pub content: Content,
    pub text_column: String,
    pub separator: Option<String>,
    /// What the documents depend on, hashed into the folder name.
    pub identity: Value,
}

impl Source {
    /// How its files are read.
    pub fn reading(&self) -> Reading<'_> {
        Reading {
            content: self.content,
            column: &self.text_column,
            separator: self.separator.as_deref(),
        }
    }
}

/// Resolves all sources. Hub repositories are asked for their commit and file list; nothing is downloaded.
pub(crate) fn plan(
    config: &DataConfig,
    hub: &Hub,
    hashes: &mut HashCache,
) -> Result<Vec<Source>, DataError> {
    if config.sources.is_empty() {
        return Err(DataError::config(
            "data.sources",
            "there is no source\n  hint: add [[data.sources]]",
        ));
    }
    check_weights(&config.sources)?;
    let resolve = |(i, source): (usize, &SourceConfig)| {
        let key = |name: &str| format!("data.sources[{i}].{name}");
        match source.kind {
            SourceKind::Builtin => builtin_source(source, &key),
            SourceKind::Files => files_source(source, &key, hashes),
            SourceKind::Hub => hub_source(source, &key, hub),
        }
    };
    config.sources.iter().enumerate().map(resolve).collect()
}

/// Weights are relative to each other, so either every training source has one or none does.
fn check_weights(sources: &[SourceConfig]) -> Result<(), DataError> {
    let training: Vec<_> = sources
        .iter()
        .enumerate()
        .filter(|(_, s)| s.role != SourceRole::Valid)
        .collect();
    for (i, source) in &training {
        if source.weight.is_some_and(|w| !w.is_finite() || w <= 0.0) {
            return Err(DataError::config(
                format!("data.sources[{i}].weight"),
                "a weight is a positive number\n  hint: remove a source that is not wanted",
            ));
        }
    }
    let weighted = training.iter().filter(|(_, s)| s.weight.is_some()).count();
    if weighted != 0 && weighted != training.len() {
        let (i, _) = training
            .iter()
            .find(|(_, s)| s.weight.is_none())
            .expect("some source has no weight");
        return Err(DataError::config(
            format!("data.sources[{i}].weight"),
            "other sources have a weight and this one has not\n  hint: give every training source a weight, or none",
        ));
    }
    Ok(())
}

fn wanted<'a, T>(value: &'a Option<T>, key: &str, kind: &str) -> Result<&'a T, DataError> {
    value
        .as_ref()
        .ok_or_else(|| DataError::config(key, format!("needed by kind = {kind:?}")))
}

/// What every identity has beside its files.
fn identity(source: &SourceConfig, files: Value) -> Value {
    let role = match source.role {
        SourceRole::Split => "split",
        SourceRole::Train => "train",
        SourceRole::Valid => "valid",
    };
    let mut identity = json!({ "files": files, "text_column": source.text_column(),
        "document_separator": source.document_separator, "role": role });
    // Absent for text, so that text keeps the folder names it had.
    if source.content == Content::Conversations {
        identity["content"] = json!("conversations");
    }
    identity
}

fn builtin_source(
    source: &SourceConfig,
    key: &dyn Fn(&str) -> String,
) -> Result<Source, DataError> {
    let text = builtin::find(wanted(&source.name, &key("name"), "builtin")?)?;
    let input = Input {
        name: text.name.into(),
        origin: Origin::Builtin(text.compressed),
        format: Format::Text,
        compression: Compression::Zstd,
        size: text.compressed.len() as u64,
        hash: Some(blake3::hash(text.compressed).to_hex().to_string()),
    };
    Ok(Source {
        name: format!("builtin {}", text.name),
        role: source.role,
        weight: source.weight,
        identity: identity(source, json!([{ "blake3": input.hash, "format": "Text" }])),
        inputs: vec![input],
        content: source.content,
        text_column: source.text_column().to_owned(),
        separator: Some(builtin::SEPARATOR.into()),
    })
}

fn files_source(
    source: &SourceConfig,
    key: &dyn Fn(&str) -> String,
    hashes: &mut HashCache,
) -> Result<Source, DataError> {
    let paths = wanted(&source.paths, &key("paths"), "files")?;
    let Some(first) = paths.first() else {
        return Err(DataError::config(key("paths"), "there is no path"));
    };
    let (mut inputs, mut files) = (Vec::new(), Vec::new());
    for path in paths {
        for found in discover(path)? {
            let (hash, size) = hashes.hash(&found.path)?;
            files.push(
                json!({ "blake3": hash, "size": size, "format": format!("{:?}", found.format) }),
            );
            inputs.push(Input {
                name: found.path.display().to_string(),
                origin: Origin::Path(found.path),
                format: found.format,
                compression: found.compression,
                size,
                hash: Some(hash),
            });
        }
    }
    let more = if paths.len() > 1 {
        format!(" and {} more", paths.len() - 1)
    } else {
        String::new()
    };
    Ok(Source {
        name: format!("files {}{more}", first.display()),
        role: source.role,
        weight: source.weight,
        identity: identity(source, Value::Array(files)),
        inputs,
        content: source.content,
        text_column: source.text_column().to_owned(),
        separator: source.document_separator.clone(),
    })
}

fn hub_source(
    source: &SourceConfig,
    key: &dyn Fn(&str) -> String,
    hub: &Hub,
) -> Result<Source, DataError> {
    let id = wanted(&source.repo, &key("repo"), "hub")?;
    let repo = HubRepo::new(RepoKind::Dataset, id, source.revision.as_deref());
    let snapshot = hub.resolve(&repo)?;
    let names = match &source.files {
        Some(patterns) => snapshot.glob(&repo, patterns)?,
        None => split_files(
            snapshot.file_names(),
            source.split.as_deref().unwrap_or("train"),
        ),
    };
    let readable: Vec<_> = names
        .iter()
        .filter_map(|name| classify(name).map(|kind| (name, kind)))
        .collect();
    if readable.is_empty() {
        let some: Vec<_> = snapshot.file_names().take(8).collect();
        let what = match &source.files {
            Some(patterns) => format!("files matching {}", patterns.join(", ")),
            None => format!(
                "files of split {:?}",
                source.split.as_deref().unwrap_or("train")
            ),
        };
        return Err(DataError::config(
            key("files"),
            format!(
                "{id} has no .txt, .jsonl or .parquet {what}; it has {} files, such as {}\n\
                 hint: set `files` to a pattern, or `revision = \"refs/convert/parquet\"` for the hub's own conversion",
                snapshot.files.len(),
                some.join(", ")
            ),
        ));
    }
    let pinned = repo.at(&snapshot.commit);
    let inputs: Vec<Input> = readable
        .iter()
        .map(|(name, (format, compression))| Input {
            name: format!("{id}/{name}"),
            origin: Origin::Hub(pinned.clone(), name.to_string()),
            format: *format,
            compression: *compression,
            size: snapshot.size(name).unwrap_or(0),
            hash: None,
        })
        .collect();
    let files: Vec<&String> = readable.iter().map(|(name, _)| *name).collect();
    let identity = identity(
        source,
        json!({ "repo": id, "commit": snapshot.commit, "names": files }),
    );
    Ok(Source {
        name: format!("hub {id}"),
        role: source.role,
        weight: source.weight,
        inputs,
        content: source.content,
        text_column: source.text_column().to_owned(),
        separator: source.document_separator.clone(),
        identity,
    })
}

/// Files whose name carries the split as a word (`train-00000-of-00002.parquet`, `data/train/x.jsonl`), as
/// Python's `datasets` finds them. Without any, a `train` split is every file that can be read.
fn split_files<'a>(names: impl Iterator<Item = &'a str>, split: &str) -> Vec<String> {
    let mut readable: Vec<String> = names
        .filter(|name| classify(name).is_some())
        .map(String::from)
        .collect();
    readable.sort();
    let aliases: &[&str] = match split {
        "train" | "training" => &["train", "training"],
        "validation" | "valid" | "val" | "dev" => &["validation", "valid", "val", "dev"],
        "test" | "testing" | "eval" => &["test", "testing", "eval"],
        other => &[other],
    };
    let has_split = |name: &String| {
        aliases.iter().any(|alias| {
            name.match_indices(alias).any(|(at, _)| {
                let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
                !word(name[..at].chars().next_back())
                    && !word(name[at + alias.len()..].chars().next())
            })
        })
    };
    let matching: Vec<String> = readable
        .iter()
        .filter(|name| has_split(name))
        .cloned()
        .collect();
    if matching.is_empty() && split == "train" {
        readable
    } else {
        matching
    }
}

/// Content hashes of local files by path, size and modification time.
pub(crate) struct HashCache {
    path: PathBuf,
    known: BTreeMap<String, (u64, u128, String)>,
    changed: bool,
}

impl HashCache {
    /// Loads the cache of `folder`; a missing or unreadable one is an empty one.
    pub fn load(folder: &Path) -> Self {
        let path = folder.join("file-hashes.json");
        let known = std::fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self {
            path,
            known,
            changed: false,
        }
    }

    /// BLAKE3 in hex and size of a file.
    fn hash(&mut self, path: &Path) -> Result<(String, u64), DataError> {
        let meta = std::fs::metadata(path).map_err(DataError::io("read", path))?;
        let modified = meta
            .modified()
            .ok()
            .and_then(|t| t.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |d| d.as_nanos());
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let key = absolute.to_string_lossy().into_owned();
        if let Some((size, time, hash)) = self.known.get(&key)
            && (*size, *time) == (meta.len(), modified)
        {
            return Ok((hash.clone(), *size));
        }
        let hash = fsio::hash_file(path)?;
        self.known.insert(key, (meta.len(), modified, hash.clone()));
        self.changed = true;
        Ok((hash, meta.len()))
    }

    /// Writes the cache back. Two processes may overwrite each other: that costs a hash, not correctness.
    pub fn save(&self) -> Result<(), DataError> {
        if self.changed {
            fsio::write_atomic(&self.path, &fsio::to_json(&self.known))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_words_of_the_name() {
        let names = [
            "data/train-00000-of-00002.parquet",
            "data/test-0.parquet",
            "README.md",
            "strain.txt",
            "dev.jsonl",
        ];
        assert_eq!(
            split_files(names.into_iter(), "train"),
            ["data/train-00000-of-00002.parquet"]
        );
        assert_eq!(split_files(names.into_iter(), "validation"), ["dev.jsonl"]);
        assert_eq!(
            split_files(["b.txt", "a.txt", "x.py"].into_iter(), "train"),
            ["a.txt", "b.txt"]
        );
        assert!(split_files(["a.txt"].into_iter(), "test").is_empty());
    }

    #[test]
    fn hashes_are_remembered_until_the_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.txt");
        std::fs::write(&file, "one").unwrap();
        let mut cache = HashCache::load(dir.path());
        let first = cache.hash(&file).unwrap();
        cache.save().unwrap();
        let mut again = HashCache::load(dir.path());
        assert_eq!(again.hash(&file).unwrap(), first);
        assert!(!again.changed);
        std::fs::write(&file, "three").unwrap();
        assert_ne!(again.hash(&file).unwrap().0, first.0);
    }
}
