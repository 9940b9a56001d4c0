//! How much text lies where.

use super::tags::{Attribute, Tag};
use super::tree::{Kind, NONE, Tree};

/// The text within an element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    /// Letters and digits; a Chinese character counts as three, as it says about as much.
    pub(super) text: u64,
    /// The part of it within links.
    pub(super) links: u64,
    /// Marks that sentences have: `.,;!?` and `。，；！？、：`.
    pub(super) stops: u64,
    /// The text of blocks that read like text: sentences, or long, or code, and few links.
    pub(super) good: u64,
}

impl Weight {
    /// Links and little else.
    pub(super) fn is_links(&self) -> bool {
        self.links * 10 > self.text * 6
    }

    fn add(&mut self, other: &Self) {
        self.text += other.text;
        self.links += other.links;
        self.stops += other.stops;
        self.good += other.good;
    }
}

/// Whether a character is written without spaces around it and counts for more than a letter.
pub(crate) fn is_wide(c: char) -> bool {
    matches!(c, '\u{2E80}'..='\u{2FDF}' | '\u{3001}'..='\u{30FF}' | '\u{3105}'..='\u{312F}' | '\u{31A0}'..='\u{31FF}'
        | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{FE30}'..='\u{FE4F}'
        | '\u{FF00}'..='\u{FFEF}' | '\u{20000}'..='\u{3FFFF}')
}

fn of_text(text: &str) -> Weight {
    let mut weight = Weight::default();
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '。' | '，' | '；' | '！' | '？' | '、' | '：' | '…' => weight.stops += 1,
            // Within numbers, names and addresses they end nothing.
            '.' | ',' | ';' | '!' | '?' => {
                weight.stops += u64::from(characters.peek().is_none_or(|next| next.is_whitespace() || *next == '"'));
            }
            c if is_wide(c) && c.is_alphanumeric() => weight.text += 3,
            c if c.is_alphanumeric() => weight.text += 1,
            _ => {}
        }
    }
    weight
}

/// The weight of every node, without those that are `removed`. Linear in the tree.
pub(super) fn weigh(tree: &Tree, removed: &[bool]) -> Vec<Weight> {
    let len = tree.len();
    let mut weights = vec![Weight::default(); len];
    // What lies in a block itself, not in blocks within it.
    let mut own = vec![Weight::default(); len];
    let (blocks, links) = contexts(tree);
    for id in 0..len {
        if let Kind::Text(..) = tree.nodes[id].kind
            && !removed[id]
        {
            let mut weight = of_text(tree.text(id as u32));
            if links[id] {
                weight.links = weight.text;
            }
            own[blocks[id] as usize].add(&weight);
            weights[id] = weight;
        }
    }
    for id in (0..len).rev() {
        weights[id].good += good(tree.tag(id as u32), &own[id]);
        let weight = weights[id];
        if let Some(parent) = tree.parent(id as u32) {
            weights[parent as usize].add(&weight);
        }
    }
    weights
}

/// For each node the block that it lies in, and whether it lies in a link.
fn contexts(tree: &Tree) -> (Vec<u32>, Vec<bool>) {
    let mut blocks = vec![0; tree.len()];
    let mut links = vec![false; tree.len()];
    for id in 0..tree.len() {
        let parent = tree.nodes[id].parent;
        if parent == NONE {
            continue;
        }
        let tag = tree.tag(id as u32);
        blocks[id] = if tag.is_some_and(Tag::is_block) { id as u32 } else { blocks[parent as usize] };
        let is_link = tag == Some(Tag::A) && tree.attribute(id as u32, Attribute::Href).is_some();
        links[id] = is_link || links[parent as usize];
    }
    (blocks, links)
}

/// What a block's own text counts as text of the page.
fn good(tag: Option<Tag>, own: &Weight) -> u64 {
    let readable = match tag {
        Some(tag) if tag.is_heading() => false,
        Some(Tag::Pre) => own.text > 0,
        _ => (own.text >= 30 && own.stops > 0) || own.text >= 120,
    };
    if readable && own.links * 2 < own.text { own.text - own.links } else { 0 }
}
