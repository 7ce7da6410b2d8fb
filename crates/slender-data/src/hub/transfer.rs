//! Moving one file from the hub to the cache.
//!
//! A file is received under `blobs/<etag>.incomplete` and renamed only when its length is the stated one and,
//! for large files, whose ETag is their SHA-256, its hash too. An interrupted transfer is continued with a
//! `Range` request, now or by the next process. A server that ignores `Range` starts the file over.

use super::cache::{CacheFolder, create_parent};
use super::client::Failure;
use super::{Hub, HubError, HubRepo};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use ureq::http::HeaderMap;

/// What the hub says of a file before it is sent.
struct Meta {
    etag: String,
    size: Option<u64>,
}

/// Downloads `name` of `repo`, whose revision is a commit.
pub(super) fn fetch(
    hub: &Hub,
    folder: &CacheFolder,
    repo: &HubRepo,
    name: &str,
    listed_size: Option<u64>,
) -> Result<PathBuf, HubError> {
    let (base, commit) = (repo.hf().url(), repo.revision());
    let url = format!(
        "{}/{base}/resolve/{commit}/{}",
        hub.config.endpoint,
        encode(name)
    );
    let mut meta = hub.retry(&url, || head(hub, repo, name, &url))?;
    meta.size = meta.size.or(listed_size);
    let blob = folder.blob(&meta.etag);
    create_parent(&blob)?;
    let whole =
        || std::fs::metadata(&blob).is_ok_and(|m| meta.size.is_none_or(|size| size == m.len()));
    if !whole() {
        let _lock = folder.lock(&meta.etag)?;
        // Another process may have fetched it while this one waited.
        if !whole() {
            receive(hub, repo, name, &url, &meta, &blob)?;
        }
    }
    folder.link(&meta.etag, commit, name)
}

/// Asks for a file's headers, following relative redirects only: the redirect to the storage host carries
/// the ETag and size of the file behind it.
fn head(hub: &Hub, repo: &HubRepo, name: &str, url: &str) -> Result<Meta, Failure> {
    let mut at = url.to_string();
    for _ in 0..5 {
        let request = hub
            .authorized(hub.head_agent.head(&at))
            .header("Accept-Encoding", "identity");
        let response = request.call().map_err(Failure::again)?;
        let (status, headers) = (response.status().as_u16(), response.headers());
        if status >= 400 {
            return Err(hub.refusal(repo, Some(name), &at, status, headers, ""));
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if (300..400).contains(&status)
            && let Some(location) = text("location").filter(|to| to.starts_with('/'))
        {
            at = format!("{}{location}", origin(url));
            continue;
        }
        let etag = text("x-linked-etag")
            .or_else(|| text("etag"))
            .unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"');
        if etag.is_empty()
            || !etag
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        {
            let message = format!("without a usable ETag ({etag:?})");
            return Err(HubError::Protocol { url: at, message }.into());
        }
        let size = match text("x-linked-size") {
            Some(size) => size.parse().ok(),
            // A redirect's own body is not the file.
            None if status < 300 => text("content-length").and_then(|size| size.parse().ok()),
            None => None,
        };
        return Ok(Meta {
            etag: etag.to_string(),
            size,
        });
    }
    Err(HubError::Protocol {
        url: at,
        message: "too many redirects".into(),
    }
    .into())
}

/// Receives the body into the partial file until it is whole, then gives it its name.
fn receive(
    hub: &Hub,
    repo: &HubRepo,
    name: &str,
    url: &str,
    meta: &Meta,
    blob: &Path,
) -> Result<(), HubError> {
    let mut part = blob.as_os_str().to_os_string();
    part.push(".incomplete");
    let part = PathBuf::from(part);
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&part)
        .map_err(HubError::io("create", &part))?;
    let bar = progress_bar(hub, name, meta.size);
    hub.retry(url, || {
        continue_file(hub, repo, name, url, meta, &mut file, &part, &bar)
    })?;
    bar.finish_and_clear();
    if let Err(message) = verify(&part, &meta.etag) {
        let _ = std::fs::remove_file(&part);
        return Err(HubError::Damaged {
            repo: repo.to_string(),
            file: name.to_string(),
            message,
        });
    }
    file.sync_all().map_err(HubError::io("flush", &part))?;
    std::fs::rename(&part, blob).map_err(HubError::io("rename", &part))
}

/// One request for what is missing. `Ok` means that the partial file is whole.
#[expect(
    clippy::too_many_arguments,
    reason = "one step of receive, which owns all of these"
)]
fn continue_file(
    hub: &Hub,
    repo: &HubRepo,
    name: &str,
    url: &str,
    meta: &Meta,
    file: &mut File,
    part: &Path,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let length = |file: &File| {
        file.metadata()
            .map(|m| m.len())
            .map_err(HubError::io("read", part))
    };
    let restart = |file: &File| file.set_len(0).map_err(HubError::io("truncate", part));
    let mut have = length(file)?;
    match meta.size {
        // A partial file longer than the file is not part of it.
        Some(size) if have > size => {
            restart(file)?;
            have = 0;
        }
        Some(size) if have == size => return Ok(()),
        _ => {}
    }
    let mut request = hub
        .authorized(hub.agent.get(url))
        .header("Accept-Encoding", "identity");
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let mut response = request.call().map_err(Failure::again)?;
    match response.status().as_u16() {
        206 if range_start(response.headers()) == Some(have) => {}
        206 | 416 => {
            restart(file)?;
            return Err(Failure::again(
                "the server's range is not the one asked for",
            ));
        }
        200 => {
            restart(file)?;
            have = 0;
        }
        status => {
            let body = response.body_mut().read_to_string().unwrap_or_default();
            return Err(hub.refusal(repo, Some(name), url, status, response.headers(), &body));
        }
    }
    bar.set_position(have);
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 17];
    let ended = loop {
        match body.read(&mut buffer) {
            Ok(0) => break None,
            Ok(n) => {
                file.write_all(&buffer[..n])
                    .map_err(HubError::io("write", part))?;
                bar.inc(n as u64);
            }
            Err(e) => break Some(e.to_string()),
        }
    };
    let now = length(file)?;
    let again = |message: String| Failure::Again {
        message,
        progressed: now > have,
        wait: None,
    };
    match (ended, meta.size) {
        (Some(message), _) => Err(again(message)),
        (None, Some(size)) if now < size => {
            Err(again(format!("the body ended at {now} of {size} bytes")))
        }
        (None, Some(size)) if now > size => {
            restart(file)?;
            Err(Failure::again(format!(
                "the body has more than {size} bytes"
            )))
        }
        _ => Ok(()),
    }
}

/// First byte of a `Content-Range: bytes 5-9/10`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get("content-range")?.to_str().ok()?;
    range
        .strip_prefix("bytes ")?
        .split_once('-')?
        .0
        .trim()
        .parse()
        .ok()
}

/// The ETag of a large file is its SHA-256; that of a small one is git's blob hash, for which length suffices.
fn verify(path: &Path, etag: &str) -> Result<(), String> {
    if etag.len() != 64 || !etag.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(());
    }
    let mut hasher = Sha256::new();
    let mut file = File::open(path).map_err(|e| e.to_string())?;
    std::io::copy(&mut file, &mut hasher).map_err(|e| e.to_string())?;
    let found: String = hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found.eq_ignore_ascii_case(etag) {
        Ok(())
    } else {
        Err(format!("its SHA-256 is {found}, the hub says {etag}"))
    }
}

/// Scheme and host of an address.
fn origin(url: &str) -> &str {
    let after = url.find("://").map_or(0, |at| at + 3);
    let end = url[after..].find('/').map_or(url.len(), |at| after + at);
    &url[..end]
}

/// Percent-encodes a path, keeping its slashes.
fn encode(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/=@+,".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn progress_bar(hub: &Hub, name: &str, size: Option<u64>) -> ProgressBar {
    if !hub.config.progress {
        return ProgressBar::hidden();
    }
    if !std::io::stderr().is_terminal() {
        eprintln!(
            "downloading {name}{}",
            size.map_or(String::new(), |size| format!(" ({size} bytes)"))
        );
        return ProgressBar::hidden();
    }
    let style = "{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} ({eta})";
    let bar = ProgressBar::new(size.unwrap_or(0));
    bar.set_style(ProgressStyle::with_template(style).expect("the template is valid"));
    bar.set_message(name.rsplit('/').next().unwrap_or(name).to_string());
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(origin("http://h:80/a/b"), "http://h:80");
        assert_eq!(origin("http://h"), "http://h");
        assert_eq!(encode("a b/c#?.txt"), "a%20b/c%23%3F.txt");
    }
}
