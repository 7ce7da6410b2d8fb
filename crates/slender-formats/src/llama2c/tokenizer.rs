//! Tokenizers of llama2.c (`tokenizer.bin`): pieces with scores, as SentencePiece has them.
//!
//! The file is turned into a SentencePiece model, for which there is a converter already.

use crate::blob::Cursor;
use crate::{Blob, FormatError};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, required, tag = "2")]
    trainer: Trainer,
    #[prost(message, required, tag = "3")]
    normalizer: Normalizer,
}

#[derive(Clone, PartialEq, Message)]
struct Piece {
    #[prost(string, required, tag = "1")]
    piece: String,
    #[prost(float, required, tag = "2")]
    score: f32,
    #[prost(int32, required, tag = "3")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Trainer {
    #[prost(int32, required, tag = "3")]
    model_type: i32,
    #[prost(bool, required, tag = "35")]
    byte_fallback: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Normalizer {
    #[prost(string, required, tag = "1")]
    name: String,
    #[prost(bool, required, tag = "3")]
    add_dummy_prefix: bool,
    #[prost(bool, required, tag = "4")]
    remove_extra_whitespaces: bool,
    #[prost(bool, required, tag = "5")]
    escape_whitespaces: bool,
}

/// SentencePiece's numbers of kinds of pieces and of byte-pair encoding.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;
const BPE: i32 = 2;

/// The bytes of a SentencePiece `tokenizer.model` that says the same as a llama2.c `tokenizer.bin`.
///
/// # Errors
/// A file that is damaged, or whose pieces are not UTF-8.
pub fn sentencepiece(blob: &Blob) -> Result<Vec<u8>, FormatError> {
    pieces(blob).map_err(|error| match error {
        // Where the file ends in a piece, or in the number before one.
        FormatError::Malformed { file, message } if message.starts_with("ends at byte") => {
            let message =
                format!("not a whole llama2.c tokenizer: {message}\n  hint: is the file whole?");
            FormatError::Malformed { file, message }
        }
        other => other,
    })
}

fn pieces(blob: &Blob) -> Result<Vec<u8>, FormatError> {
    let bad = |message: String| FormatError::malformed(blob.path(), message);
    let mut cursor = Cursor::new(blob);
    let longest = cursor.u32()?;
    let mut pieces = Vec::new();
    while cursor.remaining() > 0 {
        let score = f32::from_le_bytes(cursor.array()?);
        let len = cursor.u32()?;
        let id = pieces.len();
        if len > longest {
            return Err(bad(format!(
                "not a llama2.c tokenizer: piece {id} claims {len} bytes, the longest has {longest}"
            )));
        }
        let bytes = cursor.take(u64::from(len))?.to_vec();
        let text = String::from_utf8(bytes)
            .map_err(|_| bad(format!("not a llama2.c tokenizer: piece {id} is not UTF-8")))?;
        pieces.push(piece(id, &text, score));
    }
    if pieces.len() < 3 {
        return Err(bad("not a llama2.c tokenizer: it has no pieces".into()));
    }
    let model = Model {
        pieces,
        trainer: Trainer {
            model_type: BPE,
            byte_fallback: true,
        },
        normalizer: Normalizer {
            name: "identity".into(),
            add_dummy_prefix: true,
            remove_extra_whitespaces: false,
            escape_whitespaces: true,
        },
    };
    Ok(model.encode_to_vec())
}

/// llama2.c writes spaces for SentencePiece's `▁`, and line breaks around the two control pieces.
fn piece(id: usize, text: &str, score: f32) -> Piece {
    let (text, kind) = match id {
        0 => (text.to_owned(), UNKNOWN),
        1 | 2 => (text.trim_matches('\n').to_owned(), CONTROL),
        _ => (text.replace(' ', "▁"), NORMAL),
    };
    let is_byte = text.len() == 6 && text.starts_with("<0x") && text.ends_with('>');
    Piece {
        kind: if is_byte { BYTE } else { kind },
        piece: text,
        score,
    }
}
