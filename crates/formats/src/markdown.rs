//! Markdown as plain text. Most corpora keep Markdown as it is; this is for those that do not.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::html;

/// The text of a Markdown document (CommonMark with tables, footnotes and strikethrough): no marks of emphasis, links or
/// headings; items keep their marks, code stays as it is, cells are apart by tabs.
pub fn to_text(markdown: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH;
    let mut page = String::with_capacity(markdown.len() + markdown.len() / 4);
    let body = without_front_matter(markdown);
    for event in Parser::new_ext(body, options) {
        write(&mut page, event);
    }
    html::fragment(&page)
}

/// A document may begin with YAML between two lines `---`, which describes it.
fn without_front_matter(markdown: &str) -> &str {
    let Some(rest) = markdown.strip_prefix("---\n").or(markdown.strip_prefix("---\r\n")) else { return markdown };
    let mut at = markdown.len() - rest.len();
    for line in rest.split_inclusive('\n') {
        at += line.len();
        if matches!(line.trim_end(), "---" | "...") {
            return &markdown[at..];
        }
    }
    markdown
}

/// Writes an event as HTML that says no more than the text needs, so that one renderer serves both formats.
fn write(out: &mut String, event: Event<'_>) {
    match event {
        Event::Start(tag) => out.push_str(&opening(&tag)),
        Event::End(tag) => out.push_str(closing(tag)),
        Event::Text(text) | Event::Code(text) => escape(out, &text),
        Event::Html(html) | Event::InlineHtml(html) => out.push_str(&html),
        Event::SoftBreak => out.push('\n'),
        Event::HardBreak => out.push_str("<br>"),
        Event::Rule => out.push_str("<hr>"),
        Event::InlineMath(tex) | Event::DisplayMath(tex) => escape(out, &format!("${tex}$")),
        Event::FootnoteReference(_) | Event::TaskListMarker(_) => {}
    }
}

fn opening(tag: &Tag<'_>) -> String {
    match tag {
        Tag::Paragraph | Tag::FootnoteDefinition(_) => "<p>".into(),
        Tag::Heading { .. } => "<h2>".into(),
        Tag::BlockQuote(_) => "<blockquote>".into(),
        Tag::CodeBlock(_) => "<pre>".into(),
        Tag::List(Some(start)) => format!("<ol start=\"{start}\">"),
        Tag::List(None) => "<ul>".into(),
        Tag::Item => "<li>".into(),
        Tag::Table(_) => "<table>".into(),
        Tag::TableHead | Tag::TableRow => "<tr>".into(),
        Tag::TableCell => "<td>".into(),
        _ => String::new(),
    }
}

fn closing(tag: TagEnd) -> &'static str {
    match tag {
        TagEnd::Paragraph | TagEnd::FootnoteDefinition => "</p>",
        TagEnd::Heading(_) => "</h2>",
        TagEnd::BlockQuote(_) => "</blockquote>",
        TagEnd::CodeBlock => "</pre>",
        TagEnd::List(true) => "</ol>",
        TagEnd::List(false) => "</ul>",
        TagEnd::Item => "</li>",
        TagEnd::Table => "</table>",
        TagEnd::TableHead | TagEnd::TableRow => "</tr>",
        TagEnd::TableCell => "</td>",
        _ => "",
    }
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::to_text;

    fn check(markdown: &str, expect: &str) {
        assert_eq!(to_text(markdown), expect, "{markdown:?}");
    }

    #[test]
    fn marks_vanish_and_text_stays() {
        check("# Title\n\nSome *emphasis*, a [link](http://x) and `code`.", "Title\n\nSome emphasis, a link and code.");
        check("标题\n====\n\n第一段，\n接着写。", "标题\n\n第一段，接着写。");
        check("- one\n- two\n  1. a\n  2. b", "- one\n- two\n  1. a\n  2. b");
        check("```rust\nlet x = 1 < 2;\n\n  y\n```", "let x = 1 < 2;\n\n  y");
        check("| 名 | n |\n|---|---|\n| 甲 | 1 |", "名\tn\n甲\t1");
        check("---\ntitle: x\n---\nBody &amp; <b>soul</b>.", "Body & soul.");
        check("> quoted\n\nafter", "quoted\n\nafter");
        check("", "");
    }
}
