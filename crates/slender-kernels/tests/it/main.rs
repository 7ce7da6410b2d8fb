//! The kernels' promises, in one program: it is linked once and can run itself again with another
//! instruction set.

mod attention;
mod blocks;
mod common;
mod determinism;
mod gradients;
mod instruction_sets;
mod memory;
mod operations;
mod sharing;
