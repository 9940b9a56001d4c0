//! MediaWiki's XML dumps (`pages-articles.xml`), page by page.

use std::io::BufRead;

use crate::lines::Lines;
use crate::xml::{Piece, Xml};
use crate::{At, Fault, FormatError, dates};

/// A page of a wiki.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WikiPage {
    pub id: u64,
    pub title: String,
    pub namespace: i64,
    pub revision: u64,
    /// When the revision was made, ISO 8601.
    pub timestamp: Option<String>,
    /// As the dump names it: "wikitext", "css", "json", ...
    pub model: String,
    /// What [`super::to_text`] reads.
    pub wikitext: String,
    /// The line of the dump on which the page begins, from 1.
    pub line: u64,
}

/// Pages passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    pub redirects: u64,
    /// Of namespaces not asked for.
    pub other_namespaces: u64,
    /// Not wikitext: style sheets, data, Lua modules.
    pub other_models: u64,
}

/// Reads the pages of some namespaces (0 holds the articles) that are no redirects. Of several revisions the last counts.
///
/// A page is found by its tags `<page>` and `</page>`, which cannot occur within one, so that a damaged page does not
/// harm the next.
#[derive(Debug)]
pub struct DumpReader<R> {
    lines: Lines<R>,
    namespaces: Vec<i64>,
    max_bytes: usize,
    skipped: Skipped,
    /// What follows the last page on its line.
    rest: Vec<u8>,
    line: u64,
    ended: bool,
}

impl<R: BufRead> DumpReader<R> {
    /// All pages of `namespaces`; of every namespace if none is named.
    pub fn new(reader: R, namespaces: &[i64], max_bytes: usize) -> Self {
        Self {
            lines: Lines::new(reader, max_bytes),
            namespaces: namespaces.to_vec(),
            max_bytes,
            skipped: Skipped::default(),
            rest: Vec::new(),
            line: 0,
            ended: false,
        }
    }

    pub fn skipped(&self) -> Skipped {
        self.skipped
    }

    fn read(&mut self) -> Result<Option<WikiPage>, FormatError> {
        while let Some((line, xml)) = self.page_xml()? {
            let (page, redirect) = parse(&xml, line)?;
            if redirect {
                self.skipped.redirects += 1;
            } else if !self.namespaces.is_empty() && !self.namespaces.contains(&page.namespace) {
                self.skipped.other_namespaces += 1;
            } else if !matches!(page.model.as_str(), "" | "wikitext") {
                self.skipped.other_models += 1;
            } else {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    /// The next piece of the dump: a line, or what is left of one.
    fn piece(&mut self) -> Result<Option<Vec<u8>>, FormatError> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        let next = self.lines.next().map_err(|error| FormatError::io(At::Line(self.line + 1), error))?;
        Ok(next.map(|line| {
            self.line = line.number;
            line.bytes
        }))
    }

    /// The bytes from `<page>` to `</page>` and the line where they begin.
    fn page_xml(&mut self) -> Result<Option<(u64, Vec<u8>)>, FormatError> {
        let mut page = loop {
            let Some(piece) = self.piece()? else { return Ok(None) };
            if let Some(at) = memchr::memmem::find(&piece, b"<page>") {
                break piece[at..].to_vec();
            }
        };
        let line = self.line;
        let mut searched = 0;
        let mut too_large = false;
        loop {
            // A tag may lie across two pieces only if a line was cut, whose page is too large anyway.
            let end = memchr::memmem::find(&page[searched..], b"</page>").map(|at| searched + at + b"</page>".len());
            let from = searched.max(1).min(page.len());
            if let Some(at) = memchr::memmem::find(&page[from..end.unwrap_or(page.len()).max(from)], b"<page>") {
                self.rest = page.split_off(from + at);
                return Err(malformed(line, "the page has no end before the next begins"));
            }
            if let Some(end) = end {
                self.rest = page.split_off(end);
                return if too_large {
                    Err(FormatError::record(At::Line(line), Fault::TooLarge { limit: self.max_bytes }))
                } else {
                    Ok(Some((line, page)))
                };
            }
            searched = page.len();
            let Some(piece) = self.piece()? else {
                let fault = Fault::Truncated("its last page has no end".into());
                return Err(FormatError::last(At::Line(line), fault));
            };
            too_large |= page.len() + piece.len() > self.max_bytes;
            if too_large {
                page.clear();
                searched = 0;
            }
            page.extend_from_slice(&piece);
        }
    }
}

impl<R: BufRead> Iterator for DumpReader<R> {
    type Item = Result<WikiPage, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let page = self.read().transpose();
        self.ended = match &page {
            None => true,
            Some(page) => page.as_ref().is_err_and(|error| error.ends_reading),
        };
        page
    }
}

fn malformed(line: u64, message: impl Into<String>) -> FormatError {
    FormatError::malformed(At::Line(line), "MediaWiki dump", message)
}

/// A page, and whether it is a redirect.
fn parse(xml: &[u8], line: u64) -> Result<(WikiPage, bool), FormatError> {
    let text = String::from_utf8_lossy(xml);
    let mut page = WikiPage { line, ..WikiPage::default() };
    let mut redirect = false;
    let mut path: Vec<String> = Vec::new();
    let mut value = String::new();
    let mut xml = Xml::new(&text);
    loop {
        match xml.next().map_err(|message| malformed(line, message))? {
            Piece::Open(element) => {
                let name = element.local_name().into_inner();
                redirect |= name == "redirect";
                if name == "revision" {
                    page.wikitext.clear();
                }
                path.push(name.to_owned());
                value.clear();
            }
            Piece::Text(text) => value.push_str(&text),
            Piece::Close => {
                let name = path.pop().unwrap_or_default();
                set(&mut page, path.last().map_or("", String::as_str), &name, std::mem::take(&mut value));
            }
            Piece::End => break,
        }
    }
    if page.title.is_empty() {
        return Err(malformed(line, "the page has no title"));
    }
    let redirect = redirect || is_redirect(&page.wikitext);
    Ok((page, redirect))
}

fn set(page: &mut WikiPage, parent: &str, name: &str, value: String) {
    match (parent, name) {
        ("page", "title") => page.title = value,
        ("page", "ns") => page.namespace = value.trim().parse().unwrap_or(0),
        ("page", "id") => page.id = value.trim().parse().unwrap_or(0),
        ("revision", "id") => page.revision = value.trim().parse().unwrap_or(0),
        ("revision", "timestamp") => page.timestamp = dates::iso(&value),
        ("revision", "model") => page.model = value.trim().to_owned(),
        ("revision", "text") => page.wikitext = value,
        _ => {}
    }
}

fn is_redirect(wikitext: &str) -> bool {
    let start: String = wikitext.trim_start().chars().take(12).collect::<String>().to_lowercase();
    start.starts_with("#redirect") || start.starts_with("#重定向") || start.starts_with("#重新導向")
}
