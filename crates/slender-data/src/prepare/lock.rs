//! One process at a time prepares a folder.
//!
//! The lock is the system's, so it goes with the process that holds it, however that ends. On file systems
//! without locks preparation goes on unlocked: files have temporary names that carry the process id and are
//! renamed when whole, and two processes make the same bytes, so the worst case is work done twice.

use crate::DataError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Held while a folder is prepared.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
    /// Whether the system gave a real lock, so that nobody else is writing.
    pub exclusive: bool,
}

impl FolderLock {
    /// Takes the lock of a folder, waiting for another process that has it.
    pub fn take(dir: &Path) -> Result<Self, DataError> {
        let path = dir.join("prepare.lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(DataError::io("create", &path))?;
        let exclusive = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                eprintln!(
                    "waiting for process {} to prepare {}",
                    holder.trim(),
                    dir.display()
                );
                file.lock().is_ok()
            }
            Err(TryLockError::Error(_)) => false,
        };
        // The process id is for the message above only.
        if exclusive {
            let _ = file.set_len(0);
            let _ = file.seek(SeekFrom::Start(0));
            let _ = writeln!(file, "{}", std::process::id());
        }
        Ok(Self {
            _file: file,
            exclusive,
        })
    }
}
