//! Sections of a file that other parts of slender own, such as `[slurm]`: read into their types, with
//! the place of every slip.

use super::file::SweepFile;
use super::reader::nearest;
use crate::error::{ConfigError, Origin, Problem};
use crate::load::{self, Merged};
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use std::path::Path;
use toml::Value;

/// Reads a TOML file with the place of every value.
///
/// # Errors
/// A file that cannot be read or is no TOML.
pub fn read_toml(path: &Path) -> Result<Merged, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        file: path.to_owned(),
        source,
    })?;
    let mut merged = load::parse(&text, path)?;
    merged.file = path.to_owned();
    Ok(merged)
}

/// The table `name` of a file, or the whole file with an empty name; `None` if there is no such table.
///
/// # Errors
/// A value of the wrong kind, or an unknown key.
pub fn read_section<T: DeserializeOwned>(
    merged: &Merged,
    name: &str,
) -> Result<Option<T>, ConfigError> {
    let value = match name {
        "" => Value::Table(merged.table.clone()),
        name => match merged.table.get(name) {
            Some(value) => value.clone(),
            None => return Ok(None),
        },
    };
    let full = |key: &str| match name {
        "" => key.to_owned(),
        name => format!("{name}.{key}"),
    };
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    let result: Result<T, toml::de::Error> =
        serde_ignored::deserialize(tracked, |key| unknown.push(key.to_string()));
    let known = fields::<T>();
    let mut problems: Vec<Problem> = (unknown.iter())
        .map(|key| {
            let hint = match nearest(key, known) {
                _ if key.contains('.') => None,
                Some(near) => Some(format!("did you mean `{}`?", full(near))),
                None => Some(format!("keys here: {}", known.join(", "))),
            };
            problem(merged, &full(key), "unknown key".into(), hint)
        })
        .collect();
    match result {
        Ok(section) if problems.is_empty() => return Ok(Some(section)),
        Ok(_) => {}
        Err(error) => {
            let key = match track.path().to_string() {
                path if path == "." => name.to_owned(),
                path => full(&path),
            };
            let message = load::plain_words(error.message().trim());
            problems.push(problem(merged, &key, message, None));
        }
    }
    Err(ConfigError::Invalid(problems))
}

fn problem(merged: &Merged, key: &str, message: String, hint: Option<String>) -> Problem {
    let first_line = || Origin::File {
        file: merged.file.clone(),
        line: 1,
    };
    Problem {
        origin: Some(merged.origin(key).unwrap_or_else(first_line)),
        key: key.to_owned(),
        message,
        hint,
    }
}

impl SweepFile {
    /// A section that another part of slender owns, such as `slurm`; `None` if the file has none.
    ///
    /// # Errors
    /// A value of the wrong kind, or an unknown key.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ConfigError> {
        read_section(self.merged(), name)
    }
}

/// Names of the fields of a struct that is read with serde; none of another type.
fn fields<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut found: &'static [&'static str] = &[];
    // It ends in an error as soon as the fields are known.
    let _ = T::deserialize(Fields(&mut found));
    found
}

struct Fields<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("no struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        Err(de::Error::custom("seen"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
