//! `results.parquet`: one row for each run and metric, for data frames.
//!
//! Written through the column interface, as elsewhere in slender: Arrow would double the time to
//! compile for one file.

use crate::error::SweepError;
use crate::results::{RunResult, SweepResults};
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use std::sync::Arc;

const SCHEMA: &str = "message results {
    required binary sweep (UTF8);
    required binary run (UTF8);
    required binary variant (UTF8);
    required int64 seed;
    required binary state (UTF8);
    required binary axes (UTF8);
    optional int64 params_total;
    optional int64 params_non_embedding;
    required int64 n_layers;
    required int64 tokens;
    required binary metric (UTF8);
    required double value;
    optional double stderr;
    optional int64 examples;
}";

/// One row.
struct Row<'a> {
    run: &'a RunResult,
    metric: String,
    value: f64,
    stderr: Option<f64>,
    examples: Option<u64>,
}

/// The file's bytes.
pub(crate) fn parquet(results: &SweepResults) -> Result<Vec<u8>, SweepError> {
    let rows: Vec<Row<'_>> = results.runs.iter().flat_map(rows_of).collect();
    write(&results.name, &rows).map_err(|error| SweepError::Format {
        path: "results.parquet".into(),
        message: error.to_string(),
    })
}

fn rows_of(run: &RunResult) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    let mut add = |metric: String, value: Option<f64>, stderr, examples| {
        rows.extend(value.map(|value| Row {
            run,
            metric,
            value,
            stderr,
            examples,
        }));
    };
    add("valid_loss".into(), run.valid_loss, None, None);
    add(
        "valid_bits_per_byte".into(),
        run.valid_bits_per_byte,
        None,
        None,
    );
    for (name, average) in [
        ("average", run.average),
        ("average_without_boolq", run.average_without_boolq),
        ("average_norm", run.average_norm),
    ] {
        add(
            name.into(),
            average.map(|a| a.mean),
            average.and_then(|a| a.stderr),
            None,
        );
    }
    for (task, score) in &run.tasks {
        let examples = Some(score.examples);
        add(
            format!("{task}/acc"),
            Some(score.acc),
            score.acc_stderr,
            examples,
        );
        add(
            format!("{task}/acc_norm"),
            score.acc_norm,
            score.acc_norm_stderr,
            examples,
        );
    }
    add("train_flops".into(), run.train_flops, None, None);
    add("train_s".into(), Some(run.timing.train_s), None, None);
    rows
}

fn write(sweep: &str, rows: &[Row<'_>]) -> Result<Vec<u8>, ParquetError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    let state = |run: &RunResult| format!("{:?}", run.state).to_lowercase();
    let axes = |run: &RunResult| serde_json::to_string(&run.axes).unwrap_or_default();
    let params = |run: &RunResult| run.facts.accounting;
    let of = |text: &str| Some(ByteArray::from(text));
    put::<ByteArrayType>(&mut group, rows, |_| of(sweep))?;
    put::<ByteArrayType>(&mut group, rows, |row| of(&row.run.name))?;
    put::<ByteArrayType>(&mut group, rows, |row| of(&row.run.variant))?;
    put::<Int64Type>(&mut group, rows, |row| Some(row.run.seed as i64))?;
    put::<ByteArrayType>(&mut group, rows, |row| of(&state(row.run)))?;
    put::<ByteArrayType>(&mut group, rows, |row| of(&axes(row.run)))?;
    put::<Int64Type>(&mut group, rows, |row| {
        Some(params(row.run)?.params_total as i64)
    })?;
    put::<Int64Type>(&mut group, rows, |row| {
        Some(params(row.run)?.params_non_embedding as i64)
    })?;
    put::<Int64Type>(&mut group, rows, |row| Some(row.run.facts.n_layers as i64))?;
    put::<Int64Type>(&mut group, rows, |row| Some(row.run.tokens as i64))?;
    put::<ByteArrayType>(&mut group, rows, |row| of(&row.metric))?;
    put::<DoubleType>(&mut group, rows, |row| Some(row.value))?;
    put::<DoubleType>(&mut group, rows, |row| row.stderr)?;
    put::<Int64Type>(&mut group, rows, |row| Some(row.examples? as i64))?;
    group.close()?;
    writer.close()?;
    Ok(bytes)
}

/// Writes the next column; a missing value is null, where the schema allows it.
fn put<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, &mut Vec<u8>>,
    rows: &[Row<'_>],
    of: impl Fn(&Row<'_>) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("a column is missing".to_owned()));
    };
    let values: Vec<Option<T::T>> = rows.iter().map(of).collect();
    let levels: Vec<i16> = values
        .iter()
        .map(|value| i16::from(value.is_some()))
        .collect();
    let present: Vec<T::T> = values.into_iter().flatten().collect();
    column
        .typed::<T>()
        .write_batch(&present, Some(&levels), None)?;
    column.close()
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};

    #[test]
    fn an_empty_sweep_is_a_readable_table() {
        let bytes = write("s", &[]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.parquet");
        std::fs::write(&path, bytes).unwrap();
        let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
        let schema = reader.metadata().file_metadata().schema_descr();
        assert_eq!(schema.num_columns(), 14);
        assert_eq!(reader.get_row_iter(None).unwrap().count(), 0);
    }
}
