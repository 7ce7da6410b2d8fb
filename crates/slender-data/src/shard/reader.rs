//! Reading a shard through the page cache. This is the crate's one use of `unsafe`.

use super::{HEADER_BYTES, Header, TokenType};
use crate::DataError;
use memmap2::Mmap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A mapped shard.
#[derive(Debug)]
pub(crate) struct Shard {
    path: PathBuf,
    map: Mmap,
    header: Header,
    /// End of the tokens, padding included, in bytes from the start of the file.
    index_at: usize,
    /// End of the index.
    mask_at: usize,
}

impl Shard {
    /// Maps a shard and checks its header against its length.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::io("open", path))?;
        // SAFETY: the file is only ever replaced by rename, never written in place, by this crate. If another
        // program shortens it while it is mapped the process gets SIGBUS, as with any mapped file; its bytes
        // are plain integers, so no change of content breaks an invariant of a type.
        let map = unsafe { Mmap::map(&file) }.map_err(DataError::io("map", path))?;
        let header = Header::from_bytes(&map, path)?;
        let (Some(tokens), Some(length)) = (header.token_bytes(), header.file_bytes()) else {
            return Err(DataError::corrupt(path, "its header is out of range"));
        };
        if map.len() as u64 != length {
            let reason = format!("it has {} bytes, its header asks for {length}", map.len());
            return Err(DataError::corrupt(path, reason));
        }
        let index_at = HEADER_BYTES + tokens as usize;
        let shard = Self {
            path: path.to_path_buf(),
            map,
            header,
            index_at,
            mask_at: index_at + 8 * header.documents as usize,
        };
        let starts = shard.document_starts();
        let ordered = starts.windows(2).all(|pair| pair[0] <= pair[1]);
        if !ordered || starts.last().is_some_and(|last| *last >= header.tokens) {
            return Err(DataError::corrupt(
                path,
                "its document index is out of order",
            ));
        }
        Ok(shard)
    }

    pub fn header(&self) -> Header {
        self.header
    }

    pub fn tokens(&self) -> u64 {
        self.header.tokens
    }

    /// Index of each document's first token.
    pub fn document_starts(&self) -> &[u64] {
        bytemuck::cast_slice(&self.map[self.index_at..self.mask_at])
    }

    /// Whether some tokens are not counted by the loss.
    pub fn has_mask(&self) -> bool {
        self.header.mask
    }

    /// Whether the loss counts a token.
    pub fn is_counted(&self, token: u64) -> bool {
        let words: &[u64] = bytemuck::cast_slice(&self.map[self.mask_at..]);
        !self.header.mask || words[token as usize / 64] & (1 << (token % 64)) != 0
    }

    /// Appends `len` tokens from `start` to `out`. The range must lie in the shard.
    pub fn read(&self, start: u64, len: u64, out: &mut Vec<i32>) {
        let width = self.header.token_type.bytes();
        let at = HEADER_BYTES + start as usize * width;
        let bytes = &self.map[at..at + len as usize * width];
        match self.header.token_type {
            TokenType::U16 => out.extend(
                bytemuck::cast_slice::<u8, u16>(bytes)
                    .iter()
                    .map(|token| i32::from(*token)),
            ),
            TokenType::U32 => out.extend(
                bytemuck::cast_slice::<u8, u32>(bytes)
                    .iter()
                    .map(|token| *token as i32),
            ),
        }
    }

    /// Reads the whole file and compares its hash with the header's.
    pub fn verify(&self) -> Result<(), DataError> {
        let found = blake3::hash(&self.map[HEADER_BYTES..]);
        if *found.as_bytes() == self.header.hash {
            return Ok(());
        }
        Err(DataError::corrupt(
            &self.path,
            "its content does not match the hash in its header",
        ))
    }
}
