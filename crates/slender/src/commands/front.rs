//! `slender search pareto`: what a sweep directory says so far.

use crate::cli::ParetoArgs;
use crate::error::CliError;
use crate::output;
use slender_sweep::search::{Cost, Front, Objective, front};
use slender_sweep::{Manifest, SweepError, collect};
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
        .map(|run| (run.name, run.variant));
    let found = front(&collect(&args.dir)?, &args.by, &variants.collect());
    for (name, why) in &found.left_out {
        output::talk(&format!("left out: {name}, {why}"));
    }
    if args.json {
        let mut value = serde_json::to_value(&found).unwrap_or_default();
        value["format"] = "slender-pareto/1".into();
        output::json(&value);
    } else {
        output::data(&front_text(&found, &args.by));
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
