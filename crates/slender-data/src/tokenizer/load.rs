//! Loading the tokenizer that `[data.tokenizer]` names.

use super::{CHAT_TEMPLATE_FILE, SETTINGS_FILE, SPECIAL_TOKENS_FILE, Tokenizer, TokenizerSettings};
use crate::hub::{Hub, HubRepo, RepoKind};
use crate::{DataError, TokenizerConfig, TokenizerKind};

/// Loads a tokenizer of kind `file` or `hub` and checks its vocabulary against `vocab_size`; `None` for
/// `bpe`, which is trained on the corpus by [`crate::prepare()`].
///
/// # Errors
/// [`DataError`]: missing keys, files, repositories; a file that does not parse; another vocabulary size.
pub fn load_tokenizer(config: &TokenizerConfig, hub: &Hub) -> Result<Option<Tokenizer>, DataError> {
    let needed = |key: &str, kind: &str| {
        DataError::config(
            format!("data.tokenizer.{key}"),
            format!("needed by kind = {kind:?}"),
        )
    };
    let tokenizer = match config.kind {
        TokenizerKind::Bpe => return Ok(None),
        TokenizerKind::File => {
            let path = config.path.as_ref().ok_or_else(|| needed("path", "file"))?;
            if !path.exists() {
                return Err(DataError::PathMissing { path: path.clone() });
            }
            Tokenizer::from_file(path)?
        }
        TokenizerKind::Hub => {
            let id = config.repo.as_ref().ok_or_else(|| needed("repo", "hub"))?;
            from_hub(
                hub,
                &HubRepo::new(RepoKind::Model, id, config.revision.as_deref()),
                config.file.as_deref(),
            )?
        }
    };
    match config.vocab_size {
        Some(expected) if expected != tokenizer.vocab_size() => Err(DataError::VocabSize {
            name: tokenizer.name().to_string(),
            expected,
            found: tokenizer.vocab_size(),
        }),
        _ => Ok(Some(tokenizer)),
    }
}

/// `file`, else `tokenizer.json`, else `tokenizer.model`, with the settings beside it.
fn from_hub(hub: &Hub, repo: &HubRepo, file: Option<&str>) -> Result<Tokenizer, DataError> {
    let snapshot = hub.resolve(repo)?;
    let pinned = repo.at(&snapshot.commit);
    let usual = ["tokenizer.json", "tokenizer.model"];
    let Some(file) = file.or_else(|| usual.into_iter().find(|name| snapshot.contains(name))) else {
        return Err(DataError::Tokenizer {
            name: repo.id().to_string(),
            message: "the repository has neither tokenizer.json nor tokenizer.model\n  hint: set data.tokenizer.file"
                .into(),
        });
    };
    let path = hub.download(&pinned, file)?;
    let bytes = std::fs::read(&path).map_err(DataError::io("read", &path))?;
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let beside =
        tempfile::tempdir().map_err(DataError::io("make a temporary folder for", &path))?;
    for name in [SETTINGS_FILE, SPECIAL_TOKENS_FILE, CHAT_TEMPLATE_FILE] {
        let remote = format!("{folder}/{name}");
        let remote = remote.trim_start_matches('/');
        if snapshot.contains(remote) {
            let path = hub.download(&pinned, remote)?;
            let copy = beside.path().join(name);
            std::fs::copy(&path, &copy).map_err(DataError::io("copy", &path))?;
        }
    }
    let settings = TokenizerSettings::read(beside.path())?;
    Tokenizer::build(&format!("{}/{file}", repo.id()), &bytes, settings)
}
