//! What can go wrong between a stranger's file and a model.
//!
//! Messages are lowercase fragments that name the file and what in it, and carry a `hint:` line where
//! there is something to do. Nothing in a file makes this crate panic.

use std::path::{Path, PathBuf};

/// Error of reading or writing a model in a format of the field.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, such as `read`.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file that is damaged, or not what it claims to be.
    #[error("{}: {message}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file that is sound, but asks for something this program does not compute.
    #[error("{}: {message}", file.display())]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// The feature, by its name in the file.
        message: String,
    },
    /// A path that is no model.
    #[error("{} is not a model: {message}\n  hint: {hint}", path.display())]
    NotAModel {
        /// The path.
        path: PathBuf,
        /// What is missing.
        message: String,
        /// What to give instead.
        hint: String,
    },
    /// A target that is there already.
    #[error("{} exists\n  hint: choose a path that does not", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// A model that the wanted format cannot express.
    #[error("{0}")]
    Inexpressible(String),
}

impl FormatError {
    /// Wraps a system error with what was attempted on which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// A damaged file.
    pub(crate) fn malformed(file: &Path, message: impl Into<String>) -> Self {
        Self::Malformed {
            file: file.to_path_buf(),
            message: message.into(),
        }
    }

    /// A feature refused by name.
    pub(crate) fn unsupported(file: &Path, message: impl Into<String>) -> Self {
        Self::Unsupported {
            file: file.to_path_buf(),
            message: message.into(),
        }
    }

    /// Whether the cause is what the user asked for, not the machine or a damaged file.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NotAModel { .. } | Self::Exists { .. } | Self::Inexpressible(_)
        )
    }
}
