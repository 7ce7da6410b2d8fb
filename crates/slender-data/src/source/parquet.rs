//! `.parquet`: one string column, read a slice of rows at a time.
//!
//! The column reader is used directly: no other column is decoded and no Arrow is compiled. Nulls are empty
//! documents, so that positions count rows.

use super::{Documents, Progress, until_end};
use crate::DataError;
use parquet::basic::Type as PhysicalType;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::reader::{FileReader, SerializedFileReader};
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
    column: &str,
    size: u64,
    progress: Progress,
) -> Result<Documents, DataError> {
    let reader = SerializedFileReader::new(file).map_err(|e| failure(path, e))?;
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
