//! stdout is data, stderr is talk; a reader that closes the pipe early is no error.

use std::io::Write;

/// Writes `text` to stdout as it is.
pub fn data(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes `value` to stdout as indented JSON.
pub fn json(value: &serde_json::Value) {
    data(&(serde_json::to_string_pretty(value).unwrap_or_default() + "\n"));
}

/// Writes a line to stderr.
pub fn talk(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
