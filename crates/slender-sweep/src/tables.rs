//! The report's tables as data, so that `report.html` and `report.md` cannot disagree.

use crate::format::{flop_unit, percent, significant};
use crate::results::{Average, RunResult, SweepResults, TaskScore};
use slender_config::{human_count, human_seconds};

/// A table: columns, and groups of rows that stay together when it is sorted.
pub(crate) struct Table {
    pub title: &'static str,
    pub caption: String,
    pub columns: Vec<Column>,
    pub groups: Vec<Vec<Row>>,
}

pub(crate) struct Column {
    pub head: String,
    /// Unit under the head; empty for none.
    pub unit: &'static str,
    pub numeric: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowKind {
    /// The run's own numbers.
    Own,
    /// The same run by another measure.
    Second,
    /// The paper's numbers.
    Paper,
}

pub(crate) struct Row {
    pub kind: RowKind,
    /// The run it belongs to.
    pub run: String,
    pub cells: Vec<Cell>,
}

#[derive(Default)]
pub(crate) struct Cell {
    pub text: String,
    /// Standard error, shown smaller.
    pub error: Option<String>,
    /// What the column sorts by; the text if there is none.
    pub sort: Option<f64>,
}

fn text(text: impl Into<String>) -> Cell {
    Cell {
        text: text.into(),
        ..Cell::default()
    }
}

fn number(value: Option<f64>, show: impl Fn(f64) -> String) -> Cell {
    Cell {
        text: value.map_or("–".into(), show),
        sort: value,
        error: None,
    }
}

fn score(mean: f64, stderr: Option<f64>) -> Cell {
    Cell {
        text: percent(mean),
        error: stderr.map(percent),
        sort: Some(mean),
    }
}

fn average(average: Option<Average>) -> Cell {
    match average {
        Some(average) => score(average.mean, average.stderr),
        None => text("–"),
    }
}

fn column(head: &str, unit: &'static str) -> Column {
    Column {
        head: head.into(),
        unit,
        numeric: true,
    }
}

fn words(head: &str) -> Column {
    Column {
        numeric: false,
        ..column(head, "")
    }
}

/// Shapes, sizes, budgets, losses and averages.
pub(crate) fn main_table(results: &SweepResults) -> Table {
    let flops = results.runs.iter().filter_map(|run| run.train_flops);
    let (flop, flop_name) = flop_unit(flops.fold(0.0, f64::max));
    let mut columns = vec![
        words("run"),
        column("layers × dim", ""),
        column("parameters", "total"),
        column("parameters", "non-embedding"),
        column("tokens", "trained"),
        column("compute", flop_name),
        column("valid. loss", "nats/token"),
        column("valid. loss", "bits/byte"),
        column("average", "%"),
        column("average", "% w/o BoolQ"),
        column("heads / kv", ""),
        words("FFN"),
        words("tied"),
        words("sharing"),
        column("training", "wall time"),
        column("seed", ""),
    ];
    let unfinished = |run: &RunResult| run.state != crate::results::RunState::Finished;
    let with_state = results.runs.iter().any(unfinished);
    if with_state {
        columns.push(words("state"));
    }
    let row = |run: &RunResult| {
        let facts = &run.facts;
        let accounting = facts.accounting.as_ref();
        let params = |count: Option<u64>| number(count.map(|n| n as f64), human_count);
        let mut cells = vec![
            text(&run.name),
            Cell {
                text: format!("{} × {}", facts.n_layers, facts.dim),
                sort: Some(facts.n_layers as f64),
                error: None,
            },
            params(accounting.map(|a| a.params_total)),
            params(accounting.map(|a| a.params_non_embedding)),
            number(Some(run.tokens as f64), human_count),
            number(run.train_flops, |value| significant(value / flop)),
            number(run.valid_loss, |value| format!("{value:.3}")),
            number(run.valid_bits_per_byte, |value| format!("{value:.3}")),
            average(run.average),
            average(run.average_without_boolq),
            Cell {
                text: format!("{} / {}", facts.n_heads, facts.n_kv_heads),
                sort: Some(facts.n_heads as f64),
                error: None,
            },
            text(format!("{} {}", facts.ffn, facts.ffn_hidden)),
            text(if facts.tie_embeddings { "yes" } else { "no" }),
            text(facts.sharing_label()),
            number(Some(run.timing.train_s), human_seconds),
            number(Some(facts.seed as f64), |value| format!("{value:.0}")),
        ];
        if with_state {
            cells.push(text(run.state.words()));
        }
        Row {
            kind: RowKind::Own,
            run: run.name.clone(),
            cells,
        }
    };
    Table {
        title: "Runs",
        caption: "Losses are those of the last validation. ± is one standard error over the questions; it holds nothing of the noise of training.".into(),
        columns,
        groups: results.runs.iter().map(|run| vec![row(run)]).collect(),
    }
}

/// Picks a score and its standard error.
type Measure<'a> = &'a dyn Fn(&TaskScore) -> Option<(f64, Option<f64>)>;

/// Scores by task, with `acc_norm` and the paper's row below each run; `None` if nothing was scored.
pub(crate) fn task_table(results: &SweepResults) -> Option<Table> {
    let tasks = results.task_columns();
    if tasks.is_empty() {
        return None;
    }
    let mut columns = vec![words("run"), words("measure")];
    columns.extend(tasks.iter().map(|task| column(short_task(task), "%")));
    columns.push(column("average", "%"));
    columns.push(column("average", "% w/o BoolQ"));
    let group = |run: &RunResult| {
        let cells = |measure: &str, of: Measure<'_>| {
            let mut cells = vec![text(&run.name), text(measure)];
            cells.extend(tasks.iter().map(|task| {
                let shown = run.tasks.get(*task).and_then(of);
                shown.map_or(text("–"), |(mean, stderr)| score(mean, stderr))
            }));
            cells
        };
        let mut rows = Vec::new();
        if !run.tasks.is_empty() {
            let mut own = cells("acc", &|task| Some((task.acc, task.acc_stderr)));
            own.extend([average(run.average), average(run.average_without_boolq)]);
            rows.push((RowKind::Own, own));
            let mut norm = cells("acc_norm", &|t| Some((t.acc_norm?, t.acc_norm_stderr)));
            norm.extend([average(run.average_norm), text("")]);
            rows.push((RowKind::Second, norm));
        }
        if let Some(paper) = &run.paper {
            let printed = |value: Option<&f64>| number(value.copied(), |v| format!("{v:.1}"));
            let label = format!("paper, {}", paper.row);
            let mut cells = vec![text(&run.name), text(label)];
            let scores = tasks.iter().map(|task| paper.scores_percent.get(*task));
            cells.extend(scores.map(printed));
            cells.push(printed(Some(&paper.average_percent)));
            cells.push(printed(Some(&paper.average_without_boolq_percent)));
            rows.push((RowKind::Paper, cells));
        }
        rows.into_iter()
            .map(|(kind, cells)| Row {
                kind,
                run: run.name.clone(),
                cells,
            })
            .collect::<Vec<_>>()
    };
    Some(Table {
        title: "Zero-shot tasks",
        caption: task_caption(results),
        columns,
        groups: results
            .runs
            .iter()
            .map(group)
            .filter(|rows| !rows.is_empty())
            .collect(),
    })
}

fn task_caption(results: &SweepResults) -> String {
    let mut caption = String::from(
        "acc takes the likeliest answer; acc_norm divides its log-likelihood by its length first, and its average takes acc where a task has no acc_norm. ± is one standard error over the questions.",
    );
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
        caption += " The paper prints no errors; its average without BoolQ is derived.";
    }
    caption
}

/// A task's name as the paper heads its column.
fn short_task(task: &str) -> &str {
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
