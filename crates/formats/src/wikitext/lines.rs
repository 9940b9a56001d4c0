//! The second half: lines with light markup become paragraphs, headings and lists.

use std::borrow::Cow;

use super::expand::{AS_IT_STANDS, Expanded, HARD_BREAK, STRIP_CLOSE, STRIP_OPEN, Stripped};
use super::{Article, WikiOptions};
use crate::entities;
use crate::html::{Markup, is_wide};

/// Marks of lists beyond these are passed over.
const MAX_LIST_DEPTH: usize = 8;

pub(super) fn assemble(expanded: Expanded, options: &WikiOptions) -> Article {
    let mut assembler = Assembler {
        stripped: &expanded.stripped,
        options,
        out: String::with_capacity(expanded.text.len()),
        last: Last::Nothing,
        headings: Vec::new(),
        counters: Vec::new(),
        skipping: None,
        sections_dropped: 0,
    };
    for line in expanded.text.split('\n') {
        assembler.line(line.trim_end());
    }
    Article {
        sections_dropped: assembler.sections_dropped,
        text: assembler.out,
        categories: expanded.categories,
        templates_dropped: expanded.templates_dropped,
        tables_dropped: expanded.tables_dropped,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Nothing,
    Blank,
    Text,
    Item,
    Heading,
    /// A line that is shown as it stands.
    AsItStands,
}

struct Assembler<'a> {
    stripped: &'a [Stripped],
    options: &'a WikiOptions,
    out: String,
    last: Last,
    /// Headings that nothing has followed yet: a section without text leaves none.
    headings: Vec<(usize, String)>,
    /// The marks of the present list item, and the number of its siblings so far at each depth.
    counters: Vec<(char, usize)>,
    /// The level of the section being dropped.
    skipping: Option<usize>,
    sections_dropped: u64,
}

impl Assembler<'_> {
    fn line(&mut self, line: &str) {
        if let Some((level, title)) = heading(line) {
            return self.heading(level, title);
        }
        if self.skipping.is_some() {
            return;
        }
        if let Some(line) = line.strip_prefix(AS_IT_STANDS) {
            return self.line_as_it_stands(line.strip_prefix(' ').unwrap_or(line));
        }
        let marks = line.bytes().take_while(|byte| matches!(byte, b'*' | b'#' | b':' | b';')).count();
        if marks > 0 {
            return self.item(&line[..marks], &line[marks..]);
        }
        // What is left of tables and templates that never closed.
        let is_debris = line.starts_with(['|', '!']) || line.starts_with("{|") || line.starts_with("----");
        let text = if is_debris { Cow::Borrowed("") } else { self.inline(line) };
        self.flowing(Last::Text, &text);
    }

    /// Its spaces stay, and so does its end.
    fn line_as_it_stands(&mut self, line: &str) {
        let text = self.plain(without_quotes(line));
        self.flowing(Last::AsItStands, text.trim_end());
    }

    /// Writes a line that is neither a heading nor an item.
    fn flowing(&mut self, kind: Last, text: &str) {
        self.counters.clear();
        if text.trim().is_empty() {
            self.last = if self.last == Last::Nothing { Last::Nothing } else { Last::Blank };
            return;
        }
        self.begin(kind, text);
        self.out.push_str(text);
    }

    fn heading(&mut self, level: usize, title: &str) {
        if self.skipping.is_some_and(|skipped| level > skipped) {
            return;
        }
        self.skipping = None;
        let title = self.inline(title).trim().replace('\n', " ");
        self.headings.retain(|(open, _)| *open < level);
        if self.options.skip_sections.iter().any(|name| name.eq_ignore_ascii_case(&title)) {
            self.skipping = Some(level);
            self.sections_dropped += 1;
        } else if !title.is_empty() {
            self.headings.push((level, title));
        }
        self.counters.clear();
    }

    fn item(&mut self, marks: &str, text: &str) {
        let marks: Vec<char> = marks.chars().take(MAX_LIST_DEPTH).collect();
        let text = self.inline(text);
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        let same = |a: char, b: char| a == b || (matches!(a, ':' | ';') && matches!(b, ':' | ';'));
        let common = self.counters.iter().zip(&marks).take_while(|((open, _), mark)| same(*open, **mark)).count();
        self.counters.truncate(common);
        self.counters.extend(marks[common..].iter().map(|&mark| (mark, 0)));
        let Some((_, count)) = self.counters.last_mut() else { return };
        *count += 1;
        let marker = match marks.last() {
            Some('#') => format!("{count}. "),
            Some('*') => "- ".into(),
            _ => String::new(),
        };
        let depth = marks.iter().filter(|mark| matches!(mark, '*' | '#')).count();
        let indent = if marker.is_empty() { 0 } else { 2 * depth.saturating_sub(1) };
        let text = if marks.last() == Some(&';') { text.replacen(" : ", ": ", 1) } else { text.to_owned() };
        self.begin(Last::Item, &text);
        self.out.push_str(&" ".repeat(indent));
        self.out.push_str(&marker);
        self.out.push_str(&text.replace('\n', &format!("\n{}", " ".repeat(indent + marker.len()))));
    }

    /// Writes what stands between the last line and the next, which is `kind` and begins as `text` does.
    fn begin(&mut self, kind: Last, text: &str) {
        for (level, title) in std::mem::take(&mut self.headings) {
            if !self.out.is_empty() {
                self.out.push_str("\n\n");
            }
            if self.options.markup == Markup::Markdown {
                self.out.push_str(&"#".repeat(level));
                self.out.push(' ');
            }
            self.out.push_str(&title);
            self.last = Last::Heading;
        }
        match (self.last, kind) {
            (Last::Nothing, _) => {}
            (Last::Item, Last::Item) | (Last::AsItStands, Last::AsItStands) => self.out.push('\n'),
            (Last::Text, Last::Text) => {
                // Lines of one paragraph: a line end is a space, but not between Chinese characters.
                let joined =
                    self.out.chars().next_back().is_some_and(is_wide) && text.chars().next().is_some_and(is_wide);
                if !joined && !self.out.ends_with(char::is_whitespace) {
                    self.out.push(' ');
                }
            }
            (Last::Text, Last::Item) => self.out.push('\n'),
            _ => self.out.push_str("\n\n"),
        }
        self.last = kind;
    }

    /// A line as it flows: `plain`, and of several spaces one stays.
    fn inline<'a>(&self, line: &'a str) -> Cow<'a, str> {
        self.plain(with_single_spaces(without_quotes(line.trim_start_matches(' '))))
    }

    /// A line without marks of bold and italic, magic words and character references, and with what was set aside.
    fn plain<'a>(&self, line: Cow<'a, str>) -> Cow<'a, str> {
        let line = if line.contains("__") { Cow::Owned(without_magic_words(&line)) } else { line };
        if !line.contains(['&', STRIP_OPEN, HARD_BREAK, '\u{A0}']) {
            return line;
        }
        let mut out = String::with_capacity(line.len());
        let mut rest: &str = &line;
        while let Some(at) = rest.find(STRIP_OPEN) {
            out.push_str(&entities::decode(&rest[..at]));
            rest = &rest[at + STRIP_OPEN.len_utf8()..];
            if let Some((number, after)) = rest.split_once(STRIP_CLOSE) {
                if let Some(piece) = number.parse::<usize>().ok().and_then(|number| self.stripped.get(number)) {
                    out.push_str(&if piece.has_entities {
                        entities::decode(&piece.text)
                    } else {
                        Cow::Borrowed(piece.text.as_str())
                    });
                }
                rest = after;
            }
        }
        out.push_str(&entities::decode(rest));
        let trimmed = out.replace('\u{A0}', " ");
        let lines: Vec<&str> = trimmed.split(HARD_BREAK).collect();
        if lines.len() == 1 {
            return Cow::Owned(trimmed);
        }
        Cow::Owned(lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join("\n").trim().to_owned())
    }
}

/// The level and the title of `== title ==`.
fn heading(line: &str) -> Option<(usize, &str)> {
    let opening = line.bytes().take_while(|&byte| byte == b'=').count();
    let closing = line.bytes().rev().take_while(|&byte| byte == b'=').count();
    let level = opening.min(closing).min(6);
    if level == 0 || line.len() <= opening.max(closing) {
        return None;
    }
    Some((level, line[level..line.len() - level].trim()))
}

/// Removes `''`, `'''` and `'''''`; other apostrophes stay.
fn without_quotes(line: &str) -> Cow<'_, str> {
    if !line.contains("''") {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("''") {
        out.push_str(&rest[..at]);
        let run = rest[at..].bytes().take_while(|&byte| byte == b'\'').count();
        let kept = match run {
            2 | 3 | 5 => 0,
            4 => 1,
            _ => run - 5,
        };
        out.push_str(&rest[at..at + kept]);
        rest = &rest[at + run..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// As a browser shows them. The spaces within tables and poems say something.
fn with_single_spaces(line: Cow<'_, str>) -> Cow<'_, str> {
    if !line.contains("  ") || line.contains([HARD_BREAK, '|']) {
        return line;
    }
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        if c != ' ' || !out.ends_with(' ') {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Removes `__TOC__`, `__NOEDITSECTION__`, `__无目录__`.
fn without_magic_words(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("__") {
        out.push_str(&rest[..at]);
        let after = &rest[at + 2..];
        let is_part = |c: &char| c.is_ascii_uppercase() || ('\u{4E00}'..='\u{9FFF}').contains(c);
        let len: usize = after.chars().take(32).take_while(is_part).map(char::len_utf8).sum();
        if len > 0 && after[len..].starts_with("__") {
            rest = &after[len + 2..];
        } else {
            out.push_str("__");
            rest = after;
        }
    }
    out.push_str(rest);
    out
}
