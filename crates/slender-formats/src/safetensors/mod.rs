//! safetensors: a JSON header and the tensors' bytes behind it, in one file or in several with an index.
//!
//! The `safetensors` crate parses and checks headers; here they are read without the rest of the file,
//! and written without holding more than one tensor.

mod index;
mod read;
mod write;

pub use index::{INDEX, Index, PLAIN};
pub use read::{open, read};
pub use write::{Shard, plan_shards, write};
