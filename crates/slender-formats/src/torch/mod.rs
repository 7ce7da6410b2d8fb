//! PyTorch checkpoints (`pytorch_model.bin`): a zip archive of one pickle and the tensors' bytes.
//!
//! A pickle is a program. The one here is read, never run: `pickle` knows the instructions that describe a
//! dictionary of tensors, and refuses every other by name, so a checkpoint that asks for a function of Python
//! is an error that names it. burn-store's reader goes further (older containers, whole modules, strided
//! views) and so has to allow up to 100 MiB for an inflated pickle and 10 GiB for a repeated view; a
//! state dictionary needs none of that, and read so, it takes no more memory than its file has bytes.

mod archive;
mod pickle;

use crate::{Blob, Dtype, FormatError, LazyTensor};
use archive::Archive;
use pickle::TensorRecord;
use std::path::Path;

/// Name of a checkpoint's only file.
pub const PLAIN: &str = "pytorch_model.bin";

/// Name of the index of several files.
pub const INDEX: &str = "pytorch_model.bin.index.json";

/// Opens a file: its tensors in the file's order, not read yet.
///
/// # Errors
/// As [`read`].
pub fn open(path: &Path) -> Result<Vec<LazyTensor>, FormatError> {
    read(&Blob::open(path)?)
}

/// The tensors of a checkpoint in the file's order.
///
/// # Errors
/// A file that is no state dictionary saved by PyTorch 1.6 or later, is damaged, or asks for code to be run; a
/// tensor that is not stored row by row, or with a dtype other than f32, f16 and bf16.
pub fn read(blob: &Blob) -> Result<Vec<LazyTensor>, FormatError> {
    let file = blob.path();
    let archive = Archive::read(blob)?;
    let (root, program) = archive.only("/data.pkl")?;
    if let Some(order) = archive.get(&format!("{root}/byteorder"))
        && blob.read(order.start, order.len.min(8))? != b"little"
    {
        return Err(FormatError::unsupported(
            file,
            "a big-endian checkpoint; only little-endian ones are read",
        ));
    }
    let program = blob.read(program.start, program.len)?;
    let records = pickle::state_dict(&program).map_err(|problem| problem.at(file))?;
    let mut tensors = Vec::with_capacity(records.len());
    for (name, record) in records {
        tensors.push(tensor(blob, &archive, &root, name, record)?);
    }
    Ok(tensors)
}

fn tensor(
    blob: &Blob,
    archive: &Archive,
    root: &str,
    name: String,
    record: TensorRecord,
) -> Result<LazyTensor, FormatError> {
    let file = blob.path();
    let dtype = match record.storage.kind.as_str() {
        "torch FloatStorage" => Dtype::F32,
        "torch HalfStorage" => Dtype::F16,
        "torch BFloat16Storage" => Dtype::Bf16,
        other => {
            let other = other.rsplit(' ').next().unwrap_or(other);
            let other = other.trim_end_matches("Storage");
            return Err(FormatError::unsupported(
                file,
                format!("weight `{name}` has dtype {other}; f32, f16 and bf16 are read"),
            ));
        }
    };
    if !record.is_row_major() {
        return Err(FormatError::unsupported(
            file,
            format!(
                "weight `{name}` of shape {:?} is not stored row by row (strides {:?})\n  hint: call .contiguous() on it before saving, or save as safetensors",
                record.dims, record.strides
            ),
        ));
    }
    let entry = archive
        .get(&format!("{root}/data/{}", record.storage.key))
        .ok_or_else(|| {
            FormatError::malformed(file, format!("the storage of weight `{name}` is missing"))
        })?;
    let unit = dtype.byte_len(&[1]).expect("a number has a size");
    let len = dtype.byte_len(&record.dims);
    let start = record.offset.checked_mul(unit);
    let end = start
        .zip(len)
        .and_then(|(start, len)| start.checked_add(len));
    let (Some(start), Some(len), Some(_)) = (start, len, end.filter(|end| *end <= entry.len))
    else {
        return Err(FormatError::malformed(
            file,
            format!(
                "weight `{name}` of shape {:?} is larger than its storage of {} bytes",
                record.dims, entry.len
            ),
        ));
    };
    let (inner, at) = (blob.clone(), entry.start + start);
    Ok(LazyTensor::new(file, name, record.dims, dtype, move || {
        inner.read(at, len)
    }))
}
