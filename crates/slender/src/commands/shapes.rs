//! `slender search shapes`.

use crate::cli::ShapesArgs;
use crate::error::CliError;
use crate::output;
use serde_json::{Value, json};
use slender_config::sweep::{
    Budget, FfnWidth, Found, KvHeads, Quantity, ShapeContext, Space, Spread, SweepFile,
    sharing_choices,
};
use slender_config::{Config, FfnKind, ShapeProblem, human_bytes, human_count};
use slender_sweep::paper;
use std::collections::BTreeSet;

/// Lists the shapes.
pub fn run(args: &ShapesArgs) -> Result<(), CliError> {
    let found = match &args.file {
        Some(path) => {
            let mut file = SweepFile::read(path)?;
            let Some(space) = &mut file.space else {
                return Err(CliError::Usage(format!(
                    "{}: there is no [space] in it\n  hint: docs/sweeps.md shows one; or give a budget, such as --params 125M",
                    path.display()
                )));
            };
            space.spread = spread(args).unwrap_or(space.spread);
            file.shapes(&[])?
        }
        None => {
            let context = context(args)?;
            let space = space(args)?;
            space.shapes(&context).map_err(|problem| {
                let hint = problem
                    .hint()
                    .replace("tolerance", "--tolerance")
                    .replace("head_dim", "--head-dim");
                CliError::Usage(format!("{problem}\n  hint: {hint}"))
            })?
        }
    };
    if args.json {
        output::json(&json!({
            "format": "slender-shapes/1",
            "shapes": found.iter().map(json_of).collect::<Vec<_>>(),
        }));
        return Ok(());
    }
    let mut rows = vec![HEADS.map(str::to_owned).to_vec()];
    rows.extend(found.iter().map(cells));
    output::data(&output::table(&rows, &[0, 4, 13]));
    Ok(())
}

fn spread(args: &ShapesArgs) -> Option<Spread> {
    match (args.pick, args.closest) {
        (Some(wanted), _) => Some(Spread::Pick(wanted.max(1))),
        (None, true) => Some(Spread::Closest),
        (None, false) => None,
    }
}

fn context(args: &ShapesArgs) -> Result<ShapeContext, CliError> {
    if let Some(base) = &args.base {
        let config = Config::load(base, &[])?;
        return ShapeContext::of(&config).ok_or_else(|| {
            CliError::Usage(format!(
                "{}: the vocabulary size is unknown\n  hint: give data.tokenizer.vocab_size",
                base.display()
            ))
        });
    }
    let ffn = match args.ffn.as_deref() {
        None | Some("swiglu") => FfnKind::Swiglu,
        Some("relu") => FfnKind::Relu,
        Some("gelu") => FfnKind::Gelu,
        Some(other) => {
            return Err(CliError::Usage(format!(
                "--ffn: unknown kind `{other}`\n  hint: use swiglu, relu or gelu"
            )));
        }
    };
    for (name, value) in [("--vocab", args.vocab), ("--seq-len", args.seq_len)] {
        if value == 0 || value > 1 << 24 {
            return Err(CliError::Usage(format!("{name}: {value} is out of range")));
        }
    }
    Ok(ShapeContext {
        vocab_size: args.vocab,
        seq_len: args.seq_len,
        micro_batch: 1,
        tokens: args.tokens as u64,
        ffn,
        qk_norm: false,
    })
}

fn space(args: &ShapesArgs) -> Result<Space, CliError> {
    let usage = |text: &str| CliError::Usage(text.to_owned());
    let sides = (args.tolerance[0], *args.tolerance.last().unwrap_or(&0.05));
    if args.tolerance.len() > 2
        || !(0.0..=1.0).contains(&sides.0)
        || !(0.0..=100.0).contains(&sides.1)
    {
        return Err(usage(
            "--tolerance: not a share of the budget\n  hint: write 0.05 for 5 % on either side, or 0,0.3",
        ));
    }
    let values = [
        args.params,
        args.non_embedding,
        args.train_flops,
        args.decode_bytes,
    ];
    let budgets: Vec<Budget> = (Quantity::ALL.into_iter().zip(values))
        .filter_map(|(quantity, value)| {
            Some(Budget {
                quantity,
                value: value?,
                tolerance: sides,
            })
        })
        .collect();
    if budgets.is_empty() {
        return Err(usage(
            "there is no budget\n  hint: give --params, --non-embedding, --train-flops or --decode-bytes, or a sweep file with a [space]",
        ));
    }
    let tied = match (args.tied, args.untied) {
        (true, true) => vec![true, false],
        (true, false) => vec![true],
        (false, true) => vec![false],
        (false, false) => {
            return Err(usage(
                "are the embeddings tied?\n  hint: give --tied, --untied or both; what a parameter count means depends on it",
            ));
        }
    };
    if let Some(odd) = args.head_dim.0.iter().find(|width| *width % 2 == 1) {
        return Err(CliError::Usage(format!(
            "--head-dim: {odd} is odd, but RoPE rotates pairs\n  hint: give even numbers"
        )));
    }
    if args
        .ffn_ratio
        .iter()
        .any(|ratio| !(ratio.is_finite() && *ratio > 0.0))
    {
        return Err(usage("--ffn-ratio: not a number above 0"));
    }
    if args.ffn_multiple_of == Some(0) {
        return Err(usage("--ffn-multiple-of: must be at least 1"));
    }
    let sharing = sharing_choices(&args.sharing, &args.repeats.0).map_err(|problem| {
        let ShapeProblem { key, message, hint } = problem;
        CliError::Usage(format!("--{key}: {message}\n  hint: {hint}"))
    })?;
    let mut space = Space::new(
        budgets,
        args.depths.0.clone(),
        args.head_dim.0.clone(),
        tied,
    );
    space.heads = args
        .heads
        .as_ref()
        .map(|heads| BTreeSet::from_iter(heads.0.iter().copied()));
    space.kv = match &args.kv_heads {
        Some(heads) => KvHeads::Heads(heads.0.clone()),
        None => KvHeads::Ratios(args.kv_ratio.0.clone()),
    };
    space.ffn = match args.ffn_ratio.is_empty() {
        true => FfnWidth::Rule {
            multiple_of: args.ffn_multiple_of,
        },
        false => FfnWidth::Ratios {
            ratios: args.ffn_ratio.clone(),
            multiple_of: args.ffn_multiple_of.unwrap_or(64),
        },
    };
    space.sharing = sharing;
    space.spread = spread(args).unwrap_or_default();
    Ok(space)
}

/// The row of the paper's Table 11 with this shape.
fn row_of(found: &Found) -> Option<&'static str> {
    let (shape, params) = (&found.shape, found.accounting.params_without_norms);
    let same = |row: &&paper::PaperRow| {
        row.table() == 11
            && row
                .params
                .is_some_and(|printed| printed.agrees_with(params))
            && row.shape.as_ref().is_some_and(|known| {
                (known.layers, known.dim, known.heads, known.kv_heads)
                    == (shape.n_layers, shape.dim, shape.n_heads, shape.n_kv_heads)
                    && (known.ffn_hidden, known.tied) == (shape.ffn_hidden, shape.tie_embeddings)
                    && known.repeats == shape.repeats
            })
    };
    paper::rows().iter().find(same).map(|row| row.id)
}

fn json_of(found: &Found) -> Value {
    json!({
        "label": found.shape.label(),
        "shape": found.shape,
        "accounting": found.accounting,
        "train_flops": found.train_flops,
        "decode_bytes": found.decode_bytes,
        "off": found.off,
        "paper_row": row_of(found),
    })
}

const HEADS: [&str; 14] = [
    "shape",
    "heads/kv",
    "head_dim",
    "ffn",
    "embeddings",
    "executed",
    "params",
    "w/o norms",
    "non-emb",
    "FLOP/token train",
    "train FLOPs",
    "decode bytes",
    "off",
    "paper",
];

fn cells(found: &Found) -> Vec<String> {
    let (shape, accounting) = (&found.shape, &found.accounting);
    let count = |n: u64| human_count(n as f64);
    vec![
        shape.label(),
        format!("{}/{}", shape.n_heads, shape.n_kv_heads),
        shape.head_dim.to_string(),
        shape.ffn_hidden.to_string(),
        if shape.tie_embeddings {
            "tied"
        } else {
            "untied"
        }
        .to_owned(),
        shape.n_executed_layers().to_string(),
        count(accounting.params_total),
        count(accounting.params_without_norms),
        count(accounting.params_non_embedding),
        count(accounting.train_flops_per_token),
        format!("{:.2e}", found.train_flops),
        human_bytes(found.decode_bytes),
        format!("{:+.1} %", 100.0 * found.off),
        row_of(found).unwrap_or_default().to_owned(),
    ]
}
