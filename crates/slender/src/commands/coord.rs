//! `slender search coord-check`.

use crate::cli::CoordCheckArgs;
use crate::error::CliError;
use crate::{commands, output};
use serde_json::{Value, json};
use slender_config::{Config, human_count};
use slender_data::{Dataset, PrepareOptions, TOKENIZER_FILE, Tokenizer, prepare};
use slender_model::Part;
use slender_trainer::{Activation, CoordPlan, CoordRun, Grow, coord_run, exit, exponent, grown};

/// Format of the JSON.
const FORMAT: &str = "slender-coord-check/1";

/// Measures and judges; returns the exit code.
pub fn run(args: &CoordCheckArgs) -> Result<i32, CliError> {
    if !(args.tolerance.is_finite() && args.tolerance >= 0.0) {
        return Err(CliError::Usage(format!(
            "--tolerance {}: no exponent to compare with\n  hint: give a number from 0 on, such as 0.25",
            args.tolerance
        )));
    }
    let config = Config::load(&args.config, &args.sets)?;
    let (grow, mut sizes) = match args.depths.is_empty() {
        true => (Grow::Width, args.widths.clone()),
        false => (Grow::Depth, args.depths.clone()),
    };
    sizes.sort_unstable();
    sizes.dedup();
    if sizes.len() < 2 || sizes[0] == 0 {
        return Err(CliError::Usage(
            "one size shows no growth\n  hint: give at least two, such as --widths 64,128,256"
                .into(),
        ));
    }
    let configs: Vec<Config> = (sizes.iter())
        .map(|size| grown(&config, grow, *size).map_err(CliError::Usage))
        .collect::<Result<_, _>>()?;
    commands::set_threads(args.device.threads.unwrap_or(config.run.threads));
    let device = args.device.device.as_ref().unwrap_or(&config.run.device);
    let device = commands::open_device(device)?;
    let prepared = prepare(&config.data, &PrepareOptions::from_env())?;
    let dataset = Dataset::open(&prepared.dir)?;
    let tokenizer = Tokenizer::from_file(&prepared.dir.join(TOKENIZER_FILE))?;
    let plan = CoordPlan {
        grow,
        steps: args.steps,
        seeds: args.seeds,
    };
    let mut runs = Vec::new();
    for (config, size) in configs.iter().zip(&sizes) {
        let vocab = tokenizer.vocab_size();
        let run = coord_run(config, *size, &dataset, vocab, &device, plan)?;
        let what = word(grow);
        let params = human_count(run.params as f64);
        output::talk(&format!(
            "{what} {size}: {params} parameters, {} steps",
            args.steps
        ));
        runs.push(run);
    }
    let rows = Row::all(&runs, args.tolerance);
    if args.json {
        output::json(&as_json(args, &config, grow, &runs, &rows));
    } else {
        output::data(&as_text(args, &config, grow, &runs, &rows));
    }
    Ok(match rows.iter().all(|row| row.independent) {
        true => exit::FINISHED,
        false => exit::FAILED,
    })
}

fn word(grow: Grow) -> &'static str {
    match grow {
        Grow::Width => "width",
        Grow::Depth => "depth",
    }
}

/// One part at the last step, over all sizes.
struct Row {
    part: Part,
    last: Vec<Activation>,
    /// Exponents of size and change over width or depth.
    size: Option<f64>,
    change: Option<f64>,
    /// Whether change neither grows nor falls, and size does not grow.
    independent: bool,
}

impl Row {
    fn all(runs: &[CoordRun], tolerance: f64) -> Vec<Self> {
        let row = |(index, part): (usize, &Part)| {
            let last: Vec<Activation> = (runs.iter())
                .filter_map(|run| run.steps.last()?.get(index).copied())
                .collect();
            let growth = |value: fn(&Activation) -> f64| {
                let points: Vec<(f64, f64)> = (runs.iter().zip(&last))
                    .map(|(run, activation)| (run.size as f64, value(activation)))
                    .collect();
                exponent(&points)
            };
            let (size, change) = (growth(|a| a.size), growth(|a| a.change));
            Self {
                part: *part,
                last,
                size,
                change,
                independent: change.is_some_and(|e| e.abs() <= tolerance)
                    && size.is_some_and(|e| e <= tolerance),
            }
        };
        Part::ALL.iter().enumerate().map(row).collect()
    }
}

/// The judgement in a sentence.
fn verdict(grow: Grow, rows: &[Row], tolerance: f64) -> String {
    let what = word(grow);
    let named = |keep: &dyn Fn(&Row) -> bool| -> Vec<&str> {
        let rows = rows.iter().filter(|row| !row.independent && keep(row));
        rows.map(|row| row.part.name()).collect()
    };
    let over = |e: Option<f64>| e.is_none_or(|e| e > tolerance);
    let growing = named(&|row| over(row.change) || over(row.size));
    let falling = named(&|row| !over(row.change) && !over(row.size));
    let mut said = Vec::new();
    if !growing.is_empty() {
        said.push(format!("grow with the {what}: {}", growing.join(", ")));
    }
    if !falling.is_empty() {
        said.push(format!("move less with the {what}: {}", falling.join(", ")));
    }
    match said.is_empty() {
        true => {
            format!("{what}-independent: nothing grows or falls faster than {what}^{tolerance}")
        }
        false => format!("not {what}-independent; {}", said.join("; ")),
    }
}

fn as_text(
    args: &CoordCheckArgs,
    config: &Config,
    grow: Grow,
    runs: &[CoordRun],
    rows: &[Row],
) -> String {
    let parametrization = name(config);
    let mut text = format!(
        "coordinates after {} steps at lr {:e}, parametrization {parametrization}, mean of {} seeds{}\n\n",
        args.steps,
        config.train.lr,
        args.seeds,
        match grow {
            Grow::Width => "",
            Grow::Depth => "\nattention and feed-forward are sums over the layers",
        }
    );
    for (title, value) in [
        (
            "size: mean |x|",
            (|a: &Activation| a.size) as fn(&Activation) -> f64,
        ),
        ("change: mean |x - x before training|", |a| a.change),
    ] {
        text += &format!("{title}\n{:14}", word(grow));
        for run in runs {
            text += &format!(" {:>10}", run.size);
        }
        text += "   exponent\n";
        for row in rows {
            text += &format!("{:14}", row.part.name());
            for activation in &row.last {
                text += &format!(" {:>10.4}", value(activation));
            }
            let e = if title.starts_with("size") {
                row.size
            } else {
                row.change
            };
            text += &e.map_or("          –\n".into(), |e| format!("   {e:>+8.2}\n"));
        }
        text += "\n";
    }
    text += &format!("{:14}", "training loss");
    for run in runs {
        text += &format!(" {:>10.4}", run.losses.last().unwrap_or(&f64::NAN));
    }
    text + "\n\n" + &verdict(grow, rows, args.tolerance) + "\n"
}

fn name(config: &Config) -> String {
    serde_json::to_value(config.train.parametrization)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn as_json(
    args: &CoordCheckArgs,
    config: &Config,
    grow: Grow,
    runs: &[CoordRun],
    rows: &[Row],
) -> Value {
    let parts: Vec<&str> = Part::ALL.iter().map(|part| part.name()).collect();
    let row = |row: &Row| {
        json!({
            "part": row.part.name(), "size_exponent": row.size, "change_exponent": row.change,
            "independent": row.independent,
        })
    };
    json!({
        "format": FORMAT,
        "config": args.config.display().to_string(),
        "grow": word(grow),
        "parametrization": name(config),
        "lr": config.train.lr,
        "seeds": args.seeds,
        "tolerance": args.tolerance,
        "parts": parts,
        "runs": runs,
        "growth": rows.iter().map(row).collect::<Vec<_>>(),
        "independent": rows.iter().all(|row| row.independent),
        "verdict": verdict(grow, rows, args.tolerance),
    })
}
