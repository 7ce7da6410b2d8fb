//! Splitting requests into tokens, against lm-evaluation-harness's `TemplateLM` with real tokenizers.
//!
//! `tests/reference/harness.json` has digests of the context and continuation tokens of every request of
//! the shipped slices, with and without BOS, for a SentencePiece tokenizer and two byte-level ones.
//! Skipped with a word where `shared/data` does not lie beside the repository.

use std::path::PathBuf;

use serde_json::Value;
use slender_data::Tokenizer;
use slender_eval::encode::encode_pair;
use slender_eval::{DataSource, EvalError, TaskData, tasks};

/// The requests of all shipped examples, then the edge cases of `harness.py`.
fn requests() -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for task in tasks::find_all(&["paper"]).unwrap() {
        for example in TaskData::load(task, &DataSource::Builtin).unwrap().examples {
            pairs.extend(
                example
                    .requests()
                    .map(|(a, b)| (a.to_owned(), b.to_owned())),
            );
        }
    }
    let edges = [
        ("", "Hello world"),
        ("Hello  ", "world"),
        ("Hello \n", " world"),
        ("Hel", "lo"),
        ("a", "b c"),
    ];
    pairs.extend(edges.map(|(a, b)| (a.to_owned(), b.to_owned())));
    pairs
}

fn list(ids: &[u32]) -> String {
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    format!("[{}]", ids.join(","))
}

#[test]
fn context_and_continuation_tokens_are_the_harness_s() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/tokenizers");
    if !dir.is_dir() {
        eprintln!("skipped: {} is absent", dir.display());
        return;
    }
    let reference: Value = serde_json::from_str(include_str!("reference/harness.json")).unwrap();
    let requests = requests();
    for name in ["llama2", "gpt2", "smollm2"] {
        let tokenizer = Tokenizer::from_file(&dir.join(name).join("tokenizer.json")).unwrap();
        for add_bos in [false, true] {
            let mut hasher = blake3::Hasher::new();
            for (context, continuation) in &requests {
                let (head, tail) = match encode_pair(&tokenizer, context, continuation, add_bos) {
                    Ok(pair) => (pair.context, pair.continuation),
                    // Merged across the boundary: the harness gives no token and then stops.
                    Err(EvalError::EmptyContinuation { .. }) => {
                        let bos = tokenizer.document_start_id().filter(|_| add_bos);
                        let head = tokenizer.encode_with_special(context);
                        (bos.into_iter().chain(head).collect(), Vec::new())
                    }
                    Err(error) => panic!("{error}"),
                };
                hasher.update(format!("({},{})\n", list(&head), list(&tail)).as_bytes());
            }
            let key = format!("{name}{}", if add_bos { "+bos" } else { "" });
            let expected = &reference["tokens"][&key];
            assert_eq!(
                requests.len() as u64,
                expected["requests"].as_u64().unwrap()
            );
            assert_eq!(
                hasher.finalize().to_hex().as_str(),
                expected["blake3"],
                "{key}"
            );
        }
    }
}
