//! What a page says about itself.

use serde_json::Value;

use super::Page;
use super::main_text::MainText;
use super::tags::{Attribute, Tag};
use super::tree::Tree;
use crate::dates;

/// Bytes of JSON-LD that are read.
const MAX_JSON: usize = 1 << 20;
const MAX_TITLE: usize = 1000;

/// Fills in everything but the text.
pub(super) fn describe(tree: &Tree, main: &MainText, page: &mut Page) {
    let found = Found::collect(tree);
    let body = main.root..tree.after(main.root);
    let within = |id: u32| body.contains(&id) && !main.removed[id as usize];
    let headings: Vec<String> = found
        .headings
        .iter()
        .filter(|&&id| within(id))
        .map(|&id| tree.inner_text_but(id, MAX_TITLE, &main.removed))
        .collect();
    page.title = title(&found, &headings);
    page.language = language(tree, &found);
    page.date = found.date.or(found.headline_date).or_else(|| {
        let times = found.times.iter().filter(|&&id| within(id));
        times.filter_map(|&id| tree.attribute(id, Attribute::Datetime)).find_map(dates::iso)
    });
    page.author = found.author.or(found.json_author);
    page.canonical = found.canonical;
    page.feeds = found.feeds;
}

/// The title the page was shared under, else its only heading of the first level where the head's title contains that
/// (the rest being the site's name), else the head's title, else the first heading.
fn title(found: &Found, headings: &[String]) -> Option<String> {
    if let Some(shared) = &found.shared_title {
        return Some(shared.clone());
    }
    match (&found.head_title, headings) {
        (Some(title), [heading, ..]) if heading.len() > 3 && title.contains(heading.as_str()) => Some(heading.clone()),
        (Some(title), _) => Some(title.clone()),
        (None, [heading, ..]) => Some(heading.clone()),
        (None, []) => None,
    }
}

fn language(tree: &Tree, found: &Found) -> Option<String> {
    let declared = found.roots.iter().find_map(|&id| {
        tree.attribute(id, Attribute::Lang)
            .or_else(|| tree.attribute(id, Attribute::XmlLang))
            .filter(|lang| is_tag(lang))
    });
    declared.map(str::to_owned).or_else(|| found.language.clone())
}

/// Whether a value looks like a language tag (BCP 47).
fn is_tag(value: &str) -> bool {
    let mut parts = value.split(['-', '_']);
    parts.next().is_some_and(|first| (2..=3).contains(&first.len()) && first.bytes().all(|b| b.is_ascii_alphabetic()))
        && parts.all(|part| !part.is_empty() && part.len() <= 8 && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[derive(Default)]
struct Found {
    roots: Vec<u32>,
    headings: Vec<u32>,
    times: Vec<u32>,
    head_title: Option<String>,
    shared_title: Option<String>,
    language: Option<String>,
    date: Option<String>,
    headline_date: Option<String>,
    author: Option<String>,
    json_author: Option<String>,
    canonical: Option<String>,
    feeds: Vec<String>,
}

fn put(slot: &mut Option<String>, value: Option<&str>) {
    let value = value.map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "));
    if slot.is_none() {
        *slot = value.filter(|value| !value.is_empty());
    }
}

impl Found {
    fn collect(tree: &Tree) -> Self {
        let mut found = Self::default();
        for (id, tag) in tree.elements() {
            match tag {
                Tag::Html | Tag::Body => found.roots.push(id),
                Tag::H1 => found.headings.push(id),
                Tag::Time => found.times.push(id),
                // Pictures have titles too (svg), but those lie within the body.
                Tag::Title if found.headings.is_empty() => {
                    put(&mut found.head_title, Some(&tree.inner_text(id, MAX_TITLE)))
                }
                Tag::Meta => found.meta(tree, id),
                Tag::Link => found.link(tree, id),
                Tag::Script if tree.attribute(id, Attribute::Type) == Some("application/ld+json") => {
                    found.json(tree.raw_text(id));
                }
                Tag::A | Tag::Span | Tag::P | Tag::Address => found.marked(tree, id),
                _ => {}
            }
        }
        found
    }

    fn meta(&mut self, tree: &Tree, id: u32) {
        let names = [Attribute::Property, Attribute::Name, Attribute::Itemprop, Attribute::HttpEquiv];
        let content = tree.attribute(id, Attribute::Content);
        for name in names.iter().filter_map(|&name| tree.attribute(id, name)) {
            match name.to_ascii_lowercase().as_str() {
                "og:title" | "twitter:title" | "dc.title" | "citation_title" => put(&mut self.shared_title, content),
                "article:published_time"
                | "date"
                | "dc.date"
                | "dc.date.issued"
                | "dcterms.created"
                | "datepublished"
                | "pubdate"
                | "publishdate"
                | "publish-date"
                | "citation_publication_date"
                | "og:published_time"
                | "parsely-pub-date" => put(&mut self.date, content.and_then(dates::iso).as_deref()),
                "author" | "dc.creator" | "article:author" | "citation_author" | "parsely-author" | "byl" => {
                    put(&mut self.author, content.filter(|author| !author.contains("://")));
                }
                "og:url" => put(&mut self.canonical, content),
                "content-language" | "og:locale" | "dc.language" | "language" => {
                    let language =
                        content.filter(|language| is_tag(language)).map(|language| language.replace('_', "-"));
                    put(&mut self.language, language.as_deref());
                }
                _ => {}
            }
        }
    }

    fn link(&mut self, tree: &Tree, id: u32) {
        let (Some(rel), Some(href)) = (tree.attribute(id, Attribute::Rel), tree.attribute(id, Attribute::Href)) else {
            return;
        };
        let rel = rel.to_ascii_lowercase();
        let kind = tree.attribute(id, Attribute::Type).unwrap_or("");
        if rel.split_whitespace().any(|word| word == "canonical") {
            self.canonical = Some(href.trim().to_owned());
        }
        let is_feed = ["application/rss+xml", "application/atom+xml", "application/feed+json"].contains(&kind);
        if is_feed && rel.split_whitespace().any(|word| word == "alternate") {
            self.feeds.push(href.trim().to_owned());
        }
    }

    /// Authors and dates marked in the text (microdata, `rel`, usual classes).
    fn marked(&mut self, tree: &Tree, id: u32) {
        let has = |name, word: &str| {
            tree.attribute(id, name).is_some_and(|value| value.split_whitespace().any(|part| part == word))
        };
        let is_author =
            has(Attribute::Rel, "author") || has(Attribute::Itemprop, "author") || has(Attribute::Class, "author");
        if is_author && self.author.is_none() {
            let name = tree.inner_text(id, 200);
            put(&mut self.author, Some(&name).filter(|name| name.len() <= 200).map(String::as_str));
        }
    }

    /// The headline, date and author of an article in JSON-LD (schema.org).
    fn json(&mut self, text: &str) {
        if text.len() > MAX_JSON {
            return;
        }
        let Ok(value) = serde_json::from_str::<Value>(text) else { return };
        let graph = value.get("@graph").and_then(Value::as_array);
        let all = graph.or_else(|| value.as_array()).map_or(std::slice::from_ref(&value), Vec::as_slice);
        for item in all.iter().take(100) {
            put(&mut self.shared_title, item.get("headline").and_then(Value::as_str));
            let date = item.get("datePublished").and_then(Value::as_str).and_then(dates::iso);
            put(&mut self.headline_date, date.as_deref());
            let author = item.get("author").map(|author| author.get(0).unwrap_or(author));
            let name = author.and_then(|author| author.get("name").unwrap_or(author).as_str());
            put(&mut self.json_author, name.filter(|name| !name.contains("://")));
        }
    }
}
