//! What of a page is no text of its own: by the element, by its role, by the words in its class.

use super::HtmlOptions;
use super::tags::{Attribute, Tag};
use super::tree::Tree;
use super::weigh::Weight;

/// Words of a class or an id that name boilerplate.
const WORDS: &[&str] = &[
    "ad",
    "ads",
    "advert",
    "advertisement",
    "advertising",
    "ambox",
    "banner",
    "breadcrumb",
    "breadcrumbs",
    "catlinks",
    "consent",
    "contentinfo",
    "cookie",
    "cookies",
    "copyright",
    "crumb",
    "crumbs",
    "editsection",
    "foot",
    "footer",
    "gdpr",
    "headerlink",
    "jump",
    "localtoc",
    "globaltoc",
    "login",
    "masthead",
    "mbox",
    "menu",
    "modal",
    "nav",
    "navbar",
    "navbox",
    "navigation",
    "newsletter",
    "noprint",
    "pager",
    "pagination",
    "paginator",
    "popup",
    "printfooter",
    "promo",
    "promotion",
    "recommend",
    "recommendation",
    "recommendations",
    "recommended",
    "related",
    "searchbox",
    "share",
    "sharing",
    "sidebar",
    "sidenav",
    "signin",
    "signup",
    "sistersitebox",
    "skip",
    "skiplink",
    "social",
    "sortkey",
    "sponsor",
    "sponsored",
    "submenu",
    "subscribe",
    "tablist",
    "toc",
    "toctree",
    "toolbar",
    "topbar",
    "tracking",
    "widget",
];
/// The same, within longer words ("sphinxsidebar", "sitefooter").
const PARTS: &[&str] =
    &["advert", "breadcrumb", "cookie", "footer", "navbar", "newsletter", "pagination", "sharebar", "sidebar"];
/// Pairs of words that say "not to be seen".
const UNSEEN: &[(&str, &str)] = &[
    ("sr", "only"),
    ("visually", "hidden"),
    ("visuallyhidden", ""),
    ("screen", "reader"),
    ("print", "only"),
    // The "^ a b c" before a note of MediaWiki.
    ("cite", "backlink"),
];
const COMMENTS: &[&str] = &["comment", "comments", "commentlist", "disqus", "respond", "replies"];
/// Beside these words, the others describe a layout: "with-sidebar", "no-footer".
const LAYOUT: &[&str] = &["has", "layout", "no", "with", "without"];
/// Asides that belong to the text.
const NOTES: &[&str] = &[
    "admonition",
    "callout",
    "caution",
    "danger",
    "doc",
    "endnote",
    "epigraph",
    "example",
    "footnote",
    "hint",
    "important",
    "info",
    "note",
    "notes",
    "pullquote",
    "rearnote",
    "tip",
    "warning",
];

/// What can be told of an element without knowing the rest of the page.
pub(super) fn never_text(tree: &Tree, id: u32, tag: Tag) -> bool {
    use Tag::*;
    let is_formula = || tree.attribute(id, Attribute::Class).is_some_and(|class| class.contains("mwe-math"));
    match tag {
        Head | Script | Style | Noscript | Template | Iframe | Object | Embed | Applet | Audio | Video | Canvas
        | Svg | Map | Input | Button | Select | Textarea | Datalist | Option | Optgroup | Progress | Meter | Output
        | Dialog | Rt | Rp | Frameset | Noframes | Marquee => true,
        _ => is_hidden(tree, id) && !is_formula(),
    }
}

fn is_hidden(tree: &Tree, id: u32) -> bool {
    let styled = |style: &str| {
        let style: String = style.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_lowercase()).collect();
        style.contains("display:none") || style.contains("visibility:hidden")
    };
    tree.attribute(id, Attribute::Hidden).is_some_and(|value| !value.eq_ignore_ascii_case("until-found"))
        || tree.attribute(id, Attribute::AriaHidden).is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || tree.attribute(id, Attribute::Style).is_some_and(styled)
}

/// What frames the text of a page: navigation, footers, sidebars, banners. Half of the page's text or more is never that,
/// whatever it is called.
pub(super) fn is_frame(tree: &Tree, id: u32, tag: Tag, weight: &Weight, page: &Weight, options: &HtmlOptions) -> bool {
    if matches!(tag, Tag::Html | Tag::Body | Tag::Main) || weight.text * 2 > page.text {
        return false;
    }
    match tag {
        Tag::Nav | Tag::Footer | Tag::Search | Tag::Menu => return true,
        Tag::Aside => return !words(tree, id).any(|word| NOTES.contains(&word.as_str())),
        Tag::Header => {
            let titled = tree.children(id).any(|child| tree.tag(child).is_some_and(Tag::is_heading));
            return !titled && (weight.is_links() || weight.stops == 0);
        }
        Tag::Form => return weight.stops == 0,
        _ => {}
    }
    let role = tree.attribute(id, Attribute::Role).unwrap_or("");
    if matches!(
        role,
        "navigation"
            | "banner"
            | "contentinfo"
            | "search"
            | "complementary"
            | "dialog"
            | "alertdialog"
            | "alert"
            | "menu"
            | "menubar"
            | "toolbar"
            | "tablist"
    ) {
        return true;
    }
    if role == "button" && is_control(tree, id, tag, weight) {
        return true;
    }
    tag != Tag::Article && named_as_frame(tree, id, tag, weight.good * 4 > page.good, options)
}

/// A link that only does something, such as "Next"; within a heading it unfolds what the heading says.
fn is_control(tree: &Tree, id: u32, tag: Tag, weight: &Weight) -> bool {
    let in_heading = tree.parent(id).and_then(|parent| tree.tag(parent)).is_some_and(Tag::is_heading);
    tag == Tag::A && weight.text <= 12 && weight.stops == 0 && !in_heading
}

/// Whether an element is named as readers' comments.
pub(super) fn are_comments(tree: &Tree, id: u32) -> bool {
    words(tree, id).any(|word| matches!(word.as_str(), "comment" | "comments" | "commentlist" | "replies"))
}

/// Whether class or id say so. A good part of the page's readable text (`is_prose`) is only believed to be comments.
fn named_as_frame(tree: &Tree, id: u32, tag: Tag, is_prose: bool, options: &HtmlOptions) -> bool {
    let words: Vec<String> = words(tree, id).take(64).collect();
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    if UNSEEN.iter().any(|(first, second)| {
        words.windows(2).any(|pair| pair[0] == *first && pair[1] == *second)
            || (second.is_empty() && words.iter().any(|word| word == first))
    }) {
        return true;
    }
    if tag == Tag::Sup && has(&["reference"]) {
        return true;
    }
    if !options.comments && has(COMMENTS) {
        return true;
    }
    let named = || has(WORDS) || words.iter().any(|word| PARTS.iter().any(|part| word.contains(part)));
    !is_prose && !has(LAYOUT) && named()
}

/// The words of an element's class, id and EPUB type: "mainNav-left" has main, nav, left.
fn words(tree: &Tree, id: u32) -> impl Iterator<Item = String> {
    let values = [Attribute::Class, Attribute::Id, Attribute::EpubType, Attribute::Role];
    let mut words = Vec::new();
    for value in values.iter().filter_map(|&name| tree.attribute(id, name)) {
        let mut word = String::new();
        let mut before_lower = false;
        for c in value.chars() {
            let starts = c.is_ascii_uppercase() && before_lower;
            if (!c.is_alphanumeric() || starts) && !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            if c.is_alphanumeric() {
                word.push(c.to_ascii_lowercase());
            }
            before_lower = c.is_ascii_lowercase();
        }
        if !word.is_empty() {
            words.push(word);
        }
    }
    words.into_iter()
}
