//! Writing a shard: under a temporary name until it is whole.

use super::{HEADER_BYTES, Header, TokenType};
use crate::{DataError, fsio};
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A shard in the making. Dropped without [`ShardWriter::finish`], it leaves a temporary file only.
pub(crate) struct ShardWriter {
    path: PathBuf,
    tmp: PathBuf,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    token_type: TokenType,
    tokens: u64,
    starts: Vec<u64>,
    /// A bit a token, set where the loss counts it.
    counted: Option<Vec<u64>>,
    buffer: Vec<u8>,
}

impl ShardWriter {
    /// A shard whose every token is counted by the loss or, `with_mask`, those that are said to be.
    pub fn create(path: &Path, token_type: TokenType, with_mask: bool) -> Result<Self, DataError> {
        let tmp = fsio::tmp_path(path);
        let file = File::create(&tmp).map_err(DataError::io("create", &tmp))?;
        let mut writer = Self {
            path: path.to_path_buf(),
            tmp,
            file: BufWriter::with_capacity(1 << 20, file),
            hasher: blake3::Hasher::new(),
            token_type,
            tokens: 0,
            starts: Vec::new(),
            counted: with_mask.then(Vec::new),
            buffer: Vec::new(),
        };
        writer
            .file
            .write_all(&[0; HEADER_BYTES])
            .map_err(DataError::io("write", &writer.tmp))?;
        Ok(writer)
    }

    /// Appends a document; `counted` is of its length, and not given where the shard has no mask.
    pub fn push(&mut self, tokens: &[u32], counted: Option<&[bool]>) -> Result<(), DataError> {
        self.starts.push(self.tokens);
        if let Some(mask) = &mut self.counted {
            mask.resize((self.tokens as usize + tokens.len()).div_ceil(64), 0);
            for (i, _) in counted
                .unwrap_or_default()
                .iter()
                .enumerate()
                .filter(|(_, c)| **c)
            {
                let at = self.tokens as usize + i;
                mask[at / 64] |= 1 << (at % 64);
            }
        }
        self.tokens += tokens.len() as u64;
        self.buffer.clear();
        match self.token_type {
            TokenType::U16 => {
                for token in tokens {
                    let narrow = u16::try_from(*token).map_err(|_| {
                        DataError::corrupt(&self.tmp, format!("token {token} does not fit u16"))
                    })?;
                    self.buffer.extend_from_slice(&narrow.to_le_bytes());
                }
            }
            TokenType::U32 => tokens
                .iter()
                .for_each(|token| self.buffer.extend_from_slice(&token.to_le_bytes())),
        }
        self.write_buffer()
    }

    fn write_buffer(&mut self) -> Result<(), DataError> {
        self.hasher.update(&self.buffer);
        self.file
            .write_all(&self.buffer)
            .map_err(DataError::io("write", &self.tmp))
    }

    /// Writes the document index and the header, flushes to disk, and gives the file its name.
    pub fn finish(mut self) -> Result<Header, DataError> {
        let written = self.tokens as usize * self.token_type.bytes();
        self.buffer = vec![0; written.next_multiple_of(8) - written];
        for start in &self.starts {
            self.buffer.extend_from_slice(&start.to_le_bytes());
        }
        for word in self.counted.iter().flatten() {
            self.buffer.extend_from_slice(&word.to_le_bytes());
        }
        self.write_buffer()?;
        let header = Header {
            token_type: self.token_type,
            tokens: self.tokens,
            documents: self.starts.len() as u64,
            mask: self.counted.is_some(),
            hash: *self.hasher.finalize().as_bytes(),
        };
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(&header.to_bytes()))
            .and_then(|()| self.file.flush())
            .map_err(DataError::io("write", &self.tmp))?;
        fsio::commit(self.file.get_ref(), &self.tmp, &self.path)?;
        Ok(header)
    }
}
