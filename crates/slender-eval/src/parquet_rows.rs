//! The rows of a Parquet file as JSON objects, the form in which tasks read them.
//!
//! The record interface is slow next to Arrow and compiles in a fraction of the time; a benchmark split
//! has at most some ten thousand rows. Types that no benchmark uses (dates, decimals) become null, which
//! a task that needs them reports as a missing field.

use std::fs::File;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Map, Value, json};

use crate::error::EvalError;

/// All rows, each a JSON object.
///
/// # Errors
/// The file cannot be opened or is not Parquet.
pub(crate) fn read(path: &Path) -> Result<Vec<Value>, EvalError> {
    let bad = |error: parquet::errors::ParquetError| EvalError::Parquet {
        path: path.to_owned(),
        message: error.to_string(),
    };
    let file = File::open(path).map_err(|source| EvalError::Io {
        verb: "read",
        path: path.to_owned(),
        source,
    })?;
    let reader = SerializedFileReader::new(file).map_err(bad)?;
    let rows = reader.get_row_iter(None).map_err(bad)?;
    rows.map(|row| row.map(object).map_err(bad)).collect()
}

fn object(row: parquet::record::Row) -> Value {
    let columns = row.into_columns().into_iter();
    Value::Object(columns.map(|(name, field)| (name, value(&field))).collect())
}

fn value(field: &Field) -> Value {
    match field {
        Field::Bool(x) => json!(x),
        Field::Byte(x) => json!(x),
        Field::Short(x) => json!(x),
        Field::Int(x) => json!(x),
        Field::Long(x) => json!(x),
        Field::UByte(x) => json!(x),
        Field::UShort(x) => json!(x),
        Field::UInt(x) => json!(x),
        Field::ULong(x) => json!(x),
        Field::Float(x) => json!(x),
        Field::Double(x) => json!(x),
        Field::Str(text) => json!(text),
        Field::Group(row) => {
            let columns = row.get_column_iter();
            let pairs = columns.map(|(name, field)| (name.clone(), value(field)));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        _ => Value::Null,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;
    use crate::{TaskData, tasks};

    /// Two rows in the layout that `datasets` writes for ARC.
    pub(crate) fn write(path: &Path) {
        let schema = parse_message_type(
            "message schema {
               optional binary question (UTF8);
               optional group choices {
                 optional group text (LIST) { repeated group list { optional binary element (UTF8); } }
                 optional group label (LIST) { repeated group list { optional binary element (UTF8); } }
               }
               optional binary answerKey (UTF8);
               optional int64 number;
             }",
        )
        .unwrap();
        let texts = |texts: &[&str]| {
            texts
                .iter()
                .map(|&t| ByteArray::from(t))
                .collect::<Vec<_>>()
        };
        let lists = [
            texts(&["red", "blue", "one", "two", "three"]),
            texts(&["A", "B", "1", "2", "3"]),
        ];
        let file = File::create(path).unwrap();
        let properties = Arc::new(WriterProperties::default());
        let mut writer = SerializedFileWriter::new(file, Arc::new(schema), properties).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut index = 0;
        while let Some(mut column) = group.next_column().unwrap() {
            match index {
                0 => drop(column.typed::<ByteArrayType>().write_batch(
                    &texts(&["What colour?", "How many?"]),
                    Some(&[1, 1]),
                    None,
                )),
                1 | 2 => drop(column.typed::<ByteArrayType>().write_batch(
                    &lists[index - 1],
                    Some(&[4; 5]),
                    Some(&[0, 1, 0, 1, 1]),
                )),
                3 => drop(column.typed::<ByteArrayType>().write_batch(
                    &texts(&["B", "3"]),
                    Some(&[1, 1]),
                    None,
                )),
                _ => drop(
                    column
                        .typed::<Int64Type>()
                        .write_batch(&[7], Some(&[1, 0]), None),
                ),
            }
            column.close().unwrap();
            index += 1;
        }
        group.close().unwrap();
        writer.close().unwrap();
    }

    #[test]
    fn nested_rows_of_the_hub_become_examples() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.parquet");
        write(&path);
        let rows = read(&path).unwrap();
        assert_eq!(rows[0]["number"], json!(7));
        assert_eq!(rows[1]["number"], Value::Null);
        let rows: Vec<_> = rows
            .into_iter()
            .enumerate()
            .map(|(i, row)| (i + 1, row))
            .collect();
        let task = tasks::find("arc_easy").unwrap();
        let data = TaskData::from_rows(task, &rows, "x".into(), String::new(), true).unwrap();
        assert_eq!(data.examples[0].choices, ["red", "blue"]);
        assert_eq!((data.examples[0].gold, data.examples[1].gold), (1, 2));
        assert_eq!(data.examples[1].context(0), "Question: How many?\nAnswer:");
    }

    #[test]
    fn what_is_not_parquet_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.parquet");
        std::fs::write(&path, "not parquet").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("x.parquet as Parquet"), "{error}");
        assert!(read(&dir.path().join("absent")).is_err());
    }
}
