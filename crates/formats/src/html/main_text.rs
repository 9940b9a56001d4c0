//! Where the main text of a page lies, and what within it is no part of it.

use super::HtmlOptions;
use super::boilerplate::{are_comments, is_frame, never_text};
use super::tags::{Attribute, Tag};
use super::tree::{Kind, Tree};
use super::weigh::{Weight, weigh};

/// The part of a page to be rendered.
pub(super) struct MainText {
    pub(super) root: u32,
    /// By node; what is within a removed node is removed too.
    pub(super) removed: Vec<bool>,
}

/// The share of the readable text that an element must hold, in percent, for the search to go on within it.
const DOMINANT: u64 = 70;
/// The share that an element marked as the main one must hold to be believed.
const BELIEVED: u64 = 40;

/// Everything but what never is text.
pub(super) fn whole(tree: &Tree) -> MainText {
    let mut removed = vec![false; tree.len()];
    for (id, tag) in tree.elements() {
        removed[id as usize] = never_text(tree, id, tag);
    }
    inherit(tree, &mut removed);
    MainText { root: 0, removed }
}

/// The main text: the smallest element that holds nearly all readable text, less what frames the page.
pub(super) fn choose(tree: &Tree, options: &HtmlOptions) -> MainText {
    let all = whole(tree);
    let before = weigh(tree, &all.removed);
    let mut removed = all.removed.clone();
    for (id, tag) in tree.elements() {
        if !removed[id as usize] {
            removed[id as usize] = is_frame(tree, id, tag, &before[id as usize], &before[0], options);
        }
    }
    inherit(tree, &mut removed);
    let weights = weigh(tree, &removed);
    let root = descend(tree, &removed, &weights, marked(tree, &removed, &weights).unwrap_or(0));
    let root = if options.comments { with_comments(tree, root, &removed, &weights) } else { root };
    remove_links(tree, root, &mut removed, &weights);
    remove_notices(tree, root, &mut removed);
    remove_bare_headings(tree, root, &mut removed, &before);
    let left = weigh(tree, &removed)[root as usize];
    // A page of a few words or of links alone: better all of it than nothing.
    if left.text == 0 { all } else { MainText { root, removed } }
}

/// What lies within a removed node is removed.
fn inherit(tree: &Tree, removed: &mut [bool]) {
    for id in 1..tree.len() {
        removed[id] |= removed[tree.nodes[id].parent as usize];
    }
}

/// The element that the page itself marks as its main one, if it holds enough of the text.
fn marked(tree: &Tree, removed: &[bool], weights: &[Weight]) -> Option<u32> {
    let is_body = |id, tag| {
        let itemprop = tree.attribute(id, Attribute::Itemprop).unwrap_or("");
        tag != Tag::Meta && itemprop.split_whitespace().any(|word| word.eq_ignore_ascii_case("articleBody"))
    };
    let is_main = |id, tag| tag == Tag::Main || tree.attribute(id, Attribute::Role) == Some("main");
    let only = |found: &dyn Fn(u32, Tag) -> bool| {
        let mut all = tree.elements().filter(|&(id, tag)| !removed[id as usize] && found(id, tag));
        let (first, _) = all.next()?;
        let enough =
            weights[first as usize].good * 100 >= weights[0].good * BELIEVED && weights[first as usize].good > 0;
        (enough && all.next().is_none()).then_some(first)
    };
    only(&is_body).or_else(|| only(&|_, tag| tag == Tag::Article)).or_else(|| only(&is_main))
}

/// Goes down as long as one child holds most of the text. It does not go into one of several alike, such as the longest
/// of the posts of a page.
fn descend(tree: &Tree, removed: &[bool], weights: &[Weight], from: u32) -> u32 {
    let mut at = from;
    loop {
        let total = weights[at as usize].good;
        let children = || tree.children(at).filter(|&child| !removed[child as usize]);
        let Some(best) = children().max_by_key(|&child| (weights[child as usize].good, std::cmp::Reverse(child)))
        else {
            return at;
        };
        let Some(tag) = tree.tag(best) else { return at };
        let class = tree.attribute(best, Attribute::Class);
        let alike = children().any(|child| {
            child != best
                && weights[child as usize].good > 0
                && tree.tag(child) == Some(tag)
                && tree.attribute(child, Attribute::Class) == class
        });
        if total == 0 || weights[best as usize].good * 100 < total * DOMINANT || alike || !tag.is_container() {
            return at;
        }
        at = best;
    }
}

/// The element that holds the main text and the readers' comments, which often stand beside it.
fn with_comments(tree: &Tree, root: u32, removed: &[bool], weights: &[Weight]) -> u32 {
    let mut at = root;
    for (id, _) in tree.elements() {
        let readable = !removed[id as usize] && weights[id as usize].good > 0;
        // "comments-open" may be a class of the whole page.
        let holds_root = || id <= at && at < tree.after(id);
        if !readable || !are_comments(tree, id) || holds_root() {
            continue;
        }
        while !(at..tree.after(at)).contains(&id) {
            let Some(parent) = tree.parent(at) else { return at };
            at = parent;
        }
    }
    at
}

/// Removes lists, tables and other blocks within the main text that are hardly more than links, unless the page is
/// an index, whose text they are.
fn remove_links(tree: &Tree, root: u32, removed: &mut [bool], weights: &[Weight]) {
    let is_list_of_links = |id: u32, tag: Tag, weight: &Weight| {
        let kind = tag.is_list() || matches!(tag, Tag::Dl | Tag::Table | Tag::Div | Tag::Section | Tag::P);
        id != root && kind && weight.is_links() && weight.stops * 40 < weight.text && weight.good * 4 < weight.text
    };
    let mut found = Vec::new();
    let mut lost = 0;
    let mut id = root;
    let end = tree.after(root);
    while id < end {
        let weight = &weights[id as usize];
        let whole = match tree.nodes[id as usize].kind {
            Kind::Element(tag, ..) => !removed[id as usize] && is_list_of_links(id, tag, weight),
            Kind::Text(..) => false,
        };
        if whole {
            lost += weight.text;
            found.push(id);
        }
        id = if whole || removed[id as usize] { tree.after(id) } else { id + 1 };
    }
    if lost * 2 <= weights[root as usize].text {
        found.iter().for_each(|&id| removed[id as usize] = true);
        inherit(tree, removed);
    }
}

/// Removes short blocks that say whose rights are reserved.
fn remove_notices(tree: &Tree, root: u32, removed: &mut [bool]) {
    const NOTICES: &[&str] =
        &["all rights reserved", "copyright ©", "© copyright", "版权所有", "版權所有", "icp备", "公网安备"];
    let mut id = root + 1;
    let end = tree.after(root);
    while id < end {
        let is_block = matches!(tree.tag(id), Some(Tag::P | Tag::Div | Tag::Td | Tag::Li | Tag::Span | Tag::Address));
        if is_block && !removed[id as usize] && tree.after(id) - id < 16 {
            let text = tree.inner_text(id, 300).to_lowercase();
            if text.len() < 300 && NOTICES.iter().any(|notice| text.contains(notice)) {
                (id..tree.after(id)).for_each(|inner| removed[inner as usize] = true);
            }
        }
        id += 1;
    }
}

/// Removes headings below which nothing is left. One with a link is the title of something elsewhere, and stays.
/// `before` is what everything weighed at first.
fn remove_bare_headings(tree: &Tree, root: u32, removed: &mut [bool], before: &[Weight]) {
    // Those that no text has followed yet, each with its level and whether something below it was removed; the levels rise.
    let mut open: Vec<(u32, usize, bool)> = Vec::new();
    let mut bare = Vec::new();
    let mut id = root;
    let end = tree.after(root);
    while id < end {
        if removed[id as usize] {
            open.iter_mut().for_each(|(.., emptied)| *emptied |= before[id as usize].text > 0);
            id = tree.after(id);
        } else if let Some(level) = tree.tag(id).and_then(Tag::heading_level) {
            while let Some(&(heading, above, emptied)) = open.last()
                && above >= level
            {
                open.pop();
                bare.extend(emptied.then_some(heading));
            }
            open.push((id, level, false));
            id = tree.after(id);
        } else {
            if matches!(tree.nodes[id as usize].kind, Kind::Text(..)) && before[id as usize].text > 0 {
                open.clear();
            }
            id += 1;
        }
    }
    bare.extend(open.iter().filter(|(.., emptied)| *emptied).map(|(heading, ..)| *heading));
    for heading in bare {
        let inner = heading..tree.after(heading);
        let is_link = |id: u32| tree.tag(id) == Some(Tag::A) && tree.attribute(id, Attribute::Href).is_some();
        if !inner.clone().any(|id| !removed[id as usize] && is_link(id)) {
            inner.for_each(|id| removed[id as usize] = true);
        }
    }
}
