//! The other pictures: fronts of quality against cost, and a dot plot for each task.

use crate::analysis::{Front, Metric, Spread, VariantResult};
use crate::chart::{DotRow, Dots, Panel, Point, Series, XScale, shorten};
use crate::format::{flop_unit, percent, short_names, significant};
use crate::loss::human_tokens;
use crate::results::SweepResults;
use crate::tables::short_task;
use crate::verdict::deciding_metric;

/// Variants of a dot plot; of more, the best.
const MOST_ROWS: usize = 40;
/// Largest ratio of costs on a linear axis.
const ALIKE: f64 = 3.0;

/// One panel for each front whose variants differ in cost.
pub(crate) fn front_panels(results: &SweepResults) -> Vec<Panel> {
    let decided_by_loss = results
        .pareto
        .iter()
        .any(|f| f.quality == "valid_bits_per_byte");
    let wanted = |front: &&Front| (front.quality == "valid_bits_per_byte") == decided_by_loss;
    let panels = results.pareto.iter().filter(wanted);
    panels
        .filter_map(|front| front_panel(front, results))
        .collect()
}

fn front_panel(front: &Front, results: &SweepResults) -> Option<Panel> {
    let (low, high) = (front.points.first()?.cost, front.points.last()?.cost);
    if high <= low {
        return None;
    }
    let (metric, factor, y_label) = match front.quality.as_str() {
        "average" => (Metric::Average, 100.0, "mean accuracy, %; higher is better"),
        _ => (
            Metric::BitsPerByte,
            1.0,
            "validation loss, bits per byte; lower is better",
        ),
    };
    let (title, x_label, x_format): (_, String, fn(f64) -> String) = match front.cost.as_str() {
        "params_total" => ("Quality for parameters", "parameters".into(), human_tokens),
        "train_flops" => (
            "Quality for training compute",
            "training FLOPs".into(),
            human_flops,
        ),
        "decode_ms" => (
            "Quality for the time of a token",
            "milliseconds per decoded token".into(),
            milliseconds,
        ),
        _ => (
            "Quality for reading at decoding",
            "bytes moved per decoded token, 16 bits a number".into(),
            human_tokens,
        ),
    };
    let names: Vec<&str> = front.points.iter().map(|p| p.variant.as_str()).collect();
    let short = short_names(&names);
    let spread = |name: &str| -> Option<&Spread> {
        let variant = results.variants.iter().find(|v| v.name == name)?;
        variant.spread(&metric)
    };
    let points: Vec<(Point, bool)> = front
        .points
        .iter()
        .zip(short)
        .map(|(point, label)| {
            let reach = spread(&point.variant).and_then(Spread::reach);
            let place = match (&point.beaten_by, point.on_front) {
                (Some(other), _) => format!("beaten by {other} beyond the noise"),
                (None, true) => "on the front".to_owned(),
                (None, false) => "behind the front, inside the noise".to_owned(),
            };
            let shown = Point {
                x: point.cost,
                y: factor * point.quality,
                error: reach.map(|reach| factor * reach),
                tip: format!(
                    "{}: {} for {}, {place}",
                    point.variant,
                    significant(factor * point.quality),
                    x_format(point.cost)
                ),
                label: Some(label),
                hollow: point.beaten_by.is_some(),
                run: point.variant.clone(),
                ..Point::default()
            };
            (shown, point.on_front)
        })
        .collect();
    let of = |front: bool| -> Vec<Point> {
        let own = points.iter().filter(|(_, on)| *on == front);
        own.map(|(point, _)| point.clone()).collect()
    };
    Some(Panel {
        title: match &front.measured {
            Some(own) if !own.is_empty() => shorten(&format!("{title} ({own})"), 62),
            _ => title.into(),
        },
        x_label,
        y_label: y_label.into(),
        x_scale: match high <= ALIKE * low {
            true => XScale::Near,
            false => XScale::LogAtPoints,
        },
        series: vec![
            Series {
                class: "c0".into(),
                points: of(true),
                line: true,
                marks: true,
                name: Some("the front".into()),
                ..Series::default()
            },
            Series {
                class: "c7".into(),
                points: of(false),
                marks: true,
                ..Series::default()
            },
        ],
        reference: None,
        y_max: None,
        x_format,
        zoom: false,
    })
}

fn milliseconds(value: f64) -> String {
    format!("{} ms", significant(value))
}

/// What decoding was measured with, which is the same for all variants of a front: a sentence for below the
/// pictures, too long for an axis.
pub(crate) fn decode_words(results: &SweepResults) -> String {
    if !results.pareto.iter().any(|front| front.cost == "decode_ms") {
        return String::new();
    }
    let mut files = results.runs.iter().filter_map(|run| run.decode.as_ref());
    let setting = files.next().map(|file| file.setting.to_string());
    setting.map_or_else(String::new, |setting| {
        format!(" Decoding was timed with {setting}.")
    })
}

fn human_flops(value: f64) -> String {
    let (unit, name) = flop_unit(value);
    format!(
        "{} {}",
        significant(value / unit),
        name.trim_end_matches("LOP")
    )
    .replace(" ", "\u{a0}")
}

/// The variants that a dot plot has room for, in their order: the best by the metric that decides.
fn best(results: &SweepResults) -> Vec<&VariantResult> {
    let all: Vec<&VariantResult> = results.variants.iter().collect();
    let Some(metric) = deciding_metric(results).filter(|_| all.len() > MOST_ROWS) else {
        return all;
    };
    let sign = if metric.less_is_better() { 1.0 } else { -1.0 };
    let value = |v: &VariantResult| v.spread(&metric).map_or(f64::INFINITY, |s| sign * s.mean);
    let mut values: Vec<f64> = all.iter().map(|variant| value(variant)).collect();
    values.sort_by(f64::total_cmp);
    let worst = values[MOST_ROWS - 1];
    let kept = all.into_iter().filter(|variant| value(variant) <= worst);
    kept.take(MOST_ROWS).collect()
}

/// One dot plot for each task.
pub(crate) fn task_panels(results: &SweepResults) -> Vec<Dots> {
    let shown = best(results);
    let left_out = match results.variants.len() {
        n if n > shown.len() => format!("; best {} of {n}", shown.len()),
        _ => String::new(),
    };
    let panels = results.task_columns().into_iter().map(|task| {
        let with: Vec<(&VariantResult, &Spread)> = shown
            .iter()
            .copied()
            .filter_map(|variant| Some((variant, variant.tasks.get(task)?)))
            .collect();
        let names: Vec<&str> = with
            .iter()
            .map(|(variant, _)| variant.name.as_str())
            .collect();
        let short = short_names(&names);
        let first = |name: &str| results.runs.iter().find(|run| run.variant == name);
        let rows = with.iter().zip(short).map(|((variant, spread), label)| {
            let reach = spread.reach();
            let shown = match reach {
                Some(reach) => format!("{} ± {} %", percent(spread.mean), percent(reach)),
                None => format!("{} %", percent(spread.mean)),
            };
            let paper = first(&variant.name).and_then(|run| run.paper.as_ref());
            let paper = paper
                .and_then(|paper| paper.scores_percent.get(task))
                .copied();
            let printed = paper.map_or(String::new(), |p| format!("; the paper: {p:.1} %"));
            DotRow {
                label,
                key: variant.name.clone(),
                value: 100.0 * spread.mean,
                error: reach.map(|reach| 100.0 * reach),
                other: paper,
                hollow: first(&variant.name).is_some_and(|run| run.facts.is_shared()),
                tip: format!("{}: {shown}{printed}", variant.name),
            }
        });
        let rows: Vec<DotRow> = rows.collect();
        let chance = results
            .runs
            .iter()
            .find_map(|run| run.tasks.get(task)?.chance);
        Dots {
            title: short_task(task).to_owned(),
            unit: match chance {
                Some(chance) => {
                    let chance = percent(chance);
                    format!("accuracy, %; dotted: guessing, {chance} %{left_out}")
                }
                None => format!("accuracy, %{left_out}"),
            },
            rows,
            reference: chance.map(|c| (100.0 * c, format!("guessing, {} %", percent(c)))),
        }
    });
    panels.filter(|panel| !panel.rows.is_empty()).collect()
}
