//! The tree of a page: the tokenizer's events, nested as a browser would nest them in all cases that matter for text.
//!
//! The standard's tree builder is not used: on hostile nesting it looks through all open elements at each tag. Here the
//! stack of open elements is bounded, so building is linear in the input; deeper elements are flattened.

use std::convert::Infallible;

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, Tokenizer};

use super::tags::{Attribute, Tag};

/// Open elements at most; what lies deeper is put side by side. Browsers stop at 512 too.
const MAX_DEPTH: usize = 512;
/// No node.
pub(super) const NONE: u32 = u32::MAX;
/// Characters of an attribute's value that are kept.
const MAX_ATTRIBUTE_BYTES: usize = 4096;

/// A page as nodes in document order: a parent comes before its children.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    text: String,
    attributes: Vec<(Attribute, String)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) parent: u32,
    pub(super) first_child: u32,
    pub(super) next: u32,
    last_child: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// With its attributes from..to.
    Element(Tag, u32, u32),
    /// From..to in the tree's text.
    Text(u32, u32),
}

impl Tree {
    pub(super) fn parse(html: &str) -> Self {
        // Positions are 32 bits wide.
        let html = &html[..html.floor_char_boundary(html.len().min(u32::MAX as usize / 4))];
        let mut builder = Builder::default();
        builder.tree.push(Kind::Element(Tag::Html, 0, 0), NONE);
        builder.stack.push((Tag::Html, 0));
        let mut emitter = CallbackEmitter::new(|event: CallbackEvent<'_>, _: Span<()>| {
            builder.handle(event);
            None::<Infallible>
        });
        emitter.naively_switch_states(true);
        Tokenizer::new_with_emitter(html, emitter).for_each(drop);
        builder.tree
    }

    fn push(&mut self, kind: Kind, parent: u32) -> u32 {
        let id = self.nodes.len() as u32;
        self.nodes.push(Node { kind, parent, first_child: NONE, next: NONE, last_child: NONE });
        if let Some(above) = self.nodes.get_mut(parent as usize) {
            let last = std::mem::replace(&mut above.last_child, id);
            match self.nodes.get_mut(last as usize) {
                Some(last) => last.next = id,
                None => self.nodes[parent as usize].first_child = id,
            }
        }
        id
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn parent(&self, id: u32) -> Option<u32> {
        let parent = self.nodes[id as usize].parent;
        (parent != NONE).then_some(parent)
    }

    pub(super) fn tag(&self, id: u32) -> Option<Tag> {
        match self.nodes[id as usize].kind {
            Kind::Element(tag, ..) => Some(tag),
            Kind::Text(..) => None,
        }
    }

    /// A text node's text; empty for an element.
    pub(super) fn text(&self, id: u32) -> &str {
        match self.nodes[id as usize].kind {
            Kind::Text(from, to) => &self.text[from as usize..to as usize],
            Kind::Element(..) => "",
        }
    }

    pub(super) fn attribute(&self, id: u32, name: Attribute) -> Option<&str> {
        let Kind::Element(_, from, to) = self.nodes[id as usize].kind else { return None };
        let all = &self.attributes[from as usize..to as usize];
        all.iter().find(|(attribute, _)| *attribute == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn children(&self, id: u32) -> impl Iterator<Item = u32> {
        let first = self.nodes[id as usize].first_child;
        std::iter::successors((first != NONE).then_some(first), |&child| {
            let next = self.nodes[child as usize].next;
            (next != NONE).then_some(next)
        })
    }

    pub(super) fn elements(&self) -> impl Iterator<Item = (u32, Tag)> {
        (0..self.len() as u32).filter_map(|id| self.tag(id).map(|tag| (id, tag)))
    }

    /// The first node after `id` that is not within it, in document order.
    pub(super) fn after(&self, mut id: u32) -> u32 {
        loop {
            let node = self.nodes[id as usize];
            if node.next != NONE {
                return node.next;
            }
            match self.parent(id) {
                Some(parent) => id = parent,
                None => return self.len() as u32,
            }
        }
    }

    /// The text within a node, with white space collapsed; at most about `max` bytes of it.
    pub(super) fn inner_text(&self, id: u32, max: usize) -> String {
        self.inner_text_but(id, max, &[])
    }

    /// The same without the nodes that are `removed`.
    pub(super) fn inner_text_but(&self, id: u32, max: usize, removed: &[bool]) -> String {
        let mut out = String::new();
        for inner in (id..self.after(id)).filter(|&inner| !removed.get(inner as usize).is_some_and(|removed| *removed))
        {
            for word in self.text(inner).split_whitespace() {
                if !out.is_empty() {
                    out.push(' ');
                }
                out.push_str(word);
            }
            if out.len() > max {
                break;
            }
        }
        out
    }

    /// The raw text of a script.
    pub(super) fn raw_text(&self, id: u32) -> &str {
        self.children(id).next().map_or("", |child| self.text(child))
    }
}

#[derive(Default)]
struct Builder {
    tree: Tree,
    stack: Vec<(Tag, u32)>,
    /// How many of them are paragraphs.
    paragraphs: usize,
    /// Elements beyond the greatest depth that are not on the stack.
    flattened: usize,
    /// Where on the stack an `svg` or `math` lies.
    foreign: Option<usize>,
    /// The start tag being read, and where its attributes begin.
    open: Option<(Tag, u32)>,
    /// The attribute being read is one that is kept.
    keeps_value: bool,
}

impl Builder {
    fn handle(&mut self, event: CallbackEvent<'_>) {
        match event {
            CallbackEvent::OpenStartTag { name } => {
                self.open = Some((Tag::of(name), self.tree.attributes.len() as u32));
                self.keeps_value = false;
            }
            CallbackEvent::AttributeName { name } => self.attribute(Attribute::of(name)),
            CallbackEvent::AttributeValue { value } if self.keeps_value => {
                if let Some((_, kept)) = self.tree.attributes.last_mut() {
                    let value = String::from_utf8_lossy(&value[..value.len().min(MAX_ATTRIBUTE_BYTES)]);
                    kept.push_str(&value);
                }
            }
            CallbackEvent::CloseStartTag { self_closing } => {
                if let Some((tag, from)) = self.open.take() {
                    self.start(tag, from, self_closing);
                }
            }
            CallbackEvent::EndTag { name } => {
                self.open = None;
                self.end(Tag::of(name));
            }
            CallbackEvent::String { value } => self.text(&String::from_utf8_lossy(value)),
            _ => {}
        }
    }

    fn attribute(&mut self, name: Attribute) {
        let Some((_, from)) = self.open else { return };
        let seen = self.tree.attributes[from as usize..].iter().any(|(attribute, _)| *attribute == name);
        self.keeps_value = !seen && !matches!(name, Attribute::Other(_));
        if self.keeps_value {
            self.tree.attributes.push((name, String::new()));
        }
    }

    fn text(&mut self, value: &str) {
        let Some(&(tag, parent)) = self.stack.last() else { return };
        if tag == Tag::Head && !value.trim().is_empty() {
            self.pop_to(self.stack.len() - 1);
            return self.text(value);
        }
        let from = self.tree.text.len() as u32;
        self.tree.text.push_str(value);
        self.tree.push(Kind::Text(from, self.tree.text.len() as u32), parent);
    }

    fn start(&mut self, tag: Tag, attributes: u32, self_closing: bool) {
        let to = self.tree.attributes.len() as u32;
        if matches!(tag, Tag::Html | Tag::Body) && self.merge(tag, attributes, to) {
            return;
        }
        self.close_implied(tag);
        let Some(&(_, parent)) = self.stack.last() else { return };
        let id = self.tree.push(Kind::Element(tag, attributes, to), parent);
        // An anchor that only marks a place has no content, and old pages never close it.
        let is_place = tag == Tag::A && self.tree.attribute(id, Attribute::Href).is_none();
        let is_leaf = tag.is_void() || is_place || (self.foreign.is_some() && self_closing);
        if is_leaf {
            return;
        }
        if self.stack.len() >= MAX_DEPTH {
            self.flattened += 1;
            return;
        }
        if matches!(tag, Tag::Svg | Tag::Math) && self.foreign.is_none() {
            if self_closing {
                return;
            }
            self.foreign = Some(self.stack.len());
        }
        self.paragraphs += usize::from(tag == Tag::P);
        self.stack.push((tag, id));
    }

    /// A second `<html>` or `<body>` opens nothing; the first `<html>` names the attributes of the root.
    fn merge(&mut self, tag: Tag, from: u32, to: u32) -> bool {
        let Some(&(_, id)) = self.stack.iter().find(|(open, _)| *open == tag) else { return false };
        if let Kind::Element(_, old_from, old_to) = self.tree.nodes[id as usize].kind
            && old_from == old_to
        {
            self.tree.nodes[id as usize].kind = Kind::Element(tag, from, to);
        }
        true
    }

    /// Closes what a start tag ends without saying so.
    fn close_implied(&mut self, tag: Tag) {
        if let Some(foreign) = self.foreign
            && tag.is_block()
        {
            self.pop_to(foreign);
        }
        if !tag.is_of_head() && self.stack.get(1).is_some_and(|(open, _)| *open == Tag::Head) {
            self.pop_to(1);
        }
        if tag.is_block() && self.paragraphs > 0 {
            self.close(&[Tag::P], |open| open.is_table_part());
        }
        match tag {
            Tag::Li => self.close(&[Tag::Li], |open| {
                open.is_list() || open.is_table_part() || matches!(open, Tag::Section | Tag::Article | Tag::Blockquote)
            }),
            Tag::Dt | Tag::Dd => {
                self.close(&[Tag::Dt, Tag::Dd], |open| open == Tag::Dl || open.is_list() || open.is_table_part());
            }
            Tag::Td | Tag::Th => self.close(&[Tag::Td, Tag::Th, Tag::Caption], |open| open == Tag::Table),
            Tag::Tr => self.close(&[Tag::Tr, Tag::Caption], |open| open == Tag::Table),
            Tag::Tbody | Tag::Thead | Tag::Tfoot => {
                self.close(&[Tag::Tbody, Tag::Thead, Tag::Tfoot, Tag::Caption], |open| open == Tag::Table);
            }
            Tag::Option | Tag::Optgroup => self.close(&[Tag::Option], |open| open == Tag::Select),
            Tag::A => self.close_anchor(),
            _ if tag.is_heading() && self.stack.last().is_some_and(|(open, _)| open.is_heading()) => {
                self.pop_to(self.stack.len() - 1);
            }
            _ => {}
        }
    }

    /// A link within a link ends the outer one; if blocks lie between, the outer one was never closed and is no link.
    fn close_anchor(&mut self) {
        let Some(at) = self.stack.iter().rposition(|(open, _)| *open == Tag::A) else { return };
        if self.stack[at..].iter().any(|(open, _)| open.is_block()) {
            let (tag, id) = &mut self.stack[at];
            *tag = Tag::Span;
            if let Kind::Element(tag, ..) = &mut self.tree.nodes[*id as usize].kind {
                *tag = Tag::Span;
            }
        } else {
            self.pop_to(at);
        }
    }

    /// Closes the outermost of the elements named that is open before `stop`, looking from within.
    fn close(&mut self, names: &[Tag], stop: impl Fn(Tag) -> bool) {
        let inner = self.stack.iter().rev().take_while(|(open, _)| !stop(*open) || names.contains(open));
        let depth = inner.enumerate().filter(|(_, (open, _))| names.contains(open)).map(|(index, _)| index).last();
        if let Some(depth) = depth {
            self.pop_to(self.stack.len() - 1 - depth);
        }
    }

    fn end(&mut self, tag: Tag) {
        match tag {
            Tag::Br => return self.start(Tag::Br, self.tree.attributes.len() as u32, true),
            Tag::Html | Tag::Body => return,
            _ if tag.is_void() => return,
            _ => {}
        }
        if self.flattened > 0 {
            self.flattened -= 1;
            return;
        }
        let matches = |open: Tag| open == tag || (tag.is_heading() && open.is_heading());
        let stops = |open: Tag| match tag {
            Tag::Table => false,
            _ if tag.is_table_part() => open == Tag::Table,
            Tag::Other(_) => open.is_table_part(),
            _ if tag.is_block() || tag == Tag::Head => open.is_table_part(),
            // The end of a bold passage does not end the paragraph begun within it.
            _ => open.is_block(),
        };
        for at in (1..self.stack.len()).rev() {
            let (open, _) = self.stack[at];
            if matches(open) {
                return self.pop_to(at);
            }
            if stops(open) {
                return;
            }
        }
    }

    fn pop_to(&mut self, depth: usize) {
        let closed = self.stack.drain(depth.max(1)..);
        self.paragraphs -= closed.filter(|(tag, _)| *tag == Tag::P).count();
        if self.foreign.is_some_and(|foreign| foreign >= self.stack.len()) {
            self.foreign = None;
        }
    }
}
