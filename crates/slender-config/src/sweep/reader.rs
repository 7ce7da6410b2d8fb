//! Taking typed values out of a section, with a problem for each that is not what it should be.
//!
//! Sections of a sweep file take a number, a list or a range in one place, which is read here by hand:
//! the message then says what may be written, which an untagged enum cannot.

use crate::error::Problem;
use crate::load::Merged;
use toml::{Table, Value};

/// A section being read, and the problems found so far.
pub(super) struct Reader<'a> {
    pub merged: &'a Merged,
    /// Dotted path of the section.
    pub path: String,
    pub table: &'a Table,
    pub problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    /// Notes a problem at `key` of this section.
    pub fn wrong(&mut self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        let key = match key {
            "" => self.path.clone(),
            _ => format!("{}.{key}", self.path),
        };
        self.problems.push(Problem {
            origin: self.merged.origin(&key),
            key,
            message: message.into(),
            hint: Some(hint.into()),
        });
    }

    /// Refuses keys other than `known`.
    pub fn only(&mut self, known: &[&str]) {
        for key in self.table.keys() {
            if !known.contains(&key.as_str()) {
                let hint = match nearest(key, known) {
                    Some(near) => format!("did you mean `{}.{near}`?", self.path),
                    None => format!("keys here: {}", known.join(", ")),
                };
                self.wrong(key, "unknown key", hint);
            }
        }
    }

    /// Text in quotes.
    pub fn text(&mut self, key: &str) -> Option<String> {
        match self.table.get(key)? {
            Value::String(text) => Some(text.clone()),
            other => {
                let message = format!("found {}, expected text in quotes", kind(other));
                self.wrong(key, message, "write it in quotes");
                None
            }
        }
    }

    /// True or false.
    pub fn flag(&mut self, key: &str) -> Option<bool> {
        match self.table.get(key)? {
            Value::Boolean(flag) => Some(*flag),
            other => {
                let message = format!("found {}, expected true or false", kind(other));
                self.wrong(key, message, "write true or false");
                None
            }
        }
    }

    /// Text in quotes, or a list of it.
    pub fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let items = match self.table.get(key)? {
            Value::Array(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        let texts: Option<Vec<String>> = (items.iter())
            .map(|item| item.as_str().map(str::to_owned))
            .collect();
        if texts.is_none() {
            self.wrong(key, "expected text in quotes, or a list of it", "");
        }
        texts
    }

    /// A whole number of at least 1.
    pub fn count(&mut self, key: &str) -> Option<usize> {
        match self.table.get(key)?.as_integer() {
            Some(number) if number > 0 => usize::try_from(number).ok(),
            _ => {
                self.wrong(
                    key,
                    "expected a whole number of at least 1",
                    "write 1 or more",
                );
                None
            }
        }
    }

    /// A number, or text such as `125M` or `1.2e18`.
    pub fn quantity(&mut self, key: &str) -> Option<f64> {
        let found = match self.table.get(key)? {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            Value::String(text) => parse_quantity(text),
            _ => None,
        };
        let found = found.filter(|number| number.is_finite() && *number > 0.0);
        if found.is_none() {
            self.wrong(
                key,
                "expected a number above 0",
                "write it out, or as text with K, M, B or T, such as \"125M\"",
            );
        }
        found
    }

    /// A whole number, a list of them, or a range such as `4..62`, both ends included; `4..62 by 2` takes
    /// every second.
    pub fn wholes(&mut self, key: &str) -> Option<Vec<usize>> {
        let value = self.table.get(key)?;
        let one = |value: &Value| value.as_integer().and_then(|n| usize::try_from(n).ok());
        let found = match value {
            Value::Array(items) => items.iter().map(one).collect(),
            Value::String(text) => parse_range(text),
            other => one(other).map(|number| vec![number]),
        };
        match found {
            Some(mut numbers) if !numbers.is_empty() && numbers.iter().all(|n| *n > 0) => {
                numbers.sort_unstable();
                numbers.dedup();
                Some(numbers)
            }
            _ => {
                self.wrong(
                    key,
                    "expected a whole number, a list of them or a range, none of them 0",
                    "write 12, [4, 8, 12], \"4..62\" (both ends included) or \"4..62 by 2\"",
                );
                None
            }
        }
    }

    /// A number or a list of numbers, all above 0.
    pub fn numbers(&mut self, key: &str) -> Option<Vec<f64>> {
        let items = match self.table.get(key)? {
            Value::Array(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        let number = |item: &Value| item.as_float().or(item.as_integer().map(|n| n as f64));
        let found: Option<Vec<f64>> = items.iter().map(number).collect();
        let sound = |numbers: &Vec<f64>| {
            !numbers.is_empty() && numbers.iter().all(|n| n.is_finite() && *n > 0.0)
        };
        let found = found.filter(sound);
        if found.is_none() {
            self.wrong(
                key,
                "expected a number above 0, or a list of them",
                "write 2.67 or [2.0, 4.0]",
            );
        }
        found
    }
}

/// What a value is, in a user's words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
        Value::Datetime(_) => "a date",
    }
}

/// The known name that `name` was probably meant to be.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|key| (strsim::damerau_levenshtein(key, name), *key))
        .filter(|(distance, key)| *distance <= 2.max(key.len() / 3))
        .min()
        .map(|(_, key)| key)
}

/// `125M`, `1.5B`, `2e18`, `512`.
pub fn parse_quantity(text: &str) -> Option<f64> {
    let text = text.trim().replace('_', "");
    let units = [
        ('K', 1e3),
        ('k', 1e3),
        ('M', 1e6),
        ('B', 1e9),
        ('G', 1e9),
        ('T', 1e12),
    ];
    let unit = units.iter().find(|(suffix, _)| text.ends_with(*suffix));
    let (digits, factor) = match unit {
        Some((suffix, factor)) => (text.trim_end_matches(*suffix), *factor),
        None => (text.as_str(), 1.0),
    };
    Some(digits.trim().parse::<f64>().ok()? * factor)
}

/// `4..62`, `4..62 by 2`, `12`, `4,8,12`.
pub fn parse_range(text: &str) -> Option<Vec<usize>> {
    /// More values than any dimension of a space needs.
    const MOST: usize = 100_000;
    let number = |text: &str| text.trim().parse::<usize>().ok();
    let Some((low, rest)) = text.split_once("..") else {
        return text.split(',').map(number).collect();
    };
    let (high, step) = match rest.split_once("by") {
        Some((high, step)) => (high, number(step)?),
        None => (rest, 1),
    };
    let (low, high) = (number(low)?, number(high.trim_start_matches('='))?);
    let sound = low <= high && step > 0 && (high - low) / step < MOST;
    sound.then(|| (low..=high).step_by(step).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_and_ranges_are_read_as_people_write_them() {
        for (text, wanted) in [
            ("125M", Some(125e6)),
            ("1.5B", Some(1.5e9)),
            ("2e18", Some(2e18)),
            ("1_000", Some(1e3)),
            ("M", None),
            ("", None),
        ] {
            assert_eq!(parse_quantity(text), wanted, "{text}");
        }
        assert_eq!(parse_range("2..5"), Some(vec![2, 3, 4, 5]));
        assert_eq!(parse_range("2..9 by 3"), Some(vec![2, 5, 8]));
        assert_eq!(parse_range("7"), Some(vec![7]));
        assert_eq!(parse_range("4, 8"), Some(vec![4, 8]));
        for text in ["5..2", "a..b", "1..9 by 0", "", "1..99999999999"] {
            assert_eq!(parse_range(text), None, "{text}");
        }
    }
}
