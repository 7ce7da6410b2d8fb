//! Text to token ids and back.
//!
//! One type for every tokenizer: a Hugging Face `tokenizer.json`, a SentencePiece `tokenizer.model`
//! (converted, see [`sentencepiece`]), one of a hub repository, or one trained here. Two encoders share the
//! vocabulary: [`Tokenizer::encode`] for documents never produces a special token from text that merely looks
//! like one; [`Tokenizer::encode_with_special`] behaves as `tokenizer(text, add_special_tokens=False)` does
//! in Python, as evaluation needs it.

mod bytes;
mod first;
mod gguf;
mod load;
mod rules;
pub(crate) mod sentencepiece;
mod settings;
mod special;
mod train;

pub use first::begins_with_token;
pub use gguf::{GgufField, GgufTokenizer};
pub use load::load_tokenizer;
pub use settings::{
    CHAT_TEMPLATE_FILE, SETTINGS_FILE, SPECIAL_TOKENS_FILE, TokenizerFiles, TokenizerSettings,
};
pub(crate) use train::train_bpe;

use crate::chat::ChatTemplate;
use crate::{DataError, fsio};
use bytes::{Pieces, Style};
use std::path::Path;
use std::sync::Arc;

/// The library's tokenizer, with our normaliser.
pub(crate) type Hf = tokenizers::TokenizerImpl<
    tokenizers::ModelWrapper,
    rules::Rules,
    tokenizers::PreTokenizerWrapper,
    tokenizers::PostProcessorWrapper,
    tokenizers::DecoderWrapper,
>;

/// A tokenizer. Cheap to clone, shared between threads.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    /// As Hugging Face: special tokens in text become their ids.
    plain: Hf,
    /// Special tokens in text are text.
    text: Hf,
    pieces: Pieces,
    bos: Option<u32>,
    eos: Option<u32>,
    settings: TokenizerSettings,
    json: String,
    hash: String,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("name", &self.inner.name)
            .field("vocab_size", &self.vocab_size())
            .field("bos", &self.inner.bos)
            .field("eos", &self.inner.eos)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Loads a `tokenizer.json` or a SentencePiece `tokenizer.model`; the content tells which. The files
    /// beside it that [`TokenizerSettings::read`] reads name BOS and EOS and give the chat template.
    ///
    /// # Errors
    /// [`DataError::Io`], or [`DataError::Tokenizer`] with what does not parse or is not supported.
    pub fn from_file(path: &Path) -> Result<Self, DataError> {
        let bytes = std::fs::read(path).map_err(DataError::io("read", path))?;
        let settings = TokenizerSettings::read(path.parent().unwrap_or(Path::new("")))?;
        let adds_bos = settings.add_bos();
        let tokenizer = Self::build(&path.display().to_string(), &bytes, settings)?;
        // A SentencePiece model cannot say it; a `tokenizer.json` says it itself.
        match adds_bos {
            Some(true) if !is_json(&bytes) => tokenizer.with_texts_begun(true),
            _ => Ok(tokenizer),
        }
    }

    /// As [`Tokenizer::from_file`], from the file's content and without settings.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] with what does not parse or is not supported.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DataError> {
        Self::build("(bytes)", bytes, TokenizerSettings::default())
    }

    fn build(name: &str, bytes: &[u8], settings: TokenizerSettings) -> Result<Self, DataError> {
        let failure = |message: String| DataError::Tokenizer {
            name: name.to_string(),
            message,
        };
        let mut plain = if is_json(bytes) {
            Hf::from_bytes(bytes)
        } else {
            Hf::from_bytes(sentencepiece::to_json(bytes).map_err(failure)?)
        }
        .map_err(|e| failure(e.to_string()))?;
        // A tokenizer.json may ask to cut or pad; documents are neither cut nor padded.
        plain
            .with_truncation(None)
            .map_err(|e| failure(e.to_string()))?;
        plain.with_padding(None);
        let json = plain.to_string(false).map_err(|e| failure(e.to_string()))?;
        let value = serde_json::from_str(&json).map_err(|e| failure(e.to_string()))?;
        // Nothing here asks for added tokens, and post-processors cut spaces out of offsets.
        plain.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
        let pieces = Pieces::new(&plain, &Style::of(&value), &value);
        let (bos, eos) = special::find(&plain, &settings);
        let mut text = plain.clone();
        text.set_encode_special_tokens(true);
        let hash = blake3::hash(json.as_bytes()).to_hex().to_string();
        let inner = Inner {
            name: name.to_string(),
            plain,
            text,
            pieces,
            bos,
            eos,
            settings,
            json,
            hash,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The same tokenizer with other BOS and EOS, as recorded in a manifest.
    pub(crate) fn with_special(&self, bos: Option<u32>, eos: Option<u32>) -> Self {
        let i = &self.inner;
        if (i.bos, i.eos) == (bos, eos) {
            return self.clone();
        }
        self.replaced(bos, eos, i.settings.clone())
    }

    /// The same tokenizer with other settings: BOS and EOS as they name them.
    pub fn with_settings(&self, settings: TokenizerSettings) -> Self {
        let (bos, eos) = special::find(&self.inner.plain, &settings);
        self.replaced(bos, eos, settings)
    }

    /// The same tokenizer with another chat template.
    pub fn with_chat_template(&self, template: Option<String>) -> Self {
        let mut settings = self.inner.settings.clone();
        settings.set_chat_template(template);
        self.replaced(self.inner.bos, self.inner.eos, settings)
    }

    fn replaced(&self, bos: Option<u32>, eos: Option<u32>, settings: TokenizerSettings) -> Self {
        let i = &self.inner;
        let inner = Inner {
            name: i.name.clone(),
            plain: i.plain.clone(),
            text: i.text.clone(),
            pieces: i.pieces.clone(),
            bos,
            eos,
            settings,
            json: i.json.clone(),
            hash: i.hash.clone(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// What the files beside the tokenizer say of it.
    pub fn settings(&self) -> &TokenizerSettings {
        &self.inner.settings
    }

    /// The chat template; `None` if the tokenizer has none.
    ///
    /// # Errors
    /// [`DataError::ChatTemplate`]: a template that does not parse.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>, DataError> {
        let Some(source) = self.inner.settings.chat_template() else {
            return Ok(None);
        };
        let mut special: Vec<(String, String)> = Vec::new();
        for (name, id) in [("bos_token", self.bos_id()), ("eos_token", self.eos_id())] {
            special.extend(
                id.and_then(|id| self.id_to_token(id))
                    .map(|text| (name.to_owned(), text)),
            );
        }
        // After the guesses, so that what the settings say counts.
        special.extend(
            self.inner
                .settings
                .special_tokens()
                .map(|(name, text)| (name.to_owned(), text.to_owned())),
        );
        ChatTemplate::new(&self.inner.name, source, special).map(Some)
    }

    /// Ids of a document's text, with the document's first token before them if `add_bos`
    /// ([`Tokenizer::document_start_id`]; nothing if there is none). Nothing else is added, and text that looks
    /// like a special token stays text. Text that the model refuses, having no unknown token, is spelled
    /// character by character.
    pub fn encode(&self, text: &str, add_bos: bool) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        ids.extend(self.document_start_id().filter(|_| add_bos));
        self.encode_into(text, &mut ids);
        ids
    }

    fn encode_into(&self, text: &str, ids: &mut Vec<u32>) {
        match self.inner.text.encode_fast(text, false) {
            Err(_) => self.inner.pieces.spell(text, ids),
            Ok(encoding) => {
                let special = |id: &u32| self.inner.pieces.is_special(*id);
                if !encoding.get_ids().iter().any(special) {
                    ids.extend_from_slice(encoding.get_ids());
                    return;
                }
                // Merges can spell a special token's name out of its letters; keep the letters.
                for id in encoding.get_ids() {
                    match self.inner.pieces.special_text(*id) {
                        Some(text) => self.inner.pieces.spell(text, ids),
                        None => ids.push(*id),
                    }
                }
            }
        }
    }

    /// As [`Tokenizer::encode`] for text of any bytes: each byte that is not UTF-8 counts as a U+FFFD, as in
    /// the sentencepiece library.
    pub fn encode_bytes(&self, text: &[u8], add_bos: bool) -> Vec<u32> {
        self.encode(&self.replace_invalid(text), add_bos)
    }

    /// As [`Tokenizer::encode_with_special`] for text of any bytes, as in [`Tokenizer::encode_bytes`].
    pub fn encode_bytes_with_special(&self, text: &[u8]) -> Vec<u32> {
        self.encode_with_special(&self.replace_invalid(text))
    }

    /// Each byte that is not UTF-8 as U+FFFD, which is not normalised.
    fn replace_invalid(&self, text: &[u8]) -> String {
        let rules = self.inner.plain.get_normalizer();
        let mark = match rules.is_some_and(rules::Rules::has_charsmap) {
            true => rules::INVALID,
            false => '\u{FFFD}',
        };
        let mut whole = String::with_capacity(text.len());
        for chunk in text.utf8_chunks() {
            whole.push_str(chunk.valid());
            whole.extend(std::iter::repeat_n(mark, chunk.invalid().len()));
        }
        whole
    }

    /// Ids as `tokenizer(text, add_special_tokens=False)` in Python gives them: special tokens in the text
    /// become their ids.
    pub fn encode_with_special(&self, text: &str) -> Vec<u32> {
        match self.inner.plain.encode_fast(text, false) {
            Ok(encoding) => encoding.get_ids().to_vec(),
            Err(_) => self.encode(text, false),
        }
    }

    /// [`Tokenizer::encode_with_special`], and whether each token is of one of the `spans` of bytes, which are
    /// in order and do not overlap.
    ///
    /// Where a token would reach over the edge of a span, the parts are encoded by themselves, as they are
    /// when one is the prompt of the other; tokenizers that put a space before a text count such a token to
    /// the span.
    pub(crate) fn encode_spans(
        &self,
        text: &str,
        spans: &[std::ops::Range<usize>],
    ) -> (Vec<u32>, Vec<bool>) {
        let inside = |start: usize, end: usize| {
            spans
                .iter()
                .any(|span| end > span.start && start < span.end)
        };
        let over_an_edge = |start: usize, end: usize| {
            let mut edges = spans.iter().flat_map(|span| [span.start, span.end]);
            edges.any(|edge| start < edge && edge < end)
        };
        if let Ok(encoding) = self.inner.plain.encode(text, false) {
            let offsets = encoding.get_offsets();
            if self.prefix_bytes() > 0 || !offsets.iter().any(|(a, b)| over_an_edge(*a, *b)) {
                let counted = offsets.iter().map(|(a, b)| inside(*a, *b)).collect();
                return (encoding.get_ids().to_vec(), counted);
            }
        }
        let (mut ids, mut counted, mut at) = (Vec::new(), Vec::new(), 0);
        let mut add = |part: &str, is_counted: bool| {
            ids.extend(self.encode_with_special(part));
            counted.resize(ids.len(), is_counted);
        };
        for span in spans {
            add(&text[at..span.start], false);
            add(&text[span.clone()], true);
            at = span.end;
        }
        add(&text[at..], false);
        (ids, counted)
    }

    /// Texts of the special tokens.
    pub(crate) fn special_tokens(&self) -> impl Iterator<Item = &str> {
        (0..self.vocab_size() as u32).filter_map(|id| self.inner.pieces.special_text(id))
    }

    /// Text of ids; special tokens give nothing. Ids that do not form UTF-8 give U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.inner.plain.decode(ids, true).unwrap_or_default()
    }

    /// The token's own string, such as `▁the`; `None` if there is no such id.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.plain.id_to_token(id)
    }

    /// Id of a token's own string.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.plain.token_to_id(token)
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.inner.pieces.len()
    }

    /// Begin-of-sequence token: named by `tokenizer_config.json`, else found by its usual names.
    pub fn bos_id(&self) -> Option<u32> {
        self.inner.bos
    }

    /// End-of-sequence token, found as [`Tokenizer::bos_id`].
    pub fn eos_id(&self) -> Option<u32> {
        self.inner.eos
    }

    /// The token for text that the vocabulary lacks.
    pub fn unknown_id(&self) -> Option<u32> {
        self.inner.pieces.unknown()
    }

    /// The token every prepared document starts with: BOS, else EOS, which then divides documents as it does
    /// for GPT-2; `None` if there is neither.
    pub fn document_start_id(&self) -> Option<u32> {
        self.inner.bos.or(self.inner.eos)
    }

    /// Whether the token is special: part of no text.
    pub fn is_special(&self, id: u32) -> bool {
        self.inner.pieces.is_special(id)
    }

    /// Bytes of UTF-8 text the token stands for: raw bytes of byte-level pieces, one for `▁` and for `<0xAB>`,
    /// none for special tokens and for ids there are not.
    ///
    /// Tokenizers that put a space before a text count it as a byte; [`Tokenizer::prefix_bytes`] is how many.
    pub fn token_bytes(&self, id: u32) -> usize {
        self.inner.pieces.bytes(id)
    }

    /// Bytes that the first token of a document has beyond its text: 1 if the tokenizer puts a space before a
    /// text (LLaMA), else 0.
    pub fn prefix_bytes(&self) -> usize {
        self.inner.pieces.prefix_bytes()
    }

    /// BLAKE3 in hex of the canonical JSON: the same for files that differ in layout only.
    pub fn hash(&self) -> &str {
        &self.inner.hash
    }

    /// File or repository it was loaded from.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The text of `tokenizer.json`.
    pub fn json(&self) -> &str {
        &self.inner.json
    }

    /// Writes `tokenizer.json` to `path`, whole or not at all.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), DataError> {
        fsio::write_atomic(path, self.inner.json.as_bytes())
    }

    /// Writes `tokenizer.json` into the folder `dir`, which exists, and beside it `tokenizer_config.json` and
    /// `special_tokens_map.json` if the tokenizer came with settings.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn save_in(&self, dir: &Path) -> Result<(), DataError> {
        if !self.inner.settings.is_empty() {
            self.inner.settings.write(dir, self)?;
        }
        self.save(&dir.join("tokenizer.json"))
    }
}

/// Whether it is a `tokenizer.json`; otherwise it is a SentencePiece model.
fn is_json(bytes: &[u8]) -> bool {
    bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{')
}

#[cfg(test)]
mod tests;
