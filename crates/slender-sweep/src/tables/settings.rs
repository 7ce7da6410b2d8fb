//! The configurations, as far as they differ: each against what most of them say.

use super::cells::{Cell, Row, RowKind, Table, text, words};
use crate::results::{RunResult, SweepResults};
use std::collections::{BTreeMap, BTreeSet};

/// Keys that name a run or differ between its seeds by intention.
const OWN: [&str; 4] = ["run.name", "run.seed", "run.paper_row", "run.out_dir"];

/// `None` if no key differs, or fewer than two configurations could be read.
pub(super) fn table(results: &SweepResults) -> Option<Table> {
    let first = |name: &str| -> Option<&RunResult> {
        let mut own = results.runs.iter().filter(|run| run.variant == name);
        own.find(|run| !run.settings.is_empty())
    };
    let variants: Vec<(&str, &BTreeMap<String, String>)> = results
        .variants
        .iter()
        .filter_map(|variant| Some((variant.name.as_str(), &first(&variant.name)?.settings)))
        .collect();
    if variants.len() < 2 {
        return None;
    }
    let keys: BTreeSet<&String> = variants.iter().flat_map(|(_, own)| own.keys()).collect();
    let all = keys.len();
    let differs = |key: &&String| {
        let mut values = variants.iter().map(|(_, own)| own.get(*key));
        let first = values.next().flatten();
        !OWN.contains(&key.as_str()) && values.any(|value| value != first)
    };
    let differing: Vec<&String> = keys.into_iter().filter(differs).collect();
    if differing.is_empty() {
        return None;
    }
    let common: Vec<Option<&String>> = differing.iter().map(|key| usual(&variants, key)).collect();
    let mut columns = vec![words("variant")];
    columns.extend(differing.iter().map(|key| match key.rsplit_once('.') {
        Some((section, name)) => {
            let mut column = words(name);
            column.unit = section.to_owned();
            column
        }
        None => words(key.as_str()),
    }));
    let shown = |value: Option<&String>| value.map_or("–".to_owned(), Clone::clone);
    let mut base = vec![text("most common")];
    base.extend(common.iter().map(|value| text(shown(*value))));
    let groups = variants.iter().map(|(name, own)| {
        let mut cells = vec![text(*name)];
        cells.extend(differing.iter().zip(&common).map(|(key, usual)| {
            let value = own.get(*key);
            Cell {
                text: shown(value),
                sort: value.and_then(|value| value.parse().ok()),
                class: if value == *usual { "same" } else { "" },
                ..Cell::default()
            }
        }));
        vec![Row {
            kind: RowKind::Own,
            key: (*name).to_owned(),
            cells,
        }]
    });
    let seeds = results
        .variants
        .iter()
        .any(|variant| variant.runs.len() > 1);
    Some(Table {
        id: "settings",
        title: "What differs between the configurations".into(),
        caption: format!(
            "{} of {all} keys differ{}; a value that most variants share is grey. Each run's whole configuration is its config.toml.",
            differing.len(),
            if seeds { " besides the seed" } else { "" }
        ),
        columns,
        groups: groups.collect(),
        total: Some(Row {
            kind: RowKind::Own,
            key: String::new(),
            cells: base,
        }),
    })
}

/// The value that most variants have; of equally many, the first's.
fn usual<'a>(variants: &[(&str, &'a BTreeMap<String, String>)], key: &str) -> Option<&'a String> {
    let mut counts: Vec<(Option<&String>, usize)> = Vec::new();
    for (_, own) in variants {
        let value = own.get(key);
        match counts.iter_mut().find(|(known, _)| *known == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max()?;
    counts.into_iter().find(|(_, count)| *count == most)?.0
}
