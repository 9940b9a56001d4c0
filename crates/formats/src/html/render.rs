//! From the nodes of the main text to lines.

use super::main_text::MainText;
use super::tags::{Attribute, Tag};
use super::tree::{Kind, NONE, Tree};
use super::writer::{Break, Writer};
use super::{HtmlOptions, Markup, TableCells};

pub(super) fn render(tree: &Tree, main: &MainText, options: &HtmlOptions) -> String {
    let mut renderer = Renderer {
        tree,
        removed: &main.removed,
        options,
        writers: vec![Writer::new()],
        lists: Vec::new(),
        tables: Vec::new(),
        in_pre: 0,
    };
    renderer.walk(main.root);
    renderer.writers.truncate(1);
    renderer.writers.pop().map(Writer::finish).unwrap_or_default()
}

struct Renderer<'a> {
    tree: &'a Tree,
    removed: &'a [bool],
    options: &'a HtmlOptions,
    /// The text, and within a cell of a data table that cell.
    writers: Vec<Writer>,
    /// The number of the next item of each open list; `None` in one without numbers.
    lists: Vec<Option<u64>>,
    /// The open data tables' cells of the present row. A data table holds no other.
    tables: Vec<Vec<String>>,
    in_pre: usize,
}

impl Renderer<'_> {
    /// Enters and leaves the nodes in order, without recursion.
    fn walk(&mut self, root: u32) {
        let mut id = root;
        loop {
            let entered = !self.removed[id as usize] && self.enter(id);
            let node = self.tree.nodes[id as usize];
            if entered && node.first_child != NONE {
                id = node.first_child;
                continue;
            }
            if entered {
                self.leave(id);
            }
            loop {
                if id == root {
                    return;
                }
                let node = self.tree.nodes[id as usize];
                if node.next != NONE {
                    id = node.next;
                    break;
                }
                id = node.parent;
                self.leave(id);
            }
        }
    }

    fn writer(&mut self) -> &mut Writer {
        if self.writers.is_empty() {
            self.writers.push(Writer::new());
        }
        let last = self.writers.len() - 1;
        &mut self.writers[last]
    }

    /// Whether what is within the node is to be rendered as well.
    fn enter(&mut self, id: u32) -> bool {
        let tag = match self.tree.nodes[id as usize].kind {
            Kind::Element(tag, ..) => tag,
            Kind::Text(..) => {
                self.text(id);
                return true;
            }
        };
        let markdown = self.options.markup == Markup::Markdown;
        match tag {
            Tag::Br => self.writer().line_end(),
            Tag::Hr => self.writer().wants(Break::Paragraph),
            Tag::Img => self.image(id),
            Tag::Math => {
                self.formula(id);
                return false;
            }
            Tag::Pre => return self.open_pre(id),
            Tag::Code if markdown && self.in_pre == 0 => self.writer().raw("`"),
            Tag::Q => self.writer().raw("“"),
            Tag::Blockquote => {
                self.writer().wants(Break::Paragraph);
                self.writer().open(if markdown { "> ".into() } else { String::new() });
            }
            Tag::Ul | Tag::Ol | Tag::Menu | Tag::Dir => self.open_list(id, tag),
            Tag::Li => self.open_item(),
            Tag::Table if self.is_data_table(id) => {
                self.writer().wants(Break::Paragraph);
                self.tables.push(Vec::new());
            }
            Tag::Tr if !self.tables.is_empty() => {}
            Tag::Td | Tag::Th | Tag::Caption if !self.tables.is_empty() => self.writers.push(Writer::new()),
            _ => {
                self.writer().wants(break_around(tag));
                if let Some(level) = tag.heading_level().filter(|_| markdown) {
                    self.writer().mark(&format!("{} ", "#".repeat(level)));
                }
            }
        }
        true
    }

    fn leave(&mut self, id: u32) {
        let Some(tag) = self.tree.tag(id) else { return };
        match tag {
            Tag::Code if self.options.markup == Markup::Markdown && self.in_pre == 0 => self.writer().raw("`"),
            Tag::Q => self.writer().raw("”"),
            Tag::Blockquote => {
                self.writer().close();
                self.writer().wants(Break::Paragraph);
            }
            Tag::Ul | Tag::Ol | Tag::Menu | Tag::Dir => {
                self.lists.pop();
                let breaks = self.around_list();
                self.writer().wants(breaks);
            }
            Tag::Li => self.writer().close_item(),
            Tag::Table if self.is_data_table(id) => {
                self.end_row();
                self.tables.pop();
                self.writer().wants(Break::Paragraph);
            }
            Tag::Tr if !self.tables.is_empty() => self.end_row(),
            Tag::Td | Tag::Th if !self.tables.is_empty() => self.end_cell(),
            Tag::Caption if !self.tables.is_empty() => {
                self.end_cell();
                self.end_row();
            }
            _ if tag.is_heading() => {
                self.writer().unmark();
                self.writer().wants(break_around(tag));
            }
            _ => self.writer().wants(break_around(tag)),
        }
    }

    fn text(&mut self, id: u32) {
        let tree = self.tree;
        let between_cells = !self.tables.is_empty() && self.writers.len() <= self.tables.len();
        if !between_cells {
            self.writer().text(tree.text(id));
        }
    }

    fn image(&mut self, id: u32) {
        let tree = self.tree;
        if let Some(alt) = tree.attribute(id, Attribute::Alt).filter(|_| self.options.image_alts) {
            self.writer().text(alt);
        }
    }

    /// A formula as the TeX that it was made from, where it says so, otherwise as its characters.
    fn formula(&mut self, id: u32) {
        let tree = self.tree;
        let is_tex = |inner: &u32| {
            tree.tag(*inner) == Some(Tag::Annotation)
                && tree.attribute(*inner, Attribute::Encoding) == Some("application/x-tex")
        };
        let inner = id..tree.after(id);
        let tex = inner.clone().find(is_tex).map(|annotation| tree.inner_text(annotation, 10_000));
        let tex = tex.or_else(|| tree.attribute(id, Attribute::Alttext).map(str::to_owned));
        match tex.map(|tex| plain_tex(&tex)).filter(|tex| !tex.is_empty()) {
            Some(tex) => self.writer().raw(&format!("${tex}$")),
            None => inner.for_each(|inner| self.writer().text(tree.text(inner).trim())),
        }
    }

    fn open_pre(&mut self, id: u32) -> bool {
        let tree = self.tree;
        if !self.tables.is_empty() {
            return true; // in a cell, code is a line like the rest
        }
        let mut code = String::new();
        for inner in id..tree.after(id) {
            match tree.nodes[inner as usize].kind {
                _ if self.removed[inner as usize] => {}
                Kind::Text(..) => code.push_str(tree.text(inner)),
                Kind::Element(Tag::Br, ..) => code.push('\n'),
                Kind::Element(..) => {}
            }
        }
        let code = code.replace("\r\n", "\n");
        if code.trim().is_empty() {
            return false;
        }
        let fence = if self.options.markup == Markup::Markdown { fence(&code) } else { String::new() };
        self.writer().wants(Break::Paragraph);
        if !fence.is_empty() {
            self.writer().verbatim(&fence);
            self.writer().wants(Break::Line);
        }
        self.writer().verbatim(&code);
        if !fence.is_empty() {
            self.writer().wants(Break::Line);
            self.writer().verbatim(&fence);
        }
        self.writer().wants(Break::Paragraph);
        false
    }

    fn around_list(&self) -> Break {
        if self.lists.is_empty() { Break::Paragraph } else { Break::Line }
    }

    fn open_list(&mut self, id: u32, tag: Tag) {
        let breaks = self.around_list();
        self.writer().wants(breaks);
        let start = self.tree.attribute(id, Attribute::Start).and_then(|start| start.trim().parse().ok());
        self.lists.push((tag == Tag::Ol).then(|| start.unwrap_or(1)));
    }

    fn open_item(&mut self) {
        let marker = match self.lists.last_mut() {
            Some(Some(number)) => {
                let marker = format!("{number}. ");
                *number = number.saturating_add(1);
                marker
            }
            _ => "- ".into(),
        };
        self.writer().open_item(&marker);
    }

    /// Whether a table holds data, cell by cell, and does not just arrange parts of the page.
    fn is_data_table(&self, id: u32) -> bool {
        let (mut cells, mut rows, mut blocks) = (0, 0, 0);
        for inner in id + 1..self.tree.after(id) {
            match self.tree.tag(inner) {
                Some(Tag::Table) => return false,
                Some(Tag::Th | Tag::Td) => cells += 1,
                Some(Tag::Tr) => rows += 1,
                Some(tag) if tag.is_heading() || tag.is_list() || matches!(tag, Tag::Pre | Tag::Blockquote) => {
                    blocks += 1
                }
                _ => {}
            }
        }
        cells > rows && blocks * 4 <= cells
    }

    fn end_cell(&mut self) {
        if self.writers.len() < 2 {
            return;
        }
        let cell = self.writers.pop().map(Writer::finish).unwrap_or_default();
        let line = cell.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(row) = self.tables.last_mut() {
            row.push(line);
        }
    }

    fn end_row(&mut self) {
        let Some(row) = self.tables.last_mut() else { return };
        let row = std::mem::take(row);
        if row.iter().all(String::is_empty) {
            return;
        }
        let separator = match self.options.table_cells {
            TableCells::Tab => "\t",
            TableCells::Pipe => " | ",
        };
        let line = row.join(separator);
        self.writer().wants(Break::Line);
        self.writer().raw(line.trim_end());
        self.writer().wants(Break::Line);
    }
}

fn break_around(tag: Tag) -> Break {
    use Tag::*;
    match tag {
        _ if tag.is_heading() => Break::Paragraph,
        P | Dl | Figure | Table | Fieldset | Details | Section | Article => Break::Paragraph,
        _ if tag.is_block() => Break::Line,
        _ => Break::None,
    }
}

/// MediaWiki wraps its TeX: `{\displaystyle x}`.
fn plain_tex(tex: &str) -> String {
    let tex = tex.trim();
    let inner = tex.strip_prefix("{\\displaystyle").and_then(|rest| rest.strip_suffix('}'));
    inner.unwrap_or(tex).trim().to_owned()
}

/// A fence longer than any run of backticks in the code.
fn fence(code: &str) -> String {
    let longest = code.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}
