//! Asking the hub: which commit, which files, and one file at a time.

use super::cache::{CacheFolder, is_commit};
use super::transfer;
use super::{HubConfig, HubError, HubFile, Snapshot};
use serde::Deserialize;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use ureq::Agent;
use ureq::config::RedirectAuthHeaders;
use ureq::http::HeaderMap;

/// Kind of repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RepoKind {
    /// Weights, configurations, tokenizers.
    Model,
    /// Texts and tasks.
    Dataset,
}

/// A repository at a revision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HubRepo {
    kind: RepoKind,
    id: String,
    revision: String,
}

impl HubRepo {
    /// Repository `id` (`organisation/name`) at a branch, tag or commit (`None`: `main`).
    pub fn new(kind: RepoKind, id: &str, revision: Option<&str>) -> Self {
        Self {
            kind,
            id: id.to_string(),
            revision: revision.unwrap_or("main").to_string(),
        }
    }

    /// The same repository at another revision.
    pub fn at(&self, revision: &str) -> Self {
        Self {
            revision: revision.to_string(),
            ..self.clone()
        }
    }

    /// Branch, tag or commit.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Name, `organisation/name`.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn hf(&self) -> hf_hub::Repo {
        let kind = match self.kind {
            RepoKind::Model => hf_hub::RepoType::Model,
            RepoKind::Dataset => hf_hub::RepoType::Dataset,
        };
        hf_hub::Repo::with_revision(self.id.clone(), kind, self.revision.clone())
    }

    /// Names become addresses and folder names, so they are checked before use.
    fn check(&self) -> Result<(), HubError> {
        let part = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let revision = self.revision.split('/').all(part);
        if self.id.split('/').all(part) && self.id.split('/').count() <= 2 && revision {
            Ok(())
        } else {
            Err(HubError::BadName {
                repo: if revision {
                    self.id.clone()
                } else {
                    self.revision.clone()
                },
            })
        }
    }
}

impl fmt::Display for HubRepo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            RepoKind::Model => "model",
            RepoKind::Dataset => "dataset",
        };
        write!(f, "{kind} {}", self.id)
    }
}

/// A connection to a hub and its cache. Cheap to clone; remembers file lists.
#[derive(Clone)]
pub struct Hub {
    pub(super) config: Arc<HubConfig>,
    /// Follows redirects, and sends the token to the hub's own host only.
    pub(super) agent: Agent,
    /// Shows redirects: their headers describe the file.
    pub(super) head_agent: Agent,
    snapshots: Arc<Mutex<HashMap<HubRepo, Arc<Snapshot>>>>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hub").field(&self.config).finish()
    }
}

#[derive(Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
}

/// Outcome of one try that may be worth another.
pub(super) enum Failure {
    /// Try again: what happened, and whether this try brought bytes.
    Again {
        message: String,
        progressed: bool,
        wait: Option<Duration>,
    },
    /// Trying again does not help.
    Final(HubError),
}

impl Failure {
    pub fn again(message: impl fmt::Display) -> Self {
        Self::Again {
            message: message.to_string(),
            progressed: false,
            wait: None,
        }
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

impl Hub {
    /// A hub with these settings. Nothing is contacted yet.
    pub fn new(config: HubConfig) -> Self {
        let builder = |redirects: u32| {
            let mut builder = Agent::config_builder()
                .http_status_as_error(false)
                .redirect_auth_headers(RedirectAuthHeaders::SameHost)
                .max_redirects(redirects)
                .max_redirects_will_error(redirects > 0)
                .user_agent(concat!("slender/", env!("CARGO_PKG_VERSION")))
                .timeout_connect(Some(config.timeout))
                .timeout_recv_response(Some(config.timeout))
                .timeout_per_read(Some(config.timeout));
            let host = config
                .endpoint
                .split_once("://")
                .map_or(config.endpoint.as_str(), |(_, rest)| rest);
            if host.starts_with("127.") || host.starts_with("localhost") {
                builder = builder.proxy(None);
            }
            Agent::new_with_config(builder.build())
        };
        let (agent, head_agent) = (builder(10), builder(0));
        Self {
            config: Arc::new(config),
            agent,
            head_agent,
            snapshots: Arc::default(),
        }
    }

    /// The hub the environment describes; settings are read once per process.
    pub fn from_env() -> Self {
        static HUB: OnceLock<Hub> = OnceLock::new();
        HUB.get_or_init(|| Self::new(HubConfig::from_env())).clone()
    }

    /// The settings.
    pub fn config(&self) -> &HubConfig {
        &self.config
    }

    /// Commit and files of a repository's revision. Asked once per process; a full commit whose list is in
    /// the cache is not asked for at all. When the hub cannot be reached, the last known list is used with a
    /// note on stderr.
    ///
    /// # Errors
    /// [`HubError`]: refused, not found, offline without a cached list, network.
    pub fn resolve(&self, repo: &HubRepo) -> Result<Snapshot, HubError> {
        self.snapshot(repo).map(|snapshot| (*snapshot).clone())
    }

    fn snapshot(&self, repo: &HubRepo) -> Result<Arc<Snapshot>, HubError> {
        repo.check()?;
        if let Some(snapshot) = self
            .snapshots
            .lock()
            .expect("no panic while locked")
            .get(repo)
        {
            return Ok(snapshot.clone());
        }
        let folder = CacheFolder::new(&self.config.cache_dir, repo);
        let known = || folder.commit().and_then(|commit| folder.listing(&commit));
        let snapshot = if self.config.offline {
            match known() {
                Some(snapshot) => snapshot,
                None => self.partial_listing(repo, &folder)?,
            }
        } else if let Some(snapshot) = known().filter(|_| is_commit(repo.revision())) {
            snapshot
        } else {
            match self.ask(repo) {
                Ok(snapshot) => {
                    folder.set_listing(&snapshot)?;
                    folder.set_commit(&snapshot.commit)?;
                    snapshot
                }
                Err(error @ HubError::Network { .. }) => {
                    let snapshot = known().ok_or(error)?;
                    eprintln!(
                        "note: {} is not reached; using the cached {repo}",
                        self.config.endpoint
                    );
                    snapshot
                }
                Err(error) => return Err(error),
            }
        };
        let snapshot = Arc::new(snapshot);
        self.snapshots
            .lock()
            .expect("no panic while locked")
            .insert(repo.clone(), snapshot.clone());
        Ok(snapshot)
    }

    /// Offline and only Python has used the cache: what is there may not be all there is, so say so.
    fn partial_listing(&self, repo: &HubRepo, folder: &CacheFolder) -> Result<Snapshot, HubError> {
        let snapshot = folder
            .commit()
            .and_then(|commit| folder.cached_files(&commit));
        let snapshot = snapshot.ok_or_else(|| self.offline(repo, "the file list"))?;
        eprintln!(
            "note: offline, and the file list of {repo} is not known; using the {} files in the cache",
            snapshot.files.len()
        );
        Ok(snapshot)
    }

    fn offline(&self, repo: &HubRepo, what: &str) -> HubError {
        HubError::Offline {
            what: what.into(),
            repo: repo.to_string(),
            cache: self.config.cache_dir.clone(),
        }
    }

    fn ask(&self, repo: &HubRepo) -> Result<Snapshot, HubError> {
        let url = format!(
            "{}/api/{}?blobs=true",
            self.config.endpoint,
            repo.hf().api_url()
        );
        let info: Info = self.retry(&url, || {
            let mut response = self
                .authorized(self.agent.get(&url))
                .call()
                .map_err(Failure::again)?;
            let status = response.status().as_u16();
            if status != 200 {
                let body = response.body_mut().read_to_string().unwrap_or_default();
                return Err(self.refusal(repo, None, &url, status, response.headers(), &body));
            }
            let mut bytes = Vec::new();
            std::io::copy(&mut response.body_mut().as_reader(), &mut bytes)
                .map_err(Failure::again)?;
            serde_json::from_slice(&bytes).map_err(|e| {
                HubError::Protocol {
                    url: url.clone(),
                    message: format!("unexpected JSON: {e}"),
                }
                .into()
            })
        })?;
        if !is_commit(&info.sha) {
            return Err(HubError::Protocol {
                url,
                message: format!("with commit {:?}", info.sha),
            });
        }
        let mut files: Vec<_> = info
            .siblings
            .into_iter()
            .map(|s| HubFile {
                name: s.rfilename,
                size: s.size,
            })
            .collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Snapshot {
            commit: info.sha,
            files,
        })
    }

    /// Path of a file in the cache, downloaded if it is not there yet.
    ///
    /// # Errors
    /// [`HubError`]. A partial file is kept and resumed by the next call; it never gets the final name.
    pub fn download(&self, repo: &HubRepo, name: &str) -> Result<PathBuf, HubError> {
        repo.check()?;
        if name.split('/').any(|part| matches!(part, "" | "." | ".."))
            || name.contains(['\\', '\0'])
        {
            return Err(HubError::BadName {
                repo: name.to_string(),
            });
        }
        let folder = CacheFolder::new(&self.config.cache_dir, repo);
        let cached = || {
            folder
                .commit()
                .map(|commit| folder.file(&commit, name))
                .filter(|path| path.exists())
        };
        if self.config.offline {
            return cached().ok_or_else(|| self.offline(repo, name));
        }
        if is_commit(repo.revision())
            && let Some(path) = cached()
        {
            return Ok(path);
        }
        let snapshot = match self.snapshot(repo) {
            Ok(snapshot) => snapshot,
            Err(error @ HubError::Network { .. }) => return cached().ok_or(error),
            Err(error) => return Err(error),
        };
        let path = folder.file(&snapshot.commit, name);
        if path.exists() {
            return Ok(path);
        }
        if !snapshot.contains(name) {
            let (repo, revision) = (repo.to_string(), repo.revision().to_string());
            return Err(HubError::FileNotFound {
                repo,
                revision,
                file: name.to_string(),
            });
        }
        transfer::fetch(
            self,
            &folder,
            &repo.at(&snapshot.commit),
            name,
            snapshot.size(name),
        )
    }

    /// Adds the token.
    pub(super) fn authorized<B>(
        &self,
        request: ureq::RequestBuilder<B>,
    ) -> ureq::RequestBuilder<B> {
        match &self.config.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// Repeats `call` while it asks for it. Tries that brought bytes do not count.
    pub(super) fn retry<T>(
        &self,
        url: &str,
        mut call: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, HubError> {
        const LONGEST: Duration = Duration::from_secs(30);
        let mut tries = 0;
        loop {
            match call() {
                Ok(value) => return Ok(value),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Again {
                    message,
                    progressed,
                    wait,
                }) => {
                    tries = if progressed { 1 } else { tries + 1 };
                    if tries > self.config.retries {
                        return Err(HubError::Network {
                            url: url.to_string(),
                            tries,
                            message,
                        });
                    }
                    let backoff = self.config.backoff.saturating_mul(1 << (tries - 1).min(10));
                    std::thread::sleep(wait.unwrap_or(backoff).min(LONGEST));
                }
            }
        }
    }

    /// Turns a status that is not success into an error that says what to do.
    pub(super) fn refusal(
        &self,
        repo: &HubRepo,
        file: Option<&str>,
        url: &str,
        status: u16,
        headers: &HeaderMap,
        body: &str,
    ) -> Failure {
        let header = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let code = header("x-error-code");
        let said = match header("x-error-message") {
            "" => body
                .lines()
                .next()
                .unwrap_or_default()
                .chars()
                .take(200)
                .collect(),
            message => message.to_string(),
        };
        let (endpoint, name) = (self.config.endpoint.clone(), repo.to_string());
        let message = if said.is_empty() {
            "no reason given".to_string()
        } else {
            said
        };
        Failure::Final(match (status, code, file) {
            (401 | 403, "GatedRepo", _) => {
                let page = format!("{endpoint}/{}", repo.hf().url());
                HubError::Gated {
                    repo: name,
                    status,
                    message,
                    page,
                }
            }
            (401 | 403, _, _) => HubError::Unauthorized {
                endpoint,
                repo: name,
                status,
                message,
            },
            (404, "RevisionNotFound", _) => HubError::RevisionNotFound {
                repo: name,
                revision: repo.revision().into(),
            },
            (404, code, Some(file)) if code != "RepoNotFound" => HubError::FileNotFound {
                repo: name,
                revision: repo.revision().into(),
                file: file.into(),
            },
            (404, _, _) => HubError::RepoNotFound {
                endpoint,
                repo: name,
            },
            (429 | 500..=599, _, _) => {
                let wait = header("retry-after").parse().ok().map(Duration::from_secs);
                return Failure::Again {
                    message: format!("status {status}: {message}"),
                    progressed: false,
                    wait,
                };
            }
            _ => HubError::Protocol {
                url: url.to_string(),
                message: format!("status {status}: {message}"),
            },
        })
    }
}
