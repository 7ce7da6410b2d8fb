//! Reading files in every format and compression, and the errors of bad ones.

mod common;

use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use slender_data::{DataError, read_documents};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn read(path: &Path) -> Vec<String> {
    read_documents(path, "text", Some("---"))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    // Two members, as `cat a.gz b.gz` makes.
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let member = |part: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(part).unwrap();
        encoder.finish().unwrap()
    };
    [member(first), member(second)].concat()
}

fn zstd_long(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(28).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn parquet(texts: &[Option<&str>], per_group: usize) -> Vec<u8> {
    let schema = "message m { required int64 id; optional binary text (UTF8); required group meta { required int64 n; } }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(
        WriterProperties::builder()
            .set_compression(parquet::basic::Compression::SNAPPY)
            .build(),
    );
    let mut out = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut out, schema, properties).unwrap();
    for group in texts.chunks(per_group) {
        let ids: Vec<i64> = (0..group.len() as i64).collect();
        let values: Vec<ByteArray> = group
            .iter()
            .flatten()
            .map(|t| ByteArray::from(t.as_bytes().to_vec()))
            .collect();
        let levels: Vec<i16> = group.iter().map(|t| i16::from(t.is_some())).collect();
        let mut rows = writer.next_row_group().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        column
            .typed::<Int64Type>()
            .write_batch(&ids, None, None)
            .unwrap();
        column.close().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        column
            .typed::<ByteArrayType>()
            .write_batch(&values, Some(&levels), None)
            .unwrap();
        column.close().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        column
            .typed::<Int64Type>()
            .write_batch(&ids, None, None)
            .unwrap();
        column.close().unwrap();
        rows.close().unwrap();
    }
    writer.close().unwrap();
    out
}

#[test]
fn every_format_and_compression() {
    let dir = tempfile::tempdir().unwrap();
    let texts = ["one\ntwo", "drei – vier", "\u{1F600} five"];
    let txt: String = texts.iter().map(|t| format!("{t}\n---\n")).collect();
    let jsonl: String = texts
        .iter()
        .map(|t| serde_json::json!({ "id": 1, "text": t }).to_string() + "\n")
        .collect();
    let rows = [Some(texts[0]), None, Some(texts[1]), Some(texts[2])];
    let bodies = [
        ("txt", txt.into_bytes()),
        ("jsonl", jsonl.into_bytes()),
        ("parquet", parquet(&rows, 3)),
    ];
    for (extension, body) in &bodies {
        for (suffix, bytes) in [
            ("", body.clone()),
            (".gz", gzip(body)),
            (".zst", zstd_long(body)),
        ] {
            let path = dir.path().join(format!("a.{extension}{suffix}"));
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read(&path), texts, "{}", path.display());
        }
    }
}

#[test]
fn parquet_of_many_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let texts: Vec<String> = (0..5000).map(|i| format!("row {i}")).collect();
    let rows: Vec<Option<&str>> = texts
        .iter()
        .enumerate()
        .map(|(i, t)| (i % 7 != 3).then_some(t.as_str()))
        .collect();
    std::fs::write(&path, parquet(&rows, 1300)).unwrap();
    let expected: Vec<&str> = rows.iter().flatten().copied().collect();
    assert_eq!(read(&path), expected);
}

#[test]
fn errors_name_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let message = |path: &Path, column: &str| -> String {
        match read_documents(path, column, None) {
            Err(error) => error.to_string(),
            Ok(mut documents) => documents
                .find_map(Result::err)
                .expect("an error")
                .to_string(),
        }
    };
    let parquet = write("a.parquet", &parquet(&[Some("x")], 10));
    let missing = message(&parquet, "body");
    assert!(
        missing.contains("a.parquet") && missing.contains("id, text, meta"),
        "{missing}"
    );
    assert!(message(&parquet, "id").contains("INT64"));
    assert!(message(&parquet, "meta").contains("nested"));
    let jsonl = write("a.jsonl", b"{\"text\": \"a\"}\n{\"txt\": \"b\"}\n");
    let missing = message(&jsonl, "text");
    assert!(
        missing.contains("a.jsonl:2") && missing.contains("there is txt"),
        "{missing}"
    );
    assert!(message(&write("b.parquet", b"PAR1 not really"), "text").contains("b.parquet"));
    assert!(message(&write("a.txt", b"ab\xff"), "text").contains("byte 2"));
    assert!(message(&dir.path().join("none.txt"), "text").contains("none.txt"));
    assert!(matches!(
        read_documents(&write("a.csv", b""), "text", None).err(),
        Some(DataError::UnknownExtension { .. })
    ));
}

#[test]
fn truncated_archives_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let text: Vec<u8> = common::documents(200, 1).join("\n---\n").into_bytes();
    for (name, bytes) in [("a.txt.gz", gzip(&text)), ("a.txt.zst", zstd_long(&text))] {
        let path = dir.path().join(name);
        std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
        let error = read_documents(&path, "text", Some("---"))
            .unwrap()
            .find_map(Result::err);
        assert!(error.expect(name).to_string().contains(name));
        std::fs::write(&path, b"not an archive").unwrap();
        let error = read_documents(&path, "text", Some("---"))
            .unwrap()
            .find_map(Result::err);
        assert!(error.expect(name).to_string().contains(name));
    }
}
