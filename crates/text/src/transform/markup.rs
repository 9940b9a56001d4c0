//! Left-over markup in plain text. Whole documents of HTML or Markdown are read by sources of those formats.

use std::borrow::Cow;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Elements of HTML. Only what bears one of these names is a tag: `Vec<T>`, `a <b and c> d` and `<EMAIL>` are text.
const ELEMENTS: &[&str] = &[
    "a",
    "abbr",
    "address",
    "article",
    "aside",
    "audio",
    "b",
    "big",
    "blockquote",
    "body",
    "br",
    "button",
    "canvas",
    "caption",
    "center",
    "cite",
    "code",
    "col",
    "colgroup",
    "dd",
    "del",
    "details",
    "div",
    "dl",
    "dt",
    "em",
    "embed",
    "fieldset",
    "figcaption",
    "figure",
    "font",
    "footer",
    "form",
    "frame",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "header",
    "hr",
    "html",
    "i",
    "iframe",
    "img",
    "input",
    "ins",
    "kbd",
    "label",
    "li",
    "link",
    "main",
    "mark",
    "meta",
    "nav",
    "nobr",
    "noscript",
    "object",
    "ol",
    "option",
    "p",
    "param",
    "picture",
    "pre",
    "q",
    "rp",
    "rt",
    "ruby",
    "s",
    "samp",
    "script",
    "section",
    "select",
    "small",
    "source",
    "span",
    "strike",
    "strong",
    "style",
    "sub",
    "summary",
    "sup",
    "svg",
    "table",
    "tbody",
    "td",
    "textarea",
    "tfoot",
    "th",
    "thead",
    "time",
    "title",
    "tr",
    "tt",
    "u",
    "ul",
    "var",
    "video",
    "wbr",
];

/// After these a new line begins.
const BLOCKS: &[&str] = &[
    "address",
    "article",
    "aside",
    "blockquote",
    "br",
    "caption",
    "center",
    "dd",
    "div",
    "dl",
    "dt",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "li",
    "main",
    "nav",
    "ol",
    "p",
    "pre",
    "section",
    "table",
    "td",
    "th",
    "title",
    "tr",
    "ul",
];

/// Tags of bulletin boards.
const BBCODE: &[&str] = &[
    "align",
    "attach",
    "b",
    "backcolor",
    "center",
    "code",
    "color",
    "email",
    "flash",
    "float",
    "font",
    "free",
    "hide",
    "hr",
    "i",
    "img",
    "indent",
    "left",
    "list",
    "media",
    "p",
    "quote",
    "right",
    "s",
    "size",
    "spoiler",
    "sub",
    "sup",
    "table",
    "td",
    "tr",
    "u",
    "url",
    "video",
    "youtube",
];

/// A tag longer than this is taken for text, which bounds the work.
const LONGEST_TAG: usize = 2000;

pub(super) fn strip(text: &str, html: bool, bbcode: bool, markdown: bool) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    if markdown {
        text = owned_if_changed(text, strip_markdown);
    }
    if bbcode && text.contains('[') {
        text = owned_if_changed(text, strip_bbcode);
    }
    if html && text.contains('<') {
        text = owned_if_changed(text, strip_html);
    }
    if html && text.contains('&') {
        text = owned_if_changed(text, |text| html_escape::decode_html_entities(text).into_owned());
    }
    text
}

fn owned_if_changed<'a>(text: Cow<'a, str>, change: impl Fn(&str) -> String) -> Cow<'a, str> {
    let out = change(&text);
    if out == *text { text } else { Cow::Owned(out) }
}

fn strip_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut position = 0;
    let mut skippable = true; // until a comment or script without an end was looked for in vain
    while let Some(found) = text[position..].find('<') {
        let start = position + found;
        out.push_str(&text[position..start]);
        let rest = &text[start..];
        if let (true, Some(opening)) = (skippable, rest.starts_with("<!--").then_some("-->")) {
            match rest.find(opening) {
                Some(end) => {
                    position = start + end + opening.len();
                    continue;
                }
                None => skippable = false,
            }
        }
        match tag(rest, '<', '>', ELEMENTS) {
            Some(tag) => {
                position = start + tag.length;
                let content = ["script", "style"].contains(&tag.name.as_str()) && !tag.closing;
                if content && skippable {
                    match end_of_element(&text[position..], &tag.name) {
                        Some(end) => position += end,
                        None => skippable = false,
                    }
                }
                if BLOCKS.contains(&tag.name.as_str()) {
                    break_line(&mut out);
                }
            }
            None if rest.get(..9).is_some_and(|head| head.eq_ignore_ascii_case("<!doctype")) => {
                position = start + rest.find('>').map_or(1, |end| end + 1);
            }
            None => {
                out.push('<');
                position = start + 1;
            }
        }
    }
    out.push_str(&text[position..]);
    if !text.ends_with('\n') && out.ends_with('\n') {
        out.truncate(out.trim_end_matches('\n').len());
    }
    out
}

/// A block's border: what stood before it keeps its line.
fn break_line(out: &mut String) {
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
}

fn end_of_element(text: &str, name: &str) -> Option<usize> {
    let mut position = 0;
    while let Some(found) = text[position..].find("</") {
        let start = position + found;
        if let Some(tag) = tag(&text[start..], '<', '>', ELEMENTS).filter(|tag| tag.name == name) {
            return Some(start + tag.length);
        }
        position = start + 2;
    }
    None
}

struct TagText {
    name: String,
    closing: bool,
    length: usize,
}

/// The tag at the beginning of a text: `<name ...>` or `</name>`, or the same in square brackets.
fn tag(text: &str, open: char, close: char, names: &[&str]) -> Option<TagText> {
    let inner = text.strip_prefix(open)?;
    let closing = inner.starts_with('/');
    let inner = inner.strip_prefix('/').unwrap_or(inner);
    let name = &inner[..inner.bytes().take(12).take_while(u8::is_ascii_alphanumeric).count()];
    let after = inner[name.len()..].chars().next()?;
    let bounded = after == close || after == '=' || (after == '/' && !closing) || after.is_ascii_whitespace();
    let name = name.to_ascii_lowercase();
    if !bounded || !names.contains(&name.as_str()) {
        return None;
    }
    let within = text.get(..text.floor_char_boundary(LONGEST_TAG))?;
    let end = within.find(close)?;
    // `<b and c>` is a comparison: attributes have values.
    let attributes = within[..end].trim_end_matches('/').len() > 1 + usize::from(closing) + name.len();
    let compared = name.len() == 1 && attributes && !within[..end].contains('=');
    (!compared && !within[1..end].contains(open)).then_some(TagText { name, closing, length: end + close.len_utf8() })
}

fn strip_bbcode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut position = 0;
    while let Some(found) = text[position..].find('[') {
        let start = position + found;
        out.push_str(&text[position..start]);
        let rest = &text[start..];
        position = match tag(rest, '[', ']', BBCODE).filter(|tag| is_bbcode(rest, tag)) {
            Some(tag) => start + tag.length + addressed(&rest[tag.length..], &tag),
            None if rest.starts_with("[*]") => start + 3,
            None => {
                out.push('[');
                start + 1
            }
        };
    }
    out.push_str(&text[position..]);
    out
}

/// `[b]`, `[/b]`, `[url=...]`; not `[p 12]` or `[I say]`: with a space it is a reader's note.
fn is_bbcode(text: &str, tag: &TagText) -> bool {
    let after = text.as_bytes().get(1 + usize::from(tag.closing) + tag.name.len());
    let sized = tag.name == "img" || tag.name == "quote";
    // One letter alone may be a note, a list's item or an index; it is a tag if it is closed somewhere near.
    let alone = tag.name.len() == 1 && !tag.closing;
    let near = &text[..text.floor_char_boundary(LONGEST_TAG)];
    let closed = !alone
        || near.contains(&format!("[/{}]", tag.name))
        || near.contains(&format!("[/{}]", tag.name.to_uppercase()));
    closed && (sized || !after.is_some_and(u8::is_ascii_whitespace))
}

/// The address between `[img]` and `[/img]` is no text.
fn addressed(text: &str, tag: &TagText) -> usize {
    let holds_address = ["img", "flash", "media", "video", "youtube", "attach"].contains(&tag.name.as_str());
    if tag.closing || !holds_address {
        return 0;
    }
    let near = &text[..text.floor_char_boundary(LONGEST_TAG)];
    near.find("[/").filter(|&end| !near[..end].contains(char::is_whitespace)).unwrap_or(0)
}

/// The text of a Markdown document: headings and paragraphs with a blank line between them, items of lists with their
/// marks, code as it is; images go, of links their text stays.
fn strip_markdown(text: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_FOOTNOTES;
    let mut out = String::with_capacity(text.len());
    let mut lists: Vec<Option<u64>> = Vec::new();
    let mut images = 0usize;
    for event in Parser::new_ext(text, options) {
        match event {
            Event::Start(Tag::Image { .. }) => images += 1,
            Event::End(TagEnd::Image) => images -= 1,
            _ if images > 0 => {}
            Event::Text(text) | Event::Code(text) | Event::InlineHtml(text) | Event::Html(text) => out.push_str(&text),
            Event::SoftBreak | Event::HardBreak => out.push('\n'),
            Event::Start(Tag::List(first)) => {
                break_line(&mut out);
                lists.push(first);
            }
            Event::Start(Tag::Item) => item(&mut out, &mut lists),
            Event::End(TagEnd::List(_)) => {
                lists.pop();
                end_block(&mut out, lists.is_empty());
            }
            Event::End(TagEnd::TableCell) => out.push('\t'),
            Event::End(TagEnd::TableRow | TagEnd::TableHead) => {
                out.truncate(out.trim_end_matches('\t').len());
                break_line(&mut out);
            }
            Event::End(TagEnd::Item) => break_line(&mut out),
            Event::End(TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::CodeBlock | TagEnd::Table) => {
                end_block(&mut out, lists.is_empty());
            }
            _ => {}
        }
    }
    out.truncate(out.trim_end().len());
    if text.ends_with('\n') && !out.is_empty() {
        out.push('\n');
    }
    out
}

fn item(out: &mut String, lists: &mut [Option<u64>]) {
    break_line(out);
    out.push_str(&"  ".repeat(lists.len().saturating_sub(1).min(8)));
    match lists.last_mut() {
        Some(Some(number)) => {
            out.push_str(&format!("{number}. "));
            *number += 1;
        }
        _ => out.push_str("- "),
    }
}

fn end_block(out: &mut String, blank: bool) {
    break_line(out);
    if blank && !out.is_empty() && !out.ends_with("\n\n") {
        out.push('\n');
    }
}
