//! `slender bench`.

use crate::cli::{BenchArgs, BenchCommand};
use crate::error::CliError;
use crate::{commands, output};
use slender_config::{Config, human_bytes, human_count};
use slender_trainer::{Spread, bench, exit, matmul_peak};

/// Measures; returns the exit code.
pub fn run(command: &BenchCommand) -> Result<i32, CliError> {
    match command {
        BenchCommand::Train(args) => speed(args, true)?,
        BenchCommand::Score(args) => speed(args, false)?,
        BenchCommand::Matmul { device, json } => {
            commands::set_threads(device.threads.unwrap_or(0));
            let opened = commands::open_device(device.device.as_deref().unwrap_or("flex"))?;
            let peak = matmul_peak(&opened);
            if *json {
                output::json(&serde_json::json!({ "matmul_peak_flops_per_s": peak }));
            } else {
                output::data(&format!("{:.1} GFLOP/s\n", peak / 1e9));
            }
        }
    }
    Ok(exit::FINISHED)
}

fn speed(args: &BenchArgs, train: bool) -> Result<(), CliError> {
    let config = Config::load(&args.config.config, &args.config.sets)?;
    let shape = config.shape().ok_or_else(|| {
        CliError::Usage(
            "the vocabulary size is unknown\n  hint: give data.tokenizer.vocab_size".into(),
        )
    })?;
    commands::set_threads(args.device.threads.unwrap_or(config.run.threads));
    let device =
        commands::open_device(args.device.device.as_deref().unwrap_or(&config.run.device))?;
    let speed = bench(&config, &shape, &device, train, args.repetitions);
    if args.json {
        output::json(&serde_json::to_value(&speed).unwrap_or_default());
        return Ok(());
    }
    let ms = |spread: &Spread| {
        format!(
            "{:.1} ms ({:.1} to {:.1})",
            1e3 * spread.median,
            1e3 * spread.min,
            1e3 * spread.max
        )
    };
    let mut text = format!(
        "{} {}: {} parameters, {} x {} tokens, {} threads\ntokens per second {:.0} ({:.0} to {:.0})\nmodel {:.1} GFLOP/s, {:.0} % of the matmul peak of {:.1} GFLOP/s\nforward {}\n",
        speed.mode,
        config.name(),
        human_count(speed.params_total as f64),
        speed.micro_batch_size,
        speed.seq_len,
        speed.threads,
        speed.tokens_per_s.median,
        speed.tokens_per_s.min,
        speed.tokens_per_s.max,
        speed.model_flops_per_s / 1e9,
        100.0 * speed.peak_share,
        speed.matmul_peak_flops_per_s / 1e9,
        ms(&speed.forward_s),
    );
    for (name, phase) in [
        ("backward", &speed.backward_s),
        ("optimizer", &speed.optimizer_s),
    ] {
        if let Some(phase) = phase {
            text += &format!("{name} {}\n", ms(phase));
        }
    }
    text += &format!("peak memory {}\n", human_bytes(speed.peak_memory_bytes));
    output::data(&text);
    Ok(())
}
