//! Writes the report of a sweep directory anew: `cargo run --example report -- DIR`.
//!
//! The same as `slender sweep report DIR`, from a program that builds in seconds, for those who work
//! on the report.

fn main() -> Result<(), slender_sweep::SweepError> {
    for dir in std::env::args_os().skip(1) {
        let dir = std::path::PathBuf::from(dir);
        let files = slender_sweep::write_report(&slender_sweep::collect(&dir)?, &dir)?;
        println!("{}", files.html.display());
    }
    Ok(())
}
