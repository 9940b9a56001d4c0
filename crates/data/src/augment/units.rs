//! Words and sentences as places in a text, so that what stands between them can stay.

use std::ops::Range;

use danlu_text::{Analysis, is_cjk, sentences};

/// Where the words stand. Chinese as jieba cuts it; in scripts with spaces the pieces of one written word ("don't",
/// "well-known") are one.
pub(super) fn words(text: &str) -> Vec<Range<usize>> {
    let analysis = Analysis::new(text);
    let mut places: Vec<Range<usize>> = Vec::new();
    let mut read = 0;
    for word in analysis.words() {
        let Some(found) = text[read..].find(word) else { break };
        let start = read + found;
        read = start + word.len();
        let alphabetic = !word.starts_with(is_cjk);
        match places.last_mut() {
            Some(last) if alphabetic && joins(text, last, start) => last.end = read,
            _ => places.push(start..read),
        }
    }
    places
}

/// Whether the word that begins at `start` is written together with the last, or with one sign between them.
fn joins(text: &str, last: &Range<usize>, start: usize) -> bool {
    let gap = &text[last.end..start];
    !text[last.clone()].ends_with(is_cjk) && matches!(gap, "" | "-" | "'" | "’" | "/" | "." | "@" | "_" | ":")
}

/// Where the sentences stand, without the white space around them.
pub(super) fn sentence_places(text: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    let mut places = Vec::new();
    for sentence in sentences(text) {
        let content = sentence.trim();
        let begin = start + (sentence.len() - sentence.trim_start().len());
        if !content.is_empty() {
            places.push(begin..begin + content.len());
        }
        start += sentence.len();
    }
    places
}

/// The text with the unit `order[i]` at the place of the unit `i`; what stands between them stays.
pub(super) fn rearrange(text: &str, places: &[Range<usize>], order: impl Iterator<Item = usize>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for (place, from) in places.iter().zip(order) {
        out.push_str(&text[copied..place.start]);
        out.push_str(&text[places[from].clone()]);
        copied = place.end;
    }
    out.push_str(&text[copied..]);
    out
}
