//! The cache on disk, laid out as Python's `huggingface_hub` does it, so that both find each other's files:
//! `datasets--org--name/{blobs,refs,snapshots}`, partial files `blobs/<etag>.incomplete`, locks under
//! `.locks/`. The one addition is `.slender/<commit>.json`, the file list of a commit, which lets patterns
//! be resolved offline without mistaking what happens to be cached for all there is.

use super::{HubError, HubFile, HubRepo, Snapshot};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A repository's folder in the cache.
pub(super) struct CacheFolder {
    cache: PathBuf,
    repo: HubRepo,
}

/// Whether a revision is a full commit, which never changes its content.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

impl CacheFolder {
    pub fn new(cache: &Path, repo: &HubRepo) -> Self {
        Self {
            cache: cache.to_path_buf(),
            repo: repo.clone(),
        }
    }

    fn hf(&self) -> hf_hub::CacheRepo {
        hf_hub::Cache::new(self.cache.clone()).repo(self.repo.hf())
    }

    fn folder(&self) -> PathBuf {
        self.cache.join(self.repo.hf().folder_name())
    }

    /// Commit that the revision pointed to when it was last asked for.
    pub fn commit(&self) -> Option<String> {
        if is_commit(self.repo.revision()) {
            return Some(self.repo.revision().to_string());
        }
        let commit =
            std::fs::read_to_string(self.folder().join("refs").join(self.repo.revision())).ok()?;
        Some(commit.trim().to_string()).filter(|commit| is_commit(commit))
    }

    /// Remembers the commit of a branch or tag.
    pub fn set_commit(&self, commit: &str) -> Result<(), HubError> {
        if self.repo.revision() == commit {
            return Ok(());
        }
        let path = self.folder().join("refs").join(self.repo.revision());
        create_parent(&path)?;
        replace(&path, commit.as_bytes())
    }

    /// Path of a file of a commit, whether it is there or not.
    pub fn file(&self, commit: &str, name: &str) -> PathBuf {
        self.hf().pointer_path(commit).join(name)
    }

    /// Path of a blob.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.hf().blob_path(etag)
    }

    /// The stored file list of a commit.
    pub fn listing(&self, commit: &str) -> Option<Snapshot> {
        let bytes = std::fs::read(self.listing_path(commit)).ok()?;
        serde_json::from_slice::<Snapshot>(&bytes)
            .ok()
            .filter(|snapshot| snapshot.commit == commit)
    }

    /// Stores the file list of a commit.
    pub fn set_listing(&self, snapshot: &Snapshot) -> Result<(), HubError> {
        let path = self.listing_path(&snapshot.commit);
        create_parent(&path)?;
        replace(
            &path,
            &serde_json::to_vec(snapshot).expect("plain structs serialise"),
        )
    }

    fn listing_path(&self, commit: &str) -> PathBuf {
        self.folder()
            .join(".slender")
            .join(format!("{commit}.json"))
    }

    /// What of a commit is in the cache, which may be less than there is. `None` if nothing is.
    pub fn cached_files(&self, commit: &str) -> Option<Snapshot> {
        let root = self.hf().pointer_path(commit);
        let mut files = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).ok()?.flatten() {
                let path = entry.path();
                let Ok(meta) = std::fs::metadata(&path) else {
                    continue;
                };
                if meta.is_dir() {
                    folders.push(path);
                } else if let Ok(name) = path.strip_prefix(&root) {
                    let name = name.to_string_lossy().replace('\\', "/");
                    files.push(HubFile {
                        name,
                        size: Some(meta.len()),
                    });
                }
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        (!files.is_empty()).then(|| Snapshot {
            commit: commit.to_string(),
            files,
        })
    }

    /// Takes the lock of a blob, waiting for another process that downloads it. `None` where the file system
    /// has no locks: the final rename is atomic all the same.
    pub fn lock(&self, etag: &str) -> Result<Option<File>, HubError> {
        let path = self
            .cache
            .join(".locks")
            .join(self.repo.hf().folder_name())
            .join(format!("{etag}.lock"));
        create_parent(&path)?;
        let file = File::create(&path).map_err(HubError::io("create", &path))?;
        Ok(file.lock().is_ok().then_some(file))
    }

    /// Makes `name` of `commit` point to the blob.
    pub fn link(&self, etag: &str, commit: &str, name: &str) -> Result<PathBuf, HubError> {
        let (blob, pointer) = (self.blob(etag), self.file(commit, name));
        create_parent(&pointer)?;
        if pointer.exists() {
            return Ok(pointer);
        }
        // A link whose blob was deleted is in the way.
        let _ = std::fs::remove_file(&pointer);
        let depth = name.split('/').count() + 1;
        let mut relative: PathBuf = std::iter::repeat_n("..", depth).collect();
        relative.push("blobs");
        relative.push(etag);
        #[cfg(unix)]
        let linked = std::os::unix::fs::symlink(&relative, &pointer);
        #[cfg(not(unix))]
        let linked = std::fs::copy(&blob, &pointer).map(|_| ());
        match linked {
            Ok(()) => Ok(pointer),
            // Another process was faster.
            Err(_) if pointer.exists() => Ok(pointer),
            // File systems without links get a copy.
            Err(_) => match std::fs::copy(&blob, &pointer) {
                Ok(_) => Ok(pointer),
                Err(e) => Err(HubError::io("write", &pointer)(e)),
            },
        }
    }
}

pub(super) fn create_parent(path: &Path) -> Result<(), HubError> {
    let parent = path.parent().expect("paths in the cache have a parent");
    std::fs::create_dir_all(parent).map_err(HubError::io("create", parent))
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    let tmp = crate::fsio::tmp_path(path);
    std::fs::write(&tmp, bytes).map_err(HubError::io("write", &tmp))?;
    std::fs::rename(&tmp, path).map_err(HubError::io("write", path))
}
