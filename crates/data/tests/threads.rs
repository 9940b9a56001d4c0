//! Collecting on several threads: the same bytes as on one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use common::quiet;
use common::sources::{bzip2, gzip};
use danlu_data::{COLLECTED_FILE, CollectSummary, SourceConfig, collect};

fn formats() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../formats/tests")
}

fn with_extension(folder: &str, extension: &str) -> Vec<String> {
    let entries = fs::read_dir(formats().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The committed pages, as a crawler stores them; every tenth answer is none.
fn warc(pages: &[String], copies: usize) -> Vec<u8> {
    let mut archive = Vec::new();
    for (number, page) in pages.iter().cycle().take(pages.len() * copies).enumerate() {
        let status = if number % 10 == 9 { "404 Not Found" } else { "200 OK" };
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/html\r\n\r\n");
        let length = head.len() + page.len();
        write!(
            archive,
            "WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: https://example.com/{number}\r\n\
             Content-Type: application/http\r\nContent-Length: {length}\r\n\r\n{head}{page}\r\n\r\n"
        )
        .unwrap();
    }
    archive
}

fn dump(articles: &[String], copies: usize) -> String {
    let mut dump = "<mediawiki>\n".to_owned();
    for (number, article) in articles.iter().cycle().take(articles.len() * copies).enumerate() {
        let (ns, text) = (number % 7 / 6, escaped(article));
        dump += &format!(
            "<page><title>Page {number}</title><ns>{ns}</ns><id>{number}</id><revision><id>1</id><model>wikitext</model>\
             <text>{text}</text></revision></page>\n"
        );
    }
    dump + "</mediawiki>\n"
}

/// All that is made into documents on several threads.
fn corpus(dir: &Path, copies: usize) -> Vec<(&'static str, String)> {
    let (pages, articles) = (with_extension("pages", "html"), with_extension("wikitext", "wiki"));
    fs::create_dir_all(dir.join("pages")).unwrap();
    for (number, page) in pages.iter().cycle().take(pages.len() * copies).enumerate() {
        fs::write(dir.join(format!("pages/{number:04}.html")), page).unwrap();
    }
    fs::write(dir.join("crawl.warc.gz"), gzip(&warc(&pages, copies))).unwrap();
    fs::write(dir.join("xwiki.xml.bz2"), bzip2(dump(&articles, copies * 4).as_bytes())).unwrap();
    let line = |text: &String| serde_json::json!({ "text": text, "n": [1, 2] }).to_string() + "\nbroken\n";
    fs::write(dir.join("records.jsonl"), articles.iter().map(line).collect::<String>().repeat(copies * 10)).unwrap();
    let letter = "From ada@example.org Wed May  1 00:00:00 2024\nFrom: Ada\nSubject: 春\n\nGood morning.\n\n";
    fs::write(dir.join("letters.mbox"), letter.repeat(copies * 100)).unwrap();
    let sources = [
        ("pages", "pages"),
        ("archive", "crawl.warc.gz"),
        ("wiki", "xwiki.xml.bz2"),
        ("records", "records.jsonl"),
        ("letters", "letters.mbox"),
    ];
    sources.map(|(name, path)| (name, path.to_owned())).into()
}

fn source(name: &str, path: &str, limit: Option<usize>) -> SourceConfig {
    SourceConfig { name: name.into(), path: path.into(), limit, ..Default::default() }
}

fn on_threads(threads: usize, dir: &Path, sources: &[SourceConfig]) -> (CollectSummary, Vec<u8>) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let out = tempfile::tempdir().unwrap();
    let summary = pool.install(|| collect(sources, dir, false, out.path(), &quiet)).unwrap();
    (summary, fs::read(out.path().join(COLLECTED_FILE)).unwrap())
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let all = corpus(dir.path(), 8);
    for limit in [None, Some(37)] {
        let sources: Vec<SourceConfig> = all.iter().map(|(name, path)| source(name, path, limit)).collect();
        let (expect, bytes) = on_threads(1, dir.path(), &sources);
        for threads in [2, 5] {
            let (summary, other) = on_threads(threads, dir.path(), &sources);
            assert_eq!(summary, expect, "{threads} threads");
            assert!(other == bytes, "{threads} threads give other bytes");
        }
        let passed_over = &expect.sources["archive"].passed_over;
        match limit {
            None => {
                assert!(expect.total.documents > 1000, "{}", expect.total.documents);
                assert!(passed_over["answers that are no success"] > 3, "{passed_over:?}");
            }
            // What follows the last document is not read: the fourth record that is no answer is the 40th.
            Some(limit) => {
                assert!(expect.sources.values().all(|source| source.documents == limit as u64), "{expect:?}");
                assert_eq!(passed_over["answers that are no success"], 4);
            }
        }
    }
}

/// Prints how fast each kind is collected on one thread and on all:
/// `cargo test --release --workspace --test threads -- --ignored --nocapture`
#[test]
#[ignore = "prints figures"]
fn how_fast() {
    let dir = tempfile::tempdir().unwrap();
    for (name, path) in corpus(dir.path(), 150) {
        let sources = [source(name, &path, None)];
        let threads = std::thread::available_parallelism().unwrap().get();
        let seconds = [1, threads].map(|threads| {
            let begin = Instant::now();
            let (summary, _) = on_threads(threads, dir.path(), &sources);
            (begin.elapsed().as_secs_f64(), summary.total.documents)
        });
        let [(one, documents), (many, _)] = seconds;
        let per_second = |seconds: f64| documents as f64 / seconds;
        let mut out = std::io::stderr().lock();
        writeln!(
            out,
            "{name}: {documents} documents; 1 thread {:.0} a second, {threads} threads {:.0}",
            per_second(one),
            per_second(many)
        )
        .unwrap();
    }
}
