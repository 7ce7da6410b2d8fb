//! Writes the report: `report.html`, `report.md`, `results.json`, `depth.svg`, `loss.svg`.

use crate::chart::standalone_svg;
use crate::depth::depth_panels;
use crate::error::SweepError;
use crate::files::write_atomic;
use crate::html::{STYLE, html};
use crate::loss::loss_panels;
use crate::markdown::markdown;
use crate::results::SweepResults;
use crate::tables::{main_table, task_table};
use std::path::{Path, PathBuf};

/// Where a report was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFiles {
    /// The page; self-contained.
    pub html: PathBuf,
    /// The same in Markdown, with the pictures beside it.
    pub markdown: PathBuf,
    /// The same for machines.
    pub results: PathBuf,
    /// The pictures that had something to show.
    pub pictures: Vec<PathBuf>,
}

/// Writes all files of the report into `dir`, each in one step.
///
/// # Errors
/// A file cannot be written.
pub fn write_report(results: &SweepResults, dir: &Path) -> Result<ReportFiles, SweepError> {
    let (depth, loss) = (depth_panels(results), loss_panels(results));
    let mut tables = vec![main_table(results)];
    tables.extend(task_table(results));
    let mut files = ReportFiles {
        html: dir.join("report.html"),
        markdown: dir.join("report.md"),
        results: dir.join("results.json"),
        pictures: Vec::new(),
    };
    let mut linked = Vec::new();
    for (file, title, panels) in [
        ("depth.svg", "Depth against score and loss", &depth),
        ("loss.svg", "Loss curves", &loss),
    ] {
        if panels.is_empty() {
            continue;
        }
        let path = dir.join(file);
        write_atomic(&path, standalone_svg(panels, title, STYLE).as_bytes())?;
        files.pictures.push(path);
        linked.push((title, file));
    }
    let text = serde_json::to_string_pretty(results).unwrap_or_default() + "\n";
    write_atomic(&files.results, text.as_bytes())?;
    let text = markdown(results, &linked, &tables);
    write_atomic(&files.markdown, text.as_bytes())?;
    let text = html(results, &depth, &loss, &tables);
    write_atomic(&files.html, text.as_bytes())?;
    Ok(files)
}
