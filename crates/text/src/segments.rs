//! Long texts in short pieces.
//!
//! The tokenizers crate holds about 600 bytes for each token while it encodes: 1.5 GB for one text of 10 MB (the growth of
//! the largest resident set, measured with its Python package 0.23.3). Cut where a token can never span the cut, the pieces have the same tokens as the whole.

/// Texts above this are cut into pieces of about this size.
pub(crate) const SEGMENT_BYTES: usize = 1 << 16;

/// Cuts `text` into pieces of at least `size` bytes, each ending where every byte-level pre-tokenizer (GPT-2's and those
/// after it) ends a word: between a character that is not white space and a space that a letter follows. With
/// `at_newlines` also before a line end, which GPT-2's split allows and later ones do not (they join "." and "\n").
///
/// Where there is no such place, as in a long text without spaces or lines, a piece is as long as it must be.
pub(crate) fn segments(text: &str, size: usize, at_newlines: bool) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (piece, left) = match cut(text, size, at_newlines) {
            Some(at) => (&text[..at], Some(&text[at..])),
            None => (text, None),
        };
        rest = left;
        Some(piece)
    })
}

fn cut(text: &str, size: usize, at_newlines: bool) -> Option<usize> {
    let start = text.ceil_char_boundary(size.max(1));
    let mut before = text[..start].chars().next_back()?;
    let mut characters = text[start..].char_indices().peekable();
    while let Some((offset, c)) = characters.next() {
        let mut letter_follows = || characters.peek().is_some_and(|(_, next)| next.is_alphabetic());
        if !before.is_whitespace() && ((c == ' ' && letter_follows()) || (c == '\n' && at_newlines)) {
            return Some(start + offset);
        }
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::segments;
    use proptest::prelude::*;

    fn check(text: &str, at_newlines: bool, expect: &[&str]) {
        assert_eq!(segments(text, 4, at_newlines).collect::<Vec<_>>(), expect, "{text:?}");
    }

    #[test]
    fn cuts_before_the_space_of_a_word() {
        check("", true, &[""]);
        check("one two three", true, &["one two", " three"]);
        check("words  apart and", true, &["words  apart", " and"]);
        check("12345 6789 word", true, &["12345 6789", " word"]);
        check("line.\n\nline\nx", true, &["line.", "\n\nline", "\nx"]);
        check("line.\n\nline\nx", false, &["line.\n\nline\nx"]);
        check("春眠不覺曉處處聞啼鳥", true, &["春眠不覺曉處處聞啼鳥"]);
    }

    proptest! {
        #[test]
        fn pieces_are_the_text(text in "[a春 \n\t.é1]{0,40}", size in 0usize..9, at_newlines: bool) {
            prop_assert_eq!(segments(&text, size, at_newlines).collect::<String>(), text);
        }
    }
}
