//! `slender bench`.

use crate::cli::{BenchArgs, BenchCommand, DecodeArgs, DeviceArgs};
use crate::error::CliError;
use crate::{commands, output};
use slender_config::{Config, ModelShape, human_bytes, human_count};
use slender_kernels::{Product, has_kernels, product_speed};
use slender_model::infer::{DecodePlan, Engine, decode_speed};
use slender_model::{LoadedModel, Transformer};
use slender_trainer::{Spread, bench, exit, matmul_peak};
use std::path::Path;

/// Measures; returns the exit code.
pub fn run(command: &BenchCommand) -> Result<i32, CliError> {
    match command {
        BenchCommand::Train(args) => speed(args, true)?,
        BenchCommand::Score(args) => speed(args, false)?,
        BenchCommand::Decode(args) => decode(args)?,
        BenchCommand::Matmul {
            config,
            device,
            json,
        } => matmul(config.as_deref(), device, *json)?,
    }
    Ok(exit::FINISHED)
}

/// Seconds that each product is repeated for.
const PRODUCT_SECONDS: f64 = 0.2;

/// The peak and, with a configuration, each product of its layers.
fn matmul(config: Option<&Path>, device: &DeviceArgs, json: bool) -> Result<(), CliError> {
    let shape = match config {
        Some(path) => {
            let config = Config::load(path, &[])?;
            Some((
                shape_of(&config)?,
                config.train.micro_batch_size() * config.train.seq_len(),
            ))
        }
        None => None,
    };
    commands::set_threads(device.threads.unwrap_or(0));
    let opened = commands::open_device(device.device.as_deref().unwrap_or("flex"))?;
    if shape.is_some() && !has_kernels(&opened) {
        return Err(CliError::Usage(
            "a configuration's products are measured on flex with its kernels\n  hint: leave out --device and SLENDER_FUSED".into(),
        ));
    }
    let peak = matmul_peak(&opened);
    let mut rows = Vec::new();
    let mut text = format!("{:.1} GFLOP/s\n", peak / 1e9);
    if let Some((shape, tokens)) = shape {
        let (d, f) = (shape.dim, shape.ffn_hidden);
        let (q, kv) = (
            shape.n_heads * shape.head_dim,
            shape.n_kv_heads * shape.head_dim,
        );
        text += &format!("{:10} {:>7} {:>7}", "weight", "out", "in");
        for product in Product::ALL {
            text += &format!(" {:>16}", product.name());
        }
        text += &format!("   GFLOP/s over {tokens} tokens\n");
        for (name, outer, inner) in [
            ("q", q, d),
            ("k, v", kv, d),
            ("o", d, q),
            ("gate, up", f, d),
            ("down", d, f),
            ("logits", shape.vocab_size, d),
        ] {
            text += &format!("{name:10} {outer:>7} {inner:>7}");
            for product in Product::ALL {
                let speed = product_speed(product, tokens, [outer, inner], PRODUCT_SECONDS);
                text += &format!(" {:>16.1}", speed / 1e9);
                rows.push(serde_json::json!({
                    "weight": name,
                    "product": product.name(),
                    "tokens": tokens,
                    "out": outer,
                    "in": inner,
                    "flops_per_s": speed,
                }));
            }
            text += "\n";
        }
    }
    if json {
        let mut value = serde_json::json!({ "matmul_peak_flops_per_s": peak });
        if !rows.is_empty() {
            value["products"] = rows.into();
        }
        output::json(&value);
    } else {
        output::data(&text);
    }
    Ok(())
}

/// The model's shape, which needs the size of the vocabulary.
fn shape_of(config: &Config) -> Result<ModelShape, CliError> {
    config.shape().ok_or_else(|| {
        CliError::Usage(
            "the vocabulary size is unknown\n  hint: give data.tokenizer.vocab_size".into(),
        )
    })
}

fn speed(args: &BenchArgs, train: bool) -> Result<(), CliError> {
    let config = Config::load(&args.config.config, &args.config.sets)?;
    let shape = shape_of(&config)?;
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
        "{} {}: {} parameters, {} x {} tokens, {} threads\ntokens per second {:.0} ({:.0} to {:.0})\nmodel {:.1} GFLOP/s, {:.0} % of the matmul peak of {:.1} GFLOP/s\ndata ({}) {}\nforward {}\n",
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
        speed.data,
        ms(&speed.data_s),
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
    text += &format!(
        "first step done {:.1} s after the start\npeak memory {}\n",
        speed.first_step_s,
        human_bytes(speed.peak_memory_bytes)
    );
    output::data(&text);
    Ok(())
}

/// Decoding with the weights of a model, or with untrained ones.
fn decode(args: &DecodeArgs) -> Result<(), CliError> {
    let weights = args.infer.weights;
    let is_config = args.target.extension().is_some_and(|e| e == "toml") && args.target.is_file();
    if !is_config && !args.sets.is_empty() {
        return Err(CliError::Usage(
            "--set overrides keys of a configuration, and the target is a model\n  hint: give a .toml file".into(),
        ));
    }
    let config = is_config
        .then(|| Config::load(&args.target, &args.sets))
        .transpose()?;
    let threads = config.as_ref().map_or(0, |config| config.run.threads);
    commands::set_threads(args.infer.device.threads.unwrap_or(threads));
    let device = commands::open_device(args.infer.device.device.as_deref().unwrap_or("flex"))?;
    let model = match &config {
        Some(config) => Transformer::new(&shape_of(config)?, config.run.seed, &device),
        None => LoadedModel::load(&args.target, &device)?.model,
    };
    let engine = Engine::new(model, &device, weights);
    let plan = DecodePlan {
        batch: args.batch,
        prompt_len: args.prompt_len,
        tokens: args.tokens,
        repetitions: args.repetitions,
    };
    let speed = decode_speed(&engine, &plan)?;
    if args.json {
        output::json(&serde_json::to_value(&speed).unwrap_or_default());
        return Ok(());
    }
    let [median, slowest, fastest] = speed.decode_tokens_per_s;
    let mut text = format!(
        "decode {}: {} executed layers, {} weights, {} threads\n{} sequences, {} tokens after a prompt of {}\nprompt {:.0} tokens per second\ndecode {median:.1} tokens per second ({slowest:.1} to {fastest:.1}), {:.3} ms a step\n",
        args.target.display(),
        engine.shape().n_executed_layers(),
        speed.weights,
        speed.threads,
        speed.batch,
        speed.tokens,
        speed.prompt_len,
        speed.prompt_tokens_per_s,
        1e3 * speed.step_s,
    );
    if let (Some(read), Some(distinct)) = (speed.weight_bytes_read, speed.weight_bytes) {
        text += &format!(
            "weights read a step {}, distinct {}\nread at {:.1} GB/s, {:.0} % of this machine's {:.1} GB/s\n",
            human_bytes(read as u64),
            human_bytes(distinct as u64),
            speed.bytes_per_s / 1e9,
            100.0 * speed.bytes_per_s / speed.memory_bytes_per_s,
            speed.memory_bytes_per_s / 1e9,
        );
    }
    output::data(&text);
    Ok(())
}
