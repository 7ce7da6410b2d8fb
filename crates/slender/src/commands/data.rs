//! `slender data`.

use crate::cli::DataCommand;
use crate::error::CliError;
use crate::output;
use slender_config::{Config, human_bytes, human_count};
use slender_data::{PrepareOptions, describe_builtin, prepare};
use slender_trainer::exit;

/// Prepares or lists; returns the exit code.
pub fn run(command: &DataCommand) -> Result<i32, CliError> {
    match command {
        DataCommand::List => {
            for text in describe_builtin() {
                output::data(&format!(
                    "{}  {}  {} documents  {}  {}\n",
                    text.name,
                    human_bytes(text.bytes),
                    text.documents,
                    text.licence,
                    text.origin
                ));
            }
        }
        DataCommand::Prepare(args) => {
            let config = Config::load(&args.config, &args.sets)?;
            let prepared = prepare(&config.data, &PrepareOptions::from_env())?;
            for source in &prepared.manifest.sources {
                output::talk(&format!(
                    "{}: {} training tokens, {} validation tokens",
                    source.name,
                    human_count(source.train.tokens as f64),
                    human_count(source.valid.tokens as f64),
                ));
            }
            output::talk(if prepared.fresh {
                "prepared"
            } else {
                "already prepared"
            });
            output::data(&format!("{}\n", prepared.dir.display()));
        }
    }
    Ok(exit::FINISHED)
}
