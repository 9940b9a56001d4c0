use std::collections::BTreeMap;

use danlu_formats::html::HtmlOptions;
use danlu_formats::wikitext::WikiOptions;
use serde::{Deserialize, Serialize};

use super::chat::ChatFormat;
use super::format::Format;
use crate::DataError;

/// Where texts are from, and how they are read.
///
/// The keys that few sources need are written (into resolved recipes, keys of artifacts, `danlu recipe explain`) only
/// where they differ from their defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceConfig {
    /// What the documents' `source` says; unique in a recipe.
    pub name: String,
    /// A file, a folder (all supported files below it) or a glob pattern, relative to the recipe; or
    /// `sqlite:FILE`, `postgres://...`, `https://...`, `urls:FILE` (a URL a line), `hf://datasets/OWNER/NAME/...`,
    /// `s3://BUCKET/PREFIX`, `gs://...`, `az://...`.
    pub path: String,
    /// More files, folders or patterns. A file that several of them name is read once.
    #[serde(skip_serializing_if = "is_default")]
    pub paths: Vec<String>,
    /// What a database is asked (`sqlite:`, `postgres://`); each row is a record.
    #[serde(skip_serializing_if = "is_default")]
    pub query: Option<String>,
    /// The format of the files; otherwise their names tell.
    #[serde(skip_serializing_if = "is_default")]
    pub format: Option<Format>,
    /// `auto`: UTF-8, and where a file is not, what it looks like; or a name such as `gb18030`, `big5`, `latin1`.
    #[serde(skip_serializing_if = "is_auto")]
    pub encoding: String,
    /// What becomes of bytes that are no UTF-8.
    #[serde(skip_serializing_if = "is_default")]
    pub invalid: InvalidBytes,
    /// What stands between two fields of a row of CSV: a character of ASCII, such as `;` or `|`.
    #[serde(skip_serializing_if = "is_default")]
    pub delimiter: Option<char>,
    /// The field or column that holds the text; a dotted path reaches into nested fields (`data.body`).
    pub text_field: String,
    /// Several fields that make up the text together, in this order; those that are missing or empty are left out.
    #[serde(skip_serializing_if = "is_default")]
    pub text_fields: Vec<String>,
    /// What stands between them.
    #[serde(skip_serializing_if = "is_blank_line")]
    pub text_separator: String,
    /// The field kept as `id` in the metadata (a document's own id is always the hash of its text).
    #[serde(skip_serializing_if = "is_default")]
    pub id_field: Option<String>,
    /// The field kept as `time`.
    #[serde(skip_serializing_if = "is_default")]
    pub time_field: Option<String>,
    /// The field with the language of a document: an ISO 639-1 code, or a tag that begins with one (`zh-CN`).
    #[serde(skip_serializing_if = "is_default")]
    pub language_field: Option<String>,
    /// The field kept as `label`.
    #[serde(skip_serializing_if = "is_default")]
    pub label_field: Option<String>,
    /// The field kept as `url`.
    #[serde(skip_serializing_if = "is_default")]
    pub url_field: Option<String>,
    /// The field kept as `title`.
    #[serde(skip_serializing_if = "is_default")]
    pub title_field: Option<String>,
    /// The field with paths or URLs of images: a string, or a list of strings or of objects with `path` or `url`. Kept
    /// as the list `images`.
    #[serde(skip_serializing_if = "is_default")]
    pub images_field: Option<String>,
    /// Which other fields are kept: `"all"`, `"none"` or a list of names.
    #[serde(skip_serializing_if = "KeptFields::keeps_all")]
    pub metadata: KeptFields,
    /// Where the title of a post, or of an entry of a feed, goes.
    #[serde(skip_serializing_if = "is_default")]
    pub title: TitlePlace,
    /// The records are conversations of this form.
    #[serde(skip_serializing_if = "is_default")]
    pub chat: Option<ChatFormat>,
    /// What one document of a text file is.
    pub split: TextSplit,
    /// The language of all documents, where it is known; otherwise it is identified.
    pub language: Option<String>,
    /// Take only the first so many documents.
    pub limit: Option<usize>,
    /// The namespaces that are read of a MediaWiki dump; 0 holds the articles. None named: all.
    #[serde(skip_serializing_if = "is_articles")]
    pub namespaces: Vec<i64>,
    /// Take the marks of Markdown out of .md files; otherwise the text stays as it is written.
    #[serde(skip_serializing_if = "is_default")]
    pub plain_markdown: bool,
    /// Leave out what a message quotes of the one that it answers (.mbox, .eml).
    #[serde(skip_serializing_if = "is_default")]
    pub strip_quoted: bool,
    /// A record (a line, a row, a page, a file that is one document) of more is passed over as a problem, in MiB.
    #[serde(skip_serializing_if = "is_usual_record")]
    pub max_record_mebibytes: u64,
    /// A compressed file that grows beyond this many times its size (once past 64 MiB) is given up as a bomb.
    #[serde(skip_serializing_if = "is_usual_ratio")]
    pub max_decompressed_ratio: f64,
    /// A compressed file is given up beyond this size, in MiB.
    #[serde(skip_serializing_if = "is_default")]
    pub max_decompressed_mebibytes: Option<u64>,
    /// The largest window of a .zst file, in MiB, rounded down to a power of two: so much memory its decompression takes.
    /// By default 128, as zstd's own, and 2048 for the dumps of Reddit, which are made with `zstd --long=31`.
    #[serde(skip_serializing_if = "is_default")]
    pub max_window_mebibytes: Option<u32>,
    /// A mark of the state of data that danlu does not look at before it reads it (a database, the web): when it
    /// changes, the data is read again.
    #[serde(skip_serializing_if = "is_default")]
    pub version: Option<String>,
    /// The licence of those documents that name none themselves (`license` or `licence` in their metadata): an SPDX
    /// expression such as `CC-BY-SA-4.0`, or words. Reports state it; the documents stay as they are.
    #[serde(skip_serializing_if = "is_default")]
    pub license: Option<String>,
    /// How web pages become text (.html, .warc).
    #[serde(skip_serializing_if = "is_default")]
    pub html: HtmlOptions,
    /// How wikitext becomes text (MediaWiki dumps).
    #[serde(skip_serializing_if = "is_default")]
    pub wikitext: WikiOptions,
    /// How pages are fetched.
    #[serde(skip_serializing_if = "is_default")]
    pub http: HttpConfig,
}

const USUAL_RATIO: f64 = 250.0;
const USUAL_RECORD: u64 = 256;
/// A column of a table of documents cannot hold a text of 2 GiB.
const LARGEST_RECORD: u64 = 1024;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_auto(encoding: &str) -> bool {
    encoding == "auto"
}

fn is_blank_line(separator: &str) -> bool {
    separator == "\n\n"
}

fn is_articles(namespaces: &[i64]) -> bool {
    namespaces == [0]
}

fn is_usual_record(mebibytes: &u64) -> bool {
    *mebibytes == USUAL_RECORD
}

fn is_usual_ratio(ratio: &f64) -> bool {
    *ratio == USUAL_RATIO
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            path: String::new(),
            paths: Vec::new(),
            query: None,
            format: None,
            encoding: "auto".into(),
            invalid: InvalidBytes::Replace,
            delimiter: None,
            text_field: "text".into(),
            text_fields: Vec::new(),
            text_separator: "\n\n".into(),
            id_field: None,
            time_field: None,
            language_field: None,
            label_field: None,
            url_field: None,
            title_field: None,
            images_field: None,
            metadata: KeptFields::All(All::All),
            title: TitlePlace::Text,
            chat: None,
            split: TextSplit::File,
            language: None,
            limit: None,
            html: HtmlOptions::default(),
            wikitext: WikiOptions::default(),
            namespaces: vec![0],
            plain_markdown: false,
            strip_quoted: false,
            max_record_mebibytes: USUAL_RECORD,
            max_decompressed_ratio: USUAL_RATIO,
            max_decompressed_mebibytes: None,
            max_window_mebibytes: None,
            version: None,
            license: None,
            http: HttpConfig::default(),
        }
    }
}

impl SourceConfig {
    /// All that the source names, in order.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.path).chain(&self.paths).map(String::as_str).filter(|path| !path.is_empty())
    }

    /// The text fields: `text_fields`, or the one `text_field`.
    pub(crate) fn text_columns(&self) -> &[String] {
        if self.text_fields.is_empty() { std::slice::from_ref(&self.text_field) } else { &self.text_fields }
    }

    /// Why a language model is not trained on this source, as far as that is known before it is read.
    pub fn preferences(&self) -> Option<DataError> {
        let form = match self.chat? {
            ChatFormat::Preference => "preference",
            ChatFormat::Kto => "kto",
            _ => return None,
        };
        Some(DataError::Preferences { name: self.name.clone(), form })
    }

    /// # Errors
    /// A value that no file could make good.
    pub(crate) fn check(&self) -> Result<(), DataError> {
        let bad = |key: &'static str, message: String| {
            Err(DataError::BadConfig { key, message: format!("source {:?}: {message}", self.name) })
        };
        if self.name.is_empty() || self.patterns().next().is_none() {
            return bad("data.sources", "a source needs a name and a path".into());
        }
        super::encoding::Encoding::named(&self.encoding)
            .or_else(|message| bad("encoding", message).map(|()| super::encoding::Encoding::Auto))?;
        if let Some(delimiter) = self.delimiter.filter(|c| !c.is_ascii() || matches!(c, '"' | '\n' | '\r')) {
            return bad(
                "delimiter",
                format!("{delimiter:?} is not a character of ASCII that may stand between fields"),
            );
        }
        if self.delimiter.is_some() && self.format.is_some_and(|format| format != Format::Csv) {
            return bad("delimiter", "only CSV has one; set format = \"csv\"".into());
        }
        if self.max_decompressed_ratio.is_nan() || self.max_decompressed_ratio < 1.0 {
            return bad("max_decompressed_ratio", format!("{} is below 1", self.max_decompressed_ratio));
        }
        if self.license.as_ref().is_some_and(|license| license.trim().is_empty()) {
            return bad("license", "is blank; leave it out where it is not known".into());
        }
        if !(1..=LARGEST_RECORD).contains(&self.max_record_mebibytes) {
            let message = format!("{} is not between 1 and {LARGEST_RECORD}", self.max_record_mebibytes);
            return bad("max_record_mebibytes", message);
        }
        if let Some(window) = self.max_window_mebibytes.filter(|window| !(1..=2048).contains(window)) {
            return bad("max_window_mebibytes", format!("{window} MiB is no window of zstd; they have 1 to 2048"));
        }
        if self.chat.is_some() && !self.text_fields.is_empty() {
            return bad(
                "text_fields",
                "the text of a conversation is made from its turns; leave text_fields out".into(),
            );
        }
        self.http.check().or_else(|(key, message)| bad(key, message))
    }
}

/// What a recipe states of the licences of its sources, by their names.
pub fn stated_licenses(sources: &[SourceConfig]) -> BTreeMap<String, String> {
    sources.iter().filter_map(|source| Some((source.name.clone(), source.license.clone()?))).collect()
}

/// The sources as far as their documents depend on them: a licence is a statement about documents and changes none of them,
/// so what was made of them, a trained model in the end, need not be made again when it is added or mended.
pub fn without_licenses(sources: &[SourceConfig]) -> Vec<SourceConfig> {
    sources.iter().map(|source| SourceConfig { license: None, ..source.clone() }).collect()
}

/// What becomes of bytes that are not of the encoding of their file, where that is UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InvalidBytes {
    /// They become U+FFFD, as in other encodings, and the file is named.
    #[default]
    Replace,
    /// The record that has them is left out as a problem.
    Drop,
}

/// Where a title goes. The metadata has it in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TitlePlace {
    /// Before the text, with a blank line between: as whoever reads the post sees it.
    #[default]
    Text,
    /// Into the metadata alone.
    Metadata,
}

/// What one document of a text file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextSplit {
    /// The whole file.
    #[default]
    File,
    /// Each run of lines between blank lines.
    Paragraph,
    /// Each line that is not blank.
    Line,
}

/// Which fields of a record go into the metadata, besides those that a `*_field` key names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "\"all\", \"none\" or a list of field names")]
pub enum KeptFields {
    All(All),
    None(Nothing),
    Only(Vec<String>),
}

/// The word `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum All {
    All,
}

/// The word `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nothing {
    None,
}

impl KeptFields {
    fn keeps_all(&self) -> bool {
        matches!(self, Self::All(_))
    }

    pub(crate) fn keeps(&self, field: &str) -> bool {
        match self {
            Self::All(_) => true,
            Self::None(_) => false,
            Self::Only(names) => names.iter().any(|name| name == field),
        }
    }
}

/// How pages and files are fetched over HTTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Who asks, as servers see it; robots.txt is read for its first word.
    pub user_agent: String,
    /// Obey robots.txt (RFC 9309).
    pub robots: bool,
    /// At most so many requests a second to one host; a longer `Crawl-delay` of its robots.txt counts.
    pub requests_per_second: f64,
    /// So many redirects are followed; a page that redirects to one seen before is given up at once.
    pub max_redirects: usize,
    /// A body above this is given up, in MiB.
    pub max_body_mebibytes: u64,
    /// A failed request is repeated so often, after 1, 2, 4 ... seconds or what `Retry-After` says.
    pub retries: u32,
    /// The longest wait between two attempts, in seconds; a server that asks for more is given up.
    pub max_wait_seconds: u64,
    /// Connecting, and each wait for more of an answer, may take so long, in seconds.
    pub timeout_seconds: u64,
    /// The path is a sitemap (or an index of sitemaps), whose pages are fetched.
    pub sitemap: bool,
    /// The folder that keeps what was fetched, relative to the recipe; by default `danlu/http` in the user's cache
    /// folder. What is there is asked for again only if it changed (`ETag`, `Last-Modified`).
    pub cache: Option<String>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            user_agent: concat!("danlu/", env!("CARGO_PKG_VERSION")).into(),
            robots: true,
            requests_per_second: 1.0,
            max_redirects: 10,
            max_body_mebibytes: 1 << 17,
            retries: 4,
            max_wait_seconds: 120,
            timeout_seconds: 60,
            sitemap: false,
            cache: None,
        }
    }
}

impl HttpConfig {
    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.user_agent.trim().is_empty() || !self.user_agent.bytes().all(|byte| (b' '..0x7F).contains(&byte)) {
            return Err(("http.user_agent", "a server must be told who asks, in printable ASCII".into()));
        }
        if !(self.requests_per_second > 0.0 && self.requests_per_second.is_finite()) {
            return Err(("http.requests_per_second", format!("{} is no rate", self.requests_per_second)));
        }
        Ok(())
    }
}
