//! Writing safetensors files, tensor by tensor.

use crate::{Dtype, FormatError, LazyTensor};
use safetensors::Dtype as Stored;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// A tensor with the type it is written in.
pub type Typed = (LazyTensor, Dtype);

/// A file of a checkpoint.
#[derive(Clone, Debug)]
pub struct Shard {
    /// File name.
    pub name: String,
    /// Its tensors.
    pub tensors: Vec<Typed>,
}

/// Divides `tensors` into files of at most `max_bytes` of tensors each, in order; a larger tensor has a file
/// of its own. One file is `model.safetensors`, several are numbered as Hugging Face numbers them.
pub fn plan_shards(tensors: Vec<Typed>, max_bytes: u64) -> Vec<Shard> {
    let mut groups: Vec<Vec<Typed>> = vec![Vec::new()];
    let mut size = 0u64;
    for (tensor, dtype) in tensors {
        let len = dtype.byte_len(tensor.dims()).unwrap_or(u64::MAX);
        let last = groups.last_mut().expect("never empty");
        if !last.is_empty() && size.saturating_add(len) > max_bytes {
            groups.push(vec![(tensor, dtype)]);
            size = len;
        } else {
            last.push((tensor, dtype));
            size = size.saturating_add(len);
        }
    }
    let count = groups.len();
    let name = |index: usize| match count {
        1 => super::PLAIN.to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
    };
    let groups = groups.into_iter().enumerate();
    groups
        .map(|(index, tensors)| Shard {
            name: name(index),
            tensors,
        })
        .collect()
}

/// Writes `tensors`, each in the type beside it, to `path`, which is created. Returns the bytes of tensors.
///
/// # Errors
/// The operating system's, those of reading the tensors, and numbers that a type has no place for.
pub fn write(path: &Path, tensors: &[Typed]) -> Result<u64, FormatError> {
    let mut infos = Vec::with_capacity(tensors.len());
    let mut offset = 0usize;
    for (tensor, dtype) in tensors {
        let stored = match dtype {
            Dtype::F32 => Stored::F32,
            Dtype::F16 => Stored::F16,
            Dtype::Bf16 => Stored::BF16,
            other => {
                return Err(FormatError::Inexpressible(format!(
                    "safetensors has no {other}\n  hint: choose --dtype f32, bf16 or f16"
                )));
            }
        };
        let len = dtype.byte_len(tensor.dims()).unwrap_or(u64::MAX) as usize;
        let end = offset.saturating_add(len);
        infos.push((
            tensor.name().to_owned(),
            TensorInfo {
                dtype: stored,
                shape: tensor.dims().to_vec(),
                data_offsets: (offset, end),
            },
        ));
        offset = end;
    }
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let metadata = Metadata::new(Some(format), infos)
        .map_err(|error| FormatError::malformed(path, error.to_string()))?;
    let mut header = serde_json::to_vec(&metadata)
        .map_err(|error| FormatError::malformed(path, error.to_string()))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let file = File::create(path).map_err(FormatError::io("create", path))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(FormatError::io("write", path));
    put(&(header.len() as u64).to_le_bytes())?;
    put(&header)?;
    for (tensor, dtype) in tensors {
        put(&tensor.bytes_as(*dtype)?)?;
    }
    let file = out
        .into_inner()
        .map_err(|error| FormatError::io("write", path)(error.into_error()))?;
    file.sync_all().map_err(FormatError::io("flush", path))?;
    Ok(offset as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::from_values;

    #[test]
    fn shards_are_filled_in_order() {
        let tensor = |name: &str, n: usize| (from_values(name, &[n], vec![0.5; n]), Dtype::F16);
        let tensors = vec![
            tensor("a", 4),
            tensor("b", 4),
            tensor("c", 100),
            tensor("d", 1),
        ];
        let names = |shards: &[Shard]| -> Vec<(String, usize)> {
            let each = shards.iter();
            each.map(|shard| (shard.name.clone(), shard.tensors.len()))
                .collect()
        };
        assert_eq!(
            names(&plan_shards(tensors.clone(), 1 << 20)),
            [("model.safetensors".to_owned(), 4)]
        );
        assert_eq!(
            names(&plan_shards(tensors, 16)),
            [
                ("model-00001-of-00003.safetensors".to_owned(), 2),
                ("model-00002-of-00003.safetensors".to_owned(), 1),
                ("model-00003-of-00003.safetensors".to_owned(), 1)
            ]
        );
    }

    #[test]
    fn what_is_written_is_read_by_the_library_and_by_us() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        let tensors = [
            (
                from_values("b", &[2, 3], vec![1., 2., 3., 4., 5., 6.]),
                Dtype::Bf16,
            ),
            (from_values("a", &[2], vec![0.1, -0.2]), Dtype::F32),
        ];
        assert_eq!(write(&path, &tensors).unwrap(), 20);
        let bytes = std::fs::read(&path).unwrap();
        let whole = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(whole.tensor("b").unwrap().shape(), [2, 3]);
        let read = super::super::open(&path).unwrap();
        assert_eq!(read[0].name(), "b");
        assert_eq!(read[0].values().unwrap(), [1., 2., 3., 4., 5., 6.]);
        assert_eq!(read[1].values().unwrap(), [0.1, -0.2]);
        for cut in [0, 7, 8, 60, bytes.len() - 1] {
            let blob = crate::Blob::from_bytes("cut", bytes[..cut].to_vec());
            let error = super::super::read(&blob).unwrap_err().to_string();
            assert!(error.contains("not a whole safetensors file"), "{error}");
        }
    }
}
