//! Feeds: RSS 0.9x and 2.0, RSS 1.0 (RDF) and Atom 1.0.

use std::borrow::Cow;

use crate::xml::{Piece, Xml, attribute};
use crate::{At, FormatError, dates, encoding, html};

/// A feed and its entries, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    pub title: Option<String>,
    pub language: Option<String>,
    pub entries: Vec<Entry>,
}

/// An entry of a feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub title: Option<String>,
    pub link: Option<String>,
    pub id: Option<String>,
    /// When it was published, else updated; ISO 8601.
    pub date: Option<String>,
    pub author: Option<String>,
    pub categories: Vec<String>,
    /// The full content if the feed has it, else the summary, as text.
    pub text: String,
}

/// Elements within each other; a feed has about five.
const MAX_DEPTH: usize = 64;

/// Reads a feed. Of one that is damaged, the entries before the damage are returned, and the error beside them.
///
/// # Errors
/// Bytes that are no feed.
pub fn parse_feed(bytes: &[u8], declared: Option<&str>) -> Result<(Feed, Option<FormatError>), FormatError> {
    let own = html::meta_charset(bytes);
    let text = encoding::decode(bytes, declared.or(own.as_deref())).text;
    let mut parser = Parser::default();
    let mut xml = Xml::new(&text);
    let damage = loop {
        match xml.next() {
            Ok(Piece::Open(element)) => parser.open(&element),
            Ok(Piece::Text(text)) => parser.text(text),
            Ok(Piece::Close) => parser.close(),
            Ok(Piece::End) => break None,
            Err(message) => break Some(FormatError::last(At::Whole, malformed(message))),
        }
    };
    if !parser.is_feed {
        return Err(FormatError::last(At::Whole, malformed("it has no <rss>, <rdf> or <feed> element".into())));
    }
    Ok((parser.feed, damage))
}

fn malformed(message: String) -> crate::Fault {
    crate::Fault::Malformed { format: "feed", message }
}

#[derive(Default)]
struct Parser {
    feed: Feed,
    is_feed: bool,
    entry: Option<Draft>,
    /// The open elements' names, as written.
    path: Vec<String>,
    too_deep: usize,
    /// The text of the innermost element.
    value: String,
    /// The depth of an element whose content is markup itself (Atom's `type="xhtml"`), which is written down again.
    markup: Option<usize>,
}

#[derive(Default)]
struct Draft {
    entry: Entry,
    content: String,
    summary: String,
    updated: Option<String>,
}

impl Parser {
    fn open(&mut self, element: &quick_xml::events::BytesStart<'_>) {
        if self.path.len() >= MAX_DEPTH {
            self.too_deep += 1;
            return;
        }
        let name = element.name().into_inner();
        if self.markup.is_some() {
            self.value.push_str(&format!("<{}>", element.local_name().into_inner()));
            self.path.push(name.to_owned());
            return;
        }
        self.path.push(name.to_owned());
        self.value.clear();
        match element.local_name().into_inner() {
            "rss" | "RDF" | "feed" => {
                self.is_feed = true;
                self.feed.language = attribute(element, "lang").or(self.feed.language.take());
            }
            "item" | "entry" => self.entry = Some(Draft::default()),
            "link" => self.link(element),
            "category" => {
                if let (Some(draft), Some(term)) = (&mut self.entry, attribute(element, "term")) {
                    draft.entry.categories.push(term);
                }
            }
            "content" | "summary" | "title" if attribute(element, "type").as_deref() == Some("xhtml") => {
                self.markup = Some(self.path.len());
            }
            _ => {}
        }
    }

    /// Atom's links are attributes; the one to the page itself is "alternate" or has no relation.
    fn link(&mut self, element: &quick_xml::events::BytesStart<'_>) {
        let (Some(draft), Some(href)) = (&mut self.entry, attribute(element, "href")) else { return };
        let relation = attribute(element, "rel");
        if relation.as_deref().is_none_or(|relation| relation == "alternate") && draft.entry.link.is_none() {
            draft.entry.link = Some(href);
        }
    }

    fn text(&mut self, text: Cow<'_, str>) {
        if self.markup.is_some() {
            self.value.push_str(&text.replace('&', "&amp;").replace('<', "&lt;"));
        } else {
            self.value.push_str(&text);
        }
    }

    fn close(&mut self) {
        if self.too_deep > 0 {
            self.too_deep -= 1;
            return;
        }
        let depth = self.path.len();
        let Some(name) = self.path.pop() else { return };
        if self.markup.is_some_and(|markup| depth > markup) {
            self.value.push_str(&format!("</{}>", name.rsplit(':').next().unwrap_or("")));
            return;
        }
        self.markup = None;
        let value = std::mem::take(&mut self.value);
        let parent = self.path.last().map_or("", |parent| parent.rsplit(':').next().unwrap_or(""));
        let local = name.rsplit(':').next().unwrap_or("");
        match &mut self.entry {
            Some(_) if matches!(local, "item" | "entry") => self.finish(),
            Some(draft) if matches!(parent, "item" | "entry") => draft.set(&name, local, &value),
            Some(draft) if parent == "author" && local == "name" => put(&mut draft.entry.author, &value),
            Some(_) => {}
            None if matches!(parent, "channel" | "feed") => match local {
                "title" => put(&mut self.feed.title, &html::fragment(&value)),
                "language" => put(&mut self.feed.language, &value),
                _ => {}
            },
            None => {}
        }
    }

    fn finish(&mut self) {
        let Some(Draft { mut entry, content, summary, updated }) = self.entry.take() else { return };
        entry.text = html::fragment(if content.trim().is_empty() { &summary } else { &content });
        entry.date = entry.date.or(updated);
        if entry.link.is_none() {
            entry.link = entry.id.clone().filter(|id| id.contains("://"));
        }
        self.feed.entries.push(entry);
    }
}

impl Draft {
    /// `name` with its prefix tells `content:encoded` and `media:title` from the feed's own elements.
    fn set(&mut self, name: &str, local: &str, value: &str) {
        match (name, local) {
            ("media:title" | "media:description" | "media:content" | "itunes:title", _) => {}
            (_, "title") => put(&mut self.entry.title, &html::fragment(value).replace('\n', " ")),
            (_, "link") => put(&mut self.entry.link, value),
            (_, "guid" | "id") => put(&mut self.entry.id, value),
            (_, "pubDate" | "published" | "issued" | "date") => {
                put(&mut self.entry.date, &dates::iso(value).unwrap_or_default())
            }
            (_, "updated" | "modified") => put(&mut self.updated, &dates::iso(value).unwrap_or_default()),
            (_, "creator" | "author") => put(&mut self.entry.author, value),
            (_, "category" | "subject") if !value.trim().is_empty() => {
                self.entry.categories.push(value.trim().to_owned());
            }
            (_, "encoded" | "content") => self.content = value.to_owned(),
            (_, "description" | "summary") => self.summary = value.to_owned(),
            _ => {}
        }
    }
}

fn put(slot: &mut Option<String>, value: &str) {
    let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
    if slot.is_none() && !value.is_empty() {
        *slot = Some(value);
    }
}
