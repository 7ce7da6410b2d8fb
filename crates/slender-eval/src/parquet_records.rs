//! Example records as Parquet: one column for each field, lists as Parquet lists.
//!
//! Written through the column interface, as the rest of the crate reads (see `parquet_rows`): Arrow would
//! double the time to compile for one file.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use serde_json::Value;

use crate::error::EvalError;
use crate::records::ExampleRecord;

/// Rows of a row group.
const GROUP: usize = 10_000;

/// The columns in order: name, type, whether it is a list.
const COLUMNS: [(&str, Kind, bool); 27] = [
    ("format", Kind::Text, false),
    ("task", Kind::Text, false),
    ("doc_id", Kind::Int, false),
    ("id", Kind::Text, false),
    ("prompt", Kind::Text, false),
    ("choices", Kind::Text, true),
    ("contexts", Kind::Text, true),
    ("continuations", Kind::Text, true),
    ("log_likelihoods", Kind::Float, true),
    ("greedy", Kind::Bool, true),
    ("tokens", Kind::Int, true),
    ("characters", Kind::Int, true),
    ("bytes", Kind::Int, true),
    ("gold", Kind::Int, false),
    ("chosen", Kind::Int, false),
    ("chosen_norm", Kind::Int, false),
    ("right", Kind::Bool, false),
    ("right_norm", Kind::Bool, false),
    ("truncated", Kind::Bool, false),
    ("unconditional", Kind::Float, true),
    ("chosen_paper", Kind::Int, false),
    ("right_paper", Kind::Bool, false),
    ("truths", Kind::Bool, true),
    ("truth_share", Kind::Float, false),
    ("bits_per_byte", Kind::Float, false),
    ("margin", Kind::Float, false),
    ("generated", Kind::Text, false),
];

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Int,
    Float,
    Bool,
}

/// Writes records to `path`.
pub(crate) fn write(path: &Path, records: &[ExampleRecord]) -> Result<(), EvalError> {
    let rows: Vec<Value> = records
        .iter()
        .map(|record| serde_json::to_value(record).unwrap_or_default())
        .collect();
    let file = File::create(path).map_err(|source| EvalError::Io {
        verb: "write",
        path: path.to_owned(),
        source,
    })?;
    write_rows(file, &rows).map_err(|error| EvalError::Io {
        verb: "write",
        path: path.to_owned(),
        source: std::io::Error::other(error),
    })
}

fn schema() -> String {
    let column = |(name, kind, list): &(&str, Kind, bool)| {
        let kind = match kind {
            Kind::Text => "binary",
            Kind::Int => "int64",
            Kind::Float => "double",
            Kind::Bool => "boolean",
        };
        let text = if kind == "binary" { " (UTF8)" } else { "" };
        if *list {
            format!(
                "optional group {name} (LIST) {{ repeated group list {{ optional {kind} element{text}; }} }}\n"
            )
        } else {
            format!("optional {kind} {name}{text};\n")
        }
    };
    let columns: String = COLUMNS.iter().map(column).collect();
    format!("message examples {{\n{columns}}}")
}

fn write_rows(file: File, rows: &[Value]) -> Result<(), ParquetError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let schema = Arc::new(parse_message_type(&schema())?);
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties))?;
    for rows in rows.chunks(GROUP) {
        let mut group = writer.next_row_group()?;
        for (name, kind, list) in COLUMNS {
            let Some(column) = group.next_column()? else {
                return Err(ParquetError::General("a column is missing".to_owned()));
            };
            let values: Vec<&Value> = rows.iter().map(|row| &row[name]).collect();
            match kind {
                Kind::Text => put::<ByteArrayType>(column, &values, list, |value| {
                    value.as_str().map(ByteArray::from)
                })?,
                Kind::Int => put::<Int64Type>(column, &values, list, Value::as_i64)?,
                Kind::Float => put::<DoubleType>(column, &values, list, Value::as_f64)?,
                Kind::Bool => put::<BoolType>(column, &values, list, Value::as_bool)?,
            }
        }
        group.close()?;
    }
    writer.close()?;
    Ok(())
}

/// One column of a row group. Definition levels of a list: 0 absent, 1 empty, 3 an element; of a plain
/// column: 0 absent, 1 there. A list's first element has repetition level 0, the others 1.
fn put<T: DataType>(
    mut column: SerializedColumnWriter<'_>,
    rows: &[&Value],
    list: bool,
    read: impl Fn(&Value) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        if !list {
            let value = read(row);
            defined.push(i16::from(value.is_some()));
            values.extend(value);
            continue;
        }
        let Some(elements) = row.as_array() else {
            defined.push(0);
            repeated.push(0);
            continue;
        };
        if elements.is_empty() {
            defined.push(1);
            repeated.push(0);
        }
        for (i, element) in elements.iter().enumerate() {
            let value = read(element);
            defined.push(if value.is_some() { 3 } else { 2 });
            repeated.push(i16::from(i > 0));
            values.extend(value);
        }
    }
    let repeated = list.then_some(repeated.as_slice());
    column
        .typed::<T>()
        .write_batch(&values, Some(&defined), repeated)?;
    column.close()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::Example;
    use crate::metrics::ChoiceScore;
    use crate::records::{read_records, write_records};
    use crate::tasks;

    #[test]
    fn records_survive_parquet() {
        let task = tasks::find("openbookqa").unwrap();
        let choices = ["é".to_owned(), "two".to_owned()];
        let example = Example::shared(Some("x".into()), "a\nb".into(), choices.to_vec(), 1);
        let score = |log_likelihood| ChoiceScore {
            log_likelihood,
            greedy: false,
            tokens: 2,
        };
        let scores = [score(-1.0 / 3.0), score(-2.5)];
        let bare = Some(vec![-1.0, -4.0]);
        let question = Example::question(None, "Q".into(), vec!["a".into()]);
        let answer = tasks::find("triviaqa").unwrap();
        let records = vec![
            ExampleRecord::new(task, 0, &example, &scores, bare, true),
            ExampleRecord::answered(answer, 1, &question, "A".into(), false),
        ];
        let dir = tempfile::tempdir().unwrap();
        for name in ["x.parquet", "x.jsonl"] {
            let path = dir.path().join(name);
            write_records(&path, &records).unwrap();
            assert_eq!(read_records(&path).unwrap(), records, "{name}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn every_field_of_a_record_has_a_column() {
        let full = ExampleRecord {
            id: Some(String::new()),
            contexts: Some(vec![]),
            unconditional: Some(vec![]),
            chosen_paper: Some(0),
            right_paper: Some(true),
            truths: Some(vec![]),
            truth_share: Some(0.0),
            bits_per_byte: Some(0.0),
            margin: Some(0.0),
            generated: Some(String::new()),
            ..ExampleRecord::default()
        };
        let value = serde_json::to_value(full).unwrap();
        let mut fields: Vec<&str> = value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let mut columns: Vec<&str> = COLUMNS.iter().map(|column| column.0).collect();
        fields.sort_unstable();
        columns.sort_unstable();
        assert_eq!(fields, columns);
    }
}
