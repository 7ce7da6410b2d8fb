//! `slender data`.

use crate::cli::{BatchArgs, DataCommand};
use crate::error::CliError;
use crate::output;
use serde_json::json;
use slender_config::{Config, human_bytes, human_count};
use slender_data::{Dataset, PrepareOptions, TOKENIZER_FILE, Tokenizer, describe_builtin, prepare};
use slender_trainer::exit;

/// Prepares or lists; returns the exit code.
pub fn run(command: &DataCommand) -> Result<i32, CliError> {
    match command {
        DataCommand::List => {
            for text in describe_builtin() {
                output::data(&format!(
                    "{}  {}  {} documents  {}  {}\n",
                    text.name,
                    human_bytes(text.bytes),
                    text.documents,
                    text.licence,
                    text.origin
                ));
            }
        }
        DataCommand::Batch(args) => batch(args)?,
        DataCommand::Prepare(args) => {
            let config = Config::load(&args.config, &args.sets)?;
            let prepared = prepare(&config.data, &PrepareOptions::from_env())?;
            for source in &prepared.manifest.sources {
                output::talk(&format!(
                    "{}: {} training tokens, {} validation tokens",
                    source.name,
                    human_count(source.train.tokens as f64),
                    human_count(source.valid.tokens as f64),
                ));
            }
            output::talk(if prepared.fresh {
                "prepared"
            } else {
                "already prepared"
            });
            output::data(&format!("{}\n", prepared.dir.display()));
        }
    }
    Ok(exit::FINISHED)
}

/// Prints training batches as the trainer gets them.
fn batch(args: &BatchArgs) -> Result<(), CliError> {
    let config = Config::load(&args.config.config, &args.config.sets)?;
    let prepared = prepare(&config.data, &PrepareOptions::from_env())?;
    let dataset = Dataset::open(&prepared.dir)?;
    let tokenizer = Tokenizer::from_file(&prepared.dir.join(TOKENIZER_FILE))?;
    let (rows, t) = (config.train.batch_size, config.train.seq_len());
    let order = dataset.train(t, config.data.order_seed.unwrap_or(config.run.seed))?;
    for step in args.step..args.step.saturating_add(args.count) {
        let batch = order.batch(step, rows);
        if args.json {
            let table = |values: &[i32]| values.chunks(t).map(<[i32]>::to_vec).collect::<Vec<_>>();
            let line = json!({
                "step": step,
                "inputs": table(&batch.inputs),
                "targets": table(&batch.targets),
                "segments": table(&batch.segments),
            });
            output::data(&format!("{line}\n"));
        } else {
            for (row, ids) in batch.inputs.chunks(t).enumerate() {
                let ids: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
                output::data(&format!(
                    "--- batch {step} row {row}\n{}\n",
                    tokenizer.decode(&ids)
                ));
            }
        }
    }
    Ok(())
}
