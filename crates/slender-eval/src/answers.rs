//! Generated answers: greedy decoding until one of the harness's stops, cut and stripped as it does.

use std::collections::HashMap;

use crate::cache::RowCache;
use crate::error::EvalError;
use crate::model::{LanguageModel, TextEncoder};
use crate::score::batch_len;

/// The harness's longest answer.
pub(crate) const MAX_ANSWER: usize = 256;

/// What ends an answer (TriviaQA's `until`), besides the tokenizer's end of text.
const STOPS: [char; 3] = ['\n', '.', ','];

/// How far answers go, and how many are made at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds<'a> {
    /// Most tokens of an answer.
    pub max_tokens: usize,
    /// Tokens that end an answer beside the tokenizer's end.
    pub ends: &'a [u32],
    /// Tokens of a batch.
    pub batch_tokens: usize,
}

/// The answer to each prompt.
///
/// `progress` gets the prompt tokens done and in total.
///
/// # Errors
/// The model fails, or the cache cannot be written.
pub(crate) fn answer(
    model: &mut dyn LanguageModel,
    tokenizer: &dyn TextEncoder,
    prompts: &[&[u32]],
    bounds: Bounds<'_>,
    mut cache: Option<&mut RowCache>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<String>, EvalError> {
    let Bounds {
        max_tokens,
        ends,
        batch_tokens,
    } = bounds;
    let mut texts: HashMap<&[u32], String> = HashMap::new();
    let mut order: Vec<&[u32]> = prompts.to_vec();
    order.sort_unstable();
    order.dedup();
    let total: usize = order.iter().map(|prompt| prompt.len()).sum();
    if let Some(cache) = &mut cache {
        order.retain(|prompt| match cache.text(prompt) {
            Some(text) => texts.insert(prompt, text).is_some(),
            None => true,
        });
    }
    let left: usize = order.iter().map(|prompt| prompt.len()).sum();
    let mut done = total - left;
    let mut rest = order.as_slice();
    while !rest.is_empty() {
        // Every sequence also keeps its answer; most are a few words.
        let room = batch_tokens.saturating_sub(batch_tokens / 4);
        let (batch, later) = rest.split_at(batch_len(rest.iter().copied(), room).min(64));
        rest = later;
        let owned: Vec<Vec<u32>> = batch.iter().map(|prompt| prompt.to_vec()).collect();
        let answers = model.generate(&owned, max_tokens, &mut |_, tokens| {
            is_over(tokenizer, ends, tokens)
        })?;
        let answers: Vec<String> = answers
            .iter()
            .map(|a| finish(&tokenizer.decode(a)))
            .collect();
        if let Some(cache) = &mut cache {
            cache.put_texts(
                batch
                    .iter()
                    .copied()
                    .zip(answers.iter().map(String::as_str)),
            )?;
        }
        done += batch.iter().map(|prompt| prompt.len()).sum::<usize>();
        texts.extend(batch.iter().copied().zip(answers));
        progress(done, total);
    }
    let text_of = |prompt: &&[u32]| {
        let text = texts.get(prompt).cloned();
        text.ok_or_else(|| EvalError::Model("a prompt was never answered".to_owned()))
    };
    prompts.iter().map(text_of).collect()
}

/// Whether an answer of these tokens goes no further.
fn is_over(tokenizer: &dyn TextEncoder, ends: &[u32], tokens: &[u32]) -> bool {
    let ended = |last: &u32| tokenizer.end_token() == Some(*last) || ends.contains(last);
    tokens.last().is_some_and(ended) || tokenizer.decode(tokens).contains(STOPS)
}

/// Up to the first stop, without surrounding whitespace.
fn finish(text: &str) -> String {
    let end = text.find(STOPS).unwrap_or(text.len());
    crate::tasks::strip(&text[..end]).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{CharTokenizer, HashModel};

    #[test]
    fn an_answer_ends_at_the_first_stop() {
        assert_eq!(finish(" Paris, France"), "Paris");
        assert_eq!(finish(" U.S"), "U");
        assert_eq!(finish("\nx"), "");
        assert_eq!(finish(" no stop "), "no stop");
    }

    #[test]
    fn an_answer_is_over_at_a_stop_and_at_any_end() {
        let over = |ends: &[u32], text: &str| {
            let tokens: Vec<u32> = text.chars().map(u32::from).collect();
            is_over(&CharTokenizer, ends, &tokens)
        };
        assert!(!over(&[], "Rome") && over(&[], "Rome\n") && !over(&[], ""));
        let ends = [u32::from('e'), u32::from('z')];
        assert!(over(&ends, "Rome") && !over(&ends, "zero"));
        assert!(over(
            &[],
            &format!(
                "R{}",
                char::from_u32(CharTokenizer.end_token().unwrap()).unwrap()
            )
        ));
    }

    #[test]
    fn each_prompt_is_answered_once_however_they_are_batched() {
        let prompts: Vec<Vec<u32>> = (0..7).map(|i| vec![65 + i % 5, 66, 67]).collect();
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let run = |budget| {
            let mut model = HashModel::new(64);
            let texts = answer(
                &mut model,
                &CharTokenizer,
                &prompts,
                Bounds {
                    max_tokens: 8,
                    ends: &[],
                    batch_tokens: budget,
                },
                None,
                &mut |_, _| {},
            )
            .unwrap();
            (texts, model.calls.iter().map(|call| call.0).sum::<usize>())
        };
        let (one, scored) = run(1);
        assert_eq!((scored, one.len(), &one[0]), (5, 7, &one[5]));
        assert_eq!(run(1000), (one, 5));
    }
}
