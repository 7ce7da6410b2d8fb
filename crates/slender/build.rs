//! Records the source commit, so that a run directory can say what program made it.

use std::process::Command;

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn main() {
    // Any change of the sources may change whether the tree is dirty. A path that does not exist
    // would make cargo run this at every build.
    for path in [
        "../../.git/HEAD",
        "../../.git/index",
        "../../Cargo.lock",
        "../../crates",
    ] {
        if std::path::Path::new(path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let commit = git(&["rev-parse", "HEAD"]).unwrap_or_default();
    let dirty = git(&["status", "--porcelain"]).map(|text| !text.is_empty());
    println!("cargo::rustc-env=SLENDER_COMMIT={commit}");
    println!(
        "cargo::rustc-env=SLENDER_DIRTY={}",
        dirty.map(|d| d.to_string()).unwrap_or_default()
    );
}
