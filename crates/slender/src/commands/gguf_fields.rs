//! Between a GGUF file's metadata and the tokenizer in it, for `slender import` and `export`.

use slender_data::{DataError, GgufField, GgufTokenizer};
use slender_formats::gguf::{GgufArray, GgufMetadata, GgufValue};

/// The tokenizer's keys as metadata.
pub fn to_metadata(tokenizer: &GgufTokenizer) -> GgufMetadata {
    let mut metadata = GgufMetadata::new();
    for (key, field) in tokenizer.fields() {
        let value: GgufValue = match field {
            GgufField::Str(text) => text.into(),
            GgufField::U32(number) => number.into(),
            GgufField::Bool(yes) => yes.into(),
            GgufField::Strs(texts) => texts.into(),
            GgufField::F32s(numbers) => numbers.into(),
            GgufField::I32s(numbers) => numbers.into(),
        };
        metadata.set(key, value);
    }
    metadata
}

/// The tokenizer of a file's metadata.
///
/// # Errors
/// [`DataError::Tokenizer`]: a key that is missing or of another type.
pub fn from_metadata(metadata: &GgufMetadata) -> Result<GgufTokenizer, DataError> {
    GgufTokenizer::from_fields(|key| {
        Some(match metadata.get(key)? {
            GgufValue::String(text) => GgufField::Str(text.clone()),
            GgufValue::Bool(yes) => GgufField::Bool(*yes),
            GgufValue::Array(GgufArray::String(texts)) => GgufField::Strs(texts.clone()),
            GgufValue::Array(GgufArray::F32(numbers)) => GgufField::F32s(numbers.clone()),
            GgufValue::Array(GgufArray::I32(numbers)) => GgufField::I32s(numbers.clone()),
            // Old files have other widths.
            number => GgufField::U32(u32::try_from(number.as_u64()?).ok()?),
        })
    })
}

/// Fills a vocabulary up to the `rows` of an embedding that has more, with tokens that no text gives: llama.cpp
/// wants a token for each row.
pub fn pad(tokenizer: &mut GgufTokenizer, rows: usize) {
    /// Kind of a token that is not used.
    const UNUSED: i32 = 5;
    for id in tokenizer.tokens.len()..rows {
        tokenizer.tokens.push(format!("[PAD{id}]"));
    }
    if let Some(scores) = &mut tokenizer.scores {
        scores.resize(tokenizer.tokens.len(), 0.0);
    }
    if let Some(types) = &mut tokenizer.token_types {
        types.resize(tokenizer.tokens.len(), UNUSED);
    }
}
