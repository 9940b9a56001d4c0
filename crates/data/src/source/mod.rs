//! Sources: the files that somebody has, read record by record.
//!
//! A record that cannot be read is a [`Problem`] with its file and line, which the caller counts or stops at; what
//! follows it is still read where the format allows.

mod csv;
mod jsonl;
mod lines;
mod parquet;
mod text;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{DataError, Document};

/// What is supported, as error messages say it.
const SUPPORTED: &str = ".txt, .jsonl, .csv (each also .gz or .zst), .parquet";
/// A single document above this is refused: documents are held in memory one by one.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 256 << 20;

/// Where texts are from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceConfig {
    /// What the documents' `source` says; unique in a recipe.
    pub name: String,
    /// A file, a folder (all supported files below it) or a glob pattern, relative to the recipe.
    pub path: String,
    /// The field or column that holds the text (.jsonl, .csv, .parquet).
    pub text_field: String,
    /// What one document of a .txt file is.
    pub split: TextSplit,
    /// The language of all documents, where it is known; otherwise it is identified.
    pub language: Option<String>,
    /// Take only the first so many documents.
    pub limit: Option<usize>,
}

/// What one document of a .txt file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextSplit {
    /// The whole file.
    #[default]
    File,
    /// Each run of lines between blank lines.
    Paragraph,
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            path: String::new(),
            text_field: "text".into(),
            split: TextSplit::File,
            language: None,
            limit: None,
        }
    }
}

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

#[derive(Clone, Copy, Debug)]
enum Format {
    Text,
    Jsonl,
    Csv,
    Parquet,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let bare = name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(&name);
        let compressed = bare.len() < name.len();
        match Path::new(bare).extension()?.to_str()? {
            "txt" => Some(Self::Text),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "parquet" if !compressed => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// The files of a source, sorted by path.
///
/// # Errors
/// A pattern that is none, that matches no file, or that matches a file of unknown format.
pub fn source_files(source: &SourceConfig, base: &Path) -> Result<Vec<PathBuf>, DataError> {
    let path = base.join(&source.path);
    let name = || source.name.clone();
    let pattern = if path.is_dir() { path.join("**/*") } else { path.clone() };
    let bad = |message: String| DataError::BadPattern { name: name(), pattern: source.path.clone(), message };
    let mut files = Vec::new();
    if path.is_file() {
        files.push(path.clone()); // taken literally, even if its name has pattern characters
    } else {
        for entry in glob::glob(&pattern.to_string_lossy()).map_err(|e| bad(e.to_string()))? {
            let file = entry
                .map_err(|e| DataError::io("read the folder", e.path(), std::io::Error::from(e.error().kind())))?;
            if file.is_file() && !(path.is_dir() && Format::of(&file).is_none()) {
                files.push(file);
            }
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(DataError::NoFiles { name: name(), pattern: source.path.clone() });
    }
    match files.iter().find(|file| Format::of(file).is_none()) {
        Some(file) => Err(DataError::UnsupportedFile { name: name(), path: file.clone(), supported: SUPPORTED }),
        None => Ok(files),
    }
}

/// Streams the documents of a source, in the order of its files, into `sink`; unreadable records come as problems.
/// Stops when the sink says so, or at the source's limit.
pub fn read_source(source: &SourceConfig, base: &Path, sink: &mut Sink<'_>) -> Result<(), DataError> {
    let files = source_files(source, base)?;
    read_files(source, base, &files, Arc::new(AtomicU64::new(0)), sink)
}

/// Like [`read_source`], on files already resolved, counting the bytes read of them.
pub(crate) fn read_files(
    source: &SourceConfig,
    base: &Path,
    files: &[PathBuf],
    read: Arc<AtomicU64>,
    sink: &mut Sink<'_>,
) -> Result<(), DataError> {
    let mut left = source.limit.unwrap_or(usize::MAX);
    if left == 0 {
        return Ok(());
    }
    let mut limited = |record: Result<Document, Problem>| {
        left -= usize::from(record.is_ok());
        let flow = sink(record)?;
        Ok(if left == 0 { ControlFlow::Break(()) } else { flow })
    };
    for path in files {
        let file = SourceFile { source, path, shown: path.strip_prefix(base).unwrap_or(path), read: read.clone() };
        let flow = match Format::of(path) {
            Some(Format::Text) => text::read(&file, &mut limited)?,
            Some(Format::Jsonl) => jsonl::read(&file, &mut limited)?,
            Some(Format::Csv) => csv::read(&file, &mut limited)?,
            Some(Format::Parquet) => parquet::read(&file, &mut limited)?,
            None => ControlFlow::Continue(()), // `resolve` has refused it
        };
        if flow.is_break() {
            break;
        }
    }
    Ok(())
}

/// One file of a source, as its reader needs it.
pub(crate) struct SourceFile<'a> {
    source: &'a SourceConfig,
    path: &'a Path,
    /// The path as the metadata shows it.
    shown: &'a Path,
    read: Arc<AtomicU64>,
}

impl SourceFile<'_> {
    fn problem(&self, line: Option<u64>, message: impl Into<String>) -> Problem {
        Problem { file: self.path.into(), line, message: message.into() }
    }

    /// A document of this file; a record's own fields `file` and `line` win over the reader's.
    fn document(&self, text: String, line: Option<u64>, mut metadata: Map<String, Value>) -> Document {
        let mut document = Document::new(text, self.source.name.as_str());
        document.language = self.source.language.clone().unwrap_or_default();
        metadata.entry("file").or_insert_with(|| self.shown.to_string_lossy().into());
        if let Some(line) = line {
            metadata.entry("line").or_insert_with(|| line.into());
        }
        document.metadata = metadata;
        document
    }
}

/// Text of `bytes`, or what is wrong with them and how many lines after their beginning.
fn utf8(bytes: Vec<u8>) -> Result<String, (u64, String)> {
    String::from_utf8(bytes).map_err(|error| {
        let (at, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let line = bytes[..at].iter().filter(|&&byte| byte == b'\n').count() as u64;
        (line, format!("broken UTF-8 (byte 0x{:02X} at offset {at})", bytes[at]))
    })
}
