//! Tests of the sweep as a library, in one program so that they link once.

mod alike;
mod common;
mod configs;
mod experiments;
mod front;
mod leaderboard;
mod manifest;
mod plans;
mod report;
mod search;
mod slurm;
mod space;
mod statistics;
mod status;
mod sweep;
