//! Tables, rows and cells, and how numbers become them.

use crate::analysis::Spread;
use crate::format::percent;
use crate::results::Average;

/// A table: columns, and groups of rows that stay together when it is sorted.
pub(crate) struct Table {
    /// Name of its section, for links.
    pub id: &'static str,
    pub title: String,
    pub caption: String,
    pub columns: Vec<Column>,
    pub groups: Vec<Vec<Row>>,
    /// A last row that is never sorted.
    pub total: Option<Row>,
}

pub(crate) struct Column {
    pub head: String,
    /// Unit under the head; empty for none.
    pub unit: String,
    pub numeric: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowKind {
    /// The variant's own numbers.
    Own,
    /// One of its runs.
    Run,
    /// The same variant by another measure.
    Second,
    /// The paper's numbers.
    Paper,
}

pub(crate) struct Row {
    pub kind: RowKind,
    /// The variant it belongs to.
    pub key: String,
    pub cells: Vec<Cell>,
}

#[derive(Default)]
pub(crate) struct Cell {
    pub text: String,
    /// Half an interval or a standard error, shown smaller.
    pub error: Option<String>,
    /// What the column sorts by; the text if there is none.
    pub sort: Option<f64>,
    /// Class of the page's style: `better`, `worse`, `noise`, `same`.
    pub class: &'static str,
}

pub(crate) fn text(text: impl Into<String>) -> Cell {
    Cell {
        text: text.into(),
        ..Cell::default()
    }
}

pub(crate) fn number(value: Option<f64>, show: impl Fn(f64) -> String) -> Cell {
    Cell {
        text: value.map_or("–".into(), show),
        sort: value,
        ..Cell::default()
    }
}

pub(crate) fn score(mean: f64, stderr: Option<f64>) -> Cell {
    Cell {
        text: percent(mean),
        error: stderr.map(percent),
        sort: Some(mean),
        ..Cell::default()
    }
}

pub(crate) fn average(average: Option<Average>) -> Cell {
    match average {
        Some(average) => score(average.mean, None),
        None => text("–"),
    }
}

/// A mean over seeds with half its interval.
pub(crate) fn spread(spread: Option<&Spread>, show: impl Fn(f64) -> String) -> Cell {
    match spread {
        Some(spread) => Cell {
            text: show(spread.mean),
            error: spread.reach().map(show),
            sort: Some(spread.mean),
            ..Cell::default()
        },
        None => text("–"),
    }
}

pub(crate) fn column(head: impl Into<String>, unit: impl Into<String>) -> Column {
    Column {
        head: head.into(),
        unit: unit.into(),
        numeric: true,
    }
}

pub(crate) fn words(head: impl Into<String>) -> Column {
    Column {
        numeric: false,
        ..column(head, "")
    }
}
