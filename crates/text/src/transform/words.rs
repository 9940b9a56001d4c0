use std::borrow::Cow;

use crate::{Analysis, is_stopword};

pub(super) fn remove_stopwords(text: &str) -> Cow<'_, str> {
    let analysis = Analysis::new(text);
    let mut out = String::new();
    let mut copied = 0; // text up to here is in `out` or left out
    let mut read = 0;
    for word in analysis.words() {
        // Words are pieces of the text in order, with only white space and punctuation between them.
        let Some(found) = text[read..].find(word) else { break };
        let start = read + found;
        read = start + word.len();
        if is_stopword(word) {
            out.push_str(&text[copied..start]);
            copied = read;
            // Of the two spaces around it one is enough.
            if (out.is_empty() || out.ends_with(char::is_whitespace)) && text[copied..].starts_with(' ') {
                copied += 1;
                read = copied;
            }
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}
