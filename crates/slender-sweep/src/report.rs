//! Writes the report: `report.html`, `report.md`, `results.json`, `results.parquet`, and each figure as
//! SVG and PNG.

use crate::chart::{Picture, standalone_svg};
use crate::depth::depth_panels;
use crate::error::SweepError;
use crate::files::write_atomic;
use crate::html::{STYLE, html};
use crate::loss::loss_panels;
use crate::markdown::markdown;
use crate::planes::{decode_words, front_panels, task_panels};
use crate::png::{plain_style, png};
use crate::results::SweepResults;
use crate::tables::tables;
use crate::tidy;
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
    /// The runs' numbers as a table, one row for each run and metric.
    pub parquet: PathBuf,
    /// The pictures that had something to show.
    pub pictures: Vec<PathBuf>,
}

/// Pictures that belong together.
pub(crate) struct Figure {
    /// Name of the files, and of the section.
    pub id: &'static str,
    pub title: &'static str,
    pub caption: String,
    pub pictures: Vec<Box<dyn Picture>>,
}

/// The figures that have something to show.
fn figures(results: &SweepResults) -> Vec<Figure> {
    fn boxed<P: Picture + 'static>(pictures: Vec<P>) -> Vec<Box<dyn Picture>> {
        let boxed = pictures
            .into_iter()
            .map(|picture| Box::new(picture) as Box<dyn Picture>);
        boxed.collect()
    }
    let tasks = match results.runs.iter().any(|run| run.paper.is_some()) {
        true => {
            "Accuracy of each variant with its 95 % interval; dotted: guessing; crosses: the paper's numbers."
        }
        false => "Accuracy of each variant with its 95 % interval; dotted: guessing.",
    };
    let figures = [
        Figure {
            id: "depth",
            title: "Depth against score and loss",
            caption: "Depth against mean score and final validation loss. Rings are models that execute each block several times; bars are 95 % intervals.".into(),
            pictures: boxed(depth_panels(results)),
        },
        Figure {
            id: "loss",
            title: "Loss curves",
            caption: "Loss over training, one line a run; the first steps may lie above the picture. Point at a line to single out its variant and read its value, drag to zoom, double-click to go back.".into(),
            pictures: boxed(loss_panels(results)),
        },
        Figure {
            id: "pareto",
            title: "Quality against cost",
            caption: format!(
                "The line joins the variants that no other beats in both; rings are beaten, beyond the noise, by a variant that costs no more. Bars are 95 % intervals.{}",
                decode_words(results)
            ),
            pictures: boxed(front_panels(results)),
        },
        Figure {
            id: "tasks",
            title: "Task by task",
            caption: tasks.into(),
            pictures: boxed(task_panels(results)),
        },
    ];
    let shown = figures
        .into_iter()
        .filter(|figure| !figure.pictures.is_empty());
    shown.collect()
}

/// Writes all files of the report into `dir`, each in one step.
///
/// # Errors
/// A file cannot be written.
pub fn write_report(results: &SweepResults, dir: &Path) -> Result<ReportFiles, SweepError> {
    let figures = figures(results);
    let tables = tables(results);
    let mut files = ReportFiles {
        html: dir.join("report.html"),
        markdown: dir.join("report.md"),
        results: dir.join("results.json"),
        parquet: dir.join("results.parquet"),
        pictures: Vec::new(),
    };
    let mut linked = Vec::new();
    let plain = plain_style(STYLE);
    for figure in &figures {
        let pictures: Vec<&dyn Picture> = figure.pictures.iter().map(AsRef::as_ref).collect();
        let path = dir.join(format!("{}.svg", figure.id));
        write_atomic(
            &path,
            standalone_svg(&pictures, figure.title, STYLE).as_bytes(),
        )?;
        files.pictures.push(path);
        if let Some(bytes) = png(&standalone_svg(&pictures, figure.title, &plain)) {
            let path = dir.join(format!("{}.png", figure.id));
            write_atomic(&path, &bytes)?;
            files.pictures.push(path);
        }
        linked.push((figure.title, format!("{}.svg", figure.id)));
    }
    let text = serde_json::to_string_pretty(results).unwrap_or_default() + "\n";
    write_atomic(&files.results, text.as_bytes())?;
    write_atomic(&files.parquet, &tidy::parquet(results)?)?;
    let text = markdown(results, &linked, &tables);
    write_atomic(&files.markdown, text.as_bytes())?;
    write_atomic(&files.html, html(results, &figures, &tables).as_bytes())?;
    Ok(files)
}
