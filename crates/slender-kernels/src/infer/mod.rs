//! Inference on the CPU: weights packed for reading, a cache of keys and values, and the operations of
//! a forward pass without gradients.
//!
//! Decoding one token reads every weight once and does two operations with each, so its speed is that
//! of memory. [`Packed`] stores a matrix so that it is read front to back with whole vectors and no
//! horizontal sums, as f32, bf16 or in blocks of 8-bit integers ([`WeightFormat`]), and [`Team`] starts
//! threads on a piece of work in less than a microsecond, of which a token has some 150.
//!
//! **Bits.** A sum has the order of the training kernels: term by term in one accumulator, in blocks by
//! its length alone. So a token's result is the same to the last bit whether it is read with others in a
//! prompt or alone over a cache, whatever else is in the batch, and on any number of threads; with
//! [`WeightFormat::F32`] it is also that of the training kernels on the same instruction set. The other
//! formats round the weights once and compute in f32 with what that gives.

mod attention;
mod matvec;
mod packed;
mod products;
mod rows;
mod team;
mod vector;

pub(crate) use matvec::{AHEAD, prefetch};

pub use attention::{Heads, LayerCache, attend};
pub use packed::{Packed, WeightFormat};
pub use rows::{Rope, relu_rows, rms_norm_rows, swiglu_rows};
pub use team::Team;

#[cfg(test)]
mod tests;
