//! The solver against the paper: every shape of Table 11, from its scale, tying, head width and depths.

use slender_config::FfnKind;
use slender_config::sweep::{Budget, Found, Quantity, ShapeContext, Space, Spread};
use slender_sweep::paper::{self, PaperRow};

/// LLaMA's vocabulary and the paper's sequence length and budget.
const PAPER: ShapeContext = ShapeContext {
    vocab_size: 32_000,
    seq_len: 2048,
    micro_batch: 1,
    tokens: 250_000_000_000,
    ffn: FfnKind::Swiglu,
    qk_norm: false,
};

fn rows(scale: &str) -> Vec<&'static PaperRow> {
    let rows = paper::rows().iter();
    rows.filter(|row| row.table() == 11 && row.scale == scale)
        .collect()
}

/// "125M, untied, head_dim 64, depths 4..62": the paper's models are up to 31 % above their scale's name.
fn space(params: f64, above: f64, depth: std::ops::RangeInclusive<usize>) -> Space {
    let budget = Budget {
        quantity: Quantity::ParamsTotal,
        value: params,
        tolerance: (0.0, above),
    };
    Space::new(vec![budget], depth.collect(), vec![64], vec![false])
}

fn is_row(found: &Found, row: &PaperRow) -> bool {
    let (shape, known) = (&found.shape, row.shape.as_ref().unwrap());
    shape.n_layers == known.layers
        && shape.dim == known.dim
        && shape.n_heads == known.heads
        && shape.n_kv_heads == known.kv_heads
        && shape.ffn_hidden == known.ffn_hidden
        && row
            .params
            .unwrap()
            .agrees_with(found.accounting.params_without_norms)
}

#[test]
fn all_nineteen_shapes_of_table_11_are_found_to_printed_precision() {
    let mut count = 0;
    for (scale, space) in [
        ("125M", space(125e6, 0.31, 4..=62)),
        ("350M", space(350e6, 0.12, 5..=66)),
    ] {
        let found = space.shapes(&PAPER).unwrap();
        assert!(found.is_sorted_by_key(|one| one.shape.n_layers));
        for row in rows(scale) {
            let same = found.iter().filter(|one| is_row(one, row)).count();
            assert_eq!(same, 1, "{}", row.id);
            count += 1;
        }
    }
    assert_eq!(count, 19);
}

#[test]
fn an_even_spread_keeps_both_ends_and_the_budget() {
    let mut space = space(125e6, 0.31, 4..=62);
    space.spread = Spread::Pick(9);
    let found = space.shapes(&PAPER).unwrap();
    let depths: Vec<usize> = found.iter().map(|one| one.shape.n_layers).collect();
    assert_eq!(depths, [4, 6, 7, 11, 17, 23, 28, 39, 62]);
    // The paper's own depths are 4, 6, 8, 12, 18, 24, 30, 42 and 62.
    for one in &found {
        let params = one.accounting.params_total as f64;
        assert!((125e6..=1.31 * 125e6).contains(&params), "{params}");
    }
}

#[test]
fn budgets_and_freedoms_hold_for_every_shape() {
    let total = Budget {
        quantity: Quantity::ParamsNonEmbedding,
        value: 80e6,
        tolerance: (0.03, 0.03),
    };
    let mut space = Space::new(
        vec![total],
        vec![8, 16, 24],
        vec![32, 64],
        vec![true, false],
    );
    space.kv = slender_config::sweep::KvHeads::Ratios(vec![1, 3]);
    space.ffn = slender_config::sweep::FfnWidth::Ratios {
        ratios: vec![2.0, 8.0 / 3.0],
        multiple_of: 64,
    };
    space.sharing =
        slender_config::sweep::sharing_choices(&["none".into(), "immediate".into()], &[2, 3])
            .unwrap();
    let found = space.shapes(&PAPER).unwrap();
    assert!(found.len() > 40, "{}", found.len());
    for one in &found {
        let (shape, params) = (&one.shape, one.accounting.params_non_embedding as f64);
        assert!((params / 80e6 - 1.0).abs() <= 0.03);
        assert_eq!(one.off, params / 80e6 - 1.0);
        assert_eq!(shape.dim, shape.n_heads * shape.head_dim);
        assert!(
            shape.n_heads.is_multiple_of(shape.n_kv_heads) && shape.ffn_hidden.is_multiple_of(64)
        );
        assert_eq!(shape.accounting(2048, 1), one.accounting);
    }
    let mut seen: Vec<String> = found.iter().map(|one| format!("{:?}", one.shape)).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), found.len());
    space.spread = Spread::Closest;
    let closest = space.shapes(&PAPER).unwrap();
    // Of each depth one for tied and untied, unshared, shared twice and three times.
    assert!(
        closest.len() <= 3 * 6 && closest.len() >= 3,
        "{}",
        closest.len()
    );
}

#[test]
fn compute_and_bytes_are_budgets_too() {
    for (quantity, value) in [(Quantity::TrainFlops, 2e20), (Quantity::DecodeBytes, 3e8)] {
        let budget = Budget {
            quantity,
            value,
            tolerance: (0.02, 0.02),
        };
        let space = Space::new(vec![budget], (4..=40).collect(), vec![32], vec![true]);
        let found = space.shapes(&PAPER).unwrap();
        for one in &found {
            assert!((one.quantity(quantity) / value - 1.0).abs() <= 0.02);
        }
    }
    // Sharing in a row reads weights once, other orders again.
    let shape = |kind: &str| {
        let mut space = space(125e6, 0.31, 12..=12);
        space.sharing = slender_config::sweep::sharing_choices(&[kind.into()], &[2]).unwrap();
        space.shapes(&PAPER).unwrap()[0].clone()
    };
    let (once, again) = (shape("immediate"), shape("reverse"));
    let blocks = 2 * once.accounting.params_non_embedding;
    assert_eq!(again.decode_bytes - once.decode_bytes, blocks);
}

#[test]
fn an_impossible_budget_names_the_nearest_shape() {
    let mut impossible = space(1e6, 0.05, 4..=8);
    let problem = impossible.shapes(&PAPER).unwrap_err();
    let nearest = problem.nearest.as_ref().unwrap();
    assert_eq!((nearest.shape.n_layers, nearest.shape.dim), (4, 64));
    assert!(
        problem.to_string().contains("the nearest, 4x64-mha with"),
        "{problem}"
    );
    assert!(problem.hint().contains("smaller head_dim"));
    impossible.heads = Some([7].into());
    impossible.kv = slender_config::sweep::KvHeads::Heads(vec![2]);
    let problem = impossible.shapes(&PAPER).unwrap_err();
    assert!(problem.nearest.is_none() && problem.to_string().contains("no number of heads"));
}
