//! Tokenizing one source: read, encode in parallel, write in order.
//!
//! One thread reads and decompresses documents into batches of some megabytes; rayon's threads encode a
//! batch; the caller's thread appends the results to the shards in document order. At most four batches are
//! in flight, so memory does not grow with the corpus. The shards' bytes depend on neither the number of
//! threads nor on where an earlier process was killed.

use super::manifest::ShardManifest;
use super::parts::{Part, Position};
use super::progress::Reporter;
use super::split::Split;
use crate::chat::{ChatTemplate, Message};
use crate::hub::Hub;
use crate::shard::{ShardWriter, TokenType};
use crate::source::{Progress, Source};
use crate::{Content, DataError, SourceRole, Tokenizer};
use rayon::prelude::*;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

/// Text in a batch: enough to keep all threads busy, little enough to hold several.
const BATCH_BYTES: usize = 16 << 20;
const BATCH_DOCUMENTS: usize = 4096;

/// Documents longer than this are encoded in pieces cut at line ends. Encoding needs many times the text's
/// memory; a file of gigabytes without separators must not need hundreds.
const PIECE_BYTES: usize = 8 << 20;

/// What is the same for all sources of a run.
pub(super) struct Job<'a> {
    pub dir: &'a Path,
    pub hub: &'a Hub,
    pub tokenizer: &'a Tokenizer,
    /// For conversations.
    pub template: Option<ChatTemplate>,
    pub split: Split,
    /// Bytes of text a source may give, 0 for all.
    pub max_bytes: u64,
    /// A part ends after the document that brings it to this many tokens.
    pub part_tokens: u64,
    pub progress: bool,
}

/// A document as read.
struct Document {
    text: String,
    /// Where the next document starts.
    next: Position,
    /// Empty documents between the one before and this one.
    empty_before: u64,
}

/// A run of documents.
struct Batch {
    documents: Vec<Document>,
    /// Empty documents after the last one.
    empty: u64,
    end: Position,
    /// Whether the source gives nothing more. A channel that closes without it means a reader that died.
    last: bool,
}

/// Tokenizes the rest of a source after `parts` and appends the new parts. `train_cap` ends the source once
/// it has that many training tokens (`None`: no cap). `stop_after` stops after so many new parts.
pub(super) fn tokenize(
    job: &Job,
    index: usize,
    source: &Source,
    mut parts: Vec<Part>,
    train_cap: Option<u64>,
    mut stop_after: impl FnMut() -> Result<(), DataError>,
) -> Result<Vec<Part>, DataError> {
    if parts.last().is_some_and(|part| part.last) {
        return Ok(parts);
    }
    let start = parts.last().map_or_else(Position::default, |part| part.end);
    let mut bytes: u64 = parts.iter().map(Part::bytes).sum();
    let mut train_tokens: u64 = parts.iter().map(Part::train_tokens).sum();
    // Of both sides, for the progress report.
    let mut all_tokens: u64 = parts.iter().map(Part::tokens).sum();
    let cap = train_cap.unwrap_or(u64::MAX);
    let read = Progress::default();
    let done: u64 = source.inputs[..start.input]
        .iter()
        .map(|input| input.size)
        .sum();
    read.store(done, std::sync::atomic::Ordering::Relaxed);
    let total = source.inputs.iter().map(|input| input.size).sum();
    let mut reporter = Reporter::new(&source.name, total, read.clone(), job.progress);

    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(2);
        let already = bytes;
        let reading = scope.spawn(move || {
            if let Err(error) = read_batches(job, source, start, already, read, &sender) {
                // The receiver is gone when it has enough; then nobody asks.
                let _ = sender.send(Err(error));
            }
        });
        let mut writer = PartWriter::new(job, index, parts.len(), start);
        let mut ended = false;
        for batch in receiver.iter() {
            let batch: Batch = batch?;
            ended = batch.last;
            let encoded: Vec<Result<Encoded, DataError>> = batch
                .documents
                .par_iter()
                .map(|document| encode_document(job, source, document))
                .collect();
            for (document, encoded) in batch.documents.iter().zip(encoded) {
                let encoded = encoded?;
                let (valid, tokens) = (encoded.valid, &encoded.tokens);
                writer.push(&encoded)?;
                writer.part.end = document.next;
                writer.part.empty_documents += document.empty_before;
                bytes += document.text.len() as u64;
                train_tokens += if valid { 0 } else { tokens.len() as u64 };
                all_tokens += tokens.len() as u64;
                if train_tokens >= cap {
                    parts.push(writer.finish(true)?);
                    reporter.finish(all_tokens, bytes);
                    // Dropping the receiver ends the reader.
                    drop(receiver);
                    return stop_after().map(|()| parts);
                }
                if writer.tokens >= job.part_tokens {
                    parts.push(writer.finish(false)?);
                    stop_after()?;
                    writer = PartWriter::new(job, index, parts.len(), document.next);
                }
            }
            writer.part.empty_documents += batch.empty;
            writer.part.end = batch.end;
            reporter.update(all_tokens, bytes);
        }
        // Joining takes a decoder's panic over a damaged file, which must not look like the end of the source.
        if reading.join().is_err() || !ended {
            let stopped = std::io::Error::other("its reader stopped before the end");
            return Err(DataError::io("read", Path::new(&source.name))(stopped));
        }
        parts.push(writer.finish(true)?);
        reporter.finish(all_tokens, bytes);
        stop_after().map(|()| parts)
    })
}

fn is_valid(job: &Job, source: &Source, text: &str) -> bool {
    match source.role {
        SourceRole::Split => job.split.is_valid(text),
        SourceRole::Train => false,
        SourceRole::Valid => true,
    }
}

/// A document as tokens.
struct Encoded {
    tokens: Vec<u32>,
    /// Of a conversation: the tokens that the assistant says.
    counted: Option<Vec<bool>>,
    /// Bytes of text.
    bytes: u64,
    /// On which side it is.
    valid: bool,
}

fn encode_document(job: &Job, source: &Source, document: &Document) -> Result<Encoded, DataError> {
    let text = &document.text;
    let valid = is_valid(job, source, text);
    let Some(template) = job
        .template
        .as_ref()
        .filter(|_| source.content == Content::Conversations)
    else {
        return Ok(Encoded {
            tokens: encode(job.tokenizer, text),
            counted: None,
            bytes: text.len() as u64,
            valid,
        });
    };
    let place = |message: String| DataError::Conversation {
        place: format!(
            "{}: conversation {}",
            source.inputs[document.next.input].name, document.next.document
        ),
        message,
    };
    let messages: Vec<Message> = serde_json::from_str(text).map_err(|e| place(e.to_string()))?;
    let encoded = template
        .encode(job.tokenizer, &messages)
        .map_err(|e| place(e.to_string()))?;
    Ok(Encoded {
        tokens: encoded.ids,
        counted: Some(encoded.counted),
        bytes: encoded.bytes as u64,
        valid,
    })
}

/// Tokens of a document, its start token first.
fn encode(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    if text.len() <= PIECE_BYTES {
        return tokenizer.encode(text, true);
    }
    let mut tokens: Vec<u32> = tokenizer.document_start_id().into_iter().collect();
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(piece_end(rest));
        tokens.extend(tokenizer.encode(piece, false));
        rest = after;
    }
    tokens
}

/// Where to cut a long text: after the last line end within reach, else at a character.
fn piece_end(text: &str) -> usize {
    if text.len() <= PIECE_BYTES {
        return text.len();
    }
    let reach = text.floor_char_boundary(PIECE_BYTES);
    text[..reach].rfind('\n').map_or(reach, |at| at + 1)
}

/// Reads documents from `start` on and sends them in batches; ends early when nobody listens any more.
fn read_batches(
    job: &Job,
    source: &Source,
    start: Position,
    mut bytes: u64,
    progress: Progress,
    sender: &SyncSender<Result<Batch, DataError>>,
) -> Result<(), DataError> {
    let fresh = |end| Batch {
        documents: Vec::new(),
        empty: 0,
        end,
        last: false,
    };
    let mut batch = fresh(start);
    let mut batch_bytes = 0;
    for (input_index, input) in source.inputs.iter().enumerate().skip(start.input) {
        let documents = input.documents(source.reading(), Some(job.hub), progress.clone())?;
        let skip = if input_index == start.input {
            start.document
        } else {
            0
        };
        for (i, text) in documents.enumerate().skip(skip as usize) {
            // Skipped documents are read all the same: formats without an index have no other way.
            let text = text?;
            let next = Position {
                input: input_index,
                document: i as u64 + 1,
            };
            if text.trim().is_empty() {
                batch.empty += 1;
                batch.end = next;
                continue;
            }
            if job.max_bytes > 0 && bytes + text.len() as u64 > job.max_bytes {
                batch.last = true;
                let _ = sender.send(Ok(batch));
                return Ok(());
            }
            bytes += text.len() as u64;
            batch_bytes += text.len();
            batch.end = next;
            let empty_before = std::mem::take(&mut batch.empty);
            batch.documents.push(Document {
                text,
                next,
                empty_before,
            });
            if batch_bytes >= BATCH_BYTES || batch.documents.len() >= BATCH_DOCUMENTS {
                batch_bytes = 0;
                let full = std::mem::replace(&mut batch, fresh(next));
                if sender.send(Ok(full)).is_err() {
                    return Ok(());
                }
            }
        }
        batch.end = Position {
            input: input_index + 1,
            document: 0,
        };
    }
    batch.last = true;
    let _ = sender.send(Ok(batch));
    Ok(())
}

/// A part in the making. Its shards are created when they get their first document.
struct PartWriter<'a> {
    job: &'a Job<'a>,
    source: usize,
    number: usize,
    part: Part,
    sides: [Option<Side>; 2],
    tokens: u64,
}

struct Side {
    file: String,
    writer: ShardWriter,
    bytes: u64,
}

impl<'a> PartWriter<'a> {
    fn new(job: &'a Job<'a>, source: usize, number: usize, start: Position) -> Self {
        let part = Part::new(job.tokenizer.hash(), start);
        Self {
            job,
            source,
            number,
            part,
            sides: [None, None],
            tokens: 0,
        }
    }

    fn push(&mut self, document: &Encoded) -> Result<(), DataError> {
        let valid = document.valid;
        self.tokens += document.tokens.len() as u64;
        let side = &mut self.sides[usize::from(valid)];
        if side.is_none() {
            let file = Part::shard_name(
                self.source,
                self.number,
                if valid { "valid" } else { "train" },
            );
            let token_type = TokenType::for_vocab(self.job.tokenizer.vocab_size());
            let writer = ShardWriter::create(
                &self.job.dir.join(&file),
                token_type,
                document.counted.is_some(),
            )?;
            *side = Some(Side {
                file,
                writer,
                bytes: 0,
            });
        }
        let side = side.as_mut().expect("just made");
        side.bytes += document.bytes;
        side.writer
            .push(&document.tokens, document.counted.as_deref())
    }

    /// Puts the shards in place, then the record.
    fn finish(mut self, last: bool) -> Result<Part, DataError> {
        let mut close = |side: usize| -> Result<Option<ShardManifest>, DataError> {
            let Some(Side {
                file,
                writer,
                bytes,
            }) = self.sides[side].take()
            else {
                return Ok(None);
            };
            let header = writer.finish()?;
            let hash = blake3::Hash::from_bytes(header.hash).to_hex().to_string();
            Ok(Some(ShardManifest {
                file,
                tokens: header.tokens,
                documents: header.documents,
                bytes,
                hash,
            }))
        };
        self.part.train = close(0)?;
        self.part.valid = close(1)?;
        self.part.last = last;
        self.part.save(self.job.dir, self.source, self.number)?;
        Ok(self.part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_lines() {
        let line = "0123456789abcde\n";
        let text = line.repeat(PIECE_BYTES / line.len() + 10);
        let end = piece_end(&text);
        assert!(
            end <= PIECE_BYTES && text[..end].ends_with('\n') && end > PIECE_BYTES - 2 * line.len()
        );
        let unbroken = "\u{e9}".repeat(PIECE_BYTES);
        assert_eq!(piece_end(&unbroken), PIECE_BYTES);
        assert_eq!(piece_end("short"), 5);
    }
}
