#![allow(clippy::unwrap_used)]
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use serde_json::json;

use super::schema::{Fate, KIND_KEY, VERSION_KEY};
use super::*;
use crate::{DataError, Document};

fn documents() -> Vec<Document> {
    (0..300)
        .map(|i| {
            let mut document = Document::new(format!("text {i}\n春"), if i % 2 == 0 { "s" } else { "诗" });
            if i % 3 > 0 {
                document.metadata.insert("line".into(), i.into());
                document.metadata.insert("tags".into(), json!(["a", { "b": null }]));
                document.statistics.insert("char_count".into(), f64::from(i) / 3.0);
            }
            document
        })
        .collect()
}

fn statistics() -> Vec<String> {
    vec!["char_count".into(), "never_measured".into()]
}

fn write(path: &Path, documents: &[Document]) -> Result<(), DataError> {
    let mut writer = DocumentWriter::with_statistics(path, &statistics())?;
    documents.iter().try_for_each(|d| writer.write(d))?;
    writer.finish()
}

fn read(path: &Path) -> Result<Vec<Document>, DataError> {
    read_documents(path)?.collect()
}

#[test]
fn written_documents_are_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let mut writer = DocumentWriter::with_statistics(&path, &statistics()).unwrap();
    documents().iter().for_each(|d| writer.write(d).unwrap());
    assert!(!path.exists(), "the file appeared before it was finished");
    writer.finish().unwrap();
    assert_eq!(read(&path).unwrap(), documents());
    let reader = read_documents(&path).unwrap();
    assert_eq!((reader.rows(), reader.statistics()), (300, &statistics()[..]));
    let mut measured = Vec::new();
    super::read::read_statistics(&path, &["char_count".into()], &mut |values, source, language| {
        measured.push((values[0], source.to_owned(), language.to_owned()));
    })
    .unwrap();
    let expect = documents().into_iter().map(|d| (d.statistics.get("char_count").copied(), d.source, d.language));
    assert_eq!(measured, expect.collect::<Vec<_>>());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn dropped_documents_keep_their_fate() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dropped.parquet");
    let fate = Fate { step: "length".into(), reason: "too_short".into(), detail: "2 字".into() };
    let mut writer = DocumentWriter::dropped(&path, &statistics()).unwrap();
    documents().iter().for_each(|d| writer.write_dropped(d, &fate).unwrap());
    writer.finish().unwrap();
    let mut reader = read_documents(&path).unwrap();
    let row = reader.next_row().unwrap().unwrap();
    assert_eq!(row, (documents()[0].clone(), Some(fate)));
    assert_eq!(read(&path).unwrap(), documents());
}

/// More than one row group, and texts longer than one.
#[test]
fn large_documents_are_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let documents: Vec<Document> = (0..5).map(|i| Document::new(format!("{i}春").repeat(5 << 20), "s")).collect();
    write(&path, &documents).unwrap();
    assert!(read(&path).unwrap() == documents);
    let reader = parquet::file::reader::SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
    let groups = parquet::file::reader::FileReader::metadata(&reader).num_row_groups();
    assert_eq!(groups, 3, "row groups are closed after 32 MiB of text");
}

#[test]
fn the_same_documents_give_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = |name: &str| {
        write(&dir.path().join(name), &documents()).unwrap();
        std::fs::read(dir.path().join(name)).unwrap()
    };
    assert!(bytes("a") == bytes("b"));
}

#[test]
fn an_abandoned_writer_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = DocumentWriter::create(&dir.path().join("a.parquet")).unwrap();
    writer.write(&documents()[0]).unwrap();
    drop(writer);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// `/dev/full` fails every write as a full disk does.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_apart_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", dir.path().join("a.parquet.danlu-tmp")).unwrap();
    let written = write(&dir.path().join("a.parquet"), &documents());
    assert!(matches!(&written, Err(e @ DataError::NoSpace { .. }) if e.hint().is_some()), "{written:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_statistic_without_a_column_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = DocumentWriter::create(&dir.path().join("a.parquet")).unwrap();
    let error = documents().iter().try_for_each(|d| writer.write(d)).unwrap_err();
    assert!(error.to_string().contains("no column for \"char_count\""), "{error}");
    for names in [["text", "a"], ["a", "a"]] {
        let names = names.map(String::from);
        let error = DocumentWriter::with_statistics(&dir.path().join("b.parquet"), &names).err().unwrap();
        assert!(error.to_string().contains("two columns"), "{error}");
    }
}

fn check_refused(path: &Path, says: &str) {
    let error = read(path).unwrap_err();
    assert!(matches!(error, DataError::BadTable { .. } | DataError::NewerTable { .. }), "{error:?}");
    assert!(error.to_string().contains(says), "{error}");
    assert!(error.to_string().contains(&path.display().to_string()) && error.hint().is_some(), "{error}");
}

#[test]
fn a_file_that_was_cut_off_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    write(&path, &documents()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 3, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        check_refused(&path, "not a whole Parquet file");
    }
}

#[test]
fn damage_within_is_an_error_with_the_row_and_ends_the_reading() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    write(&path, &documents()).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4..2000].fill(0xA5);
    std::fs::write(&path, &bytes).unwrap();
    let mut reader = read_documents(&path).unwrap();
    let error = reader.by_ref().find_map(Result::err).unwrap();
    assert!(matches!(error, DataError::BadTable { row: Some(1), .. }), "{error}");
    assert!(reader.next().is_none());
}

/// A Parquet file with one column and these keys.
fn foreign(path: &Path, keys: &[(&str, &str)]) {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let batch = RecordBatch::try_from_iter([("text", text)]).unwrap();
    let keys = keys.iter().map(|(key, value)| KeyValue::new((*key).into(), (*value).to_owned())).collect();
    let properties = WriterProperties::builder().set_key_value_metadata(Some(keys)).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn other_tables_and_newer_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    foreign(&path, &[]);
    check_refused(&path, "that danlu did not write");
    foreign(&path, &[(KIND_KEY, "documents"), (VERSION_KEY, "2")]);
    check_refused(&path, "version 2; this danlu knows versions up to 1");
    foreign(&path, &[(KIND_KEY, "documents"), (VERSION_KEY, "new")]);
    check_refused(&path, "its version is \"new\"");
    foreign(&path, &[(KIND_KEY, "metrics"), (VERSION_KEY, "1")]);
    check_refused(&path, "a table of \"metrics\"");
    foreign(&path, &[(KIND_KEY, "documents"), (VERSION_KEY, "1")]);
    check_refused(&path, "column \"id\" is missing");
    std::fs::write(&path, "{\"text\":\"a line of another format\"}\n").unwrap();
    check_refused(&path, "not a whole Parquet file");
    let missing = read_documents(&dir.path().join("none.parquet")).err().unwrap();
    assert!(matches!(missing, DataError::Io { .. }), "{missing}");
}

proptest! {
    #[test]
    fn any_document_is_read_back(
        texts in prop::collection::vec((any::<String>(), "[a-z]{0,3}", any::<Option<f64>>()), 0..40),
        key in any::<String>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        let documents: Vec<Document> = texts
            .into_iter()
            .map(|(text, source, number)| {
                let mut document = Document::new(text.as_str(), source.as_str());
                document.language = source;
                document.metadata.insert(key.clone(), text.into());
                document.statistics.extend(number.map(|number| ("char_count".to_owned(), number)));
                document
            })
            .collect();
        write(&path, &documents).unwrap();
        let back = read(&path).unwrap();
        // Compared as text, in which NaN is equal to itself.
        prop_assert_eq!(format!("{back:?}"), format!("{documents:?}"));
    }
}
