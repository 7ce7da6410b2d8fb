//! stdout is data, stderr is talk; a reader that closes the pipe early is no error, a full disk is one.

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether data could not be written.
static LOST: AtomicBool = AtomicBool::new(false);

/// Writes `text` to stdout as it is. What cannot be written is said once; [`is_lost`] tells the end of the
/// program.
pub fn data(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush())
        && error.kind() != ErrorKind::BrokenPipe
        && !LOST.swap(true, Ordering::Relaxed)
    {
        talk(&format!("error: cannot write to stdout: {error}"));
    }
}

/// Whether some data never got to stdout.
pub fn is_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Writes `value` to stdout as indented JSON.
pub fn json(value: &serde_json::Value) {
    data(&(serde_json::to_string_pretty(value).unwrap_or_default() + "\n"));
}

/// Writes a line to stderr.
pub fn talk(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Rows as lines of aligned columns; the columns of `left` start at their left edge.
pub fn table(rows: &[Vec<String>], left: &[usize]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate();
        let cells: Vec<String> = cells
            .map(|(i, (cell, &width))| match left.contains(&i) {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            })
            .collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}
