//! Hub settings from the environment, as Python's `huggingface_hub` reads them.

use std::path::PathBuf;
use std::time::Duration;

/// Where the hub is, where its cache is, and who asks.
#[derive(Clone)]
pub struct HubConfig {
    /// Base address, without a final slash.
    pub endpoint: String,
    /// Folder of `models--…` and `datasets--…`.
    pub cache_dir: PathBuf,
    /// Access token.
    pub token: Option<String>,
    /// Use the cache only.
    pub offline: bool,
    /// How often an interrupted transfer or a failing server is tried again.
    pub retries: u32,
    /// Wait before the first retry; doubles each time, up to 30 s.
    pub backoff: Duration,
    /// Longest silence of a server before a transfer counts as interrupted.
    pub timeout: Duration,
    /// Show progress bars of downloads on stderr.
    pub progress: bool,
}

/// Hides the token.
impl std::fmt::Debug for HubConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubConfig")
            .field("endpoint", &self.endpoint)
            .field("cache_dir", &self.cache_dir)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

impl HubConfig {
    /// Settings from `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_TOKEN_PATH` (or the token file
    /// that `hf auth login` writes), `HF_HUB_OFFLINE`, `HF_HUB_DISABLE_PROGRESS_BARS` and
    /// `HF_HUB_DOWNLOAD_TIMEOUT`.
    pub fn from_env() -> Self {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    /// As [`HubConfig::from_env`], with the variables looked up by `var`.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Self {
        let var = |name: &str| var(name).filter(|value| !value.is_empty());
        let on = |name: &str| {
            var(name).is_some_and(|value| {
                matches!(value.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
            })
        };
        let home = var("HOME")
            .or_else(|| var("USERPROFILE"))
            .map(PathBuf::from)
            .unwrap_or_default();
        let hf_home = match (var("HF_HOME"), var("XDG_CACHE_HOME")) {
            (Some(path), _) => expand(&path, &home),
            (None, Some(cache)) => expand(&cache, &home).join("huggingface"),
            (None, None) => home.join(".cache/huggingface"),
        };
        let cache_dir = var("HF_HUB_CACHE")
            .or_else(|| var("HUGGINGFACE_HUB_CACHE"))
            .map_or_else(|| hf_home.join("hub"), |path| expand(&path, &home));
        let token_file =
            var("HF_TOKEN_PATH").map_or_else(|| hf_home.join("token"), |path| expand(&path, &home));
        let token = var("HF_TOKEN")
            .or_else(|| var("HUGGING_FACE_HUB_TOKEN"))
            .or_else(|| std::fs::read_to_string(token_file).ok())
            .map(|token| token.trim().to_string())
            .filter(|token| !token.is_empty());
        let endpoint = var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let timeout = var("HF_HUB_DOWNLOAD_TIMEOUT")
            .and_then(|seconds| seconds.parse().ok())
            .unwrap_or(30);
        Self {
            endpoint: endpoint.trim_end_matches('/').to_string(),
            cache_dir,
            token,
            offline: on("HF_HUB_OFFLINE") || on("TRANSFORMERS_OFFLINE"),
            retries: 5,
            backoff: Duration::from_secs(1),
            timeout: Duration::from_secs(timeout),
            progress: !on("HF_HUB_DISABLE_PROGRESS_BARS"),
        }
    }
}

/// Expands a leading `~/`, as Python does.
fn expand(path: &str, home: &std::path::Path) -> PathBuf {
    match path.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(vars: &[(&str, &str)]) -> HubConfig {
        HubConfig::from_vars(|name| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn folders_follow_python() {
        let dir = |vars: &[(&str, &str)]| config(vars).cache_dir.display().to_string();
        assert_eq!(dir(&[("HOME", "/h")]), "/h/.cache/huggingface/hub");
        assert_eq!(
            dir(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]),
            "/x/huggingface/hub"
        );
        assert_eq!(
            dir(&[("HOME", "/h"), ("HF_HOME", "~/f"), ("XDG_CACHE_HOME", "/x")]),
            "/h/f/hub"
        );
        assert_eq!(dir(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/f")]), "/c");
    }

    #[test]
    fn tokens_and_switches() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().to_str().unwrap();
        assert_eq!(config(&[("HF_HOME", path)]).token, None);
        std::fs::write(home.path().join("token"), "from-file\n").unwrap();
        assert_eq!(
            config(&[("HF_HOME", path)]).token.as_deref(),
            Some("from-file")
        );
        let both = config(&[
            ("HF_HOME", path),
            ("HF_TOKEN", "from-env"),
            ("HF_HUB_OFFLINE", "true"),
        ]);
        assert_eq!(both.token.as_deref(), Some("from-env"));
        assert!(both.offline && !format!("{both:?}").contains("from-env"));
        assert_eq!(
            config(&[("HF_ENDPOINT", "http://mirror/")]).endpoint,
            "http://mirror"
        );
        assert!(!config(&[("HF_HUB_OFFLINE", "0")]).offline);
    }
}
