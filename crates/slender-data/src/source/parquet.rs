//! `.parquet`: one string column, read a slice of rows at a time; or a column of messages, row by row.
//!
//! The column reader is used directly: no other column is decoded and no Arrow is compiled. Nulls are empty
//! documents, so that positions count rows.

use super::{Documents, Progress, Reading, until_end};
use crate::chat::{canonical, missing_column};
use crate::{Content, DataError};
use parquet::basic::Type as PhysicalType;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Rows decoded at a time; with web documents of a few kilobytes this is a few megabytes.
const ROWS: usize = 512;

/// Documents of a Parquet file. `size` is what `progress` grows by over the whole file.
pub(super) fn documents(
    file: File,
    path: &Path,
    reading: Reading<'_>,
    size: u64,
    progress: Progress,
) -> Result<Documents, DataError> {
    let column = reading.column;
    let reader = SerializedFileReader::new(file).map_err(|e| failure(path, e))?;
    if reading.content == Content::Conversations {
        return conversations(reader, path, column, size, progress);
    }
    let schema = reader.metadata().file_metadata().schema_descr();
    let names = || {
        let root = schema.root_schema();
        root.get_fields()
            .iter()
            .map(|field| field.name().to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let place = path.display().to_string();
    let Some(leaf) = schema
        .columns()
        .iter()
        .position(|c| c.path().string() == column)
    else {
        if schema
            .root_schema()
            .get_fields()
            .iter()
            .any(|field| field.name() == column)
        {
            return Err(DataError::ColumnType {
                place,
                column: column.into(),
                found: "nested values".into(),
            });
        }
        return Err(DataError::MissingColumn {
            place,
            column: column.into(),
            available: names(),
        });
    };
    let description = schema.column(leaf);
    if description.physical_type() != PhysicalType::BYTE_ARRAY || description.max_rep_level() > 0 {
        let found = description.physical_type().to_string();
        return Err(DataError::ColumnType {
            place,
            column: column.into(),
            found,
        });
    }
    let nullable = description.max_def_level();
    let mut rows = Rows {
        per_group: size / reader.num_row_groups().max(1) as u64,
        reader,
        path: path.to_path_buf(),
        leaf,
        max_def_level: nullable,
        group: 0,
        row: 0,
        column: None,
        ready: VecDeque::new(),
        progress,
    };
    Ok(until_end(move || rows.read_one()))
}

/// Conversations of a Parquet file: a list of groups in `column`.
fn conversations(
    reader: SerializedFileReader<File>,
    path: &Path,
    column: &str,
    size: u64,
    progress: Progress,
) -> Result<Documents, DataError> {
    let root = reader.metadata().file_metadata().schema().clone();
    let fields = root.get_fields();
    let Some(field) = fields.iter().find(|field| field.name() == column) else {
        let names: Vec<String> = fields.iter().map(|field| field.name().to_owned()).collect();
        return Err(DataError::Conversation {
            place: path.display().to_string(),
            message: missing_column(column, &names),
        });
    };
    let projection = Type::group_type_builder(root.name())
        .with_fields(vec![field.clone()])
        .build()
        .map_err(|e| failure(path, e))?;
    let total = reader.metadata().file_metadata().num_rows().max(1) as u64;
    let path = path.to_path_buf();
    let mut rows = RowIter::from_file_into(Box::new(reader))
        .project(Some(projection))
        .map_err(|e| failure(&path, e))?;
    let (mut row, mut said) = (0u64, 0u64);
    Ok(until_end(move || {
        let Some(next) = rows.next() else {
            return Ok(None);
        };
        let next = next.map_err(|e| failure(&path, e))?;
        row += 1;
        let now = (u128::from(size) * u128::from(row) / u128::from(total)) as u64;
        progress.fetch_add(now.saturating_sub(said), Ordering::Relaxed);
        said = now;
        let value = next
            .get_column_iter()
            .next()
            .map_or(Value::Null, |(_, field)| to_json(field));
        canonical(value)
            .map(Some)
            .map_err(|message| DataError::Conversation {
                place: format!("{}: row {row}", path.display()),
                message,
            })
    }))
}

/// Texts, numbers, lists and groups; anything else is null.
fn to_json(field: &Field) -> Value {
    match field {
        Field::Str(text) => json!(text),
        Field::Bool(value) => json!(value),
        Field::Int(value) => json!(value),
        Field::Long(value) => json!(value),
        Field::Double(value) => json!(value),
        Field::Group(row) => {
            let fields = row.get_column_iter();
            Value::Object(
                fields
                    .map(|(name, field)| (name.clone(), to_json(field)))
                    .collect(),
            )
        }
        Field::ListInternal(list) => Value::Array(list.elements().iter().map(to_json).collect()),
        _ => Value::Null,
    }
}

fn failure(path: &Path, error: impl std::fmt::Display) -> DataError {
    DataError::Parquet {
        path: path.to_path_buf(),
        message: error.to_string(),
    }
}

struct Rows {
    reader: SerializedFileReader<File>,
    path: PathBuf,
    leaf: usize,
    /// Definition level of a value that is not null.
    max_def_level: i16,
    group: usize,
    row: u64,
    column: Option<ColumnReaderImpl<ByteArrayType>>,
    ready: VecDeque<Option<ByteArray>>,
    progress: Progress,
    per_group: u64,
}

impl Rows {
    fn read_one(&mut self) -> Result<Option<String>, DataError> {
        while self.ready.is_empty() {
            if !self.refill()? {
                return Ok(None);
            }
        }
        let row = self.row;
        self.row += 1;
        match self.ready.pop_front().flatten() {
            None => Ok(Some(String::new())),
            Some(bytes) => match std::str::from_utf8(bytes.data()) {
                Ok(text) => Ok(Some(text.to_string())),
                Err(e) => Err(failure(
                    &self.path,
                    format!("row {row}: invalid UTF-8 at byte {}", e.valid_up_to()),
                )),
            },
        }
    }

    /// Decodes the next rows; false at the end of the file.
    fn refill(&mut self) -> Result<bool, DataError> {
        let Some(column) = &mut self.column else {
            if self.group == self.reader.num_row_groups() {
                return Ok(false);
            }
            let group = self
                .reader
                .get_row_group(self.group)
                .map_err(|e| failure(&self.path, e))?;
            let column = group
                .get_column_reader(self.leaf)
                .map_err(|e| failure(&self.path, e))?;
            let ColumnReader::ByteArrayColumnReader(column) = column else {
                return Err(failure(
                    &self.path,
                    "the text column changes its type between row groups",
                ));
            };
            self.column = Some(column);
            return Ok(true);
        };
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let wants_levels = self.max_def_level > 0;
        let (rows, _, _) = column
            .read_records(ROWS, wants_levels.then_some(&mut levels), None, &mut values)
            .map_err(|e| failure(&self.path, e))?;
        if rows == 0 {
            self.column = None;
            self.group += 1;
            self.progress.fetch_add(self.per_group, Ordering::Relaxed);
            return Ok(true);
        }
        let mut values = values.into_iter();
        if wants_levels {
            let present = levels.iter().map(|level| *level == self.max_def_level);
            self.ready
                .extend(present.map(|present| if present { values.next() } else { None }));
        } else {
            self.ready.extend(values.map(Some));
        }
        Ok(true)
    }
}
