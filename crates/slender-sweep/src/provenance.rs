//! Where a run's numbers come from: code, data, and how it was evaluated.
//!
//! Two sweeps may be ranked in one table only where data and evaluation are the same; the leaderboard
//! asks [`Provenance::data_manifest`], [`Provenance::validation`] and [`Provenance::evaluation`].

use crate::files::read_optional;
use crate::metrics::ValidPoint;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Where a run's numbers come from. What is not known is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of slender.
    pub version: Option<String>,
    /// Commit that the program was built from.
    pub commit: Option<String>,
    /// Whether its source tree had uncommitted changes.
    pub dirty: Option<bool>,
    /// Hash of the manifest of the prepared data.
    pub data_manifest: Option<String>,
    /// Hash of the tokenizer.
    pub tokenizer_hash: Option<String>,
    /// What the validation loss was measured on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
    /// How the tasks were evaluated.
    pub evaluation: Option<EvalSettings>,
}

/// What a validation loss was measured on, beside the data: equal where losses compare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validation {
    /// Tokens of a window.
    pub seq_len: usize,
    /// Tokens that were predicted.
    pub tokens: Option<u64>,
    /// Bytes of text that they stand for.
    pub bytes: Option<u64>,
    /// `eval.loss_tokens`, where the number of tokens was not written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_tokens: Option<u64>,
}

impl Validation {
    /// Of a run whose last validation was `last`; `None` if nothing was measured.
    pub(crate) fn of(
        last: Option<&ValidPoint>,
        seq_len: usize,
        settings: &BTreeMap<String, String>,
    ) -> Option<Self> {
        let last = last?;
        let tokens = last.measured_tokens;
        // Nats of all tokens over nats of a bit of every byte.
        let bytes = tokens.zip(last.bits_per_byte).map(|(tokens, bits)| {
            (last.loss * tokens as f64 / (bits * std::f64::consts::LN_2)).round() as u64
        });
        let setting = settings.get("eval.loss_tokens");
        Some(Self {
            seq_len,
            tokens,
            bytes: bytes.filter(|bytes| *bytes > 0),
            loss_tokens: setting
                .filter(|_| tokens.is_none())
                .and_then(|n| n.parse().ok()),
        })
    }
}

/// What must be equal for two scores to be comparable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvalSettings {
    /// The protocol and its version, such as `lm-eval 0.4.13`.
    pub protocol: String,
    /// Examples shown before each question.
    pub num_fewshot: Option<u64>,
    /// Seed of their choice.
    pub fewshot_seed: Option<u64>,
    /// By task: hash of its data, its split, its version and the number of questions scored.
    pub tasks: BTreeMap<String, TaskData>,
}

/// The data of one task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskData {
    /// BLAKE3 of the file.
    pub data: Option<String>,
    /// Split, such as `test`.
    pub split: Option<String>,
    /// Version of the task.
    pub version: Option<String>,
    /// Questions scored.
    pub examples: Option<u64>,
}

impl Provenance {
    /// Reads `run.json` and `eval/final.json` of a run directory as far as they are there.
    pub(crate) fn read(run_dir: &Path) -> Self {
        let json = |name: &str| -> Value {
            let text = read_optional(&run_dir.join(name)).ok().flatten();
            text.and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default()
        };
        let run = json("run.json");
        let eval = json("eval/final.json");
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            version: text(&run["source"]["version"]),
            commit: text(&run["source"]["commit"]),
            dirty: run["source"]["dirty"].as_bool(),
            data_manifest: text(&run["data_manifest"]),
            tokenizer_hash: text(&run["tokenizer_hash"]),
            validation: None,
            evaluation: EvalSettings::of(&eval),
        }
    }
}

impl EvalSettings {
    fn of(eval: &Value) -> Option<Self> {
        let results = eval["results"].as_object()?;
        let settings = &eval["settings"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let of_task = |task: &String| TaskData {
            data: text(&eval["data"][task]["blake3"]),
            split: text(&eval["splits"][task]),
            version: match &eval["versions"][task] {
                Value::Null => None,
                version => Some(version.to_string()),
            },
            examples: eval["n-samples"][task]["effective"].as_u64(),
        };
        let protocol = &eval["protocol"];
        let words =
            [&protocol["name"], &protocol["version"]].map(|word| word.as_str().unwrap_or("?"));
        Some(Self {
            protocol: words.join(" "),
            num_fewshot: settings["num_fewshot"].as_u64(),
            fewshot_seed: settings["fewshot_seed"].as_u64(),
            tasks: results
                .keys()
                .map(|task| (task.clone(), of_task(task)))
                .collect(),
        })
    }
}

/// A resolved configuration as dotted keys and their values; empty if it cannot be read.
pub(crate) fn flat_config(paths: &[&Path]) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    let text = paths
        .iter()
        .find_map(|path| read_optional(path).ok().flatten());
    if let Some(table) = text.and_then(|text| text.parse::<toml::Table>().ok()) {
        flatten("", &table, &mut keys);
    }
    // The order of the text follows the run's seed unless it is set apart.
    if keys.get("data.order_seed") == keys.get("run.seed") {
        keys.remove("data.order_seed");
    }
    keys
}

fn flatten(prefix: &str, table: &toml::Table, keys: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let name = match prefix {
            "" => key.clone(),
            prefix => format!("{prefix}.{key}"),
        };
        match value {
            toml::Value::Table(inner) => flatten(&name, inner, keys),
            toml::Value::String(text) => {
                keys.insert(name, text.clone());
            }
            other => {
                keys.insert(name, other.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_becomes_dotted_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(
            &path,
            "[model]\ndim = 64\nlayer_sharing = { kind = \"none\" }\n",
        )
        .unwrap();
        let keys = flat_config(&[&folder.path().join("none.toml"), &path]);
        assert_eq!(keys["model.dim"], "64");
        assert_eq!(keys["model.layer_sharing.kind"], "none");
        assert!(flat_config(&[]).is_empty());
    }

    #[test]
    fn what_is_not_there_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Provenance::read(folder.path()), Provenance::default());
    }
}
