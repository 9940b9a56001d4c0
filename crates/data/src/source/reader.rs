//! The items of a source, one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, PoisonError};

use rayon::prelude::*;

use super::format::{Compression, Format};
use super::locate::{Item, Place};
use super::{Bounds, Bytes, Flow, Problem, Sink, SourceConfig, SourceFile, read_file, remote};
use crate::{DataError, Document};

/// So many small files are read side by side ...
const FILES_AHEAD: usize = 256;
/// ... or fewer, when they weigh about so much together. A small one weighs no more than the other.
const WEIGHT_AHEAD: u64 = 32 << 20;
const SMALL_WEIGHT: u64 = 4 << 20;
/// What is packed may grow.
const PACKED_WEIGHT: u64 = 16;

/// Reads the items of a source one after the other, up to its limit.
pub(crate) struct SourceReader<'a> {
    source: &'a SourceConfig,
    base: &'a Path,
    /// Counts the bytes read, for progress.
    read: Arc<AtomicU64>,
    /// So many documents may still come.
    pub(crate) left: usize,
    /// What the files hold that is no document and no problem, such as redirects, and how many of each.
    pub(crate) passed_over: BTreeMap<String, u64>,
    /// One for the whole source: it keeps the pace at which servers are asked.
    web: Option<remote::http::Fetcher>,
    /// The next items, as far as they are read already.
    ahead: VecDeque<Ahead>,
}

/// All that a small item holds.
struct Ahead {
    shown: String,
    records: Vec<Result<Document, Problem>>,
    passed_over: BTreeMap<&'static str, u64>,
    /// An error that ends the reading of the source.
    failed: Option<DataError>,
}

impl<'a> SourceReader<'a> {
    pub(crate) fn new(source: &'a SourceConfig, base: &'a Path, read: Arc<AtomicU64>) -> Self {
        Self {
            source,
            base,
            read,
            left: source.limit.unwrap_or(usize::MAX),
            passed_over: BTreeMap::new(),
            web: None,
            ahead: VecDeque::new(),
        }
    }

    /// Streams the documents of the first of some items into `sink`, but for the first `skip` of its records; the other
    /// items are those that come next. What cannot be opened is a problem like a record that cannot be read.
    pub(crate) fn read(&mut self, items: &[Item], skip: u64, sink: &mut Sink<'_>) -> Flow {
        let Some(item) = items.first().filter(|_| self.left > 0) else { return Ok(ControlFlow::Break(())) };
        let bounds = Arc::new(Bounds { left: AtomicUsize::new(self.left), skip: AtomicU64::new(skip) });
        let mut bounded = |record: Result<Document, Problem>| {
            if bounds.skips_next() {
                return Ok(ControlFlow::Continue(()));
            }
            bounds.count(&record);
            let flow = sink(record)?;
            Ok(if bounds.left() == 0 { ControlFlow::Break(()) } else { flow })
        };
        let flow = if is_small(item) {
            self.read_ahead(item, items, &mut bounded)
        } else {
            self.read_now(item, &bounds, &mut bounded)
        };
        self.left = bounds.left();
        flow
    }

    fn read_now(&mut self, item: &Item, bounds: &Arc<Bounds>, sink: &mut Sink<'_>) -> Flow {
        let (bytes, content_type) = match self.bytes(item) {
            Ok(found) => found,
            Err(error) => return sink(Err(whole(item, unopened(&error).ok_or(error)?))),
        };
        let told = || content_type.as_deref().and_then(Format::of_content_type);
        let Some(format) = item.format.or_else(told).or(is_database(item).then_some(Format::Text)) else {
            let message = "its format is unknown: neither its name nor the server tells; set the source's format";
            return sink(Err(whole(item, message.into())));
        };
        let charset = content_type.as_deref().and_then(charset);
        let file = SourceFile { charset, ..SourceFile::new(self.source, item, bytes, format, &self.read, bounds) };
        let flow = read_to_end(&file, item, sink);
        self.pass_over(file.passed_over.into_inner().unwrap_or_else(PoisonError::into_inner));
        flow
    }

    fn pass_over(&mut self, counts: BTreeMap<&'static str, u64>) {
        for (what, count) in counts {
            *self.passed_over.entry(what.into()).or_default() += count;
        }
    }

    /// Reads a small item, and with it those after it that are small, too.
    fn read_ahead(&mut self, item: &Item, items: &[Item], sink: &mut Sink<'_>) -> Flow {
        if self.ahead.front().is_none_or(|ahead| ahead.shown != item.shown) {
            let mut weight = 0;
            let next = items.iter().take(FILES_AHEAD.min(self.left)).take_while(|item| {
                weight += weight_of(item);
                is_small(item) && weight <= WEIGHT_AHEAD
            });
            let next: Vec<&Item> = next.collect();
            let (source, read) = (self.source, &self.read);
            self.ahead = next.into_par_iter().map(|item| Ahead::of(source, item, read)).collect::<Vec<_>>().into();
        }
        let Some(ahead) = self.ahead.pop_front() else { return Ok(ControlFlow::Continue(())) };
        self.pass_over(ahead.passed_over);
        for record in ahead.records {
            if sink(record)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        ahead.failed.map_or(Ok(ControlFlow::Continue(())), Err)
    }

    /// The bytes of an item, fetched where they have to be, and the `Content-Type` that a server named.
    fn bytes(&mut self, item: &Item) -> Result<(Bytes, Option<String>), DataError> {
        Ok(match &item.place {
            Place::File(path) | Place::Sqlite(path) => (Bytes::File(path.clone()), None),
            Place::Postgres(_) => (Bytes::File(PathBuf::new()), None),
            Place::Web(url) => {
                let web = match &mut self.web {
                    Some(web) => web,
                    none => none.insert(remote::http::Fetcher::new(&self.source.http, self.base)?),
                };
                let page = web.fetch(url)?;
                (Bytes::File(page.path), page.content_type)
            }
            Place::Hub(file) => (Bytes::File(file.fetch(self.source)?), None),
            #[cfg(feature = "object-store")]
            Place::Object(object) => (Bytes::Object(object.clone()), None),
        })
    }
}

impl Ahead {
    fn of(source: &SourceConfig, item: &Item, read: &Arc<AtomicU64>) -> Self {
        let mut ahead =
            Self { shown: item.shown.clone(), records: Vec::new(), passed_over: BTreeMap::new(), failed: None };
        let (Place::File(path), Some(format)) = (&item.place, item.format) else { return ahead };
        let bounds = Arc::new(Bounds { left: AtomicUsize::new(usize::MAX), skip: AtomicU64::new(0) });
        let file = SourceFile::new(source, item, Bytes::File(path.clone()), format, read, &bounds);
        let flow = read_to_end(&file, item, &mut |record| {
            ahead.records.push(record);
            Ok(ControlFlow::Continue(()))
        });
        ahead.failed = flow.err();
        ahead.passed_over = file.passed_over.into_inner().unwrap_or_else(PoisonError::into_inner);
        ahead
    }
}

/// Whether an item is a local file of one document or a few, to read which takes little memory but some time.
fn is_small(item: &Item) -> bool {
    matches!(item.place, Place::File(_))
        && item.compression == Compression::None
        && matches!(item.format, Some(Format::Html | Format::Mail | Format::Epub | Format::Pdf))
        && weight_of(item) <= SMALL_WEIGHT
}

fn weight_of(item: &Item) -> u64 {
    let is_packed = matches!(item.format, Some(Format::Epub | Format::Pdf));
    if is_packed { item.bytes.saturating_mul(PACKED_WEIGHT) } else { item.bytes }
}

/// Reads a file, and says what of it was not of its encoding.
fn read_to_end(file: &SourceFile<'_>, item: &Item, sink: &mut Sink<'_>) -> Flow {
    let flow = match read_file(file, item, sink) {
        Ok(flow) => flow,
        Err(error) => return sink(Err(whole(item, unopened(&error).ok_or(error)?))),
    };
    match file.damage.get() {
        Some(encoding) if flow.is_continue() => {
            sink(Err(whole(item, format!("some bytes are not {encoding}; they became U+FFFD"))))
        }
        _ => Ok(flow),
    }
}

/// A problem with an item as a whole.
fn whole(item: &Item, message: String) -> Problem {
    Problem { file: origin(item), line: None, message }
}

/// The encoding in `text/html; charset=gb2312`.
fn charset(content_type: &str) -> Option<String> {
    let mut parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, value) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    Some(value.trim().trim_matches('"').to_owned())
}

fn is_database(item: &Item) -> bool {
    matches!(item.place, Place::Sqlite(_) | Place::Postgres(_))
}

/// Where an item's problems are said to be.
pub(super) fn origin(item: &Item) -> PathBuf {
    match &item.place {
        Place::File(path) | Place::Sqlite(path) => path.clone(),
        _ => PathBuf::from(&item.shown),
    }
}

/// What is said of a file that cannot be opened or fetched; `None` for errors that are none of the file's.
fn unopened(error: &DataError) -> Option<String> {
    match error {
        DataError::Io { action: "open", source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Some("it has disappeared since it was listed".into())
        }
        DataError::Io { action: "open", source, .. } => Some(format!("cannot be opened: {source}")),
        DataError::Remote { message, .. } => Some(message.clone()),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::ops::ControlFlow;
    use std::sync::Arc;

    use super::SourceReader;
    use crate::SourceConfig;
    use crate::source::{TextSplit, list};

    /// What of each record follows the first `skip`: its text, or what is wrong with it.
    fn after(skip: u64, source: &SourceConfig, base: &std::path::Path) -> (Vec<String>, usize) {
        let listing = list(source, base).unwrap();
        let mut reader = SourceReader::new(source, base, Arc::default());
        let mut found = Vec::new();
        let mut sink = |record: Result<crate::Document, crate::Problem>| {
            found.push(record.map_or_else(|problem| problem.message, |document| document.text));
            Ok(ControlFlow::Continue(()))
        };
        let _ = reader.read(&listing.items, skip, &mut sink).unwrap();
        (found, reader.left)
    }

    #[test]
    fn a_file_is_named_for_broken_bytes_that_were_handed_on_before() {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in [
            ("a.jsonl", &b"{\"text\":\"o\xFF\"}\n{\"text\":\"two\"}\n{\"text\":\"three\"}\n"[..]),
            ("a.json", b"[{\"text\":\"o\xFF\"},{\"text\":\"two\"},{\"text\":\"three\"}]"),
            ("a.csv", b"text\no\xFF\ntwo\nthree\n"),
            ("a.txt", b"o\xFF\n\ntwo\n\nthree\n"),
        ] {
            fs::write(dir.path().join(name), content).unwrap();
            let source = SourceConfig {
                name: "s".into(),
                path: name.into(),
                split: TextSplit::Paragraph,
                limit: Some(100),
                ..Default::default()
            };
            let all = ["o\u{FFFD}", "two", "three", "some bytes are not UTF-8; they became U+FFFD"];
            for skip in 0..4 {
                let (rest, _) = after(skip as u64, &source, dir.path());
                assert_eq!(rest, all[skip..], "{name}, after {skip}");
            }
        }
    }

    #[test]
    fn what_was_handed_on_before_is_left_out_in_every_format() {
        let page = |n: u32| {
            format!("<page><title>{n}</title><ns>0</ns><id>{n}</id><revision><text>text {n}</text></revision></page>\n")
        };
        let archived = |n: u32, kind: &str| {
            format!("WARC/1.0\r\nWARC-Type: {kind}\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\n{n}\r\n\r\n")
        };
        let letter = |n: u32| format!("From a@example.org Wed May  1 00:00:00 2024\nSubject: {n}\n\ntext {n}\n\n");
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in [
            ("a.jsonl", "{\"text\":\"1\"}\n\nbroken\n{\"text\":\"3\"}\n{\"text\":\"4\"}\n".to_owned()),
            ("a.json", "[{\"text\":\"1\"},5,{\"text\":\"3\"}]{\"text\":\"4\"}".into()),
            ("a.csv", "n,text\n1,one\n2\n3,three\n4,four\n".into()),
            ("a.txt", "one\n\ntwo\n\n\nthree\n\nfour".into()),
            ("wiki.xml", format!("<mediawiki>\n{}</mediawiki>", (1..5).map(page).collect::<String>())),
            ("a.warc", (1..5).map(|n| archived(n, "request") + &archived(n, "conversion")).collect()),
            ("a.mbox", (1..5).map(letter).collect()),
            (
                "a.rss",
                format!(
                    "<rss><channel>{}</channel></rss>",
                    "<item><title>t</title><description>d</description></item>".repeat(4)
                ),
            ),
        ] {
            fs::write(dir.path().join(name), content).unwrap();
            let source = SourceConfig {
                name: "s".into(),
                path: name.into(),
                split: TextSplit::Paragraph,
                limit: Some(100),
                ..Default::default()
            };
            let (all, _) = after(0, &source, dir.path());
            assert_eq!(all.len(), 4, "{name}: {all:?}");
            for skip in 0..6 {
                let (rest, left) = after(skip as u64, &source, dir.path());
                assert_eq!(rest, all[skip.min(4)..], "{name}, after {skip}");
                assert!(left >= 100 - rest.len(), "{name}");
            }
        }
    }
}
