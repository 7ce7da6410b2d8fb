//! A row of a data set with its place, so that a wrong field can be named by file and line.
//!
//! Rows stay JSON values until a task reads them: the data sets share no schema, and a Parquet
//! row from the hub and a line of a local file must look the same to the task.

use serde_json::Value;

use crate::error::EvalError;
use crate::tasks::Task;

/// One row, the task that reads it and where it came from.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The task on whose behalf it is read.
    pub task: &'static Task,
    /// A JSON object.
    pub value: &'a Value,
    /// File or repository.
    pub origin: &'a str,
    /// Line or row number, from 1.
    pub line: usize,
}

impl<'a> Row<'a> {
    /// An error about `field` of this row; `problem` completes "field `x` …".
    pub fn bad(&self, field: &str, problem: impl Into<String>) -> EvalError {
        EvalError::BadField {
            task: self.task.name,
            place: format!("{}:{}", self.origin, self.line),
            field: field.to_owned(),
            problem: problem.into(),
            fields: self.task.fields,
        }
    }

    /// The value at a dotted path, or `None`.
    pub fn get(&self, field: &str) -> Option<&'a Value> {
        field
            .split('.')
            .try_fold(self.value, |value, key| value.get(key))
            .filter(|value| !value.is_null())
    }

    fn need(&self, field: &str) -> Result<&'a Value, EvalError> {
        self.get(field).ok_or_else(|| self.bad(field, "is missing"))
    }

    /// A text.
    ///
    /// # Errors
    /// The field is missing or not a string.
    pub fn text(&self, field: &str) -> Result<&'a str, EvalError> {
        self.need(field)?
            .as_str()
            .ok_or_else(|| self.bad(field, "is not a string"))
    }

    /// A list of texts with at least two entries.
    ///
    /// # Errors
    /// The field is missing, not a list of strings, or shorter than two.
    pub fn texts(&self, field: &str) -> Result<Vec<String>, EvalError> {
        let list = self.strings(field)?;
        if list.len() < 2 {
            return Err(self.bad(field, format!("has {} entries, fewer than two", list.len())));
        }
        Ok(list)
    }

    /// A list of texts of any length.
    ///
    /// # Errors
    /// The field is missing or not a list of strings.
    pub fn strings(&self, field: &str) -> Result<Vec<String>, EvalError> {
        let texts = |list: &Vec<Value>| {
            list.iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
        };
        let list = self.need(field)?.as_array().and_then(texts);
        list.ok_or_else(|| self.bad(field, "is not a list of strings"))
    }

    /// A list of whole numbers.
    ///
    /// # Errors
    /// The field is missing or not such a list.
    pub fn numbers(&self, field: &str) -> Result<Vec<i64>, EvalError> {
        let numbers =
            |list: &Vec<Value>| list.iter().map(Value::as_i64).collect::<Option<Vec<_>>>();
        let list = self.need(field)?.as_array().and_then(numbers);
        list.ok_or_else(|| self.bad(field, "is not a list of whole numbers"))
    }

    /// A whole number, given as a number or, as some of the data sets do, as digits in a string.
    ///
    /// # Errors
    /// The field is missing or neither.
    pub fn integer(&self, field: &str) -> Result<i64, EvalError> {
        let value = self.need(field)?;
        value
            .as_i64()
            .or_else(|| value.as_str()?.trim().parse().ok())
            .ok_or_else(|| self.bad(field, format!("is {value}, not a whole number")))
    }

    /// An index into `n` choices, from a number that counts from `first`.
    ///
    /// # Errors
    /// The field is missing, not a number, or outside the choices.
    pub fn choice(&self, field: &str, first: i64, n: usize) -> Result<usize, EvalError> {
        let number = self.integer(field)?;
        usize::try_from(number - first)
            .ok()
            .filter(|&index| index < n)
            .ok_or_else(|| {
                self.bad(
                    field,
                    format!("is {number}, which names none of {n} choices"),
                )
            })
    }

    /// An index into the choices from an answer key and the list of labels.
    ///
    /// # Errors
    /// Either field is missing, or the key is not among the labels.
    pub fn labelled(&self, key: &str, labels: &str) -> Result<usize, EvalError> {
        let answer = self.text(key)?.trim_start();
        self.texts(labels)?
            .iter()
            .position(|label| label == answer)
            .ok_or_else(|| self.bad(key, format!("is {answer:?}, which is not among `{labels}`")))
    }

    /// The data set's own name for the row, where the field exists.
    pub fn id(&self, field: &str) -> Option<String> {
        match self.get(field)? {
            Value::String(id) => Some(id.clone()),
            other => Some(other.to_string()),
        }
    }
}
