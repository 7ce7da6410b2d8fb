//! A repository at one commit: its files, and choosing among them.

use super::{HubError, HubRepo};
use globset::GlobBuilder;
use serde::{Deserialize, Serialize};

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubFile {
    /// Path within the repository.
    pub name: String,
    /// Size in bytes, if the hub tells it.
    pub size: Option<u64>,
}

/// The files of a repository at one commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Commit, 40 hex digits.
    pub commit: String,
    /// Files, sorted by name.
    pub files: Vec<HubFile>,
}

impl Snapshot {
    /// Names of all files, sorted.
    pub fn file_names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// Size of a file in bytes, if it exists and the hub tells its size.
    pub fn size(&self, name: &str) -> Option<u64> {
        self.files.iter().find(|file| file.name == name)?.size
    }

    /// Whether there is a file of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.name == name)
    }

    /// Names that match any of `patterns`: patterns in their order, names sorted within each, no name twice.
    /// `*` and `?` stay within a folder, `**` crosses folders, `{a,b}` and `[0-9]` work as in a shell.
    ///
    /// # Errors
    /// [`HubError::Pattern`] for a pattern that does not parse; [`HubError::FileNotFound`] for one that
    /// matches nothing.
    pub fn glob(&self, repo: &HubRepo, patterns: &[String]) -> Result<Vec<String>, HubError> {
        let mut names: Vec<String> = Vec::new();
        for pattern in patterns {
            let matcher = GlobBuilder::new(pattern)
                .literal_separator(true)
                .build()
                .map_err(|e| HubError::Pattern {
                    pattern: pattern.clone(),
                    message: e.kind().to_string(),
                })?
                .compile_matcher();
            let before = names.len();
            let mut seen = false;
            for name in self.file_names().filter(|name| matcher.is_match(name)) {
                seen = true;
                if !names[..before].iter().any(|other| other == name) {
                    names.push(name.to_string());
                }
            }
            if !seen {
                return Err(HubError::FileNotFound {
                    repo: repo.to_string(),
                    revision: repo.revision().to_string(),
                    file: pattern.clone(),
                });
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::super::RepoKind;
    use super::*;

    #[test]
    fn patterns_choose_files() {
        let names = ["README.md", "a/0.parquet", "a/b/1.parquet", "c/2.parquet"];
        let files = names
            .map(|name| HubFile {
                name: name.into(),
                size: None,
            })
            .to_vec();
        let snapshot = Snapshot {
            commit: "c".into(),
            files,
        };
        let repo = HubRepo::new(RepoKind::Dataset, "org/name", None);
        let glob = |patterns: &[&str]| snapshot.glob(&repo, &patterns.map_to_strings());
        assert_eq!(glob(&["a/*.parquet"]).unwrap(), ["a/0.parquet"]);
        assert_eq!(
            glob(&["**/*.parquet"]).unwrap(),
            ["a/0.parquet", "a/b/1.parquet", "c/2.parquet"]
        );
        assert_eq!(
            glob(&["c/*", "{a,c}/*.parquet"]).unwrap(),
            ["c/2.parquet", "a/0.parquet"]
        );
        assert!(glob(&["x/*"]).unwrap_err().to_string().contains("x/*"));
        assert!(matches!(glob(&["a/["]), Err(HubError::Pattern { .. })));
    }

    trait Strings {
        fn map_to_strings(&self) -> Vec<String>;
    }
    impl Strings for &[&str] {
        fn map_to_strings(&self) -> Vec<String> {
            self.iter().map(|s| s.to_string()).collect()
        }
    }
}
