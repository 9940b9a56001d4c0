//! Books, papers, posts and archives as sources, and files that change while they are read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::ops::ControlFlow;

use common::quiet;
use common::sources::{bzip2, gzip, read, read_file, source, texts, zstd};
use danlu_data::{COLLECTED_FILE, Document, Format, SourceConfig, TitlePlace, collect, read_documents, read_source};
use serde_json::{Value, json};

const BOOK: &[u8] = include_bytes!("../../../fuzz/seeds/epub/book");
const PAPER: &[u8] = include_bytes!("../../../fuzz/seeds/pdf/deflated");

/// What a file gives when it is read, and that collecting it gives the same; its passed-over records beside.
fn collected(name: &str, content: &[u8], change: impl Fn(&mut SourceConfig)) -> (Vec<Document>, Value) {
    let (documents, problems) = read_file(name, content, &change);
    assert_eq!(problems, [""; 0], "{name}");
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), content).unwrap();
    let mut config = source(name);
    change(&mut config);
    let summary = collect(&[config], dir.path(), true, &dir.path().join("out"), &quiet).unwrap();
    let kept = read_documents(&dir.path().join("out").join(COLLECTED_FILE)).unwrap();
    assert_eq!(kept.collect::<Result<Vec<_>, _>>().unwrap(), documents, "{name}");
    (documents, serde_json::to_value(&summary.sources["s"].passed_over).unwrap())
}

fn metadata(document: &Document) -> Value {
    Value::Object(document.metadata.clone())
}

#[test]
fn books_give_a_document_a_chapter() {
    let (documents, _) = collected("a.epub", BOOK, |_| ());
    assert_eq!(texts(&documents), ["x\ny"]);
    assert_eq!(metadata(&documents[0]), json!({"title": "T", "book": "T", "chapter": 1, "file": "a.epub"}));
    let (documents, problems) = read_file("a.epub", &BOOK[..BOOK.len() - 30], |_| ());
    assert!(documents.is_empty() && problems[0].starts_with("a.epub: malformed EPUB: no ZIP archive"), "{problems:?}");
    // A name of its own is not needed where the source says what it is.
    let (documents, _) = collected("book", BOOK, |source| source.format = Some(Format::Epub));
    assert_eq!(documents.len(), 1);
}

#[test]
fn papers_give_one_document() {
    let (documents, passed_over) = collected("a.pdf", PAPER, |_| ());
    assert_eq!(documents.len(), 1);
    assert!(documents[0].text.starts_with("Title\n\nA line that goes on until the right end"), "{}", documents[0].text);
    assert!(documents[0].text.contains("中文\n第二行"), "{}", documents[0].text);
    assert_eq!(metadata(&documents[0]), json!({"title": "A title", "author": "张三", "pages": 2, "file": "a.pdf"}));
    assert_eq!(passed_over, json!({"glyphs without a character": 1, "pages without text": 1}));
    let (documents, problems) = read_file("a.pdf", b"no paper", |_| ());
    assert!(documents.is_empty() && problems.len() == 1 && problems[0].starts_with("a.pdf: "), "{problems:?}");
}

#[test]
fn dumps_of_hacker_news_and_stack_exchange_are_read() {
    let items = "{\"id\":1,\"type\":\"story\",\"by\":\"ada\",\"title\":\"Spring\",\"url\":\"https://example.com/\",\"time\":1714521600,\"score\":7}\n\
                 {\"id\":2,\"type\":\"comment\",\"parent\":1,\"text\":\"I <i>agree</i>.<p>Truly.\",\"time\":1714521601}\n\
                 {\"id\":3,\"type\":\"comment\",\"deleted\":true}\n{\"id\":4,\"type\":\"job\",\"title\":\"x\"}\n{\"id\":5,\"type\":\"story\"}\n";
    let (documents, passed_over) =
        collected("items.zst", &zstd(items.as_bytes()), |source| source.format = Some(Format::HackerNews));
    assert_eq!(texts(&documents), ["Spring", "I agree.\n\nTruly."]);
    assert_eq!(
        metadata(&documents[0]),
        json!({"kind": "post", "id": "1", "title": "Spring", "url": "https://example.com/", "author": "ada",
               "time": "2024-05-01T00:00:00Z", "score": 7, "file": "items.zst", "line": 1})
    );
    assert_eq!((&documents[1].metadata["kind"], &documents[1].metadata["parent"]), (&json!("comment"), &json!("1")));
    assert_eq!(
        passed_over,
        json!({"deleted posts": 1, "records that are no posts": 1, "posts without title and text": 1})
    );

    let posts = "<?xml version=\"1.0\"?>\n<posts>\n\
        <row Id=\"4\" PostTypeId=\"1\" Title=\"How?\" Body=\"&lt;p&gt;Why &amp;lt;b&amp;gt;?&lt;/p&gt;\" Tags=\"&lt;rust&gt;&lt;text&gt;\" Score=\"5\" />\n\
        <row Id=\"5\" PostTypeId=\"2\" ParentId=\"4\" Body=\"&lt;p&gt;So.&lt;/p&gt;\" />\n\
        <row Id=\"6\" PostTypeId=\"5\" Body=\"a tag\" />\n</posts>\n";
    // The name is enough.
    let (documents, passed_over) = collected("Posts.xml.bz2", &bzip2(posts.as_bytes()), |_| ());
    assert_eq!(texts(&documents), ["How?\n\nWhy <b>?", "So."]);
    assert_eq!(
        metadata(&documents[0]),
        json!({"kind": "post", "id": "4", "title": "How?", "score": 5, "topics": ["rust", "text"], "file": "Posts.xml.bz2", "line": 3})
    );
    assert_eq!((&documents[1].metadata["kind"], &documents[1].metadata["parent"]), (&json!("answer"), &json!("4")));
    assert_eq!(passed_over, json!({"records that are no posts": 4}));
    let comments = "<comments>\n<row Id=\"1\" PostId=\"4\" Text=\"It's so.\" UserId=\"9\" />\n</comments>\n";
    let (documents, _) = collected("Comments.xml", comments.as_bytes(), |_| ());
    assert_eq!((documents[0].text.as_str(), &documents[0].metadata["parent"]), ("It's so.", &json!("4")));
}

#[test]
fn titles_of_posts_stand_before_their_texts_unless_a_key_says_otherwise() {
    let submission = |title: &str, text: &str| json!({"id": "a", "title": title, "selftext": text}).to_string() + "\n";
    let lines = submission("Frühling", "春眠不覺曉")
        + &submission(" Only a title ", "")
        + &submission("Begins", "Begins with it.")
        + &submission("Spring", "Springs of water.")
        + &submission("", "None.");
    let (documents, _) = collected("RS_2024-05", lines.as_bytes(), |_| ());
    let expect = ["Frühling\n\n春眠不覺曉", "Only a title", "Begins with it.", "Spring\n\nSprings of water.", "None."];
    assert_eq!(texts(&documents), expect);
    assert_eq!(documents[0].metadata["title"], "Frühling");
    let (documents, _) = collected("RS_2024-05", lines.as_bytes(), |source| source.title = TitlePlace::Metadata);
    assert_eq!(texts(&documents), ["春眠不覺曉", "", "Begins with it.", "Springs of water.", "None."]);
    assert_eq!(documents[1].metadata["title"], " Only a title ");
    // What is left out of the metadata is in the text all the same.
    let (documents, _) = collected("RS_2024-05", lines.as_bytes(), |source| {
        source.metadata = serde_json::from_value(json!("none")).unwrap();
    });
    assert_eq!((documents[1].text.as_str(), documents[1].metadata.get("title")), ("Only a title", None));
    let feed = "<rss><channel><item><title>One</title><description>A story.</description></item></channel></rss>";
    for (title, expect) in [(TitlePlace::Text, "One\n\nA story."), (TitlePlace::Metadata, "A story.")] {
        let (documents, _) = collected("a.rss", feed.as_bytes(), |source| source.title = title);
        assert_eq!(texts(&documents), [expect]);
    }
}

fn archived(kind: &str, content_type: &str, url: &str, block: &[u8]) -> Vec<u8> {
    let head = format!(
        "WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2024-05-01T00:00:00Z\r\n\
         Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        block.len()
    );
    [head.as_bytes(), block, b"\r\n\r\n"].concat()
}

#[test]
fn archives_of_one_gzip_member_a_record_are_read() {
    let page =
        "<html><head><title>春曉</title></head><body><article><p>春眠不覺曉，處處聞啼鳥。</p></article></body></html>";
    let answer = |status: &str, body: &[u8]| {
        [format!("HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\n\r\n").as_bytes(), body].concat()
    };
    let http = "application/http; msgtype=response";
    let records = [
        archived("warcinfo", "application/warc-fields", "", b"software: x"),
        archived("response", http, "https://example.com/1", &answer("200 OK", page.as_bytes())),
        archived("response", http, "https://example.com/2", &answer("404 Not Found", b"gone")),
        archived("resource", "image/png", "https://example.com/3", b"png"),
        archived("resource", "text/plain", "https://example.com/4", "夜來風雨聲".as_bytes()),
    ];
    let file: Vec<u8> = records.iter().flat_map(|record| gzip(record)).collect();
    let (documents, passed_over) = collected("CC-MAIN-1.warc.gz", &file, |_| ());
    assert_eq!(texts(&documents), ["春眠不覺曉，處處聞啼鳥。", "夜來風雨聲"]);
    let offset = records[0].len();
    let expect = json!({"url": "https://example.com/1", "time": "2024-05-01T00:00:00Z", "offset": offset, "title": "春曉", "file": "CC-MAIN-1.warc.gz"});
    assert_eq!(metadata(&documents[0]), expect);
    let expect = json!({"answers that are no success": 1, "records that are no text": 1, "records without content": 1});
    assert_eq!(passed_over, expect);
    let (documents, problems) = read_file("CC-MAIN-1.warc.gz", &file[..file.len() - 40], |_| ());
    assert_eq!((documents.len(), problems.len()), (1, 1), "{problems:?}");
    assert!(problems[0].contains("cannot be read") && problems[0].contains("of the file, after "), "{problems:?}");
}

#[test]
fn a_file_that_becomes_shorter_while_it_is_read_is_a_problem() {
    let dir = tempfile::tempdir().unwrap();
    let line = format!("{{\"text\":\"{}\"}}\n", "x".repeat(1000));
    for (name, config) in [
        ("a.jsonl", source("a.jsonl")),
        ("a.csv", source("a.csv")),
        ("a.mbox", SourceConfig { format: Some(Format::Reddit), ..source("a.mbox") }),
    ] {
        let path = dir.path().join(name);
        let line = match name {
            "a.csv" => format!("{}\n", "x".repeat(1000)),
            "a.mbox" => format!("{{\"id\":\"a\",\"body\":\"{}\"}}\n", "x".repeat(1000)),
            _ => line.clone(),
        };
        let head = if name == "a.csv" { "text\n" } else { "" };
        fs::write(&path, head.to_owned() + &line.repeat(6000)).unwrap();
        // Cut between two lines: nothing about what is left says that something is missing.
        let (rest, whole) = (head.len() + 4000 * line.len(), head.len() + 6000 * line.len());
        let (mut documents, mut problems) = (0, Vec::new());
        read_source(&config, dir.path(), &mut |record| {
            match record {
                Ok(_) => documents += 1,
                Err(problem) => problems.push(problem.to_string()),
            }
            if documents == 1 {
                fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(rest as u64).unwrap();
            }
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        assert_eq!((documents, problems.len()), (4000, 1), "{name}: {problems:?}");
        let expect =
            format!("cannot be read: it ended after {rest} of {whole} bytes: it became shorter while it was read");
        assert!(problems[0].contains(&expect), "{problems:?}");
        // Read again, it is a whole file.
        let (documents, problems) = read(dir.path(), &config).unwrap();
        assert_eq!((documents.len(), problems.len()), (4000, 0));
    }
}
