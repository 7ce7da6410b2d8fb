//! Sweeps under attack, with the real program: killed processes, and a real Slurm.
#![cfg(target_os = "linux")]

mod cluster;
mod kills;
mod slurm;
mod support;
