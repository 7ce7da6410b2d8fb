//! `slender import`.

use crate::cli::ImportArgs;
use crate::error::CliError;
use crate::{commands::gguf_fields, output};
use slender_data::Tokenizer;
use slender_data::hub::{Hub, HubRepo, RepoKind};
use slender_formats::{
    Blob, Checkpoint, DEFAULT_SHARD_BYTES, FormatError, GENERATION_CONFIG, SourceFormat,
    Unfinished, check_generation_config, llama2c, write_model,
};
use slender_trainer::exit;
use std::path::{Path, PathBuf};

/// Writes the model folder; returns the exit code.
pub fn run(args: &ImportArgs) -> Result<i32, CliError> {
    if args.out.exists() {
        return Err(FormatError::Exists {
            path: args.out.clone(),
        }
        .into());
    }
    let source = local(args)?;
    let model = Checkpoint::open(&source)?;
    // Before anything is written: a model without a tokenizer would be of no use.
    let mut tokenizer = tokenizer(args, &source, &model)?;
    // llama2.c begins every text with BOS; a checkpoint of slender says it beside the tokenizer.
    let begins = match model.format {
        SourceFormat::Llama2c => Some(true),
        SourceFormat::HuggingFace if source.join("state.json").is_file() => {
            Some(slender_eval::model_adds_bos(&source, &source)?)
        }
        SourceFormat::HuggingFace | SourceFormat::Gguf => None,
    };
    if let Some(begins) = begins {
        tokenizer = tokenizer.with_texts_begun(begins)?;
    }
    if tokenizer.vocab_size() > model.config.shape.vocab_size {
        return Err(CliError::Usage(format!(
            "the tokenizer {} has {} tokens, the embedding of {} only {} rows\n  hint: give the model's own with --tokenizer",
            tokenizer.name(),
            tokenizer.vocab_size(),
            source.display(),
            model.config.shape.vocab_size
        )));
    }
    check_generation_config(&source)?;
    let folder = Unfinished::folder(&args.out)?;
    tokenizer.save_in(folder.path())?;
    keep_generation_config(&source, &model, &folder)?;
    write_model(&folder, &model, args.dtype.into(), DEFAULT_SHARD_BYTES)?;
    folder.finish()?;
    let shape = &model.config.shape;
    output::talk(&format!(
        "{} model {}, {} parameters, from {}",
        model.format.name(),
        shape.label(),
        shape.accounting(shape.max_seq_len, 1).params_total,
        args.source
    ));
    output::data(&format!("{}\n", args.out.display()));
    Ok(exit::FINISHED)
}

/// The source as a file or folder here; a hub repository is fetched.
fn local(args: &ImportArgs) -> Result<PathBuf, CliError> {
    let path = Path::new(&args.source);
    let looks_like_repository = args.source.split('/').count() == 2
        && !args.source.starts_with(['.', '/', '~'])
        && path.extension().is_none_or(|e| e != "gguf" && e != "bin");
    if path.exists() || !looks_like_repository {
        return Ok(path.to_owned());
    }
    output::talk(&format!(
        "there is no {} here; looking for a hub repository of this name",
        args.source
    ));
    let failed = |error| CliError::NeitherHereNorThere(args.source.clone(), error);
    let repo = HubRepo::new(RepoKind::Model, &args.source, Some(&args.revision));
    let hub = Hub::from_env();
    let snapshot = hub.resolve(&repo).map_err(failed)?;
    let has = |name: &str| snapshot.contains(name);
    let weights = if has("model.safetensors") || has("model.safetensors.index.json") {
        "safetensors"
    } else {
        "bin"
    };
    let mut folder = None;
    for name in snapshot.file_names() {
        let wanted = !name.contains('/')
            && (name.ends_with(".json")
                || matches!(name, "tokenizer.model" | "chat_template.jinja")
                || (weights == "safetensors"
                    && name.starts_with("model")
                    && name.ends_with(".safetensors"))
                || (weights == "bin"
                    && name.starts_with("pytorch_model")
                    && name.ends_with(".bin")));
        if wanted {
            let file = hub.download(&repo, name).map_err(failed)?;
            folder = folder.or(file.parent().map(Path::to_owned));
        }
    }
    folder.ok_or_else(|| {
        CliError::Format(FormatError::NotAModel {
            path: path.to_owned(),
            message: "the repository has no file of a model".into(),
            hint: "name a repository with config.json and model.safetensors".into(),
        })
    })
}

/// The tokenizer that goes beside the weights.
fn tokenizer(args: &ImportArgs, source: &Path, model: &Checkpoint) -> Result<Tokenizer, CliError> {
    if let Some(file) = &args.tokenizer {
        return read_tokenizer(file);
    }
    if let Some(metadata) = &model.gguf {
        let name = source.display().to_string();
        return Ok(gguf_fields::from_metadata(metadata)?.to_tokenizer(&name)?);
    }
    if source.is_dir() && model.format == SourceFormat::HuggingFace {
        for name in ["tokenizer.json", "tokenizer.model"] {
            let file = source.join(name);
            if file.is_file() {
                return read_tokenizer(&file);
            }
        }
    }
    if model.format == SourceFormat::Llama2c {
        let file = source.with_file_name("tokenizer.bin");
        if file.is_file() {
            return read_tokenizer(&file);
        }
    }
    let what = match model.format {
        SourceFormat::HuggingFace => "there is no tokenizer.json or tokenizer.model in",
        // A GGUF file has its own.
        SourceFormat::Llama2c | SourceFormat::Gguf => "there is no tokenizer.bin beside",
    };
    Err(CliError::Usage(format!(
        "{what} {}\n  hint: name one with --tokenizer FILE",
        source.display()
    )))
}

/// Reads a tokenizer.json, a SentencePiece model or a llama2.c tokenizer.
///
/// The latter two cannot say that a text begins with BOS. For a SentencePiece model it does, as transformers
/// reads Llamas, unless `tokenizer_config.json` denies it.
fn read_tokenizer(file: &Path) -> Result<Tokenizer, CliError> {
    let blob = Blob::open(file)?;
    let kind = file.extension().and_then(|extension| extension.to_str());
    if kind == Some("bin") {
        return Ok(Tokenizer::from_bytes(&llama2c::sentencepiece(&blob)?)?);
    }
    let tokenizer = Tokenizer::from_file(file)?;
    if kind == Some("json") || tokenizer.settings().add_bos() == Some(false) {
        return Ok(tokenizer);
    }
    Ok(tokenizer.with_texts_begun(true)?)
}

/// Takes over what the source says of generating text.
fn keep_generation_config(
    source: &Path,
    model: &Checkpoint,
    folder: &Unfinished,
) -> Result<(), CliError> {
    let from = source.join(GENERATION_CONFIG);
    if from.is_file() {
        std::fs::copy(&from, folder.path().join(GENERATION_CONFIG))
            .map_err(|error| CliError::Io(from.display().to_string(), error))?;
    } else if let Some(text) = model.config.generation_config() {
        folder.write(GENERATION_CONFIG, &text)?;
    }
    Ok(())
}
