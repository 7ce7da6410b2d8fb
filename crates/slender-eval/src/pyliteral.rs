//! Python literals of lists, dictionaries and strings as JSON values.
//!
//! The hub's copy of RACE that the harness reads keeps its problems as the text of a Python list. Numbers,
//! `True`, `False` and `None` are read too; anything else is an error that says where.

use serde_json::{Map, Value, json};

/// Reads one literal.
///
/// # Errors
/// What is not understood, with its place in bytes.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value()?;
    reader.space();
    if reader.at < text.len() {
        return Err(reader.unexpected());
    }
    Ok(value)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn unexpected(&self) -> String {
        match self.rest().chars().next() {
            Some(c) => format!("is no Python literal: unexpected {c:?} at byte {}", self.at),
            None => "is no Python literal: it ends too early".to_owned(),
        }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Takes `token` if it comes next, after any space.
    fn take(&mut self, token: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn value(&mut self) -> Result<Value, String> {
        self.space();
        for (word, value) in [
            ("None", json!(null)),
            ("True", json!(true)),
            ("False", json!(false)),
        ] {
            if self.take(word) {
                return Ok(value);
            }
        }
        match self.rest().chars().next() {
            Some('[') => self.list('[', ']').map(Value::Array),
            Some('(') => self.list('(', ')').map(Value::Array),
            Some('{') => self.map(),
            Some('\'' | '"') => self.string().map(Value::String),
            Some('-' | '0'..='9') => self.number(),
            _ => Err(self.unexpected()),
        }
    }

    fn list(&mut self, open: char, close: char) -> Result<Vec<Value>, String> {
        self.at += open.len_utf8();
        let close = close.to_string();
        let mut list = Vec::new();
        loop {
            if self.take(&close) {
                return Ok(list);
            }
            list.push(self.value()?);
            if !self.take(",")
                && !{
                    self.space();
                    self.rest().starts_with(&close)
                }
            {
                return Err(self.unexpected());
            }
        }
    }

    fn map(&mut self) -> Result<Value, String> {
        self.at += 1;
        let mut map = Map::new();
        loop {
            if self.take("}") {
                return Ok(Value::Object(map));
            }
            self.space();
            let key = self.string()?;
            if !self.take(":") {
                return Err(self.unexpected());
            }
            map.insert(key, self.value()?);
            if !self.take(",")
                && !{
                    self.space();
                    self.rest().starts_with('}')
                }
            {
                return Err(self.unexpected());
            }
        }
    }

    fn number(&mut self) -> Result<Value, String> {
        let digits = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
        let rest = self.rest();
        let end = rest.find(|c| !digits(c)).unwrap_or(rest.len());
        let value = serde_json::from_str(&rest[..end]).map_err(|_| self.unexpected())?;
        self.at += end;
        Ok(value)
    }

    fn string(&mut self) -> Result<String, String> {
        let quote = match self.rest().chars().next() {
            Some(quote @ ('\'' | '"')) => quote,
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        let mut out = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else {
                return Err(self.unexpected());
            };
            self.at += c.len_utf8();
            if c == quote {
                return Ok(out);
            }
            if c == '\\' {
                out.push_str(&self.escape()?);
            } else {
                out.push(c);
            }
        }
    }

    /// What stands after a backslash.
    fn escape(&mut self) -> Result<String, String> {
        let Some(c) = self.rest().chars().next() else {
            return Err(self.unexpected());
        };
        let width = match c {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        if width > 0 {
            let hex = self.rest().get(1..=width);
            let code = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok());
            let Some(c) = code.and_then(char::from_u32) else {
                return Err(self.unexpected());
            };
            self.at += 1 + width;
            return Ok(c.to_string());
        }
        self.at += c.len_utf8();
        Ok(match c {
            'n' => "\n".to_owned(),
            'r' => "\r".to_owned(),
            't' => "\t".to_owned(),
            'a' => "\u{7}".to_owned(),
            'b' => "\u{8}".to_owned(),
            'f' => "\u{c}".to_owned(),
            'v' => "\u{b}".to_owned(),
            '0' => "\0".to_owned(),
            '\n' => String::new(),
            '\\' | '\'' | '"' => c.to_string(),
            // Python keeps the backslash of what is no escape.
            other => format!("\\{other}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_literals_are_read() {
        let text = r#"[{'question': "What's \"it\"?", 'options': ['a\n', 'b\u00e9', "c", 'd\q'], 'n': -1.5, 'x': None,}, ()]"#;
        let value = parse(text).unwrap();
        assert_eq!(value[0]["question"], "What's \"it\"?");
        assert_eq!(value[0]["options"], json!(["a\n", "bé", "c", "d\\q"]));
        assert_eq!(value[0]["n"], json!(-1.5));
        assert_eq!(value[1], json!([]));
    }

    #[test]
    fn what_is_no_literal_is_an_error_and_not_a_panic() {
        for text in [
            "", "[", "['a'", "[1 2]", "{'a' 1}", "'\\x4", "'\\u12", "f()", "[] 1", "{1: 2}",
        ] {
            assert!(
                parse(text).unwrap_err().contains("Python literal"),
                "{text}"
            );
        }
    }
}
