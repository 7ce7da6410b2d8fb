//! Reading a safetensors header and, later, tensors one by one.

use crate::{Blob, Dtype, FormatError, LazyTensor};
use safetensors::Dtype as Stored;
use safetensors::tensor::Metadata;
use std::path::Path;

/// Longest header that the safetensors library itself takes.
const MAX_HEADER: u64 = 100_000_000;

/// Opens a file: its tensors in the file's order, not read yet.
///
/// # Errors
/// As [`read`].
pub fn open(path: &Path) -> Result<Vec<LazyTensor>, FormatError> {
    read(&Blob::open(path)?)
}

/// The tensors of a blob in the file's order.
///
/// # Errors
/// A header that is damaged, overlapping or reaching beyond the file's end; a dtype other than f32, f16 and
/// bf16.
pub fn read(blob: &Blob) -> Result<Vec<LazyTensor>, FormatError> {
    let bad = |message: String| FormatError::malformed(blob.path(), message);
    let whole = |message: String| bad(format!("not a whole safetensors file: {message}"));
    if blob.len() < 8 {
        return Err(whole(format!("it has {} bytes", blob.len())));
    }
    let start = blob.read(0, 8)?;
    let header = u64::from_le_bytes(start.try_into().expect("eight bytes"));
    if header > MAX_HEADER || header > blob.len() - 8 {
        return Err(whole(format!("it claims a header of {header} bytes")));
    }
    let text = blob.read(8, header)?;
    let metadata: Metadata =
        serde_json::from_slice(&text).map_err(|error| whole(error.to_string()))?;
    let data = 8 + header;
    let room = blob.len() - data;
    if metadata.data_len() as u64 != room {
        return Err(whole(format!(
            "its header describes {} bytes of tensors, {room} are there",
            metadata.data_len()
        )));
    }
    let mut tensors = Vec::new();
    for name in metadata.offset_keys() {
        let info = metadata.info(&name).expect("a key of this table");
        let dtype = match info.dtype {
            Stored::F32 => Dtype::F32,
            Stored::F16 => Dtype::F16,
            Stored::BF16 => Dtype::Bf16,
            other => {
                return Err(FormatError::unsupported(
                    blob.path(),
                    format!("weight `{name}` has dtype {other:?}; f32, f16 and bf16 are read"),
                ));
            }
        };
        let (from, to) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
        let len = to.checked_sub(from).filter(|_| to <= room);
        if len.is_none() || len != dtype.byte_len(&info.shape) {
            return Err(whole(format!(
                "weight `{name}` of shape {:?} is at bytes {from} to {to}",
                info.shape
            )));
        }
        let inner = blob.clone();
        tensors.push(LazyTensor::new(
            blob.path(),
            name,
            info.shape.clone(),
            dtype,
            move || inner.read(data + from, to - from),
        ));
    }
    Ok(tensors)
}
