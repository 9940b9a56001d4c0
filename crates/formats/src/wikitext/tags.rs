//! HTML-like tags in wikitext, and what some of them hide from the rest of the markup.

use std::collections::HashSet;

/// What stands at a `<`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No tag: the character itself.
    Text,
    /// Nothing that shows.
    Nothing,
    Comment,
    Put(&'static str),
    /// Content that nothing looks into.
    Raw {
        text: String,
        has_entities: bool,
        block: bool,
    },
    /// TeX.
    Formula(String),
    OpenGallery,
    CloseGallery,
    OpenPoem,
    ClosePoem,
}

/// The names whose end tag does not occur again: looking for it once more would make hostile input quadratic.
#[derive(Debug, Default)]
pub(super) struct Memory {
    missing: HashSet<String>,
}

/// A tag's attributes are no longer than this.
const MAX_TAG: usize = 4096;

/// Content of these never is text.
const HIDDEN: &[&str] = &[
    "ref",
    "references",
    "timeline",
    "hiero",
    "score",
    "graph",
    "chart",
    "mapframe",
    "maplink",
    "templatedata",
    "templatestyles",
    "imagemap",
    "inputbox",
    "categorytree",
    "indicator",
    "dynamicpagelist",
    "includeonly",
    "languages",
    "rss",
    "quiz",
    "phonos",
    "listen",
];
/// Tags whose content is text like the rest.
const TRANSPARENT: &[&str] = &[
    "b",
    "i",
    "u",
    "s",
    "em",
    "strong",
    "small",
    "big",
    "sub",
    "sup",
    "span",
    "font",
    "code",
    "tt",
    "kbd",
    "samp",
    "var",
    "abbr",
    "cite",
    "dfn",
    "del",
    "ins",
    "q",
    "mark",
    "bdi",
    "bdo",
    "ruby",
    "rb",
    "rp",
    "rtc",
    "strike",
    "wbr",
    "noinclude",
    "onlyinclude",
    "section",
    "nowiki",
    "translate",
    "tvar",
    "data",
    "time",
    "a",
    "ce",
    "langconvert",
    "link",
    "meta",
    "center",
];

/// Reads the tag or comment at `at`, which is a `<`, and how many bytes it has with all that it hides.
pub(super) fn find(text: &str, at: usize, memory: &mut Memory) -> (Found, usize) {
    let rest = &text[at..];
    if let Some(comment) = rest.strip_prefix("<!--") {
        let end = memchr::memmem::find(comment.as_bytes(), b"-->");
        return (Found::Comment, end.map_or(rest.len(), |end| end + 7));
    }
    let Some(tag) = Tag::read(rest) else { return (Found::Text, 0) };
    let found = match (tag.name.as_str(), tag.closes) {
        ("gallery", false) if !tag.is_empty => Found::OpenGallery,
        ("gallery", true) => Found::CloseGallery,
        ("poem", false) if !tag.is_empty => Found::OpenPoem,
        ("poem", true) => Found::ClosePoem,
        ("br", _) => Found::Put("\u{FDD2}"),
        ("p" | "hr" | "blockquote" | "table" | "ul" | "ol" | "dl", _) => Found::Put("\n\n"),
        ("div" | "tr" | "dt" | "dd" | "caption" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6", _) => Found::Put("\n"),
        ("li", false) => Found::Put("\n* "),
        ("td" | "th", false) => Found::Put(" "),
        ("li" | "td" | "th" | "tbody" | "thead" | "tfoot", _) => Found::Nothing,
        ("rt", false) if !tag.is_empty => return tag.hide(rest, memory, |_| Found::Nothing),
        (name, false) if !tag.is_empty && HIDDEN.contains(&name) => return tag.hide(rest, memory, |_| Found::Nothing),
        ("nowiki", false) if !tag.is_empty => return tag.hide(rest, memory, |text| raw(text, true, false)),
        ("pre", false) if !tag.is_empty => return tag.hide(rest, memory, |text| raw(text, true, true)),
        ("syntaxhighlight" | "source", false) if !tag.is_empty => {
            let block = !tag.attributes.contains("inline");
            return tag.hide(rest, memory, |text| raw(text, false, block));
        }
        ("math" | "chem", false) if !tag.is_empty => {
            return tag.hide(rest, memory, |text| Found::Formula(text.to_owned()));
        }
        (name, _) if TRANSPARENT.contains(&name) || HIDDEN.contains(&name) => Found::Nothing,
        ("gallery" | "poem" | "pre" | "syntaxhighlight" | "source" | "math" | "chem" | "rt", _) => Found::Nothing,
        _ => return (Found::Text, 0),
    };
    (found, tag.width)
}

fn raw(text: &str, has_entities: bool, block: bool) -> Found {
    let text = if block { text.trim_matches('\n').trim_end() } else { text };
    Found::Raw { text: text.to_owned(), has_entities, block }
}

struct Tag {
    /// In lower case.
    name: String,
    attributes: String,
    closes: bool,
    /// `<name />`
    is_empty: bool,
    width: usize,
}

impl Tag {
    fn read(rest: &str) -> Option<Self> {
        let bytes = &rest.as_bytes()[..rest.len().min(MAX_TAG)];
        let closes = bytes.get(1) == Some(&b'/');
        let from = if closes { 2 } else { 1 };
        let name_len =
            bytes[from.min(bytes.len())..].iter().take(24).take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let to = from + name_len;
        if name_len == 0 || !matches!(bytes.get(to), Some(b' ' | b'\t' | b'\n' | b'/' | b'>')) {
            return None;
        }
        // A tag does not reach into the next one.
        let end = to + bytes[to..].iter().position(|byte| matches!(byte, b'>' | b'<'))?;
        if bytes[end] != b'>' {
            return None;
        }
        let attributes = rest[to..end].to_owned();
        let is_empty = attributes.trim_end().ends_with('/');
        Some(Self { name: rest[from..to].to_ascii_lowercase(), attributes, closes, is_empty, width: end + 1 })
    }

    /// Makes something of the content up to the end tag. Without one, the tag alone is passed over.
    fn hide(self, rest: &str, memory: &mut Memory, make: impl FnOnce(&str) -> Found) -> (Found, usize) {
        if memory.missing.contains(&self.name) {
            return (Found::Nothing, self.width);
        }
        let content = &rest[self.width..];
        match find_end(content, &self.name) {
            Some((from, to)) => (make(&content[..from]), self.width + to),
            None => {
                memory.missing.insert(self.name);
                (Found::Nothing, self.width)
            }
        }
    }
}

/// Where `</name>` begins and ends.
fn find_end(content: &str, name: &str) -> Option<(usize, usize)> {
    let bytes = content.as_bytes();
    for at in memchr::memmem::find_iter(bytes, b"</") {
        let after = at + 2 + name.len();
        let matches = bytes.get(at + 2..after).is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()));
        if matches {
            let spaces = bytes[after..].iter().take(64).take_while(|byte| byte.is_ascii_whitespace()).count();
            if bytes.get(after + spaces) == Some(&b'>') {
                return Some((at, after + spaces + 1));
            }
        }
    }
    None
}
