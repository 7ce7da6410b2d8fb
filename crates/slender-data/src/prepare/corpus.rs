//! The text a vocabulary is learned from: the first training documents of each source, up to a budget.

use super::split::Split;
use crate::chat::spoken;
use crate::hub::Hub;
use crate::source::{Documents, Progress, Source};
use crate::{Content, DataError, SourceRole};

/// Lazy stream of training texts. Each source may give an equal share of what the earlier ones left; the text
/// that crosses the share is cut. Files beyond the budget are not opened, so not downloaded either.
pub(super) struct TrainingTexts<'a> {
    sources: std::vec::IntoIter<&'a Source>,
    hub: &'a Hub,
    split: Split,
    /// Bytes of text a source may give at all, 0 for all.
    max_bytes: u64,
    /// Budget that is left for all sources.
    left: u64,
    current: Option<Current<'a>>,
}

struct Current<'a> {
    source: &'a Source,
    input: usize,
    documents: Option<Documents>,
    budget: u64,
    read: u64,
}

impl<'a> TrainingTexts<'a> {
    /// At most `limit` bytes (0: all) of the training side of `sources`.
    pub fn new(
        sources: &'a [Source],
        hub: &'a Hub,
        split: Split,
        limit: u64,
        max_bytes: u64,
    ) -> Self {
        let training: Vec<&Source> = sources
            .iter()
            .filter(|s| s.role != SourceRole::Valid)
            .collect();
        let left = if limit == 0 { u64::MAX } else { limit };
        Self {
            sources: training.into_iter(),
            hub,
            split,
            max_bytes,
            left,
            current: None,
        }
    }

    /// The next text of the current source; `None` when its share is used up or it ends.
    fn next_of(&self, current: &mut Current) -> Option<Result<String, DataError>> {
        let source = current.source;
        while current.budget > 0 {
            let Some(documents) = &mut current.documents else {
                let input = source.inputs.get(current.input)?;
                match input.documents(source.reading(), Some(self.hub), Progress::default()) {
                    Ok(documents) => current.documents = Some(documents),
                    Err(error) => return Some(Err(error)),
                }
                continue;
            };
            let document = match documents.next() {
                Some(Ok(document)) => document,
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    current.documents = None;
                    current.input += 1;
                    continue;
                }
            };
            if document.trim().is_empty() {
                continue;
            }
            // Which side a document is on follows from what was read, the vocabulary from what is said.
            let valid = source.role == SourceRole::Split && self.split.is_valid(&document);
            let mut text = match source.content {
                Content::Text => document,
                Content::Conversations => spoken(&document),
            };
            current.read += text.len() as u64;
            if self.max_bytes > 0 && current.read > self.max_bytes {
                return None;
            }
            if valid {
                continue;
            }
            if text.len() as u64 > current.budget {
                text.truncate(text.floor_char_boundary(current.budget as usize));
                current.budget = 0;
            }
            current.budget -= (text.len() as u64).min(current.budget);
            return Some(Ok(text));
        }
        None
    }
}

impl Iterator for TrainingTexts<'_> {
    type Item = Result<String, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut current = match self.current.take() {
                Some(current) => current,
                None => {
                    let remaining = self.sources.len() as u64;
                    let source = self.sources.next()?;
                    Current {
                        source,
                        input: 0,
                        documents: None,
                        budget: self.left / remaining,
                        read: 0,
                    }
                }
            };
            if let Some(item) = self.next_of(&mut current) {
                if let Ok(text) = &item {
                    self.left = self.left.saturating_sub(text.len() as u64);
                    self.current = Some(current);
                }
                return Some(item);
            }
        }
    }
}
