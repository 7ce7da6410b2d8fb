//! A tensor of a file: name, dimensions and storage known, numbers read on demand.
//!
//! A conversion holds a list of these and reads one at a time, so its memory is that of the largest
//! tensor. Rearrangements of rows are recorded and done on the stored bytes, which no number notices.

use crate::{Dtype, FormatError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reads the stored bytes.
type Read = dyn Fn() -> Result<Vec<u8>, FormatError> + Send + Sync;

/// A named tensor whose numbers are not read yet. Cheap to clone.
#[derive(Clone)]
pub struct LazyTensor {
    name: String,
    dims: Vec<usize>,
    dtype: Dtype,
    file: PathBuf,
    read: Arc<Read>,
}

impl std::fmt::Debug for LazyTensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {:?}", self.name, self.dtype, self.dims)
    }
}

impl LazyTensor {
    /// A tensor of `file` whose bytes `read` gives. The caller has checked that the file has room for them.
    pub(crate) fn new(
        file: &Path,
        name: impl Into<String>,
        dims: Vec<usize>,
        dtype: Dtype,
        read: impl Fn() -> Result<Vec<u8>, FormatError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            dims,
            dtype,
            file: file.to_path_buf(),
            read: Arc::new(read),
        }
    }

    /// Name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Dimensions, outermost first: a matrix is `[out, in]`.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Storage of its numbers.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// File it comes from.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The same tensor under another name.
    #[must_use]
    pub fn renamed(&self, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..self.clone()
        }
    }

    /// The stored bytes.
    ///
    /// # Errors
    /// The operating system's, or a file that does not hold what it claims.
    pub fn bytes(&self) -> Result<Vec<u8>, FormatError> {
        let bytes = (self.read)()?;
        if self.dtype.byte_len(&self.dims) == Some(bytes.len() as u64) {
            Ok(bytes)
        } else {
            Err(FormatError::malformed(
                &self.file,
                format!(
                    "tensor `{}` has {} bytes, which are not {} numbers in {}",
                    self.name,
                    bytes.len(),
                    self.dims.iter().product::<usize>(),
                    self.dtype
                ),
            ))
        }
    }

    /// The numbers in row-major order.
    ///
    /// # Errors
    /// As [`LazyTensor::bytes`].
    pub fn values(&self) -> Result<Vec<f32>, FormatError> {
        Ok(self.dtype.decode(&self.bytes()?))
    }

    /// The bytes of the numbers stored as `dtype`; as they are where that is their storage.
    ///
    /// # Errors
    /// As [`LazyTensor::bytes`], and a number too large for `dtype`.
    pub fn bytes_as(&self, dtype: Dtype) -> Result<Vec<u8>, FormatError> {
        if dtype == self.dtype {
            return self.bytes();
        }
        dtype.encode(&self.values()?).map_err(|number| {
            FormatError::Inexpressible(format!(
                "weight `{}` holds {number}, for which {dtype} has no place\n  hint: choose --dtype f32 or bf16",
                self.name
            ))
        })
    }

    /// A query or key projection from the row order of rotary pairs `(0, 1), (2, 3), …`, as llama2.c and
    /// GGUF have it, to that of `(0, half), (1, half + 1), …`, as Hugging Face and slender have it, within
    /// each of `n_heads` heads. A tensor without so many rows stays as it is; shapes are checked elsewhere.
    #[must_use]
    pub fn halves_from_pairs(&self, n_heads: usize) -> Self {
        self.with_rows(n_heads, |half, row| row % 2 * half + row / 2)
    }

    /// The way back of [`LazyTensor::halves_from_pairs`].
    #[must_use]
    pub fn pairs_from_halves(&self, n_heads: usize) -> Self {
        self.with_rows(n_heads, |half, row| row % half * 2 + row / half)
    }

    /// Moves row `row` of each head to where `target(rows / 2, row)` says.
    fn with_rows(
        &self,
        n_heads: usize,
        target: impl Fn(usize, usize) -> usize + Send + Sync + 'static,
    ) -> Self {
        let rows = self.dims.first().copied().unwrap_or(0);
        let head = rows.checked_div(n_heads).unwrap_or(0);
        if self.dims.len() != 2 || head * n_heads != rows || head < 2 || head % 2 == 1 {
            return self.clone();
        }
        let inner = self.clone();
        let read = move || {
            let from = inner.bytes()?;
            let size = from.len() / rows;
            let mut to = vec![0; from.len()];
            for (index, row) in from.chunks_exact(size.max(1)).enumerate() {
                let start = (index / head * head + target(head / 2, index % head)) * size;
                to[start..start + size].copy_from_slice(row);
            }
            Ok(to)
        };
        Self::new(
            &self.file,
            self.name.clone(),
            self.dims.clone(),
            self.dtype,
            read,
        )
    }
}

#[cfg(test)]
pub(crate) fn from_values(name: &str, dims: &[usize], values: Vec<f32>) -> LazyTensor {
    let read = move || Ok(Dtype::F32.encode(&values).expect("f32 has a place"));
    LazyTensor::new(Path::new("test"), name, dims.to_vec(), Dtype::F32, read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_heads_move_and_come_back() {
        // Two heads of six rows, one number a row.
        let tensor = from_values("q", &[12, 1], (0..12).map(|x| x as f32).collect());
        let halves = tensor.halves_from_pairs(2);
        assert_eq!(
            halves.values().unwrap(),
            [0., 2., 4., 1., 3., 5., 6., 8., 10., 7., 9., 11.]
        );
        let back = halves.pairs_from_halves(2);
        assert_eq!(back.values().unwrap(), tensor.values().unwrap());
        assert_eq!(back.renamed("x").name(), "x");
    }

    #[test]
    fn a_wrong_number_of_bytes_is_an_error() {
        let tensor = LazyTensor::new(Path::new("f"), "t", vec![2, 2], Dtype::F32, || {
            Ok(vec![0; 15])
        });
        assert_eq!(
            tensor.values().unwrap_err().to_string(),
            "f: tensor `t` has 15 bytes, which are not 4 numbers in f32"
        );
    }

    #[test]
    fn a_number_without_a_place_is_named() {
        let text = from_values("w", &[1], vec![1e6]).bytes_as(Dtype::F16);
        assert_eq!(
            text.unwrap_err().to_string(),
            "weight `w` holds 1000000, for which f16 has no place\n  hint: choose --dtype f32 or bf16"
        );
    }
}
