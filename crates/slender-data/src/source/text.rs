//! `.txt`: documents between separator lines, or one document a file.

use super::{Documents, until_end};
use crate::DataError;
use std::io::BufRead;
use std::path::{Path, PathBuf};

/// Documents of a plain text. The separator line and the line end before it belong to no document.
pub(super) fn documents(
    reader: Box<dyn BufRead + Send>,
    path: &Path,
    separator: Option<&str>,
) -> Documents {
    let mut text = Text {
        reader,
        path: path.to_path_buf(),
        separator: separator.map(|s| s.as_bytes().to_vec()),
        offset: 0,
        at_end: false,
    };
    until_end(move || text.read_one())
}

struct Text {
    reader: Box<dyn BufRead + Send>,
    path: PathBuf,
    separator: Option<Vec<u8>>,
    /// Decompressed bytes consumed by earlier documents.
    offset: u64,
    /// The file is read to its end.
    at_end: bool,
}

impl Text {
    fn read_one(&mut self) -> Result<Option<String>, DataError> {
        if self.at_end {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let start = self.offset;
        let mut separated = false;
        match &self.separator {
            None => {
                self.reader
                    .read_to_end(&mut bytes)
                    .map_err(DataError::io("read", &self.path))?;
                self.offset += bytes.len() as u64;
                self.at_end = true;
            }
            Some(separator) => loop {
                let line = bytes.len();
                let n = self
                    .reader
                    .read_until(b'\n', &mut bytes)
                    .map_err(DataError::io("read", &self.path))?;
                self.offset += n as u64;
                if n == 0 {
                    self.at_end = true;
                    break;
                }
                if trim_line_end(&bytes[line..]) == separator {
                    bytes.truncate(line);
                    separated = true;
                    break;
                }
            },
        }
        // A text that ends with a separator has nothing after it; do not invent an empty document.
        if self.at_end && bytes.is_empty() {
            return Ok(None);
        }
        let mut text = String::from_utf8(bytes).map_err(|e| DataError::InvalidUtf8 {
            path: self.path.clone(),
            offset: start + e.utf8_error().valid_up_to() as u64,
        })?;
        if separated {
            text.truncate(trim_line_end(text.as_bytes()).len());
        }
        Ok(Some(text))
    }
}

/// `line` without one final `\n` or `\r\n`.
fn trim_line_end(line: &[u8]) -> &[u8] {
    match line {
        [rest @ .., b'\r', b'\n'] | [rest @ .., b'\n'] => rest,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &'static [u8], separator: Option<&str>) -> Vec<Result<String, DataError>> {
        documents(Box::new(bytes), Path::new("t.txt"), separator).collect()
    }

    #[test]
    fn separators_divide() {
        let texts: Vec<String> = read(
            b"one\ntwo\n---\n\n---\r\nthree --- x\n---\nlast\n",
            Some("---"),
        )
        .into_iter()
        .flatten()
        .collect();
        assert_eq!(texts, ["one\ntwo", "", "three --- x", "last\n"]);
        assert_eq!(read(b"a\n---\n", Some("---")).len(), 1);
        assert_eq!(
            read(b"a\n---\nb", None)
                .into_iter()
                .flatten()
                .collect::<Vec<_>>(),
            ["a\n---\nb"]
        );
        assert!(read(b"", None).is_empty());
    }

    #[test]
    fn invalid_utf8_names_the_offset() {
        let items = read(b"ab\n---\ncd\xffef\n---\nlost", Some("---"));
        assert_eq!(items.len(), 2);
        match &items[1] {
            Err(DataError::InvalidUtf8 { offset, .. }) => assert_eq!(*offset, 9),
            other => panic!("{other:?}"),
        }
    }
}
