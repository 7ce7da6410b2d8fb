//! What must not change a score: the size of batches, the order of examples, the number of threads, and what
//! else is in a batch.

use slender_config::{FfnKind, ModelShape, SharingKind};
use slender_eval::{
    BurnModel, DataSource, EvalError, EvalOptions, EvalReport, LanguageModel, RowScore, ScoreRow,
    TextEncoder, evaluate, score_rows, tasks, total,
};

/// Bytes as tokens, with BOS.
struct Bytes;

impl TextEncoder for Bytes {
    fn encode(&self, text: &str, add_bos: bool) -> Result<Vec<u32>, EvalError> {
        let bos = add_bos.then_some(256);
        Ok(bos.into_iter().chain(text.bytes().map(u32::from)).collect())
    }

    fn prefix_token(&self) -> Option<u32> {
        Some(256)
    }

    fn end_token(&self) -> Option<u32> {
        None
    }

    fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().filter_map(|&id| u8::try_from(id).ok()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn decode_pieces(&self, ids: &[u32]) -> Option<String> {
        Some(self.decode(ids))
    }

    fn fingerprint(&self) -> String {
        "bytes".into()
    }
}

/// Head widths and proportions of a small real model, with weights large enough that answers differ.
fn model() -> BurnModel {
    let shape = ModelShape {
        n_layers: 4,
        dim: 192,
        n_heads: 6,
        n_kv_heads: 2,
        head_dim: 32,
        ffn: FfnKind::Swiglu,
        ffn_hidden: 512,
        vocab_size: 257,
        max_seq_len: 512,
        rope_theta: 10_000.0,
        norm_eps: 1e-5,
        init_std: 0.08,
        qk_norm: false,
        tie_embeddings: true,
        sharing: SharingKind::None,
        repeats: 1,
    };
    let device = burn::tensor::Device::flex();
    BurnModel::new(slender_model::Transformer::new(&shape, 3, &device), &device)
}

/// A model that is shown the rows of each call in another order, or one at a time.
struct Rearranged {
    inner: BurnModel,
    alone: bool,
}

impl LanguageModel for Rearranged {
    fn max_seq_len(&self) -> usize {
        self.inner.max_seq_len()
    }

    fn score(&mut self, rows: &[ScoreRow]) -> Result<Vec<RowScore>, EvalError> {
        if self.alone {
            let one = |row: &ScoreRow| Ok(self.inner.score(std::slice::from_ref(row))?.remove(0));
            return rows.iter().map(one).collect();
        }
        let mut reversed = rows.to_vec();
        reversed.reverse();
        let mut scores = self.inner.score(&reversed)?;
        scores.reverse();
        Ok(scores)
    }

    fn generate(
        &mut self,
        prompts: &[Vec<u32>],
        max_tokens: usize,
        done: &mut dyn FnMut(usize, &[u32]) -> bool,
    ) -> Result<Vec<Vec<u32>>, EvalError> {
        self.inner.generate(prompts, max_tokens, done)
    }
}

fn run(model: &mut (dyn LanguageModel + Send), batch_tokens: usize, threads: usize) -> EvalReport {
    let options = EvalOptions {
        limit: Some(6),
        data: DataSource::Builtin,
        batch_tokens,
        ..EvalOptions::default()
    };
    let tasks = tasks::find_all(&["paper"]).unwrap();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap();
    pool.install(|| evaluate(model, &Bytes, &tasks, &options, &mut |_| {}).unwrap())
}

/// Largest difference of a log-likelihood; panics if an answer differs.
fn furthest(a: &EvalReport, b: &EvalReport) -> f64 {
    assert_eq!(a.examples.len(), 8 * 6);
    let mut furthest = 0.0_f64;
    for (a, b) in a.examples.iter().zip(&b.examples) {
        assert_eq!((&a.task, a.doc_id), (&b.task, b.doc_id));
        assert_eq!(
            (a.chosen, a.chosen_norm, a.chosen_paper),
            (b.chosen, b.chosen_norm, b.chosen_paper)
        );
        for (x, y) in a.log_likelihoods.iter().zip(&b.log_likelihoods) {
            furthest = furthest.max((x - y).abs());
        }
    }
    furthest
}

#[test]
fn batches_order_threads_and_company_change_no_score() {
    let expected = run(&mut model(), 4096, 2);
    let spread = expected.examples.iter().flat_map(|r| &r.log_likelihoods);
    assert!(
        spread.clone().fold(0.0_f64, |a, x| a.min(*x)) < -50.0,
        "the model must not be trivial"
    );
    let others: [(&str, EvalReport); 6] = [
        ("batches of 300", run(&mut model(), 300, 2)),
        ("batches of 1", run(&mut model(), 1, 2)),
        ("one thread", run(&mut model(), 4096, 1)),
        ("three threads", run(&mut model(), 4096, 3)),
        (
            "reversed",
            run(
                &mut Rearranged {
                    inner: model(),
                    alone: false,
                },
                4096,
                2,
            ),
        ),
        (
            "alone",
            run(
                &mut Rearranged {
                    inner: model(),
                    alone: true,
                },
                4096,
                2,
            ),
        ),
    ];
    for (name, other) in others {
        let furthest = furthest(&expected, &other);
        println!("{name}: {furthest:e}");
        assert_eq!(furthest, 0.0, "{name}: to the last bit");
    }
}

#[test]
fn a_row_scores_the_same_beside_any_other() {
    let mut model = model();
    let row = ScoreRow {
        tokens: (0..90).map(|i| (i * 37 + 11) % 257).collect(),
        score_from: 40,
    };
    let alone =
        total(&score_rows(&mut model, std::slice::from_ref(&row), 1, &mut |_, _| {}).unwrap()[0]);
    for others in [1_u32, 7, 30] {
        let mut rows = vec![row.clone()];
        for i in 0..others {
            // Some share its beginning, some are longer, some shorter.
            let shared = (i as usize * 13) % 60;
            let rest = (0..(5 + i * 11) % 60).map(|j| (j * 29 + i) % 257);
            let tokens: Vec<u32> = row.tokens[..shared]
                .iter()
                .copied()
                .chain([i % 257, 3])
                .chain(rest)
                .collect();
            rows.push(ScoreRow {
                tokens,
                score_from: 1,
            });
        }
        let scores = score_rows(&mut model, &rows, 100_000, &mut |_, _| {}).unwrap();
        let difference = (total(&scores[0]) - alone).abs();
        assert_eq!(difference, 0.0, "beside {others}: to the last bit");
    }
}
