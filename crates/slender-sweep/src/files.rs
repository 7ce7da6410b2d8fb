//! Whole-file reads and writes. Every file of a sweep is written beside its place and renamed into
//! it, so a reader (or a resumed sweep) never sees half of one.

use crate::error::SweepError;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Replaces `path` with `bytes` in one step.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), SweepError> {
    static SERIAL: AtomicUsize = AtomicUsize::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let temporary = path.with_file_name(format!(
        ".{}.{}-{serial}.tmp",
        name.unwrap_or_default(),
        std::process::id()
    ));
    let written = std::fs::File::create(&temporary)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|source| {
        let _ = std::fs::remove_file(&temporary);
        io("write", path, source)
    })
}

/// The file's text, or `None` if there is no such file.
pub(crate) fn read_optional(path: &Path) -> Result<Option<String>, SweepError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(io("read", path, source)),
    }
}

/// Checks the `format` field of a JSON file of ours.
pub(crate) fn check_format(
    path: &Path,
    found: Option<&str>,
    known: &'static str,
) -> Result<(), SweepError> {
    match found {
        Some(found) if found == known => Ok(()),
        found => Err(SweepError::Format {
            path: path.to_owned(),
            message: format!(
                "the format is `{}`, but this version of slender reads `{known}`",
                found.unwrap_or("not given")
            ),
        }),
    }
}

/// A [`SweepError::Io`].
pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> SweepError {
    SweepError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
