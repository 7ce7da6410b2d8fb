//! `slender search`.

use super::{CoordCheckArgs, ParetoArgs, ShapesArgs, ShowSearchArgs};
use clap::Subcommand;

/// `slender search`.
#[derive(Subcommand, Debug)]
pub enum SearchCommand {
    /// List every decoder shape that meets a budget, without training.
    Shapes(Box<ShapesArgs>),
    /// Show every trial of a search with its losses, and what was tuned.
    Show(ShowSearchArgs),
    /// List the models of a sweep that no other beats in every respect.
    Pareto(ParetoArgs),
    /// Check that activations, and what training does to them, do not depend on the width.
    CoordCheck(CoordCheckArgs),
}
