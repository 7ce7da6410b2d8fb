//! `slender inspect`.

use crate::cli::InspectArgs;
use crate::error::CliError;
use crate::output;
use serde_json::{Value, json};
use slender_config::{Accounting, Config, ModelShape, human_bytes, human_count};
use slender_trainer::exit;
use std::path::Path;

/// Counts; returns the exit code.
pub fn run(args: &InspectArgs) -> Result<i32, CliError> {
    let mut rows = Vec::new();
    for path in &args.configs {
        rows.push(row(path, &args.sets)?);
    }
    if args.json {
        let mut objects: Vec<Value> = rows.iter().map(Row::json).collect();
        output::json(&if objects.len() == 1 {
            objects.remove(0)
        } else {
            Value::Array(objects)
        });
    } else {
        output::data(&table(&rows));
    }
    Ok(exit::FINISHED)
}

struct Row {
    config: Config,
    shape: ModelShape,
    accounting: Accounting,
}

fn row(path: &Path, sets: &[String]) -> Result<Row, CliError> {
    let config = Config::load(path, sets)?;
    let shape = match config.shape() {
        Some(shape) => shape,
        None => {
            // A local tokenizer says its size; another one has to be named in the config.
            let hub = slender_data::hub::Hub::new(slender_data::hub::HubConfig::from_env());
            let tokenizer = slender_data::load_tokenizer(&config.data.tokenizer, &hub)?;
            let size = tokenizer.map(|tokenizer| tokenizer.vocab_size());
            size.and_then(|size| config.shape_for(size).ok()).ok_or_else(|| {
                CliError::Usage(format!("{}: the vocabulary size is unknown\n  hint: give data.tokenizer.vocab_size", path.display()))
            })?
        }
    };
    let accounting = config.accounting_of(&shape);
    Ok(Row {
        config,
        shape,
        accounting,
    })
}

impl Row {
    fn json(&self) -> Value {
        let mut value = serde_json::to_value(self.accounting).unwrap_or_default();
        value["name"] = json!(self.config.name());
        value["shape"] = serde_json::to_value(&self.shape).unwrap_or_default();
        value["train_tokens"] = json!(self.train_tokens());
        value["train_flops_total"] = json!(self.train_flops());
        value
    }

    fn train_tokens(&self) -> u64 {
        self.config.train.total_steps() * self.config.train.tokens_per_step()
    }

    fn train_flops(&self) -> f64 {
        self.accounting.train_flops_per_token as f64 * self.train_tokens() as f64
    }

    fn cells(&self) -> Vec<String> {
        let (s, a) = (&self.shape, &self.accounting);
        let count = |n: u64| human_count(n as f64);
        vec![
            self.config.name().to_owned(),
            format!("{}x{}", s.n_layers, s.dim),
            format!("{}/{}", s.n_heads, s.n_kv_heads),
            s.ffn_hidden.to_string(),
            s.vocab_size.to_string(),
            if s.tie_embeddings { "tied" } else { "untied" }.to_owned(),
            s.n_executed_layers().to_string(),
            count(a.params_total),
            count(a.params_embedding),
            count(a.params_non_embedding),
            count(a.forward_flops_per_token),
            count(a.train_flops_per_token),
            human_bytes(a.kv_cache_bytes_per_token),
            human_bytes(a.train_memory_bytes),
            count(self.train_tokens()),
            format!("{:.2e}", self.train_flops()),
        ]
    }
}

const HEADS: [&str; 16] = [
    "name",
    "shape",
    "heads/kv",
    "ffn",
    "vocab",
    "embeddings",
    "executed",
    "params",
    "embedding",
    "non-emb",
    "FLOP/token forward",
    "FLOP/token train",
    "KV cache/token",
    "train memory",
    "tokens",
    "train FLOPs",
];

fn table(rows: &[Row]) -> String {
    let mut lines = vec![HEADS.map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(Row::cells));
    output::table(&lines, &[0])
}
