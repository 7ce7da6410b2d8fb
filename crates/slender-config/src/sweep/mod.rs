//! `sweep.toml`: many runs written as one file.
//!
//! A sweep file names a base configuration and says what varies: `[axes]` (crossed, or zipped in
//! groups), `[[variants]]` (a list with names of its own), `[space]` (the shapes of a budget), and
//! `seeds`. [`SweepFile::read`] checks the file; [`SweepFile::expand`] makes the runs'
//! configurations, each checked like any other. A problem names the line of the sweep file, or of
//! the base, that it comes from.
//!
//! Sections that other parts of slender read (`[slurm]`, `[search]`) are kept as they are:
//! [`SweepFile::section`].

mod budget;
mod expand;
mod file;
mod names;
mod parts;
mod points;
mod reader;
mod reference;
mod refuse;
mod section;
mod shapes;
mod space;
mod starts;
#[cfg(test)]
mod tests;

pub use budget::{Equal, equalize};
pub use expand::{Expanded, MOST_RUNS};
pub use file::{SweepFile, is_sweep_file};
pub use reader::{parse_quantity, parse_range};
pub use reference::{SweepToml, reference_markdown, sweep_schema};
pub use section::{read_section, read_toml};
pub use shapes::{Found, ShapeContext, decode_bytes, solve};
pub use space::{
    Budget, FfnWidth, KvHeads, Quantity, Space, SpaceProblem, Spread, sharing_choices,
};
