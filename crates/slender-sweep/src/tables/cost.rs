//! What each run cost, and all of them together.

use super::cells::{Row, RowKind, Table, column, number, text, words};
use crate::format::{flop_unit, significant};
use crate::results::{RunResult, SweepResults};
use slender_config::{human_count, human_seconds};

pub(super) fn table(results: &SweepResults) -> Table {
    let flops = results.runs.iter().filter_map(|run| run.train_flops);
    let (flop, flop_name) = flop_unit(flops.clone().fold(0.0, f64::max));
    let compute = |value: Option<f64>| number(value, |value| significant(value / flop));
    let speed = |tokens: f64, seconds: f64| {
        number(
            (seconds > 0.0 && tokens > 0.0).then(|| tokens / seconds),
            |v| human_count(v.round()),
        )
    };
    let row = |run: &RunResult| Row {
        kind: RowKind::Own,
        key: run.variant.clone(),
        cells: vec![
            text(&run.name),
            number(Some(run.step as f64), |value| format!("{value:.0}")),
            number(Some(run.tokens as f64), human_count),
            compute(run.train_flops),
            number(Some(run.timing.train_s), human_seconds),
            speed(run.tokens as f64, run.timing.train_s),
        ],
    };
    let tokens: f64 = results.runs.iter().map(|run| run.tokens as f64).sum();
    let seconds: f64 = results.runs.iter().map(|run| run.timing.train_s).sum();
    let total = vec![
        text(format!("all {} runs", results.runs.len())),
        number(
            Some(results.runs.iter().map(|run| run.step as f64).sum()),
            |v| format!("{v:.0}"),
        ),
        number(Some(tokens), human_count),
        compute(Some(flops.sum())),
        number(Some(seconds), human_seconds),
        speed(tokens, seconds),
    ];
    Table {
        id: "cost",
        title: "Cost".into(),
        caption: "Wall time is that of training alone, all attempts together; where runs shared a machine it says little about the shape.".into(),
        columns: vec![
            words("run"),
            column("steps", ""),
            column("tokens", "trained"),
            column("compute", flop_name),
            column("training", "wall time"),
            column("speed", "tokens/s"),
        ],
        groups: results.runs.iter().map(|run| vec![row(run)]).collect(),
        total: Some(Row {
            kind: RowKind::Own,
            key: String::new(),
            cells: total,
        }),
    }
}
