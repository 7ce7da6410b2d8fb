//! Variants with their intervals, and the runs beneath.

use super::cells::{Cell, Row, RowKind, Table, average, column, number, spread, text, words};
use crate::analysis::{Metric, Verdict};
use crate::format::percent;
use crate::results::{RunResult, RunState, SweepResults};
use crate::verdict::{against_leader, deciding_metric};
use slender_config::human_count;

pub(super) fn table(results: &SweepResults) -> Table {
    let seeds = results.variants.iter().any(|v| v.runs.len() > 1);
    let unfinished = results
        .runs
        .iter()
        .any(|run| run.state != RunState::Finished);
    let against = against_leader(results);
    let mut columns = vec![
        words(if seeds { "variant, run" } else { "run" }),
        column("layers × dim", ""),
        column("parameters", "total"),
        column("parameters", "non-embedding"),
        column(if seeds { "seeds" } else { "seed" }, ""),
        column("valid. loss", "bits/byte"),
        column("valid. loss", "nats/token"),
        column("mean score", "%"),
        column("mean score", "% w/o BoolQ"),
    ];
    if against.is_some() {
        columns.push(words("against the best"));
    }
    if unfinished {
        columns.push(words("state"));
    }
    let loss = |value: f64| format!("{value:.3}");
    let groups = results.variants.iter().map(|variant| {
        let runs: Vec<&RunResult> = results
            .runs
            .iter()
            .filter(|run| run.variant == variant.name)
            .collect();
        let count = |n: Option<u64>| number(n.map(|n| n as f64), human_count);
        let shape = |run: Option<&&RunResult>| match run {
            Some(run) => Cell {
                text: format!("{} × {}", run.facts.n_layers, run.facts.dim),
                sort: Some(run.facts.n_layers as f64),
                ..Cell::default()
            },
            None => text("–"),
        };
        let alone = variant.runs.len() == 1;
        let mut cells = vec![
            text(&variant.name),
            shape(runs.first()),
            count(variant.params_total),
            count(variant.params_non_embedding),
            match (alone, runs.first()) {
                (true, Some(run)) if !seeds => number(Some(run.seed as f64), |s| format!("{s:.0}")),
                _ => number(Some(variant.seeds.len() as f64), |n| format!("{n:.0}")),
            },
            spread(variant.spread(&Metric::BitsPerByte), loss),
            spread(variant.spread(&Metric::Loss), loss),
            spread(variant.spread(&Metric::Average), percent),
            spread(variant.spread(&Metric::AverageWithoutBoolq), percent),
        ];
        if let Some(against) = &against {
            cells.push(verdict_cell(against.get(variant.name.as_str())));
        }
        if unfinished {
            cells.push(text(match alone {
                true => runs.first().map_or("", |run| run.state.words()),
                false => "",
            }));
        }
        let mut rows = vec![Row {
            kind: RowKind::Own,
            key: variant.name.clone(),
            cells,
        }];
        for run in runs.into_iter().filter(|_| !alone) {
            let mut cells = vec![
                text(&run.name),
                text(""),
                text(""),
                text(""),
                number(Some(run.seed as f64), |seed| format!("seed {seed:.0}")),
                number(run.valid_bits_per_byte, loss),
                number(run.valid_loss, loss),
                average(run.average),
                average(run.average_without_boolq),
            ];
            if against.is_some() {
                cells.push(text(""));
            }
            if unfinished {
                cells.push(text(run.state.words()));
            }
            rows.push(Row {
                kind: RowKind::Run,
                key: variant.name.clone(),
                cells,
            });
        }
        rows
    });
    let by = match deciding_metric(results) {
        Some(Metric::Average) => "mean score",
        _ => "validation loss",
    };
    let intervals = if results.noise.is_empty() {
        "With one seed there is no interval for the losses, and that of the scores allows for the choice of questions alone."
    } else {
        "The interval of a loss allows for other seeds, that of a score for other seeds and other questions; the spread between seeds is pooled over the variants."
    };
    let last = match against {
        Some(_) => format!(" The last column is by {by}, after Holm's correction."),
        None => String::new(),
    };
    Table {
        id: "variants",
        title: if seeds {
            "Variants and runs".into()
        } else {
            "Runs".into()
        },
        caption: format!("± is half the 95 % interval of the mean. {intervals}{last}"),
        columns,
        groups: groups.collect(),
        total: None,
    }
}

/// What can be said against the leader: a word, and a class for the colour beside it.
pub(super) fn verdict_cell(verdict: Option<&Option<Verdict>>) -> Cell {
    let (text, class) = match verdict {
        None => ("–", ""),
        Some(None) => ("best", "better"),
        Some(Some(verdict)) => (
            verdict.words(),
            match verdict {
                Verdict::Better => "better",
                Verdict::Worse => "worse",
                _ => "noise",
            },
        ),
    };
    Cell {
        text: text.into(),
        class,
        ..Cell::default()
    }
}
