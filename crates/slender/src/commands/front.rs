//! `slender search pareto` and `slender search show`: what a sweep directory says so far.

use super::decode_ms;
use crate::cli::{ParetoArgs, ShowSearchArgs};
use crate::error::CliError;
use crate::output;
use serde_json::Value;
use slender_sweep::search::{
    Cost, Front, Method, Metric, Objective, SEARCH_FIELD, SearchSource, Standing, Tuned, front,
    standing,
};
use slender_sweep::{
    ClaimOptions, Manifest, MeasuredApart, SweepError, SweepResults, SweepState, collect,
};
use std::collections::BTreeSet;
use std::path::Path;

/// Prints the Pareto front of a sweep.
pub fn pareto(args: &ParetoArgs) -> Result<(), CliError> {
    if args.by.len() < 2 {
        return Err(CliError::Usage(
            "one objective has no front\n  hint: name two or more, such as --by valid_loss,train_flops".into(),
        ));
    }
    let twice = |index: &usize| args.by[..*index].contains(&args.by[*index]);
    if let Some(index) = (0..args.by.len()).find(twice) {
        return Err(CliError::Usage(format!(
            "--by names `{}` twice\n  hint: name each objective once",
            args.by[index]
        )));
    }
    let variants = manifest(&args.dir)?
        .runs
        .into_iter()
        .map(|run| (run.name, run.variant))
        .collect();
    let mut results = collect(&args.dir)?;
    let by = comparable(&results, &args.by)?;
    let mut setting = None;
    if args.by.contains(&Objective::DecodeMs) {
        setting = decode_ms::measure(&args.dir, &results, &variants, &args.decode)?;
        results = collect(&args.dir)?;
    }
    let found = front(&results, &by, &variants);
    for line in left_out(&found.left_out) {
        output::talk(&line);
    }
    if args.json {
        let mut value = serde_json::to_value(&found).unwrap_or_default();
        value["format"] = "slender-pareto/1".into();
        if let Some(setting) = setting {
            value["decode"] = serde_json::to_value(&setting).unwrap_or_default();
        }
        output::json(&value);
    } else {
        let mut text = front_text(&found, &by);
        if let Some(setting) = setting {
            text += &format!("decode_ms: {setting}\n");
        }
        output::data(&text);
    }
    if found.points.is_empty() {
        let dir = args.dir.display();
        return Err(CliError::Usage(format!(
            "no run of {dir} is trained to its end and has all of {}\n  hint: slender sweep status {dir} shows how far the runs are",
            names(&by).join(", ")
        )));
    }
    Ok(())
}

fn names(objectives: &[Objective]) -> Vec<&'static str> {
    objectives
        .iter()
        .map(|objective| objective.name())
        .collect()
}

/// The objectives that the runs can be compared by: bits per byte for nats per token where tokenizers differ.
fn comparable(results: &SweepResults, by: &[Objective]) -> Result<Vec<Objective>, CliError> {
    let (loss, bits) = (Objective::ValidLoss, Objective::ValidBitsPerByte);
    let mut by = by.to_vec();
    let differ = |apart: &MeasuredApart| apart.differs.iter().any(|what| what == "the tokenizer");
    if let Some(index) = by.iter().position(|objective| *objective == loss)
        && loss.apart(results).is_some_and(differ)
    {
        if by.contains(&bits) {
            return Err(CliError::Usage(
                "`valid_loss` is in nats per token, which do not compare across tokenizers\n  hint: leave it out, valid_bits_per_byte is there".into(),
            ));
        }
        output::talk(
            "valid_loss is in nats per token, which do not compare across tokenizers: valid_bits_per_byte takes its place",
        );
        by[index] = bits;
    }
    for objective in &by {
        if let Some(apart) = objective.apart(results) {
            return Err(CliError::Usage(format!(
                "`{objective}` was not measured alike in all runs: they differ in {}\n  hint: {}compare by something else; `slender sweep report` ranks those that were measured alike",
                apart.differs.join(", "),
                match apart.same_text_would_do() {
                    true =>
                        "sweep with eval.loss_tokens = 0, which measures all of the validation text, or ",
                    false => "",
                }
            )));
        }
    }
    Ok(by)
}

/// What was left out, a line for each reason.
fn left_out(runs: &[(String, String)]) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<&(String, String)>)> = Vec::new();
    for run in runs {
        // Runs that stopped at different steps are one group.
        let reason = run.1.split(" at step ").next().unwrap_or_default();
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, group)) => group.push(run),
            None => reasons.push((reason, vec![run])),
        }
    }
    let line = |(reason, group): &(&str, Vec<&(String, String)>)| match group.as_slice() {
        [(name, why)] => format!("left out: {name}, {why}"),
        group => {
            let names: Vec<&str> = group
                .iter()
                .take(3)
                .map(|(name, _)| name.as_str())
                .collect();
            let more = match group.len() - names.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let why = reason.trim_start_matches("it ");
            format!(
                "left out: {} runs, each {why}: {}{more}",
                group.len(),
                names.join(", ")
            )
        }
    };
    reasons.iter().map(line).collect()
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
        Objective::DecodeMs => significant(value),
        Objective::Score => format!("{:.2} %", 100.0 * value),
        Objective::Cost(Cost::TrainFlops | Cost::ForwardFlops) => format!("{value:.3e}"),
        Objective::Cost(Cost::DecodeBytes) => slender_config::human_bytes(value as u64),
        Objective::Cost(_) => slender_config::human_count(value),
    }
}

/// Four significant digits without an exponent.
fn significant(value: f64) -> String {
    let magnitude = value.abs().max(1e-12).log10().floor() as i32;
    let digits = (3 - magnitude).clamp(0, 12) as usize;
    format!("{value:.digits$}")
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
        let values = point.values.iter().zip(objectives).zip(&point.ranges);
        row.extend(values.map(|((value, objective), range)| {
            let value = shown(*value, *objective);
            match range {
                Some([low, high]) => {
                    format!(
                        "{value} ({} to {})",
                        shown(*low, *objective),
                        shown(*high, *objective)
                    )
                }
                None => value,
            }
        }));
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
    for (objective, floor) in objectives.iter().zip(&found.noise) {
        if let Some(floor) = floor {
            text += &match objective {
                Objective::Score => format!(
                    "score: seeds alone make differences of up to {:.2} points, which count as none\n",
                    100.0 * floor
                ),
                _ => format!(
                    "{objective}: seeds alone make differences of up to {floor:.4}, which count as none\n"
                ),
            };
        }
    }
    if objectives.contains(&Objective::DecodeMs) {
        text += "decode_ms: the lowest and highest of the rounds in brackets; times that overlap count as equal\n";
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
    if found.search.metric == Metric::ValidBitsPerByte {
        text += "losses are in bits per byte\n";
    }
    let seeds: BTreeSet<u64> = found.tuned.iter().map(|tuned| tuned.seed).collect();
    for tuned in &found.tuned {
        text += &tuned_text(tuned, seeds.len() > 1);
    }
    let share = 100.0 * found.share_of_everything;
    text += &match found.search.method {
        Method::Full => format!("{share:.0} % of all steps done\n"),
        _ => format!("{share:.0} % of the steps that training all of them to the end would take\n"),
    };
    text
}

fn tuned_text(tuned: &Tuned, with_seed: bool) -> String {
    let mut axes: Vec<String> = (tuned.axes.iter())
        .map(|(key, value)| match value {
            Value::String(text) => format!("{key} {text}"),
            other => format!("{key} {other}"),
        })
        .collect();
    if with_seed {
        axes.push(format!("seed {}", tuned.seed));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tuned_for_several_seeds_names_them() {
        let tuned = Tuned {
            axes: [("model.n_layers".to_owned(), 2.into())].into(),
            seed: 1,
            candidates: vec![(1e-3, Some(2.0)), (2e-3, Some(1.0))],
            best: Some(2e-3),
            at_edge: true,
            parabola: None,
        };
        let one = tuned_text(&tuned, false);
        assert!(one.starts_with("model.n_layers 2: best"), "{one}");
        let several = tuned_text(&tuned, true);
        assert!(
            several.starts_with("model.n_layers 2, seed 1: best"),
            "{several}"
        );
        let alone = Tuned {
            axes: Default::default(),
            best: None,
            ..tuned
        };
        let text = tuned_text(&alone, true);
        assert_eq!(text, "seed 1: 2 of 2 candidates measured\n");
    }
}
