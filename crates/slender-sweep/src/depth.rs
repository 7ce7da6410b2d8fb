//! The depth pictures: layers against mean score, and against validation loss, with intervals over
//! seeds.
//!
//! Depth is the number of distinct blocks, as in the paper; runs that execute blocks several times
//! are rings. Points are joined where variants of about one size differ in depth. The paper's curve
//! shares our axis if the scores are close, and has a panel of its own if they are not: between
//! 26 % and 45 % every detail of both would be lost.

use crate::analysis::{Metric, Spread};
use crate::chart::{Panel, Point, Series, XScale};
use crate::format::{percent, short_names};
use crate::paper::{self, PaperRow};
use crate::results::{RunResult, SweepResults};
use slender_config::human_count;
use std::collections::BTreeMap;

/// Runs whose sizes differ by less than this factor are one curve.
const ONE_SIZE: f64 = 1.35;
/// Points of a curve that are named one by one; a longer curve is named at its end.
const MOST_NAMED: usize = 6;
/// Scores further apart than this many percent points go to different panels.
const FAR: f64 = 4.0;

/// The panels that have something to show.
pub(crate) fn depth_panels(results: &SweepResults) -> Vec<Panel> {
    let mut panels = Vec::new();
    // A line joins only variants that were measured alike.
    let with = |metric: &Metric| -> Vec<Vec<Depth<'_>>> {
        let depth = |variant: &crate::analysis::VariantResult| {
            let mut runs = results.runs.iter();
            let run = runs.find(|run| run.variant == variant.name)?;
            let spread = results.variants.iter().find(|v| v.name == variant.name)?;
            let spread = spread.spread(metric)?;
            Some(Depth { run, spread })
        };
        let sets = results.sets(metric).into_iter();
        sets.map(|set| set.into_iter().filter_map(depth).collect())
            .collect()
    };
    let scored = with(&Metric::Average);
    let ours = our_series(&scored, 100.0, 1, " %");
    let papers = paper_series(&results.runs);
    let ours_range = range(&ours);
    let apart = match (ours_range, range(&papers)) {
        (Some(a), Some(b)) => a.0 - b.1 > FAR || b.0 - a.1 > FAR,
        _ => true,
    };
    if let Some(first) = scored.iter().flatten().next() {
        let tasks = first.run.tasks.len();
        let chance = results.runs.iter().find_map(|run| run.average_chance);
        let mut series = ours;
        if !apart {
            series.extend(papers.clone());
        }
        panels.push(panel(
            "Depth and zero-shot score",
            &format!("mean accuracy over {tasks} tasks, %, with 95 % interval"),
            series,
            chance.map(|chance| {
                let name = format!("guessing, {} %", percent(chance));
                (100.0 * chance, name)
            }),
        ));
    }
    if apart && !papers.is_empty() {
        panels.push(panel(
            "Depth and score in the paper",
            "average accuracy over 8 tasks, %; no errors printed",
            papers,
            None,
        ));
    }
    for (metric, unit) in [
        (Metric::BitsPerByte, "bits per byte"),
        (Metric::Loss, "nats per token"),
    ] {
        let with_loss = with(&metric);
        if with_loss.is_empty() {
            continue;
        }
        let interval = match with_loss
            .iter()
            .flatten()
            .any(|depth| depth.spread.low.is_some())
        {
            true => "with 95 % interval; lower is better",
            false => "one seed; lower is better",
        };
        panels.push(panel(
            "Depth and validation loss",
            &format!("{unit}, {interval}"),
            our_series(&with_loss, 1.0, 3, ""),
            None,
        ));
        break;
    }
    panels
}

/// A variant's value at its depth.
struct Depth<'a> {
    /// One of its runs, for the shape.
    run: &'a RunResult,
    spread: &'a Spread,
}

fn panel(
    title: &str,
    y_label: &str,
    series: Vec<Series>,
    reference: Option<(f64, String)>,
) -> Panel {
    Panel {
        title: title.into(),
        x_label: "layers (distinct blocks)".into(),
        y_label: y_label.into(),
        x_scale: XScale::LogAtPoints,
        series,
        reference,
        y_max: None,
        x_format: |value| format!("{value:.0}"),
        zoom: false,
    }
}

/// One line through the unshared variants of each size and recipe, and rings for the shared ones.
fn our_series(sets: &[Vec<Depth<'_>>], factor: f64, digits: usize, unit: &str) -> Vec<Series> {
    let depths: Vec<&Depth<'_>> = sets.iter().flatten().collect();
    let runs: Vec<&RunResult> = depths.iter().map(|depth| depth.run).collect();
    let names: Vec<&str> = runs.iter().map(|run| run.variant.as_str()).collect();
    let labels: BTreeMap<&str, String> = names.iter().copied().zip(short_names(&names)).collect();
    let mut series = Vec::new();
    let runs_of = sets
        .iter()
        .map(|set| set.iter().map(|depth| depth.run).collect::<Vec<_>>());
    for group in runs_of.flat_map(|runs| curves(&runs)) {
        let mut points: Vec<Point> = group
            .iter()
            .filter_map(|run| depths.iter().find(|depth| depth.run.variant == run.variant))
            .map(|depth| point(depth, factor, digits, unit))
            .collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        let distinct = points.windows(2).all(|pair| pair[0].x < pair[1].x);
        let shared = group[0].facts.is_shared();
        // Along a line the x axis names the points; a few are named each.
        let as_line = distinct && !shared && points.len() > MOST_NAMED;
        if !as_line {
            for point in &mut points {
                point.label = labels.get(point.run.as_str()).cloned();
            }
        }
        series.push(Series {
            class: "c0".into(),
            line: distinct && !shared,
            marks: true,
            dashed: false,
            end_label: as_line.then(|| common_name(&points)),
            name: None,
            points,
        });
    }
    series
}

/// Runs that a curve may join: one size, one budget, tied or not, shared or not.
pub(crate) fn curves<'a>(runs: &[&'a RunResult]) -> Vec<Vec<&'a RunResult>> {
    let kind = |run: &RunResult| {
        let facts = &run.facts;
        let budget = facts.tokens_per_step * facts.total_steps;
        (
            facts.is_shared(),
            facts.tie_embeddings,
            budget,
            facts.vocab_size,
        )
    };
    let mut sorted = runs.to_vec();
    sorted.sort_by(|a, b| kind(a).cmp(&kind(b)).then(size(a).total_cmp(&size(b))));
    let mut groups: Vec<Vec<&RunResult>> = Vec::new();
    for run in sorted {
        let last = groups.last_mut().filter(|group| {
            let before = group[group.len() - 1];
            kind(before) == kind(run) && size(run) <= ONE_SIZE * size(before)
        });
        match last {
            Some(group) => group.push(run),
            None => groups.push(vec![run]),
        }
    }
    groups
}

fn point(depth: &Depth<'_>, factor: f64, digits: usize, unit: &str) -> Point {
    let (run, spread) = (depth.run, depth.spread);
    let y = factor * spread.mean;
    let error = spread.reach().map(|reach| factor * reach);
    let value = match error {
        Some(error) => format!("{y:.digits$} ± {error:.digits$}{unit}"),
        None => format!("{y:.digits$}{unit}"),
    };
    let seeds = match spread.seeds {
        1 => "one seed".to_owned(),
        n => format!("{n} seeds"),
    };
    Point {
        x: run.facts.n_layers as f64,
        y,
        error,
        tip: format!(
            "{}: {value}, {seeds}, {} parameters",
            run.variant,
            human_count(size(run))
        ),
        label: None,
        // Beside the unshared model of the same depth, not upon it.
        shift: if run.facts.is_shared() { 7.0 } else { 0.0 },
        hollow: run.facts.is_shared(),
        run: run.variant.clone(),
    }
}

fn size(run: &RunResult) -> f64 {
    run.facts.accounting.map_or(0.0, |a| a.params_total as f64)
}

/// Ours, and what the names of a curve's runs have in common: `ours, 125m`.
fn common_name(points: &[Point]) -> String {
    let first = points.first().map_or("", |point| &point.run);
    let shared = first.char_indices().filter(|(_, c)| *c == '-');
    let prefixes = shared.map(|(index, _)| &first[..=index]);
    let all = |prefix: &&str| points.iter().all(|point| point.run.starts_with(*prefix));
    match prefixes.take_while(all).last() {
        Some(prefix) => format!("ours, {}", prefix.trim_end_matches('-')),
        None => "ours".to_owned(),
    }
}

/// The paper's depth curve of every scale that one of our runs belongs to, or the rows alone.
fn paper_series(runs: &[RunResult]) -> Vec<Series> {
    let ours: Vec<&PaperRow> = runs
        .iter()
        .filter_map(|run| paper::row(run.facts.paper_row.as_deref()?))
        .collect();
    let mut series = Vec::new();
    for scale in ["125M", "350M"] {
        let at_scale = |row: &&PaperRow| row.table() == 11 && row.scale == scale;
        if ours.iter().any(at_scale) {
            let curve: Vec<&PaperRow> = paper::rows().iter().filter(at_scale).collect();
            series.push(Series {
                class: "ink".into(),
                points: curve.into_iter().filter_map(paper_point).collect(),
                line: true,
                dashed: true,
                marks: true,
                end_label: Some(format!("paper, {scale}")),
                name: Some(format!("paper, {scale}")),
            });
        }
    }
    let others: Vec<Point> = ours
        .iter()
        .filter(|row| row.table() != 11)
        .filter_map(|row| {
            let mut point = paper_point(row)?;
            point.label = Some(format!("paper, {}", row.label));
            Some(point)
        })
        .collect();
    if !others.is_empty() {
        series.push(Series {
            class: "ink".into(),
            points: others,
            marks: true,
            ..Series::default()
        });
    }
    series
}

fn paper_point(row: &PaperRow) -> Option<Point> {
    let shape = row.shape.as_ref()?;
    Some(Point {
        x: shape.layers as f64,
        y: row.average,
        tip: format!("paper, {} ({}): {:.1} %", row.id, row.label, row.average),
        hollow: shape.repeats > 1,
        ..Point::default()
    })
}

fn range(series: &[Series]) -> Option<(f64, f64)> {
    let values = series.iter().flat_map(|s| s.points.iter().map(|p| p.y));
    values.fold(None, |range, y| match range {
        None => Some((y, y)),
        Some((low, high)) => Some((y.min(low), y.max(high))),
    })
}
