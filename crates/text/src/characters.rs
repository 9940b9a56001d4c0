//! What kind of character this is, in one place for all that cut and repair texts of both languages.

pub(crate) use crate::measure::is_han;

/// Scripts written without spaces between words: Han, kana, and the punctuation and full-width forms beside them.
pub fn is_cjk(c: char) -> bool {
    is_han(c)
        || matches!(c, '\u{3001}'..='\u{303F}' | '\u{3040}'..='\u{30FF}' | '\u{31F0}'..='\u{31FF}' | '\u{FF01}'..='\u{FFEF}')
}

/// Signs that are neither letters, digits nor white space: what a reader calls punctuation and symbols.
pub(crate) fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation()
        || matches!(c,
            '\u{A1}'..='\u{A9}' | '\u{AB}'..='\u{B1}' | '\u{B4}' | '\u{B6}'..='\u{B8}' | '\u{BB}' | '\u{BF}' | '×' | '÷'
            | '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205E}' | '\u{20A0}'..='\u{20CF}' | '\u{2190}'..='\u{23FF}'
            | '\u{2500}'..='\u{27BF}' | '\u{2900}'..='\u{2BFF}' | '\u{2E00}'..='\u{2E7F}'
            | '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3020}' | '\u{3030}' | '\u{303D}' | '\u{30FB}'
            | '\u{FE10}'..='\u{FE1F}' | '\u{FE30}'..='\u{FE6F}'
            | '\u{FF01}'..='\u{FF0F}' | '\u{FF1A}'..='\u{FF20}' | '\u{FF3B}'..='\u{FF40}' | '\u{FF5B}'..='\u{FF65}' | '\u{FFE0}'..='\u{FFE6}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_characters() {
        for c in "春眠々〇㐀".chars() {
            assert!(is_han(c) && is_cjk(c) && !is_punctuation(c), "{c}");
        }
        for c in "。，、；：？！“”‘’（）《》【】—…·「」.,;:?!\"'()[]{}<>@#$%^&*_+-=/\\|`~€×".chars()
        {
            assert!(is_punctuation(c) && !is_han(c), "{c}");
        }
        for c in "aZ9é中Жひア가 ー".chars() {
            assert!(!is_punctuation(c), "{c}");
        }
    }
}
