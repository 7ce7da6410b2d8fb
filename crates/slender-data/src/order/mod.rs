//! The order of training: which tokens are in which batch.
//!
//! A batch is a pure function of (manifest, seed, step). Nothing is shuffled in memory and nothing is
//! replayed: [`permutation`] maps the n-th draw of an epoch to a window, [`mixture`] maps a position in the
//! run to a source and a draw, [`stream`] reads a window from the mapped shards.

mod batch;
mod mixture;
mod permutation;
mod stream;
mod train;
mod valid;

pub use batch::{Batch, Sequence};
pub(crate) use stream::TokenStream;
pub use train::TrainOrder;
pub use valid::{ValidWindow, ValidWindows};
