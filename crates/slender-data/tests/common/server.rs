//! A small HTTP server on this machine that answers like a Hugging Face hub, misbehaving on demand.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server does; tests change it while it runs.
#[derive(Default)]
pub struct Behaviour {
    /// Files of the repository. Those named `*.bin` or `*.parquet` live behind a redirect to another host.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Token that requests must carry.
    pub token: Option<String>,
    /// Answer every request with this status and `X-Error-Code`.
    pub refuse: Option<(u16, &'static str)>,
    /// Break this many bodies off after so many bytes.
    pub cuts: Vec<usize>,
    /// Answer this many requests with 503 first.
    pub failures: usize,
    /// Send whole files whatever the `Range`.
    pub ignore_range: bool,
    /// Flip a byte of every body.
    pub damage: bool,
    /// Send the first request for a small file elsewhere by a relative redirect.
    pub relative_redirect: bool,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

pub struct Server {
    pub url: String,
    pub behaviour: Arc<Mutex<Behaviour>>,
    pub seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub fn start(files: &[(&str, &[u8])]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let files = files
            .iter()
            .map(|(name, bytes)| (name.to_string(), bytes.to_vec()))
            .collect();
        let behaviour = Arc::new(Mutex::new(Behaviour {
            files,
            ..Behaviour::default()
        }));
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (b, s) = (behaviour.clone(), seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (b, s) = (b.clone(), s.clone());
                std::thread::spawn(move || {
                    let _ = answer(stream.unwrap(), port, &b, &s);
                });
            }
        });
        Self {
            url: format!("http://127.0.0.1:{port}"),
            behaviour,
            seen,
        }
    }

    pub fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }

    /// Requests since the last call.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

fn answer(
    stream: TcpStream,
    port: u16,
    behaviour: &Mutex<Behaviour>,
    seen: &Mutex<Vec<Seen>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(String::from);
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(());
    };
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_lowercase(), value.to_string());
    }
    let request = Seen {
        method,
        path,
        headers,
    };
    seen.lock().unwrap().push(request.clone());
    let mut behaviour = behaviour.lock().unwrap();
    let (status, mut out, mut body) = route(&request, port, &mut behaviour);
    if behaviour.damage && !body.is_empty() && request.path.starts_with("/storage/") {
        body[0] ^= 1;
    }
    let whole = body.len();
    if request.method == "HEAD" {
        body.clear();
    } else if status < 300 && !request.path.starts_with("/api/") && !behaviour.cuts.is_empty() {
        let cut = behaviour.cuts.remove(0);
        body.truncate(cut);
    }
    drop(behaviour);
    out.push(("Content-Length".into(), whole.to_string()));
    out.push(("Connection".into(), "close".into()));
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status} X\r\n")?;
    for (name, value) in out {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(&body)?;
    stream.flush()?;
    stream.shutdown(std::net::Shutdown::Write)
}

type Reply = (u16, Vec<(String, String)>, Vec<u8>);

fn header(name: &str, value: impl Into<String>) -> (String, String) {
    (name.into(), value.into())
}

fn route(request: &Seen, port: u16, behaviour: &mut Behaviour) -> Reply {
    let error = |status: u16, code: &str, message: &str| {
        (
            status,
            vec![
                header("X-Error-Code", code),
                header("X-Error-Message", message),
            ],
            Vec::new(),
        )
    };
    if behaviour.failures > 0 {
        behaviour.failures -= 1;
        return error(503, "", "busy");
    }
    if let Some((status, code)) = behaviour.refuse {
        return error(status, code, "the server's reason");
    }
    let path = request.path.split('?').next().unwrap();
    if let Some(name) = path.strip_prefix("/storage/") {
        return match behaviour.files.get(&name.replace("%20", " ")) {
            Some(bytes) => ranged(request, bytes, behaviour.ignore_range, Vec::new()),
            None => (404, Vec::new(), Vec::new()),
        };
    }
    let wanted = behaviour
        .token
        .as_ref()
        .map(|token| format!("Bearer {token}"));
    if wanted.is_some() && request.headers.get("authorization") != wanted.as_ref() {
        return error(401, "RepoNotFound", "Invalid username or password.");
    }
    let repo = [
        "/api/datasets/org/name/revision/",
        "/api/models/org/name/revision/",
    ];
    if let Some(revision) = repo.iter().find_map(|prefix| path.strip_prefix(prefix)) {
        if !["main", COMMIT, "refs%2Fconvert%2Fparquet"].contains(&revision) {
            return error(404, "RevisionNotFound", "Invalid rev id");
        }
        let siblings: Vec<_> = behaviour
            .files
            .iter()
            .map(|(name, bytes)| serde_json::json!({ "rfilename": name, "size": bytes.len() }))
            .collect();
        let info = serde_json::json!({ "id": "org/name", "sha": COMMIT, "siblings": siblings });
        return (200, Vec::new(), serde_json::to_vec(&info).unwrap());
    }
    let resolve = [
        format!("/datasets/org/name/resolve/{COMMIT}/"),
        format!("/org/name/resolve/{COMMIT}/"),
    ];
    let (name, moved) = match path.strip_prefix("/moved/") {
        Some(name) => (name, true),
        None => match resolve
            .iter()
            .find_map(|prefix| path.strip_prefix(prefix.as_str()))
        {
            Some(name) => (name, false),
            None => return error(404, "RepoNotFound", "Repository not found"),
        },
    };
    let name = name.replace("%20", " ");
    let Some(bytes) = behaviour.files.get(&name) else {
        return error(404, "EntryNotFound", "Entry not found");
    };
    let sha = sha256(bytes);
    let commit = header("X-Repo-Commit", COMMIT);
    if name.ends_with(".bin") || name.ends_with(".parquet") {
        let linked = [
            header("X-Linked-Etag", format!("\"{sha}\"")),
            header("X-Linked-Size", bytes.len().to_string()),
            // Another host name, so that the token must not follow.
            header(
                "Location",
                format!(
                    "http://localhost:{port}/storage/{}",
                    name.replace(' ', "%20")
                ),
            ),
        ];
        return (
            302,
            [vec![commit], linked.to_vec()].concat(),
            b"Found. Redirecting".to_vec(),
        );
    }
    if behaviour.relative_redirect && !moved {
        return (
            307,
            vec![header("Location", format!("/moved/{name}"))],
            Vec::new(),
        );
    }
    let etag = header("ETag", format!("W/\"{}\"", &sha[..40]));
    ranged(request, bytes, behaviour.ignore_range, vec![commit, etag])
}

fn ranged(request: &Seen, bytes: &[u8], ignore: bool, mut headers: Vec<(String, String)>) -> Reply {
    let start = request
        .headers
        .get("range")
        .filter(|_| !ignore)
        .and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse::<usize>()
                .ok()
        });
    match start {
        Some(start) if start >= bytes.len() => (416, headers, Vec::new()),
        Some(start) => {
            headers.push(header(
                "Content-Range",
                format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()),
            ));
            (206, headers, bytes[start..].to_vec())
        }
        None => (200, headers, bytes.to_vec()),
    }
}
