//! A task's split from the hub: which files it is, and their rows.
//!
//! The repositories are those the harness reads. Their layouts differ and change (`ARC-Easy/test-0…`,
//! `data/validation-0…`, or a script and no data at all), so files are chosen by configuration and split
//! instead of by name, and where the main branch has none, from the branch into which the hub itself
//! converts every public data set (`refs/convert/parquet`).

use std::path::Path;

use serde_json::Value;
use slender_data::hub::{Hub, HubRepo, RepoKind, Snapshot};

use crate::data::{parse_lines, read_hashed};
use crate::error::EvalError;
use crate::parquet_rows;
use crate::tasks::Task;

/// The branch of the hub's own Parquet copies.
const CONVERTED: &str = "refs/convert/parquet";

/// Rows with their numbers from 1, where they came from, and the BLAKE3 of the file's bytes in hex.
pub(crate) type Fetched = (Vec<(usize, Value)>, String, String);

/// Downloads a task's split, or takes it from the local cache.
///
/// # Errors
/// The hub cannot be reached or refuses, has no file of the split, or a file cannot be read.
pub(crate) fn fetch(task: &'static Task, split: &str) -> Result<Fetched, EvalError> {
    fetch_from(&Hub::from_env(), task, split)
}

fn fetch_from(hub: &Hub, task: &'static Task, split: &str) -> Result<Fetched, EvalError> {
    let failure = |message: String| EvalError::Hub {
        task: task.name,
        repo: task.hub.repo,
        message,
        folder: task.folder,
        file: task.file_of(split),
    };
    let (repo, snapshot, names) = split_files(hub, task, split).map_err(failure)?;
    let commit = repo.at(&snapshot.commit);
    let mut values = Vec::new();
    let mut hashes = Vec::new();
    for name in &names {
        let path = hub
            .download(&commit, name)
            .map_err(|error| failure(error.to_string()))?;
        let (rows, hash) = read_file(&path)?;
        values.extend(rows);
        hashes.push(hash);
    }
    let hash = match hashes.as_slice() {
        [only] => *only,
        several => blake3::hash(
            &several
                .iter()
                .flat_map(|h| *h.as_bytes())
                .collect::<Vec<_>>(),
        ),
    };
    let rows = values.into_iter().enumerate().map(|(i, row)| (i + 1, row));
    let origin = format!("{}@{}/{}", task.hub.repo, snapshot.commit, names.join("+"));
    Ok((rows.collect(), origin, hash.to_hex().to_string()))
}

/// Rows and hash of one file, Parquet or JSON lines by its name.
fn read_file(path: &Path) -> Result<(Vec<Value>, blake3::Hash), EvalError> {
    if path
        .extension()
        .is_some_and(|extension| extension == "parquet")
    {
        let bytes = std::fs::read(path).map_err(|source| EvalError::Io {
            verb: "read",
            path: path.to_owned(),
            source,
        })?;
        return Ok((parquet_rows::read(path)?, blake3::hash(&bytes)));
    }
    let (text, hash) = read_hashed(path)?;
    let lines = parse_lines(&text, &path.display().to_string())?;
    Ok((lines.into_iter().map(|(_, value)| value).collect(), hash))
}

/// The revision that has files of the task's split, and their names.
fn split_files(
    hub: &Hub,
    task: &Task,
    split: &str,
) -> Result<(HubRepo, Snapshot, Vec<String>), String> {
    let main = HubRepo::new(RepoKind::Dataset, task.hub.repo, None);
    let converted = main.at(CONVERTED);
    let default = task.hub.config.unwrap_or("default");
    for (repo, config) in [(main, task.hub.config), (converted, Some(default))] {
        let snapshot = hub.resolve(&repo).map_err(|error| error.to_string())?;
        let names = choose_files(snapshot.file_names(), config, split);
        if !names.is_empty() {
            return Ok((repo, snapshot, names));
        }
    }
    let config = task
        .hub
        .config
        .map_or_else(String::new, |c| format!(" of {c}"));
    Err(format!(
        "it has no Parquet or JSON-lines file of the {split} split{config}"
    ))
}

/// The Parquet files of a split, or if there is none the JSON-lines files: in the configuration's folder,
/// named after the split (`test-00000-of-00001.parquet`, `test.jsonl`) or in a folder of that name.
fn choose_files<'a>(
    names: impl Iterator<Item = &'a str>,
    config: Option<&str>,
    split: &str,
) -> Vec<String> {
    let of_split = |name: &&str| {
        let mut folders: Vec<&str> = name.split('/').collect();
        let file = folders.pop().unwrap_or_default();
        let rest = file.strip_prefix(split);
        let named = rest.is_some_and(|rest| rest.starts_with(['-', '.', '_']));
        (named || folders.last() == Some(&split))
            && config.is_none_or(|config| folders.first() == Some(&config))
    };
    let all: Vec<&str> = names.filter(of_split).collect();
    [".parquet", ".jsonl"]
        .iter()
        .map(|ending| {
            let matching = all.iter().filter(|name| name.ends_with(ending));
            matching.map(|name| (*name).to_owned()).collect::<Vec<_>>()
        })
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use slender_data::hub::HubConfig;

    use super::*;
    use crate::{TaskData, tasks};

    /// A file of a data set at a branch, in the cache layout that Python's `huggingface_hub` writes.
    fn cached(
        cache: &Path,
        repo: &str,
        branch: &str,
        commit: char,
        file: &str,
    ) -> std::path::PathBuf {
        let folder = cache.join(format!("datasets--{}", repo.replace('/', "--")));
        let commit = commit.to_string().repeat(40);
        let reference = folder.join("refs").join(branch);
        let path = folder.join("snapshots").join(&commit).join(file);
        std::fs::create_dir_all(reference.parent().unwrap()).unwrap();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(reference, commit).unwrap();
        path
    }

    fn offline(cache: &Path) -> Hub {
        let mut config = HubConfig::from_vars(|_| None);
        config.offline = true;
        config.cache_dir = cache.to_owned();
        Hub::new(config)
    }

    #[test]
    fn a_split_is_read_from_the_cache_of_the_main_branch() {
        let cache = tempfile::tempdir().unwrap();
        let task = tasks::find("social_iqa").unwrap();
        let path = cached(
            cache.path(),
            task.hub.repo,
            "main",
            'a',
            "data/validation-0.jsonl",
        );
        std::fs::write(&path, task.fixture.unwrap()).unwrap();
        let (rows, origin, hash) = fetch_from(&offline(cache.path()), task, task.split).unwrap();
        assert_eq!(rows.len(), 40);
        assert_eq!(
            hash,
            blake3::hash(task.fixture.unwrap().as_bytes())
                .to_hex()
                .to_string()
        );
        let commit = "a".repeat(40);
        assert_eq!(
            origin,
            format!("lighteval/siqa@{commit}/data/validation-0.jsonl")
        );
        let data = TaskData::from_rows(task, &rows, origin, hash, false).unwrap();
        assert_eq!(data.examples.len(), 40);
    }

    #[test]
    fn where_the_main_branch_has_no_data_the_converted_one_serves() {
        let cache = tempfile::tempdir().unwrap();
        let task = tasks::find("arc_easy").unwrap();
        let readme = cached(cache.path(), task.hub.repo, "main", 'a', "README.md");
        std::fs::write(readme, "a script").unwrap();
        let file = "ARC-Easy/test/0000.parquet";
        let path = cached(cache.path(), task.hub.repo, CONVERTED, 'b', file);
        crate::parquet_rows::tests::write(&path);
        let (rows, origin, _) = fetch_from(&offline(cache.path()), task, task.split).unwrap();
        assert_eq!(rows.len(), 2);
        assert!(origin.ends_with(file), "{origin}");
    }

    #[test]
    fn what_the_hub_does_not_give_is_an_error_that_names_the_way_out() {
        let cache = tempfile::tempdir().unwrap();
        let task = tasks::find("piqa").unwrap();
        let error = fetch_from(&offline(cache.path()), task, task.split)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("baber/piqa") && error.contains("--data-dir"),
            "{error}"
        );
    }

    fn chosen(names: &[&str], config: Option<&str>, split: &str) -> Vec<String> {
        choose_files(names.iter().copied(), config, split)
    }

    #[test]
    fn files_are_found_in_every_layout_of_the_hub() {
        let arc = [
            "ARC-Challenge/test-00000-of-00001.parquet",
            "ARC-Easy/test-00000-of-00001.parquet",
            "ARC-Easy/train-00000-of-00001.parquet",
            "README.md",
        ];
        assert_eq!(chosen(&arc, Some("ARC-Easy"), "test"), [arc[1]]);
        let siqa = [
            "data/train-00000-of-00001-da17dfc1120ed1ee.parquet",
            "data/validation-00000-of-00001-90bb85eab85fcfa8.parquet",
        ];
        assert_eq!(chosen(&siqa, None, "validation"), [siqa[1]]);
        let converted = [
            "default/validation/0000.parquet",
            "default/test/0000.parquet",
        ];
        assert_eq!(
            chosen(&converted, Some("default"), "validation"),
            [converted[0]]
        );
        assert!(chosen(&converted, Some("main"), "validation").is_empty());
    }

    #[test]
    fn parquet_goes_before_json_lines_and_a_longer_word_is_another_split() {
        let names = ["validation.jsonl", "data/validation-0.parquet"];
        assert_eq!(chosen(&names, None, "validation"), [names[1]]);
        assert_eq!(chosen(&names[..1], None, "validation"), [names[0]]);
        assert!(chosen(&["testing-0.parquet", "test.csv"], None, "test").is_empty());
    }
}
