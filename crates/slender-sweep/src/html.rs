//! `report.html`: one file that needs no network, no server and no script to be read.
//!
//! The script only adds sorting, highlighting, values under the pointer and zoom; the page is whole
//! without it. Wide content scrolls inside its own box, so that the page itself fits a phone.

use crate::chart::Picture;
use crate::format::escape;
use crate::report::Figure;
use crate::results::{RunResult, RunState, SweepResults};
use crate::summary::SentenceKind;
use crate::tables::{Cell, Row, RowKind, Table};
use crate::verdict::verdict;
use slender_config::human_count;
use std::fmt::Write;

/// Styles of the page and of the pictures; the pictures carry them in their own files too.
pub(crate) const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");
/// Words of the sentences that may be names too.
const ORDINARY: [&str; 14] = [
    "a", "an", "and", "best", "by", "is", "loss", "mean", "noise", "of", "one", "seeds", "text",
    "the",
];
/// Runs that are shown beneath their variants from the start.
const MOST_SHOWN: usize = 24;

/// The whole page.
pub(crate) fn html(results: &SweepResults, figures: &[Figure], tables: &[Table]) -> String {
    let mut out = String::new();
    let title = format!("Sweep {}", results.name);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<title>{0}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<header>\n<h1>{0}</h1>\n<p class=\"lede\">{1}</p>\n</header>\n",
        escape(&title),
        escape(&lede(results))
    );
    summary(results, &mut out);
    let show = |id: &str, out: &mut String| {
        if let Some(found) = figures.iter().find(|figure| figure.id == id) {
            figure(found, out);
        }
    };
    let table = |id: &str, out: &mut String| {
        if let Some(index) = tables.iter().position(|table| table.id == id) {
            render_table(&tables[index], index + 1, out);
        }
    };
    table("search", &mut out);
    show("depth", &mut out);
    table("variants", &mut out);
    table("differences", &mut out);
    show("loss", &mut out);
    show("pareto", &mut out);
    show("tasks", &mut out);
    table("scores", &mut out);
    table("settings", &mut out);
    table("cost", &mut out);
    failures(results, &mut out);
    provenance(results, &mut out);
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
    if results.variants.len() < runs {
        parts.push(format!("{} variants", results.variants.len()));
    }
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
    out.push_str("<section class=\"summary\" aria-label=\"Summary\">\n");
    if let Some((text, certainty)) = verdict(results) {
        let _ = writeln!(
            out,
            "<p class=\"verdict\"><span class=\"badge {}\">{}</span> {}</p>",
            format!("{certainty:?}").to_lowercase(),
            certainty.words(),
            mark_names(&text, results)
        );
    }
    if !results.runs.iter().any(RunResult::counts) {
        out.push_str("<p>No run has finished yet.</p>\n");
    } else if !findings.is_empty() {
        let _ = writeln!(out, "<p>{}</p>", findings.join("</p>\n<p>"));
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
    names.extend(results.variants.iter().map(|variant| variant.name.as_str()));
    // A variant called `a` stays plain: it cannot be told from the article.
    names.retain(|name| !ORDINARY.contains(name));
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    let mut out = String::new();
    let mut rest = text;
    let mut at_start = true;
    while let Some(c) = rest.chars().next() {
        // A name ends where its word ends: `b` is not in `bits`, nor `a` in `a-b`.
        let ends = |name: &str| {
            let mut after = rest[name.len()..].chars();
            match after.next() {
                None => true,
                Some('.') => after.next().is_none_or(char::is_whitespace),
                Some(next) => !next.is_alphanumeric() && !matches!(next, '-' | '_'),
            }
        };
        let named = (names.iter())
            .find(|name| at_start && !name.is_empty() && rest.starts_with(**name) && ends(name));
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
        at_start = rest[..taken].ends_with([' ', '(']);
        rest = &rest[taken..];
    }
    out.replace("± ", "±&nbsp;")
        .replace(" %", "&nbsp;%")
        .replace(" = ", "&nbsp;=&nbsp;")
}

fn figure(figure: &Figure, out: &mut String) {
    let id = figure.id;
    let class = if id == "tasks" { " small" } else { "" };
    let _ = write!(
        out,
        "<figure id=\"{id}\">\n<h2>{}</h2>\n<div class=\"panels{class}\">\n",
        escape(figure.title)
    );
    for (index, picture) in figure.pictures.iter().enumerate() {
        let picture: &dyn Picture = picture.as_ref();
        let _ = writeln!(
            out,
            "<div class=\"picture\">{}</div>",
            picture.inline_svg(&format!("{id}{index}"))
        );
    }
    let files = format!("<a href=\"{id}.svg\">SVG</a>, <a href=\"{id}.png\">PNG</a>");
    let _ = write!(
        out,
        "</div>\n<figcaption>{} <span class=\"files\">{files}</span></figcaption>\n</figure>\n",
        escape(&figure.caption)
    );
}

fn render_table(table: &Table, number: usize, out: &mut String) {
    let id = table.id;
    let _ = write!(
        out,
        "<section id=\"{id}\">\n<h2>Table {number}. {}</h2>\n<p class=\"caption\" id=\"{id}-caption\">{}</p>\n",
        escape(&table.title),
        escape(&table.caption)
    );
    let rows = table.groups.iter().flatten();
    let runs = rows.filter(|row| row.kind == RowKind::Run).count();
    if runs > 0 {
        // Works without a script: the box before the table decides whether it shows them.
        let checked = if runs <= MOST_SHOWN { " checked" } else { "" };
        let _ = writeln!(
            out,
            "<input type=\"checkbox\" class=\"show-runs\" id=\"{id}-runs\"{checked}><label for=\"{id}-runs\"> show the {runs} runs</label>"
        );
    }
    let _ = write!(
        out,
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{}\">\n<table aria-describedby=\"{id}-caption\">\n<thead><tr>",
        escape(&table.title)
    );
    for column in &table.columns {
        let class = if column.numeric { " class=\"n\"" } else { "" };
        let unit = match column.unit.as_str() {
            "" => String::new(),
            unit => format!("<small>{}</small>", escape(unit)),
        };
        let _ = write!(
            out,
            "<th scope=\"col\"{class}><button type=\"button\">{}{unit}</button></th>",
            escape(&column.head)
        );
    }
    out.push_str("</tr></thead>\n");
    for group in &table.groups {
        let key = group.first().map_or("", |row| row.key.as_str());
        let _ = write!(out, "<tbody data-run=\"{}\">", escape(key));
        for (index, row) in group.iter().enumerate() {
            render_row(table, row, index == 0 || row.kind == RowKind::Run, out);
        }
        out.push_str("</tbody>\n");
    }
    if let Some(total) = &table.total {
        out.push_str("<tfoot>");
        render_row(table, total, true, out);
        out.push_str("</tfoot>\n");
    }
    out.push_str("</table>\n</div>\n</section>\n");
}

fn render_row(table: &Table, row: &Row, first: bool, out: &mut String) {
    let class = match row.kind {
        RowKind::Own => "",
        RowKind::Run => " class=\"run\"",
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
        let class = match (column.numeric, cell.class) {
            (true, "") => " class=\"n\"".to_owned(),
            (false, "") => String::new(),
            (true, class) => format!(" class=\"n {class}\""),
            (false, class) => format!(" class=\"{class}\""),
        };
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

/// Where the numbers come from, as far as the runs agree; what they do not agree on is said.
fn provenance(results: &SweepResults, out: &mut String) {
    let facts = crate::leaderboard::provenance_words(results);
    if facts.is_empty() {
        return;
    }
    let items: Vec<String> = facts
        .iter()
        .map(|fact| format!("<li>{}</li>", escape(fact)))
        .collect();
    let _ = writeln!(
        out,
        "<footer>\n<h2>Provenance</h2>\n<ul>{}</ul>\n</footer>",
        items.concat()
    );
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
