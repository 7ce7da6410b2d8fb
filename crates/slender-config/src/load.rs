//! From files and `--set` arguments to one checked [`Config`].
//!
//! Three passes, so that an error can always name its line: (1) parse each file with positions and
//! merge `extends` chains into one tree that remembers where every value came from; (2) deserialize
//! that tree, collecting unknown keys and the path of the first wrong type; (3) check values
//! against each other. `[section]` tables merge key by key; inline tables, arrays and scalars
//! replace what they override as a whole, so `layer_sharing = { kind = "none" }` leaves nothing of
//! its base behind.
//!
//! Paths of texts and tokenizers become absolute while it is known which file wrote them, so that a
//! resolved configuration means the same from any folder.

use crate::error::{ConfigError, Origin, Problem};
use crate::{Config, schema};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// A merged configuration tree and the origin of each of its values.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    /// The file that was asked for.
    pub file: PathBuf,
    /// The values.
    pub table: Table,
    /// Dotted path of every value → where it was written.
    pub origins: BTreeMap<String, Origin>,
}

impl Merged {
    /// Origin of `key`, or of its nearest enclosing table.
    pub fn origin(&self, key: &str) -> Option<Origin> {
        let mut path = key;
        loop {
            if let Some(origin) = self.origins.get(path) {
                return Some(origin.clone());
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    /// Whether the table at `path` was written inline (`{ … }`).
    pub(crate) fn is_inline(&self, path: &str) -> bool {
        self.origins.contains_key(&format!("{path}{INLINE}"))
    }

    /// The value at a dotted path.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        let mut parts = key.split('.');
        let first = self.table.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    }

    /// Drops the value at a dotted path, if there is one.
    pub(crate) fn remove(&mut self, key: &str) {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        let mut table = Some(&mut self.table);
        for part in section.split('.').filter(|part| !part.is_empty()) {
            table = table.and_then(|table| table.get_mut(part)?.as_table_mut());
        }
        if table.is_some_and(|table| table.remove(name).is_some()) {
            self.origins.retain(|known, _| !is_below(known, key));
        }
    }

    /// Replaces the value at a dotted path as a whole.
    ///
    /// # Errors
    /// What is wrong with the path.
    pub(crate) fn set(
        &mut self,
        key: &str,
        value: Value,
        origin: Option<Origin>,
    ) -> Result<(), String> {
        let keys: Vec<&str> = key.split('.').map(str::trim).collect();
        if keys.iter().any(|key| key.is_empty()) {
            return Err("the key has an empty part".into());
        }
        self.origins.retain(|known, _| !is_below(known, key));
        if let Some(origin) = origin {
            self.origins.insert(key.to_owned(), origin);
        }
        set_in(&mut self.table, &keys, value)
    }

    fn overlay(&mut self, above: Merged) {
        merge_tables(
            &mut self.table,
            above.table,
            "",
            &mut self.origins,
            &above.origins,
        );
    }
}

fn merge_tables(
    base: &mut Table,
    above: Table,
    prefix: &str,
    origins: &mut BTreeMap<String, Origin>,
    above_origins: &BTreeMap<String, Origin>,
) {
    for (key, value) in above {
        let path = join(prefix, &key);
        // An inline table has an origin of its own kind: see `INLINE`.
        let inline = above_origins.contains_key(&format!("{path}{INLINE}"));
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(table)) if !inline => {
                merge_tables(below, table, &path, origins, above_origins);
                if let Some(origin) = above_origins.get(&path) {
                    origins.insert(path, origin.clone());
                }
            }
            (_, value) => {
                origins.retain(|known, _| !is_below(known, &path));
                for (known, origin) in above_origins
                    .iter()
                    .filter(|(known, _)| is_below(known, &path))
                {
                    origins.insert(known.clone(), origin.clone());
                }
                base.insert(key, value);
            }
        }
    }
}

/// Suffix of the marker entry that says a table was written inline.
const INLINE: &str = "{}";

fn is_below(path: &str, top: &str) -> bool {
    path.strip_prefix(top)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', '{']))
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
    }
}

/// Reads `file` and everything it extends, then applies `sets` (`section.key=value`).
///
/// # Errors
/// An unreadable or malformed file, a circular `extends`, or a malformed `--set`.
pub fn read_merged(file: &Path, sets: &[String]) -> Result<Merged, ConfigError> {
    let mut merged = read_chain(file, &mut Vec::new())?;
    for argument in sets {
        apply_set(&mut merged, argument)?;
    }
    // What is still relative was typed on the command line.
    resolve_paths(
        &mut merged.table,
        &std::env::current_dir().unwrap_or_default(),
    );
    merged.file = file.to_owned();
    Ok(merged)
}

/// `chain` holds the files that lead here: as named, and as the file system knows them.
fn read_chain(file: &Path, chain: &mut Vec<(PathBuf, PathBuf)>) -> Result<Merged, ConfigError> {
    let read_error = |source| ConfigError::Read {
        file: file.to_owned(),
        source,
    };
    let canonical = file.canonicalize().map_err(read_error)?;
    let text = std::fs::read_to_string(file).map_err(read_error)?;
    let mut merged = parse(&text, file)?;
    let extends = match merged.table.remove("extends") {
        None => return Ok(merged),
        Some(Value::String(name)) => name,
        Some(other) => {
            return Err(ConfigError::Invalid(vec![Problem {
                origin: merged.origin("extends"),
                key: "extends".into(),
                message: format!(
                    "expected the path of a TOML file, found {}",
                    other.type_str()
                ),
                hint: Some("write extends = \"base.toml\", relative to this file".into()),
            }]));
        }
    };
    let origin = merged.origins.remove("extends");
    let base = file.parent().unwrap_or(Path::new("")).join(&extends);
    if !base.is_file() {
        return Err(ConfigError::Invalid(vec![Problem {
            origin,
            key: "extends".into(),
            message: format!("no such file: {}", base.display()),
            hint: Some("the path is relative to the file that names it".into()),
        }]));
    }
    chain.push((file.to_owned(), canonical));
    let target = base.canonicalize().map_err(read_error)?;
    if let Some(first) = chain.iter().position(|(_, known)| *known == target) {
        let circle = chain[first..].iter().chain([&chain[first]]);
        let circle: Vec<String> = circle
            .map(|(named, _)| named.display().to_string())
            .collect();
        return Err(ConfigError::Invalid(vec![Problem {
            origin,
            key: "extends".into(),
            message: format!("goes in a circle: {}", circle.join(" -> ")),
            hint: Some("the last file of a chain extends nothing".into()),
        }]));
    }
    let mut below = read_chain(&base, chain)?;
    chain.pop();
    below.overlay(merged);
    Ok(below)
}

/// Parses one TOML text; relative paths in it are made relative to `file`'s folder.
pub(crate) fn parse(text: &str, file: &Path) -> Result<Merged, ConfigError> {
    let line_of = |offset: usize| 1 + text[..offset.min(text.len())].matches('\n').count();
    let document = toml_edit::Document::parse(text).map_err(|error| ConfigError::Syntax {
        file: file.to_owned(),
        line: line_of(error.span().map_or(0, |span| span.start)),
        message: error.message().trim().replace('\n', ", "),
    })?;
    let mut merged = Merged::default();
    let walker = Walker {
        file,
        line_of: &line_of,
    };
    merged.table = walker.table(document.as_table(), "", &mut merged.origins);
    let folder = file
        .canonicalize()
        .ok()
        .and_then(|path| path.parent().map(Path::to_owned));
    resolve_paths(&mut merged.table, &folder.unwrap_or_default());
    Ok(merged)
}

struct Walker<'a> {
    file: &'a Path,
    line_of: &'a dyn Fn(usize) -> usize,
}

impl Walker<'_> {
    fn note(
        &self,
        path: &str,
        span: Option<std::ops::Range<usize>>,
        origins: &mut BTreeMap<String, Origin>,
    ) {
        if let Some(span) = span {
            let line = (self.line_of)(span.start);
            let origin = Origin::File {
                file: self.file.to_owned(),
                line,
            };
            origins.insert(path.to_owned(), origin);
        }
    }

    fn table(
        &self,
        table: &dyn toml_edit::TableLike,
        prefix: &str,
        origins: &mut BTreeMap<String, Origin>,
    ) -> Table {
        let mut out = Table::new();
        for (name, item) in table.iter() {
            let path = join(prefix, name);
            let span = table
                .key(name)
                .and_then(toml_edit::Key::span)
                .or_else(|| item.span());
            self.note(&path, span, origins);
            if let Some(value) = self.item(item, &path, origins) {
                out.insert(name.to_owned(), value);
            }
        }
        out
    }

    fn item(
        &self,
        item: &toml_edit::Item,
        path: &str,
        origins: &mut BTreeMap<String, Origin>,
    ) -> Option<Value> {
        match item {
            toml_edit::Item::None => None,
            toml_edit::Item::Value(value) => Some(self.value(value, path, origins)),
            toml_edit::Item::Table(table) => Some(Value::Table(self.table(table, path, origins))),
            toml_edit::Item::ArrayOfTables(array) => {
                let items = array.iter().enumerate().map(|(index, table)| {
                    let path = format!("{path}[{index}]");
                    self.note(&path, table.span(), origins);
                    Value::Table(self.table(table, &path, origins))
                });
                Some(Value::Array(items.collect()))
            }
        }
    }

    fn value(
        &self,
        value: &toml_edit::Value,
        path: &str,
        origins: &mut BTreeMap<String, Origin>,
    ) -> Value {
        match value {
            toml_edit::Value::String(text) => Value::String(text.value().clone()),
            toml_edit::Value::Integer(number) => Value::Integer(*number.value()),
            toml_edit::Value::Float(number) => Value::Float(*number.value()),
            toml_edit::Value::Boolean(flag) => Value::Boolean(*flag.value()),
            toml_edit::Value::Datetime(date) => Value::String(date.value().to_string()),
            toml_edit::Value::Array(array) => {
                let items = array.iter().enumerate().map(|(index, value)| {
                    let path = format!("{path}[{index}]");
                    self.note(&path, value.span(), origins);
                    self.value(value, &path, origins)
                });
                Value::Array(items.collect())
            }
            toml_edit::Value::InlineTable(table) => {
                // Dotted keys (`a.b = 1`) also arrive here; only real braces replace as a whole.
                if !table.is_dotted() {
                    self.note(&format!("{path}{INLINE}"), value.span(), origins);
                }
                Value::Table(self.table(table, path, origins))
            }
        }
    }
}

/// Makes the paths in the value of one key relative to `folder`, as [`resolve_paths`] does for a whole
/// file.
pub(crate) fn resolve_path(key: &str, value: &mut Value, folder: &Path) {
    let folder = folder
        .canonicalize()
        .or_else(|_| std::env::current_dir())
        .unwrap_or_default();
    let mut tree = Merged::default();
    if tree.set(key, value.clone(), None).is_ok() {
        resolve_paths(&mut tree.table, &folder);
        if let Some(resolved) = tree.get(key) {
            value.clone_from(resolved);
        }
    }
}

/// Paths that a config file writes are relative to that file, wherever the command runs.
fn resolve_paths(table: &mut Table, folder: &Path) {
    let resolve = |value: &mut Value| {
        if let Value::String(text) = value {
            let path = Path::new(text.as_str());
            if path.is_relative() && text != "builtin" && !text.is_empty() {
                *text = folder.join(path).to_string_lossy().into_owned();
            }
        }
    };
    if let Some(Value::Table(data)) = table.get_mut("data") {
        for key in ["path", "chat_template"] {
            if let Some(path) = data.get_mut("tokenizer").and_then(|t| t.get_mut(key)) {
                resolve(path);
            }
        }
        if let Some(Value::Array(sources)) = data.get_mut("sources") {
            for paths in sources.iter_mut().filter_map(|s| s.get_mut("paths")) {
                if let Value::Array(paths) = paths {
                    paths.iter_mut().for_each(resolve);
                }
            }
        }
    }
    if let Some(path) = table.get_mut("model").and_then(|t| t.get_mut("from")) {
        resolve(path);
    }
    if let Some(path) = table.get_mut("eval").and_then(|t| t.get_mut("data_dir")) {
        resolve(path);
    }
}

pub(crate) fn apply_set(merged: &mut Merged, argument: &str) -> Result<(), ConfigError> {
    let error = |message: String| ConfigError::Set {
        argument: argument.to_owned(),
        message,
    };
    let (path, text) = argument
        .split_once('=')
        .ok_or_else(|| error("there is no `=`".into()))?;
    let (path, text) = (path.trim(), text.trim());
    let keys: Vec<&str> = path.split('.').map(str::trim).collect();
    if keys.iter().any(|key| key.is_empty()) {
        return Err(error("the key has an empty part".into()));
    }
    // A value that is not TOML is taken as a bare string, so `run.device=wgpu` needs no quotes.
    let value = toml::from_str::<Table>(&format!("v = {text}"))
        .ok()
        .and_then(|mut table| table.remove("v"))
        .map(whole_number)
        .unwrap_or_else(|| Value::String(text.to_owned()));
    merged.origins.retain(|known, _| !is_below(known, path));
    merged.origins.insert(path.to_owned(), Origin::Set);
    set_in(&mut merged.table, &keys, value).map_err(error)
}

/// `train.tokens=1e9` is meant as the whole number that it is; keys of other numbers take both.
fn whole_number(value: Value) -> Value {
    match value {
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
            Value::Integer(number as i64)
        }
        other => other,
    }
}

fn set_in(table: &mut Table, keys: &[&str], value: Value) -> Result<(), String> {
    let (key, rest) = keys
        .split_first()
        .expect("a key path has at least one part");
    if rest.is_empty() {
        table.insert((*key).to_owned(), value);
        return Ok(());
    }
    // `data.sources[0].weight` addresses one element of a list.
    if let Some((name, index)) = key.strip_suffix(']').and_then(|k| k.split_once('[')) {
        let index: usize = index
            .parse()
            .map_err(|_| format!("`{index}` is not a list index"))?;
        return match table.get_mut(name) {
            Some(Value::Array(items)) => match items.get_mut(index) {
                Some(Value::Table(inner)) => set_in(inner, rest, value),
                _ => Err(format!("`{name}` has no table at index {index}")),
            },
            _ => Err(format!("`{name}` is not a list")),
        };
    }
    match table
        .entry((*key).to_owned())
        .or_insert_with(|| Value::Table(Table::new()))
    {
        Value::Table(inner) => set_in(inner, rest, value),
        other => Err(format!("`{key}` is {}, not a table", other.type_str())),
    }
}

/// Deserializes a merged tree; unknown keys, missing keys and the first wrong type are problems.
pub(crate) fn deserialize(merged: &Merged) -> Result<Config, Vec<Problem>> {
    let mut unknown = Vec::new();
    let deserializer = Value::Table(merged.table.clone());
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
    let result: Result<Config, toml::de::Error> =
        serde_ignored::deserialize(tracked, |path| unknown.push(path.to_string()));
    let mut problems = Vec::new();
    let mut meant = Vec::new();
    for path in &unknown {
        let (problem, nearest) = unknown_key(merged, &normalise(path));
        problems.push(problem);
        meant.extend(nearest);
    }
    match result {
        Ok(config) if problems.is_empty() => Ok(config),
        Ok(_) => Err(problems),
        Err(error) => {
            let message = error.message().trim();
            // A key that was only misspelled has been named already.
            let missing = schema::missing_keys(&merged.table);
            let missing = missing.into_iter().filter(|key| !meant.contains(key));
            problems.extend(missing.map(|key| missing_key(merged, key)));
            if problems.is_empty() || !message.starts_with("missing field") {
                let path = track.path().to_string();
                let key = if path == "." { String::new() } else { path };
                let message = plain_words(message);
                let described = || schema::describe(&key).map(str::to_owned);
                problems.push(Problem {
                    origin: merged.origin(&key),
                    hint: written_out(&message).or_else(described),
                    message,
                    key,
                });
            }
            Err(problems)
        }
    }
}

/// The place of a missing key is the table it belongs to, else the file that was asked for.
fn missing_key(merged: &Merged, key: String) -> Problem {
    let file = || Origin::File {
        file: merged.file.clone(),
        line: 1,
    };
    Problem {
        origin: Some(merged.origin(&key).unwrap_or_else(file)),
        message: "is missing".into(),
        hint: schema::describe(&key).map(str::to_owned),
        key,
    }
}

/// The way out where a whole number was written with a point or an exponent.
fn written_out(message: &str) -> Option<String> {
    let (found, expected) = message.rsplit_once(", expected ")?;
    let text = found.split("floating point `").nth(1)?.split('`').next()?;
    let number: f64 = text.parse().ok()?;
    let whole = expected.starts_with("a whole number") && number.fract() == 0.0;
    if !whole || number.abs() >= 9e15 {
        return None;
    }
    let digits = (number.abs() as u64).to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('_');
        }
        grouped.push(digit);
    }
    let sign = if number < 0.0 { "-" } else { "" };
    Some(format!("write it as a whole number: {sign}{grouped}"))
}

/// A deserializer's message without Rust's names of types.
pub(crate) fn plain_words(message: &str) -> String {
    let Some((found, expected)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let expected = match expected {
        "usize" | "u64" | "u32" => "a whole number, not negative",
        "i64" => "a whole number",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "path string" => "a path in quotes",
        "a string" => "text in quotes",
        other if other.starts_with("struct ") => "a table",
        other => other,
    };
    format!("{found}, expected {expected}")
}

/// serde_ignored writes `data.sources.0.x` and `?` for options; the rest of the code `data.sources[0].x`.
fn normalise(path: &str) -> String {
    let mut out = String::new();
    for part in path.split('.').filter(|part| *part != "?") {
        if part.chars().all(|c| c.is_ascii_digit()) && !out.is_empty() {
            out.push_str(&format!("[{part}]"));
        } else {
            out = join(&out, part);
        }
    }
    out
}

/// The problem of an unknown key, and the key that was probably meant.
fn unknown_key(merged: &Merged, path: &str) -> (Problem, Option<String>) {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let known = schema::keys_of(parent);
    let nearest = known
        .iter()
        .map(|key| (strsim::damerau_levenshtein(key, name), key))
        .filter(|(distance, key)| *distance <= 2.max(key.len() / 3))
        .min();
    // A key may also be right but in the wrong section.
    let elsewhere = schema::find_key(name);
    let nearest = nearest.map(|(_, key)| join(parent, key));
    let hint = match (&nearest, &elsewhere) {
        (Some(key), _) => format!("did you mean `{key}`?"),
        (None, Some(path)) => format!("`{name}` belongs to another section: `{path}`"),
        (None, None) => format!("keys here: {}", known.join(", ")),
    };
    let problem = Problem {
        origin: merged.origin(path),
        key: path.to_owned(),
        message: "unknown key".into(),
        hint: Some(hint),
    };
    (problem, nearest.or(elsewhere))
}
