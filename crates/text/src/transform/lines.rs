use std::borrow::Cow;

use crate::characters::is_cjk;

pub(super) fn whitespace(text: &str, between_han: bool) -> Cow<'_, str> {
    let mut out = String::with_capacity(text.len());
    let mut blank = 0usize;
    for line in text.lines() {
        let mut words = line.split(char::is_whitespace).filter(|word| !word.is_empty()).peekable();
        if words.peek().is_none() {
            blank += 1;
            continue;
        }
        if !out.is_empty() {
            out.push_str(if blank > 0 { "\n\n" } else { "\n" });
        }
        blank = 0;
        let begin = out.len();
        for word in words {
            let joined = between_han && out.ends_with(is_cjk) && word.starts_with(is_cjk);
            if out.len() > begin && !joined {
                out.push(' ');
            }
            out.push_str(word);
        }
    }
    changed(text, out)
}

pub(super) fn dedup(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut removed = false;
    let mut last = "";
    for line in text.split_inclusive('\n') {
        let content = line.trim();
        if !content.is_empty() && content == last {
            removed = true;
        } else {
            out.push_str(line);
            last = if content.is_empty() { last } else { content };
        }
    }
    if removed && !text.ends_with('\n') && out.ends_with('\n') {
        out.pop();
    }
    if removed { Cow::Owned(out) } else { Cow::Borrowed(text) }
}

/// Owned only where it differs from the text.
pub(super) fn changed(text: &str, out: String) -> Cow<'_, str> {
    if out == text { Cow::Borrowed(text) } else { Cow::Owned(out) }
}
