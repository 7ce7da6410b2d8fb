//! Files that are whole or absent.
//!
//! Everything slender-data writes goes to `<name>.tmp-<unique>` first, is flushed to disk and then renamed.
//! A reader that sees the final name sees the final bytes, whatever was killed meanwhile, and two
//! processes that write the same content at once both succeed.

use crate::DataError;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Marks unfinished files; `prepare` deletes what a killed process left.
pub(crate) const TMP_MARK: &str = ".tmp-";

/// Name under which `path` is written before it is whole. The process id alone does not tell threads, or
/// machines that share a file system, apart.
pub(crate) fn tmp_path(path: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.subsec_nanos());
    let mut name = path.as_os_str().to_os_string();
    name.push(format!("{TMP_MARK}{}-{count}-{nanos}", std::process::id()));
    PathBuf::from(name)
}

/// Flushes `file` to disk, renames it to `path` and flushes the folder.
pub(crate) fn commit(file: &File, tmp: &Path, path: &Path) -> Result<(), DataError> {
    file.sync_all().map_err(DataError::io("flush", tmp))?;
    std::fs::rename(tmp, path).map_err(DataError::io("rename into place", path))?;
    sync_parent(path);
    Ok(())
}

/// Writes `bytes` to `path` atomically.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let tmp = tmp_path(path);
    let mut file = File::create(&tmp).map_err(DataError::io("create", &tmp))?;
    file.write_all(bytes)
        .map_err(DataError::io("write", &tmp))?;
    commit(&file, &tmp, path)
}

/// Flushes a folder entry. Some file systems cannot; the rename is atomic there all the same.
fn sync_parent(path: &Path) {
    if let Some(parent) = path.parent()
        && let Ok(folder) = File::open(parent)
    {
        let _ = folder.sync_all();
    }
}

/// BLAKE3 of a file, in hex.
pub(crate) fn hash_file(path: &Path) -> Result<String, DataError> {
    let mut file = File::open(path).map_err(DataError::io("open", path))?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file
            .read(&mut buffer)
            .map_err(DataError::io("read", path))?;
        if n == 0 {
            return Ok(hasher.finalize().to_hex().to_string());
        }
        hasher.update(&buffer[..n]);
    }
}

/// Reads and parses a JSON file that slender wrote.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, DataError> {
    let bytes = std::fs::read(path).map_err(DataError::io("read", path))?;
    serde_json::from_slice(&bytes).map_err(|e| DataError::corrupt(path, e.to_string()))
}

/// Pretty JSON with a final newline.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("plain structs serialise");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atomic_write_leaves_no_tmp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(
            hash_file(&path).unwrap(),
            blake3::hash(b"two").to_hex().to_string()
        );
    }
}
