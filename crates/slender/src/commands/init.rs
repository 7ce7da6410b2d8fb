//! `slender init`.

use crate::cli::InitArgs;
use crate::error::CliError;
use crate::{commands, output};
use slender_config::Config;
use slender_data::{PrepareOptions, TOKENIZER_FILE, Tokenizer, prepare};
use slender_model::Transformer;
use slender_trainer::{exit, shape_for};

/// Writes the model; returns the exit code.
pub fn run(args: &InitArgs) -> Result<i32, CliError> {
    let config = Config::load(&args.config.config, &args.config.sets)?;
    if args.out.exists() {
        return Err(CliError::Usage(format!(
            "{} exists\n  hint: choose a folder that does not",
            args.out.display()
        )));
    }
    let prepared = prepare(&config.data, &PrepareOptions::from_env())?;
    let tokenizer = Tokenizer::from_file(&prepared.dir.join(TOKENIZER_FILE))?;
    let shape = shape_for(&config, tokenizer.vocab_size())?;
    let device = commands::open_device("flex")?;
    let scaling = config.scaling_of(&shape);
    let model = Transformer::with_scaling(&shape, config.run.seed, &scaling, &device);
    let io = |error| CliError::Io(args.out.display().to_string(), error);
    std::fs::create_dir_all(&args.out).map_err(io)?;
    model.save(&args.out, &tokenizer)?;
    output::data(&format!("{}\n", args.out.display()));
    Ok(exit::FINISHED)
}
