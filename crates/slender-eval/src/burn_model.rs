//! Our transformer as a [`LanguageModel`].
//!
//! What costs is the forward pass over every token and the projection to the vocabulary. The first is done
//! once for what rows share (the context of all choices, see [`crate::forest`]) and without padding
//! ([`crate::packed`]), the second only at positions whose next token is scored, in pieces of bounded size.

use std::collections::HashMap;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;
use slender_model::Transformer;

use crate::error::EvalError;
use crate::forest::Forest;
use crate::model::{LanguageModel, RowScore, ScoreRow};
use crate::packed::{MIN_ROWS, Packed};
use crate::softmax::Normaliser;

/// Most logits computed at once: 64 MB of single precision.
const MAX_LOGITS: usize = 1 << 24;

/// Tokens of a batch beyond which the products of a small model gain nothing.
const ENOUGH_TOKENS: usize = 4096;

/// A transformer on a device.
#[derive(Debug)]
pub struct BurnModel {
    packed: Packed,
    device: Device,
    max_seq_len: usize,
    vocab_size: usize,
}

/// A scored token: its row, its place among the row's scored tokens, and its id.
struct Target {
    row: usize,
    place: usize,
    token: u32,
}

impl BurnModel {
    /// Wraps a model whose weights are on `device`.
    ///
    /// A model in training must come without its gradients (`model.valid()`), or scoring keeps the graph.
    pub fn new(model: Transformer, device: &Device) -> Self {
        let max_seq_len = model.shape().max_seq_len;
        let vocab_size = model.shape().vocab_size;
        Self {
            packed: Packed::new(model, device),
            device: device.clone(),
            max_seq_len,
            vocab_size,
        }
    }

    /// Reads at most `max_seq_len` tokens at once, for a model trained on shorter sequences than its
    /// maximum. Values above the model's own maximum change nothing.
    #[must_use]
    pub fn with_max_seq_len(mut self, max_seq_len: usize) -> Self {
        self.max_seq_len = max_seq_len.min(self.max_seq_len);
        self
    }

    /// Tokens of a batch that fit a quarter of the memory now free, at most as many as speed needs.
    ///
    /// Where the system does not say how much is free, a size that fits anywhere.
    pub fn token_budget(&self) -> usize {
        let shape = self.packed.model().shape();
        let width = 6 * shape.dim
            + 2 * (shape.n_heads + 2 * shape.n_kv_heads) * shape.head_dim
            + 3 * shape.ffn_hidden;
        budget(free_memory(), width * size_of::<f32>())
    }

    fn check(&self, rows: &[ScoreRow]) -> Result<(), EvalError> {
        for row in rows {
            self.check_tokens(&row.tokens)?;
            if row.score_from == 0 || row.input().len() > self.max_seq_len {
                return Err(EvalError::Model(format!(
                    "a row of {} tokens does not fit its {} positions",
                    row.tokens.len(),
                    self.max_seq_len
                )));
            }
        }
        Ok(())
    }

    fn check_tokens(&self, tokens: &[u32]) -> Result<(), EvalError> {
        match tokens.iter().find(|&&t| t as usize >= self.vocab_size) {
            None => Ok(()),
            Some(token) => Err(EvalError::Model(format!(
                "token {token} is not among its {} tokens; is this its tokenizer?",
                self.vocab_size
            ))),
        }
    }

    /// Logits of the next token at some places of `hidden` `[N, D]`: `[places, V]`, row-major.
    fn logits(&self, hidden: &Tensor<2>, places: &[i32]) -> Result<Vec<f32>, EvalError> {
        // As many rows at least as keep a product from rounding otherwise.
        let filled = places.len().max(MIN_ROWS);
        let wanted: Vec<i32> = places
            .iter()
            .copied()
            .chain(std::iter::repeat(0))
            .take(filled)
            .collect();
        let wanted = TensorData::new(wanted, [filled]);
        let wanted = Tensor::<1, Int>::from_data(wanted, &self.device); // [places]
        let logits = self.packed.model().logits(hidden.clone().select(0, wanted)); // [places, V]
        let mut logits = logits
            .into_data()
            .convert::<f32>()
            .try_into_vec::<f32>()
            .map_err(|error| EvalError::Model(format!("{error:?}")))?;
        logits.truncate(places.len() * self.vocab_size);
        Ok(logits)
    }

    /// The likeliest next token at each place of `hidden` `[N, D]`.
    fn greedy(&self, hidden: &Tensor<2>, places: &[i32]) -> Result<Vec<u32>, EvalError> {
        let piece = (MAX_LOGITS / self.vocab_size.max(1)).max(1);
        let mut best = Vec::with_capacity(places.len());
        for places in places.chunks(piece) {
            let logits = self.logits(hidden, places)?;
            let rows = logits.par_chunks_exact(self.vocab_size);
            let argmax: Vec<usize> = rows.map(|row| Normaliser::new(row).argmax).collect();
            best.extend(argmax.into_iter().map(|token| token as u32));
        }
        Ok(best)
    }
}

/// Bytes the system calls available, on Linux.
fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// See [`BurnModel::token_budget`].
fn budget(free: Option<u64>, bytes_per_token: usize) -> usize {
    let Some(free) = free else {
        return ENOUGH_TOKENS / 4;
    };
    let fits = free / 4 / bytes_per_token.max(1) as u64;
    usize::try_from(fits)
        .unwrap_or(usize::MAX)
        .clamp(128, ENOUGH_TOKENS)
}

impl LanguageModel for BurnModel {
    fn max_seq_len(&self) -> usize {
        self.max_seq_len
    }

    fn score(&mut self, rows: &[ScoreRow]) -> Result<Vec<RowScore>, EvalError> {
        self.check(rows)?;
        let blank = |row: &ScoreRow| RowScore {
            log_probs: vec![0.0; row.targets().len()],
            greedy: true,
        };
        let mut scores: Vec<RowScore> = rows.iter().map(blank).collect();
        let inputs: Vec<&[u32]> = rows.iter().map(ScoreRow::input).collect();
        let forest = Forest::new(&inputs);
        if forest.tokens.is_empty() {
            return Ok(scores);
        }

        // Which tokens are scored at which place.
        let mut slot_of: HashMap<usize, usize> = HashMap::new();
        let mut places: Vec<i32> = Vec::new();
        let mut targets: Vec<Vec<Target>> = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            for (place, &token) in row.targets().iter().enumerate() {
                let at = forest
                    .place(index, row.score_from + place - 1)
                    .ok_or_else(|| EvalError::Model("a token has no place".to_owned()))?;
                let slot = *slot_of.entry(at).or_insert_with(|| {
                    places.push(at as i32);
                    targets.push(Vec::new());
                    places.len() - 1
                });
                targets[slot].push(Target {
                    row: index,
                    place,
                    token,
                });
            }
        }

        let hidden = self.packed.hidden(&forest); // [N, D]
        let piece = (MAX_LOGITS / self.vocab_size.max(1)).max(1);
        for (places, targets) in places.chunks(piece).zip(targets.chunks(piece)) {
            let logits = self.logits(&hidden, places)?; // [places, V]
            let scored: Vec<Vec<(f32, bool)>> = logits
                .par_chunks_exact(self.vocab_size)
                .zip(targets)
                .map(|(logits, targets)| {
                    let normaliser = Normaliser::new(logits);
                    let score = |target: &Target| {
                        let token = target.token as usize;
                        (
                            normaliser.log_prob(logits[token]),
                            normaliser.argmax == token,
                        )
                    };
                    targets.iter().map(score).collect()
                })
                .collect();
            for (target, (log_prob, greedy)) in targets.iter().flatten().zip(scored.concat()) {
                scores[target.row].log_probs[target.place] = log_prob;
                scores[target.row].greedy &= greedy;
            }
        }
        Ok(scores)
    }

    fn generate(
        &mut self,
        prompts: &[Vec<u32>],
        max_tokens: usize,
        done: &mut dyn FnMut(usize, &[u32]) -> bool,
    ) -> Result<Vec<Vec<u32>>, EvalError> {
        for prompt in prompts {
            self.check_tokens(prompt)?;
            if prompt.is_empty() || prompt.len() + max_tokens > self.max_seq_len {
                return Err(EvalError::Model(format!(
                    "a prompt of {} tokens leaves no room for {max_tokens} in its {} positions",
                    prompt.len(),
                    self.max_seq_len
                )));
            }
        }
        let mut out = vec![Vec::new(); prompts.len()];
        if prompts.is_empty() || max_tokens == 0 {
            return Ok(out);
        }
        let inputs: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let forest = Forest::new(&inputs);
        let (mut hidden, mut cache) = self.packed.prefill(&forest, prompts.len());
        let last = |(row, prompt): (usize, &Vec<u32>)| {
            let place = forest.place(row, prompt.len() - 1);
            place.map_or(0, |place| place as i32)
        };
        let mut places: Vec<i32> = prompts.iter().enumerate().map(last).collect();
        let mut active: Vec<usize> = (0..prompts.len()).collect();
        loop {
            let next = self.greedy(&hidden, &places)?;
            for (&sequence, token) in active.iter().zip(next) {
                out[sequence].push(token);
            }
            active.retain(|&s| !done(s, &out[s]) && out[s].len() < max_tokens);
            if active.is_empty() {
                return Ok(out);
            }
            let going_on = active.iter().filter_map(|&s| {
                let token = *out[s].last()?;
                Some((s, token, prompts[s].len() + out[s].len() - 1))
            });
            let going_on: Vec<(usize, u32, usize)> = going_on.collect();
            hidden = self.packed.step(&going_on, &mut cache); // [active, D]
            places = (0..active.len() as i32).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use slender_config::{FfnKind, ModelShape, SharingKind};

    use super::*;
    use crate::fake::CharTokenizer;
    use crate::score::{score_rows, total};
    use crate::{DataSource, EvalOptions, evaluate, tasks};

    const VOCAB: usize = 300;

    fn model(max_seq_len: usize) -> BurnModel {
        let shape = ModelShape {
            n_layers: 2,
            dim: 24,
            n_heads: 4,
            n_kv_heads: 2,
            head_dim: 6,
            ffn: FfnKind::Swiglu,
            ffn_hidden: 40,
            vocab_size: VOCAB,
            max_seq_len,
            rope_theta: 10_000.0,
            norm_eps: 1e-5,
            // Large, so that probabilities differ much and errors show.
            init_std: 0.4,
            qk_norm: false,
            tie_embeddings: true,
            sharing: SharingKind::Immediate,
            repeats: 2,
        };
        let device = Device::flex();
        BurnModel::new(Transformer::new(&shape, 7, &device), &device)
    }

    fn rows() -> Vec<ScoreRow> {
        (0..40_u32)
            .map(|i| {
                let len = 2 + (i * 5 % 29) as usize;
                let tokens = (0..len as u32).map(|t| (t * 31 + (i / 3) * 7) % VOCAB as u32);
                ScoreRow {
                    tokens: tokens.collect(),
                    score_from: 1 + (i as usize * 3 % (len - 1)),
                }
            })
            .collect()
    }

    /// Row by row, every position projected, Burn's own log-softmax.
    fn plainly(model: &BurnModel, row: &ScoreRow) -> RowScore {
        let ids: Vec<i32> = row.input().iter().map(|&t| t as i32).collect();
        let data = TensorData::new(ids, [1, row.input().len()]);
        let tokens = Tensor::<2, Int>::from_data(data, &model.device); // [1, T]
        let model = model.packed.model();
        let hidden = model.hidden(tokens, None); // [1, T, D]
        let [_, t, d] = hidden.dims();
        let log_probs = model.log_probs(hidden.reshape([t, d])); // [T, V]
        let all = log_probs.into_data().try_into_vec::<f32>().unwrap();
        let mut greedy = true;
        let scored = (row.score_from..row.tokens.len()).map(|i| {
            let line = &all[(i - 1) * VOCAB..i * VOCAB];
            let own = line[row.tokens[i] as usize];
            greedy &= line.iter().all(|&other| other <= own);
            own
        });
        let log_probs = scored.collect();
        RowScore { log_probs, greedy }
    }

    #[test]
    fn batches_padding_and_shared_inputs_change_nothing() {
        let mut model = model(32);
        let mut rows = rows();
        // The same input with other targets, scored from other places, in both orders.
        rows.push(ScoreRow {
            tokens: vec![5, 6, 7, 8, 9],
            score_from: 3,
        });
        rows.push(ScoreRow {
            tokens: vec![5, 6, 7, 8, 10],
            score_from: 1,
        });
        rows.push(ScoreRow {
            tokens: vec![5, 6, 7, 8, 11],
            score_from: 4,
        });
        let expected: Vec<RowScore> = rows.iter().map(|row| plainly(&model, row)).collect();
        for batch_tokens in [1, 64, 200, 100_000] {
            let scores = score_rows(&mut model, &rows, batch_tokens, &mut |_, _| {}).unwrap();
            for (score, expected) in scores.iter().zip(&expected) {
                assert_eq!(score.log_probs.len(), expected.log_probs.len());
                assert_eq!(score.greedy, expected.greedy);
                for (a, b) in score.log_probs.iter().zip(&expected.log_probs) {
                    // A product over other rows may round its sums otherwise: a few ulp of f32.
                    assert!((a - b).abs() < 3e-6 * b.abs().max(1.0), "{a} {b}");
                }
            }
        }
    }

    #[test]
    fn the_greedy_continuation_is_flagged() {
        let mut model = model(32);
        let mut tokens = vec![3, 1, 4];
        for _ in 0..4 {
            let score = |model: &mut BurnModel, token| {
                let tokens = [tokens.as_slice(), &[token]].concat();
                let score_from = tokens.len() - 1;
                let row = ScoreRow { tokens, score_from };
                total(&model.score(&[row]).unwrap()[0])
            };
            let all: Vec<f64> = (0..VOCAB as u32)
                .map(|token| score(&mut model, token))
                .collect();
            let best = (0..VOCAB)
                .max_by(|&a, &b| all[a].total_cmp(&all[b]))
                .unwrap();
            tokens.push(best as u32);
        }
        let row = ScoreRow {
            tokens: tokens.clone(),
            score_from: 3,
        };
        assert!(model.score(&[row]).unwrap()[0].greedy);
        tokens[6] = (tokens[6] + 1) % VOCAB as u32;
        let row = ScoreRow {
            tokens,
            score_from: 3,
        };
        assert!(!model.score(&[row]).unwrap()[0].greedy);
    }

    #[test]
    fn what_cannot_be_scored_is_an_error() {
        let mut model = model(8).with_max_seq_len(4);
        assert_eq!(model.max_seq_len(), 4);
        let mut score = |tokens: &[u32], score_from| {
            let tokens = tokens.to_vec();
            model.score(&[ScoreRow { tokens, score_from }])
        };
        assert!(score(&[1, 2, 3, 4, 5], 1).is_ok());
        for (tokens, score_from) in [(&[1, 2, 3, 4, 5, 6][..], 1), (&[1, 300], 1), (&[1, 2], 0)] {
            assert!(matches!(
                score(tokens, score_from),
                Err(EvalError::Model(_))
            ));
        }
        assert!(model.score(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_whole_evaluation_runs_and_does_not_depend_on_the_batch() {
        let tasks = tasks::find_all(&["winogrande", "arc_easy"]).unwrap();
        let run = |batch_tokens| {
            let options = EvalOptions {
                limit: Some(4),
                data: DataSource::Builtin,
                batch_tokens,
                ..EvalOptions::default()
            };
            // Characters beyond the vocabulary do not occur in these examples.
            evaluate(
                &mut model(64),
                &CharTokenizer,
                &tasks,
                &options,
                &mut |_| {},
            )
            .unwrap()
        };
        let (a, b) = (run(1), run(4096));
        for (a, b) in a.examples.iter().zip(&b.examples) {
            assert_eq!((a.chosen, a.chosen_norm), (b.chosen, b.chosen_norm));
            for (x, y) in a.log_likelihoods.iter().zip(&b.log_likelihoods) {
                assert!((x - y).abs() < 1e-4 * x.abs(), "{x} {y}");
            }
        }
    }
}
