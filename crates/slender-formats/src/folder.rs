//! Folders with a model in them: finding them, and writing them whole or not at all.

use crate::gguf::GgufFile;
use crate::safetensors::{self, Index};
use crate::{Blob, FormatError, LazyTensor, llama2c, torch};
use std::path::{Path, PathBuf};

const HINT: &str = "give a run directory, one of its checkpoints, or a folder with config.json, model.safetensors and tokenizer.json";

fn not_a_model(path: &Path, message: &str) -> FormatError {
    FormatError::NotAModel {
        path: path.to_owned(),
        message: message.to_owned(),
        hint: match importable(path) {
            Some(source) => format!(
                "make a model folder of it with `slender import {} --out DIR`, and give DIR",
                source.display()
            ),
            None => HINT.to_owned(),
        },
    }
}

/// What `slender import` takes where no model folder is: a GGUF file, a llama2.c checkpoint, or a folder with one
/// or with weights in PyTorch's format.
fn importable(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        if path.join("config.json").is_file() {
            let torch = [torch::PLAIN, torch::INDEX];
            return torch
                .into_iter()
                .any(|name| path.join(name).is_file())
                .then(|| path.to_owned());
        }
        return match &files_ending(path, "gguf")[..] {
            [] => llama2c_file(path),
            [_] => Some(path.to_owned()),
            [first, ..] => Some(first.clone()),
        };
    }
    let blob = Blob::open(path).ok()?;
    let start = blob.read(0, blob.len().min(4)).ok()?;
    if start.starts_with(b"PK") {
        // A PyTorch file, of which the folder is the model.
        let folder = path.parent()?;
        let here = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        return here.join("config.json").is_file().then(|| here.to_owned());
    }
    let known = GgufFile::is_magic(&start) || llama2c::read(&blob).is_ok();
    known.then(|| path.to_owned())
}

/// The files of a folder whose names end in `.extension`, sorted.
pub(crate) fn files_ending(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

/// The first llama2.c checkpoint of a folder.
pub(crate) fn llama2c_file(dir: &Path) -> Option<PathBuf> {
    let fits = |path: &PathBuf| Blob::open(path).is_ok_and(|blob| llama2c::read(&blob).is_ok());
    files_ending(dir, "bin").into_iter().find(fits)
}

/// Whether `dir` is a run directory of slender or one of its checkpoints.
pub fn is_run_or_checkpoint(dir: &Path) -> bool {
    dir.join("config.toml").is_file() || dir.join("state.json").is_file()
}

/// The folder with `config.json` and weights behind `path`: itself, or a run's newest checkpoint.
///
/// # Errors
/// A path that does not exist or holds no model.
pub fn resolve_model_dir(path: &Path) -> Result<PathBuf, FormatError> {
    if !path.is_dir() {
        return Err(not_a_model(
            path,
            if path.exists() {
                "it is a file"
            } else {
                "there is no such folder"
            },
        ));
    }
    if path.join("config.json").is_file() {
        return Ok(path.to_owned());
    }
    let checkpoints = path.join("checkpoints");
    let newest = std::fs::read_dir(&checkpoints)
        .ok()
        .and_then(|entries| {
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            names
                .filter(|name| step_of(name).is_some())
                .max_by_key(|name| step_of(name))
        })
        .ok_or_else(|| not_a_model(path, "it has neither config.json nor a finished checkpoint"))?;
    Ok(checkpoints.join(newest))
}

/// The step of a checkpoint folder's name, `step-00000040`.
pub fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix("step-")?.parse().ok()
}

/// `model.safetensors`, or the shards that `model.safetensors.index.json` names.
///
/// # Errors
/// A folder with neither, or an index that is damaged.
pub fn weight_files(dir: &Path) -> Result<Vec<PathBuf>, FormatError> {
    let single = dir.join(safetensors::PLAIN);
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index = dir.join(safetensors::INDEX);
    if !index.is_file() {
        return Err(not_a_model(
            dir,
            "there is neither model.safetensors nor model.safetensors.index.json",
        ));
    }
    let files = Index::read(&index)?;
    Ok(files.files().iter().map(|name| dir.join(name)).collect())
}

/// The tensors of a Hugging Face folder, in safetensors or else in PyTorch's format, and the files they are
/// in.
///
/// # Errors
/// A folder without weights, damaged files, and an index that says otherwise than its files.
pub(crate) fn open_weights(dir: &Path) -> Result<(Vec<LazyTensor>, Vec<PathBuf>), FormatError> {
    type Open = fn(&Path) -> Result<Vec<LazyTensor>, FormatError>;
    let ways: [(&str, &str, Open); 2] = [
        (safetensors::PLAIN, safetensors::INDEX, safetensors::open),
        (torch::PLAIN, torch::INDEX, torch::open),
    ];
    for (single, index, open) in ways {
        let single = dir.join(single);
        if single.is_file() {
            return Ok((open(&single)?, vec![single]));
        }
        let index_file = dir.join(index);
        if !index_file.is_file() {
            continue;
        }
        let index = Index::read(&index_file)?;
        let (mut tensors, mut files) = (Vec::new(), Vec::new());
        for name in index.files() {
            let file = dir.join(name);
            for tensor in open(&file)? {
                if index.weight_map.get(tensor.name()).map(String::as_str) != Some(name) {
                    return Err(FormatError::malformed(
                        &index_file,
                        format!(
                            "weight `{}` is in {name}, not where the index says",
                            tensor.name()
                        ),
                    ));
                }
                tensors.push(tensor);
            }
            files.push(file);
        }
        return Ok((tensors, files));
    }
    Err(not_a_model(
        dir,
        "there is no model.safetensors, pytorch_model.bin, or index of several",
    ))
}

/// A folder, or file, under a temporary name beside its place, which it takes when it is whole.
///
/// What is dropped before that is removed. A killed process leaves `.tmp-…`, which nothing takes for a model.
#[derive(Debug)]
pub struct Unfinished {
    target: PathBuf,
    temporary: PathBuf,
    done: bool,
}

impl Unfinished {
    fn reserve(target: &Path) -> Result<Self, FormatError> {
        if target.exists() {
            return Err(FormatError::Exists {
                path: target.to_owned(),
            });
        }
        let name = target.file_name().ok_or_else(|| FormatError::Exists {
            path: target.to_owned(),
        })?;
        let parent = target.parent().unwrap_or(Path::new(""));
        if !parent.as_os_str().is_empty() {
            std::fs::create_dir_all(parent).map_err(FormatError::io("create", parent))?;
        }
        let temporary = parent.join(format!(
            ".tmp-{}-{}",
            name.to_string_lossy(),
            std::process::id()
        ));
        Ok(Self {
            target: target.to_owned(),
            temporary,
            done: false,
        })
    }

    /// A folder to be at `target`, where nothing is yet.
    ///
    /// # Errors
    /// A target that exists, or the operating system's.
    pub fn folder(target: &Path) -> Result<Self, FormatError> {
        let this = Self::reserve(target)?;
        std::fs::create_dir(&this.temporary).map_err(FormatError::io("create", &this.temporary))?;
        Ok(this)
    }

    /// A file to be at `target`, where nothing is yet.
    ///
    /// # Errors
    /// As [`Unfinished::folder`].
    pub fn file(target: &Path) -> Result<Self, FormatError> {
        Self::reserve(target)
    }

    /// Where to write meanwhile.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Writes a small file of the folder.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write(&self, name: &str, text: &str) -> Result<(), FormatError> {
        let path = self.temporary.join(name);
        std::fs::write(&path, text).map_err(FormatError::io("write", &path))
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// The operating system's, or a target that appeared meanwhile.
    pub fn finish(mut self) -> Result<(), FormatError> {
        if self.target.exists() {
            return Err(FormatError::Exists {
                path: self.target.clone(),
            });
        }
        std::fs::rename(&self.temporary, &self.target)
            .map_err(FormatError::io("rename into place", &self.target))?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.done {
            // Whatever of it there is; there may be nothing yet.
            let _ = std::fs::remove_dir_all(&self.temporary);
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}
