//! `slender export`.

use crate::cli::{ExportArgs, ExportFormat, Sharing};
use crate::error::CliError;
use crate::output;
use slender_data::Tokenizer;
use slender_formats::{
    Card, Checkpoint, FormatError, SpecialTokens, Unfinished, resolve_model_dir, with_first_token,
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
    let written = match args.sharing {
        Sharing::Expand => model.expanded()?,
        Sharing::Compact => model.clone(),
    };
    match args.format {
        ExportFormat::Hf => export_folder(args, &source, &model, &written)?,
        ExportFormat::Gguf => {
            return Err(CliError::Usage(
                "--format gguf needs the tokenizer's conversion, which is not there yet".into(),
            ));
        }
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

    /// Whether slender trained it, so that texts begin with the tokenizer's first token.
    fn is_ours(&self) -> bool {
        self.run.is_some() || self.dir.join("state.json").is_file()
    }
}

/// A Hugging Face folder.
fn export_folder(
    args: &ExportArgs,
    source: &Source,
    model: &Checkpoint,
    written: &Checkpoint,
) -> Result<(), CliError> {
    let tokenizer = Tokenizer::from_file(&source.tokenizer_file)?;
    let named = |id: u32| tokenizer.id_to_token(id).map(|name| (id, name));
    let tokens = SpecialTokens {
        bos: tokenizer.bos_id().and_then(named),
        eos: tokenizer.eos_id().and_then(named),
        max_seq_len: model.config.shape.max_seq_len,
    };
    let folder = Unfinished::folder(&args.out)?;
    write_tokenizer(source, &tokenizer, &folder)?;
    for (name, text) in [
        ("tokenizer_config.json", tokens.tokenizer_config()),
        ("special_tokens_map.json", tokens.special_tokens_map()),
        ("generation_config.json", tokens.generation_config()),
    ] {
        if !keep(source, &folder, name)? {
            folder.write(name, &text)?;
        }
    }
    keep(source, &folder, "chat_template.jinja")?;
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

/// `tokenizer.json`: the source's, with the first token that models trained here expect before every text.
fn write_tokenizer(
    source: &Source,
    tokenizer: &Tokenizer,
    folder: &Unfinished,
) -> Result<(), CliError> {
    let path = folder.path().join("tokenizer.json");
    tokenizer.save(&path)?;
    let first = tokenizer
        .document_start_id()
        .filter(|_| source.is_ours())
        .and_then(|id| tokenizer.id_to_token(id).map(|name| (id, name)));
    if let Some(first) = first {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| CliError::Io(path.display().to_string(), error))?;
        let text = with_first_token(&text, &first)
            .map_err(|message| CliError::Usage(format!("{}: {message}", path.display())))?;
        folder.write("tokenizer.json", &text)?;
    }
    Ok(())
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
