//! The scanner: from wikitext with everything nested to lines of text with light markup.

use std::borrow::Cow;

use super::WikiOptions;
use super::gaps::GAP;
use super::links;
use super::tables;
use super::tags::{self, Found};
use super::templates;
use super::variants;

/// Around the number of a piece that nothing may look into (`<nowiki>`, code, formulas); U+FDD0 to U+FDEF are
/// noncharacters, for use within programs.
pub(super) const STRIP_OPEN: char = '\u{FDD0}';
pub(super) const STRIP_CLOSE: char = '\u{FDD1}';
/// A line end that stays one, unlike those within a paragraph.
pub(super) const HARD_BREAK: char = '\u{FDD2}';
/// Before a line that begins with a space, and so is shown as it stands.
pub(super) const AS_IT_STANDS: char = '\u{FDD3}';

/// What is open beyond this is dropped when it closes, rather than copied once for every level.
const MAX_KEPT_DEPTH: usize = 40;
/// Links and variants within each other; deeper ones are text.
const MAX_NESTED: usize = 20;
/// How far below the innermost an open construct may lie to be closed over those that never were.
const LOOK_BACK: usize = 12;

/// The scanner's result.
#[derive(Debug, Default)]
pub(super) struct Expanded {
    pub(super) text: String,
    /// What the markers in `text` stand for.
    pub(super) stripped: Vec<Stripped>,
    pub(super) categories: Vec<String>,
    pub(super) templates_dropped: u64,
    pub(super) tables_dropped: u64,
}

/// A piece that nothing looks into.
#[derive(Debug)]
pub(super) struct Stripped {
    pub(super) text: String,
    /// Whether character references in it stand for characters.
    pub(super) has_entities: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// So many `{` whose `}` have not come.
    Braces(usize),
    Link,
    External,
    Variant,
    Table,
    Gallery,
    Poem,
}

/// Something that is open.
#[derive(Debug)]
struct Frame {
    kind: Kind,
    /// Where in the output its opening stands, and where its content begins.
    start: usize,
    body: usize,
    /// Where the content has `|`.
    bars: Vec<usize>,
}

pub(super) fn expand(wikitext: &str, options: &WikiOptions) -> Expanded {
    let is_own = |c: char| matches!(c, STRIP_OPEN..=GAP);
    let text =
        if wikitext.contains(is_own) { Cow::Owned(wikitext.replace(is_own, "")) } else { Cow::Borrowed(wikitext) };
    let mut scanner = Scanner {
        text: &text,
        at: 0,
        line_start: true,
        frames: Vec::new(),
        tag_memory: tags::Memory::default(),
        options,
        out: Expanded { text: String::with_capacity(text.len()), ..Expanded::default() },
    };
    scanner.run();
    scanner.out
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Only white space and marks of lists stand before this place on its line.
    line_start: bool,
    frames: Vec<Frame>,
    tag_memory: tags::Memory,
    options: &'a WikiOptions,
    out: Expanded,
}

/// A bracket that opens no link to a file or a category.
fn opens_as_text(content: &str) -> bool {
    content.starts_with('[') && !(content.starts_with("[[") && content.contains(':'))
}

fn is_special(byte: u8) -> bool {
    matches!(byte, b'<' | b'{' | b'}' | b'[' | b']' | b'|' | b'-' | b'\n')
}

impl Scanner<'_> {
    fn run(&mut self) {
        let bytes = self.text.as_bytes();
        self.begin_line();
        while self.at < bytes.len() {
            let plain = bytes[self.at..].iter().position(|&byte| is_special(byte)).unwrap_or(bytes.len() - self.at);
            if plain > 0 {
                let run = &self.text[self.at..self.at + plain];
                self.line_start &= run.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b':' | b'*' | b'#'));
                self.out.text.push_str(run);
                self.at += plain;
                continue;
            }
            self.special(bytes[self.at]);
        }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Copies `count` bytes as they are.
    fn literal(&mut self, count: usize) {
        let end = (self.at + count).min(self.text.len());
        self.out.text.push_str(&self.text[self.at..end]);
        self.at = end;
        self.line_start = false;
    }

    fn special(&mut self, byte: u8) {
        match byte {
            b'\n' => {
                self.close_lines();
                self.literal(1);
                self.line_start = true;
                self.begin_line();
            }
            b'<' => self.tag(),
            b'{' if self.line_start && self.rest().starts_with("{|") && !self.rest().starts_with("{|}") => {
                self.open(Kind::Table, 2);
            }
            b'{' if self.rest().starts_with("{{") => {
                let count = self.rest().bytes().take_while(|&byte| byte == b'{').count();
                self.open(Kind::Braces(count), count);
            }
            b'}' => self.close_brace(),
            b'[' if self.rest().starts_with("[[") && self.count(Kind::Link) < MAX_NESTED => self.open(Kind::Link, 2),
            b'[' if links::is_external(&self.rest()[1..]) && self.top() != Some(Kind::External) => {
                self.open(Kind::External, 1);
            }
            b']' => self.close_bracket(),
            b'|' => self.bar(),
            b'-' if self.opens_variant() => self.open(Kind::Variant, 2),
            _ => self.literal(1),
        }
    }

    fn opens_variant(&self) -> bool {
        let rest = self.rest();
        rest.starts_with("-{") && !rest.starts_with("-{{") && self.count(Kind::Variant) < MAX_NESTED
    }

    fn top(&self) -> Option<Kind> {
        self.frames.last().map(|frame| frame.kind)
    }

    /// How many of a kind are open among the innermost.
    fn count(&self, kind: Kind) -> usize {
        self.frames.iter().rev().take(4 * MAX_NESTED).filter(|frame| frame.kind == kind).count()
    }

    fn open(&mut self, kind: Kind, width: usize) {
        let start = self.out.text.len();
        self.literal(width);
        self.frames.push(Frame { kind, start, body: start + width, bars: Vec::new() });
    }

    /// The nearest open frame that `wanted` accepts, not looking beyond one that `wall` does.
    fn find(&self, wanted: impl Fn(Kind) -> bool, wall: impl Fn(Kind) -> bool) -> Option<usize> {
        let near = self.frames.iter().enumerate().rev().take(LOOK_BACK);
        let mut near = near.take_while(|(_, frame)| wanted(frame.kind) || !wall(frame.kind));
        near.find(|(_, frame)| wanted(frame.kind)).map(|(index, _)| index)
    }

    /// Closes the frame at `index` and those within it: their text is replaced by `text`.
    fn replace(&mut self, index: usize, from: usize, text: &str) {
        self.frames.truncate(index);
        self.out.text.truncate(from);
        self.out.text.push_str(text);
    }

    fn bar(&mut self) {
        let closes_table = self.line_start && self.rest().starts_with("|}") && !self.in_braces();
        if closes_table
            && let Some(index) = self.find(|kind| kind == Kind::Table, |kind| matches!(kind, Kind::Braces(_)))
        {
            self.at += 2;
            self.line_start = false;
            return self.close_table(index);
        }
        let at = self.out.text.len();
        if let Some(frame) = self.frames.last_mut() {
            frame.bars.push(at);
        }
        self.literal(1);
    }

    /// Whether `|}` here is the last bar of a template: `{{a\n|b=c\n|}}`.
    fn in_braces(&self) -> bool {
        matches!(self.top(), Some(Kind::Braces(_)))
    }

    fn close_table(&mut self, index: usize) {
        let frame = &self.frames[index];
        let (start, body) = (frame.start, frame.body);
        let depth = self.frames[..index].iter().rev().take(LOOK_BACK).filter(|frame| frame.kind == Kind::Table).count();
        let text = match self.options.tables {
            Some(cells) if depth < 3 => tables::render(&self.out.text[body..], cells),
            _ => {
                self.out.tables_dropped += 1;
                String::new()
            }
        };
        self.replace(index, start, &text);
    }

    fn close_brace(&mut self) {
        // No more than three close anything at once; counting them all each time would be quadratic.
        let run = self.rest().bytes().take(3).take_while(|&byte| byte == b'}').count();
        let is_end = self.rest().starts_with("}-") && (run == 1 || self.top() == Some(Kind::Variant));
        let wall = |kind| matches!(kind, Kind::Braces(_) | Kind::Table);
        if is_end && let Some(index) = self.find(|kind| kind == Kind::Variant, wall) {
            self.at += 2;
            self.line_start = false;
            let frame = &self.frames[index];
            let text = variants::choose(&self.out.text[frame.body..], self.options.variant);
            return self.replace(index, frame.start, &text);
        }
        let braces = (run >= 2).then(|| self.find(|kind| matches!(kind, Kind::Braces(_)), |_| false)).flatten();
        match braces {
            Some(index) => self.close_braces(index, run),
            None => self.literal(1),
        }
    }

    /// Closes two or three of the braces of the frame at `index`, as many as are there on both sides.
    fn close_braces(&mut self, index: usize, run: usize) {
        let frame = &self.frames[index];
        let Kind::Braces(open) = frame.kind else { return self.literal(1) };
        let width = open.min(run).min(3);
        let from = frame.body - width;
        let text = if width == 3 { Some(String::new()) } else { self.template(index) };
        self.out.templates_dropped += u64::from(text.is_none());
        let start = frame.start;
        self.at += width;
        self.line_start = false;
        self.replace(index, from, text.as_deref().unwrap_or_default());
        if text.is_none() && start == from && self.frames.is_empty() {
            self.out.text.push(GAP);
        }
        if open - width >= 2 {
            let kind = Kind::Braces(open - width);
            self.frames.push(Frame { kind, start, body: from, bars: Vec::new() });
        }
    }

    /// What a template stands for; `None` if it is dropped.
    fn template(&self, index: usize) -> Option<String> {
        if index > MAX_KEPT_DEPTH {
            return None;
        }
        let frame = &self.frames[index];
        let first = frame.bars.first().copied().unwrap_or(self.out.text.len());
        let name = &self.out.text[frame.body..first];
        let mut ends = frame.bars.iter().skip(1).copied().chain([self.out.text.len()]);
        let parts = frame.bars.iter().filter_map(|&bar| self.out.text.get(bar + 1..ends.next()?));
        templates::render(name, parts)
    }

    fn close_bracket(&mut self) {
        if self.top() == Some(Kind::External) {
            self.at += 1;
            return self.close_external();
        }
        let wall = |kind| matches!(kind, Kind::Braces(_) | Kind::Table | Kind::Gallery);
        let double = self.rest().starts_with("]]");
        match double.then(|| self.find(|kind| kind == Kind::Link, wall)).flatten() {
            Some(index) => {
                self.at += 2;
                self.close_link(index);
            }
            None => self.literal(1),
        }
    }

    fn close_external(&mut self) {
        let index = self.frames.len() - 1;
        let frame = &self.frames[index];
        let label = links::external_label(&self.out.text[frame.body..]).to_owned();
        self.replace(index, frame.start, &label);
    }

    fn close_link(&mut self, index: usize) {
        let frame = &self.frames[index];
        let (start, body) = (frame.start, frame.body);
        let bars: Vec<usize> = frame.bars.iter().map(|bar| bar - body).collect();
        let link = links::link(&self.out.text[body..], &bars, self.options.captions);
        self.out.categories.extend(link.category);
        self.replace(index, start, &link.text);
    }

    /// Marks a line that begins with a space, unless it lies in a table, a template or the like, or begins with one.
    fn begin_line(&mut self) {
        let line = self.rest().split('\n').next().unwrap_or("");
        let content = line.trim_start();
        let is_text = !content.is_empty() && !content.starts_with(['<', '{', '}', '|', '!', '[']);
        if line.starts_with(' ') && (is_text || opens_as_text(content)) && self.frames.is_empty() {
            self.out.text.push(AS_IT_STANDS);
        }
    }

    /// At a line's end: external links do not go on.
    fn close_lines(&mut self) {
        while self.top() == Some(Kind::External) {
            self.frames.pop();
        }
    }

    fn tag(&mut self) {
        let (found, width) = tags::find(self.text, self.at, &mut self.tag_memory);
        let own_line = self.line_start;
        match found {
            Found::Text => return self.literal(1),
            Found::Nothing => {}
            Found::Comment if own_line && self.out.text.ends_with('\n') => {
                // A comment on a line of its own takes the line with it.
                let after = self.text[self.at + width..].trim_start_matches([' ', '\t']);
                if let Some(rest) = after.strip_prefix('\n') {
                    self.at = self.text.len() - rest.len();
                    return;
                }
            }
            Found::Comment => {}
            Found::Put(text) => self.out.text.push_str(text),
            Found::Raw { text, has_entities, block } => {
                let marker = format!("{STRIP_OPEN}{}{STRIP_CLOSE}", self.out.stripped.len());
                let around = if block { "\n\n" } else { "" };
                self.out.text.push_str(around);
                self.out.text.push_str(&marker);
                self.out.text.push_str(around);
                self.out.stripped.push(Stripped { text, has_entities });
            }
            Found::Formula(tex) if self.options.math => {
                let marker = format!("{STRIP_OPEN}{}{STRIP_CLOSE}", self.out.stripped.len());
                self.out.text.push_str(&marker);
                self.out.stripped.push(Stripped { text: format!("${}$", tex.trim()), has_entities: false });
            }
            Found::Formula(_) => {}
            Found::OpenGallery => self.mark(Kind::Gallery),
            Found::OpenPoem => self.mark(Kind::Poem),
            Found::CloseGallery => self.close_gallery(),
            Found::ClosePoem => self.close_poem(),
        }
        self.at += width;
        self.line_start = own_line && self.out.text.ends_with('\n');
    }

    /// Opens a frame for a tag, which leaves nothing in the output.
    fn mark(&mut self, kind: Kind) {
        if self.count(kind) == 0 {
            let start = self.out.text.len();
            self.frames.push(Frame { kind, start, body: start, bars: Vec::new() });
        }
    }

    fn close_gallery(&mut self) {
        let Some(index) = self.find(|kind| kind == Kind::Gallery, |_| false) else { return };
        let frame = &self.frames[index];
        let text = if self.options.captions { links::gallery(&self.out.text[frame.body..]) } else { String::new() };
        self.replace(index, frame.start, &text);
    }

    fn close_poem(&mut self) {
        let Some(index) = self.find(|kind| kind == Kind::Poem, |_| false) else { return };
        let frame = &self.frames[index];
        let lines = self.out.text[frame.body..].trim().replace('\n', &HARD_BREAK.to_string());
        self.replace(index, frame.start, &format!("\n\n{lines}\n\n"));
    }
}
