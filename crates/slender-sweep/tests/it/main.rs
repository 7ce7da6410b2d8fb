//! Tests of the sweep as a library, in one program so that they link once.

mod common;
mod configs;
mod front;
mod leaderboard;
mod manifest;
mod report;
mod sweep;
