//! `eval/final-examples.jsonl` as far as statistics need it: which question, and whether it was right.
//!
//! Two runs answered the same question if task, index and text are the same; the text is kept as a
//! hash. Lines hold much more (every choice with its likelihood), which is skipped unread.

use crate::error::SweepError;
use crate::files::read_optional;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

/// A question of a task: its index in the data set, and a hash of its text and right answer.
pub(crate) type Question = (u64, u64);

/// Values of each task's questions: 1 for right, 0 for wrong, or a share of the right ones.
pub(crate) type Examples = BTreeMap<String, BTreeMap<Question, f64>>;

#[derive(Deserialize)]
struct Line<'a> {
    task: String,
    doc_id: u64,
    #[serde(borrow)]
    prompt: std::borrow::Cow<'a, str>,
    #[serde(default, borrow)]
    choices: Vec<std::borrow::Cow<'a, str>>,
    gold: Option<u64>,
    right: Option<bool>,
    #[serde(default)]
    truth_share: Option<f64>,
}

/// Reads the questions of a run; empty if there are none. A line cut short is left out.
///
/// # Errors
/// An unreadable file.
pub(crate) fn read(run_dir: &Path) -> Result<Examples, SweepError> {
    let Some(text) = read_optional(&run_dir.join("eval/final-examples.jsonl"))? else {
        return Ok(Examples::new());
    };
    let mut examples = Examples::new();
    for line in text.lines() {
        let Ok(line) = serde_json::from_str::<Line<'_>>(line) else {
            continue;
        };
        let right = line.right.map(|right| f64::from(u8::from(right)));
        let Some(value) = line.truth_share.or(right) else {
            continue;
        };
        let mut hash = DefaultHasher::new();
        (&line.prompt, &line.choices, line.gold).hash(&mut hash);
        let task = examples.entry(line.task).or_default();
        task.insert((line.doc_id, hash.finish()), value);
    }
    Ok(examples)
}

/// The values of `runs` on `task`, seed by seed on the same questions; `None` if they differ.
pub(crate) fn stratum(runs: &[&Examples], task: &str) -> Option<Vec<Vec<f64>>> {
    let first = runs.first()?.get(task)?;
    let rows = runs.iter().map(|run| {
        let own = run.get(task)?;
        own.keys()
            .eq(first.keys())
            .then(|| own.values().copied().collect())
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_text_is_another_question() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, prompt: &str, right: bool| {
            let dir = folder.path().join(name).join("eval");
            std::fs::create_dir_all(&dir).unwrap();
            let line = format!(
                r#"{{"task":"piqa","doc_id":0,"prompt":"{prompt}","choices":["a\n","b"],"gold":1,"right":{right},"more":[1,2]}}"#
            );
            std::fs::write(
                dir.join("final-examples.jsonl"),
                format!("{line}\n{{\"task\":\"pi"),
            )
            .unwrap();
            read(&folder.path().join(name)).unwrap()
        };
        let (a, b, c) = (
            write("a", "x", true),
            write("b", "x", false),
            write("c", "y", true),
        );
        assert_eq!(stratum(&[&a, &b], "piqa"), Some(vec![vec![1.0], vec![0.0]]));
        assert_eq!(stratum(&[&a, &c], "piqa"), None);
        assert_eq!(stratum(&[&a], "boolq"), None);
        assert!(read(folder.path()).unwrap().is_empty());
    }
}
