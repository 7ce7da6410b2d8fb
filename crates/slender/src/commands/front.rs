//! `slender search pareto` and `slender search show`: what a sweep directory says so far.

use super::decode_ms;
use crate::cli::{ParetoArgs, ShowSearchArgs};
use crate::error::CliError;
use crate::output;
use serde_json::Value;
use slender_sweep::search::{
    Cost, Front, Method, Objective, SEARCH_FIELD, SearchSource, Standing, Tuned, front, standing,
};
use slender_sweep::{ClaimOptions, Manifest, SweepError, SweepState, collect};
use std::path::Path;

/// Prints the Pareto front of a sweep.
pub fn pareto(args: &ParetoArgs) -> Result<(), CliError> {
    if args.by.len() < 2 {
        return Err(CliError::Usage(
            "one objective has no front\n  hint: name two or more, such as --by valid_loss,train_flops".into(),
        ));
    }
    let variants = manifest(&args.dir)?
        .runs
        .into_iter()
        .map(|run| (run.name, run.variant))
        .collect();
    let mut results = collect(&args.dir)?;
    let mut setting = None;
    if args.by.contains(&Objective::DecodeMs) {
        setting = decode_ms::measure(&args.dir, &results, &variants, &args.decode)?;
        results = collect(&args.dir)?;
    }
    let found = front(&results, &args.by, &variants);
    for (name, why) in &found.left_out {
        output::talk(&format!("left out: {name}, {why}"));
    }
    if args.json {
        let mut value = serde_json::to_value(&found).unwrap_or_default();
        value["format"] = "slender-pareto/1".into();
        if let Some(setting) = setting {
            value["decode"] = serde_json::to_value(&setting).unwrap_or_default();
        }
        output::json(&value);
    } else {
        let mut text = front_text(&found, &args.by);
        if let Some(setting) = setting {
            text += &format!("decode_ms: {setting}\n");
        }
        output::data(&text);
    }
    Ok(())
}

fn manifest(dir: &Path) -> Result<Manifest, CliError> {
    let found = Manifest::read(dir)?;
    found.ok_or_else(|| {
        SweepError::NotASweep {
            path: dir.to_owned(),
        }
        .into()
    })
}

/// A value in the units people read.
fn shown(value: f64, objective: Objective) -> String {
    match objective {
        Objective::ValidLoss | Objective::ValidBitsPerByte => format!("{value:.4}"),
        Objective::DecodeMs => format!("{value:.3}"),
        Objective::Score => format!("{:.2} %", 100.0 * value),
        Objective::Cost(Cost::TrainFlops | Cost::ForwardFlops) => format!("{value:.3e}"),
        Objective::Cost(Cost::DecodeBytes) => slender_config::human_bytes(value as u64),
        Objective::Cost(_) => slender_config::human_count(value),
    }
}

fn front_text(found: &Front, objectives: &[Objective]) -> String {
    let mut rows = vec![vec!["variant".to_owned(), "runs".into()]];
    rows[0].extend(
        objectives
            .iter()
            .map(|objective| objective.name().to_owned()),
    );
    rows[0].push("front".into());
    for point in &found.points {
        let mut row = vec![point.name.clone(), point.runs.to_string()];
        let values = point.values.iter().zip(objectives);
        row.extend(values.map(|(value, objective)| shown(*value, *objective)));
        row.push(if point.rank == 0 {
            "yes".into()
        } else {
            String::new()
        });
        rows.push(row);
    }
    let mut text = columns(&rows, 1);
    if let Some(volume) = found.hypervolume {
        text += &format!("hypervolume: {volume:.3} of the box between best and worst\n");
    }
    if found.points.is_empty() {
        text += "no run is trained to its end\n";
    }
    text
}

/// Rows in columns, the first `left` of them to the left.
fn columns(rows: &[Vec<String>], left: usize) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| match column < left {
                true => format!("{cell:width$}"),
                false => format!("{cell:>width$}"),
            });
        let line = cells.collect::<Vec<_>>().join("  ");
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Prints how a search stands.
pub fn show(args: &ShowSearchArgs) -> Result<(), CliError> {
    let manifest = manifest(&args.dir)?;
    let Some(mut source) = SearchSource::of_manifest(&manifest) else {
        let what = match manifest.other.contains_key(SEARCH_FIELD) {
            true => "its search is not one that this version of slender reads",
            false => "it is a sweep without a search",
        };
        let dir = args.dir.display();
        return Err(CliError::Usage(format!(
            "{dir}: {what}\n  hint: slender sweep status {dir} shows its runs"
        )));
    };
    let state = SweepState::read(&args.dir, &ClaimOptions::default())?;
    let found = standing(&mut source, &state);
    if args.json {
        let mut value = serde_json::to_value(&found).unwrap_or_default();
        value["format"] = "slender-search/1".into();
        output::json(&value);
    } else {
        output::data(&standing_text(&found));
    }
    Ok(())
}

fn standing_text(found: &Standing) -> String {
    let most = found
        .trials
        .iter()
        .map(|trial| trial.steps.len())
        .max()
        .unwrap_or(0);
    let mut head = vec!["trial".to_owned(), "state".into()];
    // Budgets may differ; a column is a rung, named by its step where all agree.
    let steps = |rung: usize| {
        found
            .trials
            .iter()
            .filter_map(move |trial| trial.steps.get(rung))
    };
    for rung in 0..most {
        let first = steps(rung).next().copied().unwrap_or(0);
        head.push(match steps(rung).all(|step| *step == first) {
            true => format!("step {first}"),
            false => format!("rung {}", rung + 1),
        });
    }
    let mut rows = vec![head];
    for trial in &found.trials {
        let mut row = vec![trial.name.clone(), trial.state.to_owned()];
        let loss = |loss: &Option<f64>| loss.map_or("–".into(), |loss| format!("{loss:.4}"));
        row.extend(trial.losses.iter().map(loss));
        rows.push(row);
    }
    let mut text = columns(&rows, 2);
    for tuned in &found.tuned {
        text += &tuned_text(tuned);
    }
    let share = 100.0 * found.share_of_everything;
    text += &match found.search.method {
        Method::Full => format!("{share:.0} % of all steps done\n"),
        _ => format!("{share:.0} % of the steps that training all of them to the end would take\n"),
    };
    text
}

fn tuned_text(tuned: &Tuned) -> String {
    let axes: Vec<String> = (tuned.axes.iter())
        .map(|(key, value)| match value {
            Value::String(text) => format!("{key} {text}"),
            other => format!("{key} {other}"),
        })
        .collect();
    let name = if axes.is_empty() {
        "all".to_owned()
    } else {
        axes.join(", ")
    };
    let Some(best) = tuned.best else {
        let known = tuned
            .candidates
            .iter()
            .filter(|(_, loss)| loss.is_some())
            .count();
        return format!(
            "{name}: {known} of {} candidates measured\n",
            tuned.candidates.len()
        );
    };
    let mut text = format!("{name}: best learning rate {best}");
    match tuned.parabola {
        Some(fit) => {
            text += &format!(
                "; a parabola through its neighbours has its lowest point at {:.3e}",
                fit.at
            )
        }
        None if tuned.at_edge => {
            text += "; it is at the edge of the grid, a better one may lie beyond"
        }
        None => {}
    }
    text + "\n"
}
