//! `slender search`.

use super::{CoordCheckArgs, ParetoArgs, ShapesArgs};
use clap::Subcommand;

/// `slender search`.
#[derive(Subcommand, Debug)]
pub enum SearchCommand {
    /// List every decoder shape that meets a budget, without training.
    Shapes(Box<ShapesArgs>),
    /// List the models of a sweep that no other beats in every respect.
    Pareto(ParetoArgs),
    /// Check that activations, and what training does to them, do not depend on the width.
    CoordCheck(CoordCheckArgs),
}
