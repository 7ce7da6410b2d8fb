//! Reading a GGUF file: counts, lengths and offsets are held against the file before they are believed.

use super::{
    DEFAULT_ALIGNMENT, GgufArray, GgufMetadata, GgufValue, MAGIC, OTHER_TYPES, TENSOR_TYPES,
};
use crate::blob::Cursor;
use crate::{Blob, Dtype, FormatError, LazyTensor};
use std::collections::HashSet;
use std::path::Path;

/// Arrays in arrays, at most this deep.
const MAX_DEPTH: u32 = 4;

/// Longest key, as the format's description limits it.
const MAX_KEY: u64 = 65_535;

/// Most dimensions of a tensor, as in ggml.
const MAX_DIMS: u32 = 4;

/// A GGUF file: its metadata, and its tensors not read yet.
#[derive(Clone, Debug)]
pub struct GgufFile {
    /// Key-value pairs.
    pub metadata: GgufMetadata,
    /// Tensors in the file's order, under the file's names, rows in the file's order.
    pub tensors: Vec<LazyTensor>,
}

impl GgufFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`FormatError`]: the operating system's; a file that is damaged, of another version or big-endian; a
    /// tensor type that is not read.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        Self::read(&Blob::open(path)?)
    }

    /// Whether these first bytes of a file are those of a GGUF file.
    pub fn is_magic(start: &[u8]) -> bool {
        start.starts_with(MAGIC)
    }

    /// Reads metadata and tensor descriptions.
    ///
    /// # Errors
    /// As [`GgufFile::open`].
    pub fn read(blob: &Blob) -> Result<Self, FormatError> {
        Reader {
            blob,
            cursor: Cursor::new(blob),
        }
        .file()
    }
}

struct Reader<'a> {
    blob: &'a Blob,
    cursor: Cursor,
}

impl Reader<'_> {
    fn bad(&self, message: impl Into<String>) -> FormatError {
        FormatError::malformed(self.blob.path(), message)
    }

    fn file(mut self) -> Result<GgufFile, FormatError> {
        if self.blob.len() < 24 || &self.cursor.array::<4>()? != MAGIC {
            return Err(self.bad("not a GGUF file"));
        }
        let version = self.cursor.u32()?;
        if !matches!(version, 2 | 3) {
            let message = match version.swap_bytes() {
                2 | 3 => "a big-endian GGUF file; only little-endian ones are read".to_owned(),
                _ => format!("GGUF version {version}; versions 2 and 3 are read"),
            };
            return Err(FormatError::unsupported(self.blob.path(), message));
        }
        let (n_tensors, n_pairs) = (self.cursor.u64()?, self.cursor.u64()?);
        // A pair takes at least 13 bytes, a tensor at least 24.
        let room = self.cursor.remaining();
        if n_pairs > room / 13 || n_tensors > room / 24 {
            return Err(self.bad(format!(
                "claims {n_pairs} metadata entries and {n_tensors} tensors, more than fit into its {} bytes",
                self.blob.len()
            )));
        }
        let metadata = self.metadata(n_pairs)?;
        let alignment = match metadata.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(value) => value
                .as_u64()
                .filter(|n| *n > 0 && n % 8 == 0 && *n <= 1 << 20)
                .ok_or_else(|| self.bad("`general.alignment` is not a usable multiple of 8"))?,
        };
        let tensors = self.tensors(n_tensors, alignment)?;
        Ok(GgufFile { metadata, tensors })
    }

    fn metadata(&mut self, count: u64) -> Result<GgufMetadata, FormatError> {
        let mut metadata = GgufMetadata::new();
        let mut seen = HashSet::new();
        for _ in 0..count {
            let key = self.string("a metadata key")?;
            if key.len() as u64 > MAX_KEY {
                return Err(self.bad("a metadata key is longer than 65535 bytes"));
            }
            if !seen.insert(key.clone()) {
                return Err(self.bad(format!("metadata key `{key}` is there twice")));
            }
            let kind = self.cursor.u32()?;
            let value = self.value(&key, kind)?;
            metadata.push(key, value);
        }
        Ok(metadata)
    }

    fn string(&mut self, what: &str) -> Result<String, FormatError> {
        let len = self.cursor.u64()?;
        let bytes = self.cursor.take(len)?.to_vec();
        String::from_utf8(bytes).map_err(|_| self.bad(format!("{what} is not UTF-8")))
    }

    fn value(&mut self, key: &str, kind: u32) -> Result<GgufValue, FormatError> {
        Ok(match kind {
            0 => GgufValue::U8(u8::from_le_bytes(self.cursor.array()?)),
            1 => GgufValue::I8(i8::from_le_bytes(self.cursor.array()?)),
            2 => GgufValue::U16(u16::from_le_bytes(self.cursor.array()?)),
            3 => GgufValue::I16(i16::from_le_bytes(self.cursor.array()?)),
            4 => GgufValue::U32(self.cursor.u32()?),
            5 => GgufValue::I32(self.cursor.i32()?),
            6 => GgufValue::F32(f32::from_le_bytes(self.cursor.array()?)),
            7 => GgufValue::Bool(self.cursor.array::<1>()? != [0]),
            8 => GgufValue::String(self.string(key)?),
            9 => GgufValue::Array(self.array(key, 1)?),
            10 => GgufValue::U64(self.cursor.u64()?),
            11 => GgufValue::I64(i64::from_le_bytes(self.cursor.array()?)),
            12 => GgufValue::F64(f64::from_le_bytes(self.cursor.array()?)),
            other => {
                return Err(self.bad(format!("`{key}` has the unknown value type {other}")));
            }
        })
    }

    fn array(&mut self, key: &str, depth: u32) -> Result<GgufArray, FormatError> {
        let (kind, count) = (self.cursor.u32()?, self.cursor.u64()?);
        Ok(match kind {
            0 => GgufArray::U8(self.numbers(count, u8::from_le_bytes)?),
            1 => GgufArray::I8(self.numbers(count, i8::from_le_bytes)?),
            2 => GgufArray::U16(self.numbers(count, u16::from_le_bytes)?),
            3 => GgufArray::I16(self.numbers(count, i16::from_le_bytes)?),
            4 => GgufArray::U32(self.numbers(count, u32::from_le_bytes)?),
            5 => GgufArray::I32(self.numbers(count, i32::from_le_bytes)?),
            6 => GgufArray::F32(self.numbers(count, f32::from_le_bytes)?),
            7 => GgufArray::Bool(self.numbers(count, |byte: [u8; 1]| byte != [0])?),
            8 => {
                self.room(key, count, 8)?;
                let texts = (0..count).map(|_| self.string(key));
                GgufArray::String(texts.collect::<Result<_, _>>()?)
            }
            9 => {
                self.room(key, count, 12)?;
                if depth == MAX_DEPTH {
                    return Err(self.bad(format!("`{key}` nests arrays too deep")));
                }
                let arrays = (0..count).map(|_| self.array(key, depth + 1));
                GgufArray::Array(arrays.collect::<Result<_, _>>()?)
            }
            10 => GgufArray::U64(self.numbers(count, u64::from_le_bytes)?),
            11 => GgufArray::I64(self.numbers(count, i64::from_le_bytes)?),
            12 => GgufArray::F64(self.numbers(count, f64::from_le_bytes)?),
            other => {
                return Err(self.bad(format!("`{key}` has the unknown element type {other}")));
            }
        })
    }

    /// Refuses `count` elements of at least `size` bytes each that the file has no room for.
    fn room(&self, key: &str, count: u64, size: u64) -> Result<(), FormatError> {
        if count > self.cursor.remaining() / size {
            return Err(self.bad(format!(
                "`{key}` claims {count} elements, but only {} bytes follow",
                self.cursor.remaining()
            )));
        }
        Ok(())
    }

    fn numbers<T, const N: usize>(
        &mut self,
        count: u64,
        parse: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, FormatError> {
        let bytes = self.cursor.take(count.saturating_mul(N as u64))?;
        Ok(bytes
            .chunks_exact(N)
            .map(|chunk| parse(chunk.try_into().expect("chunks of N")))
            .collect())
    }

    fn tensors(&mut self, count: u64, alignment: u64) -> Result<Vec<LazyTensor>, FormatError> {
        struct Described {
            name: String,
            dims: Vec<usize>,
            dtype: Dtype,
            offset: u64,
            len: u64,
        }
        let mut described: Vec<Described> = Vec::new();
        let mut seen = HashSet::new();
        for _ in 0..count {
            let name = self.string("a tensor's name")?;
            if !seen.insert(name.clone()) {
                return Err(self.bad(format!("tensor `{name}` is there twice")));
            }
            let n_dims = self.cursor.u32()?;
            if n_dims > MAX_DIMS {
                return Err(self.bad(format!("tensor `{name}` claims {n_dims} dimensions")));
            }
            let mut dims = Vec::new();
            for _ in 0..n_dims {
                let dim = usize::try_from(self.cursor.u64()?);
                dims.push(dim.map_err(|_| self.bad(format!("tensor `{name}` is too large")))?);
            }
            // The file has the innermost dimension first.
            dims.reverse();
            let kind = self.cursor.u32()?;
            let dtype = TENSOR_TYPES.iter().find(|(number, _)| *number == kind);
            let Some((_, dtype)) = dtype else {
                let named = OTHER_TYPES.iter().find(|(number, _)| *number == kind);
                let named = named.map_or(format!("number {kind}"), |(_, name)| (*name).to_owned());
                return Err(FormatError::unsupported(
                    self.blob.path(),
                    format!(
                        "tensor `{name}` has the type {named}; F32, F16, BF16, Q8_0, Q4_0 and Q4_1 are read"
                    ),
                ));
            };
            let len = dtype.byte_len(&dims).ok_or_else(|| {
                self.bad(format!(
                    "tensor `{name}` claims the impossible shape {dims:?} in {dtype}"
                ))
            })?;
            let offset = self.cursor.u64()?;
            if offset % alignment != 0 {
                return Err(self.bad(format!(
                    "tensor `{name}` begins at {offset}, which is no multiple of {alignment}"
                )));
            }
            described.push(Described {
                name,
                dims,
                dtype: *dtype,
                offset,
                len,
            });
        }
        let start = self.cursor.position().next_multiple_of(alignment);
        let room = self.blob.len().saturating_sub(start);
        let mut spans: Vec<(u64, u64, &str)> = Vec::new();
        for tensor in &described {
            let end = tensor.offset.checked_add(tensor.len);
            let Some(end) = end.filter(|end| *end <= room) else {
                return Err(self.bad(format!(
                    "tensor `{}` reaches beyond the end of the file; is it whole?",
                    tensor.name
                )));
            };
            spans.push((tensor.offset, end, &tensor.name));
        }
        spans.sort_unstable();
        if let Some(pair) = spans.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            return Err(self.bad(format!(
                "tensors `{}` and `{}` overlap",
                pair[0].2, pair[1].2
            )));
        }
        Ok(described
            .into_iter()
            .map(|tensor| {
                let (blob, at, len) = (self.blob.clone(), start + tensor.offset, tensor.len);
                LazyTensor::new(
                    self.blob.path(),
                    tensor.name,
                    tensor.dims,
                    tensor.dtype,
                    move || blob.read(at, len),
                )
            })
            .collect())
    }
}
