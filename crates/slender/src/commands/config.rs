//! `slender config`.

use crate::cli::{Cli, ConfigCommand};
use crate::error::CliError;
use crate::output;
use slender_config::{Config, schema, sweep};
use slender_trainer::exit;

/// Shows; returns the exit code.
pub fn run(command: &ConfigCommand) -> Result<i32, CliError> {
    match command {
        ConfigCommand::Show(args) => {
            output::data(&Config::load(&args.config, &args.sets)?.to_toml())
        }
        ConfigCommand::Schema { sweep: false } => output::json(schema::json_schema()),
        ConfigCommand::Schema { sweep: true } => output::json(&sweep::sweep_schema()),
        ConfigCommand::Reference { sweep: true, .. } => output::data(&sweep::reference_markdown()),
        ConfigCommand::Reference { cli: false, .. } => output::data(&schema::reference_markdown()),
        ConfigCommand::Reference { cli: true, .. } => {
            let options = clap_markdown::MarkdownOptions::new()
                .title("Command reference".into())
                .show_footer(false);
            output::data(&clap_markdown::help_markdown_custom::<Cli>(&options));
        }
    }
    Ok(exit::FINISHED)
}
