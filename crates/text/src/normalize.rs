use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfc};

/// Repairs a text without changing its words. Idempotent.
///
/// - Unicode NFC: one spelling for each character.
/// - Line ends CRLF, CR, NEL and U+2028 become LF; form feed and U+2029 a blank line.
/// - No-break spaces (U+00A0, U+2007, U+202F) and the ideographic space U+3000 become a plain space.
/// - Byte order marks, zero-width spaces, word joiners, soft hyphens and control characters other than tab and LF
///   vanish. The joiners U+200C and U+200D stay: they carry meaning in emoji and in Indic and Persian words.
/// - No spaces at line ends, no more than one blank line in a row, none at the beginning, no white space at the end.
///   Indentation and runs of spaces within a line stay (tables, code, verse).
pub fn normalize(text: &str) -> String {
    let replaced = replace_characters(text);
    let composed: Cow<str> = if is_nfc(&replaced) { replaced } else { Cow::Owned(replaced.nfc().collect()) };
    tidy_lines(&composed)
}

fn replace_characters(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| {
        !matches!(c, '\0'..='\x08' | '\x0B'..='\x1F' | '\x7F'..='\u{A0}' | '\u{AD}' | '\u{2007}'
        | '\u{200B}' | '\u{2028}' | '\u{2029}' | '\u{202F}' | '\u{2060}' | '\u{3000}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}')
    };
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\r' => {
                if characters.peek() == Some(&'\n') {
                    characters.next();
                }
                out.push('\n');
            }
            '\u{85}' | '\u{2028}' => out.push('\n'),
            '\x0C' | '\u{2029}' => out.push_str("\n\n"),
            '\u{A0}' | '\u{2007}' | '\u{202F}' | '\u{3000}' => out.push(' '),
            c if is_plain(c) => out.push(c),
            _ => {}
        }
    }
    Cow::Owned(out)
}

fn tidy_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut blank = 0;
    for line in text.split('\n').map(str::trim_end) {
        if line.is_empty() {
            blank += 1;
            continue;
        }
        if !out.is_empty() {
            out.push_str(if blank > 0 { "\n\n" } else { "\n" });
        }
        out.push_str(line);
        blank = 0;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::normalize;
    use proptest::prelude::*;

    fn check(input: &str, expect: &str) {
        assert_eq!(normalize(input), expect, "input {input:?}");
    }

    #[test]
    fn repairs() {
        check("", "");
        check("plain text", "plain text");
        check("\u{FEFF}a\r\nb\rc\u{2028}d", "a\nb\nc\nd");
        check("a  \n\n\n \n b\t\n\n", "a\n\n b");
        check("\n\n a", " a");
        check("e\u{301}", "é");
        check("A\u{200B}\u{30A}", "Å"); // the mark composes across what was removed
        check("春\u{3000}眠\u{A0}x", "春 眠 x");
        check("\u{3000}\u{3000}段落", "  段落");
        check("a\0b\x1b[1mc\u{AD}d", "ab[1mcd");
        check("👩\u{200D}🚀", "👩\u{200D}🚀");
        check("one\x0Ctwo", "one\n\ntwo");
    }

    proptest! {
        #[test]
        fn idempotent(text in "[\\PC\\s\u{FEFF}\u{0}-\u{a0}\u{300}-\u{30f}\u{1100}-\u{11ff}\u{2000}-\u{206f}\u{3000}]{0,60}") {
            let once = normalize(&text);
            prop_assert_eq!(normalize(&once), once);
        }

        #[test]
        fn idempotent_on_anything(text in any::<String>()) {
            let once = normalize(&text);
            prop_assert_eq!(normalize(&once), once);
        }

        #[test]
        fn leaves_nothing_it_removes(text in any::<String>()) {
            let out = normalize(&text);
            let removed = ['\r', '\0', '\u{FEFF}', '\u{A0}', '\u{3000}'];
            prop_assert!(!out.contains(removed));
            prop_assert!(!out.contains("\n\n\n") && !out.contains(" \n") && !out.ends_with(char::is_whitespace));
        }
    }
}
