use super::weigh::is_wide;

/// Writes text as it flows on a page: white space collapses, blocks stand apart, items are marked and indented.
#[derive(Debug, Default)]
pub(super) struct Writer {
    out: String,
    /// What every line begins with: indentation of items, marks of quotes.
    prefixes: Vec<String>,
    /// The sum of the prefixes' lengths.
    indent: usize,
    /// An item's mark that waits for its text.
    marker: String,
    breaks: Break,
    space: Space,
    /// Nothing stands on the present line yet.
    at_start: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Break {
    #[default]
    None,
    Line,
    Paragraph,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Space {
    #[default]
    None,
    Blank,
    /// White space with a line end in it, which vanishes between Chinese characters (CSS Text 3, 4.1.2).
    LineEnd,
}

/// Indentation above this is not written: nested without end, it would make the text quadratic.
const MAX_INDENT: usize = 40;

impl Writer {
    pub(super) fn new() -> Self {
        Self { at_start: true, ..Self::default() }
    }

    /// Begins a new line or paragraph before whatever is written next.
    pub(super) fn wants(&mut self, breaks: Break) {
        if breaks == Break::None {
            return;
        }
        if self.marker.is_empty() {
            self.breaks = self.breaks.max(breaks);
        }
        self.space = Space::None;
    }

    /// A line end within a paragraph; two in a row make a new one.
    pub(super) fn line_end(&mut self) {
        let next = if self.breaks == Break::None { Break::Line } else { Break::Paragraph };
        self.wants(next);
    }

    /// Begins an item: `marker` stands before its first line, and as much room before the others.
    pub(super) fn open_item(&mut self, marker: &str) {
        self.wants(Break::Line);
        self.mark(marker);
        self.open(" ".repeat(marker.len()));
    }

    /// Puts `marker` before the next character.
    pub(super) fn mark(&mut self, marker: &str) {
        self.marker.push_str(marker);
    }

    /// Forgets marks that nothing has followed.
    pub(super) fn unmark(&mut self) {
        self.marker.clear();
    }

    /// Begins a quote or an item, each line of which begins with `prefix`.
    pub(super) fn open(&mut self, prefix: String) {
        let prefix = if self.indent < MAX_INDENT { prefix } else { String::new() };
        self.indent += prefix.len();
        self.prefixes.push(prefix);
    }

    pub(super) fn close(&mut self) {
        if let Some(prefix) = self.prefixes.pop() {
            self.indent -= prefix.len();
        }
    }

    /// Closes an item; one without text leaves no mark.
    pub(super) fn close_item(&mut self) {
        self.unmark();
        self.close();
        self.wants(Break::Line);
    }

    pub(super) fn text(&mut self, text: &str) {
        for c in text.chars() {
            if c.is_whitespace() {
                let line_end = c == '\n' || c == '\r';
                let space = if line_end { Space::LineEnd } else { Space::Blank };
                if self.space == Space::None || line_end {
                    self.space = space;
                }
            } else {
                self.before(c);
                self.out.push(c);
            }
        }
    }

    /// Text as it stands, its line ends included.
    pub(super) fn verbatim(&mut self, text: &str) {
        let mut lines = text.trim_end().split('\n').map(str::trim_end).skip_while(|line| line.is_empty()).peekable();
        while let Some(line) = lines.next() {
            if line.is_empty() {
                self.out.push('\n');
                continue;
            }
            self.begin_line();
            self.out.push_str(line);
            if lines.peek().is_some() {
                self.out.push('\n');
                self.at_start = true;
                // The next line needs its prefix but no line end.
                self.breaks = Break::None;
            }
        }
        self.space = Space::None;
    }

    /// Text within a line, without collapsing.
    pub(super) fn raw(&mut self, text: &str) {
        if let Some(first) = text.chars().next() {
            self.before(first);
            self.out.push_str(text);
        }
    }

    /// Whether the next character begins a block.
    pub(super) fn is_at_block_start(&self) -> bool {
        self.at_start || self.breaks != Break::None
    }

    /// Whatever must stand between what is written and `next`.
    fn before(&mut self, next: char) {
        let space = std::mem::take(&mut self.space);
        if self.is_at_block_start() {
            return self.begin_line();
        }
        let joined = space == Space::LineEnd && is_wide(next) && self.out.chars().next_back().is_some_and(is_wide);
        if space != Space::None && !joined {
            self.out.push(' ');
        }
    }

    fn begin_line(&mut self) {
        let breaks = std::mem::take(&mut self.breaks);
        if !self.at_start || breaks != Break::None {
            self.end_line(breaks);
        }
        self.at_start = false;
        let marker = std::mem::take(&mut self.marker);
        let room = self.indent.saturating_sub(marker.len());
        let mut written = 0;
        for prefix in &self.prefixes {
            if written + prefix.len() > room {
                break;
            }
            self.out.push_str(prefix);
            written += prefix.len();
        }
        self.out.push_str(&marker);
    }

    fn end_line(&mut self, breaks: Break) {
        let ends = self.out.len() - self.out.trim_end_matches('\n').len();
        let wanted = if self.out.is_empty() { 0 } else { breaks as usize };
        for _ in ends..wanted {
            self.out.push('\n');
        }
    }

    pub(super) fn finish(mut self) -> String {
        self.out.truncate(self.out.trim_end().len());
        self.out
    }
}
