//! Which copies of the data are known: a hash of everything the model will see.
//!
//! A hash of the file would change with its layout; this one is of every context, continuation and right
//! answer of the whole split in order, so that Parquet and JSON lines agree and an edited, dropped or moved
//! example does not. `digests.txt` holds one line for each known copy: task, BLAKE3, and what a reader must
//! know of a copy that is not the harness's.

use crate::example::Example;

const DIGESTS: &str = include_str!("digests.txt");

/// How examples compare with the known copies of a task's split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Equal to a known copy; the note says what is special about it.
    Yes {
        /// Empty for the harness's own copy.
        note: &'static str,
    },
    /// Different from every known copy.
    No,
    /// No copy of this task is known.
    Unchecked,
}

/// BLAKE3 in hex over every context, continuation, alias and right answer, in order.
pub fn digest(examples: &[Example]) -> String {
    let mut hasher = blake3::Hasher::new();
    for example in examples {
        if example.continuations.is_empty() {
            hasher.update(format!("{}\0", example.context(0)).as_bytes());
            for alias in &example.choices {
                hasher.update(format!("{alias}\0").as_bytes());
            }
        }
        for (context, continuation) in example.requests() {
            hasher.update(format!("{context}\0{continuation}\0").as_bytes());
        }
        for truth in example.truths.iter().flatten() {
            hasher.update(if *truth { b"1" } else { b"0" });
        }
        hasher.update(format!("{}\n", example.gold).as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Looks a digest up among the known copies of a task.
pub fn known(task: &str, digest: &str) -> Known {
    let lines = DIGESTS.lines().filter(|line| !line.starts_with('#'));
    let mut of_task = lines
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| *name == task)
        .map(|(_, rest)| rest.split_once(' ').unwrap_or((rest, "")))
        .peekable();
    if of_task.peek().is_none() {
        return Known::Unchecked;
    }
    match of_task.find(|(hash, _)| *hash == digest) {
        Some((_, note)) => Known::Yes { note },
        None => Known::No,
    }
}

/// Published numbers of examples of the train split, from which few-shot examples are drawn, the harness's
/// copy first; `None` where none is known.
pub(crate) fn published_train(task: &str) -> Option<&'static [usize]> {
    Some(match task {
        "arc_easy" => &[2251],
        "arc_challenge" => &[1119],
        "boolq" => &[9427],
        "piqa" => &[16113],
        "social_iqa" => &[33410],
        "hellaswag" => &[39905],
        "openbookqa" => &[4957],
        "winogrande" => &[40398],
        "sciq" => &[11679],
        "copa" => &[400],
        "commonsense_qa" => &[9741],
        // The second is its Wikipedia part.
        "triviaqa" => &[138_384, 61_888],
        _ => return None,
    })
}
