//! Hugging Face hubs: name a repository, get its files, share Python's cache.
//!
//! `hf-hub` 0.5 gives the cache layout and the naming of repositories. Its transfer is not used, because it
//! (a) takes a body that ends early for a whole file, (b) appends a full answer to a partial file when a
//! server ignores `Range`, (c) keeps a partial file that is too long for ever, (d) knows neither `HF_TOKEN`,
//! `HF_HUB_CACHE` nor `HF_HUB_OFFLINE`, and (e) reports 401, 403 and 404 as bare numbers. Transfers here
//! resume, check the length and, for large files, the SHA-256 that the hub states, before a file gets its
//! final name.
//!
//! ```no_run
//! use slender_data::hub::{self, RepoKind};
//! let path = hub::download(RepoKind::Model, "HuggingFaceTB/SmolLM2-135M", None, "tokenizer.json")?;
//! # Ok::<(), slender_data::hub::HubError>(())
//! ```

mod cache;
mod client;
mod config;
mod error;
mod snapshot;
mod transfer;

pub use client::{Hub, HubRepo, RepoKind};
pub use config::HubConfig;
pub use error::HubError;
pub use snapshot::{HubFile, Snapshot};

use std::path::PathBuf;

/// Path of a repository's file in the local cache, downloaded if it is not there yet.
///
/// `revision` is a branch, tag or commit (`None`: `main`). Settings come from the environment
/// ([`HubConfig::from_env`]).
///
/// # Errors
/// [`HubError`] with what to do: token, licence, name, network.
pub fn download(
    kind: RepoKind,
    repo: &str,
    revision: Option<&str>,
    filename: &str,
) -> Result<PathBuf, HubError> {
    Hub::from_env().download(&HubRepo::new(kind, repo, revision), filename)
}

/// Files of a repository, sorted by name.
///
/// # Errors
/// As [`download`].
pub fn list_files(
    kind: RepoKind,
    repo: &str,
    revision: Option<&str>,
) -> Result<Vec<HubFile>, HubError> {
    Ok(Hub::from_env()
        .resolve(&HubRepo::new(kind, repo, revision))?
        .files)
}

/// Names of a repository's files that match any of `patterns`, sorted within each pattern, patterns in
/// their order. `*` and `?` stay within a folder, `**` crosses folders.
///
/// # Errors
/// As [`download`], and [`HubError::Pattern`] for a pattern that does not parse.
pub fn glob(
    kind: RepoKind,
    repo: &str,
    revision: Option<&str>,
    patterns: &[String],
) -> Result<Vec<String>, HubError> {
    let repo = HubRepo::new(kind, repo, revision);
    Hub::from_env().resolve(&repo)?.glob(&repo, patterns)
}
