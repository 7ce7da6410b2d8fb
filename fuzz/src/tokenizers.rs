//! Tokenizers and chat templates: parse, and if that succeeds, use it.

#[path = "../../crates/slender/src/commands/gguf_fields.rs"]
mod gguf_fields;

use slender_data::{
    ChatTemplate, GgufTokenizer, Message, Tokenizer, TokenizerFiles, TokenizerSettings,
};
use slender_formats::gguf::GgufFile;
use slender_formats::{Blob, llama2c};

/// Texts with the usual traps: runs of spaces, names of special tokens, combining marks, bytes beyond ASCII.
const TEXTS: [&str; 5] = [
    "",
    "  Hello   world \u{2581}\u{2581} aab <s><unk></s><sep> ",
    "e\u{301}\u{FB01}\u{FF41}\u{301} \u{1F600}\u{200D} \u{4E00}\n\t\u{0}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "\u{10FFFF}\u{FFFD}<0x41><|im_start|>",
];

fn blob(bytes: &[u8]) -> Blob {
    Blob::from_bytes("hostile", bytes.to_vec())
}

/// Whatever loads, encodes and decodes.
fn use_tokenizer(tokenizer: &Tokenizer) {
    let known = |ids: &[u32]| {
        let size = tokenizer.vocab_size();
        assert!(ids.iter().all(|id| (*id as usize) < size), "{ids:?} {size}");
    };
    for text in TEXTS {
        let ids = tokenizer.encode(text, true);
        known(&ids);
        let _ = tokenizer.decode(&ids);
        known(&tokenizer.encode_with_special(text));
    }
    known(&tokenizer.encode_bytes(b"\xff a\xe2\x82 \x80", false));
    // It may be that GGUF cannot say it.
    let _ = GgufTokenizer::from_tokenizer(tokenizer);
    let _ = tokenizer.chat_template();
}

/// A SentencePiece `tokenizer.model`.
pub fn sentencepiece(bytes: &[u8]) {
    // The content tells which format it is; this is for SentencePiece's alone.
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{') {
        return;
    }
    if let Ok(tokenizer) = Tokenizer::from_bytes(bytes) {
        use_tokenizer(&tokenizer);
    }
}

/// A llama2.c `tokenizer.bin`, all the way to a tokenizer.
pub fn llama2c_vocabulary(bytes: &[u8]) {
    if let Ok(model) = llama2c::sentencepiece(&blob(bytes))
        && let Ok(tokenizer) = Tokenizer::from_bytes(&model)
    {
        use_tokenizer(&tokenizer);
    }
}

/// The tokenizer in a GGUF file's metadata.
pub fn gguf_tokenizer(bytes: &[u8]) {
    let Ok(file) = GgufFile::read(&blob(bytes)) else {
        return;
    };
    let Ok(metadata) = gguf_fields::from_metadata(&file.metadata) else {
        return;
    };
    // What was read can be written.
    let mut again = metadata.clone();
    gguf_fields::pad(&mut again, metadata.tokens.len());
    let _ = gguf_fields::to_metadata(&again);
    if let Ok(tokenizer) = metadata.to_tokenizer("hostile") {
        use_tokenizer(&tokenizer);
    }
}

/// `tokenizer_config.json`, `special_tokens_map.json` and `chat_template.jinja`, with a zero byte between;
/// one that is not there counts as missing.
pub fn tokenizer_settings(bytes: &[u8]) {
    let mut parts = bytes.split(|byte| *byte == 0);
    let files = TokenizerFiles {
        config: parts.next(),
        special_tokens: parts.next(),
        chat_template: parts.next(),
    };
    let Ok(settings) = TokenizerSettings::from_files(&files) else {
        return;
    };
    let again = TokenizerSettings::parse(&settings.to_json());
    assert_eq!(again.as_ref(), Ok(&settings));
    for (name, text) in settings.special_tokens() {
        assert_eq!(settings.special_token(name), Some(Some(text)));
    }
    let _ = (settings.add_bos(), settings.add_eos());
    if let Some(template) = settings.chat_template() {
        chat_template(template.as_bytes());
    }
}

/// A chat template, rendered as training and talking do.
pub fn chat_template(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else {
        return;
    };
    let special = [("bos_token", "<s>"), ("eos_token", "</s>")]
        .map(|(name, text)| (name.to_owned(), text.to_owned()));
    let Ok(template) = ChatTemplate::new("hostile", source, special) else {
        return;
    };
    let mut more = Message::new("assistant", "ho\n{{ bos_token }}");
    let call = serde_json::json!([{ "name": "f", "arguments": { "x": [1, 2.5, null, "é"] } }]);
    more.more.insert("tool_calls".to_owned(), call);
    let messages = [
        Message::new("system", " be brief "),
        Message::new("user", "hi\u{FDD0}"),
        more,
    ];
    let _ = template.render(&messages[1..2], true);
    if let Ok((text, ranges)) = template.render_marked(&messages) {
        for range in ranges {
            assert!(text.get(range.clone()).is_some(), "{range:?}");
        }
    }
}
