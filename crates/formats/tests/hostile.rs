//! What nobody writes: nesting without end, bytes without sense. Nothing may panic, overflow the stack, or take long
//! enough to be noticed (quadratic work on these inputs takes minutes).
#![allow(clippy::unwrap_used)]

use danlu_formats::html::{self, HtmlOptions, Markup, TableCells};
use danlu_formats::wikitext::{self, WikiOptions};
use danlu_formats::{encoding, feed, mail, markdown, posts, warc};
use proptest::prelude::*;

const MEGABYTE: usize = 1 << 20;

fn repeated(piece: &str) -> String {
    piece.repeat(MEGABYTE / piece.len())
}

#[test]
fn html_of_one_thing() {
    for piece in [
        "<div>",
        "</div>",
        "<p>",
        "<b>",
        "<a href=x>",
        "<li>",
        "<ul><li>",
        "<table>",
        "<table><tr><td>",
        "<tr>",
        "<svg>",
        "<pre>",
        "<title>",
        "<!--",
        "<blockquote>",
        "<h1>",
        "<div><p>",
        "<x-y>",
        "<b><p>",
        "</x>",
        "&",
        "&amp",
        "<a b=",
        "<a b='",
        "<",
        "<q>",
        "<math>",
        "<ol><li>x",
        "x ",
        "。",
        "<select><option>",
        "<form>",
        "<script>",
        "<body>",
        "<div class=\"",
        "<dl><dt><dd>",
    ] {
        let page = repeated(piece);
        html::extract(&page, &HtmlOptions::default());
        html::extract(&page, &HtmlOptions { markup: Markup::Markdown, main_only: false, ..HtmlOptions::default() });
    }
}

#[test]
fn html_nested_and_closed_again() {
    let halves =
        [("<div>", "</div>"), ("<ul><li>", "</li></ul>"), ("<table><tr><td>", "</td></tr></table>"), ("<b>", "</b>")];
    for (open, close) in halves {
        let n = MEGABYTE / (open.len() + close.len());
        let page = format!("{}<p>The text, in the middle.</p>{}", open.repeat(n), close.repeat(n));
        let text = html::extract(&page, &HtmlOptions::default()).text;
        assert!(text.contains("The text, in the middle."), "{open}");
    }
}

#[test]
fn wikitext_of_one_thing() {
    let options = WikiOptions { tables: Some(TableCells::Pipe), captions: true, ..WikiOptions::default() };
    for piece in [
        "{{",
        "{",
        "}}",
        "[[",
        "]]",
        "-{",
        "}-",
        "{|",
        "|}",
        "{|\n",
        "|}\n",
        "''",
        "'",
        "<",
        "<ref>",
        "<ref",
        "<nowiki>",
        "<!--",
        "[http://x ",
        "{{a|",
        "[[a|",
        "[[File:x|",
        "{{lang|en|",
        "{{nowrap|x",
        "-{zh:",
        "<div>",
        "<gallery>",
        "<poem>",
        "<math>",
        "==",
        "= \n",
        "*",
        "*\n",
        "#",
        ":",
        ";",
        "|",
        "||",
        "{{{",
        "}}}",
        "{{{{",
        "__",
        "__A",
        "&",
        "&amp",
        "<ref>{{",
        "{{[[",
        "[[{{",
        "{{-{",
        "[http://a [[",
        "</ref>",
        "</",
        "\u{FDD0}",
        "{{!}}",
        "{{}}",
        "[[]]",
        "-{}-",
        "{|\n|-\n| a\n",
    ] {
        wikitext::to_text(&repeated(piece), &options);
    }
}

#[test]
fn wikitext_nested_and_closed_again() {
    let options = WikiOptions { tables: Some(TableCells::Tab), captions: true, ..WikiOptions::default() };
    let halves = [
        ("{{a|", "}}"),
        ("{{nowrap|", "}}"),
        ("{{lang|en|", "}}"),
        ("[[a|", "]]"),
        ("[[File:a|", "]]"),
        ("-{zh-hans:", "}-"),
        ("{|\n|\n", "\n|}"),
        ("{{{", "}}}"),
        ("{{a|[[b|", "]]}}"),
        ("<poem>", "</poem>"),
    ];
    for (open, close) in halves {
        let n = MEGABYTE / 2 / (open.len() + close.len());
        let page = format!("Before. {}{}{} After.", open.repeat(n), "middle ".repeat(MEGABYTE / 14), close.repeat(n));
        let text = wikitext::to_text(&page, &options).text;
        assert!(text.starts_with("Before."), "{open}");
        if open.starts_with("{{a|") {
            assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["Before.", "After."], "{open}");
        }
    }
}

#[test]
fn other_formats_of_one_thing() {
    for piece in [
        "<item>",
        "<rss><channel>",
        "<a b='",
        "&",
        "<![CDATA[",
        "<!--",
        "<!DOCTYPE x [",
        "<entry><content type='xhtml'><div>",
    ] {
        let _ = feed::parse_feed(format!("<rss>{}", repeated(piece)).as_bytes(), None);
    }
    for piece in [
        "From a 1:1\n\n",
        "WARC/1.0\r\n\r\n",
        "WARC/1.0\r\nContent-Length: 0\r\nWARC-Type: response\r\n\r\n",
        "<page>",
        "<page>\n",
        "{",
        "\n",
    ] {
        read_all(repeated(piece).as_bytes());
    }
    for piece in ["*", "**a", "[", "[a](", "> ", "- ", "`", "~~~\n", "|-|\n", "<b>", "![", "_a", "1. ", "&#"] {
        markdown::to_text(&repeated(piece)[..MEGABYTE / 4]);
    }
    for piece in ["> ", "On x wrote:\n", "--", ">\n", "From "] {
        mail::strip_quoted(&repeated(piece));
    }
    let part = "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n";
    let _ =
        mail::parse_message(format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", repeated(part)).as_bytes());
}

/// Reads bytes with every reader of records, to the end.
fn read_all(bytes: &[u8]) -> usize {
    let max = MEGABYTE / 4;
    let mut records = warc::WarcReader::new(bytes, max).count();
    records += mail::MboxReader::new(bytes, max).count();
    records += wikitext::DumpReader::new(bytes, &[0], max).count();
    for format in [posts::PostFormat::Reddit, posts::PostFormat::HackerNews, posts::PostFormat::StackExchange] {
        records += posts::PostReader::new(bytes, format, max).count();
    }
    records
}

/// Pieces of all formats, so that random sequences of them go deep.
const PIECES: &[&str] = &[
    "<",
    ">",
    "/",
    "div",
    "<p>",
    "</p>",
    "<a href='x'>",
    "</a>",
    "<table>",
    "<tr>",
    "<td>",
    "<li>",
    "<ul>",
    "<pre>",
    "<!--",
    "-->",
    "&amp;",
    "<svg>",
    "<br>",
    "{{",
    "}}",
    "[[",
    "]]",
    "|",
    "{|",
    "|}",
    "|-",
    "-{",
    "}-",
    "zh-hans:",
    ";",
    "'''",
    "==",
    "\n",
    "\n\n",
    "*",
    "#",
    ":",
    "<ref>",
    "</ref>",
    "<nowiki>",
    "</nowiki>",
    "<math>",
    "</math>",
    "[http://x",
    "]",
    "File:",
    "Category:",
    "lang",
    "convert",
    "5",
    "WARC/1.0\r\n",
    "Content-Length: 3\r\n",
    "\r\n",
    "WARC-Type: response\r\n",
    "HTTP/1.1 200 OK\r\n",
    "From a 1:2\n",
    "Subject: x\n",
    "<page>",
    "</page>",
    "<title>",
    "</title>",
    "<text>",
    "</text>",
    "{\"id\":1,",
    "\"title\":\"x\"}",
    "<row Id=\"1\" ",
    "Text=\"a\" />",
    "文",
    "字。",
    "a",
    " ",
    "\u{FDD0}",
    "0",
    "\u{FDD1}",
    "<rss>",
    "<item>",
    "</item>",
    "<![CDATA[",
    "]]>",
    "<poem>",
    "</poem>",
    "<gallery>",
    "</gallery>",
    "__TOC__",
    "> ",
    "=",
];

fn pieces() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(PIECES), 0..60).prop_map(|pieces| pieces.concat())
}

fn try_all(bytes: &[u8]) {
    let text = encoding::decode(bytes, None).text;
    for markup in [Markup::Plain, Markup::Markdown] {
        let page = html::extract(&text, &HtmlOptions { markup, image_alts: true, ..HtmlOptions::default() });
        assert!(!page.text.ends_with(char::is_whitespace));
        let options = WikiOptions { markup, tables: Some(TableCells::Tab), captions: true, ..WikiOptions::default() };
        let article = wikitext::to_text(&text, &options);
        assert!(!article.text.contains(['\u{FDD0}', '\u{FDD1}', '\u{FDD2}']), "{:?}", article.text);
    }
    html::extract_bytes(bytes, Some("gbk"), &HtmlOptions::default());
    markdown::to_text(&text);
    mail::strip_quoted(&text);
    let _ = mail::parse_message(bytes);
    let _ = feed::parse_feed(bytes, None);
    read_all(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_parser_panics_on_pieces(text in pieces()) {
        try_all(text.as_bytes());
    }

    #[test]
    fn no_parser_panics_on_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        try_all(&bytes);
    }

    #[test]
    fn wikitext_without_markup_is_itself(words in proptest::collection::vec("[a-z]{1,8}|[一-龥]{1,5}", 1..20)) {
        let text = words.join(" ");
        prop_assert_eq!(wikitext::to_text(&text, &WikiOptions::default()).text, text);
    }

    #[test]
    fn html_keeps_every_word(words in proptest::collection::vec("[a-z]{1,8}|[一-龥]{1,5}", 1..20)) {
        let page = format!("<p>{}</p>", words.join("</p>\n<p>"));
        prop_assert_eq!(html::fragment(&page), words.join("\n\n"));
    }
}
