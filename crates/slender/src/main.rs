//! `slender`: parses, calls and prints. Everything else is in the libraries.

mod cli;
mod commands;
mod error;
mod output;

use clap::Parser;
use cli::{Cli, Command};

/// Large temporaries come and go at every step; mimalloc keeps them mapped, where glibc returns
/// and re-faults them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps freed memory instead of giving it back after 10 ms: a training step frees and allocates
/// the same gigabyte again and again, and clearing fresh pages takes a sixth of its time otherwise.
/// `MIMALLOC_PURGE_DELAY` still decides where it is set.
fn keep_freed_memory() {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_some() {
        return;
    }
    /// `mi_option_purge_delay` of mimalloc 3.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: sets one number; nothing else runs yet.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}

/// The exit code of a command that did its work and could not write the result to stdout.
const LOST_OUTPUT: i32 = 70;

fn main() {
    keep_freed_memory();
    let result = match Cli::parse().command {
        Command::Train(args) => commands::train::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Compare(args) => commands::compare::run(&args),
        Command::Sweep(command) => commands::sweep::run(&command),
        Command::Search(command) => commands::search::run(&command),
        Command::Generate(args) => commands::generate::run(&args),
        Command::Chat(args) => commands::chat::run(&args),
        Command::Init(args) => commands::init::run(&args),
        Command::Import(args) => commands::import::run(&args),
        Command::Export(args) => commands::export::run(&args),
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::Bench(command) => commands::bench::run(&command),
        Command::Config(command) => commands::config::run(&command),
        Command::Data(command) => commands::data::run(&command),
        Command::Tokenizer(command) => commands::tokenizer::run(&command),
    };
    let code = result.unwrap_or_else(|error| {
        output::talk(&format!("error: {error}"));
        error.exit_code()
    });
    let lost = code == slender_trainer::exit::FINISHED && output::is_lost();
    std::process::exit(if lost { LOST_OUTPUT } else { code });
}
