//! The loss curves: smoothed training loss and validation loss against tokens.
//!
//! Up to eight variants get a colour each; more get a ramp over depth, so that a depth sweep reads as
//! one. Seeds of a variant share its colour and its name. The y axis starts below the first steps'
//! losses, which would flatten everything after them. Runs of very different budgets share a
//! logarithmic x axis, or the short ones would be slivers.

use crate::chart::{LOG_REACH, Panel, Point, Series, XScale};
use crate::format::short_names;
use crate::results::{RunResult, SweepResults};
use slender_config::human_count;

/// Categorical colours in `report.css`.
const COLOURS: usize = 8;
/// Points of a curve, enough to zoom in on it.
const MOST_POINTS: usize = 600;
/// Points of all curves of a picture together, so that the page of a large sweep still opens.
const ALL_POINTS: usize = 40_000;
/// Share of the longest run whose losses may lie above the picture.
const HIDDEN_START: f64 = 0.04;
/// Ratio of the shortest to the longest run below which the x axis is logarithmic.
const UNLIKE: f64 = 0.4;

/// The panels that have something to show.
pub(crate) fn loss_panels(results: &SweepResults) -> Vec<Panel> {
    let runs: Vec<&RunResult> = results
        .runs
        .iter()
        .filter(|run| !run.curves.train.is_empty() || run.curves.valid.len() > 1)
        .collect();
    let mut variants: Vec<&str> = Vec::new();
    for run in &runs {
        if !variants.contains(&run.variant.as_str()) {
            variants.push(&run.variant);
        }
    }
    let short = short_names(&variants);
    let classes = colours(&runs, &variants);
    let place = |run: &RunResult| variants.iter().position(|name| *name == run.variant);
    let most = (ALL_POINTS / runs.len().max(1)).clamp(60, MOST_POINTS);
    // The variant's name stands at the end of its first seed's line.
    let first_of = |index: usize| {
        runs[..index]
            .iter()
            .all(|run| run.variant != runs[index].variant)
    };
    let curve = |index: usize, points: Vec<(f64, f64)>, marks: bool| {
        let run = runs[index];
        let variant = place(run).unwrap_or(0);
        Series {
            class: classes[variant].clone(),
            points: points
                .into_iter()
                .map(|(x, y)| Point {
                    x,
                    y,
                    tip: format!("{}: {y:.3} after {} tokens", run.name, human_count(x)),
                    run: run.variant.clone(),
                    ..Point::default()
                })
                .collect(),
            line: true,
            marks,
            end_label: first_of(index).then(|| short[variant].clone()),
            name: Some(run.name.clone()),
            ..Series::default()
        }
    };
    let mut panels = Vec::new();
    let train: Vec<Series> = runs
        .iter()
        .enumerate()
        .map(|(index, run)| curve(index, run.curves.smoothed(most), false))
        .filter(|series| !series.points.is_empty())
        .collect();
    if !train.is_empty() {
        panels.push(panel("Training loss", "nats per token, smoothed", train));
    }
    let valid: Vec<Series> = runs
        .iter()
        .enumerate()
        .map(|(index, run)| {
            let points = run.curves.valid.iter();
            let points: Vec<_> = points.map(|p| (p.tokens as f64, p.loss)).collect();
            let few = points.len() <= 30 && runs.len() <= COLOURS;
            curve(index, points, few)
        })
        .filter(|series| series.points.len() > 1)
        .collect();
    if !valid.is_empty() {
        panels.push(panel("Validation loss", "nats per token", valid));
    }
    panels
}

fn panel(title: &str, y_label: &str, series: Vec<Series>) -> Panel {
    let ends = series.iter().filter_map(|series| series.points.last());
    let (shortest, longest) = ends.fold((f64::INFINITY, 0.0f64), |(low, high), point| {
        (low.min(point.x), high.max(point.x))
    });
    let log = shortest < UNLIKE * longest;
    // The highest loss of any run once the first fall is over.
    let from = if log {
        longest / LOG_REACH
    } else {
        HIDDEN_START * longest
    };
    let after_start = |series: &Series| {
        let settled = series.points.iter().filter(|point| point.x >= from);
        settled.map(|point| point.y).fold(f64::NAN, f64::max)
    };
    let y_max = series.iter().map(after_start).fold(f64::NAN, f64::max);
    let (x_scale, x_label) = if log {
        (XScale::Log, "training tokens, logarithmic")
    } else {
        (XScale::Linear, "training tokens")
    };
    Panel {
        title: title.into(),
        x_label: x_label.into(),
        y_label: y_label.into(),
        x_scale,
        series,
        reference: None,
        y_max: y_max.is_finite().then_some(y_max),
        x_format: human_tokens,
        zoom: true,
    }
}

/// `200K` rather than `200.0K`: ticks are round.
pub(crate) fn human_tokens(value: f64) -> String {
    let text = human_count(value);
    let cut = text.find(|c: char| c.is_ascii_alphabetic());
    let (digits, unit) = text.split_at(cut.unwrap_or(text.len()));
    match digits.contains('.') {
        true => format!(
            "{}{unit}",
            digits.trim_end_matches('0').trim_end_matches('.')
        ),
        false => text,
    }
}

/// A class for each variant.
fn colours(runs: &[&RunResult], variants: &[&str]) -> Vec<String> {
    if variants.len() <= COLOURS {
        return (0..variants.len())
            .map(|index| format!("c{index}"))
            .collect();
    }
    let depth = |name: &str| {
        let run = runs.iter().find(|run| run.variant == name);
        run.map_or(0, |run| run.facts.n_layers)
    };
    let mut order: Vec<usize> = (0..variants.len()).collect();
    order.sort_by_key(|index| depth(variants[*index]));
    let mut classes = vec![String::new(); variants.len()];
    for (rank, index) in order.into_iter().enumerate() {
        let step = rank * (COLOURS - 1) / (variants.len() - 1);
        classes[index] = format!("r{step}");
    }
    classes
}
