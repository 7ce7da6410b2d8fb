//! Windows of conversations: whole ones, one after another, as many as fit.
//!
//! Text is cut anywhere, but an answer without its question teaches little, so a window of conversations
//! begins with one and holds the next ones as far as they fit; what is left is padding that the loss
//! ignores. Only a conversation longer than a window is cut. The windows follow from the document index and
//! the sequence length alone; their order is drawn like that of text.

use super::{IGNORED, TokenStream};

/// A window: its first token and its number of tokens, at most `T + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub start: u64,
    pub tokens: u32,
}

/// The windows over the first `limit` tokens, for sequences of `seq_len` tokens. Windows without a target
/// that counts, as the middle of a long question is, are left out.
pub(crate) fn spans(stream: &TokenStream, limit: u64, seq_len: u64) -> Vec<Span> {
    let room = seq_len + 1;
    let mut spans = Vec::new();
    let mut add = |start: u64, end: u64| {
        if (start + 1..end).any(|token| stream.is_counted(token)) {
            let tokens = (end - start) as u32;
            spans.push(Span { start, tokens });
        }
    };
    let mut current: Option<(u64, u64)> = None;
    let mut starts = stream.document_starts().peekable();
    while let Some(start) = starts.next() {
        let end = starts.peek().copied().unwrap_or(stream.len());
        if end > limit {
            break;
        }
        current = match current {
            Some((first, _)) if end - first <= room => Some((first, end)),
            whole => {
                if let Some((first, last)) = whole {
                    add(first, last);
                }
                let mut rest = start;
                while end - rest > room {
                    add(rest, rest + room);
                    // The last target is the next window's first input.
                    rest += seq_len;
                }
                Some((rest, end))
            }
        };
    }
    if let Some((first, last)) = current {
        add(first, last);
    }
    spans
}

/// Inputs, targets and document numbers of a window, padded to `seq_len`.
pub(crate) fn read(stream: &TokenStream, span: Span, seq_len: usize) -> [Vec<i32>; 3] {
    let count = span.tokens as usize - 1;
    let mut inputs = Vec::with_capacity(seq_len + 1);
    stream.read(span.start, u64::from(span.tokens), &mut inputs);
    let mut targets = inputs[1..].to_vec();
    stream.mask_targets(span.start, &mut targets);
    let mut segments = Vec::with_capacity(seq_len);
    stream.segments(span.start, count as u64, &mut segments);
    inputs.truncate(count);
    inputs.resize(seq_len, 0);
    targets.resize(seq_len, IGNORED);
    segments.resize(seq_len, segments.last().copied().unwrap_or_default());
    [inputs, targets, segments]
}
