//! Text of tokens, piece by piece.

use super::models::{byte_tokenizer, word_tokenizer};
use proptest::prelude::*;
use slender_data::Tokenizer;
use slender_model::infer::TextStream;

/// The pieces of what follows `prompt`, and what was left at the end.
fn pieces(tokenizer: &Tokenizer, prompt: &[u32], tokens: &[u32]) -> (Vec<String>, String) {
    let mut stream = TextStream::new(tokenizer, prompt);
    let pieces = tokens.iter().map(|&token| stream.push(token)).collect();
    (pieces, stream.finish())
}

fn whole(tokenizer: &Tokenizer, prompt: &[u32], tokens: &[u32]) -> String {
    let (pieces, rest) = pieces(tokenizer, prompt, tokens);
    pieces.concat() + &rest
}

#[test]
fn characters_come_whole() {
    let tokenizer = byte_tokenizer();
    let text = "a\u{e9}\u{4e2d}\u{1f600}z";
    let tokens: Vec<u32> = text.bytes().map(u32::from).collect();
    let (pieces, rest) = pieces(&tokenizer, &[256], &tokens);
    let expected = [
        "a",
        "",
        "\u{e9}",
        "",
        "",
        "\u{4e2d}",
        "",
        "",
        "",
        "\u{1f600}",
        "z",
    ];
    assert_eq!(pieces, expected);
    assert_eq!(rest, "");
}

#[test]
fn an_incomplete_character_is_a_replacement_at_the_end_only() {
    let tokenizer = byte_tokenizer();
    let (parts, rest) = pieces(&tokenizer, &[256], &[97, 0xf0, 0x9f]);
    assert_eq!((parts.concat().as_str(), rest.as_str()), ("a", "\u{fffd}"));
    // Bytes that are no UTF-8 do not hold up what comes after.
    let bad: Vec<u32> = [0xff; 20].into_iter().chain([98]).collect();
    let text = whole(&tokenizer, &[256], &bad);
    assert!(
        text.ends_with('b') && text.starts_with('\u{fffd}'),
        "{text:?}"
    );
}

#[test]
fn a_prompt_that_ends_inside_a_character_is_completed() {
    let tokenizer = byte_tokenizer();
    let (parts, _) = pieces(&tokenizer, &[97, 0xc3], &[0xa9, 98]);
    assert!(parts.concat().ends_with("\u{e9}b"), "{parts:?}");
}

#[test]
fn the_space_before_a_word_stays() {
    let tokenizer = word_tokenizer();
    let [a, b] = ["\u{2581}a", "\u{2581}b"].map(|word| tokenizer.token_to_id(word).unwrap());
    // After a prompt with text the first word keeps its space; at the beginning of a text it has none.
    assert_eq!(whole(&tokenizer, &[1, a], &[b, a, b]), " b a b");
    assert_eq!(whole(&tokenizer, &[1], &[b, a]), "b a");
    assert_eq!(whole(&tokenizer, &[], &[b, a]), "b a");
    // Special tokens between give nothing and take nothing.
    let prompt = [&[1, a][..], &[2; 30]].concat();
    assert_eq!(whole(&tokenizer, &prompt, &[b, 2, a]), " b a");
}

proptest! {
    #[test]
    fn the_pieces_are_the_text(text in "[ab \u{e9}\u{4e2d}\u{1f600}\n]{0,40}", cut in 0usize..40) {
        for tokenizer in [byte_tokenizer(), word_tokenizer()] {
            let tokens = tokenizer.encode_with_special(&text);
            let cut = cut.min(tokens.len());
            let (prompt, new) = tokens.split_at(cut);
            let before = tokenizer.decode(prompt);
            // A prompt that ends inside a character has no text of its own.
            prop_assume!(!before.ends_with('\u{fffd}'));
            prop_assert_eq!(before + &whole(&tokenizer, prompt, new), tokenizer.decode(&tokens));
        }
    }

    #[test]
    fn any_tokens_give_some_text(tokens in prop::collection::vec(0u32..260, 0..60)) {
        for tokenizer in [byte_tokenizer(), word_tokenizer()] {
            let (pieces, rest) = pieces(&tokenizer, &[], &tokens);
            // Held back is at most what may become a character.
            let held = pieces.iter().rev().take_while(|piece| piece.is_empty()).count();
            prop_assert!(rest.is_empty() || held <= 8 + tokens.len());
            let _ = pieces.concat() + &rest;
        }
    }
}
