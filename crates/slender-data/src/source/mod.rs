//! Text sources: where documents come from, as one lazy stream per source.
//!
//! A `[[data.sources]]` entry resolves to a [`Source`]: an ordered list of [`Input`] files. Opening an input
//! gives its documents in order, decompressed and checked as they are read, so memory holds a document at a
//! time. Hub files are fetched when they are opened: a source cut short by `max_bytes` downloads only what
//! it reads.

mod discover;
mod jsonl;
mod parquet;
mod plan;
mod text;

pub(crate) use plan::{HashCache, Source, plan};

use crate::chat::{Message, messages};
use crate::hub::{Hub, HubRepo};
use crate::{Content, DataError};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How documents lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Plain text, divided by separator lines.
    Text,
    /// One JSON object a line.
    Jsonl,
    /// Parquet with a string column.
    Parquet,
}

/// How a file is compressed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// zstd, any window size.
    Zstd,
}

/// Where a file's bytes are.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// In the binary.
    Builtin(&'static [u8]),
    /// On this machine.
    Path(PathBuf),
    /// On a hub, at a resolved commit.
    Hub(HubRepo, String),
}

/// One file of a source.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    /// Name for messages and the manifest.
    pub name: String,
    /// Where the bytes are.
    pub origin: Origin,
    /// How documents lie in it.
    pub format: Format,
    /// How it is compressed.
    pub compression: Compression,
    /// Size in bytes as stored, 0 if not known.
    pub size: u64,
    /// BLAKE3 of the stored bytes, for local files.
    pub hash: Option<String>,
}

/// Documents of one file, in order. Empty documents are passed on: positions count them.
pub(crate) type Documents = Box<dyn Iterator<Item = Result<String, DataError>> + Send>;

/// What `read_one` gives until it says `None` or fails: after an error the position is not known.
fn until_end(
    mut read_one: impl FnMut() -> Result<Option<String>, DataError> + Send + 'static,
) -> Documents {
    let mut done = false;
    Box::new(std::iter::from_fn(move || {
        if done {
            return None;
        }
        let item = read_one().transpose();
        done = !matches!(item, Some(Ok(_)));
        item
    }))
}

/// Bytes read so far, shared with a progress bar.
pub(crate) type Progress = Arc<AtomicU64>;

/// What is a document in a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading<'a> {
    /// Text, or conversations, which are read as the canonical JSON of their messages.
    pub content: Content,
    /// Column of `.jsonl` and `.parquet`.
    pub column: &'a str,
    /// Line that ends a document of `.txt`.
    pub separator: Option<&'a str>,
}

impl<'a> Reading<'a> {
    /// Text.
    pub fn text(column: &'a str, separator: Option<&'a str>) -> Self {
        Self {
            content: Content::Text,
            column,
            separator,
        }
    }
}

impl Input {
    /// Opens the file and starts reading.
    ///
    /// `hub` is needed for hub files only; `progress` grows to the file's size as it is read.
    pub fn documents(
        &self,
        reading: Reading<'_>,
        hub: Option<&Hub>,
        progress: Progress,
    ) -> Result<Documents, DataError> {
        let fetched;
        let (path, raw): (&Path, Box<dyn Read + Send>) = match &self.origin {
            Origin::Builtin(bytes) => (Path::new(&self.name), Box::new(*bytes)),
            Origin::Path(path) => (path, Box::new(open(path)?)),
            Origin::Hub(repo, file) => {
                let hub =
                    hub.ok_or_else(|| DataError::config("data.sources", "a hub file needs a hub"))?;
                fetched = hub.download(repo, file)?;
                (&fetched, Box::new(open(&fetched)?))
            }
        };
        if self.format == Format::Parquet {
            let file = match (&self.origin, self.compression) {
                (Origin::Path(_) | Origin::Hub(..), Compression::None) => open(path)?,
                _ => spool(raw, self.compression, path)?,
            };
            return parquet::documents(file, path, reading, self.size, progress);
        }
        let reader = decompress(
            Counting {
                inner: raw,
                progress,
            },
            self.compression,
            path,
        )?;
        Ok(match self.format {
            Format::Text if reading.content == Content::Conversations => {
                return Err(DataError::Conversation {
                    place: path.display().to_string(),
                    message: "a .txt file holds no conversations\n  hint: .jsonl and .parquet do"
                        .into(),
                });
            }
            Format::Text => text::documents(reader, path, reading.separator),
            _ => jsonl::documents(reader, path, reading),
        })
    }
}

/// Reads the documents of one local file, whatever its format: `.txt`, `.jsonl` or `.parquet`, each also
/// `.gz` and `.zst`.
///
/// `text_column` names the column of `.jsonl` and `.parquet`; `separator` is a line that ends a document of
/// `.txt` (`None`: the file is one document). Empty documents are left out.
///
/// # Errors
/// [`DataError`] naming the file, with line or byte offset, when it cannot be opened or does not parse.
pub fn read_documents(
    path: &Path,
    text_column: &str,
    separator: Option<&str>,
) -> Result<impl Iterator<Item = Result<String, DataError>> + Send + use<>, DataError> {
    if !path.exists() {
        return Err(DataError::PathMissing {
            path: path.to_path_buf(),
        });
    }
    let (format, compression) =
        discover::classify(&path.to_string_lossy()).ok_or_else(|| DataError::UnknownExtension {
            path: path.to_path_buf(),
        })?;
    let input = Input {
        name: path.display().to_string(),
        origin: Origin::Path(path.to_path_buf()),
        format,
        compression,
        size: 0,
        hash: None,
    };
    let documents = input.documents(
        Reading::text(text_column, separator),
        None,
        Progress::default(),
    )?;
    Ok(documents.filter(|d| !matches!(d, Ok(text) if text.trim().is_empty())))
}

/// The conversations of JSON lines with `messages`; `name` is where they are from, for messages. Other than
/// in training, one need not have an answer.
pub fn read_conversations(
    text: &[u8],
    name: &Path,
) -> impl Iterator<Item = Result<Vec<Message>, DataError>> {
    let lines = text.split(|byte| *byte == b'\n').zip(1u64..);
    let lines = lines.filter(|(line, _)| !line.trim_ascii().is_empty());
    lines.map(|(line, number)| {
        let mut row: serde_json::Value =
            serde_json::from_slice(line).map_err(|e| DataError::InvalidJson {
                path: name.to_path_buf(),
                line: number,
                message: e.to_string(),
            })?;
        let row = row.get_mut("messages").map(serde_json::Value::take);
        messages(row.unwrap_or_default()).map_err(|message| DataError::Conversation {
            place: format!("{}:{number}", name.display()),
            message,
        })
    })
}

fn open(path: &Path) -> Result<File, DataError> {
    File::open(path).map_err(DataError::io("open", path))
}

/// Counts the bytes that pass through.
struct Counting<R> {
    inner: R,
    progress: Progress,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.progress.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Wraps `raw` in the decoder for `compression`. Truncated archives give an error, not a short text.
fn decompress(
    raw: impl Read + Send + 'static,
    compression: Compression,
    path: &Path,
) -> Result<Box<dyn BufRead + Send>, DataError> {
    const BUFFER: usize = 1 << 18;
    let raw = BufReader::with_capacity(BUFFER, raw);
    Ok(match compression {
        Compression::None => Box::new(raw),
        Compression::Gzip => Box::new(BufReader::with_capacity(
            BUFFER,
            flate2::bufread::MultiGzDecoder::new(raw),
        )),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(raw)
                .map_err(DataError::io("decompress", path))?;
            // Archives made with --long need more than the default limit of 2^27.
            decoder
                .window_log_max(31)
                .map_err(DataError::io("decompress", path))?;
            Box::new(BufReader::with_capacity(BUFFER, decoder))
        }
    })
}

/// Decompresses into an unnamed temporary file, for formats that need random access.
fn spool(
    raw: Box<dyn Read + Send>,
    compression: Compression,
    path: &Path,
) -> Result<File, DataError> {
    let mut reader = decompress(raw, compression, path)?;
    let mut file = tempfile::tempfile().map_err(DataError::io("make a temporary copy of", path))?;
    std::io::copy(&mut reader, &mut file).map_err(DataError::io("decompress", path))?;
    file.flush().map_err(DataError::io("decompress", path))?;
    Ok(file)
}
