//! EPUB 2 and 3: the chapters of a book, in the order of its spine.
//!
//! ```text
//! META-INF/container.xml -> package (.opf): metadata, manifest (id -> file), spine (ids) -> XHTML -> text
//! ```

use std::collections::HashMap;
use std::io::Cursor;

use zip::ZipArchive;

use crate::html::{self, HtmlOptions};
use crate::limits::{Limits, read_limited};
use crate::xml::{Piece, Xml, attribute};
use crate::{At, Fault, FormatError, encoding};

/// A book, with the texts of its chapters.
#[derive(Debug, Default)]
pub struct Book {
    pub title: Option<String>,
    pub author: Option<String>,
    /// A BCP 47 tag.
    pub language: Option<String>,
    pub date: Option<String>,
    pub identifier: Option<String>,
    /// Those with text, in reading order.
    pub chapters: Vec<Chapter>,
    /// Chapters that could not be read.
    pub errors: Vec<FormatError>,
}

/// A file of the spine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chapter {
    /// Its name in the archive.
    pub name: String,
    pub title: Option<String>,
    pub text: String,
}

/// The files of a spine that are read.
const MAX_CHAPTERS: usize = 10_000;

/// Reads a book. `limits` hold for each file, their `max_total` for all of them together.
///
/// # Errors
/// An archive that cannot be read, or that has no package; a single chapter's error is in [`Book::errors`].
pub fn read_epub(bytes: &[u8], limits: Limits) -> Result<Book, FormatError> {
    let archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| whole(format!("no ZIP archive: {error}")))?;
    let mut archive = Archive { archive, limits, left: limits.max_total };
    let container = archive.text("META-INF/container.xml")?;
    let path = package_path(&container).ok_or_else(|| whole("META-INF/container.xml names no package"))?;
    let package = Package::parse(&archive.text(&path)?).map_err(|message| malformed(&path, message))?;
    let base = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut book = package.book;
    for id in package.spine.iter().take(MAX_CHAPTERS) {
        let Some(href) = package.manifest.get(id) else {
            book.errors.push(malformed(&path, format!("the spine's {id:?} is not in the manifest")));
            continue;
        };
        let name = resolve(base, href);
        match archive.text(&name) {
            Ok(xhtml) => book.chapters.extend(chapter(name, &xhtml)),
            Err(error) => book.errors.push(error),
        }
    }
    Ok(book)
}

fn whole(message: impl Into<String>) -> FormatError {
    FormatError::last(At::Whole, Fault::Malformed { format: "EPUB", message: message.into() })
}

fn malformed(name: &str, message: impl Into<String>) -> FormatError {
    FormatError::malformed(At::Entry(name.to_owned()), "EPUB", message)
}

struct Archive<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    limits: Limits,
    /// Bytes that may still be decompressed.
    left: u64,
}

impl Archive<'_> {
    fn text(&mut self, name: &str) -> Result<String, FormatError> {
        let at = || At::Entry(name.to_owned());
        let limits = Limits { max_total: self.left, ..self.limits };
        let file = self.archive.by_name(name).map_err(|error| malformed(name, error.to_string()))?;
        let consumed = file.compressed_size();
        let bytes = read_limited(file, consumed, limits);
        let bytes = bytes.map_err(|error| FormatError::record(at(), Fault::from(error)))?;
        self.left -= bytes.len() as u64;
        let declared = html::meta_charset(&bytes);
        Ok(encoding::decode(&bytes, declared.as_deref()).text)
    }
}

fn package_path(container: &str) -> Option<String> {
    let mut xml = Xml::new(container);
    loop {
        match xml.next().ok()? {
            Piece::Open(element) if element.local_name().into_inner() == "rootfile" => {
                return attribute(&element, "full-path");
            }
            Piece::End => return None,
            _ => {}
        }
    }
}

#[derive(Default)]
struct Package {
    book: Book,
    /// Files that may be chapters, by id.
    manifest: HashMap<String, String>,
    spine: Vec<String>,
}

impl Package {
    fn parse(opf: &str) -> Result<Self, String> {
        let mut package = Self::default();
        let mut xml = Xml::new(opf);
        let mut path: Vec<String> = Vec::new();
        let mut value = String::new();
        loop {
            match xml.next()? {
                Piece::Open(element) => {
                    let name = element.local_name().into_inner();
                    match name {
                        "item" => package.item(&element),
                        "itemref" => package.spine.extend(attribute(&element, "idref")),
                        _ => {}
                    }
                    path.push(name.to_owned());
                    value.clear();
                }
                Piece::Text(text) => value.push_str(&text),
                Piece::Close => {
                    let name = path.pop().unwrap_or_default();
                    package.metadata(&name, value.trim());
                    value.clear();
                }
                Piece::End => return Ok(package),
            }
        }
    }

    fn item(&mut self, element: &quick_xml::events::BytesStart<'_>) {
        let kind = attribute(element, "media-type").unwrap_or_default();
        let is_text = kind.is_empty() || kind.contains("html") || kind.contains("xml");
        if let (true, Some(id), Some(href)) = (is_text, attribute(element, "id"), attribute(element, "href")) {
            self.manifest.insert(id, href);
        }
    }

    fn metadata(&mut self, name: &str, value: &str) {
        let slot = match name {
            "title" => &mut self.book.title,
            "creator" => &mut self.book.author,
            "language" => &mut self.book.language,
            "date" => &mut self.book.date,
            "identifier" => &mut self.book.identifier,
            _ => return,
        };
        if slot.is_none() && !value.is_empty() {
            *slot = Some(value.to_owned());
        }
    }
}

/// The name of a file in the archive, from a reference relative to the package.
fn resolve(base: &str, href: &str) -> String {
    let href = percent_decoded(href.split('#').next().unwrap_or(""));
    let mut parts: Vec<&str> = if href.starts_with('/') { Vec::new() } else { base.split('/').collect() };
    for part in href.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join("/")
}

fn percent_decoded(href: &str) -> String {
    let mut out = Vec::with_capacity(href.len());
    let mut bytes = href.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digits = (ahead.next(), ahead.next());
        let value = match digits {
            (Some(high), Some(low)) if byte == b'%' => char::from(high)
                .to_digit(16)
                .zip(char::from(low).to_digit(16))
                .map(|(high, low)| (high * 16 + low) as u8),
            _ => None,
        };
        if value.is_some() {
            bytes = ahead;
        }
        out.push(value.unwrap_or(byte));
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A chapter's text; `None` for a cover or another page without any.
fn chapter(name: String, xhtml: &str) -> Option<Chapter> {
    let options = HtmlOptions { main_only: false, ..HtmlOptions::default() };
    let page = html::extract(&closed(xhtml), &options);
    (!page.text.is_empty()).then_some(Chapter { name, title: page.title, text: page.text })
}

/// XHTML closes elements in themselves that HTML does not, and after `<title/>` or `<script/>` HTML would take the rest of
/// the file for their content.
fn closed(xhtml: &str) -> String {
    let mut out = String::with_capacity(xhtml.len());
    let mut rest = xhtml;
    while let Some(end) = rest.find("/>") {
        let (before, after) = (&rest[..end], &rest[end + 2..]);
        let tag = before.rfind('<').map_or("", |start| &before[start + 1..]);
        let name = tag.split_whitespace().next().unwrap_or("").to_ascii_lowercase();
        out.push_str(before);
        match name.as_str() {
            "title" | "script" | "style" | "textarea" | "iframe" | "noscript" | "xmp" | "a" | "p" | "div" | "span"
            | "td" | "th" | "li" | "i" | "b" | "em" | "strong" | "pre" | "svg" => {
                out.push_str("></");
                out.push_str(&name);
                out.push('>');
            }
            _ => out.push_str("/>"),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::{closed, resolve};

    #[test]
    fn names_are_resolved() {
        assert_eq!(resolve("OEBPS", "text/ch%201.xhtml#x"), "OEBPS/text/ch 1.xhtml");
        assert_eq!(resolve("OEBPS/a", "../b.xhtml"), "OEBPS/b.xhtml");
        assert_eq!(resolve("", "%E7%AB%A0.xhtml"), "章.xhtml");
        assert_eq!(resolve("a", "../../../b"), "b");
        assert_eq!(resolve("a", "/b"), "b");
    }

    #[test]
    fn empty_elements_are_closed() {
        assert_eq!(closed("<title/><p>a<br/>b</p><a id=\"x\"/>c"), "<title></title><p>a<br/>b</p><a id=\"x\"></a>c");
    }
}
