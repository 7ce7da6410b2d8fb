//! Text that ships inside the binary, so that a fresh machine trains without a network.
//!
//! A few megabytes of public-domain prose, compressed with zstd; `builtin/README.md` has licence, origin
//! and how it was selected. The price is 2.3 MB in every binary.

use crate::DataError;

/// A text that ships with slender.
#[derive(Clone, Copy, Debug)]
pub struct BuiltinText {
    /// Name for `kind = "builtin"` sources.
    pub name: &'static str,
    /// Bytes of text, without document separators.
    pub bytes: u64,
    /// Number of documents.
    pub documents: u64,
    /// Licence.
    pub licence: &'static str,
    /// Where it comes from.
    pub origin: &'static str,
    pub(crate) compressed: &'static [u8],
}

/// Line that ends a document in the shipped texts.
pub(crate) const SEPARATOR: &str = "<|endoftext|>";

static TEXTS: [BuiltinText; 1] = [BuiltinText {
    name: "books-mini",
    bytes: 8_010_483,
    documents: 469,
    licence: "public domain",
    origin: "23 English books first published 1813-1915, one chapter a document",
    compressed: include_bytes!("../builtin/books-mini.txt.zst"),
}];

/// The texts that ship with slender, for `slender data list`.
pub fn describe_builtin() -> &'static [BuiltinText] {
    &TEXTS
}

/// Finds a shipped text by name.
pub(crate) fn find(name: &str) -> Result<&'static BuiltinText, DataError> {
    TEXTS
        .iter()
        .find(|text| text.name == name)
        .ok_or_else(|| DataError::UnknownBuiltin {
            name: name.to_string(),
            known: TEXTS
                .iter()
                .map(|text| text.name)
                .collect::<Vec<_>>()
                .join(", "),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Compression, Format, Input, Origin, Reading};

    #[test]
    fn the_description_is_true() {
        for text in describe_builtin() {
            let input = Input {
                name: text.name.into(),
                origin: Origin::Builtin(text.compressed),
                format: Format::Text,
                compression: Compression::Zstd,
                size: text.compressed.len() as u64,
                hash: None,
            };
            let documents: Vec<String> = input
                .documents(
                    Reading::text("text", Some(SEPARATOR)),
                    None,
                    Default::default(),
                )
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            assert_eq!(documents.len() as u64, text.documents);
            assert_eq!(
                documents.iter().map(|d| d.len() as u64).sum::<u64>(),
                text.bytes
            );
            assert!(documents.iter().all(|d| !d.contains(SEPARATOR)));
        }
        assert!(find("nope").unwrap_err().to_string().contains("books-mini"));
    }
}
