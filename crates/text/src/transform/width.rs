use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::characters::is_cjk;

/// What becomes of punctuation that has a full-width and a half-width form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PunctuationWidth {
    /// Stays as it is.
    #[default]
    Keep,
    /// ，！？：；（） and the other full-width forms become ASCII, and 。 a full stop.
    Half,
    /// `,.!?:;()` after Chinese become full width; a full stop only where no letter or digit follows.
    Full,
}

pub(super) fn convert(text: &str, punctuation: PunctuationWidth) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0; // text up to here is in `out`
    let mut open = 0usize; // brackets made full width and not yet closed
    let mut last = ' '; // the character before, as converted
    let mut characters = text.char_indices().peekable();
    while let Some((position, c)) = characters.next() {
        let next = characters.peek().map_or(' ', |&(_, next)| next);
        let to = match c {
            '０'..='９' | 'Ａ'..='Ｚ' | 'ａ'..='ｚ' => ascii(c),
            '！'..='～' if punctuation == PunctuationWidth::Half => ascii(c),
            '。' if punctuation == PunctuationWidth::Half => '.',
            '!'..='~' if punctuation == PunctuationWidth::Full => full(c, last, next, &mut open),
            _ => c,
        };
        if to != c {
            out.push_str(&text[copied..position]);
            out.push(to);
            copied = position + c.len_utf8();
        }
        last = to;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// U+FF01 to U+FF5E stand in the order of ASCII.
fn ascii(c: char) -> char {
    char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c)
}

fn full(c: char, last: char, next: char, open: &mut usize) -> char {
    let chinese = is_cjk(last);
    match c {
        '.' if chinese && !next.is_alphanumeric() && next != '.' && last != '。' => '。',
        ',' | '!' | '?' | ':' | ';' if chinese => char::from_u32(u32::from(c) + 0xFEE0).unwrap_or(c),
        '(' if chinese => {
            *open += 1;
            '（'
        }
        ')' if *open > 0 => {
            *open -= 1;
            '）'
        }
        _ => c,
    }
}
