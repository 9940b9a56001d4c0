//! Changes of a text that a recipe asks for by name, one after another. Each is a pure function of the text.

mod boilerplate;
mod chinese;
mod lines;
mod markup;
mod mask;
mod mojibake;
mod pattern;
mod signs;
mod urls;
mod width;
mod words;

pub use boilerplate::{BOILERPLATE, BoilerplatePattern};
pub use chinese::TraditionalRegion;
pub use mask::PiiReplacement;
pub use pattern::Pattern;
pub use width::PunctuationWidth;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use unicode_normalization::{UnicodeNormalization, is_nfc, is_nfkc};

use crate::{PiiKind, c4_clean};

/// One change of a text that a recipe asks for: `[[clean.transforms]] kind = "..."`. Pure, and idempotent where its
/// doc says so. All but `markup` with `markdown` work in time linear in the text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Transform {
    /// Repairs text that was decoded with the wrong table: UTF-8 read as Windows-1252 or Latin-1 (`â€™`, `ä¸­æ–‡`), UTF-8
    /// read as GBK (`涓枃`), GBK read as Latin-1 (`ÖÐ¹ú`), also several times over. Leaves what is not clearly better after
    /// repair. GBK read as UTF-8 has lost its bytes (U+FFFD) and cannot be repaired. Idempotent.
    Mojibake {},
    /// Unicode normal form C: one spelling for each character, nothing lost. Idempotent.
    Nfc {},
    /// Unicode normal form KC: also ligatures, superscripts, full-width and circled forms become plain (`①` → `1`,
    /// `，` → `,`), which loses distinctions. Idempotent.
    Nfkc {},
    /// Full-width letters and digits become ASCII, and punctuation as the key says. Idempotent.
    Width {
        #[serde(default)]
        punctuation: PunctuationWidth,
    },
    /// Traditional to Simplified Chinese by the phrases and characters of OpenCC.
    Simplify {},
    /// Simplified to Traditional Chinese by the phrases and characters of OpenCC.
    Traditional {
        #[serde(default)]
        region: TraditionalRegion,
    },
    /// Runs of spaces become one, lines lose them at both ends, and no more than one blank line stays in a row: indentation
    /// goes, so it is not for code, tables or verse. Idempotent.
    Whitespace {
        /// Also remove spaces between two Chinese characters or their punctuation, as PDF extraction leaves them.
        #[serde(default)]
        between_han: bool,
    },
    /// Removes whole lines that are not part of a text: cookie banners, sharing, 责任编辑, 版权所有, page numbers. What is
    /// removed is listed in [`BOILERPLATE`]. Idempotent.
    BoilerplateLines {
        /// Also remove lines that match one of these regular expressions.
        #[serde(default)]
        patterns: Vec<Pattern>,
        /// Whether the built-in list is used.
        #[serde(default = "yes")]
        builtin: bool,
        /// Longer lines (in characters) are prose and stay.
        #[serde(default = "boilerplate::longest_line")]
        max_chars: usize,
    },
    /// Removes URLs (http, https, ftp, www.), or puts `replacement` in their place, such as `<URL>`. Idempotent, unless
    /// the replacement is a URL.
    Urls {
        #[serde(default)]
        replacement: String,
    },
    /// Strips what is left of markup in plain text: tags of HTML by name (`a < b` and `Vec<T>` stay), comments, scripts,
    /// character references, BBCode, and Markdown if asked. For whole HTML documents use a source of that format.
    Markup {
        #[serde(default = "yes")]
        html: bool,
        #[serde(default = "yes")]
        bbcode: bool,
        #[serde(default)]
        markdown: bool,
    },
    /// Puts labels or invented values in the place of personal data; see [`find_pii`](crate::find_pii) for what is found.
    /// Idempotent with labels.
    MaskPii {
        #[serde(default = "mask::all_kinds")]
        kinds: Vec<PiiKind>,
        #[serde(default)]
        replacement: PiiReplacement,
    },
    /// Removes function words (the, of, 的, 了): the lists that `stopword_ratio` counts, of words as jieba and the English
    /// tokenizer cut them.
    RemoveStopwords {},
    /// Puts a space in the place of punctuation, except within words and numbers (don't, 3.14). Idempotent.
    RemovePunctuation {
        /// Signs that stay.
        #[serde(default)]
        keep: String,
    },
    /// Keeps the lines that C4 keeps: those that end as sentences do, have three words or more and speak neither of JavaScript
    /// nor of cookies; \[1\] and \[edit\] go (Raffel et al. 2020, 2.2). With the preset `c4` this is the whole of its cleaning.
    C4Lines {},
    /// Of adjacent equal lines one stays; blank lines do not count. Idempotent.
    DedupLines {},
    /// Unicode lower case. Idempotent.
    Lowercase {},
    /// Cuts runs of one character (哈哈哈哈哈哈, !!!!!!) to `max`; digits and white space stay. Idempotent.
    LimitRepeats {
        #[serde(default = "signs::most_repeats")]
        max: usize,
    },
}

fn yes() -> bool {
    true
}

fn c4_lines(text: &str) -> Cow<'_, str> {
    let kept = c4_clean(text);
    if kept == text { Cow::Borrowed(text) } else { Cow::Owned(kept) }
}

impl Transform {
    /// Its name in a recipe.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mojibake {} => "mojibake",
            Self::Nfc {} => "nfc",
            Self::Nfkc {} => "nfkc",
            Self::Width { .. } => "width",
            Self::Simplify {} => "simplify",
            Self::Traditional { .. } => "traditional",
            Self::Whitespace { .. } => "whitespace",
            Self::BoilerplateLines { .. } => "boilerplate_lines",
            Self::Urls { .. } => "urls",
            Self::Markup { .. } => "markup",
            Self::MaskPii { .. } => "mask_pii",
            Self::RemoveStopwords {} => "remove_stopwords",
            Self::RemovePunctuation { .. } => "remove_punctuation",
            Self::C4Lines {} => "c4_lines",
            Self::DedupLines {} => "dedup_lines",
            Self::Lowercase {} => "lowercase",
            Self::LimitRepeats { .. } => "limit_repeats",
        }
    }

    /// The changed text; borrowed where nothing changed.
    pub fn apply<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self {
            Self::Mojibake {} => mojibake::repair(text),
            Self::Nfc {} if is_nfc(text) => Cow::Borrowed(text),
            Self::Nfc {} => Cow::Owned(text.nfc().collect()),
            Self::Nfkc {} if is_nfkc(text) => Cow::Borrowed(text),
            Self::Nfkc {} => Cow::Owned(text.nfkc().collect()),
            Self::Width { punctuation } => width::convert(text, *punctuation),
            Self::Simplify {} => chinese::simplify(text),
            Self::Traditional { region } => chinese::traditional(text, *region),
            Self::Whitespace { between_han } => lines::whitespace(text, *between_han),
            Self::BoilerplateLines { patterns, builtin, max_chars } => {
                boilerplate::remove(text, patterns, *builtin, *max_chars)
            }
            Self::Urls { replacement } => urls::replace(text, replacement),
            Self::Markup { html, bbcode, markdown } => markup::strip(text, *html, *bbcode, *markdown),
            Self::MaskPii { kinds, replacement } => mask::mask(text, kinds, *replacement),
            Self::RemoveStopwords {} => words::remove_stopwords(text),
            Self::RemovePunctuation { keep } => signs::remove_punctuation(text, keep),
            Self::C4Lines {} => c4_lines(text),
            Self::DedupLines {} => lines::dedup(text),
            Self::Lowercase {} => signs::lowercase(text),
            Self::LimitRepeats { max } => signs::limit_repeats(text, *max),
        }
    }

    /// Why this is seldom wanted for training a language model, where that is so.
    pub fn warning(&self) -> Option<&'static str> {
        match self {
            Self::RemoveStopwords {} => Some(
                "remove_stopwords is for classical pipelines (bag of words, topic models): function words carry the grammar, \
                 and a language model trained without them writes none",
            ),
            Self::RemovePunctuation { .. } => Some(
                "remove_punctuation is for classical pipelines (bag of words, topic models): a language model trained on \
                 such text never learns where sentences end, and writes none",
            ),
            Self::Lowercase {} => Some(
                "lowercase is for classical pipelines: a language model trained on such text writes no capitals, and \
                 loses the names and sentence beginnings that they mark",
            ),
            Self::Nfkc {} => Some(
                "nfkc also changes Chinese punctuation to ASCII and drops distinctions such as superscripts (x² becomes \
                 x2); for training a language model nfc is usually meant",
            ),
            _ => None,
        }
    }

    /// Whether it must see the text as it was read, before [`normalize`](crate::normalize) takes away control characters,
    /// soft hyphens and no-break spaces: in wrongly decoded text they are bytes of its characters.
    pub fn before_repair(&self) -> bool {
        matches!(self, Self::Mojibake {})
    }
}

#[cfg(test)]
mod tests;
