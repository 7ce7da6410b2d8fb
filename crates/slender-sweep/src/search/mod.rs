//! Search: which runs of a sweep are trained, and how far.
//!
//! [`Asha`] and [`Tune`] decide, [`space`] draws the points, [`pareto`] compares several objectives. All of
//! it is pure: a decision follows from the plan and from what the run directories say, and is tested
//! in a simulator without training anything.

mod asha;
mod front;
pub mod pareto;
mod section;
#[cfg(test)]
mod simulator;
mod source;
pub mod space;
mod spec;
mod standing;
mod trial;
mod tune;

pub use asha::Asha;
pub use front::{Front, FrontPoint, Objective, front};
pub use section::{LrGrid, Search, SearchSection, check_measured, read_search};
pub use source::{Pauses, SEARCH_FIELD, SearchSource, groups, pauses};
pub use spec::{Cost, Method, Metric, SearchSpec};
pub use standing::{Standing, TrialStanding, Tuned, standing};
pub use trial::{Decision, Trial};
pub use tune::{Parabola, Tune, parabola};
