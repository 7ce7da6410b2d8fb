//! `report.html`: one file that needs no network, no server and no script to be read.
//!
//! The script only adds sorting and highlighting; the page is whole without it. Wide content
//! scrolls inside its own box, so that the page itself fits a phone.

use crate::chart::Panel;
use crate::format::escape;
use crate::results::{RunState, SweepResults};
use crate::summary::SentenceKind;
use crate::tables::{Cell, Row, RowKind, Table};
use slender_config::human_count;
use std::fmt::Write;

/// Styles of the page and of the pictures; the pictures carry them in their own files too.
pub(crate) const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// The whole page.
pub(crate) fn html(
    results: &SweepResults,
    depth: &[Panel],
    loss: &[Panel],
    tables: &[Table],
) -> String {
    let mut out = String::new();
    let title = format!("Sweep {}", results.name);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<title>{0}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<header>\n<h1>{0}</h1>\n<p class=\"lede\">{1}</p>\n</header>\n",
        escape(&title),
        escape(&lede(results))
    );
    summary(results, &mut out);
    figure(
        "depth",
        depth,
        "Depth against average score and final validation loss. Rings are models that execute each block several times; bars are one standard error.",
        &mut out,
    );
    figure(
        "loss",
        loss,
        "Loss over training. The first steps may lie above the picture. Point at a run to single it out.",
        &mut out,
    );
    for (index, table) in tables.iter().enumerate() {
        render_table(table, index + 1, &mut out);
    }
    failures(results, &mut out);
    let _ = write!(
        out,
        "</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    );
    out
}

/// What was swept, in one line.
pub(crate) fn lede(results: &SweepResults) -> String {
    let runs = results.runs.len();
    let done = results
        .runs
        .iter()
        .filter(|run| run.state == RunState::Finished)
        .count();
    let mut parts = vec![if done == runs {
        format!("{runs} runs, all finished")
    } else {
        format!("{done} of {runs} runs finished")
    }];
    let range = |values: Vec<f64>| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        match (human_count(low), human_count(high)) {
            _ if values.is_empty() => None,
            (a, b) if a == b => Some(a),
            (a, b) => Some(format!("{a} to {b}")),
        }
    };
    let runs = &results.runs;
    let sizes = runs.iter().filter_map(|run| run.facts.accounting);
    let sizes = sizes.map(|a| a.params_total as f64).collect();
    parts.extend(range(sizes).map(|range| format!("{range} parameters")));
    let trained = runs.iter().filter(|run| run.state.is_trained());
    let tokens = trained.map(|run| run.tokens as f64).collect();
    parts.extend(range(tokens).map(|range| format!("{range} training tokens each")));
    parts.join(" · ")
}

fn summary(results: &SweepResults, out: &mut String) {
    let of = |kind| {
        let sentences = results.summary.iter().filter(move |s| s.kind == kind);
        sentences.map(|sentence| mark_names(&sentence.text, results))
    };
    let findings: Vec<String> = of(SentenceKind::Finding).collect();
    out.push_str("<section class=\"summary\">\n");
    if findings.is_empty() {
        out.push_str("<p>No run has finished yet.</p>\n");
    } else {
        let _ = writeln!(out, "<p>{}</p>", findings.join(" "));
    }
    let boxes = [
        ("Not in this comparison", SentenceKind::Missing),
        ("What cannot be concluded", SentenceKind::Caveat),
    ];
    for (head, kind) in boxes {
        let items: Vec<String> = of(kind).map(|text| format!("<li>{text}</li>")).collect();
        if !items.is_empty() {
            let _ = writeln!(out, "<h2>{head}</h2>\n<ul>{}</ul>", items.join(""));
        }
    }
    out.push_str("</section>\n");
}

/// Escapes a sentence, sets the runs' names apart and keeps them and `± x` on one line.
fn mark_names(text: &str, results: &SweepResults) -> String {
    let mut names: Vec<&str> = results.runs.iter().map(|run| run.name.as_str()).collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    let mut out = String::new();
    let mut rest = text;
    let mut at_start = true;
    while let Some(c) = rest.chars().next() {
        let named = names
            .iter()
            .find(|name| at_start && rest.starts_with(**name));
        let taken = match named {
            Some(name) => {
                let _ = write!(out, "<b class=\"name\">{}</b>", escape(name));
                name.len()
            }
            None => {
                out.push_str(&escape(&rest[..c.len_utf8()]));
                c.len_utf8()
            }
        };
        at_start = rest[..taken].ends_with(' ');
        rest = &rest[taken..];
    }
    out.replace("± ", "±&nbsp;")
}

fn figure(id: &str, panels: &[Panel], caption: &str, out: &mut String) {
    if panels.is_empty() {
        return;
    }
    let _ = write!(out, "<figure id=\"{id}\">\n<div class=\"panels\">\n");
    for (index, panel) in panels.iter().enumerate() {
        let _ = writeln!(out, "{}", panel.to_inline_svg(&format!("{id}{index}")));
    }
    let _ = write!(
        out,
        "</div>\n<figcaption>{caption}</figcaption>\n</figure>\n"
    );
}

fn render_table(table: &Table, number: usize, out: &mut String) {
    let _ = write!(
        out,
        "<section>\n<h2>Table {number}. {}</h2>\n<p class=\"caption\">{}</p>\n<div class=\"scroll\" tabindex=\"0\">\n<table>\n<thead><tr>",
        escape(table.title),
        escape(&table.caption)
    );
    for column in &table.columns {
        let class = if column.numeric { " class=\"n\"" } else { "" };
        let unit = match column.unit {
            "" => String::new(),
            unit => format!("<small>{unit}</small>"),
        };
        let _ = write!(
            out,
            "<th scope=\"col\"{class}><button type=\"button\">{}{unit}</button></th>",
            escape(&column.head)
        );
    }
    out.push_str("</tr></thead>\n");
    for group in &table.groups {
        let run = group.first().map_or("", |row| row.run.as_str());
        let _ = write!(out, "<tbody data-run=\"{}\">", escape(run));
        for row in group {
            render_row(table, row, row.kind == group[0].kind, out);
        }
        out.push_str("</tbody>\n");
    }
    out.push_str("</table>\n</div>\n</section>\n");
}

fn render_row(table: &Table, row: &Row, first: bool, out: &mut String) {
    let class = match row.kind {
        RowKind::Own => "",
        RowKind::Second => " class=\"second\"",
        RowKind::Paper => " class=\"paper\"",
    };
    let _ = write!(out, "<tr{class}>");
    for (index, (column, cell)) in table.columns.iter().zip(&row.cells).enumerate() {
        // The name stands once for a group of rows.
        if index == 0 {
            let name = if first {
                escape(&cell.text)
            } else {
                String::new()
            };
            let _ = write!(out, "<th scope=\"row\">{name}</th>");
            continue;
        }
        let class = if column.numeric { " class=\"n\"" } else { "" };
        let sort = cell
            .sort
            .map_or(String::new(), |v| format!(" data-v=\"{v}\""));
        let _ = write!(out, "<td{class}{sort}>{}</td>", cell_html(cell));
    }
    out.push_str("</tr>");
}

fn cell_html(cell: &Cell) -> String {
    match &cell.error {
        Some(error) => format!(
            "{}<span class=\"e\"> ± {}</span>",
            escape(&cell.text),
            escape(error)
        ),
        None => escape(&cell.text),
    }
}

fn failures(results: &SweepResults, out: &mut String) {
    let failed: Vec<_> = results
        .runs
        .iter()
        .filter_map(|run| Some((run, run.failure.as_ref()?)))
        .collect();
    if failed.is_empty() && results.warnings.is_empty() {
        return;
    }
    out.push_str("<section>\n<h2>Failures</h2>\n");
    for (run, failure) in failed {
        let log: Vec<String> = failure.log_tail.iter().map(|line| escape(line)).collect();
        let _ = write!(
            out,
            "<details><summary><b>{}</b>: {} failed: {}</summary>",
            escape(&run.name),
            failure.stage.noun(),
            escape(&failure.message)
        );
        if !log.is_empty() {
            let _ = write!(out, "<pre>{}</pre>", log.join("\n"));
        }
        out.push_str("</details>\n");
    }
    for warning in &results.warnings {
        let _ = writeln!(out, "<p class=\"caption\">warning: {}</p>", escape(warning));
    }
    out.push_str("</section>\n");
}
