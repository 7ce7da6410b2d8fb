//! What a run takes over from the model it begins with beside the weights: which tokens end a text.
//!
//! A model made for conversations ends answers with tokens of its own, which its `generation_config.json` and
//! `config.json` name beside the tokenizer's. The run keeps them in a `generation_config.json` of its own, and
//! every checkpoint has a copy, so that what is made of the run stops where the model it began with did.

use crate::error::TrainError;
use crate::rundir::{RunDir, write_atomic};
use slender_data::Tokenizer;
use slender_model::{
    GENERATION_CONFIG, ModelError, inherited_generation_config, resolve_model_dir, tokenizer_file,
};
use std::path::Path;

/// Writes the `generation_config.json` of a run that begins with the model behind `from` (`None`: with none) and
/// trains with `tokenizer`; one of an earlier start is replaced or removed.
///
/// # Errors
/// The operating system's, or a damaged file of the model.
pub(crate) fn keep_generation_config(
    dir: &RunDir,
    from: Option<&Path>,
    tokenizer: &Tokenizer,
) -> Result<(), TrainError> {
    let file = dir.root().join(GENERATION_CONFIG);
    let text = match from {
        Some(path) => inherited(path, tokenizer)?,
        None => None,
    };
    if let Some(text) = text {
        return write_atomic(&file, text.as_bytes());
    }
    match std::fs::remove_file(&file) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(TrainError::Io { file, source })
        }
        _ => Ok(()),
    }
}

fn inherited(path: &Path, tokenizer: &Tokenizer) -> Result<Option<String>, TrainError> {
    let dir = resolve_model_dir(path).map_err(ModelError::from)?;
    // Without a tokenizer there, the one trained with is the model's own as far as anybody can tell.
    let theirs = tokenizer_file(path, &dir)
        .map(|file| Tokenizer::from_file(&file))
        .transpose()?;
    let same = |id: u32| {
        theirs
            .as_ref()
            .is_none_or(|theirs| theirs.id_to_token(id) == tokenizer.id_to_token(id))
    };
    let text = inherited_generation_config(&dir, tokenizer.eos_id(), same);
    Ok(text.map_err(ModelError::from)?)
}
