//! The zip archive around a PyTorch checkpoint: where each entry's bytes are.
//!
//! PyTorch stores entries as they are, so reading one is reading a range of the file; a compressed entry is
//! refused. Layouts are those of PKWARE's APPNOTE: end record, its 64-bit form, central directory, local
//! headers.

use crate::blob::Cursor;
use crate::{Blob, FormatError};
use std::collections::HashMap;

/// A range of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub start: u64,
    pub len: u64,
}

/// The entries of an archive by name.
pub(super) struct Archive<'a> {
    blob: &'a Blob,
    entries: HashMap<String, Entry>,
}

/// End record without its comment, and the longest comment.
const END: u64 = 22;
const MAX_COMMENT: u64 = 65_535;
/// Locator of the 64-bit end record, and that record's fixed part.
const LOCATOR: u64 = 20;
const END_64: u64 = 56;

fn u16_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u64 {
    let four = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    u64::from(u32::from_le_bytes(four))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u32_at(bytes, at) | u32_at(bytes, at + 4) << 32
}

impl<'a> Archive<'a> {
    /// Reads the directory of entries.
    pub fn read(blob: &'a Blob) -> Result<Self, FormatError> {
        let bad = |message: String| FormatError::malformed(blob.path(), message);
        let start = blob.read(0, blob.len().min(4))?;
        if start != b"PK\x03\x04" {
            return Err(bad(
                "not a checkpoint of PyTorch 1.6 or later\n  hint: load it with torch and save it again"
                    .into(),
            ));
        }
        let whole = || bad("not a whole zip archive: its directory is missing".into());
        let tail_len = blob.len().min(END + MAX_COMMENT);
        let tail_start = blob.len() - tail_len;
        let tail = blob.read(tail_start, tail_len)?;
        let end = tail
            .windows(END as usize)
            .rposition(|window| window.starts_with(b"PK\x05\x06"))
            .ok_or_else(whole)?;
        let (mut count, mut size, mut offset) = (
            u16_at(&tail, end + 10),
            u32_at(&tail, end + 12),
            u32_at(&tail, end + 16),
        );
        let end = tail_start + end as u64;
        if end >= LOCATOR {
            let locator = blob.read(end - LOCATOR, LOCATOR)?;
            if locator.starts_with(b"PK\x06\x07") {
                let record = blob.read(u64_at(&locator, 8), END_64)?;
                if !record.starts_with(b"PK\x06\x06") {
                    return Err(whole());
                }
                count = u64_at(&record, 32);
                size = u64_at(&record, 40);
                offset = u64_at(&record, 48);
            }
        }
        if offset.checked_add(size).is_none_or(|past| past > end) || count > size / 46 {
            return Err(whole());
        }
        let directory = Blob::from_bytes("directory", blob.read(offset, size)?);
        let mut archive = Self {
            blob,
            entries: HashMap::new(),
        };
        let mut cursor = Cursor::new(&directory);
        for _ in 0..count {
            // The directory's own name would stand in an error of its cursor.
            archive.entry(&mut cursor).map_err(|error| match error {
                FormatError::Malformed { file, .. } if file != blob.path() => whole(),
                other => other,
            })?;
        }
        Ok(archive)
    }

    fn entry(&mut self, cursor: &mut Cursor) -> Result<(), FormatError> {
        let bad = |message: String| FormatError::malformed(self.blob.path(), message);
        let fixed = cursor.array::<46>()?;
        if !fixed.starts_with(b"PK\x01\x02") {
            return Err(bad(
                "not a whole zip archive: its directory is damaged".into()
            ));
        }
        let (flags, method) = (u16_at(&fixed, 8), u16_at(&fixed, 10));
        let (mut packed, mut len) = (u32_at(&fixed, 20), u32_at(&fixed, 24));
        let mut header = u32_at(&fixed, 42);
        let name = cursor.take(u16_at(&fixed, 28))?.to_vec();
        let name =
            String::from_utf8(name).map_err(|_| bad("an entry's name is not UTF-8".into()))?;
        let extra = cursor.take(u16_at(&fixed, 30))?.to_vec();
        cursor.take(u16_at(&fixed, 32))?;
        // Numbers that do not fit stand in an extra field, in this order.
        let mut wide = wide_numbers(&extra);
        for number in [&mut len, &mut packed, &mut header] {
            if *number == u64::from(u32::MAX)
                && let Some(value) = wide.next()
            {
                *number = value;
            }
        }
        if flags & 1 != 0 || method != 0 || packed != len {
            return Err(FormatError::unsupported(
                self.blob.path(),
                format!("entry `{name}` is compressed or encrypted, which PyTorch never does"),
            ));
        }
        let local = self.blob.read(header, 30)?;
        if !local.starts_with(b"PK\x03\x04") {
            return Err(bad(format!(
                "entry `{name}` is not where the directory says"
            )));
        }
        let start = header + 30 + u16_at(&local, 26) + u16_at(&local, 28);
        if start
            .checked_add(len)
            .is_none_or(|end| end > self.blob.len())
        {
            return Err(bad(format!(
                "entry `{name}` reaches beyond the end of the file"
            )));
        }
        if self
            .entries
            .insert(name.clone(), Entry { start, len })
            .is_some()
        {
            return Err(bad(format!("entry `{name}` is there twice")));
        }
        Ok(())
    }

    /// An entry by its name.
    pub fn get(&self, name: &str) -> Option<Entry> {
        self.entries.get(name).copied()
    }

    /// The one entry whose name ends so, and what stands before.
    pub fn only(&self, suffix: &str) -> Result<(String, Entry), FormatError> {
        let mut found = self
            .entries
            .iter()
            .filter_map(|(name, entry)| Some((name.strip_suffix(suffix)?.to_owned(), *entry)));
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(FormatError::malformed(
                self.blob.path(),
                "a zip archive, but not a PyTorch checkpoint",
            )),
        }
    }
}

/// The 64-bit numbers of a directory entry's extra field 1.
fn wide_numbers(extra: &[u8]) -> std::vec::IntoIter<u64> {
    let mut rest = extra;
    while rest.len() >= 4 {
        let (kind, len) = (u16_at(rest, 0), u16_at(rest, 2) as usize);
        let Some(data) = rest.get(4..4 + len) else {
            break;
        };
        if kind == 1 {
            let numbers: Vec<u64> = data.chunks_exact(8).map(|n| u64_at(n, 0)).collect();
            return numbers.into_iter();
        }
        rest = &rest[4 + len..];
    }
    Vec::new().into_iter()
}
