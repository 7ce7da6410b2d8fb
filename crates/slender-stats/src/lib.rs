//! Statistics for small samples of expensive numbers: a few seeds, many questions.
//!
//! Evaluation compares two models on the same questions ([`mcnemar`], [`bootstrap`], [`holm`]); a
//! sweep compares many variants, each trained with a few seeds and scored on the same questions
//! ([`mod@noise`], [`mod@crossed`], [`mod@trend`]). Everything here is a pure function of numbers: no files, no
//! threads that could change a result, and every random draw comes from a fixed seed.
//!
//! `tests/golden.rs` holds the functions to scipy and statsmodels (`scripts/golden_stats.py`).

pub mod bootstrap;
pub mod crossed;
mod discrete;
mod dist;
pub mod noise;
pub mod trend;

pub use crossed::{Crossed, Stratum, crossed};
pub use discrete::{holm, holm_among, mcnemar};
pub use dist::{Estimate, t_quantile, t_two_sided};
pub use noise::Noise;
pub use trend::{Trend, jonckheere, page};
