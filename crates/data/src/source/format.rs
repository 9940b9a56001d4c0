use std::path::Path;

use serde::{Deserialize, Serialize};

/// What is supported, as error messages say it.
pub(crate) const SUPPORTED: &str = ".txt, .md, .jsonl, .json, .csv, .tsv, .html, .warc, .wet, .mbox, .eml, .rss, .atom, MediaWiki and Stack Exchange \
     .xml, Reddit's RC_* and RS_* (each also .gz, .zst or .bz2), .parquet, .arrow, .epub, .pdf";

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
    /// Web pages: their main text.
    Html,
    /// MediaWiki XML dumps (Wikipedia).
    MediaWiki,
    /// Web archives: the pages of WARC, the texts of WET.
    Warc,
    /// Mailboxes.
    Mbox,
    /// Single messages (MIME).
    Mail,
    /// RSS, Atom and RDF.
    Feed,
    /// Submissions and comments of Reddit, one a line.
    Reddit,
    /// Items of Hacker News, one a line.
    HackerNews,
    /// `Posts.xml` and `Comments.xml` of Stack Exchange.
    StackExchange,
    /// Books, by chapter.
    Epub,
    /// The text of all pages as one document; scans have none.
    Pdf,
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
        if is_reddit(bare, compressed) {
            return Some(Self::Reddit);
        }
        let (stem, extension) = bare.rsplit_once('.')?;
        match extension {
            "txt" | "text" => Some(Self::Text),
            "md" | "markdown" => Some(Self::Markdown),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "json" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            "tsv" | "tab" => Some(Self::Tsv),
            "parquet" if !compressed => Some(Self::Parquet),
            "arrow" | "feather" | "ipc" if !compressed => Some(Self::Arrow),
            "html" | "htm" | "xhtml" => Some(Self::Html),
            "warc" | "wet" => Some(Self::Warc),
            "mbox" | "mbx" => Some(Self::Mbox),
            "eml" => Some(Self::Mail),
            "rss" | "atom" => Some(Self::Feed),
            "epub" if !compressed => Some(Self::Epub),
            "pdf" if !compressed => Some(Self::Pdf),
            "xml" if matches!(stem.rsplit('/').next(), Some("posts" | "comments")) => Some(Self::StackExchange),
            // `zhwiki-20240501-pages-articles1.xml-p1p187712.bz2` is a piece of a dump.
            _ if (extension == "xml" || extension.starts_with("xml-p")) && stem.contains("wiki") => {
                Some(Self::MediaWiki)
            }
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
            "text/html" | "application/xhtml+xml" => Some(Self::Html),
            "application/rss+xml" | "application/atom+xml" | "application/rdf+xml" | "application/xml" | "text/xml" => {
                Some(Self::Feed)
            }
            "application/warc" => Some(Self::Warc),
            "application/mbox" => Some(Self::Mbox),
            "message/rfc822" => Some(Self::Mail),
            "application/epub+zip" => Some(Self::Epub),
            "application/pdf" => Some(Self::Pdf),
            "application/vnd.apache.parquet" => Some(Self::Parquet),
            "application/vnd.apache.arrow.file" | "application/vnd.apache.arrow.stream" => Some(Self::Arrow),
            _ => None,
        }
    }
}

/// `RC_2024-05.zst` (comments of a month), `RS_v2_2010-01.zst` (submissions), `poetry_comments.zst` (those of a
/// subreddit): names without an extension of their own, in lower case here.
fn is_reddit(bare: &str, compressed: bool) -> bool {
    let name = bare.rsplit('/').next().unwrap_or(bare);
    let month = |rest: &str| {
        let rest = rest.strip_prefix("v2_").unwrap_or(rest);
        rest.starts_with(|c: char| c.is_ascii_digit()) && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
    };
    let of_month = name.strip_prefix("rc_").or(name.strip_prefix("rs_")).is_some_and(month);
    let of_subreddit = name.ends_with("_comments") || name.ends_with("_submissions");
    of_month || compressed && of_subreddit
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

#[cfg(test)]
mod tests {
    use super::{Compression, Format};

    #[test]
    fn names_tell_formats() {
        for (name, expect) in [
            ("a.TXT", Some(Format::Text)),
            ("a.jsonl.zst", Some(Format::Jsonl)),
            ("texts/CC-MAIN-2024.warc.wet.gz", Some(Format::Warc)),
            ("zhwiki-latest-pages-articles.xml.bz2", Some(Format::MediaWiki)),
            ("enwiki-20240501-pages-articles1.xml-p1p41242.bz2", Some(Format::MediaWiki)),
            ("dump/Posts.xml", Some(Format::StackExchange)),
            ("other.xml", None),
            ("a.parquet", Some(Format::Parquet)),
            ("a.parquet.gz", None),
            ("a.pdf", Some(Format::Pdf)),
            ("https://example.com/", None),
            ("RC_2024-05.zst", Some(Format::Reddit)),
            ("reddit/RS_v2_2010-01.zst", Some(Format::Reddit)),
            ("RC_2011-01", Some(Format::Reddit)),
            ("poetry_comments.zst", Some(Format::Reddit)),
            ("RC_2024-05.jsonl.zst", Some(Format::Jsonl)),
            ("RC_notes", None),
            ("poetry_comments", None),
            ("春.md", Some(Format::Markdown)),
            (".gz", None),
            ("a", None),
        ] {
            assert_eq!(Format::of(name), expect, "{name}");
        }
        assert_eq!(Compression::of("a.JSONL.GZ"), Compression::Gzip);
        assert_eq!(Format::of_content_type("text/HTML; charset=utf-8"), Some(Format::Html));
    }
}
