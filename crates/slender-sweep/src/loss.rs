//! The loss curves: smoothed training loss and validation loss against tokens.
//!
//! Up to eight runs get a colour each; more get a ramp over depth, so that a depth sweep reads as
//! one. The y axis starts below the first steps' losses, which would flatten everything after them.
//! Runs of very different budgets share a logarithmic x axis, or the short ones would be slivers.

use crate::chart::{LOG_REACH, Panel, Point, Series, XScale};
use crate::format::short_names;
use crate::results::{RunResult, SweepResults};
use slender_config::human_count;

/// Categorical colours in `report.css`.
const COLOURS: usize = 8;
/// Points of a curve; more could not be seen.
const MOST_POINTS: usize = 240;
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
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let short = short_names(&names);
    let classes = colours(&runs);
    let curve = |index: usize, points: Vec<(f64, f64)>, marks: bool| Series {
        class: classes[index].clone(),
        points: points
            .into_iter()
            .map(|(x, y)| Point {
                x,
                y,
                tip: format!("{}: {y:.3} after {} tokens", names[index], human_count(x)),
                run: names[index].to_owned(),
                ..Point::default()
            })
            .collect(),
        line: true,
        marks,
        end_label: Some(short[index].clone()),
        ..Series::default()
    };
    let mut panels = Vec::new();
    let train: Vec<Series> = runs
        .iter()
        .enumerate()
        .map(|(index, run)| curve(index, run.curves.smoothed(MOST_POINTS), false))
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
    }
}

/// `200K` rather than `200.0K`: ticks are round.
fn human_tokens(value: f64) -> String {
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

fn colours(runs: &[&RunResult]) -> Vec<String> {
    if runs.len() <= COLOURS {
        return (0..runs.len()).map(|index| format!("c{index}")).collect();
    }
    let mut order: Vec<usize> = (0..runs.len()).collect();
    order.sort_by_key(|index| runs[*index].facts.n_layers);
    let mut classes = vec![String::new(); runs.len()];
    for (rank, index) in order.into_iter().enumerate() {
        let step = rank * (COLOURS - 1) / (runs.len() - 1);
        classes[index] = format!("r{step}");
    }
    classes
}
