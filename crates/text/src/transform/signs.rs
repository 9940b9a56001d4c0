use std::borrow::Cow;

use super::lines::changed;
use crate::characters::is_punctuation;

pub(super) fn most_repeats() -> usize {
    3
}

pub(super) fn lowercase(text: &str) -> Cow<'_, str> {
    if text.chars().any(|c| !c.to_lowercase().eq([c])) {
        changed(text, text.to_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

pub(super) fn remove_punctuation<'a>(text: &'a str, keep: &str) -> Cow<'a, str> {
    let mut out = String::with_capacity(text.len());
    let mut gap = false; // punctuation was left out since the last character
    let mut last = ' ';
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let next = characters.peek().copied().unwrap_or(' ');
        if is_punctuation(c) && !keep.contains(c) && !is_within(last, c, next) {
            gap = true;
        } else {
            if gap && !out.is_empty() && !out.ends_with(char::is_whitespace) && !c.is_whitespace() {
                out.push(' ');
            }
            // A space that stood before the punctuation is enough.
            if !(gap && c == ' ' && (out.is_empty() || out.ends_with(char::is_whitespace))) {
                out.push(c);
            }
            gap = false;
        }
        last = c;
    }
    if gap && out.ends_with(' ') {
        out.pop();
    }
    changed(text, out)
}

/// An apostrophe or hyphen within a word, a point or comma within a number.
fn is_within(last: char, c: char, next: char) -> bool {
    match c {
        '\'' | '’' | '-' => last.is_alphabetic() && next.is_alphabetic(),
        '.' | ',' => last.is_numeric() && next.is_numeric(),
        _ => false,
    }
}

pub(super) fn limit_repeats(text: &str, max: usize) -> Cow<'_, str> {
    let max = max.max(1);
    let mut out = String::with_capacity(text.len());
    let (mut last, mut run) = (None, 0);
    for c in text.chars() {
        run = if last == Some(c) { run + 1 } else { 1 };
        last = Some(c);
        if run <= max || c.is_numeric() || c.is_whitespace() {
            out.push(c);
        }
    }
    changed(text, out)
}
