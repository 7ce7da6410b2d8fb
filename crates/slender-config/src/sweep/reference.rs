//! What a sweep file may hold, as types: the JSON Schema and the reference page come from them.
//!
//! The file itself is read by hand ([`super::file`], [`super::space`]), because one key may take a
//! number, a list or a range; a test holds the two to the same keys.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A sweep file.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SweepToml {
    /// What the sweep is called, what it builds on, and its seeds. A file with this table is a sweep file.
    pub sweep: SweepTable,
    /// Values that every run has: any keys of a configuration, such as `train.steps = 200`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<BTreeMap<String, Value>>,
    /// What varies: any key of a configuration with the list of its values, such as `train.lr = [1e-3, 3e-3]`. Axes are crossed; those that `zip` names go together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub axes: Option<BTreeMap<String, Value>>,
    /// Variants one by one. Axes and seeds apply to each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variants: Option<Vec<VariantTable>>,
    /// What else holds where axes have certain values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Vec<OverrideTable>>,
    /// The shapes of a budget, a variant each. `slender search shapes` lists them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub space: Option<SpaceTable>,
}

/// `[sweep]`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SweepTable {
    /// Name of the sweep and of its directory. Default: the file's name without `.toml`.
    pub name: Option<String>,
    /// Configuration that every run builds on, or a list of them, relative to this file. Not needed where every variant has a base of its own.
    pub base: Option<OneOrMany<PathBuf>>,
    /// How many seeds each variant is trained with (counted from 0), or the list of them. Runs are then called `VARIANT-s0`, …. Default: the configuration's own seed.
    pub seeds: Option<OneOrMany<u64>>,
    /// Runs trained at the same time, unless `--jobs` says otherwise.
    pub jobs: Option<usize>,
    /// What is equal among variants: `tokens` (the default), `train_flops` (each trains for as many FLOPs as the first variant) or `shared_flops` (a variant with shared layers trains for as many FLOPs as it would without repeating them).
    pub equal: Option<String>,
}

/// `[[variants]]`: also any keys of a configuration, such as `model.n_layers = 8`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct VariantTable {
    /// Name of the variant. Default: the name of its base.
    pub name: Option<String>,
    /// Configuration that this variant builds on instead of the sweep's.
    pub base: Option<PathBuf>,
}

/// `[[overrides]]`: also any keys of a configuration, with the values they then have.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OverrideTable {
    /// The values an override is for: axes, or `variant`, such as `{ "model.n_layers" = 16 }`.
    pub when: BTreeMap<String, Value>,
    /// Leave these runs out.
    pub skip: Option<bool>,
}

/// `[space]`: at least one budget, and the freedom to meet it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SpaceTable {
    /// Budget: all parameters, such as `"125M"`.
    pub params_total: Option<Quantity>,
    /// Budget: parameters without embeddings.
    pub params_non_embedding: Option<Quantity>,
    /// Budget: FLOPs of the whole training, at the base's tokens.
    pub train_flops: Option<Quantity>,
    /// Budget: bytes that move to decode one token at 16 bits a number: weights (again for each repeat that does not follow at once), output projection, and the key-value cache of `context` tokens.
    pub decode_bytes: Option<Quantity>,
    /// How far a shape may be from a budget, as a share of it; `[below, above]` tells the sides apart. Default: 0.05.
    pub tolerance: Option<OneOrMany<f64>>,
    /// Distinct blocks: a number, a list, or a range such as `"4..62"` (both ends included) or `"4..62 by 2"`.
    pub depth: Range,
    /// Width of one head; as `depth`. The residual width is heads times this.
    pub head_dim: Range,
    /// Query heads; as `depth`. Default: any number.
    pub heads: Option<Range>,
    /// Query heads for each key-value head; as `depth`. Default: 1.
    pub kv_ratio: Option<Range>,
    /// Key-value heads, instead of `kv_ratio`; as `depth`.
    pub kv_heads: Option<Range>,
    /// Feed-forward width as a share of the residual width. Default: the paper's rule (8/3, raised to a multiple of 256).
    pub ffn_ratio: Option<OneOrMany<f64>>,
    /// Multiple that the feed-forward width is rounded to. Default: 256 in the paper's rule, 64 with `ffn_ratio`.
    pub ffn_multiple_of: Option<usize>,
    /// Tied embeddings: true, false or both.
    pub tie_embeddings: OneOrMany<bool>,
    /// Orders of layer sharing: `none` (the default), `immediate`, `repeat-all-over`, `reverse`.
    pub sharing: Option<OneOrMany<String>>,
    /// Executions of each shared block; as `depth`. Default: 2.
    pub repeats: Option<Range>,
    /// Tokens in the key-value cache when `decode_bytes` is counted. Default: the training sequence.
    pub context: Option<usize>,
    /// Of each depth only the shape nearest to the budget.
    pub closest: Option<bool>,
    /// So many of these, evenly spread over the logarithm of depth, for each kind of tying and sharing.
    pub pick: Option<usize>,
}

/// One value, or a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// Several.
    Many(Vec<T>),
}

/// A number, or text such as `125M`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Quantity {
    /// A number.
    Number(f64),
    /// Text.
    Text(String),
}

/// Whole numbers: one, a list, or a range as text.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Range {
    /// One.
    One(usize),
    /// Several.
    Many(Vec<usize>),
    /// From and to.
    Text(String),
}

/// JSON Schema (draft 7) of a sweep file: `slender config schema --sweep`.
///
/// Keys of the configuration are checked by the program and are free here.
pub fn sweep_schema() -> Value {
    let settings =
        schemars::generate::SchemaSettings::draft07().with(|s| s.inline_subschemas = true);
    let mut value = settings
        .into_generator()
        .into_root_schema_for::<SweepToml>()
        .to_value();
    for closed in ["sweep", "space"] {
        let tables = [
            format!("/properties/{closed}"),
            format!("/properties/{closed}/anyOf/0"),
        ];
        for table in tables {
            if let Some(table) = value.pointer_mut(&table).and_then(Value::as_object_mut)
                && table.contains_key("properties")
            {
                table.insert("additionalProperties".into(), false.into());
            }
        }
    }
    value
}

/// The reference of sweep files as Markdown: `docs/sweep-file.md`.
pub fn reference_markdown() -> String {
    let mut out = String::from(
        "# Sweep file reference\n\nGenerated by `slender config reference --sweep`; do not edit. \
         [sweeps.md](sweeps.md) explains sweep files with examples. Keys of a configuration, below \
         `[set]`, `[axes]`, `[[variants]]` and `[[overrides]]`, are those of [config.md](config.md), \
         written as `train.lr` or as `\"train.lr\"`. `[slurm]` is described in [sweeps.md](sweeps.md#slurm), \
         `[search]` in [search.md](search.md).\n",
    );
    crate::schema::sections_markdown(&mut out, &sweep_schema());
    out
}

#[cfg(test)]
mod tests {
    use super::super::SweepFile;
    use super::*;

    /// A file with every key of the schema, each with a value of the right kind.
    #[test]
    fn every_key_of_the_reference_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("base.toml"), "").unwrap();
        let schema = sweep_schema();
        let mut text = String::new();
        let keys = |section: &str| crate::schema::table_keys(&schema["properties"][section]);
        assert!(keys("sweep").len() > 3 && keys("space").len() > 10);
        text += "[sweep]\n";
        for key in keys("sweep") {
            let value = match key.as_str() {
                "name" => "\"a\"",
                "base" => "\"base.toml\"",
                "equal" => "\"tokens\"",
                _ => "2",
            };
            text += &format!("{key} = {value}\n");
        }
        text += "[space]\n";
        for key in keys("space") {
            let value = match key.as_str() {
                "tie_embeddings" | "closest" => "true",
                "sharing" => "\"immediate\"",
                "tolerance" => "0.1",
                // One of two.
                "kv_heads" => continue,
                _ => "2",
            };
            text += &format!("{key} = {value}\n");
        }
        let path = folder.path().join("sweep.toml");
        std::fs::write(&path, &text).unwrap();
        if let Err(error) = SweepFile::read(&path) {
            panic!("{error}\n{text}");
        }
        std::fs::write(&path, text.replace("kv_ratio", "kv_heads")).unwrap();
        assert!(SweepFile::read(&path).is_ok());
        // And nothing else is.
        std::fs::write(&path, format!("{text}other = 1\n")).unwrap();
        let error = SweepFile::read(&path).unwrap_err().to_string();
        assert!(error.contains("`space.other`: unknown key"), "{error}");
    }
}
