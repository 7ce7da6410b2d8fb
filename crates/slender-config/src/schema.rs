//! The configuration's own description: JSON Schema, key look-up, and the reference page.
//!
//! Everything is derived from the doc comments of the config types, so the editor schema, the
//! `did you mean` hints and `docs/config.md` cannot drift from what the program reads.

use crate::Config;
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::sync::LazyLock;

/// The types as schemars describes them, with their `required` keys.
static TYPES: LazyLock<Value> = LazyLock::new(|| {
    let settings =
        schemars::generate::SchemaSettings::draft07().with(|s| s.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<Config>();
    schema.to_value()
});

/// What a file may hold: a file that extends another need not repeat its required keys.
static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let mut value = TYPES.clone();
    forbid_unknown(&mut value);
    if let Some(properties) = value
        .pointer_mut("/properties")
        .and_then(Value::as_object_mut)
    {
        properties.insert(
            "extends".into(),
            serde_json::json!({
                "type": "string",
                "description": "Path of a config file this one builds on, relative to this file. Its [sections] merge key by key; other values are replaced."
            }),
        );
    }
    value
});

/// Editors should underline what the program refuses.
fn forbid_unknown(schema: &mut Value) {
    if let Some(object) = schema.as_object_mut() {
        if object.contains_key("properties") {
            object.insert("additionalProperties".into(), false.into());
        }
        object.remove("required");
        object.values_mut().for_each(forbid_unknown);
    } else if let Some(array) = schema.as_array_mut() {
        array.iter_mut().for_each(forbid_unknown);
    }
}

/// JSON Schema (draft 7) of a config file, for editors: `slender config schema`.
pub fn json_schema() -> &'static Value {
    &SCHEMA
}

fn node(path: &str) -> Option<&'static Value> {
    let mut at: &Value = &SCHEMA;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let name = part.split('[').next().unwrap_or(part);
        at = properties(at)?.get(name)?;
        if part.contains('[') {
            at = at.get("items")?;
        }
    }
    Some(at)
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    table_of(schema)?.get("properties")?.as_object()
}

/// The schema of the table among what `schema` allows.
fn table_of(schema: &Value) -> Option<&Value> {
    if schema.get("properties").is_some() {
        return Some(schema);
    }
    let branches = schema.get("anyOf").or_else(|| schema.get("allOf"))?;
    branches.as_array()?.iter().find_map(table_of)
}

/// Required keys that `table`, a whole configuration, lacks; of a missing table only its own key.
pub(crate) fn missing_keys(table: &toml::Table) -> Vec<String> {
    fn walk(schema: &Value, value: &toml::Value, path: &str, out: &mut Vec<String>) {
        match value {
            toml::Value::Table(table) => {
                let Some(schema) = table_of(schema) else {
                    return;
                };
                let join = |key: &str| match path {
                    "" => key.to_owned(),
                    _ => format!("{path}.{key}"),
                };
                let required = schema.get("required").and_then(Value::as_array);
                let required = required.into_iter().flatten().filter_map(Value::as_str);
                out.extend(required.filter(|key| !table.contains_key(*key)).map(join));
                for (key, inner) in table {
                    if let Some(below) = schema.pointer(&format!("/properties/{key}")) {
                        walk(below, inner, &join(key), out);
                    }
                }
            }
            toml::Value::Array(items) => {
                if let Some(below) = schema.get("items") {
                    for (index, item) in items.iter().enumerate() {
                        walk(below, item, &format!("{path}[{index}]"), out);
                    }
                }
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    walk(&TYPES, &toml::Value::Table(table.clone()), "", &mut out);
    out
}

/// `value`, a whole configuration, without the keys whose values equal their defaults, and without
/// null.
pub(crate) fn without_defaults(value: Value) -> Value {
    fn walk(schema: Option<&Value>, value: Value) -> Value {
        match value {
            Value::Object(table) => {
                let below = schema.and_then(properties);
                let kept = table.into_iter().filter_map(|(key, value)| {
                    let inner = below.and_then(|known| known.get(&key));
                    let default = inner.and_then(|schema| schema.get("default"));
                    let meant = !value.is_null() && Some(&value) != default;
                    meant.then(|| (key, walk(inner, value)))
                });
                let empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
                Value::Object(kept.filter(|(_, value)| !empty(value)).collect())
            }
            Value::Array(items) => {
                let inner = schema.and_then(|schema| schema.get("items"));
                Value::Array(items.into_iter().map(|item| walk(inner, item)).collect())
            }
            other => other,
        }
    }
    walk(Some(&TYPES), value)
}

/// Keys allowed in the table at dotted `path` (`""` for the top level).
pub fn keys_of(path: &str) -> Vec<&'static str> {
    let known = node(path).and_then(properties);
    known.map_or_else(Vec::new, |p| p.keys().map(String::as_str).collect())
}

/// Full path of a key called `name`, wherever it lives.
pub fn find_key(name: &str) -> Option<String> {
    fn search(schema: &Value, prefix: &str, name: &str) -> Option<String> {
        for (key, inner) in properties(schema)? {
            let path = if prefix.is_empty() {
                key.clone()
            } else {
                format!("{prefix}.{key}")
            };
            if key == name {
                return Some(path);
            }
            if let Some(found) = search(inner, &path, name) {
                return Some(found);
            }
        }
        None
    }
    search(&SCHEMA, "", name)
}

/// Doc comment of the key at dotted `path`.
pub fn describe(path: &str) -> Option<&'static str> {
    node(path)?.get("description")?.as_str()
}

/// The configuration reference as Markdown: `docs/config.md`.
pub fn reference_markdown() -> String {
    let mut out = String::from(
        "# Configuration reference\n\nGenerated by `slender config reference` from the types in \
         `slender-config`; do not edit.\n\nA config file has the sections below. `extends = \
         \"base.toml\"` builds on another file, relative to the one that names it; `[section]` \
         tables merge key by key, inline tables, lists and other values replace as a whole. \
         `--set section.key=value` overrides on the command line.\n",
    );
    for (name, section) in properties(&TYPES).into_iter().flatten() {
        section_markdown(&mut out, name, section);
    }
    out
}

/// The sections of a schema's top level: tables, lists of tables, and tables with free keys.
pub(crate) fn sections_markdown(out: &mut String, schema: &Value) {
    for (name, section) in properties(schema).into_iter().flatten() {
        let items = section.get("items");
        if let Some(table) = items.filter(|items| properties(items).is_some()) {
            let mut table = table.clone();
            table["description"] = section["description"].clone();
            section_markdown(out, &format!("[{name}]"), &table);
        } else if properties(section).is_some() {
            section_markdown(out, name, section);
        } else {
            let title = section["description"].as_str().unwrap_or_default();
            let _ = write!(out, "\n## `[{name}]`\n\n{title}\n");
        }
    }
}

/// The schema of the table that `schema` allows, and whose keys it lists.
#[cfg(test)]
pub(crate) fn table_keys(schema: &Value) -> Vec<String> {
    let known = properties(schema).into_iter().flatten();
    known.map(|(key, _)| key.clone()).collect()
}

fn section_markdown(out: &mut String, path: &str, section: &Value) {
    let title = section
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or("");
    let _ = write!(
        out,
        "\n## `[{path}]`\n\n{title}\n\n| key | type | default | meaning |\n|---|---|---|---|\n"
    );
    let required = table_of(section).and_then(|table| table.get("required")?.as_array());
    let mut below = Vec::new();
    for (key, inner) in properties(section).into_iter().flatten() {
        let text = inner
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or("");
        let default = match inner.get("default") {
            _ if required.is_some_and(|keys| keys.iter().any(|name| name == key)) => {
                "required".into()
            }
            Some(Value::Null) | None => String::new(),
            Some(value) => format!("`{value}`"),
        };
        let kind = type_name(inner).replace('|', "\\|");
        let text = format!("{text}{}", values_markdown(inner, text));
        let text = text.replace('\n', " ").replace('|', "\\|");
        let _ = writeln!(out, "| `{key}` | {kind} | {default} | {text} |");
        let table = inner
            .get("items")
            .filter(|items| properties(items).is_some());
        if let Some(table) = table {
            below.push((format!("{path}.{key}[]"), table));
        } else if properties(inner).is_some() {
            below.push((format!("{path}.{key}"), inner));
        }
    }
    for (path, inner) in below {
        section_markdown(out, &path, inner);
    }
}

/// What each value of an enumeration means, where `said` does not say it.
fn values_markdown(schema: &Value, said: &str) -> String {
    let branches = schema.get("oneOf").and_then(Value::as_array);
    let mut out = String::new();
    for branch in branches.into_iter().flatten() {
        let value = branch.get("const").and_then(Value::as_str);
        let text = branch.get("description").and_then(Value::as_str);
        if let (Some(value), Some(text)) = (value, text)
            && !said.contains(&format!("`{value}`"))
        {
            let _ = write!(out, " `{value}`: {text}");
        }
    }
    out
}

fn type_name(schema: &Value) -> String {
    if let Some(options) = schema.get("enum").and_then(Value::as_array) {
        return options
            .iter()
            .map(|value| format!("`{value}`"))
            .collect::<Vec<_>>()
            .join(" | ");
    }
    if let Some(constant) = schema.get("const") {
        return format!("`{constant}`");
    }
    if let Some(branches) = schema
        .get("oneOf")
        .or_else(|| schema.get("anyOf"))
        .or_else(|| schema.get("allOf"))
    {
        let branches = branches.as_array().into_iter().flatten();
        let names = branches.map(type_name).filter(|name| name != "null");
        return names.collect::<Vec<_>>().join(" | ");
    }
    match schema.get("type") {
        Some(Value::String(name)) if name == "array" => {
            format!(
                "list of {}",
                schema.get("items").map_or("values".into(), type_name)
            )
        }
        Some(Value::String(name)) => match name.as_str() {
            "object" => "table".into(),
            other => other.to_owned(),
        },
        Some(Value::Array(names)) => {
            let names = names
                .iter()
                .filter_map(Value::as_str)
                .filter(|name| *name != "null");
            let names: Vec<_> = names.collect();
            if names == ["array"] {
                return format!(
                    "list of {}",
                    schema.get("items").map_or("values".into(), type_name)
                );
            }
            names.join(" | ")
        }
        _ => "value".into(),
    }
}
