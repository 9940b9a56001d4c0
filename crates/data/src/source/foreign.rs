//! Formats whose parsers are `danlu-formats`': pages, wikis, web archives, mail, feeds, posts, books and
//! papers.

use std::io::{BufReader, Read};
use std::ops::ControlFlow;

use danlu_formats::epub::read_epub;
use danlu_formats::feed::parse_feed;
use danlu_formats::mail::{self, MboxMessage, MboxReader};
use danlu_formats::pdf::read_pdf;
use danlu_formats::posts::{Post, PostFormat, PostKind, PostReader};
use danlu_formats::warc::{WarcKind, WarcReader, WarcRecord};
use danlu_formats::wikitext::{self, DumpReader, WikiPage};
use danlu_formats::{encoding, html};
use serde_json::Value;

use super::batch::in_order;
use super::fields::Fields;
use super::{Flow, Problem, Sink, SourceFile, TitlePlace};
use crate::Document;

impl SourceFile<'_> {
    /// A document that a parser made, with what the parser found beside the text as far as the source keeps it.
    fn made(&self, text: String, line: Option<u64>, found: Found) -> Document {
        let kept = &self.source.metadata;
        self.document(text, line, found.0.into_iter().filter(|(name, _)| kept.keeps(name)).collect())
    }

    /// A text with its title before it, where the source has titles there and the text does not begin with it anyway.
    fn titled(&self, title: Option<&str>, text: String) -> String {
        let wanted = self.source.title == TitlePlace::Text;
        let Some(title) = title.map(str::trim).filter(|title| wanted && !title.is_empty()) else { return text };
        if text.trim().is_empty() {
            return title.into();
        }
        let rest = text.trim_start().strip_prefix(title);
        let is_there = rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric));
        if is_there { text } else { format!("{title}\n\n{text}") }
    }

    /// The encoding that the source's configuration or the server declares, for parsers that find it out by themselves
    /// otherwise.
    fn declared(&self) -> Option<&str> {
        let configured = Some(self.source.encoding.as_str()).filter(|name| !name.eq_ignore_ascii_case("auto"));
        configured.or(self.charset.as_deref())
    }

    /// All bytes of a file whose format needs them at once, or the problem with it.
    fn whole(&self) -> Result<Result<Vec<u8>, Problem>, crate::DataError> {
        let mut bytes = Vec::new();
        let most = self.max_record_bytes();
        let read = self.open_decompressed()?.take(most as u64 + 1).read_to_end(&mut bytes);
        Ok(match read {
            Err(error) => Err(self.problem(None, format!("cannot be read: {error}"))),
            Ok(_) if bytes.len() > most => Err(self.problem(None, self.too_long())),
            Ok(_) => Ok(bytes),
        })
    }
}

/// Metadata that a parser found.
#[derive(Default)]
struct Found(Fields);

impl Found {
    fn list(self, name: &str, values: Vec<String>) -> Self {
        self.with(name, Some(values).filter(|values| !values.is_empty()))
    }

    fn with(mut self, name: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.0.insert(name.into(), value.into());
        }
        self
    }
}

/// Reads a page: its main text.
pub(super) fn html(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let record = file.whole()?.map(|bytes| page(file, &bytes, file.declared(), None, Found::default()));
    sink(record)
}

fn page(file: &SourceFile<'_>, bytes: &[u8], charset: Option<&str>, line: Option<u64>, found: Found) -> Document {
    let page = html::extract_bytes(bytes, charset, &file.source.html);
    let found = found.with("title", page.title).with("time", page.date).with("author", page.author);
    file.made(page.text, line, found.with("declared_language", page.language))
}

/// Reads a MediaWiki dump: the text of each page of the source's namespaces that is no redirect.
pub(super) fn wiki(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let reader = BufReader::with_capacity(1 << 17, file.open_decompressed()?);
    let mut pages = DumpReader::new(reader, &file.source.namespaces, file.max_record_bytes());
    let article = |page: WikiPage| {
        let article = wikitext::to_text(&page.wikitext, &file.source.wikitext);
        let found = Found::default()
            .with("id", Some(page.id))
            .with("title", Some(page.title))
            .with("time", page.timestamp)
            .list("categories", article.categories);
        Ok(file.made(article.text, Some(page.line), found))
    };
    let flow = in_order(file, pages.by_ref(), |page| page.wikitext.len(), article, sink)?;
    let skipped = pages.skipped();
    file.pass_over("redirects", skipped.redirects);
    file.pass_over("pages of other namespaces", skipped.other_namespaces);
    file.pass_over("pages that are no wikitext", skipped.other_models);
    Ok(flow)
}

/// Reads a WARC file, the pages of it, or a WET file, its extracted texts.
pub(super) fn warc(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let reader = BufReader::with_capacity(1 << 17, file.open_decompressed()?);
    let mut records = WarcReader::new(reader, file.max_record_bytes());
    let texts = records.by_ref().filter(|record| {
        let why = record.as_ref().ok().and_then(|record| medium(record).err());
        why.inspect(|&why| file.pass_over(why, 1)).is_none()
    });
    let flow = in_order(file, texts, |record| record.payload.len(), |record| Ok(archived(file, record)), sink)?;
    file.pass_over("records without content", records.skipped());
    Ok(flow)
}

enum Medium {
    Text,
    Page,
}

/// What a record holds, or why it is no document.
fn medium(record: &WarcRecord) -> Result<Medium, &'static str> {
    if record.status.is_some_and(|status| !(200..300).contains(&status)) {
        return Err("answers that are no success");
    }
    match (record.kind, record.content_type.as_deref().unwrap_or_default()) {
        (WarcKind::Conversion, _) | (_, "text/plain") => Ok(Medium::Text),
        (_, "text/html" | "application/xhtml+xml") => Ok(Medium::Page),
        _ => Err("records that are no text"),
    }
}

fn archived(file: &SourceFile<'_>, record: WarcRecord) -> Document {
    let is_page = matches!(medium(&record), Ok(Medium::Page));
    let found = Found::default()
        .with("url", record.url)
        .with("time", record.date)
        .with("id", record.id)
        .with("declared_language", record.languages)
        .with("offset", Some(record.offset));
    let charset = record.charset.as_deref().or(file.declared());
    if is_page {
        return page(file, &record.payload, charset, None, found);
    }
    file.made(encoding::decode(&record.payload, charset).text, None, found)
}

/// Reads a mailbox: the text of each message.
pub(super) fn mbox(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let reader = BufReader::with_capacity(1 << 17, file.open_decompressed()?);
    let messages = MboxReader::new(reader, file.max_record_bytes());
    let letter = |message: MboxMessage| letter(file, &message.bytes, Some(message.line));
    in_order(file, messages, |message| message.bytes.len(), letter, sink)
}

/// Reads one message (`.eml`).
pub(super) fn message(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let record = file.whole()?.and_then(|bytes| letter(file, &bytes, None));
    sink(record)
}

fn letter(file: &SourceFile<'_>, bytes: &[u8], line: Option<u64>) -> Result<Document, Problem> {
    let message = mail::parse_message(bytes).map_err(|error| file.problem(line, error.fault.to_string()))?;
    let found = Found::default()
        .with("title", message.subject)
        .with("author", message.from)
        .with("time", message.date)
        .with("id", message.id)
        .with("parent", message.in_reply_to);
    let text = if file.source.strip_quoted { mail::strip_quoted(&message.text) } else { message.text };
    Ok(file.made(text, line, found))
}

/// Reads a feed (RSS, Atom, RDF): the text of each entry.
pub(super) fn feed(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let bytes = match file.whole()? {
        Ok(bytes) => bytes,
        Err(problem) => return sink(Err(problem)),
    };
    let (feed, damage) = match parse_feed(&bytes, file.declared()) {
        Ok(read) => read,
        Err(error) => return sink(Err(file.format_problem(&error))),
    };
    for (index, entry) in feed.entries.into_iter().enumerate() {
        let text = file.titled(entry.title.as_deref(), entry.text);
        let found = Found::default()
            .with("id", entry.id)
            .with("title", entry.title)
            .with("url", entry.link)
            .with("time", entry.date)
            .with("author", entry.author)
            .with("feed", feed.title.clone())
            .with("declared_language", feed.language.clone())
            .list("categories", entry.categories);
        if sink(Ok(file.made(text, Some(index as u64 + 1), found)))?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    match damage {
        Some(error) => sink(Err(file.format_problem(&error))),
        None => Ok(ControlFlow::Continue(())),
    }
}

/// Reads a dump of posts and comments.
pub(super) fn posts(file: &SourceFile<'_>, format: PostFormat, sink: &mut Sink<'_>) -> Flow {
    let reader = BufReader::with_capacity(1 << 17, file.open_decompressed()?);
    let mut posts = PostReader::new(reader, format, file.max_record_bytes());
    let document = |post: Post| {
        let kind = match post.kind {
            PostKind::Post => "post",
            PostKind::Answer => "answer",
            PostKind::Comment => "comment",
        };
        let text = file.titled(post.title.as_deref(), post.text);
        let found = Found::default()
            .with("kind", Some(kind))
            .with("id", Some(post.id).filter(|id| !id.is_empty()))
            .with("parent", post.parent)
            .with("title", post.title)
            .with("url", post.url)
            .with("author", post.author)
            .with("time", post.date)
            .with("score", post.score)
            .list("topics", post.topics);
        Ok(file.made(text, Some(post.line), found))
    };
    let flow = in_order(file, posts.by_ref(), |post| post.text.len(), document, sink)?;
    let skipped = posts.skipped();
    file.pass_over("deleted posts", skipped.deleted);
    file.pass_over("records that are no posts", skipped.other);
    file.pass_over("posts without title and text", skipped.empty);
    Ok(flow)
}

/// Reads a book: the text of each chapter.
pub(super) fn epub(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let bytes = match file.whole()? {
        Ok(bytes) => bytes,
        Err(problem) => return sink(Err(problem)),
    };
    let book = match read_epub(&bytes, file.limits()) {
        Ok(book) => book,
        Err(error) => return sink(Err(file.format_problem(&error))),
    };
    for (index, chapter) in book.chapters.into_iter().enumerate() {
        let found = Found::default()
            .with("title", chapter.title.or_else(|| book.title.clone()))
            .with("book", book.title.clone())
            .with("author", book.author.clone())
            .with("time", book.date.clone())
            .with("id", book.identifier.clone())
            .with("declared_language", book.language.clone())
            .with("chapter", Some(index + 1));
        if sink(Ok(file.made(chapter.text, None, found)))?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    for error in &book.errors {
        if sink(Err(file.format_problem(error)))?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Reads a PDF: the text of its pages as one document.
pub(super) fn pdf(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let bytes = match file.whole()? {
        Ok(bytes) => bytes,
        Err(problem) => return sink(Err(problem)),
    };
    let paper = match read_pdf(bytes, file.limits()) {
        Ok(paper) => paper,
        Err(error) => return sink(Err(file.format_problem(&error))),
    };
    file.pass_over("glyphs without a character", paper.unmapped);
    file.pass_over("pages without text", paper.pages.iter().filter(|page| page.is_empty()).count() as u64);
    let found =
        Found::default().with("title", paper.title).with("author", paper.author).with("pages", Some(paper.pages.len()));
    let pages: Vec<String> = paper.pages.into_iter().filter(|page| !page.is_empty()).collect();
    let mut flow = ControlFlow::Continue(());
    if !pages.is_empty() {
        flow = sink(Ok(file.made(pages.join("\n\n"), None, found)))?;
    }
    for error in &paper.errors {
        if flow.is_break() {
            break;
        }
        flow = sink(Err(file.format_problem(error)))?;
    }
    Ok(flow)
}
