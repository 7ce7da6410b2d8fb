//! Models made by hand. `scripts/compare_tokenizers.py` compares trained ones with the library.

use super::super::Tokenizer;
use super::*;

fn piece(text: &str, score: f32, kind: i32) -> Piece {
    Piece {
        piece: Some(text.into()),
        score: Some(score),
        kind: Some(kind),
    }
}

fn plain() -> NormalizerSpec {
    NormalizerSpec {
        name: Some("identity".into()),
        precompiled_charsmap: None,
        add_dummy_prefix: Some(true),
        remove_extra_whitespaces: Some(false),
        escape_whitespaces: Some(true),
    }
}

/// `<unk> <s> </s>`, bytes if wanted, and a few pieces, the better the earlier.
fn model(
    model_type: i32,
    byte_fallback: bool,
    more: &[(&str, i32)],
    normalizer: NormalizerSpec,
) -> Vec<u8> {
    let mut pieces = vec![
        piece("<unk>", 0.0, kind::UNKNOWN),
        piece("<s>", 0.0, kind::CONTROL),
        piece("</s>", 0.0, kind::CONTROL),
    ];
    if byte_fallback {
        pieces.extend((0..=255).map(|b| piece(&format!("<0x{b:02X}>"), 0.0, kind::BYTE)));
    }
    let usual = [
        "▁a", "ab", "▁ab", "<s", "▁▁", "▁", "a", "b", "<", "s", ">", "0", "x",
    ];
    let usual = usual.map(|text| (text, kind::NORMAL));
    for (i, (text, kind)) in usual.iter().chain(more).enumerate() {
        pieces.push(piece(text, -1.0 - i as f32, *kind));
    }
    let model = ModelProto {
        pieces,
        trainer: Some(TrainerSpec {
            model_type: Some(model_type),
            whitespace_as_suffix: None,
            byte_fallback: Some(byte_fallback),
        }),
        normalizer: Some(normalizer),
    };
    model.encode_to_vec()
}

fn pieces(bytes: &[u8], text: &str) -> Vec<String> {
    let tokenizer = Tokenizer::from_bytes(bytes).unwrap();
    let ids = tokenizer.encode(text, false);
    ids.iter()
        .map(|id| tokenizer.id_to_token(*id).unwrap())
        .collect()
}

#[test]
fn bpe_models_are_converted() {
    let bytes = model(2, true, &[], plain());
    let tokenizer = Tokenizer::from_bytes(&bytes).unwrap();
    assert_eq!((tokenizer.bos_id(), tokenizer.eos_id()), (Some(1), Some(2)));
    assert_eq!(tokenizer.vocab_size(), 3 + 256 + 13);
    let ids = tokenizer.encode("ab \u{e9}", false);
    assert_eq!(
        pieces(&bytes, "ab \u{e9}"),
        ["▁ab", "▁", "<0xC3>", "<0xA9>"]
    );
    assert_eq!(tokenizer.decode(&ids), "ab \u{e9}");
    let count: usize = ids.iter().map(|id| tokenizer.token_bytes(*id)).sum();
    assert_eq!(count, "ab \u{e9}".len() + tokenizer.prefix_bytes());
    // Text that looks like a control symbol or a byte is text.
    assert_eq!(pieces(&bytes, "<s>"), ["▁", "<s", ">"]);
    assert_eq!(tokenizer.encode_with_special("<s>"), [1]);
    assert_eq!(pieces(&bytes, "<0x0"), ["▁", "<", "0", "x", "0"]);
    assert_eq!(
        tokenizer.encode_bytes(b"a\xE2\x82", false),
        tokenizer.encode("a\u{FFFD}\u{FFFD}", false)
    );
}

#[test]
fn unigram_models_are_converted() {
    let bytes = model(1, false, &[], plain());
    assert_eq!(pieces(&bytes, "ab"), ["▁ab"]);
    // Unknown characters in a row are one token; control symbols never come out of text.
    assert_eq!(pieces(&bytes, "a??b"), ["▁a", "<unk>", "b"]);
    assert_eq!(pieces(&bytes, "<s>"), ["▁", "<s", ">"]);
    let bytes = model(1, true, &[], plain());
    assert_eq!(pieces(&bytes, "\u{e9}"), ["▁", "<0xC3>", "<0xA9>"]);
    assert_eq!(pieces(&bytes, "<0x0"), ["▁", "<", "0", "x", "0"]);
}

#[test]
fn whitespace_follows_the_settings() {
    let spec = |prefix: bool, remove: bool| NormalizerSpec {
        add_dummy_prefix: Some(prefix),
        remove_extra_whitespaces: Some(remove),
        ..plain()
    };
    let of = |prefix, remove, text: &str| pieces(&model(2, false, &[], spec(prefix, remove)), text);
    let text = "  a   b ";
    assert_eq!(of(true, false, text), ["▁▁", "▁a", "▁▁", "▁", "b", "▁"]);
    assert_eq!(of(true, true, text), ["▁a", "▁", "b"]);
    assert_eq!(of(false, true, text), ["a", "▁", "b"]);
    assert!(of(true, true, "   ").is_empty());
    assert!(of(true, false, "").is_empty());
    assert_eq!(of(true, false, " "), ["▁▁"]);
}

#[test]
fn user_defined_symbols_are_whole() {
    let symbols = [("<x>", kind::USER_DEFINED), ("<x>>", kind::USER_DEFINED)];
    // With a space put before the text, not before what follows a symbol.
    for bytes in [
        model(2, false, &symbols, plain()),
        model(1, false, &symbols, plain()),
    ] {
        assert_eq!(pieces(&bytes, "ab<x>ab"), ["▁ab", "<x>", "ab"]);
        assert_eq!(pieces(&bytes, "<x>>"), ["▁", "<x>>"]);
    }
    let bare = NormalizerSpec {
        add_dummy_prefix: Some(false),
        ..plain()
    };
    assert_eq!(
        pieces(&model(2, false, &symbols, bare), "ab<x>ab"),
        ["ab", "<x>", "ab"]
    );
}

#[test]
fn what_is_not_supported_is_named() {
    let error = |bytes: Vec<u8>| Tokenizer::from_bytes(&bytes).unwrap_err().to_string();
    assert!(error(model(3, false, &[], plain())).contains("words"));
    assert!(error(model(2, false, &[("q", kind::UNUSED)], plain())).contains("unused"));
    assert!(error(model(2, false, &[("ab", kind::NORMAL)], plain())).contains("twice"));
    let long = "a".repeat(4097);
    assert!(error(model(2, false, &[(&long, kind::NORMAL)], plain())).contains("4097 bytes"));
    let broken = NormalizerSpec {
        precompiled_charsmap: Some(vec![1, 2, 3]),
        ..plain()
    };
    assert!(error(model(2, false, &[], broken)).contains("character map"));
}

#[test]
fn a_model_that_was_cut_is_no_model() {
    let whole = model(2, true, &[], plain());
    let tokenizer = Tokenizer::from_bytes(&whole).unwrap();
    for length in 0..whole.len() {
        // Settings of no content may be missing at the very end; nothing else may.
        if let Ok(cut) = Tokenizer::from_bytes(&whole[..length]) {
            assert_eq!(cut.json(), tokenizer.json(), "{length} of {}", whole.len());
        }
    }
    let mut pieces = ModelProto::decode(&whole[..]).unwrap();
    (pieces.trainer, pieces.normalizer) = (None, None);
    let error = Tokenizer::from_bytes(&pieces.encode_to_vec()).unwrap_err();
    assert!(error.to_string().contains("is the file whole?"), "{error}");
}

#[test]
fn settings_say_that_a_text_begins_with_bos() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    write("tokenizer.model", &model(2, true, &[], plain()));
    let load = || Tokenizer::from_file(&dir.path().join("tokenizer.model")).unwrap();
    assert!(!load().begins_texts());
    write("tokenizer_config.json", br#"{"add_bos_token": true}"#);
    let tokenizer = load();
    assert!(tokenizer.begins_texts());
    let python = tokenizers::Tokenizer::from_bytes(tokenizer.json()).unwrap();
    let ids = python.encode("ab", true).unwrap();
    assert_eq!(ids.get_tokens(), ["<s>", "▁ab"]);
}
