//! `slender export`.

use crate::cli::{ExportArgs, ExportFormat, Sharing};
use crate::error::CliError;
use crate::{commands::gguf_fields, output};
use slender_data::{GgufTokenizer, Tokenizer};
use slender_formats::{
    Card, Checkpoint, FormatError, SpecialTokens, Unfinished, gguf, resolve_model_dir, write_gguf,
    write_model,
};
use slender_trainer::exit;
use std::path::{Path, PathBuf};

/// Writes the export; returns the exit code.
pub fn run(args: &ExportArgs) -> Result<i32, CliError> {
    if args.out.exists() {
        return Err(FormatError::Exists {
            path: args.out.clone(),
        }
        .into());
    }
    let source = Source::find(&args.model)?;
    let model = Checkpoint::open_folder(&source.dir)?;
    // GGUF has no form for shared blocks but the expanded one.
    let written = match (args.format, args.sharing) {
        (ExportFormat::Hf, Sharing::Compact) => model.clone(),
        (ExportFormat::Gguf, Sharing::Compact) => {
            return Err(CliError::Usage(
                "--sharing compact is for --format hf; GGUF has no place for shared blocks".into(),
            ));
        }
        (_, Sharing::Expand) => model.expanded()?,
    };
    match args.format {
        ExportFormat::Hf => export_folder(args, &source, &model, &written)?,
        ExportFormat::Gguf => export_gguf(args, &source, &written)?,
    }
    output::data(&format!("{}\n", args.out.display()));
    Ok(exit::FINISHED)
}

/// Where a model is, and what is known of it.
struct Source {
    /// Folder with the weights.
    dir: PathBuf,
    /// The run directory, if the model is a checkpoint of one.
    run: Option<PathBuf>,
    /// Its tokenizer.
    tokenizer_file: PathBuf,
    /// Name for people: the run's, or the folder's.
    name: String,
}

impl Source {
    fn find(path: &Path) -> Result<Self, CliError> {
        let dir = resolve_model_dir(path)?;
        // RUN, or RUN/checkpoints/step-…
        let absolute = std::path::absolute(&dir).unwrap_or_else(|_| dir.clone());
        let run = absolute
            .ancestors()
            .skip(1)
            .take(2)
            .find(|folder| folder.join("run.json").is_file())
            .map(Path::to_owned);
        let folders = [Some(&dir), run.as_ref()];
        let tokenizer_file = folders
            .into_iter()
            .flatten()
            .flat_map(|folder| ["tokenizer.json", "tokenizer.model"].map(|name| folder.join(name)))
            .find(|file| file.is_file())
            .ok_or_else(|| {
                CliError::Usage(format!(
                    "there is no tokenizer.json or tokenizer.model in {}",
                    dir.display()
                ))
            })?;
        let named = run.as_ref().unwrap_or(&absolute);
        let name = named.file_name().map_or("model".to_owned(), |name| {
            name.to_string_lossy().into_owned()
        });
        Ok(Self {
            dir,
            run,
            tokenizer_file,
            name,
        })
    }

    /// Its tokenizer, with a template that begins a text as the model expects, and whether it does.
    fn tokenizer(&self) -> Result<(Tokenizer, bool), CliError> {
        let tokenizer = Tokenizer::from_file(&self.tokenizer_file)?;
        let run = self.run.as_ref().unwrap_or(&self.dir);
        let adds = slender_eval::model_adds_bos(run, &self.dir)?;
        Ok((tokenizer.with_texts_begun(adds)?, adds))
    }
}

/// A Hugging Face folder.
fn export_folder(
    args: &ExportArgs,
    source: &Source,
    model: &Checkpoint,
    written: &Checkpoint,
) -> Result<(), CliError> {
    let (tokenizer, _) = source.tokenizer()?;
    let named = |id: u32| tokenizer.id_to_token(id).map(|name| (id, name));
    let tokens = SpecialTokens {
        bos: tokenizer.bos_id().and_then(named),
        eos: tokenizer.eos_id().and_then(named),
        more_ends: model.config.eos_token_ids.clone(),
        max_seq_len: model.config.shape.max_seq_len,
    };
    let folder = Unfinished::folder(&args.out)?;
    let mut settings = tokenizer.settings().clone();
    if settings.get("model_max_length").is_none() {
        settings.set("model_max_length", tokens.max_seq_len.into());
    }
    tokenizer.with_settings(settings).save_in(folder.path())?;
    keep(source, &folder, "generation_config.json")?;
    if !folder.path().join("generation_config.json").exists() {
        folder.write("generation_config.json", &tokens.generation_config())?;
    }
    let card = Card {
        name: &source.name,
        shape: &model.config.shape,
        run: source.run.as_deref(),
        checkpoint: &source.dir,
        expanded: args.sharing == Sharing::Expand,
    };
    folder.write("README.md", &card.to_markdown())?;
    write_model(&folder, written, args.dtype.into(), args.max_shard_size)?;
    Ok(folder.finish()?)
}

/// A GGUF file.
fn export_gguf(args: &ExportArgs, source: &Source, written: &Checkpoint) -> Result<(), CliError> {
    let (tokenizer, adds_bos) = source.tokenizer()?;
    let (mut fields, notes) = GgufTokenizer::from_tokenizer(&tokenizer)?;
    for note in notes {
        output::talk(&format!("note: {note}"));
    }
    if adds_bos {
        fields.bos = tokenizer.document_start_id();
    }
    fields.add_bos = Some(adds_bos && fields.bos.is_some());
    gguf_fields::pad(&mut fields, written.config.shape.vocab_size);
    let mut metadata = gguf_fields::to_metadata(&fields);
    let ends = slender_formats::end_tokens(&source.dir)?;
    let left = gguf::add_ends(&mut metadata, &ends);
    if !left.is_empty() {
        output::talk(&format!(
            "note: GGUF has keys for three tokens that end a text; not written: {left:?}"
        ));
    }
    let file = Unfinished::file(&args.out)?;
    write_gguf(
        file.path(),
        written,
        args.dtype.into(),
        &source.name,
        metadata,
    )?;
    Ok(file.finish()?)
}

/// Takes a file of the source over, if it has it.
fn keep(source: &Source, folder: &Unfinished, name: &str) -> Result<bool, CliError> {
    let from = source.dir.join(name);
    if !from.is_file() {
        return Ok(false);
    }
    std::fs::copy(&from, folder.path().join(name))
        .map_err(|error| CliError::Io(from.display().to_string(), error))?;
    Ok(true)
}
