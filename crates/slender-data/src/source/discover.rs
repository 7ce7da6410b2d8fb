//! Finding the files of a `files` source.
//!
//! Folders are walked in sorted order, so that the document order does not depend on the file system.
//! A file named in the configuration must have a known extension; inside a folder, other files (a README,
//! a licence, hidden files) are passed over.

use super::{Compression, Format};
use crate::DataError;
use std::path::{Path, PathBuf};

/// Format and compression by file name; `None` if the extension is not read.
pub(crate) fn classify(name: &str) -> Option<(Format, Compression)> {
    let lower = name.to_ascii_lowercase();
    let (stem, compression) = match lower.rsplit_once('.')? {
        (stem, "gz") => (stem, Compression::Gzip),
        (stem, "zst") => (stem, Compression::Zstd),
        _ => (lower.as_str(), Compression::None),
    };
    let format = match stem.rsplit_once('.')?.1 {
        "txt" => Format::Text,
        "jsonl" => Format::Jsonl,
        "parquet" => Format::Parquet,
        _ => return None,
    };
    Some((format, compression))
}

/// A readable file that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub path: PathBuf,
    pub format: Format,
    pub compression: Compression,
}

/// All readable files of `path`, a file or a folder, in sorted order.
pub(super) fn discover(path: &Path) -> Result<Vec<Found>, DataError> {
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(DataError::PathMissing {
                path: path.to_path_buf(),
            });
        }
        Err(e) => return Err(DataError::io("read", path)(e)),
    };
    if meta.is_dir() {
        let mut found = Vec::new();
        walk(path, &mut found, 0)?;
        if found.is_empty() {
            return Err(DataError::NoFiles {
                path: path.to_path_buf(),
            });
        }
        return Ok(found);
    }
    let (format, compression) =
        classify(&path.to_string_lossy()).ok_or_else(|| DataError::UnknownExtension {
            path: path.to_path_buf(),
        })?;
    Ok(vec![Found {
        path: path.to_path_buf(),
        format,
        compression,
    }])
}

fn walk(folder: &Path, found: &mut Vec<Found>, depth: usize) -> Result<(), DataError> {
    // A link that points upwards would otherwise recurse for ever.
    const DEEPEST: usize = 64;
    if depth > DEEPEST {
        return Err(DataError::io("walk", folder)(std::io::Error::other(
            format!("more than {DEEPEST} folders deep; a link that points to its own parent?"),
        )));
    }
    let mut entries = std::fs::read_dir(folder)
        .and_then(|entries| {
            entries
                .map(|entry| entry.map(|e| e.path()))
                .collect::<Result<Vec<_>, _>>()
        })
        .map_err(DataError::io("list", folder))?;
    entries.sort();
    for path in entries {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with('.') {
            continue;
        }
        let meta = std::fs::metadata(&path).map_err(DataError::io("read", &path))?;
        if meta.is_dir() {
            walk(&path, found, depth + 1)?;
        } else if let Some((format, compression)) = classify(&name) {
            found.push(Found {
                path,
                format,
                compression,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_format() {
        assert_eq!(classify("a/b.TXT"), Some((Format::Text, Compression::None)));
        assert_eq!(
            classify("b.jsonl.gz"),
            Some((Format::Jsonl, Compression::Gzip))
        );
        assert_eq!(
            classify("x.y.parquet.zst"),
            Some((Format::Parquet, Compression::Zstd))
        );
        for name in ["a", "a.gz", "a.md", "a.txt.bz2", "txt"] {
            assert_eq!(classify(name), None, "{name}");
        }
    }

    #[test]
    fn folders_are_walked_in_order() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "b/z.txt",
            "b/a.jsonl",
            "a.txt.gz",
            "README.md",
            ".hidden/x.txt",
            "c.parquet",
        ] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found: Vec<_> = discover(dir.path())
            .unwrap()
            .into_iter()
            .map(|f| {
                f.path
                    .strip_prefix(dir.path())
                    .unwrap()
                    .display()
                    .to_string()
            })
            .collect();
        assert_eq!(found, ["a.txt.gz", "b/a.jsonl", "b/z.txt", "c.parquet"]);
    }

    #[test]
    fn errors_name_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let missing = discover(&dir.path().join("nope")).unwrap_err().to_string();
        assert!(
            missing.contains("nope") && missing.contains("hint:"),
            "{missing}"
        );
        assert!(
            discover(dir.path())
                .unwrap_err()
                .to_string()
                .contains("no .txt")
        );
        let odd = dir.path().join("a.csv");
        std::fs::write(&odd, "").unwrap();
        assert!(discover(&odd).unwrap_err().to_string().contains("a.csv"));
    }
}
