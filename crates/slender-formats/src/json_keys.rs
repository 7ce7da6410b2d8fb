//! Keys of a JSON file with the type they must have.
//!
//! An absent key and a null are the same; a value of another type is an error that names it, never a default.

use crate::FormatError;
use serde_json::Value;
use std::path::Path;

/// Longest value that a message repeats, in characters.
const SHOWN: usize = 60;

/// The object of a file.
pub(crate) struct Keys<'a> {
    file: &'a Path,
    json: &'a Value,
}

impl<'a> Keys<'a> {
    /// The keys of `json`, which was read from `file`.
    pub fn new(file: &'a Path, json: &'a Value) -> Self {
        Self { file, json }
    }

    /// The value at `key`, in which a dot leads into an object; `None` for null.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        key.split('.')
            .try_fold(self.json, |value, part| value.get(part))
            .filter(|value| !value.is_null())
    }

    fn typed<T>(
        &self,
        key: &str,
        kind: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, FormatError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        read(value).map(Some).ok_or_else(|| {
            FormatError::malformed(
                self.file,
                format!("`{key}` is {}, not {kind}", shown(value)),
            )
        })
    }

    /// A whole number.
    pub fn number(&self, key: &str) -> Result<Option<usize>, FormatError> {
        self.typed(key, "a whole number", |value| {
            value
                .as_u64()
                .and_then(|number| usize::try_from(number).ok())
        })
    }

    /// A whole number that must be there.
    pub fn need(&self, key: &str) -> Result<usize, FormatError> {
        self.number(key)?
            .ok_or_else(|| FormatError::malformed(self.file, format!("`{key}` is missing")))
    }

    /// A number.
    pub fn float(&self, key: &str) -> Result<Option<f64>, FormatError> {
        self.typed(key, "a number", Value::as_f64)
    }

    /// A truth value.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, FormatError> {
        self.typed(key, "true or false", Value::as_bool)
    }

    /// A text.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, FormatError> {
        self.typed(key, "a text", Value::as_str)
    }

    /// A token's number.
    pub fn token(&self, key: &str) -> Result<Option<u32>, FormatError> {
        self.typed(key, "a token's number", token)
    }

    /// Tokens' numbers: one, several in a list, or none.
    pub fn tokens(&self, key: &str) -> Result<Vec<u32>, FormatError> {
        let read = |value: &Value| match value {
            Value::Array(several) => several.iter().map(token).collect(),
            one => token(one).map(|id| vec![id]),
        };
        let tokens = self.typed(key, "a token's number or a list of them", read)?;
        Ok(tokens.unwrap_or_default())
    }
}

fn token(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

/// A value as JSON, cut where it is long.
pub(crate) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// The JSON value of a small file, which may begin with a byte order mark.
///
/// # Errors
/// The parser's, with the file's name.
pub(crate) fn parse(file: &Path, text: &[u8]) -> Result<Value, FormatError> {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    serde_json::from_slice(text).map_err(|error| {
        FormatError::malformed(
            file,
            format!(
                "not JSON: {error}\n  hint: the file is empty or damaged; fetch or copy the model's folder again"
            ),
        )
    })
}
