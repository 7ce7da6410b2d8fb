//! The parts of a sweep file that hold keys of a configuration: `[set]`, `[axes]`, `[[variants]]` and
//! `[[overrides]]`.

use super::reader::{Reader, kind, nearest};
use crate::error::{Origin, Problem};
use crate::load::Merged;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// One key of a configuration and the value it gets.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Assignment {
    /// Dotted path, such as `model.n_layers`.
    pub key: String,
    pub value: Value,
    pub origin: Option<Origin>,
}

/// One axis: the key that varies and its values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub key: String,
    pub values: Vec<Value>,
    pub origin: Option<Origin>,
    /// Dotted path of the axis in the sweep file.
    pub path: String,
}

/// One `[[variants]]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct VariantEntry {
    pub name: Option<String>,
    pub base: Option<PathBuf>,
    pub set: Vec<Assignment>,
    pub origin: Option<Origin>,
}

/// One `[[overrides]]`: what else holds, or that nothing is run, where axes have certain values.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Override {
    /// Key, or `variant`, and the value it must have.
    pub when: Vec<(String, Value)>,
    pub set: Vec<Assignment>,
    pub skip: bool,
}

/// The keys of a configuration below `table`, nested (`model.dim = 1`) or in quotes (`"model.dim" = 1`).
///
/// Inline tables such as `layer_sharing = { … }` are values: what they replace, they replace whole.
pub(super) fn assignments(
    merged: &Merged,
    table: &Table,
    path: &str,
    reserved: &[&str],
) -> Vec<Assignment> {
    let mut out = Vec::new();
    collect(merged, table, path, "", reserved, &mut out);
    // In the order of the file, which later values of one key follow.
    out.sort_by_key(|assignment| line(assignment.origin.as_ref()));
    out
}

fn collect(
    merged: &Merged,
    table: &Table,
    path: &str,
    prefix: &str,
    reserved: &[&str],
    out: &mut Vec<Assignment>,
) {
    for (name, value) in table {
        if prefix.is_empty() && reserved.contains(&name.as_str()) {
            continue;
        }
        let place = format!("{path}.{name}");
        let key = match prefix {
            "" => name.clone(),
            _ => format!("{prefix}.{name}"),
        };
        match value {
            // `model = { dim = 64 }` is a section in short; below it, braces are one value.
            Value::Table(inner) if prefix.is_empty() || !merged.is_inline(&place) => {
                collect(merged, inner, &place, &key, reserved, out);
            }
            _ => out.push(Assignment {
                key,
                value: value.clone(),
                origin: merged.origin(&place),
            }),
        }
    }
}

fn line(origin: Option<&Origin>) -> usize {
    match origin {
        Some(Origin::File { line, .. }) => *line,
        _ => usize::MAX,
    }
}

pub(super) fn read_axes(
    merged: &Merged,
    table: &Table,
    problems: &mut Vec<Problem>,
) -> (Vec<Axis>, Vec<Vec<usize>>) {
    let mut wrong = |path: &str, message: String, hint: String| {
        problems.push(Problem {
            origin: merged.origin(path),
            key: path.to_owned(),
            message,
            hint: Some(hint),
        });
    };
    let mut axes = Vec::new();
    for found in assignments(merged, table, "axes", &["zip"]) {
        let path = format!("axes.{}", found.key);
        match found.value {
            Value::Array(values) if !values.is_empty() => axes.push(Axis {
                key: found.key,
                values,
                origin: found.origin,
                path,
            }),
            Value::Array(_) => wrong(
                &path,
                "the list is empty".into(),
                "give at least one value, or drop the axis".into(),
            ),
            other => wrong(
                &path,
                format!("found {}, expected a list of values", kind(&other)),
                format!(
                    "write [..], or put `{}` below [set] if it does not vary",
                    found.key
                ),
            ),
        }
    }
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let zips = table.get("zip").map(zip_groups);
    if let Some(None) = zips {
        wrong(
            "axes.zip",
            "expected a list of axes that go together".into(),
            "write zip = [\"model.n_layers\", \"model.dim\"], or a list of such lists".into(),
        );
    }
    let mut taken = vec![false; axes.len()];
    for zip in zips.flatten().unwrap_or_default() {
        let mut group = Vec::new();
        for key in &zip {
            let Some(index) = axes.iter().position(|axis| axis.key == *key) else {
                let known: Vec<&str> = axes.iter().map(|axis| axis.key.as_str()).collect();
                let hint = match nearest(key, &known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("axes here: {}", known.join(", ")),
                };
                wrong("axes.zip", format!("`{key}` is no axis"), hint);
                continue;
            };
            if std::mem::replace(&mut taken[index], true) {
                wrong(
                    "axes.zip",
                    format!("`{key}` is in two groups"),
                    "an axis goes with one group".into(),
                );
                continue;
            }
            group.push(index);
        }
        let lengths: Vec<usize> = group
            .iter()
            .map(|index| axes[*index].values.len())
            .collect();
        if lengths.windows(2).any(|pair| pair[0] != pair[1]) {
            let each: Vec<String> = (group.iter())
                .map(|index| format!("`{}` has {}", axes[*index].key, axes[*index].values.len()))
                .collect();
            wrong(
                "axes.zip",
                format!("zipped axes are of different lengths: {}", each.join(", ")),
                "give each the same number of values".into(),
            );
        }
        groups.extend((!group.is_empty()).then_some(group));
    }
    let alone = (0..axes.len()).filter(|index| !taken[*index]);
    groups.extend(alone.map(|index| vec![index]));
    groups.sort();
    (axes, groups)
}

/// `["a", "b"]` or `[["a", "b"], ["c", "d"]]`.
fn zip_groups(value: &Value) -> Option<Vec<Vec<String>>> {
    let texts = |items: &Vec<Value>| -> Option<Vec<String>> {
        items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect()
    };
    let items = value.as_array()?;
    if let Some(group) = texts(items) {
        return Some(vec![group]);
    }
    items.iter().map(|item| texts(item.as_array()?)).collect()
}

/// What a name that becomes a folder may hold.
pub(super) const FOLDER_NAME: &str = "use letters, digits, `-`, `_` and `.`";

/// Whether `name` can be the name of a folder.
pub(super) fn is_folder_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

/// The tables of `[[name]]`.
fn entries<'a>(
    merged: &'a Merged,
    name: &str,
    problems: &mut Vec<Problem>,
) -> Vec<(String, &'a Table)> {
    let items = match merged.table.get(name) {
        None => return Vec::new(),
        Some(Value::Array(items)) => items.as_slice(),
        Some(_) => &[],
    };
    let tables: Vec<_> = (items.iter().enumerate())
        .filter_map(|(index, item)| Some((format!("{name}[{index}]"), item.as_table()?)))
        .collect();
    if tables.is_empty() || tables.len() != items.len() {
        problems.push(Problem {
            origin: merged.origin(name),
            key: name.into(),
            message: "expected a list of tables".into(),
            hint: Some(format!("head each entry with [[{name}]]")),
        });
    }
    tables
}

pub(super) fn read_variants(
    merged: &Merged,
    folder: &Path,
    problems: &mut Vec<Problem>,
) -> Vec<VariantEntry> {
    let mut out = Vec::new();
    for (path, table) in entries(merged, "variants", problems) {
        let mut reader = Reader {
            merged,
            path: path.clone(),
            table,
            problems,
        };
        let base = reader.text("base").map(|base| folder.join(base));
        if let Some(base) = base.as_ref().filter(|base| !base.is_file()) {
            let message = format!("no such file: {}", base.display());
            reader.wrong("base", message, "the path is relative to the sweep file");
        }
        let name = reader.text("name");
        if let Some(name) = name.as_ref().filter(|name| !is_folder_name(name)) {
            let message = format!("`{name}` cannot be the name of a folder");
            reader.wrong("name", message, FOLDER_NAME);
        }
        if name.is_none() && base.is_none() && !table.contains_key("name") {
            reader.wrong(
                "name",
                "is missing",
                "a variant is called by its name, or by its own base's",
            );
        }
        out.push(VariantEntry {
            name,
            base,
            set: assignments(merged, table, &path, &["name", "base"]),
            origin: merged.origin(&path),
        });
    }
    out
}

pub(super) fn read_overrides(merged: &Merged, problems: &mut Vec<Problem>) -> Vec<Override> {
    let mut out = Vec::new();
    for (path, table) in entries(merged, "overrides", problems) {
        let mut reader = Reader {
            merged,
            path: path.clone(),
            table,
            problems,
        };
        let skip = reader.flag("skip").unwrap_or(false);
        let when = match table.get("when") {
            Some(Value::Table(when)) if !when.is_empty() => {
                // The table may be inline; what it names are keys either way.
                let mut found = Vec::new();
                flatten(when, "", &mut found);
                found
            }
            _ => {
                reader.wrong(
                    "when",
                    "expected the values that the override is for",
                    "write when = { \"model.n_layers\" = 16 }, or when = { variant = \"name\" }",
                );
                Vec::new()
            }
        };
        out.push(Override {
            when,
            set: assignments(merged, table, &path, &["when", "skip"]),
            skip,
        });
    }
    out
}

fn flatten(table: &Table, prefix: &str, out: &mut Vec<(String, Value)>) {
    for (name, value) in table {
        let key = match prefix {
            "" => name.clone(),
            _ => format!("{prefix}.{name}"),
        };
        match value {
            Value::Table(inner) if key != "model.layer_sharing" => flatten(inner, &key, out),
            _ => out.push((key, value.clone())),
        }
    }
}
