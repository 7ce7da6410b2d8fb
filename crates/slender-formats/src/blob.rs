//! Bytes read by position, their number known beforehand.
//!
//! Every read is held against the length before anything is allocated, so a file that claims more than
//! it has costs nothing. Files are read with positioned reads, not mapped: one that shrinks meanwhile
//! gives an error, where a mapping would give a signal.

use crate::FormatError;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file, or bytes in memory, read by position. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Blob {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    len: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    File(File),
    Memory(Vec<u8>),
}

impl Blob {
    /// Opens a file.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let file = File::open(path).map_err(FormatError::io("open", path))?;
        let meta = file.metadata().map_err(FormatError::io("read", path))?;
        let blob = Self::new(path, meta.len(), Content::File(file));
        blob.refuse_pointer()?;
        Ok(blob)
    }

    /// Bytes in memory; `name` stands for the file in messages.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Self {
        Self::new(Path::new(name), bytes.len() as u64, Content::Memory(bytes))
    }

    /// Refuses what git leaves in place of a large file until git-lfs has fetched it.
    fn refuse_pointer(&self) -> Result<(), FormatError> {
        const START: &[u8] = b"version https://git-lfs";
        /// Longest pointer, as the format's description limits it.
        const LONGEST: u64 = 1024;
        let start = START.len() as u64;
        if !(start..LONGEST).contains(&self.len()) || self.read(0, start)? != START {
            return Ok(());
        }
        Err(FormatError::malformed(
            self.path(),
            "a git-lfs pointer, not the file it stands for\n  hint: run `git lfs pull` in its folder, or download the file itself",
        ))
    }

    fn new(path: &Path, len: u64, content: Content) -> Self {
        let path = path.to_path_buf();
        let inner = Inner { path, len, content };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Number of bytes.
    pub fn len(&self) -> u64 {
        self.inner.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `len` bytes at `offset`.
    ///
    /// # Errors
    /// A range beyond the end, found before anything is allocated; the operating system's.
    pub fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>, FormatError> {
        let end = offset.checked_add(len).filter(|end| *end <= self.len());
        let (Some(end), Ok(count)) = (end, usize::try_from(len)) else {
            return Err(FormatError::malformed(
                self.path(),
                format!(
                    "ends at byte {}, but {len} bytes at {offset} are needed",
                    self.len()
                ),
            ));
        };
        match &self.inner.content {
            Content::Memory(bytes) => Ok(bytes[offset as usize..end as usize].to_vec()),
            Content::File(file) => {
                let mut bytes = vec![0; count];
                read_at(file, &mut bytes, offset).map_err(FormatError::io("read", self.path()))?;
                Ok(bytes)
            }
        }
    }
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(bytes)
}

/// Reads a blob from front to back, little-endian, in windows of 64 KiB.
#[derive(Debug)]
pub(crate) struct Cursor {
    blob: Blob,
    /// Position of the window's first byte in the blob.
    start: u64,
    window: Vec<u8>,
    /// Next byte, counted within the window.
    at: usize,
}

const WINDOW: u64 = 64 << 10;

impl Cursor {
    pub fn new(blob: &Blob) -> Self {
        Self {
            blob: blob.clone(),
            start: 0,
            window: Vec::new(),
            at: 0,
        }
    }

    /// Position of the next byte.
    pub fn position(&self) -> u64 {
        self.start + self.at as u64
    }

    /// Bytes from here to the end.
    pub fn remaining(&self) -> u64 {
        self.blob.len() - self.position()
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: u64) -> Result<&[u8], FormatError> {
        if n > (self.window.len() - self.at) as u64 {
            let position = self.position();
            let want = n.max(WINDOW.min(self.remaining()));
            self.window = self.blob.read(position, want)?;
            (self.start, self.at) = (position, 0);
        }
        let from = self.at;
        self.at += n as usize;
        Ok(&self.window[from..self.at])
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let bytes = self.take(N as u64)?;
        Ok(bytes.try_into().expect("take gives as many as asked for"))
    }

    pub fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn i32(&mut self) -> Result<i32, FormatError> {
        self.array().map(i32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, FormatError> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_held_against_the_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, b"abcdef").unwrap();
        for blob in [
            Blob::open(&path).unwrap(),
            Blob::from_bytes("a", b"abcdef".to_vec()),
        ] {
            assert_eq!(blob.read(2, 3).unwrap(), b"cde");
            assert_eq!(blob.read(6, 0).unwrap(), b"");
            for (offset, len) in [(4, 3), (7, 0), (0, u64::MAX), (u64::MAX, 2)] {
                assert!(blob.read(offset, len).is_err(), "{offset} {len}");
            }
        }
    }

    #[test]
    fn a_cursor_crosses_its_windows() {
        let bytes: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
        let mut cursor = Cursor::new(&Blob::from_bytes("n", bytes));
        assert_eq!(cursor.take(3).unwrap(), [0, 0, 0]);
        cursor.take(1).unwrap();
        for n in 1..200_000 {
            assert_eq!(cursor.u32().unwrap(), n);
        }
        assert_eq!(cursor.remaining(), 0);
        assert!(cursor.take(1).is_err());
    }
}
