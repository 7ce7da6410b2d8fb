//! The forward pass over sequences that remember.
//!
//! A [`Sequence`] holds the tokens it has read and, for every *executed* layer, their keys and values: a
//! block that runs twice has two sets, because its input differs from run to run. [`Engine::forward`] adds
//! tokens to any number of sequences at once, a whole prompt to one and a single token to another.
//!
//! On flex the weights are packed for inference and the kernels of [`slender_kernels::infer`] run; there a
//! token's logits are the same to the last bit however they are arrived at, and in f32 those of
//! [`Transformer::hidden`] and [`Transformer::logits`]. On other devices, and with `SLENDER_FUSED=0`, the
//! same is composed of Burn operations.

use super::composed::{Composed, KeyValues};
use super::kernels::KernelModel;
use crate::transformer::Transformer;
use burn::tensor::Device;
use slender_config::ModelShape;
use slender_kernels::has_kernels;
use slender_kernels::infer::{LayerCache, Team, WeightFormat};

/// Tokens of one pass: more gain no speed and take memory.
const PASS_TOKENS: usize = 512;

/// Errors of inference.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// A prompt without tokens.
    #[error(
        "the prompt has no tokens\n  hint: this tokenizer has no token that begins a text, so there is nothing to start from; give a prompt"
    )]
    EmptyPrompt,
    /// More tokens than the model has positions for.
    #[error(
        "{needed} tokens do not fit the model's {positions} positions\n  hint: shorten the prompt"
    )]
    Context {
        /// Tokens of the sequence.
        needed: usize,
        /// What the model has.
        positions: usize,
    },
    /// A token that the embedding has no row for.
    #[error("token {token} is not among the model's {vocab_size} tokens; is this its tokenizer?")]
    Token {
        /// The token.
        token: u32,
        /// Rows of the embedding.
        vocab_size: usize,
    },
    /// A setting that cannot be used.
    #[error("{0}")]
    Setting(String),
    /// Logits that are no numbers: weights that were trained or converted into nonsense.
    #[error(
        "the model's output is not a number after {tokens} tokens\n  hint: look for NaN or infinity in its weights"
    )]
    NotANumber {
        /// Tokens of the sequence.
        tokens: usize,
    },
}

/// Which tokens' logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Of the last token of each sequence.
    Last,
    /// Of every token.
    All,
}

/// Tokens that have been read, with their keys and values.
#[derive(Clone, Debug)]
pub struct Sequence {
    tokens: Vec<u32>,
    cache: Cache,
}

#[derive(Clone, Debug)]
enum Cache {
    Kernels(Vec<LayerCache>),
    Composed(Vec<Option<KeyValues>>),
}

impl Sequence {
    /// The tokens read so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Forgets all but the first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.tokens.len() {
            return;
        }
        self.tokens.truncate(len);
        match &mut self.cache {
            Cache::Kernels(layers) => layers.iter_mut().for_each(|layer| layer.truncate(len)),
            Cache::Composed(layers) => layers.iter_mut().for_each(|layer| {
                *layer = layer.take().filter(|_| len > 0).map(|(k, v)| {
                    (k.narrow(1, 0, len), v.narrow(1, 0, len)) // [1, len, K, Dh] each
                });
            }),
        }
    }

    /// Bytes that keys and values take; 0 where a device holds them.
    pub fn cache_bytes(&self) -> usize {
        match &self.cache {
            Cache::Kernels(layers) => layers.iter().map(LayerCache::bytes).sum(),
            Cache::Composed(_) => 0,
        }
    }
}

/// A model ready to read and write.
#[derive(Debug)]
pub struct Engine {
    shape: ModelShape,
    format: WeightFormat,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Kernels(Box<KernelModel>),
    Composed(Box<Composed>),
}

/// A run of tokens of one sequence, in one pass.
struct Piece<'a> {
    sequence: usize,
    tokens: &'a [u32],
    /// Whether it ends the sequence's new tokens.
    last: bool,
}

impl Engine {
    /// Packs the weights of `model`, which is on `device`, in `format`.
    pub fn new(model: Transformer, device: &Device, format: WeightFormat) -> Self {
        if has_kernels(device) {
            let shape = model.shape().clone();
            let kind = Kind::Kernels(Box::new(KernelModel::new(model, format)));
            return Self {
                shape,
                format,
                kind,
            };
        }
        Self::composed(model, device, format)
    }

    /// As [`Engine::new`], composed of Burn operations everywhere: what the kernels are tested against.
    pub fn composed(model: Transformer, device: &Device, format: WeightFormat) -> Self {
        Self {
            shape: model.shape().clone(),
            format,
            kind: Kind::Composed(Box::new(Composed::new(model, device, format))),
        }
    }

    /// The model's shape.
    pub fn shape(&self) -> &ModelShape {
        &self.shape
    }

    /// How weights are stored.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Whether the CPU kernels run.
    pub fn has_kernels(&self) -> bool {
        matches!(self.kind, Kind::Kernels(_))
    }

    /// Bytes of weights read for one token, each as often as its block runs; and those of them that are
    /// distinct. `None` where the kernels do not run.
    pub fn weight_bytes(&self) -> Option<(usize, usize)> {
        match &self.kind {
            Kind::Kernels(model) => Some(model.weight_bytes()),
            Kind::Composed(_) => None,
        }
    }

    /// Calls `work` with the threads that [`Engine::forward`] takes: lent for that long by the pool on the
    /// kernels, and none elsewhere, where Burn's operations use the pool themselves.
    pub fn session<R>(&self, work: impl FnOnce(&Team) -> R) -> R {
        if self.has_kernels() {
            Team::session(work)
        } else {
            work(&Team::alone())
        }
    }

    /// A sequence without tokens.
    pub fn sequence(&self) -> Sequence {
        let layers = self.shape.n_executed_layers();
        Sequence {
            tokens: Vec::new(),
            cache: match self.kind {
                Kind::Kernels(_) => Cache::Kernels(vec![LayerCache::default(); layers]),
                Kind::Composed(_) => Cache::Composed(vec![None; layers]),
            },
        }
    }

    /// Reads more tokens of each sequence; logits row by row, `[rows, V]`, sequence by sequence.
    ///
    /// # Errors
    /// No tokens, tokens there are not, or more than there are positions; nothing has been read then.
    ///
    /// # Panics
    /// If a sequence is of an engine of another kind.
    pub fn forward(
        &self,
        team: &Team,
        sequences: &mut [&mut Sequence],
        tokens: &[&[u32]],
        rows: Rows,
    ) -> Result<Vec<f32>, InferError> {
        assert_eq!(sequences.len(), tokens.len(), "tokens for each sequence");
        for (sequence, tokens) in sequences.iter().zip(tokens) {
            self.check(sequence.tokens.len(), tokens)?;
        }
        let logits = match &self.kind {
            Kind::Composed(model) => {
                let mut logits = Vec::new();
                for (sequence, tokens) in sequences.iter_mut().zip(tokens) {
                    let Cache::Composed(cache) = &mut sequence.cache else {
                        panic!("a sequence of this engine");
                    };
                    logits.extend(model.forward(tokens, sequence.tokens.len(), cache, rows));
                    sequence.tokens.extend_from_slice(tokens);
                }
                logits
            }
            Kind::Kernels(model) => {
                let mut hidden = Vec::new();
                for pass in passes(tokens) {
                    let mut parts: Vec<(&mut [LayerCache], &[u32])> = Vec::new();
                    let mut wanted = Vec::new();
                    let mut at = 0;
                    // Pieces of a pass are of different sequences, in order.
                    let mut pieces = pass.iter().peekable();
                    for (index, sequence) in sequences.iter_mut().enumerate() {
                        let Some(piece) = pieces.next_if(|piece| piece.sequence == index) else {
                            continue;
                        };
                        let Cache::Kernels(cache) = &mut sequence.cache else {
                            panic!("a sequence of this engine");
                        };
                        parts.push((cache, piece.tokens));
                        sequence.tokens.extend_from_slice(piece.tokens);
                        let end = at + piece.tokens.len();
                        match rows {
                            Rows::All => wanted.extend(at..end),
                            Rows::Last if piece.last => wanted.push(end - 1),
                            Rows::Last => {}
                        }
                        at = end;
                    }
                    model.hidden(team, &mut parts, &wanted, &mut hidden);
                }
                model.logits(team, &hidden)
            }
        };
        // One look at each row: a NaN anywhere in a token's state is in all of its logits.
        let first_bad = logits
            .chunks_exact(self.shape.vocab_size)
            .any(|row| row[0].is_nan());
        if first_bad {
            let tokens = sequences.iter().map(|s| s.tokens.len()).max();
            return Err(InferError::NotANumber {
                tokens: tokens.unwrap_or(0),
            });
        }
        Ok(logits)
    }

    pub(super) fn check(&self, before: usize, tokens: &[u32]) -> Result<(), InferError> {
        if tokens.is_empty() {
            return Err(InferError::EmptyPrompt);
        }
        let (needed, positions) = (before + tokens.len(), self.shape.max_seq_len);
        if needed > positions {
            return Err(InferError::Context { needed, positions });
        }
        let vocab_size = self.shape.vocab_size;
        match tokens.iter().find(|&&token| token as usize >= vocab_size) {
            Some(&token) => Err(InferError::Token { token, vocab_size }),
            None => Ok(()),
        }
    }
}

/// Divides the tokens of all sequences into passes of bounded size, at most one piece of a sequence each.
fn passes<'a>(tokens: &[&'a [u32]]) -> Vec<Vec<Piece<'a>>> {
    let mut passes = vec![Vec::new()];
    let mut room = PASS_TOKENS;
    for (sequence, tokens) in tokens.iter().enumerate() {
        let mut rest = *tokens;
        while !rest.is_empty() {
            if room == 0 {
                passes.push(Vec::new());
                room = PASS_TOKENS;
            }
            let (tokens, after) = rest.split_at(rest.len().min(room));
            room -= tokens.len();
            rest = after;
            if let Some(pass) = passes.last_mut() {
                pass.push(Piece {
                    sequence,
                    tokens,
                    last: rest.is_empty(),
                });
            }
        }
    }
    passes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_hold_every_token_once_in_order() {
        let tokens: Vec<u32> = (0..2000).collect();
        for lengths in [
            vec![1, 1, 1],
            vec![512, 1],
            vec![511, 2, 900],
            vec![1700],
            vec![],
        ] {
            let slices: Vec<&[u32]> = lengths.iter().map(|&len| &tokens[..len]).collect();
            let mut seen = vec![Vec::new(); lengths.len()];
            for pass in passes(&slices) {
                let total: usize = pass.iter().map(|piece| piece.tokens.len()).sum();
                assert!(total <= PASS_TOKENS);
                assert!(pass.is_sorted_by(|a, b| a.sequence < b.sequence));
                for piece in pass {
                    seen[piece.sequence].extend_from_slice(piece.tokens);
                    assert_eq!(
                        piece.last,
                        seen[piece.sequence].len() == lengths[piece.sequence]
                    );
                }
            }
            assert!(seen.iter().zip(&slices).all(|(seen, slice)| seen == slice));
        }
    }
}
