//! Unicode normalization form C, exactly as the `tokenizers` crate computes it.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, is_nfc_quick};
use unicode_normalization_alignments::UnicodeNormalization;

/// Nearly all text is in this form already, and is not copied. The rest is composed by the library that the crate uses,
/// because its tables are those of an older Unicode than ours. What is in form C by newer tables is by older ones, too:
/// they know fewer compositions and fewer marks that have an order.
pub(super) fn nfc(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || text.chars().all(never_composes) || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.nfc().map(|(c, _)| c).collect())
}

/// Blocks of characters that stand alone, checked without a table: up to Latin, common punctuation, Chinese characters
/// (but the compatibility ones), Hangul syllables, full width forms.
fn never_composes(c: char) -> bool {
    matches!(c, '\0'..='\u{2ff}' | '\u{2010}'..='\u{2027}' | '\u{3000}'..='\u{3029}' | '\u{3400}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7a3}' | '\u{ff00}'..='\u{ffef}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::{NormalizedString, Normalizer, normalizers::NFC};
    use unicode_normalization::char::canonical_combining_class;

    fn check(text: &str) {
        let mut theirs = NormalizedString::from(text);
        assert!(NFC.normalize(&mut theirs).is_ok());
        assert_eq!(nfc(text), theirs.get(), "{text:?}");
    }

    #[test]
    fn composes_as_the_crate() {
        for text in [
            "",
            "plain",
            "e\u{301}",
            "é",
            "春眠不覺曉",
            "か\u{3099}",
            "\u{f900}",
            "\u{1100}\u{1161}",
            "\u{212b}",
            "a\u{323}\u{307}",
            "a\u{307}\u{323}",
            "x\u{10fd}\u{1e4ec}",
            "q\u{301} 한 ＡＢ",
        ] {
            check(text);
        }
    }

    #[test]
    fn every_code_point_alone_and_beside_marks_is_as_in_the_crate() {
        for c in (0..0x11_0000).filter_map(char::from_u32) {
            if never_composes(c) {
                assert_eq!(canonical_combining_class(c), 0, "{c:?}");
                assert_eq!(is_nfc_quick([c].into_iter()), IsNormalized::Yes, "{c:?}");
            }
            let text = format!("{c}a{c}\u{301}{c}\u{323}");
            let theirs: String = text.nfc().map(|(c, _)| c).collect();
            assert_eq!(nfc(&text), theirs, "{c:?}");
        }
    }
}
