//! Scores by task, with `acc_norm` and the paper's row below each variant.

use super::cells::{Row, RowKind, Table, column, number, score, spread, text, words};
use crate::analysis::Metric;
use crate::format::percent;
use crate::results::{RunResult, SweepResults};

/// `None` if nothing was scored.
pub(super) fn table(results: &SweepResults) -> Option<Table> {
    let tasks = results.task_columns();
    if tasks.is_empty() {
        return None;
    }
    let mut columns = vec![words("variant"), words("measure")];
    columns.extend(tasks.iter().map(|task| column(short_task(task), "%")));
    columns.push(column("mean", "%"));
    columns.push(column("mean", "% w/o BoolQ"));
    let mut groups = Vec::new();
    for variant in &results.variants {
        let runs: Vec<&RunResult> = results
            .runs
            .iter()
            .filter(|run| run.variant == variant.name && run.counts())
            .collect();
        let mut rows = Vec::new();
        if !variant.tasks.is_empty() {
            let mut own = vec![text(&variant.name), text("acc")];
            own.extend(
                tasks
                    .iter()
                    .map(|task| spread(variant.tasks.get(*task), percent)),
            );
            own.push(spread(variant.spread(&Metric::Average), percent));
            own.push(spread(
                variant.spread(&Metric::AverageWithoutBoolq),
                percent,
            ));
            rows.push((RowKind::Own, own));
            let mean = |of: &dyn Fn(&RunResult) -> Option<f64>| {
                let values: Vec<f64> = runs.iter().filter_map(|run| of(run)).collect();
                match values.len() {
                    0 => text("–"),
                    n => score(values.iter().sum::<f64>() / n as f64, None),
                }
            };
            let mut norm = vec![text(&variant.name), text("acc_norm")];
            norm.extend(
                tasks
                    .iter()
                    .map(|task| mean(&|run| run.tasks.get(*task)?.acc_norm)),
            );
            norm.push(mean(&|run| Some(run.average_norm?.mean)));
            norm.push(text(""));
            rows.push((RowKind::Second, norm));
        }
        let paper = results.runs.iter().find(|run| run.variant == variant.name);
        if let Some(paper) = paper.and_then(|run| run.paper.as_ref()) {
            let printed = |value: Option<&f64>| number(value.copied(), |v| format!("{v:.1}"));
            let label = format!("paper, {}", paper.row);
            let mut cells = vec![text(&variant.name), text(label)];
            let scores = tasks.iter().map(|task| paper.scores_percent.get(*task));
            cells.extend(scores.map(printed));
            cells.push(printed(Some(&paper.average_percent)));
            cells.push(printed(Some(&paper.average_without_boolq_percent)));
            rows.push((RowKind::Paper, cells));
        }
        if !rows.is_empty() {
            let key = &variant.name;
            let row = |(kind, cells)| Row {
                kind,
                key: key.clone(),
                cells,
            };
            groups.push(rows.into_iter().map(row).collect());
        }
    }
    Some(Table {
        id: "scores",
        title: "Zero-shot tasks".into(),
        caption: caption(results),
        columns,
        groups,
        total: None,
    })
}

fn caption(results: &SweepResults) -> String {
    let mut caption = String::from(
        "acc takes the likeliest answer; acc_norm divides its log-likelihood by its length first, and its mean takes acc where a task has no acc_norm. ± is half the 95 % interval, for ",
    );
    caption += match results.noise.is_empty() {
        true => "the choice of questions alone.",
        false => "other seeds and other questions.",
    };
    let questions = || results.scores().map(|score| score.examples);
    if let (Some(low), Some(high)) = (questions().min(), questions().max()) {
        let slice = if results.scores().any(|score| score.fixture) {
            "shipped slices, not the full tasks"
        } else if results.is_partial() {
            "part of each task"
        } else {
            "the full sets"
        };
        let count = if low == high {
            format!("{low}")
        } else {
            format!("{low} to {high}")
        };
        caption += &format!(" {count} questions a task, {slice}.");
    }
    if results.runs.iter().any(|run| run.paper.is_some()) {
        caption += " The paper prints no errors; its mean without BoolQ is derived.";
    }
    caption
}

/// A task's name as the paper heads its column.
pub(crate) fn short_task(task: &str) -> &str {
    match task {
        "arc_easy" => "ARC-e",
        "arc_challenge" => "ARC-c",
        "boolq" => "BoolQ",
        "piqa" => "PIQA",
        "social_iqa" => "SIQA",
        "hellaswag" => "HellaSwag",
        "openbookqa" => "OBQA",
        "winogrande" => "WinoGrande",
        other => other,
    }
}
