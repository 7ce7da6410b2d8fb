//! `slender sweep plan`: the runs of a sweep, what they cost here, and which are done.

use crate::cli::PlanArgs;
use crate::commands::sweep::{
    check_device, check_plan, data_id, dir_of, missing_texts, wrong_eval_data,
};
use crate::error::CliError;
use crate::{commands, output};
use slender_config::{human_bytes, human_count, human_seconds, plural};
use slender_sweep::search::SearchSpec;
use slender_sweep::{DoneRuns, PlanCost, PlannedRun, RunCost, SweepOptions, plan, planned_search};
use slender_trainer::{exit, matmul_peak};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Share of the matrix-product peak that training reaches, for estimates: measured 0.6 at 1M
/// parameters and 0.7 to 0.8 from 10M on (docs/performance.md).
const PEAK_SHARE: f64 = 0.65;

/// Plans; returns the exit code.
pub fn run(args: &PlanArgs) -> Result<i32, CliError> {
    let dir = dir_of(&args.configs, args.dir.as_deref())?;
    let mut options = SweepOptions::new(args.configs.clone(), dir, PathBuf::new());
    options.sets.clone_from(&args.sets);
    options.seeds = args.seeds.as_ref().map(|seeds| seeds.0.clone());
    options.device.clone_from(&args.device);
    options.data_id = data_id;
    check_device(args.device.as_deref())?;
    let runs = plan(&options)?;
    check_plan(&runs)?;
    // A plan for another machine is a plan all the same.
    let problems = missing_texts(&runs).into_iter();
    for problem in problems.chain(wrong_eval_data(&runs)) {
        output::talk(&format!("warning: {problem}"));
    }
    let search = planned_search(&options)?;
    let device = device_of(&runs, args.device.as_deref());
    let (speed, source) = speed(args, &device);
    let places: BTreeSet<PathBuf> = runs
        .iter()
        .map(|run| run.config.run.out_dir.clone())
        .collect();
    let places: Vec<PathBuf> = places.into_iter().collect();
    let cost = PlanCost::of(&runs, speed, &DoneRuns::look(&options.dir, &places));
    if args.json {
        let mut value = serde_json::to_value(&cost).unwrap_or_default();
        value["dir"] = options.dir.display().to_string().into();
        value["device"] = device.into();
        value["flops_per_s_from"] = source.into();
        value["search"] = serde_json::to_value(&search).unwrap_or_default();
        output::json(&value);
        return Ok(exit::FINISHED);
    }
    let heads = [
        "run", "shape", "params", "non-emb", "tokens", "FLOPs", "time", "memory", "",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(cost.runs.iter().map(cells));
    output::data(&output::table(&rows, &[0, 1, 8]));
    output::data(&total(&cost, &device, source, search.as_ref()));
    Ok(exit::FINISHED)
}

/// The device of the plan: the one asked for, or that of its first run.
fn device_of(runs: &[PlannedRun], asked: Option<&str>) -> String {
    let first = runs.first().map(|run| run.config.run.device.clone());
    asked.map_or_else(|| first.unwrap_or_else(|| "flex".into()), str::to_owned)
}

/// Model FLOP/s of training here, and where the number comes from.
fn speed(args: &PlanArgs, device: &str) -> (Option<f64>, &'static str) {
    if args.flops_per_s.is_some() {
        return (args.flops_per_s, "given");
    }
    commands::set_threads(args.threads.unwrap_or(0));
    match commands::open_device(device) {
        Ok(device) => (Some(PEAK_SHARE * matmul_peak(&device)), "peak"),
        // A plan for another machine is a plan all the same.
        Err(_) => (None, "unknown"),
    }
}

fn cells(run: &RunCost) -> Vec<String> {
    let count = |n: Option<u64>| n.map_or("?".into(), |n| human_count(n as f64));
    vec![
        run.name.clone(),
        run.shape.clone(),
        count(run.params_total),
        count(run.params_non_embedding),
        human_count(run.tokens as f64),
        run.train_flops
            .map_or("?".into(), |flops| format!("{flops:.2e}")),
        run.seconds.map_or("?".into(), human_seconds),
        run.memory_bytes.map_or("?".into(), human_bytes),
        match (&run.done, &run.begun, &run.same_as, &run.elsewhere) {
            (Some(dir), ..) => format!("done: {}", dir.display()),
            (_, Some(dir), ..) => format!("begun: {}", dir.display()),
            (_, _, Some(name), _) => format!("the same as {name}"),
            (.., Some(found)) if found.finished => format!("also done in {}", found.dir.display()),
            (.., Some(found)) => format!("also begun in {}", found.dir.display()),
            _ => String::new(),
        },
    ]
}

fn total(cost: &PlanCost, device: &str, source: &str, search: Option<&SearchSpec>) -> String {
    let total = &cost.total;
    let mut text = format!(
        "\n{} of {}: {:.2e} FLOPs in all",
        plural(total.runs, "run"),
        plural(total.variants, "variant"),
        total.train_flops
    );
    if total.done > 0 {
        text += &format!(
            "; {} done, {:.2e} FLOPs left",
            total.done, total.train_flops_left
        );
    }
    text += "\n";
    if search.is_some() {
        text += "a search decides which of these trials are trained, and how far: all costs are upper bounds\n";
    }
    if total.again > 0 {
        text += &format!(
            "{} the same as an earlier one here or as one that is done elsewhere; a sweep trains it all the same\n",
            match total.again {
                1 => "1 run is".to_owned(),
                n => format!("{n} runs are each"),
            }
        );
    }
    match (total.seconds_left, cost.flops_per_s) {
        (Some(seconds), Some(speed)) => {
            let how = match source {
                "given" => "as given".to_owned(),
                _ => format!("{PEAK_SHARE} of the matrix-product peak measured now"),
            };
            text += &format!(
                "about {} of training on {device}, one run after the other, at {:.1} GFLOP/s ({how}); most memory {}\n",
                human_seconds(seconds),
                speed / 1e9,
                human_bytes(total.memory_bytes)
            );
        }
        _ => {
            text += &format!(
                "this program has no device {device}, so times are not known; most memory {}\n  hint: --flops-per-s gives a speed, such as one from `slender bench train` there\n",
                human_bytes(total.memory_bytes)
            );
        }
    }
    if total.unknown > 0 {
        text += &format!(
            "{} without costs: the vocabulary size is unknown\n  hint: give data.tokenizer.vocab_size\n",
            plural(total.unknown, "run")
        );
    }
    text
}
