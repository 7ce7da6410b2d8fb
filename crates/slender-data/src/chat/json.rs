//! JSON as Python's `json.dumps` writes it, for the `tojson` filter of chat templates.
//!
//! transformers replaces Jinja's own filter, which escapes HTML, by `json.dumps`: tool descriptions in
//! prompts have its spaces and its escapes.

use serde_json::Value;
use std::fmt::Write;

/// How `json.dumps` writes.
#[derive(Clone, Debug)]
pub(super) struct Style {
    pub ensure_ascii: bool,
    pub indent: Option<usize>,
    pub sort_keys: bool,
    /// Between items and after keys.
    pub separators: (String, String),
}

impl Style {
    pub fn dump(&self, value: &Value) -> String {
        let mut out = String::new();
        self.value(value, 0, &mut out);
        out
    }

    fn value(&self, value: &Value, depth: usize, out: &mut String) {
        match value {
            Value::Null => out.push_str("null"),
            Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Value::Number(n) => out.push_str(&number(n)),
            Value::String(text) => self.string(text, out),
            Value::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    self.before(i, depth, out);
                    self.value(item, depth + 1, out);
                }
                self.after(items.len(), depth, out);
                out.push(']');
            }
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                if self.sort_keys {
                    entries.sort_by_key(|(key, _)| *key);
                }
                out.push('{');
                for (i, (key, item)) in entries.into_iter().enumerate() {
                    self.before(i, depth, out);
                    self.string(key, out);
                    out.push_str(&self.separators.1);
                    self.value(item, depth + 1, out);
                }
                self.after(map.len(), depth, out);
                out.push('}');
            }
        }
    }

    fn before(&self, index: usize, depth: usize, out: &mut String) {
        if index > 0 {
            out.push_str(&self.separators.0);
        }
        self.line(depth + 1, out);
    }

    fn after(&self, count: usize, depth: usize, out: &mut String) {
        if count > 0 {
            self.line(depth, out);
        }
    }

    fn line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn string(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if (c as u32) < 0x20 || (self.ensure_ascii && c >= '\u{7f}') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

/// Python writes floats with the shortest digits, as Rust does, but with a two-digit signed exponent.
fn number(n: &serde_json::Number) -> String {
    let Some(x) = n.as_f64().filter(|_| n.is_f64()) else {
        return n.to_string();
    };
    if x == 0.0 || (1e-4..1e16).contains(&x.abs()) {
        return format!("{x:?}");
    }
    let text = format!("{x:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn dump(value: &Value, indent: Option<usize>, ensure_ascii: bool) -> String {
        let separators = (
            if indent.is_some() { "," } else { ", " }.to_owned(),
            ": ".to_owned(),
        );
        let style = Style {
            ensure_ascii,
            indent,
            sort_keys: false,
            separators,
        };
        style.dump(value)
    }

    /// Expected texts are Python's.
    #[test]
    fn as_python_writes_it() {
        let value = json!({"b": [1, 2.0, 1e-7, 1e22], "a": {"x": null, "t": "<é'\u{1F600}\n\u{7f}>"}, "e": [], "o": {}});
        assert_eq!(
            dump(&value, None, false),
            "{\"b\": [1, 2.0, 1e-07, 1e+22], \"a\": {\"x\": null, \"t\": \"<é'\u{1F600}\\n\u{7f}>\"}, \"e\": [], \"o\": {}}"
        );
        assert_eq!(
            dump(&json!("é\u{1F600}\u{7f}"), None, true),
            "\"\\u00e9\\ud83d\\ude00\\u007f\""
        );
        assert_eq!(
            dump(&json!({"a": [1], "e": []}), Some(2), false),
            "{\n  \"a\": [\n    1\n  ],\n  \"e\": []\n}"
        );
    }
}
