//! `report.md`: the same content for places that show Markdown, such as a pull request.

use crate::html::lede;
use crate::results::{RunResult, SweepResults};
use crate::summary::SentenceKind;
use crate::tables::{Cell, Row, RowKind, Table};
use crate::verdict::verdict;
use std::fmt::Write;

/// The whole document; `pictures` are `(title, file)` beside it.
pub(crate) fn markdown(
    results: &SweepResults,
    pictures: &[(&str, String)],
    tables: &[Table],
) -> String {
    let mut out = String::new();
    let _ = write!(
        out,
        "# Sweep {}\n\n{}\n",
        escape(&results.name),
        escape(&lede(results))
    );
    let of = |kind| {
        let sentences = results.summary.iter().filter(move |s| s.kind == kind);
        sentences.map(|sentence| escape(&sentence.text))
    };
    if let Some((text, certainty)) = verdict(results) {
        let _ = write!(
            out,
            "\n**Verdict ({}):** {}\n",
            certainty.words(),
            escape(&text)
        );
    }
    let findings: Vec<String> = of(SentenceKind::Finding).collect();
    if !results.runs.iter().any(RunResult::counts) {
        out.push_str("\nNo run has finished yet.\n");
    } else if !findings.is_empty() {
        let _ = write!(out, "\n{}\n", findings.join("\n\n"));
    }
    let lists = [
        ("Not in this comparison", SentenceKind::Missing),
        ("What cannot be concluded", SentenceKind::Caveat),
    ];
    for (head, kind) in lists {
        let items: Vec<String> = of(kind).map(|text| format!("- {text}\n")).collect();
        if !items.is_empty() {
            let _ = write!(out, "\n## {head}\n\n{}", items.concat());
        }
    }
    for (title, file) in pictures {
        let _ = write!(out, "\n![{title}]({file})\n");
    }
    for table in tables {
        render_table(table, &mut out);
    }
    let facts = crate::leaderboard::provenance_words(results);
    if !facts.is_empty() {
        let items: Vec<String> = facts
            .iter()
            .map(|fact| format!("- {}\n", escape(fact)))
            .collect();
        let _ = write!(out, "\n## Provenance\n\n{}", items.concat());
    }
    out
}

fn render_table(table: &Table, out: &mut String) {
    let _ = write!(out, "\n## {}\n\n|", escape(&table.title));
    for column in &table.columns {
        let unit = match column.unit.as_str() {
            "" => String::new(),
            unit => format!(" ({unit})"),
        };
        let _ = write!(out, " {}{} |", escape(&column.head), escape(&unit));
    }
    out.push_str("\n|");
    for column in &table.columns {
        out.push_str(if column.numeric { "---:|" } else { "---|" });
    }
    out.push('\n');
    for row in table.groups.iter().flatten().chain(&table.total) {
        render_row(row, out);
    }
    let _ = write!(out, "\n{}\n", escape(&table.caption));
}

fn render_row(row: &Row, out: &mut String) {
    out.push('|');
    for (index, cell) in row.cells.iter().enumerate() {
        let shown = match (index, row.kind) {
            (0, RowKind::Run) => escape(&cell.text),
            (0, RowKind::Own) => format!("**{}**", escape(&cell.text)),
            (0, _) => String::new(),
            (_, RowKind::Paper) if !cell.text.is_empty() => format!("*{}*", cell_text(cell)),
            _ => cell_text(cell),
        };
        let _ = write!(out, " {shown} |");
    }
    out.push('\n');
}

fn cell_text(cell: &Cell) -> String {
    match &cell.error {
        Some(error) => format!("{} ± {error}", escape(&cell.text)),
        None => escape(&cell.text),
    }
}

/// Keeps names from becoming markup: GitHub reads both Markdown and HTML.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' => out.extend(['\\', c]),
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
