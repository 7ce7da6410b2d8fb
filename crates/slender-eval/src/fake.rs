//! A tokenizer and a model without weights, for tests.

use crate::error::EvalError;
use crate::model::{LanguageModel, RowScore, ScoreRow, TextEncoder};

/// One token for each character; U+0001 is BOS.
pub(crate) struct CharTokenizer;

impl CharTokenizer {
    pub(crate) const BOS: u32 = 1;
}

impl TextEncoder for CharTokenizer {
    fn encode(&self, text: &str, add_bos: bool) -> Result<Vec<u32>, EvalError> {
        let bos = add_bos.then_some(Self::BOS);
        Ok(bos.into_iter().chain(text.chars().map(u32::from)).collect())
    }

    fn prefix_token(&self) -> Option<u32> {
        Some(Self::BOS)
    }

    fn end_token(&self) -> Option<u32> {
        Some(2)
    }

    fn decode(&self, ids: &[u32]) -> String {
        ids.iter().filter_map(|&id| char::from_u32(id)).collect()
    }

    fn decode_pieces(&self, ids: &[u32]) -> Option<String> {
        Some(self.decode(ids))
    }

    fn fingerprint(&self) -> String {
        "characters".to_owned()
    }
}

/// A model whose log-probability of a token depends on all tokens before it, through a hash.
pub(crate) struct HashModel {
    pub(crate) max_seq_len: usize,
    /// Rows and inputs of each call.
    pub(crate) calls: Vec<(usize, usize)>,
    /// The inputs of each call.
    pub(crate) inputs: Vec<Vec<Vec<u32>>>,
}

impl HashModel {
    pub(crate) fn new(max_seq_len: usize) -> Self {
        Self {
            max_seq_len,
            calls: Vec::new(),
            inputs: Vec::new(),
        }
    }

    pub(crate) fn log_prob(before: &[u32], token: u32) -> f32 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for &t in before.iter().chain([&token]) {
            hash = (hash ^ u64::from(t)).wrapping_mul(0x0100_0000_01b3);
        }
        -((hash >> 40) as f32) / (1 << 22) as f32
    }
}

impl LanguageModel for HashModel {
    fn max_seq_len(&self) -> usize {
        self.max_seq_len
    }

    fn score(&mut self, rows: &[ScoreRow]) -> Result<Vec<RowScore>, EvalError> {
        let widest = rows.iter().map(|row| row.input().len()).max().unwrap_or(0);
        assert!(widest <= self.max_seq_len);
        self.calls.push((rows.len(), widest));
        self.inputs
            .push(rows.iter().map(|row| row.input().to_vec()).collect());
        Ok(rows
            .iter()
            .map(|row| {
                let log_probs: Vec<f32> = (row.score_from..row.tokens.len())
                    .map(|i| Self::log_prob(&row.tokens[..i], row.tokens[i]))
                    .collect();
                RowScore {
                    greedy: log_probs.iter().all(|&lp| lp > -0.5),
                    log_probs,
                }
            })
            .collect())
    }

    /// The likeliest of the printable ASCII characters and the line break.
    fn generate(
        &mut self,
        prompts: &[Vec<u32>],
        max_tokens: usize,
        done: &mut dyn FnMut(usize, &[u32]) -> bool,
    ) -> Result<Vec<Vec<u32>>, EvalError> {
        self.calls.push((prompts.len(), 0));
        let answer = |(i, prompt): (usize, &Vec<u32>)| {
            assert!(prompt.len() + max_tokens <= self.max_seq_len);
            let (mut before, mut out) = (prompt.clone(), Vec::new());
            while out.len() < max_tokens && !done(i, &out) {
                let score = |token: &u32| Self::log_prob(&before, *token);
                let all = std::iter::once(10).chain(32..127);
                let best = all.max_by(|a, b| score(a).total_cmp(&score(b))).unwrap();
                before.push(best);
                out.push(best);
            }
            out
        };
        Ok(prompts.iter().enumerate().map(answer).collect())
    }
}
