//! The report's tables as data, so that `report.html` and `report.md` cannot disagree.

mod cells;
mod cost;
mod differences;
mod search;
mod settings;
mod tasks;
mod variants;

pub(crate) use cells::{Cell, Row, RowKind, Table};
pub(crate) use tasks::short_task;

use crate::results::SweepResults;

/// Every table that has something to say, in the order of the report.
pub(crate) fn tables(results: &SweepResults) -> Vec<Table> {
    let mut tables: Vec<Table> = search::table(results).into_iter().collect();
    tables.push(variants::table(results));
    tables.extend(differences::table(results));
    tables.extend(tasks::table(results));
    tables.extend(settings::table(results));
    tables.push(cost::table(results));
    tables
}
