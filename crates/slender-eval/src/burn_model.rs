//! Our transformer as a [`LanguageModel`].
//!
//! What costs is the forward pass over every token and the projection to the vocabulary. The first is done
//! once for rows with the same input (`yes` and `no` after one passage), the second only at positions
//! whose next token is scored, in pieces of bounded size. Rows are padded on the right, which under causal
//! attention no earlier position can see.

use std::collections::HashMap;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;
use slender_model::Transformer;

use crate::error::EvalError;
use crate::model::{LanguageModel, RowScore, ScoreRow};
use crate::softmax::Normaliser;

/// Most logits computed at once: 64 MB of single precision.
const MAX_LOGITS: usize = 1 << 24;

/// A transformer on a device.
#[derive(Debug)]
pub struct BurnModel {
    model: Transformer,
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
            model,
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

    fn check(&self, rows: &[ScoreRow]) -> Result<(), EvalError> {
        for row in rows {
            if let Some(token) = row.tokens.iter().find(|&&t| t as usize >= self.vocab_size) {
                return Err(EvalError::Model(format!(
                    "token {token} is not among its {} tokens; is this its tokenizer?",
                    self.vocab_size
                )));
            }
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

    /// Hidden states of the distinct inputs, padded on the right: `[B · T, D]`.
    fn hidden(&self, inputs: &[&[u32]], width: usize) -> Tensor<2> {
        let mut ids = vec![0_i32; inputs.len() * width];
        for (padded, input) in ids.chunks_mut(width).zip(inputs) {
            for (id, &token) in padded.iter_mut().zip(*input) {
                *id = token as i32;
            }
        }
        let tokens = TensorData::new(ids, [inputs.len(), width]);
        let tokens = Tensor::<2, Int>::from_data(tokens, &self.device); // [B, T]
        let hidden = self.model.hidden(tokens, None); // [B, T, D]
        let [b, t, d] = hidden.dims();
        hidden.reshape([b * t, d]) // [B · T, D]
    }
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
        let mut inputs: Vec<&[u32]> = Vec::new();
        let mut index_of: HashMap<&[u32], usize> = HashMap::new();
        let width = rows.iter().map(|row| row.input().len()).max().unwrap_or(0);
        if width == 0 {
            return Ok(scores);
        }

        // Which tokens are scored at which position of which distinct input.
        let mut slot_of: HashMap<usize, usize> = HashMap::new();
        let mut positions: Vec<i32> = Vec::new();
        let mut targets: Vec<Vec<Target>> = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let input = *index_of.entry(row.input()).or_insert_with(|| {
                inputs.push(row.input());
                inputs.len() - 1
            });
            for (place, &token) in row.targets().iter().enumerate() {
                let position = input * width + row.score_from + place - 1;
                let slot = *slot_of.entry(position).or_insert_with(|| {
                    positions.push(position as i32);
                    targets.push(Vec::new());
                    positions.len() - 1
                });
                targets[slot].push(Target {
                    row: index,
                    place,
                    token,
                });
            }
        }

        let hidden = self.hidden(&inputs, width); // [B · T, D]
        let piece = (MAX_LOGITS / self.vocab_size.max(1)).max(1);
        for (positions, targets) in positions.chunks(piece).zip(targets.chunks(piece)) {
            let wanted = TensorData::new(positions.to_vec(), [positions.len()]);
            let wanted = Tensor::<1, Int>::from_data(wanted, &self.device); // [N]
            let logits = self.model.logits(hidden.clone().select(0, wanted)); // [N, V]
            let [_, vocab] = logits.dims();
            let logits = logits
                .into_data()
                .convert::<f32>()
                .try_into_vec::<f32>()
                .map_err(|error| EvalError::Model(format!("{error:?}")))?;
            let scored: Vec<Vec<(f32, bool)>> = logits
                .par_chunks_exact(vocab)
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
        let hidden = model.model.hidden(tokens, None); // [1, T, D]
        let [_, t, d] = hidden.dims();
        let log_probs = model.model.log_probs(hidden.reshape([t, d])); // [T, V]
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
