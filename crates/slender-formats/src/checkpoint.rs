//! A model from anywhere: a checked configuration and its weights under slender's names, not read yet.

use crate::folder::{files_ending, llama2c_file, open_weights};
use crate::gguf::{self, GgufFile, GgufMetadata};
use crate::hf_config::HfConfig;
use crate::weights::{assemble, block_weights};
use crate::{Blob, Dtype, FormatError, LazyTensor, llama2c, resolve_model_dir};
use slender_config::SharingKind;
use std::path::{Path, PathBuf};

/// Where a model was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceFormat {
    /// A folder with `config.json`, as Hugging Face and slender write it.
    HuggingFace,
    /// A GGUF file.
    Gguf,
    /// A llama2.c `.bin` file.
    Llama2c,
}

impl SourceFormat {
    /// Its name in messages and records.
    pub fn name(self) -> &'static str {
        match self {
            SourceFormat::HuggingFace => "hugging-face",
            SourceFormat::Gguf => "gguf",
            SourceFormat::Llama2c => "llama2.c",
        }
    }
}

/// A model whose weights are not read yet: every one is there, once, with the shape it must have.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Shape and special tokens.
    pub config: HfConfig,
    /// Weights in module order, Hugging Face's names and order of rows.
    pub tensors: Vec<LazyTensor>,
    /// Where it comes from.
    pub format: SourceFormat,
    /// The files with its weights.
    pub files: Vec<PathBuf>,
    /// Metadata of a GGUF file, in which the tokenizer is.
    pub gguf: Option<GgufMetadata>,
}

impl Checkpoint {
    /// Opens a Hugging Face folder, a folder with one GGUF file, a GGUF file, or a llama2.c checkpoint. The
    /// content tells which.
    ///
    /// # Errors
    /// [`FormatError`]: what is missing, damaged, or asks for something this program does not compute.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        if path.is_dir() {
            if path.join("config.json").is_file() {
                return Self::open_folder(path);
            }
            return match &files_ending(path, "gguf")[..] {
                [file] => Self::open_file(file),
                // Refused by name as one of several.
                [first, _, ..] if is_split(first) => Self::open_file(first),
                several => Err(nothing_in(path, several.len())),
            };
        }
        if path.is_file() {
            return Self::open_file(path);
        }
        Err(FormatError::NotAModel {
            path: path.to_owned(),
            message: "there is no such file or folder".into(),
            hint: "give a folder with config.json and weights, a .gguf file, a llama2.c .bin file, or the name of a hub repository such as HuggingFaceTB/SmolLM2-135M".into(),
        })
    }

    /// Opens a folder with `config.json` and weights in safetensors or PyTorch's format.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_folder(dir: &Path) -> Result<Self, FormatError> {
        let config = HfConfig::read(&dir.join("config.json"))?;
        let (tensors, files) = open_weights(dir)?;
        let file = match &files[..] {
            [file] => file.clone(),
            _ => dir.to_owned(),
        };
        Ok(Self {
            tensors: assemble(&file, &config.shape, tensors)?,
            config,
            format: SourceFormat::HuggingFace,
            files,
            gguf: None,
        })
    }

    /// Opens a GGUF file or a llama2.c checkpoint.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_file(path: &Path) -> Result<Self, FormatError> {
        Self::read(&Blob::open(path)?)
    }

    /// Reads a GGUF file or a llama2.c checkpoint.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn read(blob: &Blob) -> Result<Self, FormatError> {
        let path = blob.path();
        let start = blob.read(0, blob.len().min(4))?;
        if start.starts_with(b"PK") {
            return Err(FormatError::NotAModel {
                path: path.to_owned(),
                message: "a PyTorch file alone says nothing of the model's shape".into(),
                hint: "give the folder with it and its config.json".into(),
            });
        }
        let (config, tensors, format, gguf) = if GgufFile::is_magic(&start) {
            let file = GgufFile::read(blob)?;
            let (config, tensors) = gguf::checkpoint(path, &file)?;
            (config, tensors, SourceFormat::Gguf, Some(file.metadata))
        } else {
            let (config, tensors) = llama2c::read(blob)?;
            (config, tensors, SourceFormat::Llama2c, None)
        };
        Ok(Self {
            tensors: assemble(path, &config.shape, tensors)?,
            config,
            format,
            files: vec![path.to_owned()],
            gguf,
        })
    }

    /// The type most numbers are stored in: the embedding's, or f32 where that is quantized.
    pub fn plain_dtype(&self) -> Dtype {
        match self.tensors.first().map(LazyTensor::dtype) {
            Some(dtype) if !dtype.is_quantized() => dtype,
            _ => Dtype::F32,
        }
    }

    /// The same computation as a plain Llama: shared blocks are repeated as often as they are executed.
    ///
    /// # Errors
    /// [`FormatError::Inexpressible`] where no Llama computes the same.
    pub fn expanded(&self) -> Result<Self, FormatError> {
        let shape = &self.config.shape;
        let missing = if shape.qk_norm {
            Some("QK-norm (model.qk_norm)")
        } else if !matches!(shape.ffn, slender_config::FfnKind::Swiglu) {
            Some("a feed-forward of two matrices (model.ffn)")
        } else {
            None
        };
        if let Some(what) = missing {
            return Err(FormatError::Inexpressible(format!(
                "this model has {what}, which a Llama has not\n  hint: --format hf --sharing compact writes it as it is, for slender to read"
            )));
        }
        if shape.sharing == SharingKind::None {
            return Ok(self.clone());
        }
        let each = block_weights(shape).len();
        let blocks = &self.tensors[1..=each * shape.n_layers];
        let mut tensors = vec![self.tensors[0].clone()];
        for (position, block) in shape.schedule().into_iter().enumerate() {
            let from = format!("model.layers.{block}.");
            for tensor in &blocks[block * each..(block + 1) * each] {
                let rest = tensor.name().strip_prefix(&from).unwrap_or(tensor.name());
                tensors.push(tensor.renamed(format!("model.layers.{position}.{rest}")));
            }
        }
        tensors.extend_from_slice(&self.tensors[1 + blocks.len()..]);
        let mut config = self.config.clone();
        config.shape.n_layers = shape.n_executed_layers();
        config.shape.sharing = SharingKind::None;
        config.shape.repeats = 1;
        Ok(Self {
            config,
            tensors,
            ..self.clone()
        })
    }
}

/// Whether a GGUF file is called the first of several.
fn is_split(file: &Path) -> bool {
    file.file_name()
        .is_some_and(|name| name.to_string_lossy().contains("-00001-of-"))
}

/// Why a folder without `config.json` and with `ggufs` GGUF files is no model, and what in it may be meant.
fn nothing_in(path: &Path, ggufs: usize) -> FormatError {
    let is_run = ["run.json", "status.json"]
        .into_iter()
        .any(|name| path.join(name).is_file());
    let (message, hint) = if is_run {
        (
            "it is a run directory, whose checkpoints are model folders".to_owned(),
            match resolve_model_dir(path) {
                Ok(newest) => format!(
                    "give one of them, the newest is {}; other commands take the run itself",
                    newest.display()
                ),
                Err(_) => {
                    "it has no finished checkpoint yet; go on with `slender train`".to_owned()
                }
            },
        )
    } else if ggufs > 0 {
        (
            format!("it has no config.json and {ggufs} GGUF files"),
            "give one of the files".to_owned(),
        )
    } else if let Some(file) = llama2c_file(path) {
        (
            "it has neither config.json nor a GGUF file".to_owned(),
            format!(
                "there is a llama2.c checkpoint in it: give {}",
                file.display()
            ),
        )
    } else {
        (
            "it has neither config.json nor a GGUF file".to_owned(),
            "give a folder with config.json and weights, a .gguf file, or a llama2.c .bin file"
                .to_owned(),
        )
    };
    FormatError::NotAModel {
        path: path.to_owned(),
        message,
        hint,
    }
}
