//! The order of training: which tokens are in which batch.
//!
//! A batch is a pure function of (manifest, seed, step). Nothing is shuffled in memory and nothing is
//! replayed: [`permutation`] maps the n-th draw of an epoch to a window, [`mixture`] maps a position in the
//! run to a source and a draw, [`stream`] reads a window from the mapped shards. Text is one stream cut at
//! regular places; [`conversations`] are kept whole.

mod batch;
mod conversations;
mod mixture;
mod permutation;
mod stream;
mod train;
mod valid;

/// Target that the loss ignores.
pub(crate) const IGNORED: i32 = -1;

pub use batch::{Batch, Sequence};
pub(crate) use stream::TokenStream;
pub use train::TrainOrder;
pub use valid::{ValidWindow, ValidWindows};
