//! Wikitext: MediaWiki's XML dumps, page by page, and their markup as text.
//!
//! ```text
//! dump -> pages (bounded) -> wikitext -> expand: templates, links, tables, tags, variants -> lines: headings, lists -> text
//! ```
//!
//! Nothing is expanded as MediaWiki would: templates are dropped but for a small table of those that stand for text
//! (`templates.rs`), since their sources are other pages. The scanner writes into one buffer and keeps a stack of what is
//! open: what never closes simply stays as it was written, at no cost.

mod dump;
mod expand;
mod gaps;
mod lines;
mod links;
mod tables;
mod tags;
mod templates;
mod variants;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::html::{Markup, TableCells};

pub use dump::{DumpReader, Skipped, WikiPage};
pub use variants::Variant;

/// How wikitext becomes text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WikiOptions {
    /// Which form is taken where Chinese text gives several: `-{zh-hans:..;zh-hant:..}-`.
    pub variant: Variant,
    pub markup: Markup,
    /// Render tables, with this between their cells; otherwise they are dropped. (Infoboxes are templates and always are.)
    pub tables: Option<TableCells>,
    /// Keep the captions of pictures, as paragraphs of their own.
    pub captions: bool,
    /// Keep formulas as `$TeX$`.
    pub math: bool,
    /// Sections that are dropped, by the words of their heading.
    pub skip_sections: Vec<String>,
}

impl Default for WikiOptions {
    /// Simplified Chinese, no tables, no captions, formulas, and none of the sections that only list references and links.
    fn default() -> Self {
        Self {
            variant: Variant::ZhHans,
            markup: Markup::Plain,
            tables: None,
            captions: false,
            math: true,
            skip_sections: REFERENCE_SECTIONS.iter().map(|&name| name.to_owned()).collect(),
        }
    }
}

/// Sections that list references and links.
pub const REFERENCE_SECTIONS: &[&str] = &[
    "References",
    "Notes",
    "Citations",
    "Footnotes",
    "Notes and references",
    "Bibliography",
    "Further reading",
    "External links",
    "See also",
    "Sources",
    "参考文献",
    "參考文獻",
    "参考资料",
    "參考資料",
    "注释",
    "註釋",
    "注解",
    "註解",
    "注释与参考文献",
    "脚注",
    "腳註",
    "外部链接",
    "外部連結",
    "外部鏈接",
    "参见",
    "參見",
    "参看",
    "參看",
    "另见",
    "另見",
    "相关条目",
    "相關條目",
    "延伸阅读",
    "延伸閱讀",
    "扩展阅读",
    "資料來源",
    "资料来源",
    "備註",
    "备注",
    "图集",
    "圖集",
    "Gallery",
];

/// A page's text, and what of it was not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Article {
    pub text: String,
    /// The names of its categories, without their namespace.
    pub categories: Vec<String>,
    /// Templates, infoboxes among them, that stand for nothing here.
    pub templates_dropped: u64,
    pub tables_dropped: u64,
    /// Sections dropped by `skip_sections`.
    pub sections_dropped: u64,
}

/// The text of a page. Linear in its length, whatever it holds.
pub fn to_text(wikitext: &str, options: &WikiOptions) -> Article {
    let mut expanded = expand::expand(wikitext, options);
    if let Cow::Owned(text) = gaps::close(&expanded.text) {
        expanded.text = text;
    }
    lines::assemble(expanded, options)
}
