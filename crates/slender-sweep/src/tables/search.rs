//! The trials of a search: how far each came, and its loss at every rung.

use super::cells::{Row, RowKind, Table, column, number, text, words};
use crate::results::SweepResults;
use crate::search::Metric;
use crate::state::Phase;

/// Trials that the table has room for: those that came farthest.
const MOST: usize = 200;

/// `None` if the sweep is no search.
pub(super) fn table(results: &SweepResults) -> Option<Table> {
    let search = results.search.as_ref()?;
    let unit = match search.search.metric {
        Metric::ValidLoss => "nats/token",
        Metric::ValidBitsPerByte => "bits/byte",
    };
    let rungs = search.rungs();
    let mut columns = vec![words("trial"), words("state")];
    columns.extend(
        rungs
            .iter()
            .enumerate()
            .map(|(index, (step, _))| match step {
                Some(step) => column(format!("step {step}"), unit),
                None => column(format!("rung {}", index + 1), unit),
            }),
    );
    let shown = search.trials.iter().take(MOST);
    let groups = shown.map(|trial| {
        let stopped = search.done && trial.state == Phase::Paused.word();
        let mut cells = vec![
            text(&trial.name),
            text(if stopped { "stopped" } else { trial.state }),
        ];
        cells.extend((0..rungs.len()).map(|rung| {
            let loss = trial.losses.get(rung).copied().flatten();
            number(loss, |loss| format!("{loss:.4}"))
        }));
        vec![Row {
            kind: RowKind::Own,
            key: trial.name.clone(),
            cells,
        }]
    });
    let more = match search.trials.len() {
        n if n > MOST => format!(" The first {MOST} of {n} trials; `slender search show` has all."),
        _ => String::new(),
    };
    let share = 100.0 * search.share_of_everything;
    Some(Table {
        id: "search",
        title: "The search".into(),
        caption: format!(
            "Validation loss of each trial at every rung it reached, those that came farthest first. {share:.0} % of the steps that training all of them to the end would take were done.{more}"
        ),
        columns,
        groups: groups.collect(),
        total: None,
    })
}
