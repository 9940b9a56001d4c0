//! Tables that danlu wrote, read as a source, and which columns of a table are read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use common::sources::{read, source, texts};
use common::{CHINESE, ENGLISH, quiet};
use danlu_data::{
    COLLECTED_FILE, ChatFormat, Document, DocumentWriter, KeptFields, Place, SourceConfig, collect, read_documents,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use serde_json::{Map, Value, json};

fn metadata(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

/// A conversation with a picture, a plain text under a licence and a copy of it, as cleaning and `danlu data augment` have
/// them.
fn documents() -> Vec<Document> {
    let mut talk = Document::new("user: <image> ?\n\nassistant: A hen.", "talks");
    talk.language = "en".into();
    talk.metadata = metadata(json!({
        "messages": [{"role": "user", "content": "<image> ?", "images": ["hen.png"]}, {"role": "assistant", "content": "A hen."}],
        "images": ["hen.png"], "file": "talks.jsonl", "line": 3
    }));
    let mut poem = Document::new(CHINESE, "poems");
    poem.language = "zh".into();
    poem.metadata = metadata(json!({"license": "CC0-1.0", "title": "春", "file": "poems/a.txt"}));
    poem.statistics.insert("char_count".into(), 42.0);
    let mut copy = Document::new(ENGLISH, "poems");
    copy.language = "zh".into();
    copy.metadata = metadata(json!({"augment": {"kind": "swap"}, "augmented_from": poem.id, "file": "poems/a.txt"}));
    vec![talk, poem, copy]
}

fn write(path: &Path, documents: &[Document]) {
    let mut writer = DocumentWriter::with_statistics(path, &["char_count".into()]).unwrap();
    documents.iter().for_each(|document| writer.write(document).unwrap());
    writer.finish().unwrap();
}

#[test]
fn a_table_of_danlu_gives_its_documents_back() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("more.parquet"), &documents());
    let out = dir.path().join("out");
    let summary = collect(&[source("more.parquet")], dir.path(), true, &out, &quiet).unwrap();
    assert_eq!((summary.total.documents, summary.problem_count), (3, 0));
    let read_back: Vec<Document> = read_documents(&out.join(COLLECTED_FILE)).unwrap().map(Result::unwrap).collect();
    for ((document, old), row) in read_back.iter().zip(&documents()).zip(1..) {
        assert_eq!((&document.id, &document.text, &document.language), (&old.id, &old.text, &old.language));
        assert_eq!((document.source.as_str(), document.statistics.len()), ("s", 0));
        // Its place is the table's now, and the first one stands beside it.
        let place = Place { source: "s".into(), file: "more.parquet".into(), line: Some(row.to_string()) };
        assert_eq!((Place::of(document), Place::origin_of(document)), (Some(place), Place::of(old)));
        for (name, value) in old.metadata.iter().filter(|(name, _)| !["file", "line"].contains(&name.as_str())) {
            assert_eq!(&document.metadata[name], value, "{name}");
        }
        assert_eq!(
            document.metadata.len(),
            old.metadata.keys().filter(|name| !["file", "line"].contains(&name.as_str())).count() + 3
        );
    }
    // Through a second table the first place stays.
    let again = source(&format!("out/{COLLECTED_FILE}"));
    let (twice, problems) = read(dir.path(), &again).unwrap();
    assert_eq!(problems, [""; 0]);
    let origins: Vec<_> = twice.iter().map(Place::origin_of).collect();
    assert_eq!(origins, documents().iter().map(Place::of).collect::<Vec<_>>());
}

#[test]
fn keys_of_a_source_that_count_for_a_table_of_danlu() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("a.parquet"), &documents());
    let with = |change: &dyn Fn(&mut SourceConfig)| {
        let mut source = source("a.parquet");
        change(&mut source);
        read(dir.path(), &source).unwrap()
    };
    // What danlu itself reads of the metadata stays.
    let (few, _) = with(&|s| s.metadata = serde_json::from_value::<KeptFields>(json!("none")).unwrap());
    let names: Vec<Vec<&str>> = few.iter().map(|d| d.metadata.keys().map(String::as_str).collect()).collect();
    let sorted = |index: usize| {
        let mut names = names[index].clone();
        names.sort_unstable();
        names
    };
    assert_eq!(sorted(0), ["collected_from", "file", "images", "line", "messages"]);
    assert_eq!(sorted(1), ["collected_from", "file", "license", "line"]);
    assert_eq!(sorted(2), ["augment", "augmented_from", "collected_from", "file", "line"]);
    let (spoken, problems) = with(&|s| s.chat = Some(ChatFormat::Messages));
    assert_eq!((texts(&spoken), problems.len()), (vec![documents()[0].text.as_str()], 2));
    assert_eq!(problems[0], "a.parquet:2: this document of danlu is no conversation");
    let (german, _) = with(&|s| s.language = Some("de".into()));
    assert!(german.iter().all(|document| document.language == "de"));
}

/// A Parquet file of text columns, neither compressed nor with a dictionary.
fn foreign(path: &Path, columns: &[(&str, &str)], keys: &[(&str, &str)]) {
    let arrays = columns.iter().map(|(name, text)| (*name, Arc::new(StringArray::from(vec![*text])) as ArrayRef));
    let batch = RecordBatch::try_from_iter(arrays).unwrap();
    let keys = keys.iter().map(|(key, value)| KeyValue::new((*key).into(), (*value).to_owned())).collect();
    let properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_key_value_metadata(Some(keys))
        .build();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn tables_that_only_claim_to_be_of_danlu_are_problems() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let said = |columns: &[(&str, &str)], version: &str| {
        foreign(&path, columns, &[("danlu.table", "documents"), ("danlu.version", version)]);
        let (documents, problems) = read(dir.path(), &source("a.parquet")).unwrap();
        assert!(documents.is_empty() && problems.len() == 1, "{documents:?} {problems:?}");
        problems[0].clone()
    };
    let whole = [("text", "a"), ("source", "b"), ("language", ""), ("metadata", "{}")];
    assert!(said(&whole, "99").ends_with("a table of danlu of version 99; this danlu knows versions up to 1"));
    let missing = "a.parquet:1: column \"metadata\" of a table of danlu is missing or not text";
    assert_eq!(said(&whole[..3], "1"), missing);
    let odd = [whole[0], whole[1], whole[2], ("metadata", "[]")];
    assert!(said(&odd, "1").starts_with("a.parquet:1: its metadata is no JSON object"));
    // One of another kind is a table like any other.
    foreign(&path, &whole, &[("danlu.table", "metrics"), ("danlu.version", "1")]);
    let (documents, _) = read(dir.path(), &source("a.parquet")).unwrap();
    assert_eq!(documents[0].metadata["metadata"], "{}");
}

#[test]
fn columns_that_have_no_part_in_a_document_are_not_decoded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    foreign(&path, &[("text", "one"), ("ballast", "ballast of no use"), ("note", "kept")], &[]);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(17).position(|window| window == b"ballast of no use").unwrap();
    bytes[at - 4..at].fill(0x7F); // it says that it is longer than the page
    fs::write(&path, &bytes).unwrap();
    let with = |kept: Value| {
        let metadata = serde_json::from_value::<KeptFields>(kept).unwrap();
        read(dir.path(), &SourceConfig { metadata, ..source("a.parquet") }).unwrap()
    };
    let (documents, problems) = with(json!("all"));
    assert!(documents.is_empty() && problems.len() == 1, "{documents:?} {problems:?}");
    for (kept, expect) in [(json!("none"), None), (json!(["note"]), Some(&json!("kept")))] {
        let (documents, problems) = with(kept);
        assert_eq!((texts(&documents), problems), (vec!["one"], vec![]));
        assert_eq!(documents[0].metadata.get("note"), expect);
    }
}
