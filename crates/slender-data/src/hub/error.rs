//! What can go wrong with a hub, and what to do about it.

use std::path::PathBuf;

/// Error of listing or downloading files of a hub.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The server wants to know who asks, or does not say whether the repository exists.
    #[error(
        "{endpoint} refuses {repo} ({status}): {message}\n  hint: check the repository's name; if it is private, set HF_TOKEN to a token that can read it"
    )]
    Unauthorized {
        /// Base address.
        endpoint: String,
        /// Repository, with its kind.
        repo: String,
        /// HTTP status.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// The repository wants its conditions accepted.
    #[error(
        "{repo} is gated ({status}): {message}\n  hint: accept its conditions at {page}, then set HF_TOKEN to a token of that account"
    )]
    Gated {
        /// Repository, with its kind.
        repo: String,
        /// HTTP status.
        status: u16,
        /// The server's words.
        message: String,
        /// The repository's page.
        page: String,
    },
    /// No such repository.
    #[error(
        "{endpoint} has no {repo}\n  hint: check the name, and set HF_TOKEN if the repository is private"
    )]
    RepoNotFound {
        /// Base address.
        endpoint: String,
        /// Repository, with its kind.
        repo: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error("{repo} has no revision {revision:?}\n  hint: check the branch, tag or commit")]
    RevisionNotFound {
        /// Repository, with its kind.
        repo: String,
        /// Wanted revision.
        revision: String,
    },
    /// The repository has no such file.
    #[error("{repo} has no file {file:?} at revision {revision}\n  hint: check the file's name")]
    FileNotFound {
        /// Repository, with its kind.
        repo: String,
        /// Wanted revision.
        revision: String,
        /// Wanted file.
        file: String,
    },
    /// Something is not in the cache and the network may not be used.
    #[error("{what} of {repo} is not in the cache at {} and HF_HUB_OFFLINE is set\n  hint: unset HF_HUB_OFFLINE, or fetch it on a machine that shares this cache", cache.display())]
    Offline {
        /// What is missing.
        what: String,
        /// Repository, with its kind.
        repo: String,
        /// Cache folder.
        cache: PathBuf,
    },
    /// The network failed after all retries.
    #[error(
        "cannot reach {url} after {tries} tries: {message}\n  hint: check the network and HF_ENDPOINT; what was received is kept and the next try resumes"
    )]
    Network {
        /// Address.
        url: String,
        /// Number of tries.
        tries: u32,
        /// The last failure.
        message: String,
    },
    /// The server answered with something else than the protocol asks for.
    #[error("{url} answered {message}")]
    Protocol {
        /// Address.
        url: String,
        /// What was wrong.
        message: String,
    },
    /// A whole file was received and is not the one the hub describes.
    #[error(
        "{file} of {repo} arrived damaged: {message}\n  hint: try again; if it stays, check HF_ENDPOINT and any proxy"
    )]
    Damaged {
        /// Repository, with its kind.
        repo: String,
        /// The file.
        file: String,
        /// What does not fit.
        message: String,
    },
    /// A file name pattern does not parse.
    #[error("pattern {pattern:?}: {message}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// The parser's message.
        message: String,
    },
    /// A repository name that cannot be one.
    #[error("{repo:?} is not a repository name\n  hint: names look like \"organisation/name\"")]
    BadName {
        /// What was given.
        repo: String,
    },
    /// The cache cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

impl HubError {
    /// Wraps a system error with what was attempted on which path.
    pub(super) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
