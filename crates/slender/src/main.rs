//! `slender`: parses, calls and prints. Everything else is in the libraries.

mod cli;
mod commands;
mod error;
mod output;

use clap::Parser;
use cli::{Cli, Command};

/// Large temporaries come and go at every step; mimalloc keeps them mapped, where glibc returns
/// and re-faults them (measured 10 to 40 % of training speed on the flex backend).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let result = match Cli::parse().command {
        Command::Train(args) => commands::train::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Compare(args) => commands::compare::run(&args),
        Command::Sweep(command) => commands::sweep::run(&command),
        Command::Init(args) => commands::init::run(&args),
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::Bench(command) => commands::bench::run(&command),
        Command::Config(command) => commands::config::run(&command),
        Command::Data(command) => commands::data::run(&command),
    };
    let code = result.unwrap_or_else(|error| {
        output::talk(&format!("error: {error}"));
        error.exit_code()
    });
    std::process::exit(code);
}
