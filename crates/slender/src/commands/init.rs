//! `slender init`.

use crate::cli::InitArgs;
use crate::error::CliError;
use crate::{commands, output};
use slender_config::Config;
use slender_data::{Dataset, PrepareOptions, TOKENIZER_FILE, Tokenizer, prepare};
use slender_model::{HfConfig, Transformer, write_tensors};
use slender_trainer::exit;
use std::collections::HashMap;

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
    Dataset::open(&prepared.dir)?;
    let tokenizer = Tokenizer::from_file(&prepared.dir.join(TOKENIZER_FILE))?;
    let shape = config
        .shape_for(tokenizer.vocab_size())
        .map_err(|problems| {
            let texts: Vec<String> = problems
                .into_iter()
                .map(|problem| format!("model.{}: {}", problem.key, problem.message))
                .collect();
            CliError::Usage(texts.join("\n"))
        })?;
    let device = commands::open_device("flex")?;
    let model = Transformer::new(&shape, config.run.seed, &device);
    let io = |error| CliError::Io(args.out.display().to_string(), error);
    std::fs::create_dir_all(&args.out).map_err(io)?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    write_tensors(
        &args.out.join("model.safetensors"),
        &model.to_tensors(),
        metadata,
    )?;
    tokenizer.save(&args.out.join("tokenizer.json"))?;
    let hf = HfConfig {
        shape,
        bos_token_id: tokenizer.bos_id(),
        eos_token_id: tokenizer.eos_id(),
    };
    std::fs::write(args.out.join("config.json"), hf.to_json()).map_err(io)?;
    output::data(&format!("{}\n", args.out.display()));
    Ok(exit::FINISHED)
}
