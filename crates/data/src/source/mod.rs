//! Sources: the files that somebody has, read record by record.
//!
//! A record that cannot be read is a [`Problem`] with its file and line, which the caller counts or stops at; what
//! follows it is still read where the format allows.
//!
//! The way of a record: `locate.rs` lists what a path names, `reader.rs` goes through the list, `open.rs` (or `remote/`,
//! which fetches) makes a stream of UTF-8 of a file, a reader of its format (`jsonl.rs`, `csv.rs`, ...) takes it apart, and
//! `fields.rs` makes a document of the fields, or `chat.rs` of a conversation.
//!
//! A file is read by one thread; its records become documents on all of them, a few at a time, and come in the order of
//! the file whatever their number (`batch.rs`). So do small files that are one document each (`reader.rs`).

mod arrow;
mod batch;
mod chat;
mod config;
mod csv;
mod encoding;
mod fields;
mod foreign;
mod format;
mod json;
mod jsonl;
mod lines;
mod locate;
mod open;
mod own;
mod pages;
mod parquet;
mod reader;
mod remote;
mod sql;
mod text;
mod thrift;
mod tls;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use danlu_formats::posts::PostFormat;
use danlu_formats::records::{JsonRecord, Separator};
use danlu_formats::{At, Fault, FormatError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{DataError, Document};

pub use chat::ChatFormat;
pub use config::{
    HttpConfig, InvalidBytes, KeptFields, SourceConfig, TextSplit, TitlePlace, stated_licenses, without_licenses,
};
pub use format::Format;
pub(crate) use locate::{Item, Listing, UNKNOWN_FORMAT, list};
pub use locate::{LeftOut, source_files, source_state};
pub(crate) use reader::SourceReader;

use format::Compression;
use locate::Place;

/// A record that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub file: PathBuf,
    /// Line (text formats) or row (.parquet), from 1; `None` when the file as a whole is broken.
    pub line: Option<u64>,
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        write!(formatter, ": {}", self.message)
    }
}

impl From<Problem> for DataError {
    fn from(problem: Problem) -> Self {
        Self::BadRecord { path: problem.file, line: problem.line, message: problem.message }
    }
}

/// Takes the records of a file as they are read, and says when it has enough.
pub(crate) type Sink<'a> = dyn FnMut(Result<Document, Problem>) -> Result<ControlFlow<()>, DataError> + 'a;
/// Whether the reader should go on.
pub(crate) type Flow = Result<ControlFlow<()>, DataError>;

/// Streams the documents of a source, in the order of its files, into `sink`; unreadable records come as problems.
/// Stops when the sink says so, or at the source's limit.
pub fn read_source(source: &SourceConfig, base: &Path, sink: &mut Sink<'_>) -> Result<(), DataError> {
    source.check()?;
    let listing = list(source, base)?;
    for problem in listing.problems {
        if sink(Err(problem))?.is_break() {
            return Ok(());
        }
    }
    let mut reader = SourceReader::new(source, base, Arc::default());
    for index in 0..listing.items.len() {
        if reader.read(&listing.items[index..], 0, sink)?.is_break() {
            break;
        }
    }
    Ok(())
}

fn read_file(file: &SourceFile<'_>, item: &Item, sink: &mut Sink<'_>) -> Flow {
    match &item.place {
        Place::Sqlite(path) => return sql::sqlite(file, path, sink),
        Place::Postgres(url) => return sql::postgres(file, url, sink),
        _ => {}
    }
    if file.is_empty() {
        return sink(Err(file.problem(None, "the file is empty")));
    }
    match file.format {
        Format::Text | Format::Markdown => text::read(file, sink),
        Format::Jsonl => jsonl::read(file, sink),
        Format::Json => json::read(file, sink),
        Format::Csv => csv::read(file, csv::separator(file), sink),
        Format::Tsv => csv::read(file, Separator::Tab, sink),
        Format::Parquet => parquet::read(file, sink),
        Format::Arrow => arrow::read(file, sink),
        Format::Html => foreign::html(file, sink),
        Format::MediaWiki => foreign::wiki(file, sink),
        Format::Warc => foreign::warc(file, sink),
        Format::Mbox => foreign::mbox(file, sink),
        Format::Mail => foreign::message(file, sink),
        Format::Feed => foreign::feed(file, sink),
        Format::Reddit => foreign::posts(file, PostFormat::Reddit, sink),
        Format::HackerNews => foreign::posts(file, PostFormat::HackerNews, sink),
        Format::StackExchange => foreign::posts(file, PostFormat::StackExchange, sink),
        Format::Epub => foreign::epub(file, sink),
        Format::Pdf => foreign::pdf(file, sink),
    }
}

/// Where the bytes of a file are.
pub(crate) enum Bytes {
    File(PathBuf),
    #[cfg(feature = "object-store")]
    Object(remote::objects::Object),
}

/// One file of a source, as its reader needs it.
pub(crate) struct SourceFile<'a> {
    source: &'a SourceConfig,
    bytes: Bytes,
    format: Format,
    compression: Compression,
    /// The path as the metadata shows it.
    shown: String,
    /// The path as problems show it.
    origin: PathBuf,
    read: Arc<AtomicU64>,
    /// The encoding that a server declared.
    charset: Option<String>,
    /// Set while the text is read, when some of its bytes are not of its encoding.
    damage: encoding::Damage,
    passed_over: Mutex<BTreeMap<&'static str, u64>>,
    bounds: Arc<Bounds>,
}

/// How far the reading of a file goes.
#[derive(Debug)]
struct Bounds {
    /// So many documents may still come.
    left: AtomicUsize,
    /// So many records come first that were handed on before; they are read once more and not handed on.
    skip: AtomicU64,
}

impl Bounds {
    fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }

    /// For a reader whose records are each handed on: how many it may leave out before they are made into documents.
    fn take_skip(&self) -> usize {
        usize::try_from(self.skip.swap(0, Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    /// Whether the next record was handed on before.
    fn skips_next(&self) -> bool {
        self.skip.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |skip| skip.checked_sub(1)).is_ok()
    }

    /// A record is handed on.
    fn count(&self, record: &Result<Document, Problem>) {
        self.left.fetch_sub(usize::from(record.is_ok()), Ordering::Relaxed);
    }
}

impl<'a> SourceFile<'a> {
    fn new(
        source: &'a SourceConfig,
        item: &Item,
        bytes: Bytes,
        format: Format,
        read: &Arc<AtomicU64>,
        bounds: &Arc<Bounds>,
    ) -> Self {
        Self {
            source,
            bytes,
            format,
            compression: item.compression,
            shown: item.shown.clone(),
            origin: reader::origin(item),
            read: read.clone(),
            charset: None,
            damage: Default::default(),
            passed_over: Default::default(),
            bounds: bounds.clone(),
        }
    }
}

impl SourceFile<'_> {
    fn path(&self) -> &Path {
        &self.origin
    }

    fn is_empty(&self) -> bool {
        match &self.bytes {
            Bytes::File(path) => path.metadata().is_ok_and(|metadata| metadata.len() == 0),
            #[cfg(feature = "object-store")]
            Bytes::Object(object) => object.bytes == 0,
        }
    }

    fn problem(&self, line: Option<u64>, message: impl Into<String>) -> Problem {
        Problem { file: self.origin.clone(), line, message: message.into() }
    }

    /// The problem that a reader of `danlu-formats` found.
    fn format_problem(&self, error: &FormatError) -> Problem {
        let message = match &error.fault {
            Fault::TooLarge { .. } => self.too_long(),
            fault => fault.to_string(),
        };
        match error.at {
            At::Whole => self.problem(None, message),
            At::Line(number) | At::Record(number) => self.problem(Some(number), message),
            At::Offset(_) | At::Entry(_) => self.problem(None, format!("{}{message}", error.at)),
        }
    }

    /// What one record may have: records are held in memory one by one, or a few at a time.
    fn max_record_bytes(&self) -> usize {
        usize::try_from(self.source.max_record_mebibytes << 20).unwrap_or(usize::MAX)
    }

    /// What is said of a record that has more.
    fn too_long(&self) -> String {
        format!("longer than {} MiB, the source's max_record_mebibytes", self.source.max_record_mebibytes)
    }

    /// Counts what is no document and no problem.
    fn pass_over(&self, what: &'static str, count: u64) {
        if count > 0 {
            *self.passed_over.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += count;
        }
    }

    /// Whether some bytes of a record are no UTF-8 and become U+FFFD; that is said of the file at its end.
    fn mends(&self, bytes: &[u8]) -> bool {
        let mends = self.source.invalid == InvalidBytes::Replace && std::str::from_utf8(bytes).is_err();
        if mends {
            self.damage.get_or_init(|| encoding::UTF_8.to_owned());
        }
        mends
    }

    /// The text of a record, or what is wrong with its bytes and how many lines after their beginning.
    fn utf8(&self, bytes: Vec<u8>) -> Result<String, (u64, String)> {
        String::from_utf8(bytes).or_else(|error| {
            let (at, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
            if self.mends(bytes) {
                return Ok(String::from_utf8_lossy(bytes).into_owned());
            }
            let line = bytes[..at].iter().filter(|&&byte| byte == b'\n').count() as u64;
            Err((line, format!("broken UTF-8 (byte 0x{:02X} at offset {at})", bytes[at])))
        })
    }

    /// The value of a record of JSON, or what is wrong with it and how many lines after its beginning.
    fn json(&self, record: &JsonRecord) -> Result<Value, (u64, String)> {
        let value = record.value();
        if value.is_ok() || !self.mends(&record.bytes) {
            return value;
        }
        let bytes = String::from_utf8_lossy(&record.bytes).into_owned().into_bytes();
        JsonRecord { bytes, ..*record }.value()
    }

    /// # Errors
    /// A table without the column of the text.
    fn check_columns(&self, columns: &[String]) -> Result<(), DataError> {
        if self.source.chat.is_some() {
            return Ok(()); // each record says what it lacks
        }
        let there = |name: &String| {
            let root = name.split('.').next().unwrap_or_default();
            columns.iter().any(|column| column == name || column == root)
        };
        let wanted = self.source.text_columns();
        if wanted.iter().any(there) {
            return Ok(());
        }
        let (path, available) = (self.origin.clone(), columns.to_vec());
        Err(DataError::MissingColumn { path, column: wanted.join(", "), available })
    }

    /// A document of this file; a record's own fields `file` and `line` win over the reader's.
    fn document(&self, text: String, line: Option<u64>, mut metadata: Map<String, Value>) -> Document {
        let mut document = Document::new(text, self.source.name.as_str());
        document.language = self.source.language.clone().unwrap_or_default();
        metadata.entry("file").or_insert_with(|| self.shown.as_str().into());
        if let Some(line) = line {
            metadata.entry("line").or_insert_with(|| line.into());
        }
        document.metadata = metadata;
        document
    }
}
