//! Writing a GGUF file, version 3, tensor by tensor.

use super::{DEFAULT_ALIGNMENT, GgufArray, GgufMetadata, GgufValue, MAGIC, TENSOR_TYPES};
use crate::{Dtype, FormatError, LazyTensor};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Writes metadata and tensors, each tensor in the type beside it, to `path`, which is created.
///
/// # Errors
/// The operating system's, those of reading the tensors, and numbers that a type has no place for.
pub(crate) fn write(
    path: &Path,
    metadata: &GgufMetadata,
    tensors: &[(LazyTensor, Dtype)],
) -> Result<(), FormatError> {
    let header = header(metadata, tensors)?;
    let file = File::create(path).map_err(FormatError::io("create", path))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(FormatError::io("write", path));
    put(&header)?;
    put(&padding(header.len()))?;
    for (tensor, dtype) in tensors {
        let bytes = tensor.bytes_as(*dtype)?;
        put(&bytes)?;
        put(&padding(bytes.len()))?;
    }
    let file = out
        .into_inner()
        .map_err(|error| FormatError::io("write", path)(error.into_error()))?;
    file.sync_all().map_err(FormatError::io("flush", path))
}

/// Zeros after `len` bytes up to the next aligned place.
fn padding(len: usize) -> Vec<u8> {
    vec![0; len.next_multiple_of(DEFAULT_ALIGNMENT as usize) - len]
}

fn header(
    metadata: &GgufMetadata,
    tensors: &[(LazyTensor, Dtype)],
) -> Result<Vec<u8>, FormatError> {
    let mut out = MAGIC.to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata.iter() {
        string(&mut out, key);
        put_value(&mut out, value);
    }
    let mut offset = 0u64;
    for (tensor, dtype) in tensors {
        string(&mut out, tensor.name());
        out.extend((tensor.dims().len() as u32).to_le_bytes());
        for dim in tensor.dims().iter().rev() {
            out.extend((*dim as u64).to_le_bytes());
        }
        let kind = TENSOR_TYPES.iter().find(|(_, known)| known == dtype);
        out.extend(kind.expect("every type has a number").0.to_le_bytes());
        out.extend(offset.to_le_bytes());
        let len = dtype.byte_len(tensor.dims()).ok_or_else(|| {
            FormatError::Inexpressible(format!(
                "the rows of weight `{}` are no whole blocks of {dtype}",
                tensor.name()
            ))
        })?;
        offset += len.next_multiple_of(DEFAULT_ALIGNMENT);
    }
    Ok(out)
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// The number of a value's type, then the value.
fn put_value(out: &mut Vec<u8>, value: &GgufValue) {
    let mut put = |number: u32, bytes: &[u8]| {
        out.extend(number.to_le_bytes());
        out.extend(bytes);
    };
    match value {
        GgufValue::U8(n) => put(0, &n.to_le_bytes()),
        GgufValue::I8(n) => put(1, &n.to_le_bytes()),
        GgufValue::U16(n) => put(2, &n.to_le_bytes()),
        GgufValue::I16(n) => put(3, &n.to_le_bytes()),
        GgufValue::U32(n) => put(4, &n.to_le_bytes()),
        GgufValue::I32(n) => put(5, &n.to_le_bytes()),
        GgufValue::F32(x) => put(6, &x.to_le_bytes()),
        GgufValue::Bool(yes) => put(7, &[u8::from(*yes)]),
        GgufValue::String(text) => {
            put(8, &[]);
            string(out, text);
        }
        GgufValue::Array(array) => {
            put(9, &[]);
            put_array(out, array);
        }
        GgufValue::U64(n) => put(10, &n.to_le_bytes()),
        GgufValue::I64(n) => put(11, &n.to_le_bytes()),
        GgufValue::F64(x) => put(12, &x.to_le_bytes()),
    }
}

/// The number of the elements' type, their count, then the elements.
fn put_array(out: &mut Vec<u8>, array: &GgufArray) {
    match array {
        GgufArray::U8(v) => elements(out, 0, v, |out, n| out.push(*n)),
        GgufArray::I8(v) => elements(out, 1, v, |out, n| out.extend(n.to_le_bytes())),
        GgufArray::U16(v) => elements(out, 2, v, |out, n| out.extend(n.to_le_bytes())),
        GgufArray::I16(v) => elements(out, 3, v, |out, n| out.extend(n.to_le_bytes())),
        GgufArray::U32(v) => elements(out, 4, v, |out, n| out.extend(n.to_le_bytes())),
        GgufArray::I32(v) => elements(out, 5, v, |out, n| out.extend(n.to_le_bytes())),
        GgufArray::F32(v) => elements(out, 6, v, |out, x| out.extend(x.to_le_bytes())),
        GgufArray::Bool(v) => elements(out, 7, v, |out, yes| out.push(u8::from(*yes))),
        GgufArray::String(v) => elements(out, 8, v, |out, text| string(out, text)),
        GgufArray::Array(v) => elements(out, 9, v, put_array),
        GgufArray::U64(v) => elements(out, 10, v, |out, n| out.extend(n.to_le_bytes())),
        GgufArray::I64(v) => elements(out, 11, v, |out, n| out.extend(n.to_le_bytes())),
        GgufArray::F64(v) => elements(out, 12, v, |out, x| out.extend(x.to_le_bytes())),
    }
}

fn elements<T>(out: &mut Vec<u8>, number: u32, values: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    out.extend(number.to_le_bytes());
    out.extend((values.len() as u64).to_le_bytes());
    for value in values {
        put(out, value);
    }
}
