//! Scores that were computed before, on disk: an interrupted evaluation goes on where it stopped.
//!
//! One file for each (weights, tokenizer, task and its version, settings), below a folder of the weights'
//! hash. Every scored row is a line, appended as soon as its batch is done; a line holds the hash of the
//! row's tokens, so more examples, another protocol or a task that shares requests reuse what is there.
//! Each line begins with a checksum. A line that does not match it (a torn write, a damaged disk, a hand) is
//! dropped, counted and computed again; nothing else in the file is lost by it.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::EvalError;
use crate::model::{RowScore, ScoreRow};

/// Name and version of the file format.
const FORMAT: &str = "slender-eval-cache/1";

/// What a cached score depends on besides the tokens of its row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheKey {
    /// Hash of the weights.
    pub weights: String,
    /// Hash of the tokenizer.
    pub tokenizer: String,
    /// Task name and version.
    pub task: String,
    /// Everything else that a score depends on, as text.
    pub settings: String,
}

/// A line of the file, after its checksum.
#[derive(Serialize, Deserialize)]
enum Line {
    /// First line.
    #[serde(rename = "head")]
    Head { format: String, key: CacheKey },
    /// Log-probabilities as the bits of their f32.
    #[serde(rename = "row")]
    Row {
        key: String,
        bits: Vec<u32>,
        greedy: bool,
    },
    /// A generated answer.
    #[serde(rename = "text")]
    Text { key: String, text: String },
}

/// The cache of one task.
#[derive(Debug)]
pub struct RowCache {
    path: PathBuf,
    file: std::fs::File,
    rows: HashMap<String, RowScore>,
    texts: HashMap<String, String>,
    damaged: usize,
    reused: usize,
}

impl RowCache {
    /// Opens or starts the cache of `key` below `dir`.
    ///
    /// # Errors
    /// The folder or the file cannot be read or written.
    pub fn open(dir: &Path, key: &CacheKey) -> Result<Self, EvalError> {
        let path = Self::file_of(dir, key);
        let failed = |verb| {
            let path = path.clone();
            move |source| EvalError::Io { verb, path, source }
        };
        let head = serde_json::to_string(&Line::Head {
            format: FORMAT.to_owned(),
            key: key.clone(),
        })
        .map_err(|error| EvalError::Model(error.to_string()))?;
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed("read")(error)),
        };
        let (mut rows, mut texts, mut damaged) = (HashMap::new(), HashMap::new(), 0);
        let mut kept: Vec<&str> = Vec::new();
        let mut ours = false;
        for (i, bytes) in bytes.split(|&b| b == b'\n').enumerate() {
            if bytes.is_empty() {
                continue;
            }
            let json = std::str::from_utf8(bytes).ok().and_then(unsealed);
            match json.and_then(|json| Some((json, serde_json::from_str(json).ok()?))) {
                Some((_, Line::Head { format, key: own })) if i == 0 => {
                    ours = format == FORMAT && own == *key;
                }
                // Without its head a file may be another's: none of it is believed.
                Some((json, Line::Row { key, bits, greedy })) if ours => {
                    let log_probs = bits.into_iter().map(f32::from_bits).collect();
                    rows.insert(key, RowScore { log_probs, greedy });
                    kept.push(json);
                }
                Some((json, Line::Text { key, text })) if ours => {
                    texts.insert(key, text);
                    kept.push(json);
                }
                _ => damaged += 1,
            }
        }
        // A torn last line would swallow the next one, a damaged one would be counted for ever.
        if !ours || damaged > 0 || !bytes.ends_with(b"\n") {
            let lines = std::iter::once(head.as_str()).chain(kept).map(sealed);
            let text: String = lines.collect();
            let write = || -> std::io::Result<()> {
                std::fs::create_dir_all(path.parent().unwrap_or(dir))?;
                let part = path.with_extension(format!("part{}", std::process::id()));
                std::fs::write(&part, text)?;
                std::fs::rename(&part, &path)
            };
            write().map_err(failed("write"))?;
        }
        let file = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(failed("write"))?;
        Ok(Self {
            path,
            file,
            rows,
            texts,
            damaged,
            reused: 0,
        })
    }

    /// The file of `key` below `dir`.
    pub fn file_of(dir: &Path, key: &CacheKey) -> PathBuf {
        let text = format!("{}\n{}\n{}", key.tokenizer, key.task, key.settings);
        let hash = blake3::hash(text.as_bytes()).to_hex();
        let task = key.task.split('@').next().unwrap_or("task");
        let weights = key.weights.get(..16).unwrap_or(&key.weights);
        dir.join(weights)
            .join(format!("{task}-{}.jsonl", &hash[..16]))
    }

    /// Lines that did not match their checksum when the file was opened.
    pub fn damaged(&self) -> usize {
        self.damaged
    }

    /// Scores that were taken from the cache.
    pub fn reused(&self) -> usize {
        self.reused
    }

    /// The score of a row, if it is there and fits the row.
    pub(crate) fn row(&mut self, row: &ScoreRow) -> Option<RowScore> {
        let score = self.rows.get(&row_key(row))?;
        let fits = score.log_probs.len() == row.targets().len();
        self.reused += usize::from(fits);
        fits.then(|| score.clone())
    }

    /// Keeps scores of rows.
    pub(crate) fn put_rows<'a>(
        &mut self,
        scores: impl Iterator<Item = (&'a ScoreRow, &'a RowScore)>,
    ) -> Result<(), EvalError> {
        self.append(scores.map(|(row, score)| Line::Row {
            key: row_key(row),
            bits: score.log_probs.iter().map(|x| x.to_bits()).collect(),
            greedy: score.greedy,
        }))
    }

    /// The text generated after a prompt.
    pub(crate) fn text(&mut self, prompt: &[u32]) -> Option<String> {
        let text = self.texts.get(&tokens_key(prompt, 0)).cloned();
        self.reused += usize::from(text.is_some());
        text
    }

    /// Keeps texts generated after prompts.
    pub(crate) fn put_texts<'a>(
        &mut self,
        texts: impl Iterator<Item = (&'a [u32], &'a str)>,
    ) -> Result<(), EvalError> {
        self.append(texts.map(|(prompt, text)| Line::Text {
            key: tokens_key(prompt, 0),
            text: text.to_owned(),
        }))
    }

    fn append(&mut self, lines: impl Iterator<Item = Line>) -> Result<(), EvalError> {
        let lines: Result<Vec<String>, _> =
            lines.map(|line| serde_json::to_string(&line)).collect();
        let lines = lines.map_err(|error| EvalError::Model(error.to_string()))?;
        let text: String = lines.iter().map(|line| sealed(line)).collect();
        // One call, so that two programs writing at once do not mix their lines.
        self.file
            .write_all(text.as_bytes())
            .map_err(|source| EvalError::Io {
                verb: "write",
                path: self.path.clone(),
                source,
            })
    }
}

fn checksum(json: &str) -> String {
    blake3::hash(json.as_bytes()).to_hex()[..12].to_owned()
}

fn sealed(json: &str) -> String {
    format!("{} {json}\n", checksum(json))
}

fn unsealed(line: &str) -> Option<&str> {
    let (sum, json) = line.split_once(' ')?;
    (sum == checksum(json)).then_some(json)
}

fn row_key(row: &ScoreRow) -> String {
    tokens_key(&row.tokens, row.score_from)
}

fn tokens_key(tokens: &[u32], from: usize) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(from as u64).to_le_bytes());
    for token in tokens {
        hasher.update(&token.to_le_bytes());
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(task: &str) -> CacheKey {
        CacheKey {
            weights: "0123456789abcdef0123".into(),
            tokenizer: "t".into(),
            task: format!("{task}@1"),
            settings: "bos".into(),
        }
    }

    fn rows() -> Vec<(ScoreRow, RowScore)> {
        let row = |i: u32| ScoreRow {
            tokens: vec![i, 2, 3],
            score_from: 1,
        };
        let score = |i: u32| RowScore {
            log_probs: vec![-0.1 - i as f32 / 3.0, f32::MIN_POSITIVE],
            greedy: i.is_multiple_of(2),
        };
        (0..5).map(|i| (row(i), score(i))).collect()
    }

    fn filled(dir: &Path) -> PathBuf {
        let mut cache = RowCache::open(dir, &key("piqa")).unwrap();
        let rows = rows();
        cache
            .put_rows(rows.iter().map(|(row, score)| (row, score)))
            .unwrap();
        cache
            .put_texts([(&[1_u32, 2][..], "an answer")].into_iter())
            .unwrap();
        RowCache::file_of(dir, &key("piqa"))
    }

    #[test]
    fn what_was_put_is_found_to_the_bit() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path());
        let mut cache = RowCache::open(dir.path(), &key("piqa")).unwrap();
        assert_eq!(cache.damaged(), 0);
        for (row, score) in rows() {
            assert_eq!(cache.row(&row), Some(score));
        }
        assert_eq!(cache.text(&[1, 2]).as_deref(), Some("an answer"));
        assert_eq!((cache.text(&[1]), cache.reused()), (None, 6));
        let other = ScoreRow {
            tokens: vec![0, 2, 3],
            score_from: 2,
        };
        assert_eq!(cache.row(&other), None);
        let mut other = RowCache::open(dir.path(), &key("boolq")).unwrap();
        assert_eq!(other.row(&rows()[0].0), None);
    }

    #[test]
    fn a_damaged_line_is_dropped_counted_once_and_the_rest_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = filled(dir.path());
        let whole = std::fs::read(&path).unwrap();
        let lines: Vec<usize> = whole
            .iter()
            .enumerate()
            .filter(|(_, b)| **b == b'\n')
            .map(|(i, _)| i)
            .collect();
        // A changed digit in the third line: the second row.
        let mut bytes = whole.clone();
        bytes[lines[2] - 20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let mut cache = RowCache::open(dir.path(), &key("piqa")).unwrap();
        assert_eq!(cache.damaged(), 1);
        let found = rows()
            .iter()
            .filter(|(row, _)| cache.row(row).is_some())
            .count();
        assert_eq!(found, 4);
        assert_eq!(
            RowCache::open(dir.path(), &key("piqa")).unwrap().damaged(),
            0
        );
        // Cut anywhere, as by a kill in the middle of a write: never an error, never a wrong score.
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut cache = RowCache::open(dir.path(), &key("piqa")).unwrap();
            for (row, score) in rows() {
                assert!(cache.row(&row).is_none_or(|found| found == score));
            }
            cache
                .put_rows([(&rows()[0].0, &rows()[0].1)].into_iter())
                .unwrap();
            let mut again = RowCache::open(dir.path(), &key("piqa")).unwrap();
            assert_eq!(
                (again.damaged(), again.row(&rows()[0].0)),
                (0, Some(rows()[0].1.clone()))
            );
        }
    }

    #[test]
    fn another_file_in_its_place_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = filled(dir.path());
        let other = RowCache::file_of(dir.path(), &key("boolq"));
        std::fs::copy(&path, &other).unwrap();
        let mut cache = RowCache::open(dir.path(), &key("boolq")).unwrap();
        assert!(cache.damaged() > 0);
        assert_eq!(cache.row(&rows()[0].0), None);
    }
}
