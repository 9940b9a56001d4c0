//! Collecting and cleaning: what good files give, and what bad ones say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashSet;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::{CHINESE, ENGLISH, quiet};
use danlu_data::{
    COLLECTED_FILE, CleanConfig, CollectSummary, DataError, Dedup, Document, Funnel, InvalidBytes, ShowFilter,
    SourceConfig, SplitConfig, TextSplit, clean, collect, read_documents, read_source, show, train_tokenizer,
};
use danlu_text::{TextError, TokenizerConfig};
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;

fn source(name: &str, path: &str) -> SourceConfig {
    SourceConfig { name: name.into(), path: path.into(), ..Default::default() }
}

fn collect_in(
    dir: &Path,
    sources: &[SourceConfig],
    strict: bool,
) -> Result<(CollectSummary, Vec<Document>), DataError> {
    let out = dir.join("out");
    let summary = collect(sources, dir, strict, &out, &quiet)?;
    let documents = read_documents(&out.join(COLLECTED_FILE))?.collect::<Result<_, _>>()?;
    Ok((summary, documents))
}

/// The texts that one source file gives.
fn check_reads(name: &str, content: &[u8], expect: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name), content).unwrap();
    let (summary, documents) = collect_in(dir.path(), &[source("s", name)], true).unwrap();
    let texts: Vec<&str> = documents.iter().map(|document| document.text.as_str()).collect();
    assert_eq!(texts, expect, "{name}");
    assert_eq!(summary.total.documents, expect.len() as u64);
    assert!(documents.iter().all(|document| document.metadata["file"] == name));
}

/// The one problem that a source file has: counted with its place when lenient, the error when strict.
fn check_problem(name: &str, content: &[u8], place: &str, message: &str, left: usize) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name), content).unwrap();
    std::fs::write(dir.path().join("good.txt"), "good").unwrap();
    let sources = [source("bad", name), source("good", "good.txt")];
    let (summary, documents) = collect_in(dir.path(), &sources, false).unwrap();
    assert_eq!(summary.problem_count, 1, "{:?}", summary.problems);
    assert_eq!(summary.sources["bad"].problems, 1);
    assert_eq!(documents.len(), left + 1, "{name}: {documents:?}");
    let said = summary.problems[0].to_string();
    assert!(said.contains(&format!("{name}{place}: ")) && said.contains(message), "{said}");
    let error = collect_in(dir.path(), &sources, true).unwrap_err();
    assert!(matches!(error, DataError::BadRecord { .. }), "{error}");
    assert_eq!(error.to_string(), said);
    assert!(error.hint().unwrap().contains("--strict"));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn parquet_file(texts: &[&str]) -> Vec<u8> {
    let schema = parse_message_type("message m { required binary text (UTF8); required int32 year; }").unwrap();
    let mut out = Vec::new();
    let properties = Arc::new(WriterProperties::builder().set_compression(parquet::basic::Compression::SNAPPY).build());
    let mut writer = SerializedFileWriter::new(&mut out, Arc::new(schema), properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let values: Vec<ByteArray> = texts.iter().map(|text| ByteArray::from(*text)).collect();
    column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let years: Vec<i32> = (1790..).take(texts.len()).collect();
    column.typed::<Int32Type>().write_batch(&years, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    out
}

#[test]
fn every_format_is_read() {
    let jsonl =
        "\u{FEFF}{\"text\":\"one\",\"year\":1}\n\n{\"year\":2,\"text\":\"春\\n眠\"}\r\n{\"text\":\"no end of line\"}";
    let expect = ["one", "春\n眠", "no end of line"];
    check_reads("a.jsonl", jsonl.as_bytes(), &expect);
    check_reads("a.jsonl.gz", &gzip(jsonl.as_bytes()), &expect);
    check_reads("a.JSONL.zst", &zstd::encode_all(jsonl.as_bytes(), 1).unwrap(), &expect);
    check_reads("a.txt", "one\n\ntwo\n".as_bytes(), &["one\n\ntwo\n"]);
    check_reads("a.txt.gz", &gzip(b"one"), &["one"]);
    check_reads("a.csv", "id,text\n1,\"one, \"\"two\"\"\nthree\"\n2,春\n".as_bytes(), &["one, \"two\"\nthree", "春"]);
    check_reads("a.parquet", &parquet_file(&["one", "春眠", ""]), &["one", "春眠", ""]);
}

#[test]
fn other_fields_become_metadata() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.jsonl"), "{\"t\":\"x\",\"title\":\"T\",\"tags\":[1,2]}\n").unwrap();
    std::fs::write(dir.path().join("b.parquet"), parquet_file(&["y"])).unwrap();
    let jsonl = SourceConfig { text_field: "t".into(), language: Some("en".into()), ..source("j", "a.jsonl") };
    let (_, documents) = collect_in(dir.path(), &[jsonl, source("p", "b.parquet")], true).unwrap();
    let metadata = serde_json::to_string(&documents[0].metadata).unwrap();
    assert_eq!(metadata, r#"{"title":"T","tags":[1,2],"file":"a.jsonl","line":1}"#);
    assert_eq!((documents[0].language.as_str(), documents[1].language.as_str()), ("en", ""));
    assert_eq!(documents[1].metadata["year"], 1790);
    assert_eq!(documents[1].id, Document::new("y", "p").id);
}

#[test]
fn paragraphs_are_documents_with_their_lines() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.txt"), b"\n\none\ntwo\n \nbro\nken \xFF\n\n\nlast").unwrap();
    let source = SourceConfig { split: TextSplit::Paragraph, invalid: InvalidBytes::Drop, ..source("s", "a.txt") };
    let (summary, documents) = collect_in(dir.path(), &[source], false).unwrap();
    let found: Vec<_> = documents.iter().map(|d| (d.text.as_str(), d.metadata["line"].as_u64().unwrap())).collect();
    assert_eq!(found, [("one\ntwo", 3), ("last", 10)]);
    assert!(summary.problems[0].to_string().contains("a.txt:7: broken UTF-8 (byte 0xFF"), "{}", summary.problems[0]);
}

#[test]
fn bad_records_are_counted_with_file_and_line() {
    check_problem("a.jsonl", b"{\"text\":\"a\"}\n{\"text\":\n{\"text\":\"b\"}\n", ":2", "malformed JSON", 2);
    // Broken bytes are told at the end of the file that has them.
    check_problem("a.jsonl", b"{\"text\":\"a\"}\n{\"text\":\"\xFF\"}\n", "", "some bytes are not UTF-8", 2);
    check_problem("a.jsonl", b"{\"body\":\"a\",\"n\":1}\n", ":1", "no field \"text\"; the fields are body, n", 0);
    check_problem("a.jsonl", b"{\"text\":5}\n", ":1", "not a string", 0);
    check_problem("a.jsonl", b"[1]\n", ":1", "malformed JSON", 0);
    check_problem("a.txt", b"fine\nnot \xC3\x28", "", "some bytes are not UTF-8", 1);
    check_problem("a.csv", b"text,n\na,1\nb\nc,3\n", ":3", "1 columns, the header 2", 2);
    check_problem("a.csv", b"text,n\na,\xFF\nc,3\n", "", "some bytes are not UTF-8", 2);
    check_problem("a.parquet", b"PAR1 this is not Parquet PAR1", "", "broken Parquet", 0);
    check_problem("a.parquet", b"", "", "the file is empty", 0);
    let whole = gzip(b"{\"text\":\"a\"}\n{\"text\":\"b\"}\n");
    check_problem("a.jsonl.gz", &whole[..whole.len() - 6], ":3", "cannot be read", 2);
    check_problem("a.jsonl.zst", b"not zstd", ":1", "cannot be read", 0);
    check_problem("a.csv.gz", b"not gzip", ":1", "cannot be read", 0);
}

#[test]
fn wrong_sources_are_errors_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.csv"), "id,body\n1,x\n").unwrap();
    std::fs::write(dir.path().join("b.parquet"), parquet_file(&["x"])).unwrap();
    std::fs::write(dir.path().join("c.docx"), "x").unwrap();
    std::fs::write(dir.path().join("empty.jsonl"), "\n").unwrap();
    let other = |path: &str| SourceConfig { text_field: "content".into(), ..source("s", path) };
    for (sources, expect) in [
        (vec![source("s", "none/*.txt")], "no file matches \"none/*.txt\""),
        (vec![source("s", "a[.txt")], "not a valid pattern"),
        (vec![source("s", "c.docx")], "c.docx is none of .txt, .md"),
        (vec![source("s", "a.csv")], "no column \"text\"; the columns are id, body"),
        (vec![other("b.parquet")], "no column \"content\"; the columns are text, year"),
        (vec![source("s", "empty.jsonl")], "the corpus is empty: 1 files hold no readable document"),
        (vec![source("s", "b.parquet"), source("s", "a.csv")], "two sources are named \"s\""),
        (vec![], "there is no source"),
    ] {
        let error = collect_in(dir.path(), &sources, false).unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
        assert!(error.hint().is_some() || matches!(error, DataError::BadConfig { .. }), "{error}");
        assert!(!dir.path().join("out").join(COLLECTED_FILE).exists());
    }
}

#[test]
fn folders_globs_and_limits() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("texts/deep")).unwrap();
    for (path, text) in
        [("texts/b.txt", "b"), ("texts/a.txt", "a"), ("texts/deep/c.txt", "c"), ("texts/readme.docx", "no")]
    {
        std::fs::write(dir.path().join(path), text).unwrap();
    }
    let texts = |source: SourceConfig| -> String {
        let (_, documents) = collect_in(dir.path(), &[source], true).unwrap();
        documents.into_iter().map(|document| document.text).collect()
    };
    assert_eq!(texts(source("s", "texts")), "abc");
    assert_eq!(texts(source("s", "texts/*.txt")), "ab");
    assert_eq!(texts(SourceConfig { limit: Some(2), ..source("s", "texts") }), "ab");
    let mut read = 0;
    read_source(&source("s", "texts"), dir.path(), &mut |_| {
        read += 1;
        Ok(ControlFlow::Break(()))
    })
    .unwrap();
    assert_eq!(read, 1, "reading goes on after the sink has enough");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens to a Parquet file, it is read or it is a problem: never a crash, never an endless loop.
    #[test]
    fn damaged_parquet_is_no_crash(place in any::<prop::sample::Index>(), byte: u8, cut in prop::option::of(any::<prop::sample::Index>())) {
        let mut bytes = parquet_file(&["some text", "春眠不覺曉", "more text", "more text"]);
        let index = place.index(bytes.len());
        bytes[index] = byte;
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.parquet"), &bytes).unwrap();
        let mut records = 0;
        let read = read_source(&source("s", "a.parquet"), dir.path(), &mut |_| {
            records += 1;
            Ok(if records > 1000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        prop_assert!(records <= 1000 && (records > 0 || read.is_err()));
    }

    /// Any bytes as any text format: documents and problems, never a crash.
    #[test]
    fn garbage_is_no_crash(bytes in prop::collection::vec(any::<u8>(), 0..200), name in "a\\.(txt|md|jsonl|json|csv|tsv|arrow|jsonl\\.gz|txt\\.zst|jsonl\\.bz2)") {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(&name), &bytes).unwrap();
        for split in [TextSplit::File, TextSplit::Paragraph] {
            let mut records = 0;
            let source = SourceConfig { split, ..source("s", &name) };
            let _ = read_source(&source, dir.path(), &mut |_| {
                records += 1;
                Ok(ControlFlow::Continue(()))
            });
            prop_assert!(records <= bytes.len() + 1);
        }
    }
}

/// A corpus with something to drop for every reason, from two sources that share texts.
fn mixed_corpus(dir: &Path, count: usize) -> std::path::PathBuf {
    let line = |text: String| serde_json::json!({ "text": text }).to_string() + "\n";
    let mut a = String::new();
    for i in 0..count {
        a += &line(format!("{ENGLISH} Number {i}.\r\n"));
        a += &line(format!("{CHINESE}\n第{i}首"));
    }
    a += &line("short".into());
    a += &line("-=*&^%$#@!-=*&^%$#@!-=*&^%$#@!".into());
    a += &line("the people of the United States of America\n".repeat(9));
    a += &line(" \u{FEFF}\n".into());
    a += &line(
        "Die Würde des Menschen ist unantastbar. Sie zu achten und zu schützen ist Verpflichtung aller Gewalt.".into(),
    );
    let b = line(format!("{ENGLISH} Number 0.")) + &line(format!("{CHINESE}\n第1首 "));
    std::fs::write(dir.join("a.jsonl"), a).unwrap();
    std::fs::write(dir.join("b.jsonl"), b).unwrap();
    collect(&[source("a", "a.jsonl"), source("b", "b.jsonl")], dir, true, &dir.join("collected"), &quiet).unwrap();
    dir.join("collected").join(COLLECTED_FILE)
}

fn clean_in(dir: &Path, count: usize, config: &CleanConfig, split: &SplitConfig) -> Result<Funnel, DataError> {
    let collected = mixed_corpus(dir, count);
    clean(&collected, config, split, &dir.join("clean"), &quiet)
}

const HALVES: SplitConfig = SplitConfig { valid: 0.2, test: 0.2 };

#[test]
fn every_document_is_accounted_for() {
    let dir = tempfile::tempdir().unwrap();
    let config = CleanConfig { languages: vec!["en".into(), "zh".into(), "und".into()], ..Default::default() };
    let funnel = clean_in(dir.path(), 100, &config, &HALVES).unwrap();
    let reasons: Vec<(String, u64)> =
        funnel.reasons().into_iter().map(|(reason, count)| (reason, count.documents)).collect();
    let expect = [
        ("duplicate", 2),
        ("empty", 1),
        ("repeated_lines", 1),
        ("too_many_symbols", 1),
        ("too_short", 1),
        ("unwanted_language", 1),
    ];
    assert_eq!(reasons, expect.map(|(reason, count)| (reason.to_string(), count)));
    assert_eq!((funnel.collected.documents, funnel.kept.documents), (207, 200));
    let mut entered = funnel.collected.documents;
    for step in &funnel.steps {
        let dropped: u64 = step.dropped.iter().map(|row| row.count.documents).sum();
        assert_eq!((step.entered.documents, step.kept.documents), (entered, entered - dropped), "{}", step.step);
        entered = step.kept.documents;
    }
    assert!(funnel.steps[0].changed >= 100, "line ends of 100 documents were repaired: {:?}", funnel.steps[0]);
    let b = &funnel.by_source()["b"];
    assert_eq!((b.collected.documents, b.kept.documents, b.dropped["duplicate"].documents), (2, 0, 2));
    assert_eq!(funnel.by_language()["zh"].kept.documents, 100);
    let saved: Funnel = serde_json::from_slice(&std::fs::read(dir.path().join("clean/funnel.json")).unwrap()).unwrap();
    assert_eq!(saved, funnel);
}

#[test]
fn splits_are_disjoint_complete_and_decided_by_the_document_alone() {
    let dir = tempfile::tempdir().unwrap();
    clean_in(dir.path(), 100, &CleanConfig::default(), &HALVES).unwrap();
    let ids = |dir: &Path, split: &str| -> Vec<String> {
        let path = dir.join(format!("clean/{split}.parquet"));
        read_documents(&path).unwrap().map(|document| document.unwrap().id).collect()
    };
    let all: Vec<Vec<String>> = SplitConfig::NAMES.iter().map(|split| ids(dir.path(), split)).collect();
    let distinct: HashSet<&String> = all.iter().flatten().collect();
    assert_eq!(distinct.len(), all.iter().map(Vec::len).sum::<usize>());
    assert!(
        all[1].len() > 20 && all[2].len() > 20 && all[0].len() > 90,
        "{} {} {}",
        all[0].len(),
        all[1].len(),
        all[2].len()
    );
    let smaller = tempfile::tempdir().unwrap();
    clean_in(smaller.path(), 50, &CleanConfig::default(), &HALVES).unwrap();
    for (split, larger) in SplitConfig::NAMES.iter().zip(&all) {
        assert!(ids(smaller.path(), split).iter().all(|id| larger.contains(id)), "a document changed its split");
    }
}

#[test]
fn the_same_corpus_gives_the_same_files_on_any_number_of_threads() {
    let contents = |threads: usize| -> Vec<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| clean_in(dir.path(), 60, &CleanConfig::default(), &HALVES)).unwrap();
        let mut files: Vec<_> =
            std::fs::read_dir(dir.path().join("clean")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert_eq!(files.len(), 5, "{files:?}");
        files.iter().map(|file| std::fs::read(file).unwrap()).collect()
    };
    assert_eq!(contents(1), contents(3));
}

#[test]
fn show_finds_kept_and_dropped_documents() {
    let dir = tempfile::tempdir().unwrap();
    clean_in(dir.path(), 20, &CleanConfig::default(), &HALVES).unwrap();
    let find = |filter: ShowFilter| show(&dir.path().join("clean"), &filter).unwrap();
    let all = ShowFilter::default();
    assert_eq!(find(all.clone()).len(), 47);
    assert_eq!(find(ShowFilter { limit: Some(3), ..all.clone() }).len(), 3);
    let duplicates = find(ShowFilter { reason: Some("duplicate".into()), ..all.clone() });
    assert!(
        duplicates.len() == 2
            && duplicates.iter().all(|shown| shown.document.source == "b" && shown.split == "dropped")
    );
    assert_eq!(duplicates[0].step.as_deref(), Some("duplicates"));
    let chinese = find(ShowFilter { language: Some("zh".into()), source: Some("a".into()), ..all.clone() });
    assert_eq!(chinese.len(), 20);
    let found = find(ShowFilter { contains: Some("nUMBER 7.".into()), ..all.clone() });
    assert!(found.len() == 1 && found[0].document.text.ends_with("Number 7."), "{found:?}");
    assert_eq!(find(ShowFilter { id: Some(found[0].document.id[..10].into()), ..all.clone() }), found);
    let test = find(ShowFilter { split: Some("test".into()), ..all.clone() });
    assert!(!test.is_empty() && test.iter().all(|shown| shown.split == "test"));
    let collected = show(&dir.path().join("collected"), &all).unwrap();
    assert!(collected.len() == 47 && collected[0].split == "collected");
    assert!(show(dir.path(), &all).is_err());
    assert!(show(&dir.path().join("clean"), &ShowFilter { split: Some("tset".into()), ..all }).is_err());
}

#[test]
fn dropped_documents_need_not_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let config = CleanConfig { keep_dropped: false, dedup: Dedup::Exact(false), ..Default::default() };
    let funnel = clean_in(dir.path(), 20, &config, &HALVES).unwrap();
    assert!(!dir.path().join("clean/dropped.parquet").exists());
    assert!(!funnel.reasons().contains_key("duplicate") && funnel.reasons().contains_key("too_short"));
}

#[test]
fn an_empty_result_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let none = CleanConfig { min_chars: 1_000_000, ..Default::default() };
    let error = clean_in(dir.path(), 3, &none, &HALVES).unwrap_err();
    assert!(error.to_string().contains("all 13 documents were dropped (empty 1, too_short 12)"), "{error}");
    assert!(dir.path().join("clean/dropped.parquet").exists(), "the reasons cannot be looked at");
    let error = clean_in(dir.path(), 1, &CleanConfig::default(), &SplitConfig { valid: 1e-9, test: 0.0 }).unwrap_err();
    assert!(matches!(error, DataError::EmptySplit { split: "valid", .. }) && error.hint().is_some(), "{error}");
    for split in [
        SplitConfig { valid: 0.5, test: 0.5 },
        SplitConfig { valid: -0.1, test: 0.5 },
        SplitConfig { valid: f64::NAN, test: 0.1 },
    ] {
        assert!(matches!(clean_in(dir.path(), 1, &CleanConfig::default(), &split), Err(DataError::BadConfig { .. })));
    }
}

#[test]
fn a_tokenizer_is_trained_on_documents_or_a_sample_of_them() {
    let dir = tempfile::tempdir().unwrap();
    clean_in(dir.path(), 2000, &CleanConfig::default(), &HALVES).unwrap();
    let path = dir.path().join("clean/train.parquet");
    let config = |sample_megabytes| TokenizerConfig { vocab_size: 300, sample_megabytes, ..Default::default() };
    let labels = Mutex::new(HashSet::new());
    let whole = train_tokenizer(&path, &config(256), &|progress| {
        labels.lock().unwrap().insert(progress.label.to_string());
    })
    .unwrap();
    assert!(labels.into_inner().unwrap().contains("tokenizer"));
    assert_eq!(whole.hash(), train_tokenizer(&path, &config(256), &quiet).unwrap().hash());
    let nothing = train_tokenizer(&path, &config(0), &quiet).unwrap_err();
    assert!(matches!(nothing, DataError::Text(TextError::NoText)), "{nothing}");
    let large = TokenizerConfig { vocab_size: 1_000_000, ..Default::default() };
    let error = train_tokenizer(&path, &large, &quiet).unwrap_err();
    assert!(
        error.to_string().contains("yields at most") && error.hint().unwrap().contains("tokenizer.vocab_size"),
        "{error}"
    );
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(train_tokenizer(&path, &config(256), &quiet), Err(DataError::BadTable { .. })));
}
