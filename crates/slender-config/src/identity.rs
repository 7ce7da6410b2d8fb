//! A run's identity: one hash for everything that decides its result.
//!
//! Two runs with one identity end in the same weights on a CPU, whatever they are called and wherever
//! they ran, so a finished one need not be trained again. What changes no result is left out: names,
//! folders, logging and checkpoint cadence, threads, `train.recompute`, and the tasks that are asked
//! after training. The backend counts, because backends round differently; the index of its device does
//! not. The data counts by its content where that is known (`data-<16 hex digits>`, the folder of the
//! prepared data), and otherwise by what the configuration says of it. Values that equal their default
//! are left out, so that a key which a later version adds does not change the identity of older runs.

use crate::{Config, DeviceSpec, OPERATIONAL, schema};
use serde_json::{Map, Value, json};

/// Version of the identity. It goes up when a change of the program changes what a configuration
/// trains to.
pub const IDENTITY_FORMAT: &str = "slender-identity/1";

/// Keys of `[data]` that the content of prepared data stands for.
const PREPARED: &[&str] = &[
    "sources",
    "tokenizer",
    "valid_fraction",
    "max_bytes",
    "max_tokens",
];

impl Config {
    /// BLAKE3 in hex of all that decides the result; `data` names the content of the prepared data.
    ///
    /// Call it on a loaded configuration, whose derived defaults are filled in.
    pub fn identity(&self, data: Option<&str>) -> String {
        let mut tree = serde_json::to_value(self).unwrap_or_default();
        if data.is_some()
            && let Some(table) = tree.get_mut("data").and_then(Value::as_object_mut)
        {
            PREPARED.iter().for_each(|key| {
                table.remove(*key);
            });
        }
        for key in OPERATIONAL {
            let (section, name) = key.split_once('.').unwrap_or((key, ""));
            if let Some(table) = tree.get_mut(section).and_then(Value::as_object_mut) {
                table.remove(name);
            }
        }
        let backend = self.run.device.parse::<DeviceSpec>();
        let what = json!({
            "format": IDENTITY_FORMAT,
            "backend": backend.map_or(self.run.device.clone(), |spec| spec.backend.to_string()),
            "config": canonical(schema::without_defaults(tree)),
            "data": data,
        });
        blake3::hash(what.to_string().as_bytes())
            .to_hex()
            .to_string()
    }
}

/// The same value with keys in alphabetical order: the order of fields in the source is no meaning.
fn canonical(value: Value) -> Value {
    match value {
        Value::Object(table) => {
            let mut entries: Vec<(String, Value)> = table.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            let sorted = entries
                .into_iter()
                .map(|(key, value)| (key, canonical(value)));
            Value::Object(sorted.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(canonical).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(model: &str, run: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        let text = format!(
            "[model]\nn_layers = 2\ndim = 64\nn_heads = 4\nn_kv_heads = 2\ntie_embeddings = true\n\
             layer_sharing = {{ kind = \"none\" }}\n{model}\n\
             [data]\nsources = [{{ kind = \"builtin\", name = \"books-mini\" }}]\n\
             tokenizer = {{ kind = \"bpe\", vocab_size = 512 }}\n\
             [train]\nbatch_size = 4\nsteps = 10\nlr = 1e-3\n[run]\n{run}\n"
        );
        std::fs::write(&path, text).unwrap();
        Config::load(&path, &[]).unwrap()
    }

    #[test]
    fn what_changes_no_result_changes_no_identity() {
        let plain = config("", "").identity(None);
        for same in [
            config(
                "",
                "name = \"b\"\nthreads = 3\ndevice = \"flex\"\nlog_every = 7",
            ),
            config("head_dim = 16\nrope_theta = 10000.0", ""),
        ] {
            assert_eq!(same.identity(None), plain);
        }
        for other in [
            config("", "seed = 1"),
            config("", "device = \"ndarray\""),
            config("head_dim = 32", ""),
        ] {
            assert_ne!(other.identity(None), plain);
        }
        assert_eq!(
            config("", "device = \"cuda:0\"").identity(None),
            config("", "device = \"cuda:1\"").identity(None)
        );
    }

    #[test]
    fn known_content_stands_for_where_it_lies() {
        let here = config("", "");
        let mut there = here.clone();
        there.data.valid_fraction = 0.5;
        assert_ne!(here.identity(None), there.identity(None));
        assert_eq!(
            here.identity(Some("data-1")),
            there.identity(Some("data-1"))
        );
        assert_ne!(
            here.identity(Some("data-1")),
            there.identity(Some("data-2"))
        );
        there.data.document_mask = true;
        assert_ne!(
            here.identity(Some("data-1")),
            there.identity(Some("data-1"))
        );
    }
}
