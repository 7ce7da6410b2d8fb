//! Each variant against the best, with the noise floor beside every difference.

use super::cells::{Cell, Row, RowKind, Table, column, number, text, words};
use super::variants::verdict_cell;
use crate::analysis::{Basis, Comparison, Metric};
use crate::format::p_words;
use crate::results::SweepResults;
use crate::verdict::{deciding_metric, leaders, turned};

pub(super) fn table(results: &SweepResults) -> Option<Table> {
    let deciding = deciding_metric(results)?;
    let leaders = leaders(results, &deciding);
    let apart = leaders.len() > 1;
    let mut groups = Vec::new();
    let pairs = leaders.iter().flat_map(|(best, names)| {
        let others = results.variants.iter();
        let others = others.filter(|v| v.name != *best && names.contains(&v.name.as_str()));
        others.map(|variant| (*best, variant))
    });
    for (best, variant) in pairs {
        let mut rows: Vec<Row> = Vec::new();
        for (metric, name, factor, digits) in [
            (Metric::BitsPerByte, "bits/byte", 1.0, 3),
            (Metric::Loss, "nats/token", 1.0, 3),
            (Metric::Average, "mean score, points", 100.0, 1),
            (Metric::AverageWithoutBoolq, "w/o BoolQ, points", 100.0, 1),
        ] {
            let pair = |c: &&Comparison| {
                let names = (c.a.as_str(), c.b.as_str());
                c.metric == metric.name()
                    && (names == (best, &variant.name) || names == (&variant.name, best))
            };
            let Some(found) = results.comparisons.iter().find(pair) else {
                continue;
            };
            let c = turned(found, best);
            rows.push(Row {
                kind: if rows.is_empty() {
                    RowKind::Own
                } else {
                    RowKind::Second
                },
                key: variant.name.clone(),
                cells: cells(&c, name, factor, digits, apart),
            });
        }
        if !rows.is_empty() {
            groups.push(rows);
        }
    }
    if groups.is_empty() {
        return None;
    }
    let questions = results
        .comparisons
        .iter()
        .any(|c| c.basis == Basis::Questions);
    let noise = if results.noise.is_empty() {
        "The noise between seeds is not known, so nothing is claimed"
    } else {
        "The noise floor is the least significant difference between means over these seeds at 5 %, from the pooled spread between seeds; a smaller difference is inside the noise"
    };
    let questions = if questions {
        "; the intervals of scores allow for the choice of questions alone"
    } else {
        ""
    };
    Some(Table {
        id: "differences",
        title: match leaders.as_slice() {
            [(best, _)] => format!("Differences from {best}"),
            _ => "Differences from the best that was measured alike".into(),
        },
        caption: format!(
            "{noise}{questions}. Holm's correction goes over all pairs of variants, which results.json has, and each task."
        ),
        columns: vec![
            words(if apart { "variant, against" } else { "variant" }),
            words("measure"),
            column("difference", ""),
            column("95 % interval", ""),
            column("noise floor", "±"),
            column("p", ""),
            column("p", "Holm"),
            words("verdict"),
        ],
        groups,
        total: None,
    })
}

fn cells(c: &Comparison, name: &str, factor: f64, digits: usize, apart: bool) -> Vec<Cell> {
    let signed = |value: f64| {
        let text = format!("{:+.digits$}", factor * value).replace('-', "−");
        match text.trim_matches(['+', '−', '0', '.']).is_empty() {
            true => text.trim_start_matches(['+', '−']).to_owned(),
            false => text,
        }
    };
    let p = |p: Option<f64>| {
        number(p, |p| {
            p_words(p)
                .trim_start_matches("p ")
                .trim_start_matches("= ")
                .to_owned()
        })
    };
    vec![
        match apart {
            true => text(format!("{}, against {}", c.b, c.a)),
            false => text(&c.b),
        },
        text(name),
        number(Some(c.difference), signed),
        match (c.low, c.high) {
            (Some(low), Some(high)) => Cell {
                text: format!("{} to {}", signed(low), signed(high)),
                sort: Some(low),
                ..Cell::default()
            },
            _ => text("–"),
        },
        match c.least_significant_difference {
            Some(floor) => number(Some(floor), |v| format!("{:.digits$}", factor * v)),
            None => text("not known"),
        },
        p(c.p),
        p(c.p_holm),
        verdict_cell(Some(&Some(c.verdict))),
    ]
}
