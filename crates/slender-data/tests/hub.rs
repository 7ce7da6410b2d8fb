//! Transfers from a hub, against a server on this machine: nothing truncated is ever taken for whole.

mod common;

use common::hub_config;
use common::server::{COMMIT, Server, sha256};
use slender_data::hub::{Hub, HubConfig, HubError, HubRepo, RepoKind};
use std::path::{Path, PathBuf};

fn big() -> Vec<u8> {
    (0..300_000u32)
        .flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 7).to_le_bytes())
        .collect()
}

fn repo() -> HubRepo {
    HubRepo::new(RepoKind::Dataset, "org/name", None)
}

fn hub(server: &Server, dir: &Path) -> Hub {
    Hub::new(hub_config(&server.url, dir))
}

fn folder(dir: &Path) -> PathBuf {
    dir.join("hub/datasets--org--name")
}

#[test]
fn files_land_in_pythons_layout() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = big();
    let server = Server::start(&[("data/train 0.bin", &bytes), ("README.md", b"hello")]);
    let hub = hub(&server, dir.path());
    let path = hub.download(&repo(), "data/train 0.bin").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(
        path,
        folder(dir.path())
            .join("snapshots")
            .join(COMMIT)
            .join("data/train 0.bin")
    );
    assert_eq!(
        std::fs::read_to_string(folder(dir.path()).join("refs/main")).unwrap(),
        COMMIT
    );
    let blob = folder(dir.path()).join("blobs").join(sha256(&bytes));
    assert_eq!(std::fs::read(&blob).unwrap(), bytes);
    #[cfg(unix)]
    assert_eq!(
        std::fs::read_link(&path).unwrap(),
        Path::new("../../../blobs").join(sha256(&bytes))
    );
    let small = hub.download(&repo(), "README.md").unwrap();
    assert_eq!(std::fs::read(small).unwrap(), b"hello");
    // The weak ETag's quotes and prefix are not part of the blob's name.
    assert!(
        folder(dir.path())
            .join("blobs")
            .join(&sha256(b"hello")[..40])
            .exists()
    );
    // A second call asks for nothing.
    server.take_seen();
    hub.download(&repo(), "data/train 0.bin").unwrap();
    assert!(server.take_seen().is_empty());
}

#[test]
fn relative_redirects_are_followed_for_headers() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[("a.txt", b"text")]);
    server.set(|b| b.relative_redirect = true);
    let path = hub(&server, dir.path()).download(&repo(), "a.txt").unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"text");
}

#[test]
fn the_token_goes_to_the_hub_only() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[("a.bin", b"data")]);
    server.set(|b| b.token = Some("secret".into()));
    let config = HubConfig {
        token: Some("secret".into()),
        ..hub_config(&server.url, dir.path())
    };
    Hub::new(config).download(&repo(), "a.bin").unwrap();
    for request in server.take_seen() {
        let sent = request.headers.contains_key("authorization");
        assert_eq!(sent, !request.path.starts_with("/storage/"), "{request:?}");
    }
    let error = hub(&server, &dir.path().join("other"))
        .download(&repo(), "a.bin")
        .unwrap_err();
    assert!(
        matches!(error, HubError::Unauthorized { status: 401, .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("HF_TOKEN") && error.to_string().contains("org/name"));
}

#[test]
fn a_truncated_body_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = big();
    let server = Server::start(&[("a.bin", &bytes)]);
    server.set(|b| b.cuts = vec![100_000, 200_000, 0, 0]);
    let path = hub(&server, dir.path()).download(&repo(), "a.bin").unwrap();
    assert!(std::fs::read(path).unwrap() == bytes);
    let ranges: Vec<_> = server
        .take_seen()
        .into_iter()
        .filter(|r| r.method == "GET" && r.path.starts_with("/storage/"))
        .map(|r| r.headers.get("range").cloned())
        .collect();
    let range = |at: u64| Some(format!("bytes={at}-"));
    assert_eq!(
        ranges,
        [
            None,
            range(100_000),
            range(300_000),
            range(300_000),
            range(300_000)
        ]
    );
}

#[test]
fn a_transfer_that_gives_up_is_resumed_by_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = big();
    let server = Server::start(&[("a.bin", &bytes)]);
    server.set(|b| b.cuts = vec![50_000, 0, 0, 0, 0]);
    let error = hub(&server, dir.path())
        .download(&repo(), "a.bin")
        .unwrap_err();
    assert!(matches!(error, HubError::Network { .. }), "{error:?}");
    let snapshot = folder(dir.path())
        .join("snapshots")
        .join(COMMIT)
        .join("a.bin");
    let blob = folder(dir.path()).join("blobs").join(sha256(&bytes));
    assert!(!snapshot.exists() && !blob.exists());
    let partial = folder(dir.path())
        .join("blobs")
        .join(format!("{}.incomplete", sha256(&bytes)));
    assert_eq!(std::fs::metadata(&partial).unwrap().len(), 50_000);
    server.set(|b| b.cuts.clear());
    server.take_seen();
    hub(&server, dir.path()).download(&repo(), "a.bin").unwrap();
    assert!(std::fs::read(&snapshot).unwrap() == bytes);
    assert!(!partial.exists());
    let resumed = server
        .take_seen()
        .iter()
        .any(|r| r.headers.get("range").is_some_and(|r| r == "bytes=50000-"));
    assert!(resumed);
}

#[test]
fn servers_that_ignore_ranges_start_over() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = big();
    let server = Server::start(&[("a.bin", &bytes)]);
    server.set(|b| {
        b.cuts = vec![100_000];
        b.ignore_range = true;
    });
    let path = hub(&server, dir.path()).download(&repo(), "a.bin").unwrap();
    assert!(std::fs::read(path).unwrap() == bytes);
}

#[test]
fn a_partial_file_that_is_too_long_is_thrown_away() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = big();
    let server = Server::start(&[("a.bin", &bytes)]);
    let blobs = folder(dir.path()).join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(
        blobs.join(format!("{}.incomplete", sha256(&bytes))),
        vec![0; bytes.len() + 5],
    )
    .unwrap();
    let path = hub(&server, dir.path()).download(&repo(), "a.bin").unwrap();
    assert!(std::fs::read(path).unwrap() == bytes);
}

#[test]
fn damaged_bytes_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[("a.bin", b"precious")]);
    server.set(|b| b.damage = true);
    let error = hub(&server, dir.path())
        .download(&repo(), "a.bin")
        .unwrap_err();
    assert!(matches!(error, HubError::Damaged { .. }), "{error:?}");
    server.set(|b| b.damage = false);
    let path = hub(&server, dir.path()).download(&repo(), "a.bin").unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"precious");
}

#[test]
fn busy_servers_are_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[("a.bin", b"data")]);
    server.set(|b| b.failures = 3);
    hub(&server, dir.path()).download(&repo(), "a.bin").unwrap();
    server.set(|b| b.failures = 100);
    let error = hub(&server, &dir.path().join("other"))
        .download(&repo(), "a.bin")
        .unwrap_err()
        .to_string();
    assert!(error.contains("503") && error.contains("hint:"), "{error}");
}

#[test]
fn refusals_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[("a.bin", b"data")]);
    let try_with = |status, code| {
        server.set(|b| b.refuse = Some((status, code)));
        let error = hub(&server, dir.path())
            .download(&repo(), "a.bin")
            .unwrap_err();
        server.set(|b| b.refuse = None);
        error
    };
    let gated = try_with(403, "GatedRepo").to_string();
    assert!(
        gated.contains("accept its conditions at") && gated.contains("/datasets/org/name"),
        "{gated}"
    );
    assert!(gated.contains("the server's reason"));
    assert!(matches!(try_with(401, "GatedRepo"), HubError::Gated { .. }));
    assert!(matches!(
        try_with(401, "RepoNotFound"),
        HubError::Unauthorized { .. }
    ));
    assert!(matches!(
        try_with(404, "RepoNotFound"),
        HubError::RepoNotFound { .. }
    ));
    assert!(matches!(try_with(418, ""), HubError::Protocol { .. }));
    let hub = hub(&server, dir.path());
    let other = HubRepo::new(RepoKind::Dataset, "org/other", None);
    assert!(matches!(
        hub.download(&other, "a.bin"),
        Err(HubError::RepoNotFound { .. })
    ));
    let branch = HubRepo::new(RepoKind::Dataset, "org/name", Some("dev"));
    assert!(matches!(
        hub.download(&branch, "a.bin"),
        Err(HubError::RevisionNotFound { .. })
    ));
    let missing = hub.download(&repo(), "b.bin").unwrap_err().to_string();
    assert!(missing.contains("b.bin"), "{missing}");
}

#[test]
fn names_cannot_leave_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[("../../x", b"data")]);
    let hub = hub(&server, dir.path());
    for name in ["../../x", "/etc/x", "a//b", "", "a\\..\\b"] {
        assert!(
            matches!(hub.download(&repo(), name), Err(HubError::BadName { .. })),
            "{name}"
        );
    }
    for id in ["../name", "a/b/c", "", "org/", "org/na me"] {
        let repo = HubRepo::new(RepoKind::Model, id, None);
        assert!(
            matches!(hub.resolve(&repo), Err(HubError::BadName { .. })),
            "{id}"
        );
    }
    assert!(matches!(
        hub.resolve(&repo().at("../x")),
        Err(HubError::BadName { .. })
    ));
}

#[test]
fn offline_uses_the_cache_only() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[("a.bin", b"data"), ("b.bin", b"more")]);
    hub(&server, dir.path()).download(&repo(), "a.bin").unwrap();
    server.take_seen();
    let config = HubConfig {
        offline: true,
        ..hub_config(&server.url, dir.path())
    };
    let offline = Hub::new(config.clone());
    assert_eq!(
        std::fs::read(offline.download(&repo(), "a.bin").unwrap()).unwrap(),
        b"data"
    );
    // The list is whole although one file only is in the cache.
    assert_eq!(offline.resolve(&repo()).unwrap().files.len(), 2);
    let error = offline.download(&repo(), "b.bin").unwrap_err().to_string();
    assert!(
        error.contains("HF_HUB_OFFLINE") && error.contains("b.bin"),
        "{error}"
    );
    let empty = Hub::new(HubConfig {
        cache_dir: dir.path().join("empty"),
        ..config
    });
    assert!(matches!(
        empty.resolve(&repo()),
        Err(HubError::Offline { .. })
    ));
    assert!(server.take_seen().is_empty());
}

#[test]
fn pythons_cache_is_used() {
    // Python keeps no list of files; what it fetched is found all the same.
    let dir = tempfile::tempdir().unwrap();
    let snapshot = folder(dir.path()).join("snapshots").join(COMMIT);
    std::fs::create_dir_all(snapshot.join("data")).unwrap();
    std::fs::create_dir_all(folder(dir.path()).join("refs")).unwrap();
    std::fs::write(snapshot.join("data/a.txt"), "text").unwrap();
    std::fs::write(folder(dir.path()).join("refs/main"), COMMIT).unwrap();
    let config = hub_config("http://127.0.0.1:9", dir.path());
    let offline = Hub::new(HubConfig {
        offline: true,
        ..config.clone()
    });
    assert_eq!(
        offline
            .resolve(&repo())
            .unwrap()
            .file_names()
            .collect::<Vec<_>>(),
        ["data/a.txt"]
    );
    assert!(offline.download(&repo(), "data/a.txt").is_ok());
    // A pinned commit that is in the cache needs no network; nor does a branch when there is none.
    let online = Hub::new(HubConfig {
        retries: 0,
        ..config
    });
    assert!(online.download(&repo().at(COMMIT), "data/a.txt").is_ok());
    assert!(online.download(&repo(), "data/a.txt").is_ok());
    let error = online.download(&repo(), "data/b.txt").unwrap_err();
    assert!(matches!(error, HubError::Network { .. }), "{error:?}");
}

#[test]
fn models_and_special_revisions() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[("tokenizer.json", b"{}")]);
    let hub = hub(&server, dir.path());
    let model = HubRepo::new(RepoKind::Model, "org/name", Some("refs/convert/parquet"));
    let path = hub.download(&model, "tokenizer.json").unwrap();
    assert!(
        path.starts_with(
            dir.path()
                .join("hub/models--org--name/snapshots")
                .join(COMMIT)
        )
    );
    assert!(
        dir.path()
            .join("hub/models--org--name/refs/refs/convert/parquet")
            .exists()
    );
}
