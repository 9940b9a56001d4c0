//! Records of JSON Lines, JSON, CSV and tab-separated values: those that are too long, and those that are odd.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use common::quiet;
use common::sources::{read, read_file, source, texts};
use danlu_data::{ChatFormat, SourceConfig, TextSplit, collect};
use danlu_formats::records::{CsvReader, JsonLinesReader, JsonReader, Separator};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A gigabyte, where programs are optimised.
const LONG: u64 = if cfg!(debug_assertions) { 64 << 20 } else { 1 << 30 };

/// Writes a compressed file: what comes before a long record, the record's letters, what comes after it.
fn with_long_record(path: &Path, before: &str, after: &str) {
    let mut encoder = zstd::Encoder::new(File::create(path).unwrap(), 1).unwrap();
    encoder.write_all(before.as_bytes()).unwrap();
    io::copy(&mut io::repeat(b'x').take(LONG), &mut encoder).unwrap();
    encoder.write_all(after.as_bytes()).unwrap();
    encoder.finish().unwrap();
}

#[test]
fn a_record_of_a_gigabyte_is_passed_over_and_the_rest_is_read() {
    let dir = tempfile::tempdir().unwrap();
    for (name, before, after, place) in [
        ("a.jsonl.zst", "{\"text\":\"one\"}\n{\"text\":\"", "\"}\n{\"text\":\"two\"}\n", 2),
        ("a.json.zst", "[{\"text\":\"one\"},\n{\"text\":\"", "\\\"]\"}, {\"text\":\"two\"}]", 2),
        ("a.csv.zst", "id,text\n1,one\n2,\"", "\"\"\n\"\n3,two\n", 3),
        ("a.tsv.zst", "id\ttext\n1\tone\n2\t", "\n3\ttwo\n", 3),
        (
            "RC_2024-05.zst",
            "{\"id\":\"a\",\"body\":\"one\"}\n{\"body\":\"",
            "\"}\n{\"id\":\"b\",\"body\":\"two\"}\n",
            2,
        ),
        ("a.txt.zst", "one\n\n", "\n\ntwo", 3),
    ] {
        with_long_record(&dir.path().join(name), before, after);
        let config = SourceConfig {
            max_record_mebibytes: 1,
            max_decompressed_ratio: 1e9,
            split: TextSplit::Paragraph,
            ..source(name)
        };
        let (documents, problems) = read(dir.path(), &config).unwrap();
        assert_eq!(texts(&documents), ["one", "two"], "{name}: {problems:?}");
        let expect = format!("{name}:{place}: longer than 1 MiB, the source's max_record_mebibytes");
        assert_eq!(problems, [expect]);
        let summary = collect(&[config], dir.path(), false, &dir.path().join("out"), &quiet).unwrap();
        assert_eq!((summary.total.documents, summary.problem_count), (2, 1), "{name}");
        fs::remove_file(dir.path().join(name)).unwrap();
    }
}

#[test]
fn the_limit_of_a_record_counts_to_the_byte() {
    let mebibyte = 1 << 20;
    for (length, expect) in [(mebibyte, 1), (mebibyte + 1, 0)] {
        for (name, frame) in [("a.jsonl", 12), ("a.json", 11), ("a.csv", 1), ("a.txt", 0)] {
            let text = "x".repeat(length - frame);
            let content = match name {
                "a.csv" => format!("n,text\n1,{text}\n"),
                "a.txt" => text,
                "a.jsonl" => format!("{{\"text\":\"{text}\"}}\n"),
                _ => format!("[{{\"text\":\"{text}\"}}]"),
            };
            let (documents, problems) = read_file(name, content.as_bytes(), |s| s.max_record_mebibytes = 1);
            assert_eq!((documents.len(), problems.len()), (expect, 1 - expect), "{name} {length}: {problems:?}");
        }
    }
    let refused = read(Path::new("."), &SourceConfig { max_record_mebibytes: 0, ..source("a.txt") }).unwrap_err();
    assert!(
        refused.to_string().contains("max_record_mebibytes: source \"s\": 0 is not between 1 and 1024"),
        "{refused}"
    );
}

#[test]
fn malformed_json_does_not_harm_what_follows_it() {
    let check = |content: &str, expect: &[&str], said: &[&str]| {
        let (documents, problems) = read_file("a.json", content.as_bytes(), |_| ());
        assert_eq!(texts(&documents), expect, "{content}");
        assert_eq!(problems, said, "{content}");
    };
    check(
        "[{\"text\":\"a\"},\n{\"text\":},\n{\"text\":\"b\"}]",
        &["a", "b"],
        &["a.json:2: malformed JSON: expected value (in record 2)"],
    );
    check(
        "[{\"text\":\"]}\\\"[\"}, nope, {\"text\":\"b\"}]{\"text\":\"c\"}",
        &["]}\"[", "b", "c"],
        &["a.json:1: malformed JSON: expected ident (in record 2)"],
    );
    check(
        "[{\"text\":\"a\"},]\n{\"text\":\"b\"}",
        &["a", "b"],
        &["a.json:1: malformed JSON: there is no element after the last comma"],
    );
    check(
        "[{\"text\":\"a\"}\n{\"text\":\"b\"}]",
        &["a"],
        &["a.json:2: malformed JSON: expected `,` or `]` after an element"],
    );
    check("[{\"text\":\"a\"},{\"te", &["a"], &["a.json:1: malformed JSON: the file ends within record 2"]);
    check("[{\"text\":\"a\"}", &["a"], &["a.json:1: malformed JSON: the file ends within an array"]);
    check("{\"text\":\"a\"} words", &["a"], &["a.json:1: malformed JSON: expected an object or an array of objects"]);
}

const WORDS: &[&str] = &[
    "messages",
    "conversations",
    "role",
    "content",
    "from",
    "value",
    "type",
    "text",
    "image_url",
    "url",
    "user",
    "assistant",
    "system",
    "tool",
    "human",
    "gpt",
    "prompt",
    "chosen",
    "rejected",
    "completion",
    "label",
    "instruction",
    "input",
    "output",
    "history",
    "images",
    "",
];

/// Values with the names that conversations have, in places where they have them and where not.
fn odd_values() -> impl Strategy<Value = Value> {
    let word = || prop::sample::select(WORDS);
    let leaf = prop_oneof![
        word().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!(1.5))
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        let fields = proptest::collection::vec((word(), inner.clone()), 0..5);
        prop_oneof![
            proptest::collection::vec(inner, 0..5).prop_map(Value::from),
            fields
                .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Value>()),
        ]
    })
}

/// Gives at most so many bytes at once.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.1);
        self.0.read(&mut buffer[..most])
    }
}

proptest! {
    /// A record of any shape is a document or a problem.
    #[test]
    fn odd_conversations_are_problems(records in proptest::collection::vec(odd_values(), 1..20)) {
        let lines: String = records.iter().map(|record| record.to_string() + "\n").collect();
        for chat in [ChatFormat::Auto, ChatFormat::Messages, ChatFormat::Alpaca, ChatFormat::Preference, ChatFormat::Kto] {
            let (documents, problems) = read_file("a.jsonl", lines.as_bytes(), |source| {
                source.chat = Some(chat);
                source.images_field = Some("images".into());
                source.language_field = Some("content.text".into());
            });
            prop_assert_eq!(documents.len() + problems.len(), records.len());
        }
    }

    /// Rows are those of the csv crate, whatever the input and however it comes.
    #[test]
    fn rows_are_those_of_csv(text in "[a\",\r\n\té春]{0,60}", size in 1usize..20, tabs in any::<bool>()) {
        let separator = if tabs { Separator::Tab } else { Separator::Comma };
        let mut builder = csv::ReaderBuilder::new();
        builder.has_headers(false).flexible(true);
        if tabs {
            builder.delimiter(b'\t').quoting(false);
        }
        let expect: Vec<Vec<Vec<u8>>> = builder
            .from_reader(text.as_bytes())
            .into_byte_records()
            .map(|row| row.unwrap().iter().map(<[u8]>::to_vec).collect())
            .collect();
        let input = io::BufReader::with_capacity(size, Pieces(text.as_bytes(), size));
        let rows = CsvReader::new(input, separator, 1000).map(|row| row.unwrap().fields().map(<[u8]>::to_vec).collect());
        prop_assert_eq!(rows.collect::<Vec<Vec<Vec<u8>>>>(), expect);
    }

    /// Records are found whatever is in their strings and however the input comes.
    #[test]
    fn objects_are_found(texts in proptest::collection::vec("[a\"\\\\{}\\[\\],: \n春]{0,12}", 0..8), size in 1usize..20, array in any::<bool>()) {
        let objects: Vec<Value> =
            texts.iter().map(|text| json!({ "t": [text, 5, { "": [] }] })).collect();
        let joined = objects.iter().map(ToString::to_string).collect::<Vec<_>>().join(if array { " ,\n" } else { "\n" });
        let text = if array { format!("[{joined}]") } else { joined };
        let input = || io::BufReader::with_capacity(size, Pieces(text.as_bytes(), size));
        let found: Vec<_> = JsonReader::new(input(), 1000).map(|record| record.unwrap().value().unwrap()).collect();
        prop_assert_eq!(&found, &objects);
        if !array {
            let lines: Vec<_> = JsonLinesReader::new(input(), 1000).map(|line| line.unwrap().value().unwrap()).collect();
            prop_assert_eq!(&lines, &objects);
        }
        // Longer than any record may be: each is passed over.
        prop_assert_eq!(JsonReader::new(input(), 5).filter(Result::is_ok).count(), 0);
    }
}
