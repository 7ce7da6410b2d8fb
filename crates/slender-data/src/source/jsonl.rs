//! `.jsonl`: one JSON object a line, text or messages in one of its keys.
//!
//! Only the wanted key is materialised; the rest of the row is checked for syntax and skipped.

use super::{Documents, Reading, until_end};
use crate::chat::{canonical, missing_column};
use crate::{Content, DataError};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use std::io::BufRead;
use std::path::{Path, PathBuf};

/// Documents of a JSON lines file. Blank lines are passed over.
pub(super) fn documents(
    reader: Box<dyn BufRead + Send>,
    path: &Path,
    reading: Reading<'_>,
) -> Documents {
    let mut rows = Jsonl {
        reader,
        path: path.to_path_buf(),
        column: reading.column.to_string(),
        content: reading.content,
        line: 0,
        offset: 0,
        buffer: Vec::new(),
    };
    until_end(move || rows.read_one())
}

struct Jsonl {
    reader: Box<dyn BufRead + Send>,
    path: PathBuf,
    column: String,
    content: Content,
    line: u64,
    offset: u64,
    buffer: Vec<u8>,
}

impl Jsonl {
    fn read_one(&mut self) -> Result<Option<String>, DataError> {
        loop {
            self.buffer.clear();
            let n = self
                .reader
                .read_until(b'\n', &mut self.buffer)
                .map_err(DataError::io("read", &self.path))?;
            if n == 0 {
                return Ok(None);
            }
            self.line += 1;
            let start = self.offset;
            self.offset += n as u64;
            let row = std::str::from_utf8(&self.buffer).map_err(|e| DataError::InvalidUtf8 {
                path: self.path.clone(),
                offset: start + e.valid_up_to() as u64,
            })?;
            if !row.trim().is_empty() {
                return self.parse(row).map(Some);
            }
        }
    }

    fn parse(&self, row: &str) -> Result<String, DataError> {
        let mut json = serde_json::Deserializer::from_str(row);
        let found = Column(&self.column)
            .deserialize(&mut json)
            .and_then(|found| json.end().map(|()| found))
            .map_err(|e| DataError::InvalidJson {
                path: self.path.clone(),
                line: self.line,
                message: e.to_string(),
            })?;
        let place = || format!("{}:{}", self.path.display(), self.line);
        if self.content == Content::Conversations
            && let Found::Value(value) = found
        {
            return canonical(value).map_err(|message| DataError::Conversation {
                place: place(),
                message,
            });
        }
        match found {
            Found::Value(serde_json::Value::String(text)) => Ok(text),
            Found::Value(value) => Err(DataError::ColumnType {
                place: place(),
                column: self.column.clone(),
                found: match value {
                    serde_json::Value::Null => "null",
                    serde_json::Value::Bool(_) => "a boolean",
                    serde_json::Value::Number(_) => "a number",
                    serde_json::Value::Array(_) => "a list",
                    _ => "an object",
                }
                .into(),
            }),
            Found::Missing(keys) if self.content == Content::Conversations => {
                Err(DataError::Conversation {
                    place: place(),
                    message: missing_column(&self.column, &keys),
                })
            }
            Found::Missing(keys) => Err(DataError::MissingColumn {
                place: place(),
                column: self.column.clone(),
                available: if keys.is_empty() {
                    "none".into()
                } else {
                    keys.join(", ")
                },
            }),
        }
    }
}

enum Found {
    Value(serde_json::Value),
    Missing(Vec<String>),
}

/// Deserialises an object to the value of one key.
struct Column<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Column<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Column<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut keys = Vec::new();
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == self.0 {
                found = Some(Found::Value(map.next_value()?));
            } else {
                map.next_value::<IgnoredAny>()?;
                keys.push(key);
            }
        }
        Ok(found.unwrap_or(Found::Missing(keys)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Vec<Result<String, DataError>> {
        let reading = Reading::text("text", None);
        documents(Box::new(text.as_bytes()), Path::new("r.jsonl"), reading).collect()
    }

    #[test]
    fn conversations_are_checked_where_they_are_read() {
        let read = |text: &'static str| {
            let reading = Reading {
                content: Content::Conversations,
                column: "messages",
                separator: None,
            };
            let path = Path::new("c.jsonl");
            let mut all = documents(Box::new(text.as_bytes()), path, reading).collect::<Vec<_>>();
            all.pop().unwrap()
        };
        let row = r#"{"id": 1, "messages": [{"content": "q", "role": "user"}, {"role": "assistant", "content": "a", "name": "x"}]}"#;
        assert_eq!(
            read(row).unwrap(),
            r#"[{"role":"user","content":"q"},{"role":"assistant","content":"a","name":"x"}]"#
        );
        for (row, part) in [
            (r#"{"messages": "hi"}"#, "a list of messages"),
            (r#"{"messages": []}"#, "no message of the assistant"),
            (
                r#"{"messages": [{"role": "user", "content": "q"}]}"#,
                "no message of the assistant",
            ),
            (
                r#"{"messages": [{"role": "assistant"}]}"#,
                "message 1 has no `content`",
            ),
            (
                r#"{"messages": [{"content": "a"}]}"#,
                "message 1 has no `role`",
            ),
            (
                r#"{"messages": [{"role": "assistant", "content": 3}]}"#,
                "`content` is not a text",
            ),
            (
                r#"{"messages": [{"role": "user", "content": "q"}, {"role": "asistant", "content": "a"}, {"role": "asistant", "content": "b"}]}"#,
                "no message of the assistant to learn from; unknown roles: \"asistant\"\n  hint: the role of answers is written \"assistant\"",
            ),
            (
                r#"{"text": "q"}"#,
                "no column \"messages\"; there is text\n  hint: a row is {\"messages\": [{\"role\": \"user\"",
            ),
            (
                r#"{"conversations": [{"from": "human", "value": "q"}]}"#,
                "rows of ShareGPT (\"conversations\" with \"from\" and \"value\") have to be rewritten",
            ),
            (
                r#"{"messages": [{"from": "human", "value": "q"}]}"#,
                "message 1 has ShareGPT's `from` and `value`, not `role` and `content`\n  hint: a row is ",
            ),
        ] {
            let error = read(row).unwrap_err().to_string();
            assert!(
                error.starts_with("c.jsonl:1: ") && error.contains(part),
                "{error}"
            );
        }
    }

    #[test]
    fn rows_become_documents() {
        let items = read(
            "{\"id\": 1, \"text\": \"a\\nb\"}\n\n{\"text\": \"\u{e9}\", \"meta\": {\"text\": 3}}",
        );
        assert_eq!(
            items.into_iter().flatten().collect::<Vec<_>>(),
            ["a\nb", "\u{e9}"]
        );
    }

    #[test]
    fn errors_name_file_and_line() {
        let message = |text| read(text).pop().unwrap().unwrap_err().to_string();
        assert!(message("{\"text\": \"a\"}\n{oops}\n").starts_with("r.jsonl:2: invalid JSON"));
        assert!(
            message("{\"text\": \"a\"}\n{\"text\": \"cut").starts_with("r.jsonl:2: invalid JSON")
        );
        assert!(message("[1]").contains("r.jsonl:1"));
        let missing = message("{\"body\": 1, \"id\": 2}");
        assert!(
            missing.contains("r.jsonl:1") && missing.contains("body, id"),
            "{missing}"
        );
        assert!(message("{\"text\": 5}").contains("a number"));
    }
}
