//! Sources: formats, mapped fields, conversations, encodings, databases, and files that are not what they should be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use common::sources::{bzip2, check_texts, gzip, read, read_file, source, texts, with_window, zstd};
use common::{CHINESE, ENGLISH, quiet};
use danlu_data::{
    COLLECTED_FILE, ChatFormat, CollectSummary, DataError, Document, Format, InvalidBytes, KeptFields, SourceConfig,
    TextSplit, collect, read_documents, read_source, source_state,
};
use danlu_testing::skip;
use serde_json::{Value, json};

#[test]
fn tables_lists_and_notes_are_read() {
    check_texts("a.tsv", "id\ttext\n1\tsays \"hello\"\n2\t春眠\n".as_bytes(), &["says \"hello\"", "春眠"]);
    check_texts("a.json", "\u{FEFF} [{\"text\":\"one\"},\n {\"text\":\"春\\n眠\"}]\n".as_bytes(), &["one", "春\n眠"]);
    check_texts("a.json", b"{\"text\":\"one\"}\n{\"text\":\"two\"}[{\"text\":\"three\"}]", &["one", "two", "three"]);
    check_texts("a.json", b"[]", &[]);
    let (documents, _) = read_file("a.md", "```\n# no\n```\n# 春曉 #\n\ntext".as_bytes(), |_| ());
    assert_eq!(documents[0].metadata["title"], "春曉");
    assert!(documents[0].text.starts_with("```"));
    let (documents, _) = read_file("data.log", b"one\n\ntwo", |source| {
        (source.format, source.split) = (Some(Format::Text), TextSplit::Paragraph);
    });
    assert_eq!(texts(&documents), ["one", "two"]);
    // Other separators than the comma.
    for (delimiter, content) in [(';', "id;text\n1;\"a;b\"\n2;c, d\n"), ('|', "id|text\n1|\"a;b\"\n2|c, d\n")] {
        let (documents, problems) = read_file("a.csv", content.as_bytes(), |s| s.delimiter = Some(delimiter));
        assert_eq!((texts(&documents), problems.len()), (vec!["a;b", "c, d"], 0));
        assert_eq!(documents[1].metadata["id"], "2");
    }
}

/// The text of each document with its line and title.
fn places(documents: &[Document]) -> Vec<(&str, u64, &str)> {
    let place = documents.iter().map(|document| {
        let title = document.metadata.get("title").and_then(Value::as_str).unwrap_or_default();
        (document.text.trim(), document.metadata["line"].as_u64().unwrap(), title)
    });
    place.collect()
}

#[test]
fn parts_of_texts_are_documents() {
    let split = |name: &str, content: &str, split: TextSplit, plain: bool| {
        read_file(name, content.as_bytes(), |source| (source.split, source.plain_markdown) = (split, plain))
    };
    let (documents, problems) = split("a.txt", "one\r\n\n  \n# 春眠\nthree", TextSplit::Line, false);
    assert_eq!((places(&documents), problems.len()), (vec![("one", 1, ""), ("# 春眠", 4, ""), ("three", 5, "")], 0));
    let notes =
        "before\n\n# *Title*\n\nA *short* [story](x).\n\n<!-- -->\n\n```\n# code\n\n*more*\n```\n\n# Other\nend\n";
    let (documents, _) = split("a.md", notes, TextSplit::Paragraph, false);
    let found = places(&documents);
    assert_eq!(found[..2], [("before", 1, ""), ("# *Title*", 3, "*Title*")]);
    assert_eq!(found[2], ("A *short* [story](x).", 5, "*Title*"));
    assert_eq!((found.len(), found[4]), (7, ("```\n# code", 9, "*Title*")));
    let (documents, problems) = split("a.md", notes, TextSplit::Paragraph, true);
    let found = places(&documents);
    assert_eq!((found.len(), problems.len()), (5, 0), "{found:?}");
    assert_eq!(found[2], ("A short story.", 5, "*Title*"));
    assert!(found[3].0.starts_with("# code\n") && found[3].0.ends_with("*more*"), "{found:?}");
    assert!(found[4].0.starts_with("Other") && !found[4].0.contains('#'), "{found:?}");
}

#[test]
fn compressed_files_may_have_several_parts() {
    let (one, two) = (b"{\"text\":\"one\"}\n".as_slice(), "{\"text\":\"春\"}\n".as_bytes());
    check_texts("a.jsonl.gz", &[gzip(one), gzip(two)].concat(), &["one", "春"]);
    check_texts("a.jsonl.zst", &[zstd(one), zstd(two)].concat(), &["one", "春"]);
    check_texts("a.jsonl.BZ2", &[bzip2(one), bzip2(two)].concat(), &["one", "春"]);
    check_texts("a.csv.bz2", &bzip2(b"text\none\n"), &["one"]);
}

fn arrow_batch() -> RecordBatch {
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.append_value([Some("a"), Some("b")]);
    tags.append_null();
    let columns: [(&str, ArrayRef); 3] = [
        ("text", Arc::new(StringArray::from(vec!["one\ntwo", "春眠"]))),
        ("year", Arc::new(Int64Array::from(vec![Some(1790), None]))),
        ("tags", Arc::new(tags.finish())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn arrow_files_and_streams_are_read() {
    let batch = arrow_batch();
    let (mut whole, mut stream) = (Vec::new(), Vec::new());
    let mut writer = arrow_ipc::writer::FileWriter::try_new(&mut whole, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let mut writer = arrow_ipc::writer::StreamWriter::try_new(&mut stream, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    check_texts("a.arrow", &whole, &["one\ntwo", "春眠", "one\ntwo", "春眠"]);
    check_texts("a.feather", &whole, &["one\ntwo", "春眠", "one\ntwo", "春眠"]);
    let (documents, _) = read_file("a.arrow", &stream, |_| ());
    assert_eq!(
        serde_json::to_value(&documents[0].metadata).unwrap(),
        json!({"year": 1790, "tags": ["a", "b"], "file": "a.arrow", "line": 1})
    );
    assert_eq!(serde_json::to_value(&documents[1].metadata).unwrap(), json!({"file": "a.arrow", "line": 2}));
    for cut in 0..whole.len() {
        let (documents, problems) = read_file("a.arrow", &whole[..cut], |_| ());
        assert!(problems.len() == 1 && documents.len() <= 4, "{cut}: {problems:?}");
    }
    for cut in [20, stream.len() / 2] {
        let (_, problems) = read_file("a.arrow", &stream[..cut], |_| ());
        assert!(problems.len() == 1 && problems[0].contains("broken Arrow IPC"), "{cut}: {problems:?}");
    }
}

#[test]
fn fields_are_mapped() {
    let record = json!({
        "data": {"title": "春曉", "body": "春眠不覺曉", "votes": 3}, "note": "孟浩然", "post": 17, "at": "2024-05-01",
        "lang": "zh-Hant", "class": "poem", "link": "https://example.com/1", "pictures": [{"path": "a.png"}, "b.png"], "rest": true
    });
    let all = |source: &mut SourceConfig| {
        source.text_fields = vec!["data.body".into(), "missing".into(), "note".into()];
        source.text_separator = "\n——".into();
        source.id_field = Some("post".into());
        source.time_field = Some("at".into());
        source.language_field = Some("lang".into());
        source.label_field = Some("class".into());
        source.url_field = Some("link".into());
        source.title_field = Some("data.title".into());
        source.images_field = Some("pictures".into());
    };
    let line = format!("{record}\n");
    let mapped = json!({
        "id": 17, "time": "2024-05-01", "label": "poem", "url": "https://example.com/1", "title": "春曉",
        "images": ["a.png", "b.png"], "file": "a.jsonl", "line": 1
    });
    for (kept, more) in [
        (json!("all"), json!({"data": {"votes": 3}, "rest": true})),
        (json!("none"), json!({})),
        (json!(["rest"]), json!({"rest": true})),
    ] {
        let (documents, problems) = read_file("a.jsonl", line.as_bytes(), |source| {
            all(source);
            source.metadata = serde_json::from_value::<KeptFields>(kept).unwrap();
        });
        assert_eq!(problems, [""; 0]);
        assert_eq!((documents[0].text.as_str(), documents[0].language.as_str()), ("春眠不覺曉\n——孟浩然", "zh"));
        let mut expect = mapped.clone();
        expect.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(serde_json::to_value(&documents[0].metadata).unwrap(), expect);
    }
    let said = |record: Value, change: &dyn Fn(&mut SourceConfig)| {
        let (documents, mut problems) = read_file("a.jsonl", format!("{record}\n").as_bytes(), change);
        assert!(documents.is_empty() && problems.len() == 1, "{documents:?} {problems:?}");
        problems.remove(0)
    };
    let two = |source: &mut SourceConfig| source.text_fields = vec!["a".into(), "b".into()];
    assert_eq!(said(json!({"c": 1}), &two), "a.jsonl:1: there is no field \"a\" or \"b\"; the fields are c");
    assert_eq!(said(json!({"a": "x", "b": 1}), &two), "a.jsonl:1: field \"b\" is not a string");
    let images = |source: &mut SourceConfig| source.images_field = Some("i".into());
    assert_eq!(
        said(json!({"text": "x", "i": [1]}), &images),
        "a.jsonl:1: field \"i\" holds no path or URL of an image"
    );
    let (documents, _) =
        read_file("a.csv", b"body,year\nx,1\n", |source| source.text_fields = vec!["body".into(), "year".into()]);
    assert_eq!(documents[0].text, "x\n\n1");
}

#[test]
fn configurations_are_read_and_checked() {
    let config: Result<SourceConfig, _> = serde_json::from_value(
        json!({"name": "s", "path": "p", "metadata": ["a"], "chat": "sharegpt", "format": "tsv"}),
    );
    assert_eq!(config.unwrap().chat, Some(ChatFormat::ShareGpt));
    assert!(
        serde_json::from_value::<SourceConfig>(json!({"metadata": "some"}))
            .unwrap_err()
            .to_string()
            .contains("\"all\", \"none\"")
    );
    assert!(serde_json::from_value::<SourceConfig>(json!({"txet_field": "a"})).is_err());
    let back: SourceConfig = serde_json::from_value(serde_json::to_value(source("p")).unwrap()).unwrap();
    assert_eq!(back, source("p"));
    let written = serde_json::to_value(source("p")).unwrap();
    let keys: Vec<&String> = written.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["name", "path", "text_field", "split", "language", "limit"]);
    let dir = tempfile::tempdir().unwrap();
    let bad = |change: &dyn Fn(&mut SourceConfig)| {
        let mut source = source("a.txt");
        change(&mut source);
        read(dir.path(), &source).unwrap_err().to_string()
    };
    assert!(bad(&|s| s.encoding = "klingon".into()).contains("\"klingon\" is no encoding"));
    for delimiter in ['；', '"', '\n'] {
        assert!(bad(&|s| s.delimiter = Some(delimiter)).contains("delimiter"), "{delimiter}");
    }
    let tabs = bad(&|s| (s.format, s.delimiter) = (Some(Format::Tsv), Some(';')));
    assert!(tabs.contains("only CSV has one"), "{tabs}");
    assert!(bad(&|s| s.max_decompressed_ratio = f64::NAN).contains("max_decompressed_ratio"));
    assert!(bad(&|s| s.max_window_mebibytes = Some(4096)).contains("max_window_mebibytes"));
    assert!(bad(&|s| s.http.requests_per_second = 0.0).contains("http.requests_per_second"));
    assert!(bad(&|s| s.http.user_agent = "春".into()).contains("http.user_agent"));
    let not_built = bad(&|s| s.path = "s3://bucket/a.jsonl".into());
    assert_eq!(not_built.contains("object-store"), !cfg!(feature = "object-store"), "{not_built}");
}

/// The names that a configuration knows: those that the error about another lists.
fn names_in(error: &str) -> Vec<String> {
    let listed = error.split("expected one of ").nth(1).unwrap();
    listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_documentation_has_every_key() {
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/sources.md")).unwrap();
    let unknown = |value: Value| serde_json::from_value::<SourceConfig>(value).unwrap_err().to_string();
    let sets = [json!({"x": 1}), json!({"http": {"x": 1}}), json!({"format": "x"}), json!({"chat": "x"})];
    let [keys, http, formats, chats] = sets.map(|value| names_in(&unknown(value)));
    assert!(keys.len() > 25 && http.len() > 8 && formats.len() > 15 && chats.len() == 6);
    for name in [keys, http, formats, chats].concat() {
        let marks = [format!("`{name}"), format!("\n{name} = "), format!("# {name} = "), format!(".{name}`")];
        assert!(marks.iter().any(|mark| docs.contains(mark)), "docs/sources.md says nothing of {name}");
    }
}

/// The text and the typed part of one record.
fn chat(format: ChatFormat, record: &Value) -> Result<(String, Value), String> {
    let (mut documents, problems) =
        read_file("a.jsonl", format!("{record}\n").as_bytes(), |source| source.chat = Some(format));
    let Some(document) = documents.pop() else { return Err(problems[0].replace("a.jsonl:1: ", "")) };
    let mut typed = document.metadata;
    typed.retain(|name, _| name != "file" && name != "line");
    Ok((document.text, typed.into()))
}

fn check_chat(format: ChatFormat, record: Value, text: &str, typed: Value) {
    assert_eq!(chat(format, &record), Ok((text.into(), typed.clone())));
    assert_eq!(chat(ChatFormat::Auto, &record), Ok((text.into(), typed)), "found by itself");
}

fn turn(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

#[test]
fn conversations_of_all_forms_become_one() {
    check_chat(
        ChatFormat::Alpaca,
        json!({"instruction": "Translate.", "input": "春", "output": "spring", "system": "", "id": 3}),
        "user: Translate.\n\n春\n\nassistant: spring",
        json!({"id": 3, "messages": [turn("user", "Translate.\n\n春"), turn("assistant", "spring")]}),
    );
    check_chat(
        ChatFormat::Alpaca,
        json!({"instruction": "再来一首", "input": null, "output": "床前明月光", "system": "你是诗人", "history": [["来一首", "春眠不觉晓"]]}),
        "system: 你是诗人\n\nuser: 来一首\n\nassistant: 春眠不觉晓\n\nuser: 再来一首\n\nassistant: 床前明月光",
        json!({"messages": [turn("system", "你是诗人"), turn("user", "来一首"), turn("assistant", "春眠不觉晓"), turn("user", "再来一首"), turn("assistant", "床前明月光")]}),
    );
    check_chat(
        ChatFormat::ShareGpt,
        json!({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello", "weight": null}]}),
        "user: Hi\n\nassistant: Hello",
        json!({"messages": [turn("user", "Hi"), turn("assistant", "Hello")]}),
    );
    let call = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]});
    check_chat(
        ChatFormat::Messages,
        json!({"messages": [
            {"role": "user", "content": [{"type": "text", "text": "What is this? "}, {"type": "image_url", "image_url": {"url": "a.png"}}]},
            call, {"role": "tool", "content": "a cat"}, turn("assistant", "猫")
        ]}),
        "user: What is this? <image>\n\nassistant: \n\ntool: a cat\n\nassistant: 猫",
        json!({"messages": [
            {"role": "user", "content": "What is this? <image>", "images": ["a.png"]},
            {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}, turn("tool", "a cat"), turn("assistant", "猫")
        ]}),
    );
    check_chat(
        ChatFormat::Preference,
        json!({"prompt": "一加一", "chosen": "二", "rejected": "三"}),
        "user: 一加一\n\nchosen: 二\n\nrejected: 三",
        json!({"prompt": [turn("user", "一加一")], "chosen": [turn("assistant", "二")], "rejected": [turn("assistant", "三")]}),
    );
    let asked = turn("user", "1+1?");
    check_chat(
        ChatFormat::Preference,
        json!({"prompt": "1+1?", "chosen": [asked, turn("assistant", "2")], "rejected": [asked, turn("assistant", "3")]}),
        "user: 1+1?\n\nchosen: 2\n\nrejected: 3",
        json!({"prompt": [asked], "chosen": [turn("assistant", "2")], "rejected": [turn("assistant", "3")]}),
    );
    check_chat(
        ChatFormat::Kto,
        json!({"prompt": [turn("user", "好吗")], "completion": "好", "label": true}),
        "user: 好吗\n\ndesirable: 好",
        json!({"prompt": [turn("user", "好吗")], "completion": [turn("assistant", "好")], "label": true}),
    );
}

#[test]
fn broken_conversations_are_problems() {
    let messages = |turns: Value| chat(ChatFormat::Messages, &json!({ "messages": turns })).unwrap_err();
    let (asked, answered) = (turn("user", "a"), turn("assistant", "b"));
    assert_eq!(messages(json!([asked])), "there is no assistant turn");
    assert_eq!(messages(json!([])), "there is no assistant turn");
    assert_eq!(messages(json!([asked, answered, asked])), "the last turn is the user's, not the assistant's");
    assert_eq!(messages(json!([asked, asked, answered])), "wrong order: turn 2 is the user's, after the user's");
    assert_eq!(messages(json!([answered])), "wrong order: turn 1 is the assistant's, at the beginning");
    assert_eq!(
        messages(json!([asked, turn("system", "x"), answered])),
        "wrong order: turn 2 is the system's, after the user's"
    );
    assert_eq!(messages(json!([asked, turn("assistant", " \n")])), "turn 2 (assistant) is empty");
    assert_eq!(
        messages(json!([turn("narrator", "x")])),
        "turn 1 has the unknown role \"narrator\"; the roles are system, user, assistant and tool"
    );
    assert_eq!(messages(json!([{"content": "x"}])), "turn 1 has no role");
    assert_eq!(messages(json!("x")), "field \"messages\" is not a list of turns");
    assert_eq!(
        messages(json!([{"role": "user", "content": [{"type": "video"}]}])),
        "turn 1 has a part of the unknown type \"video\""
    );
    let preference = |record: Value| chat(ChatFormat::Preference, &record).unwrap_err();
    assert_eq!(
        preference(json!({"prompt": "a", "chosen": "b"})),
        "there is no field \"rejected\"; the fields are prompt"
    );
    assert_eq!(
        preference(json!({"prompt": "a", "chosen": "b", "rejected": "b"})),
        "the chosen and the rejected answer are the same"
    );
    assert_eq!(preference(json!({"prompt": "", "chosen": "b", "rejected": "c"})), "turn 1 (user) is empty");
    assert_eq!(preference(json!({"chosen": "b", "rejected": "c"})), "there is no prompt");
    let other = json!({"prompt": "x", "chosen": [asked, answered], "rejected": [asked, turn("assistant", "c")]});
    assert_eq!(preference(other), "the prompt is not what the chosen and the rejected conversation begin with");
    let kto =
        |label: Value| chat(ChatFormat::Kto, &json!({"prompt": "a", "completion": "b", "label": label})).unwrap_err();
    assert_eq!(kto(json!("yes")), "field \"label\" is \"yes\", neither true nor false");
    assert_eq!(kto(json!(null)), "field \"label\" is null");
    let auto = chat(ChatFormat::Auto, &json!({"text": "a", "n": 1})).unwrap_err();
    assert_eq!(auto, "no known form of conversation has the fields text, n");
}

/// 春眠不觉晓，处处闻啼鸟。 in GB18030 and 春眠不覺曉，處處聞啼鳥。 in Big5, as Python's codecs write them.
const GB18030: &[u8] =
    b"\xB4\xBA\xC3\xDF\xB2\xBB\xBE\xF5\xCF\xFE\xA3\xAC\xB4\xA6\xB4\xA6\xCE\xC5\xCC\xE4\xC4\xF1\xA1\xA3";
const BIG5: &[u8] = b"\xACK\xAFv\xA4\xA3\xC4\xB1\xBE\xE5\xA1A\xB3B\xB3B\xBBD\xB3\xDA\xB3\xBE\xA1C";

#[test]
fn encodings_are_found_or_named() {
    check_texts("a.txt", GB18030, &["春眠不觉晓，处处闻啼鸟。"]);
    check_texts("a.txt", BIG5, &["春眠不覺曉，處處聞啼鳥。"]);
    let latin = b"Die W\xFCrde des Menschen ist unantastbar. Sie zu sch\xFCtzen ist Verpflichtung f\xFCr alle.";
    check_texts(
        "a.txt",
        latin,
        &["Die Würde des Menschen ist unantastbar. Sie zu schützen ist Verpflichtung für alle."],
    );
    check_texts("a.txt", b"\xFF\xFEa\0-N", &["a中"]);
    check_texts("a.txt.gz", &gzip(GB18030), &["春眠不觉晓，处处闻啼鸟。"]);
    check_texts("a.csv", &[b"id,text\n1,", GB18030, b"\n"].concat(), &["春眠不觉晓，处处闻啼鸟。"]);
    check_texts("a.jsonl", &[b"{\"text\":\"", BIG5, b"\"}\n"].concat(), &["春眠不覺曉，處處聞啼鳥。"]);
    let (documents, _) = read_file("a.txt", b"caf\xE9", |source| source.encoding = "latin1".into());
    assert_eq!(texts(&documents), ["café"]);
    // The beginning of a large file may be ASCII all over.
    let lines = b"{\"text\":\"plain\"}\n".repeat(10_000);
    for (tail, expect) in [(GB18030, "春眠不觉晓，处处闻啼鸟。"), (BIG5, "春眠不覺曉，處處聞啼鳥。")]
    {
        let bytes = [&lines[..], b"{\"text\":\"", tail, b"\"}\n"].concat();
        let (documents, problems) = read_file("a.jsonl", &bytes, |_| ());
        assert_eq!((documents.len(), documents[10_000].text.as_str(), problems.len()), (10_001, expect, 0));
    }
    let (documents, problems) = read_file("a.txt", b"\xB4\xBA \xFF!", |source| source.encoding = "gb18030".into());
    assert_eq!(
        (texts(&documents), problems),
        (vec!["春 \u{FFFD}!"], vec!["a.txt: some bytes are not gb18030; they became U+FFFD".to_owned()])
    );
    let utf8 = |invalid: InvalidBytes| {
        read_file("a.txt", GB18030, |source| (source.encoding, source.invalid) = ("utf-8".into(), invalid))
    };
    let (documents, problems) = utf8(InvalidBytes::Drop);
    assert!(documents.is_empty() && problems[0].contains("broken UTF-8 (byte 0xB4"), "{problems:?}");
    let (documents, problems) = utf8(InvalidBytes::Replace);
    assert!(documents[0].text.starts_with('\u{FFFD}'), "{documents:?}");
    assert_eq!(problems, ["a.txt: some bytes are not UTF-8; they became U+FFFD"]);
}

/// A bad byte takes neither its file nor its record with it, and is told once of a file.
#[test]
fn bytes_that_are_no_utf8_become_replacement_characters() {
    let told = |name: &str| format!("{name}: some bytes are not UTF-8; they became U+FFFD");
    for (name, content, expect) in [
        ("a.txt", "春眠\u{1}不覺曉", &["春眠\u{FFFD}不覺曉"][..]),
        ("a.md", "# 春\u{1}", &["# 春\u{FFFD}"]),
        (
            "a.jsonl",
            "{\"text\":\"one\"}\n{\"text\":\"t\u{1}o\u{1}\"}\n{\"text\":\"三\"}\n",
            &["one", "t\u{FFFD}o\u{FFFD}", "三"],
        ),
        ("a.json", "[{\"text\":\"one\"},{\"text\":\"t\u{1}o\"}]", &["one", "t\u{FFFD}o"]),
        ("a.csv", "text,n\none,\u{1}\nt\u{1}o,2\n", &["one", "t\u{FFFD}o"]),
        ("a.tsv", "text\tn\none\t1\nt\u{1}o\t2\n", &["one", "t\u{FFFD}o"]),
    ] {
        let bytes: Vec<u8> = content.bytes().map(|byte| if byte == 1 { 0xFF } else { byte }).collect();
        let (documents, problems) = read_file(name, &bytes, |_| ());
        assert_eq!((texts(&documents), problems), (expect.to_vec(), vec![told(name)]), "{name}");
        let (documents, problems) = read_file(name, &bytes, |source| source.invalid = InvalidBytes::Drop);
        assert!(documents.len() < expect.len() && problems[0].contains("broken UTF-8"), "{name}: {problems:?}");
    }
    // What is wrong otherwise stays wrong.
    let (documents, problems) = read_file("a.jsonl", b"{\"text\":\"\xFF\"\n{\"text\":\"b\"}\n", |_| ());
    assert!(texts(&documents) == ["b"] && problems[0].contains("a.jsonl:1: malformed JSON"), "{problems:?}");
}

#[test]
fn what_was_read_of_a_truncated_archive_counts() {
    let mut lines = String::new();
    let mut state = 1u32;
    for _ in 0..20_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        lines += &format!("{{\"text\":\"{state} 春\"}}\n");
    }
    for (name, bytes) in [
        ("a.jsonl.gz", gzip(lines.as_bytes())),
        ("a.jsonl.zst", zstd(lines.as_bytes())),
        // A block of bzip2 is all or nothing.
        ("a.jsonl.bz2", [bzip2(lines.as_bytes()), bzip2(lines.as_bytes())].concat()),
    ] {
        let (documents, problems) = read_file(name, &bytes[..bytes.len() * 9 / 10], |_| ());
        assert!(
            documents.len() > 10_000 && documents.len() % 20_000 != 0 || name.ends_with("bz2"),
            "{name}: {}",
            documents.len()
        );
        assert!(documents.len() >= 10_000, "{name}: {}", documents.len());
        assert_eq!(problems.len(), 1, "{name}");
        let place = format!("{name}:{}: cannot be read: ", documents.len() + 1);
        assert!(problems[0].starts_with(&place) && problems[0].contains("of the file, after "), "{}", problems[0]);
    }
}

#[test]
fn decompression_bombs_are_given_up() {
    let bomb = zstd(&vec![b' '; 80 << 20]);
    assert!(bomb.len() < 20_000);
    let (documents, problems) = read_file("a.txt.zst", &bomb, |_| ());
    assert!(documents.is_empty());
    assert!(
        problems[0].contains("more than 250 times as many") && problems[0].contains("max_decompressed_ratio"),
        "{}",
        problems[0]
    );
    let (documents, _) = read_file("a.txt.zst", &bomb, |source| source.max_decompressed_ratio = 1e6);
    assert_eq!(documents[0].text.len(), 80 << 20);
    let (documents, problems) = read_file("a.jsonl.gz", &gzip(&b"{\"text\":\"a\"}\n".repeat(200_000)), |source| {
        source.max_decompressed_mebibytes = Some(1);
    });
    assert!(documents.len() > 70_000, "what came before the limit counts: {}", documents.len());
    assert!(
        problems[0].contains("it holds more than 1 MiB, the source's max_decompressed_mebibytes"),
        "{}",
        problems[0]
    );
}

#[test]
fn windows_of_zstd_are_bounded_by_a_key() {
    let post = |text: &str| json!({"id": "a", "author": "ada", "body": text, "created_utc": 1714521600});
    let lines = format!("{}\n{}\n", post("One."), post("春眠不覺曉"));
    // A dump by its name, with the window of 2 GiB that such dumps have.
    check_texts("RC_2024-05.zst", &with_window(31, lines.as_bytes()), &["One.", "春眠不覺曉"]);
    check_texts("a.jsonl.zst", &with_window(27, b"{\"text\":\"a\"}\n"), &["a"]);
    let large = with_window(31, b"{\"text\":\"a\"}\n");
    let (documents, problems) = read_file("a.jsonl.zst", &large, |_| ());
    assert!(documents.is_empty() && problems.len() == 1, "{documents:?} {problems:?}");
    assert!(problems[0].contains("a window of more than 128 MiB, the source's max_window_mebibytes"), "{problems:?}");
    for (mebibytes, expect) in [(2048, 1), (2047, 0)] {
        let (documents, _) = read_file("a.jsonl.zst", &large, |s| s.max_window_mebibytes = Some(mebibytes));
        assert_eq!(documents.len(), expect, "{mebibytes}");
    }
    let (documents, problems) = read_file("RS_2024-05.zst", &large, |s| s.max_window_mebibytes = Some(64));
    assert!(documents.is_empty() && problems[0].contains("more than 64 MiB"), "{problems:?}");
}

#[cfg(unix)]
#[test]
fn links_are_followed_once_and_never_in_circles() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("texts/deep")).unwrap();
    fs::write(at("texts/a.txt"), "a").unwrap();
    fs::write(at("texts/deep/b.txt"), "b").unwrap();
    symlink(at("texts"), at("texts/deep/loop")).unwrap();
    symlink(at("texts/deep"), at("texts/twin")).unwrap();
    symlink(at("texts/a.txt"), at("texts/z.txt")).unwrap();
    symlink(at("nowhere"), at("texts/lost.txt")).unwrap();
    for path in ["texts", "texts/**/*.txt"] {
        let (documents, problems) = read(dir.path(), &source(path)).unwrap();
        assert_eq!(texts(&documents), ["a", "b"], "{path}");
        assert!(
            problems[0].starts_with("texts/deep/loop: a link in a circle: it leads back to "),
            "{path}: {problems:?}"
        );
        assert!(problems[1].starts_with("texts/lost.txt: a link that leads nowhere"), "{path}: {problems:?}");
        assert_eq!(problems.len(), 2, "{path}");
    }
    let twice = SourceConfig { paths: vec!["texts/deep/*.txt".into(), "texts/z.txt".into()], ..source("texts/*.txt") };
    let summary = collect(&[twice], dir.path(), false, &dir.path().join("out"), &quiet).unwrap();
    let counts = &summary.sources["s"];
    assert_eq!((counts.files, counts.documents, counts.repeated_files), (2, 2, 2));
    let strict = collect(&[source("texts")], dir.path(), true, &dir.path().join("out"), &quiet).unwrap_err();
    assert!(strict.to_string().contains("a link in a circle"), "{strict}");
}

#[test]
fn what_is_hidden_or_danlus_own_or_of_no_known_format_is_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let own = "experiments/artifacts/collect/1/d.txt";
    for path in ["a.txt", "deep/b.txt", ".hidden.txt", ".git/c.txt", "notes.docx", "deep/other.xml", own] {
        fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
        fs::write(dir.path().join(path), path).unwrap();
    }
    drop(danlu_store::Workspace::open(&dir.path().join("experiments")).unwrap().db().unwrap());
    let hidden = json!({"count": 1, "first": [".hidden.txt"]});
    let folder = json!({"count": 1, "first": [".git"]});
    let runs = json!({"count": 1, "first": ["experiments"]});
    let unknown = json!({"count": 2, "first": ["deep/other.xml", "notes.docx"]});
    let all = json!({"hidden files": hidden, "hidden folders": folder, "run folders of danlu": runs});
    let mut and_unknown = all.clone();
    and_unknown["files of unknown format"] = unknown;
    for (paths, expect, left_out) in [
        (&["."][..], &["a.txt", "deep/b.txt"][..], &and_unknown),
        (&["**/*.txt"], &["a.txt", "deep/b.txt"], &all),
        (&["*.txt"], &["a.txt"], &json!({"hidden files": hidden})),
        (&["*/*.txt"], &["deep/b.txt"], &json!({"hidden folders": folder})),
        (&["a.txt", "*.txt", "*/*.txt", "."], &["a.txt", "deep/b.txt"], &and_unknown),
        // What is named is read.
        (&[".hidden.txt"], &[".hidden.txt"], &json!({})),
        (&["**/.hidden.txt"], &[".hidden.txt"], &json!({"run folders of danlu": runs})),
        (&[".git"], &[".git/c.txt"], &json!({})),
        (&["experiments/artifacts/*/*/*.txt"], &[own], &json!({})),
        (&["experiments/artifacts"], &[own], &json!({})),
    ] {
        let out = tempfile::tempdir().unwrap();
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let config = SourceConfig { paths, ..source("") };
        let summary = collect(&[config], dir.path(), true, out.path(), &quiet).unwrap();
        let documents: Vec<Document> =
            read_documents(&out.path().join(COLLECTED_FILE)).unwrap().map(Result::unwrap).collect();
        assert_eq!(texts(&documents), expect);
        assert_eq!(&serde_json::to_value(&summary.sources["s"].left_out).unwrap(), left_out, "{expect:?}");
        assert_eq!(documents[0].metadata["file"], expect[0]);
    }
    let none = read(dir.path(), &source("*/artifacts/*/*/*.txt"));
    assert!(matches!(none, Err(DataError::NoFiles { .. })), "{none:?}");
}

#[test]
fn files_may_be_empty_or_disappear() {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in [("a.txt", "a"), ("b.txt", "b"), ("c.txt", "c"), ("d.txt", "")] {
        fs::write(dir.path().join(name), content).unwrap();
    }
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    read_source(&source("*.txt"), dir.path(), &mut |record| {
        match record {
            Ok(document) => found.push(document.text),
            Err(problem) => problems.push(problem.to_string()),
        }
        let _ = fs::remove_file(dir.path().join("b.txt"));
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(found, ["a", "c"]);
    assert!(problems[0].ends_with("b.txt: it has disappeared since it was listed"), "{problems:?}");
    assert!(problems[1].ends_with("d.txt: the file is empty"), "{problems:?}");
}

#[test]
fn broken_tables_and_lists_are_problems() {
    let said = |name: &str, content: &[u8]| {
        let (documents, problems) = read_file(name, content, |_| ());
        (documents.len(), problems.join("; "))
    };
    assert_eq!(
        said("a.tsv", b"text\tn\na\t1\nb\nc\t3\n"),
        (2, "a.tsv:3: the record has 1 columns, the header 2".into())
    );
    let (read, problem) = said("a.json", b"[{\"text\":\"a\"},\n{\"text\":\"b\"},\n{\"text\":}]");
    assert!(read == 2 && problem.starts_with("a.json:3: malformed JSON: "), "{problem}");
    assert_eq!(
        said("a.json", b"[{\"text\":\"a\"},5,{\"text\":\"b\"}]"),
        (2, "a.json:2: the element is not an object".into())
    );
    let (read, problem) = said("a.json", b"\"text\"");
    assert!(read == 0 && problem.contains("expected an object or an array of objects"), "{problem}");
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    assert!(said("a.json", &deep).1.contains("malformed JSON: recursion limit"));
}

fn sqlite_file(path: &Path) {
    let db = rusqlite::Connection::open(path).unwrap();
    db.execute_batch("CREATE TABLE posts (id INTEGER, body TEXT, score REAL, raw BLOB)").unwrap();
    for (id, body) in [(1, "one"), (2, "春眠不覺曉"), (3, "three")] {
        db.execute("INSERT INTO posts VALUES (?, ?, ?, NULL)", rusqlite::params![id, body, id as f64 / 2.0]).unwrap();
    }
    db.execute("INSERT INTO posts VALUES (4, 'bad', 0, X'FF00')", []).unwrap();
}

#[test]
fn sqlite_queries_give_records() {
    let dir = tempfile::tempdir().unwrap();
    sqlite_file(&dir.path().join("posts.db"));
    let ask = |query: &str| {
        let query = Some(query.into());
        read(dir.path(), &SourceConfig { text_field: "body".into(), query, ..source("sqlite:posts.db") })
    };
    let (documents, problems) = ask("SELECT id, body, score FROM posts WHERE id <= 2 ORDER BY id").unwrap();
    assert_eq!((texts(&documents), problems.len()), (vec!["one", "春眠不覺曉"], 0));
    assert_eq!(
        serde_json::to_value(&documents[1].metadata).unwrap(),
        json!({"id": 2, "score": 1.0, "file": "posts.db", "line": 2})
    );
    let (documents, problems) = ask("SELECT body, raw FROM posts ORDER BY id").unwrap();
    // Bytes that are no text are told by their number, as those of Parquet.
    assert_eq!((documents.len(), problems.len()), (4, 0), "{problems:?}");
    assert_eq!(documents[3].metadata["raw"], json!({"bytes": 2}));
    let broken = Some("SELECT CAST(X'61FF' AS TEXT) AS body".to_owned());
    let broken = SourceConfig { text_field: "body".into(), query: broken, ..source("sqlite:posts.db") };
    let (documents, problems) = read(dir.path(), &broken).unwrap();
    assert_eq!((texts(&documents), problems.len()), (vec!["a\u{FFFD}"], 1), "{problems:?}");
    let (documents, problems) = read(dir.path(), &SourceConfig { invalid: InvalidBytes::Drop, ..broken }).unwrap();
    assert_eq!(
        (documents.len(), problems.join("")),
        (0, "posts.db:1: broken UTF-8 in column \"body\" (offset 1)".into())
    );
    for (query, expect) in [
        ("SELECT id FROM posts", "there is no column \"body\"; the columns are id"),
        ("SELECT body FROM absent", "no such table: absent"),
        ("DELETE FROM posts RETURNING body", "changes the database"),
    ] {
        let error = ask(query).unwrap_err().to_string();
        assert!(error.contains(expect), "{query}: {error}");
    }
    let none = read(dir.path(), &source("sqlite:posts.db")).unwrap_err();
    assert!(none.to_string().contains("is a database and needs a query"), "{none}");
    assert!(matches!(read(dir.path(), &source("sqlite:none.db")), Err(DataError::NoFiles { .. })));
    fs::write(dir.path().join("posts.db"), [b'x'; 5000]).unwrap();
    let (_, problems) = ask("SELECT body FROM posts").unwrap();
    assert!(problems[0].contains("broken SQLite: file is not a database"), "{problems:?}");
}

#[test]
fn the_state_of_a_source_is_its_content() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.txt"), "a").unwrap();
    sqlite_file(&dir.path().join("posts.db"));
    let state = |source: &SourceConfig| serde_json::to_value(source_state(source, dir.path()).unwrap()).unwrap();
    assert_eq!(state(&source("*.txt")), json!({ "a.txt": blake3::hash(b"a").to_hex().as_str() }));
    assert_eq!(state(&source("sqlite:posts.db")).as_object().unwrap().len(), 1);
    // Neither the web nor a database server is asked.
    assert_eq!(state(&source("https://nobody.invalid/a.txt")), json!({ "https://nobody.invalid/a.txt": "" }));
    let secret = source("postgres://me:secret@nobody.invalid/db");
    assert_eq!(state(&secret), json!({ "postgres://me@nobody.invalid/db": "" }));
}

/// A PostgreSQL server of its own, stopped on drop.
struct Postgres {
    server: std::process::Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Postgres {
    /// The server refuses to run as root; it is then run as the user `postgres` that its package makes.
    fn start() -> Result<Self, String> {
        Self::start_with(false)
    }

    /// With TLS or without; the certificate is in `server.crt`, and is of 127.0.0.1 alone.
    fn start_with(tls: bool) -> Result<Self, String> {
        let folders = glob::glob("/usr/lib/postgresql/*/bin").unwrap();
        let bin = folders.filter_map(Result::ok).last().ok_or("no PostgreSQL server (package postgresql)")?;
        let dir = tempfile::tempdir().unwrap();
        let root = fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
        if root {
            let chowned = Command::new("chown").arg("postgres").arg(dir.path()).status();
            if !chowned.is_ok_and(|status| status.success()) {
                return Err("PostgreSQL does not run as root, and there is no user postgres".into());
            }
        }
        let command = |program: PathBuf| {
            let mut command = if root {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
                command
            } else {
                Command::new(program)
            };
            command.current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let data = dir.path().join("data");
        let made = command(bin.join("initdb"))
            .args(["-A", "trust", "-U", "danlu", "-E", "UTF8", "--locale=C"])
            .arg("-D")
            .arg(&data)
            .status();
        if !made.as_ref().is_ok_and(|status| status.success()) {
            return Err(format!("initdb failed: {made:?}"));
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = command(bin.join("postgres"));
        server.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "fsync=off", "-k"]).arg(dir.path());
        server.arg("-D").arg(&data);
        if tls {
            let place = |name: &str| dir.path().join(name);
            let config = "[req]\ndistinguished_name = name\nx509_extensions = usage\nprompt = no\n[name]\nCN = danlu\n\
                          [usage]\nbasicConstraints = critical,CA:FALSE\nsubjectAltName = IP:127.0.0.1\n";
            fs::write(place("certificate.cnf"), config).unwrap();
            let mut openssl = command("openssl".into());
            openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-config"]);
            openssl.arg(place("certificate.cnf")).arg("-keyout").arg(place("server.key"));
            let made = openssl.arg("-out").arg(place("server.crt")).status();
            if !made.as_ref().is_ok_and(|status| status.success()) {
                return Err(format!("openssl failed: {made:?}"));
            }
            server.args(["-c", "ssl=on", "-c"]).arg(format!("ssl_cert_file={}", place("server.crt").display()));
            server.arg("-c").arg(format!("ssl_key_file={}", place("server.key").display()));
        }
        let server = server.spawn().map_err(|error| error.to_string())?;
        let postgres = Self { server, dir, port };
        for _ in 0..200 {
            if postgres::Client::connect(&postgres.url("postgres"), postgres::NoTls).is_ok() {
                return Ok(postgres);
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Err("the PostgreSQL server does not answer".into())
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://danlu:secret@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg("-INT").arg(self.server.id().to_string()).status();
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(self.dir.path());
    }
}

#[test]
fn postgresql_queries_give_records() {
    let server = match Postgres::start() {
        Ok(server) => server,
        Err(reason) => return skip("postgresql_queries_give_records", &reason),
    };
    let url = server.url("postgres");
    let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
    client
        .batch_execute(
            "CREATE TABLE posts (id int, body text, tags text[], extra jsonb);
             INSERT INTO posts SELECT i, 'text ' || i || ' 春', ARRAY['a', 'b'], '{\"k\": [1]}' FROM generate_series(1, 1001) AS i",
        )
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ask = |query: &str| {
        let config = SourceConfig { text_field: "body".into(), query: Some(query.into()), ..source(&url) };
        read(dir.path(), &config)
    };
    let (documents, problems) = ask("SELECT * FROM posts ORDER BY id;").unwrap();
    assert_eq!((documents.len(), problems.len()), (1001, 0));
    assert_eq!(documents[1000].text, "text 1001 春");
    let shown = format!("postgres://danlu@127.0.0.1:{}/postgres", server.port);
    let expect = json!({"id": 1001, "tags": ["a", "b"], "extra": {"k": [1]}, "file": shown, "line": 1001});
    assert_eq!(serde_json::to_value(&documents[1000].metadata).unwrap(), expect);
    for (query, expect) in [
        ("SELECT body FROM nothing", "relation \"nothing\" does not exist"),
        ("SELECT body FROM posts) AS x; DROP TABLE posts; --", "syntax error"),
    ] {
        let error = ask(query).unwrap_err().to_string();
        assert!(error.contains(expect), "{query}: {error}");
    }
    let (documents, problems) =
        ask("SELECT 'text ' || i AS body, 1 / (i - 500) AS boom FROM generate_series(1, 1001) AS i").unwrap();
    assert_eq!((documents.len(), problems.len()), (499, 1), "{problems:?}");
    assert!(
        problems[0].contains("the database gave up after row") && problems[0].contains("division by zero"),
        "{problems:?}"
    );
    // A row that is too long never comes, and the rows after it do; a limit ends it in the middle of what was asked for.
    let long = SourceConfig {
        text_field: "body".into(),
        query: Some(
            "SELECT repeat('x', CASE WHEN i = 3 THEN 5000000 ELSE i END) AS body FROM generate_series(1, 300) AS i"
                .into(),
        ),
        max_record_mebibytes: 1,
        ..source(&url)
    };
    let (documents, problems) = read(dir.path(), &long).unwrap();
    assert_eq!((documents.len(), problems.len()), (299, 1), "{problems:?}");
    assert!(problems[0].contains(":3: longer than 1 MiB, the source's max_record_mebibytes"), "{problems:?}");
    let (documents, _) = read(dir.path(), &SourceConfig { limit: Some(250), ..long }).unwrap();
    assert_eq!(documents.len(), 250);
    assert_eq!(client.query_one("SELECT count(*) FROM posts", &[]).unwrap().get::<_, i64>(0), 1001);
    drop(server);
    let (documents, problems) = ask("SELECT body FROM posts").unwrap();
    assert!(documents.is_empty() && !problems[0].contains("secret"), "{problems:?}");
}

#[test]
fn postgresql_is_asked_over_tls_as_the_url_says() {
    let server = match Postgres::start_with(true) {
        Ok(server) => server,
        Err(reason) => return skip("postgresql_is_asked_over_tls_as_the_url_says", &reason),
    };
    let dir = tempfile::tempdir().unwrap();
    let ask = |host: &str, settings: &str| {
        let url = format!("{}?{settings}", server.url("postgres").replace("127.0.0.1", host));
        let query = "SELECT coalesce(version, 'none') AS body FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let config = SourceConfig { text_field: "body".into(), query: Some(query.into()), ..source(&url) };
        match read(dir.path(), &config) {
            Ok((documents, problems)) => documents.into_iter().map(|d| d.text).chain(problems).collect::<String>(),
            Err(error) => error.to_string(),
        }
    };
    let roots = format!("sslrootcert={}", server.dir.path().join("server.crt").display());
    for (host, settings, expect) in [
        ("127.0.0.1", "sslmode=disable".to_owned(), "none"),
        ("127.0.0.1", "connect_timeout=20".to_owned(), "TLSv1.3"),
        ("127.0.0.1", "sslmode=prefer".to_owned(), "TLSv1.3"),
        ("danlu.invalid", "hostaddr=127.0.0.1&sslmode=require".to_owned(), "TLSv1.3"),
        ("danlu.invalid", format!("hostaddr=127.0.0.1&sslmode=verify-ca&{roots}"), "TLSv1.3"),
        ("127.0.0.1", format!("{roots}&sslmode=verify-full"), "TLSv1.3"),
        ("danlu.invalid", format!("hostaddr=127.0.0.1&sslmode=verify-full&{roots}"), "not valid for name"),
        ("127.0.0.1", format!("sslmode=verify-ca&{roots}.none"), "server.crt.none"),
        ("127.0.0.1", "sslmode=verified".to_owned(), "sslmode"),
    ] {
        let told = ask(host, &settings);
        assert!(told.contains(expect), "{host} {settings}: {told}");
    }
    // Of no authority of the system, where it has any.
    let told = ask("127.0.0.1", "sslmode=verify-full");
    assert!(told.contains("invalid peer certificate") || told.contains("no certificate of an authority"), "{told}");
}

#[test]
fn both_languages_pass_through_every_text_format_alike() {
    let dir = tempfile::tempdir().unwrap();
    let rows = [ENGLISH, CHINESE];
    let lines: String = rows.iter().map(|text| json!({ "text": text }).to_string() + "\n").collect();
    fs::write(dir.path().join("a.jsonl"), &lines).unwrap();
    fs::write(dir.path().join("b.json"), json!(rows.map(|text| json!({ "text": text }))).to_string()).unwrap();
    fs::write(dir.path().join("c.tsv"), format!("text\n{ENGLISH}\n{CHINESE}\n")).unwrap();
    fs::write(dir.path().join("d.jsonl.bz2"), bzip2(lines.as_bytes())).unwrap();
    let out = dir.path().join("out");
    let summary: CollectSummary = collect(&[source("*.*")], dir.path(), true, &out, &quiet).unwrap();
    assert_eq!((summary.total.documents, summary.problem_count), (8, 0));
    let documents: Vec<Document> = read_documents(&out.join(COLLECTED_FILE)).unwrap().map(Result::unwrap).collect();
    assert_eq!(texts(&documents), rows.repeat(4));
}

#[test]
fn pages_wikis_mail_feeds_and_posts_are_read() {
    let one = |name: &str, content: &str, change: &dyn Fn(&mut SourceConfig)| {
        let (mut documents, problems) = read_file(name, content.as_bytes(), change);
        assert_eq!((documents.len(), problems.len()), (1, 0), "{name}: {documents:?} {problems:?}");
        documents.remove(0)
    };
    let page = format!(
        "<html lang=\"zh\"><head><title>春曉</title></head><body><nav><a href=\"/\">首頁</a></nav>\
         <article><h1>春曉</h1><p>{0}</p><p>{0}</p></article></body></html>",
        CHINESE
    );
    let found = one("a.html", &page, &|_| ());
    assert!(found.text.contains(CHINESE) && !found.text.contains("首頁"), "{}", found.text);
    assert_eq!((&found.metadata["declared_language"], found.language.as_str()), (&json!("zh"), ""));

    let dump = "<mediawiki>\n<page><title>Spring</title><ns>0</ns><id>7</id><revision><id>9</id><timestamp>2024-05-01T00:00:00Z</timestamp>\
         <model>wikitext</model><text>'''Spring''' is a [[season|time]] of the year.</text></revision></page>\n\
         <page><title>Springs</title><ns>0</ns><id>8</id><redirect title=\"Spring\"/><revision><text>#REDIRECT [[Spring]]</text></revision></page>\n\
         <page><title>Talk:Spring</title><ns>1</ns><id>9</id><revision><text>talk</text></revision></page>\n</mediawiki>\n";
    let found = one("enwiki-pages-articles.xml", dump, &|_| ());
    assert_eq!(found.text.trim(), "Spring is a time of the year.");
    assert_eq!((&found.metadata["title"], &found.metadata["id"]), (&json!("Spring"), &json!(7)));
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("wiki.xml"), dump).unwrap();
    let summary = collect(&[source("wiki.xml")], dir.path(), true, &dir.path().join("out"), &quiet).unwrap();
    let passed = serde_json::to_value(&summary.sources["s"].passed_over).unwrap();
    assert_eq!(passed, json!({"pages of other namespaces": 1, "redirects": 1}));

    let text = "春眠不覺曉，處處聞啼鳥。";
    let wet = format!(
        "WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: https://example.com/\r\nContent-Type: text/plain\r\n\
         Content-Length: {}\r\n\r\n{text}\r\n\r\n",
        text.len()
    );
    let found = one("a.warc.wet", &wet, &|_| ());
    assert_eq!((found.text.as_str(), &found.metadata["url"]), (text, &json!("https://example.com/")));

    let letter =
        "From: Ada <ada@example.org>\r\nSubject: Hello\r\nMessage-ID: <1@example.org>\r\n\r\nGood morning.\r\n";
    let found = one("a.eml", letter, &|_| ());
    assert_eq!((found.text.trim(), &found.metadata["title"]), ("Good morning.", &json!("Hello")));
    let mailbox =
        format!("From ada@example.org Wed May  1 00:00:00 2024\n{}\n", letter.replace("\r\n", "\n")).repeat(2);
    let (documents, problems) = read_file("a.mbox", mailbox.as_bytes(), |_| ());
    assert_eq!((documents.len(), problems.len()), (2, 0), "{documents:?} {problems:?}");

    let feed = "<rss version=\"2.0\"><channel><title>News</title><item><title>One</title><link>https://example.com/1</link>\
                <description>&lt;p&gt;A short &lt;b&gt;story&lt;/b&gt;.&lt;/p&gt;</description></item></channel></rss>";
    let found = one("a.rss", feed, &|_| ());
    let expect = ("One\n\nA short story.", &json!("https://example.com/1"));
    assert_eq!((found.text.trim(), &found.metadata["url"]), expect);

    let posts = "{\"id\":\"a1\",\"author\":\"ada\",\"body\":\"I agree.\",\"parent_id\":\"t3_x\",\"created_utc\":1714521600,\"score\":3,\"subreddit\":\"poems\"}\n\
                 {\"id\":\"a2\",\"author\":\"[deleted]\",\"body\":\"[deleted]\",\"created_utc\":1714521600}\n";
    let found = one("RC_2024-05", posts, &|source| source.format = Some(Format::Reddit));
    assert_eq!((found.text.as_str(), &found.metadata["kind"]), ("I agree.", &json!("comment")));
    let found = one("a.md", "# Title\n\nA *short* [story](x).\n", &|source| source.plain_markdown = true);
    assert_eq!((found.text.trim(), &found.metadata["title"]), ("Title\n\nA short story.", &json!("Title")));
}
