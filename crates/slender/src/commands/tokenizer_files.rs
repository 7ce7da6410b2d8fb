//! Tokenizers wherever they are: files of all kinds, GGUF metadata, folders, runs.

use super::gguf_fields;
use crate::error::CliError;
use slender_data::Tokenizer;
use slender_formats::gguf::GgufFile;
use slender_formats::{Blob, is_run_or_checkpoint, llama2c};
use std::path::Path;

/// Reads a tokenizer.json, a SentencePiece model, a llama2.c tokenizer or that of a GGUF file, or finds one
/// in a folder or run.
pub fn read(path: &Path) -> Result<Tokenizer, CliError> {
    if path.is_dir() {
        let inside = slender_formats::resolve_model_dir(path).unwrap_or_else(|_| path.to_owned());
        let files = [inside.as_path(), path]
            .into_iter()
            .flat_map(|folder| ["tokenizer.json", "tokenizer.model"].map(|name| folder.join(name)));
        let found = files.into_iter().find(|file| file.is_file());
        let file = found.ok_or_else(|| {
            CliError::Usage(format!(
                "there is no tokenizer.json or tokenizer.model in {}",
                path.display()
            ))
        })?;
        let tokenizer = Tokenizer::from_file(&file)?;
        // A run says beside the tokenizer whether a text begins with BOS.
        if !is_run_or_checkpoint(&inside) && !is_run_or_checkpoint(path) {
            return Ok(tokenizer);
        }
        let adds = slender_eval::model_adds_bos(path, &inside)?;
        return Ok(tokenizer.with_texts_begun(adds)?);
    }
    if !path.exists() {
        return Err(CliError::Usage(format!(
            "no such file or folder: {}",
            path.display()
        )));
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("bin") => Ok(Tokenizer::from_bytes(&llama2c::sentencepiece(
            &Blob::open(path)?,
        )?)?),
        Some("gguf") => {
            let gguf = gguf_fields::from_metadata(&GgufFile::open(path)?.metadata)?;
            Ok(gguf.to_tokenizer(&path.display().to_string())?)
        }
        _ => Ok(Tokenizer::from_file(path)?),
    }
}
