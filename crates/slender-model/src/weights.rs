//! Weights as safetensors: written whole or not at all, read with every shape checked.

use crate::transformer::Transformer;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use slender_config::ModelShape;
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Errors of reading and writing models.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The operating system's.
    #[error("{file}: {source}", file = file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A `config.json` that cannot be used.
    #[error("{file}: {message}", file = file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A weights file that cannot be used.
    #[error("{file}: {message}", file = file.display())]
    Weights {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A path that is no model.
    #[error("{path} is not a model: {message}\n  hint: give a run directory, one of its checkpoints, or a folder with config.json, model.safetensors and tokenizer.json", path = path.display())]
    NotAModel {
        /// The path.
        path: PathBuf,
        /// What is missing.
        message: String,
    },
    /// A file of the model.
    #[error(transparent)]
    Format(#[from] slender_formats::FormatError),
    /// The tokenizer beside the model.
    #[error(transparent)]
    Tokenizer(#[from] slender_data::DataError),
}

/// One tensor on the host: name, dimensions, row-major values.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Hugging Face name.
    pub name: String,
    /// Dimensions.
    pub dims: Vec<usize>,
    /// Row-major values.
    pub values: Vec<f32>,
}

struct Collect<'a> {
    path: Vec<String>,
    sink: &'a mut dyn FnMut(NamedTensor),
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        (self.sink)(NamedTensor {
            name: self.path.join("."),
            dims: tensor.dims().to_vec(),
            values: tensor
                .into_data()
                .convert::<f32>()
                .try_into_vec()
                .expect("converted to f32"),
        });
    }
}

impl Transformer {
    /// Visits every weight in module order, copied to the host.
    pub fn for_each_weight(&self, mut sink: impl FnMut(NamedTensor)) {
        self.visit(&mut Collect {
            path: Vec::new(),
            sink: &mut sink,
        });
    }

    /// Every weight in module order, copied to the host.
    pub fn to_tensors(&self) -> Vec<NamedTensor> {
        let mut tensors = Vec::new();
        self.for_each_weight(|tensor| tensors.push(tensor));
        tensors
    }

    /// Reads a model of `shape` from safetensors files, weight by weight, once it is known that all are there
    /// with their shapes.
    ///
    /// # Errors
    /// Unreadable files, or a weight that is missing, unknown, of the wrong shape or of a dtype
    /// other than f32, f16 and bf16.
    pub fn read(
        shape: &ModelShape,
        files: &[PathBuf],
        device: &Device,
    ) -> Result<Self, ModelError> {
        let mut tensors = Vec::new();
        for file in files {
            tensors.extend(slender_formats::safetensors::open(file)?);
        }
        let file = files.first().cloned().unwrap_or_default();
        let mut weights = slender_formats::assemble(&file, shape, tensors)?.into_iter();
        Self::build(shape, device, &mut |name, _| {
            let weight = weights.next().expect("one for each weight of the shape");
            debug_assert_eq!(weight.name(), name);
            Ok(weight.values()?)
        })
    }
}

/// Names and dimensions of every weight of a model of `shape`, in module order.
pub fn weight_names(shape: &ModelShape, device: &Device) -> Vec<(String, Vec<usize>)> {
    let mut names = Vec::new();
    let built = Transformer::build(shape, device, &mut |name, dims| {
        names.push((name.to_owned(), dims.to_vec()));
        Ok::<_, std::convert::Infallible>(vec![0.0; dims.iter().product()])
    });
    drop(built);
    names
}

/// Writes `tensors` as f32 safetensors to `path`, through a temporary file and a rename.
///
/// Returns the BLAKE3 hash of the file as hex.
///
/// # Errors
/// The operating system's.
pub fn write_tensors(
    path: &Path,
    tensors: &[NamedTensor],
    metadata: HashMap<String, String>,
) -> Result<String, ModelError> {
    let views: Vec<(&str, TensorView<'_>)> = tensors
        .iter()
        .map(|tensor| {
            let bytes: &[u8] = bytemuck::cast_slice(&tensor.values);
            let view = TensorView::new(Dtype::F32, tensor.dims.clone(), bytes);
            (
                tensor.name.as_str(),
                view.expect("values match their dimensions"),
            )
        })
        .collect();
    let bytes =
        safetensors::serialize(views, Some(metadata)).map_err(|error| ModelError::Weights {
            file: path.to_owned(),
            message: error.to_string(),
        })?;
    write_whole(path, &bytes)?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}

/// Writes `bytes` to `path` through a temporary file and a rename.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let io = |source| ModelError::Io {
        file: path.to_owned(),
        source,
    };
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let temporary = path.with_file_name(format!("{name}.tmp"));
    let mut file = std::fs::File::create(&temporary).map_err(io)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(io)?;
    std::fs::rename(&temporary, path).map_err(io)
}

/// Every tensor of a safetensors file as f32.
///
/// # Errors
/// An unreadable, truncated or malformed file, or a dtype other than f32, f16 and bf16.
pub fn read_weights(file: &Path) -> Result<Vec<NamedTensor>, ModelError> {
    let bad = |message: String| ModelError::Weights {
        file: file.to_owned(),
        message,
    };
    let bytes = std::fs::read(file).map_err(|source| ModelError::Io {
        file: file.to_owned(),
        source,
    })?;
    let parsed = SafeTensors::deserialize(&bytes)
        .map_err(|error| bad(format!("not a whole safetensors file: {error}")))?;
    let mut out = Vec::with_capacity(parsed.len());
    for (name, view) in parsed.tensors() {
        let data = view.data();
        let values = match view.dtype() {
            Dtype::F32 => data
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Dtype::F16 => data
                .chunks_exact(2)
                .map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            Dtype::BF16 => data
                .chunks_exact(2)
                .map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            other => {
                return Err(bad(format!(
                    "weight `{name}` has dtype {other:?}; f32, f16 and bf16 are read"
                )));
            }
        };
        out.push(NamedTensor {
            name,
            dims: view.shape().to_vec(),
            values,
        });
    }
    Ok(out)
}
