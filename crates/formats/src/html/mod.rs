//! HTML: the main text of a page, and what the page says about itself.
//!
//! ```text
//! bytes -> encoding -> tokens (html5gum) -> tree -> weigh -> main text, less boilerplate -> lines
//! ```
//!
//! The main text is the smallest element that holds nearly all *readable* text: blocks with sentences (their marks
//! counted in Chinese and English), long blocks and code, with few links. What frames it is dropped by element, role and the words of
//! its class; never when it holds half of the page's text. The idea is that of Readability and boilerpipe (Kohlschütter
//! et al. 2010); the rules are our own.

mod boilerplate;
mod main_text;
mod meta;
mod render;
mod tags;
mod tree;
mod weigh;
mod writer;

use serde::{Deserialize, Serialize};

use crate::encoding;
use main_text::{choose, whole};
use tree::Tree;
pub(crate) use weigh::is_wide;

/// How a page becomes text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HtmlOptions {
    /// Only the main text; otherwise everything that is text (fragments, feeds, chapters).
    pub main_only: bool,
    pub markup: Markup,
    /// What stands between the cells of a table.
    pub table_cells: TableCells,
    /// Write the alternative texts of images.
    pub image_alts: bool,
    /// Keep readers' comments.
    pub comments: bool,
}

impl Default for HtmlOptions {
    fn default() -> Self {
        Self {
            main_only: true,
            markup: Markup::Plain,
            table_cells: TableCells::Tab,
            image_alts: false,
            comments: false,
        }
    }
}

/// What remains of headings, quotes and code beyond their text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Markup {
    #[default]
    Plain,
    /// `#` before headings, `>` before quotes, fences around code.
    Markdown,
}

/// What stands between the cells of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableCells {
    #[default]
    Tab,
    /// ` | `
    Pipe,
}

/// A page's text and what it says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Paragraphs are apart by a blank line; lines within lists and tables are not.
    pub text: String,
    pub title: Option<String>,
    /// As declared: a BCP 47 tag such as "en" or "zh-CN".
    pub language: Option<String>,
    /// ISO 8601, as far as it was told: `2024-05-06` or `2024-05-06T07:08:09Z`.
    pub date: Option<String>,
    pub author: Option<String>,
    /// The address that the page says is its own; may be relative.
    pub canonical: Option<String>,
    /// The addresses of its feeds; may be relative.
    pub feeds: Vec<String>,
}

/// The text of a page.
pub fn extract(html: &str, options: &HtmlOptions) -> Page {
    let tree = Tree::parse(html);
    let main = if options.main_only { choose(&tree, options) } else { whole(&tree) };
    let mut page = Page { text: render::render(&tree, &main, options), ..Page::default() };
    meta::describe(&tree, &main, &mut page);
    page
}

/// The text of a page in an encoding that is declared by whoever sent it (`charset` of HTTP), by the page itself, or not
/// at all.
pub fn extract_bytes(bytes: &[u8], declared: Option<&str>, options: &HtmlOptions) -> Page {
    let own = meta_charset(bytes);
    extract(&encoding::decode(bytes, declared.or(own.as_deref())).text, options)
}

/// All text of a fragment: a post, a feed's entry, a message.
pub fn fragment(html: &str) -> String {
    let options = HtmlOptions { main_only: false, ..HtmlOptions::default() };
    let tree = Tree::parse(html);
    render::render(&tree, &whole(&tree), &options)
}

/// The encoding that a page declares in its first 4096 bytes: `<meta charset>`, `<meta http-equiv>` or `<?xml encoding>`.
pub fn meta_charset(bytes: &[u8]) -> Option<String> {
    let head = bytes[..bytes.len().min(4096)].to_ascii_lowercase();
    let head = String::from_utf8_lossy(&head);
    let xml = head.trim_start().strip_prefix("<?xml").and_then(|rest| rest.split_once("?>"));
    if let Some(label) = xml.and_then(|(declaration, _)| value_after(declaration, "encoding")) {
        return Some(label);
    }
    let tags = head.match_indices("<meta").map(|(at, _)| &head[at..]);
    tags.filter_map(|tag| tag.split_once('>')).find_map(|(tag, _)| value_after(tag, "charset"))
}

/// The value in `name = "value"`, with or without quotes.
fn value_after(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(name)?;
    let rest = rest.trim_start().strip_prefix('=')?.trim_start().trim_start_matches(['"', '\'']);
    let end = rest.find(|c: char| c.is_whitespace() || "\"';/>?".contains(c)).unwrap_or(rest.len());
    (end > 0).then(|| rest[..end].to_owned())
}
