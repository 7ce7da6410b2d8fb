//! `slender search`.

use crate::cli::SearchCommand;
use crate::commands::{coord, front, shapes};
use crate::error::CliError;
use slender_trainer::exit;

/// Searches; returns the exit code.
pub fn run(command: &SearchCommand) -> Result<i32, CliError> {
    match command {
        SearchCommand::Shapes(args) => shapes::run(args)?,
        SearchCommand::Show(args) => front::show(args)?,
        SearchCommand::Pareto(args) => front::pareto(args)?,
        SearchCommand::CoordCheck(args) => return coord::run(args),
    }
    Ok(exit::FINISHED)
}
