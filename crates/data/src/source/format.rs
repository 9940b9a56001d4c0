use std::path::Path;

use serde::{Deserialize, Serialize};

/// What is supported, as error messages say it.
pub(crate) const SUPPORTED: &str =
    ".txt, .md, .jsonl, .json, .csv, .tsv (each also .gz, .zst or .bz2), .parquet, .arrow";

/// How the content of a file is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Plain text: the whole file or its paragraphs.
    Text,
    /// Markdown, as it is written; its first heading is the title.
    Markdown,
    /// A JSON object a line.
    Jsonl,
    /// JSON: an array of objects, or objects one after the other.
    Json,
    /// Comma-separated values with a header line (RFC 4180).
    Csv,
    /// Tab-separated values with a header line, without quoting (IANA text/tab-separated-values).
    Tsv,
    Parquet,
    /// Arrow IPC, file or stream.
    Arrow,
}

/// How the bytes of a file are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
}

impl Format {
    /// The format of a file by its name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let bare = name.get(..name.len() - Compression::of(&name).suffix().len())?;
        let compressed = bare.len() < name.len();
        let (_, extension) = bare.rsplit_once('.')?;
        match extension {
            "txt" | "text" => Some(Self::Text),
            "md" | "markdown" => Some(Self::Markdown),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "json" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            "tsv" | "tab" => Some(Self::Tsv),
            "parquet" if !compressed => Some(Self::Parquet),
            "arrow" | "feather" | "ipc" if !compressed => Some(Self::Arrow),
            _ => None,
        }
    }

    /// The format that a server's `Content-Type` names.
    pub(crate) fn of_content_type(value: &str) -> Option<Self> {
        match value.split(';').next()?.trim().to_ascii_lowercase().as_str() {
            "text/plain" => Some(Self::Text),
            "text/markdown" => Some(Self::Markdown),
            "application/x-ndjson" | "application/jsonl" | "application/jsonlines" => Some(Self::Jsonl),
            "application/json" => Some(Self::Json),
            "text/csv" => Some(Self::Csv),
            "text/tab-separated-values" => Some(Self::Tsv),
            "application/vnd.apache.parquet" => Some(Self::Parquet),
            "application/vnd.apache.arrow.file" | "application/vnd.apache.arrow.stream" => Some(Self::Arrow),
            _ => None,
        }
    }
}

impl Compression {
    pub(crate) fn of(name: &str) -> Self {
        let extension = Path::new(name).extension().and_then(|e| e.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "gz" => Self::Gzip,
            "zst" => Self::Zstd,
            "bz2" => Self::Bzip2,
            _ => Self::None,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
            Self::Bzip2 => ".bz2",
        }
    }
}
