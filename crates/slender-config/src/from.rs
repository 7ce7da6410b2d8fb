//! `[model] from`: the shape of a checkpoint instead of keys.
//!
//! What the folder's `config.json` says fills in the keys that are not written, and contradicts those that
//! are written otherwise. The tokenizer is the folder's unless `[data.tokenizer]` names another. This is
//! done on the merged tree, before it is read, so everything else (checks, `config show`, accounting) sees a
//! complete configuration; features that slender does not compute are refused where the weights are loaded.
//!
//! A resolved configuration has every key. It is taken without the folder: a run that is resumed has
//! weights of its own.

use crate::error::{ConfigError, Origin, Problem};
use crate::load::Merged;
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Keys that a configuration must have without a checkpoint.
const REQUIRED: [&str; 6] = [
    "n_layers",
    "dim",
    "n_heads",
    "n_kv_heads",
    "tie_embeddings",
    "layer_sharing",
];
/// Keys that the weights do not depend on: written ones count.
const FREE: [&str; 3] = ["max_seq_len", "init_std", "pad_vocab_multiple"];

/// Completes `[model]` and `[data.tokenizer]` from the folder that `model.from` names, if there is one.
pub(crate) fn fill(merged: &mut Merged) -> Result<(), ConfigError> {
    let model = merged.table.get("model").and_then(Value::as_table);
    let Some(from) = model.and_then(|model| model.get("from")?.as_str()) else {
        return Ok(());
    };
    let path = PathBuf::from(from);
    let problem = |message: String, hint: &str| Problem {
        origin: merged.origin("model.from"),
        key: "model.from".into(),
        message,
        hint: Some(hint.into()),
    };
    let Some(folder) = folder_of(&path) else {
        if REQUIRED
            .iter()
            .all(|key| model.is_some_and(|model| model.contains_key(*key)))
        {
            return Ok(());
        }
        let message = format!("{} is no folder with a config.json", path.display());
        if is_other_format(&path) {
            let hint = format!(
                "make a model folder of it with `slender import {} --out DIR`, and set model.from to DIR",
                path.display()
            );
            return Err(ConfigError::Invalid(vec![problem(message, &hint)]));
        }
        return Err(ConfigError::Invalid(vec![problem(
            message,
            "give a folder of `slender import`, of transformers, or a run directory; a run that began from a \
             folder that is gone is resumed by `slender train RUN/config.toml --run-dir RUN`",
        )]));
    };
    let file = folder.join("config.json");
    let text = std::fs::read_to_string(&file).map_err(|source| ConfigError::Read {
        file: file.clone(),
        source,
    })?;
    // A byte order mark, as some editors leave.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let json: Json = serde_json::from_str(text).map_err(|e| {
        let message = format!("{}: {e}", file.display());
        ConfigError::Invalid(vec![problem(message, "the folder is damaged")])
    })?;
    let shape = shape(&json);
    let mut problems = Vec::new();
    let origin = Origin::File {
        file: file.clone(),
        line: 1,
    };
    let mut filled = Vec::new();
    for (key, value) in shape {
        match model.and_then(|model| model.get(key)) {
            None => filled.push((key, value)),
            Some(written) if FREE.contains(&key) || same(written, &value) => {}
            Some(written) => problems.push(Problem {
                origin: merged.origin(&format!("model.{key}")),
                key: format!("model.{key}"),
                message: format!(
                    "is {written}, the checkpoint in {} has {value}",
                    folder.display()
                ),
                hint: Some("drop the key: model.from says it".into()),
            }),
        }
    }
    if !problems.is_empty() {
        return Err(ConfigError::Invalid(problems));
    }
    if let Some(Value::Table(model)) = merged.table.get_mut("model") {
        for (key, value) in filled {
            merged
                .origins
                .insert(format!("model.{key}"), origin.clone());
            model.insert(key.to_owned(), value);
        }
    }
    let tokenizer = ["tokenizer.json", "tokenizer.model"]
        .into_iter()
        .flat_map(|name| [folder.join(name), path.join(name)])
        .find(|path| path.is_file());
    if let (Some(tokenizer), Some(Value::Table(data))) = (tokenizer, merged.table.get_mut("data"))
        && data
            .get("tokenizer")
            .is_none_or(|t| t.get("kind").is_none())
    {
        let entry = data
            .entry("tokenizer")
            .or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(table) = entry {
            table.insert("kind".into(), Value::String("file".into()));
            let path = std::path::absolute(&tokenizer).unwrap_or(tokenizer);
            table.insert("path".into(), Value::String(path.display().to_string()));
            merged
                .origins
                .insert("data.tokenizer.kind".into(), origin.clone());
            merged.origins.insert("data.tokenizer.path".into(), origin);
        }
    }
    Ok(())
}

/// The folder with the `config.json`: itself, or a run's newest checkpoint.
fn folder_of(path: &Path) -> Option<PathBuf> {
    if path.join("config.json").is_file() {
        return Some(path.to_owned());
    }
    let step = |name: &str| name.strip_prefix("step-")?.parse::<u64>().ok();
    let checkpoints = path.join("checkpoints");
    let names = std::fs::read_dir(&checkpoints).ok()?;
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let newest = names
        .filter(|name| step(name).is_some())
        .max_by_key(|name| step(name))?;
    let folder = checkpoints.join(newest);
    folder.join("config.json").is_file().then_some(folder)
}

/// Whether `slender import` may know better what this is: a file of weights, or a folder with a GGUF file.
fn is_other_format(path: &Path) -> bool {
    let is = |path: &Path, endings: &[&str]| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        ending.is_some_and(|ending| endings.contains(&ending)) && path.is_file()
    };
    let mut inside = std::fs::read_dir(path).into_iter().flatten().flatten();
    is(path, &["gguf", "bin"]) || inside.any(|entry| is(&entry.path(), &["gguf"]))
}

/// `config.json` in the words of `[model]`. What is missing there stays missing.
fn shape(json: &Json) -> Vec<(&'static str, Value)> {
    let number = |key: &str| json.get(key).and_then(Json::as_i64);
    let float = |key: &str| json.get(key).and_then(Json::as_f64);
    let flag = |key: &str| json.get(key).and_then(Json::as_bool);
    let record = json.get("slender").filter(|record| record.is_object());
    let text = |key: &str| record.and_then(|record| record.get(key)?.as_str());
    let heads = number("num_attention_heads");
    let theta_in = |object: &str| json.get(object)?.get("rope_theta")?.as_f64();
    let theta = float("rope_theta")
        .or_else(|| theta_in("rope_parameters"))
        .or_else(|| theta_in("rope_scaling"));
    let shared = flag("layer_sharing") == Some(true);
    let (kind, repeats) = match (text("kind"), shared) {
        (Some(kind), _) => (
            kind,
            record.and_then(|record| record.get("repeats")?.as_i64()),
        ),
        (None, true) => ("immediate", Some(2)),
        (None, false) => ("none", Some(1)),
    };
    let mut sharing = Table::new();
    sharing.insert("kind".into(), Value::String(kind.to_owned()));
    sharing.insert("repeats".into(), Value::Integer(repeats.unwrap_or(1)));
    // MobileLLM's own configs tie through `share_embedding`.
    let tied = flag("share_embedding")
        .or(flag("tie_word_embeddings"))
        .unwrap_or(false);
    let qk_norm = record.is_some_and(|record| record.get("qk_norm") == Some(&Json::Bool(true)));
    let integer = |value: Option<i64>| value.map(Value::Integer);
    [
        ("n_layers", integer(number("num_hidden_layers"))),
        ("dim", integer(number("hidden_size"))),
        ("n_heads", integer(heads)),
        (
            "n_kv_heads",
            integer(number("num_key_value_heads").or(heads)),
        ),
        ("head_dim", integer(number("head_dim"))),
        (
            "ffn",
            Some(Value::String(text("ffn").unwrap_or("swiglu").to_owned())),
        ),
        ("ffn_hidden", integer(number("intermediate_size"))),
        ("max_seq_len", integer(number("max_position_embeddings"))),
        ("rope_theta", Some(Value::Float(theta.unwrap_or(10_000.0)))),
        (
            "norm_eps",
            Some(Value::Float(float("rms_norm_eps").unwrap_or(1e-6))),
        ),
        (
            "init_std",
            Some(Value::Float(float("initializer_range").unwrap_or(0.02))),
        ),
        ("qk_norm", Some(Value::Boolean(qk_norm))),
        ("tie_embeddings", Some(Value::Boolean(tied))),
        ("layer_sharing", Some(Value::Table(sharing))),
        // One multiple: whatever the tokenizer's size, the embedding has the checkpoint's rows.
        ("pad_vocab_multiple", integer(number("vocab_size"))),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key, value?)))
    .collect()
}

/// Whether a written value means the checkpoint's.
fn same(written: &Value, checkpoint: &Value) -> bool {
    let number = |value: &Value| value.as_float().or(value.as_integer().map(|n| n as f64));
    match (written, checkpoint) {
        (Value::Table(written), Value::Table(checkpoint)) => written
            .iter()
            .all(|(key, value)| checkpoint.get(key).is_some_and(|other| same(value, other))),
        _ => match (number(written), number(checkpoint)) {
            (Some(a), Some(b)) => a == b,
            _ => written == checkpoint,
        },
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;
    use std::path::Path;

    const LLAMA: &str = r#"{"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 96, "max_position_embeddings": 64, "rope_theta": 100000.0,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "vocab_size": 320, "head_dim": null}"#;

    fn load(dir: &Path, model: &str, tokenizer: &str) -> Result<Config, String> {
        let text = format!(
            "[model]\nfrom = \"m\"\n{model}\n[data]\nsources = [{{ kind = \"files\", paths = [\"a.txt\"] }}]\n{tokenizer}\n\
             [train]\nbatch_size = 2\nsteps = 3\nlr = 1e-3\n"
        );
        let file = dir.join("c.toml");
        std::fs::write(&file, text).unwrap();
        Config::load(&file, &[]).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_come_from_the_folder_and_must_not_contradict_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("m");
        std::fs::write(&folder, "").unwrap();
        assert!(!load(dir.path(), "", "").unwrap_err().contains("--out DIR"));
        std::fs::remove_file(&folder).unwrap();
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("a.gguf"), "").unwrap();
        let error = load(dir.path(), "", "").unwrap_err();
        assert!(
            error.contains("slender import") && error.contains("--out DIR"),
            "{error}"
        );
        std::fs::remove_dir_all(&folder).unwrap();
        let missing = load(dir.path(), "", "").unwrap_err();
        assert!(
            missing.contains("model.from") && missing.contains("c.toml:2"),
            "{missing}"
        );
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("config.json"), format!("\u{feff}{LLAMA}")).unwrap();
        std::fs::write(folder.join("tokenizer.json"), "{}").unwrap();
        let config = load(
            dir.path(),
            "max_seq_len = 128\nlayer_sharing = { kind = \"none\" }",
            "",
        )
        .unwrap();
        let model = &config.model;
        assert_eq!(
            (model.n_layers, model.dim, model.n_heads, model.n_kv_heads),
            (3, 32, 4, 2)
        );
        assert_eq!(
            (model.ffn_hidden, model.max_seq_len, model.rope_theta),
            (Some(96), 128, 1e5)
        );
        assert!(model.tie_embeddings && !model.qk_norm);
        assert_eq!(config.shape_for(300).unwrap().vocab_size, 320);
        let path = config.data.tokenizer.path.clone().unwrap();
        assert!(path.is_absolute() && path.ends_with("m/tokenizer.json"));
        let error = load(dir.path(), "dim = 64", "").unwrap_err();
        assert!(
            error.contains("model.dim") && error.contains("64") && error.contains("32"),
            "{error}"
        );
        let own = load(
            dir.path(),
            "",
            "tokenizer = { kind = \"bpe\", vocab_size = 300 }",
        )
        .unwrap();
        assert_eq!(own.data.tokenizer.path, None);
        // What was resolved stands alone.
        let stored = dir.path().join("stored.toml");
        std::fs::write(&stored, config.to_toml()).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let again = Config::load(&stored, &[]).unwrap();
        assert_eq!(again.differing_keys(&config), Vec::<String>::new());
        let error = load(dir.path(), "dim = 32", "").unwrap_err();
        assert!(error.contains("resumed"), "{error}");
    }
}
