//! From tokens to text that can be shown while it grows.
//!
//! A token is no text by itself: it may be part of a character, and a tokenizer may drop a space at the
//! beginning of what it decodes. [`TextStream`] therefore decodes a few tokens before it too and gives
//! what is new, whole characters only. [`StopStrings`] holds back what may yet become a string that ends
//! the text, wherever the boundaries of tokens are.

use slender_data::Tokenizer;

/// Tokens of the prompt that are decoded along.
const BEFORE: usize = 8;
/// Tokens that may hang on an incomplete character; UTF-8 needs three. More are no text at all.
const MOST_PENDING: usize = 8;

/// Text of a growing list of tokens.
#[derive(Clone, Debug)]
pub struct TextStream {
    tokenizer: Tokenizer,
    /// What is decoded, the last of it new.
    window: Vec<u32>,
    /// Tokens of `window` whose text has been given.
    given: usize,
}

impl TextStream {
    /// For what follows `prompt`.
    pub fn new(tokenizer: &Tokenizer, prompt: &[u32]) -> Self {
        // At least one token before must give text, which special tokens do not, or a space could be lost;
        // and a character must not be cut in two, or its bytes would be none.
        let mut from = prompt.len().saturating_sub(BEFORE);
        let unusable = |from: usize| {
            let text = tokenizer.decode(&prompt[from..]);
            text.is_empty() || text.contains(char::REPLACEMENT_CHARACTER)
        };
        while from > 0 && unusable(from) {
            from = from.saturating_sub(BEFORE);
        }
        Self {
            tokenizer: tokenizer.clone(),
            window: prompt[from..].to_vec(),
            given: prompt.len() - from,
        }
    }

    /// The text that `token` completes; empty while a character is incomplete.
    pub fn push(&mut self, token: u32) -> String {
        self.window.push(token);
        let pending = self.window.len() - self.given;
        self.take(pending > MOST_PENDING)
    }

    /// What is left when no more tokens come: U+FFFD for an incomplete character.
    pub fn finish(&mut self) -> String {
        self.take(true)
    }

    fn take(&mut self, all: bool) -> String {
        let text = self.tokenizer.decode(&self.window);
        if !all && text.ends_with(char::REPLACEMENT_CHARACTER) {
            return String::new();
        }
        let before = self.tokenizer.decode(&self.window[..self.given]);
        // Bytes that turn out not to be UTF-8 change the text before them; what was given stands.
        let shared = before
            .char_indices()
            .zip(text.chars())
            .find(|((_, a), b)| a != b)
            .map_or(before.len().min(text.len()), |((at, _), _)| at);
        let new = text[shared..].to_owned();
        if !new.is_empty() {
            self.window.drain(..self.given);
            self.given = self.window.len();
        }
        new
    }
}

/// Finds the first of some strings in text that comes in pieces.
#[derive(Clone, Debug)]
pub struct StopStrings {
    stops: Vec<String>,
    held: String,
}

impl StopStrings {
    /// Empty strings never stop anything.
    pub fn new(stops: &[String]) -> Self {
        Self {
            stops: stops
                .iter()
                .filter(|stop| !stop.is_empty())
                .cloned()
                .collect(),
            held: String::new(),
        }
    }

    /// Adds text: what may be shown, and the stop string that has been completed, if one has. The text
    /// before it is then shown whole, and nothing after it. Of several, the one completed first counts,
    /// and of those that end together the longest.
    pub fn push(&mut self, text: &str) -> (String, Option<String>) {
        let old = self.held.len();
        self.held.push_str(text);
        for end in old + 1..=self.held.len() {
            if !self.held.is_char_boundary(end) {
                continue;
            }
            let head = &self.held[..end];
            let ended = self
                .stops
                .iter()
                .filter(|stop| head.ends_with(stop.as_str()));
            if let Some(stop) = ended.max_by_key(|stop| stop.len()).cloned() {
                let shown = self.held[..end - stop.len()].to_owned();
                self.held.clear();
                return (shown, Some(stop));
            }
        }
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest.saturating_sub(1));
        let hold = (from..self.held.len())
            .filter(|&at| self.held.is_char_boundary(at))
            .find(|&at| {
                self.stops
                    .iter()
                    .any(|stop| stop.starts_with(&self.held[at..]))
            })
            .unwrap_or(self.held.len());
        let rest = self.held.split_off(hold);
        (std::mem::replace(&mut self.held, rest), None)
    }

    /// What was held back, when no more text comes.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The text before the stop string that is completed first, and that string.
    fn plain(text: &str, stops: &[String]) -> (String, Option<String>) {
        for end in (1..=text.len()).filter(|&end| text.is_char_boundary(end)) {
            let ended = stops
                .iter()
                .filter(|s| !s.is_empty() && text[..end].ends_with(s.as_str()));
            if let Some(stop) = ended.max_by_key(|stop| stop.len()) {
                return (text[..end - stop.len()].to_owned(), Some(stop.clone()));
            }
        }
        (text.to_owned(), None)
    }

    proptest! {
        #[test]
        fn pieces_stop_where_the_whole_text_does(
            text in "[ab\u{e9}\u{4e2d}]{0,40}",
            stops in prop::collection::vec("[ab\u{e9}\u{4e2d}]{0,4}", 0..4),
            cuts in prop::collection::vec(0usize..6, 0..60),
        ) {
            let expected = plain(&text, &stops);
            let mut search = StopStrings::new(&stops);
            let (mut shown, mut found) = (String::new(), None);
            let mut rest = text.chars();
            let mut cuts = cuts.into_iter().chain(std::iter::repeat(1));
            while found.is_none() && !rest.as_str().is_empty() {
                let piece: String = rest.by_ref().take(cuts.next().unwrap_or(1)).collect();
                let (more, stop) = search.push(&piece);
                shown += &more;
                found = stop;
            }
            if found.is_none() {
                shown += &search.finish();
            }
            prop_assert_eq!((shown, found), expected);
        }
    }

    #[test]
    fn nothing_is_held_back_without_need() {
        let mut search = StopStrings::new(&["\n\n".into(), "END".into()]);
        assert_eq!(search.push("one"), ("one".into(), None));
        assert_eq!(search.push(" E"), (" ".into(), None));
        assert_eq!(search.push("N."), ("EN.".into(), None));
        assert_eq!(search.push("\n"), (String::new(), None));
        assert_eq!(search.push("x\n"), ("\nx".into(), None));
        assert_eq!(search.push("\nrest"), (String::new(), Some("\n\n".into())));
    }
}
