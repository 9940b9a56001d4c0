//! Where sentences end, in English and in Chinese, by rules: no model, no list of words beyond abbreviations.

use crate::characters::{is_cjk, is_han};

/// Cuts a text into sentences. Each holds its closing quotes and the white space after it, so that the pieces put
/// together give the text back; none is empty. Linear in the length of the text.
///
/// - `。！？!?` end a sentence, `…` only before white space, a closing quote or the end: within a line it is a pause.
/// - `.` ends one when white space or a closing sign follows and no lower-case letter after that; not within numbers
///   (3.14), after titles (Dr. Who), initials (J. K. Rowling), or the number of a list's item at a line's beginning.
///   After what may stand at a sentence's end or within one (etc., Inc., U.S., p.m.), only if the next word usually
///   begins a sentence.
/// - A closing bracket that Chinese goes on after, as in 他（真的！）来了, does not end the sentence.
/// - A blank line ends a sentence; so does a line break, unless it looks like a wrapped line of prose: 40 characters or
///   more that end in a letter or a comma of a script with spaces, with text after it.
pub fn sentences(text: &str) -> Vec<&str> {
    let mut cutter = Cutter { text, start: 0, line: 0, out: Vec::new() };
    let mut position = 0;
    while let Some(c) = text[position..].chars().next() {
        let next = position + c.len_utf8();
        position = match c {
            '\n' => cutter.line_break(position),
            '.' | '!' | '?' | '。' | '！' | '？' | '．' | '…' => cutter.terminator(position),
            _ => next,
        };
    }
    cutter.cut(text.len());
    cutter.out
}

struct Cutter<'a> {
    text: &'a str,
    /// Where the present sentence began.
    start: usize,
    /// Where the present line began.
    line: usize,
    out: Vec<&'a str>,
}

impl Cutter<'_> {
    fn cut(&mut self, end: usize) {
        if end > self.start {
            self.out.push(&self.text[self.start..end]);
            self.start = end;
        }
    }

    /// At a line feed: takes in all white space and decides. Returns where to go on.
    fn line_break(&mut self, position: usize) -> usize {
        let end = self.skip_space(position);
        let blank = self.text[position..end].bytes().filter(|&b| b == b'\n').count() > 1;
        let line = &self.text[self.line..position];
        let wrapped = !blank && is_wrapped(line, &self.text[end..]);
        // White space alone, at the very beginning, goes with the first sentence.
        if !wrapped && !self.text[self.start..position].trim().is_empty() {
            self.cut(end);
        }
        self.line = end;
        end
    }

    /// At a sign that may end a sentence: takes in those that follow, and closing signs. Returns where to go on.
    fn terminator(&mut self, position: usize) -> usize {
        let signs = position + length_while(&self.text[position..], is_terminator);
        let end = signs + length_while(&self.text[signs..], is_closing);
        if self.ends_sentence(position, signs, end) {
            let after = self.skip_space(end);
            if self.text[end..after].contains('\n') {
                self.line = after;
            }
            self.cut(after);
            return after;
        }
        end
    }

    fn ends_sentence(&self, position: usize, signs: usize, end: usize) -> bool {
        let (mark, after) = (&self.text[position..signs], &self.text[end..]);
        let spaced = after.is_empty() || after.starts_with(char::is_whitespace);
        if mark.contains(['。', '！', '？']) || (mark.contains(['!', '?']) && after.starts_with(is_cjk)) {
            let bracketed = self.text[signs..end].ends_with(['）', ')', '】', '〕']);
            let aside = bracketed && !self.text[self.start..].trim_start().starts_with(is_opening);
            return !(aside && after.starts_with(is_han));
        }
        if mark.contains('…') && !mark.contains(['!', '?']) {
            let pause = after.trim_start().starts_with(char::is_lowercase);
            return !pause && (spaced || end > signs);
        }
        let cjk_before = self.text[..position].ends_with(is_cjk);
        if cjk_before && mark.contains('．') {
            return true;
        }
        if !spaced {
            return cjk_before && end > signs;
        }
        let next = after.trim_start().trim_start_matches(is_opening);
        if next.starts_with(char::is_lowercase) && !after.trim_start_matches([' ', '\t']).starts_with("\n\n") {
            return false;
        }
        mark != "." || end > signs || self.full_stop(position, next)
    }

    /// Whether a single full stop at `position`, with white space after it, ends a sentence.
    fn full_stop(&self, position: usize, next: &str) -> bool {
        let from = self.text[..position].floor_char_boundary(position.saturating_sub(24)).max(self.start);
        let before = &self.text[from..position];
        let word = before.rsplit(|c: char| c.is_whitespace() || is_opening(c) || is_cjk(c)).next().unwrap_or_default();
        if word.bytes().all(|b| b.is_ascii_digit()) && !word.is_empty() {
            let item = self.text[self.line.max(self.start)..position].trim_start() == word;
            return !item;
        }
        if TITLES.contains(&word) || is_initial(word) {
            return false;
        }
        if EITHER.contains(&word) || is_dotted_letters(word) {
            let following: &str = next.split(|c: char| !c.is_alphanumeric() && c != '\'').next().unwrap_or_default();
            return next.is_empty() || STARTERS.contains(&following);
        }
        true
    }

    fn skip_space(&self, position: usize) -> usize {
        position + length_while(&self.text[position..], char::is_whitespace)
    }
}

fn length_while(text: &str, holds: impl Fn(char) -> bool) -> usize {
    text.find(|c| !holds(c)).unwrap_or(text.len())
}

fn is_terminator(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '。' | '！' | '？' | '．' | '…')
}

fn is_closing(c: char) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '”' | '’' | '»' | '」' | '』' | '）' | '】' | '〕' | '》' | '＂')
}

fn is_opening(c: char) -> bool {
    matches!(c, '"' | '\'' | '(' | '[' | '“' | '‘' | '«' | '「' | '『' | '（' | '【' | '〔' | '《' | '＂')
}

/// A line that was broken only because the page was full.
fn is_wrapped(line: &str, next: &str) -> bool {
    let line = line.trim_end();
    let last = line.chars().next_back().unwrap_or(' ');
    let goes_on =
        (last.is_alphanumeric() || matches!(last, ',' | ';' | ':' | '-' | '—' | ')' | '"' | '”')) && !is_cjk(last);
    let next = next.chars().next().unwrap_or(' ');
    goes_on && line.chars().nth(39).is_some() && (next.is_alphanumeric() || is_opening(next)) && !is_cjk(next)
}

/// "J", as in J. K. Rowling; "I" is more often the pronoun at a sentence's end.
fn is_initial(word: &str) -> bool {
    let mut chars = word.chars();
    matches!((chars.next(), chars.next()), (Some(c), None) if c.is_uppercase() && c != 'I')
}

/// "U.S", "p.m", "e.g": letters with full stops between them.
fn is_dotted_letters(word: &str) -> bool {
    word.contains('.') && word.split('.').all(|part| part.len() == 1 && part.bytes().all(|b| b.is_ascii_alphabetic()))
}

/// After these another word of the same sentence follows.
const TITLES: &[&str] = &[
    "Mr", "Mrs", "Ms", "Dr", "Prof", "St", "Mt", "Messrs", "Gen", "Col", "Maj", "Capt", "Cmdr", "Lt", "Sgt", "Adm",
    "Rev", "Hon", "Pres", "Gov", "Sen", "Rep", "Supt", "Fr", "Mme", "Mlle", "vs", "cf", "viz", "e.g", "i.e", "al",
    "ca", "Fig", "fig", "Figs", "Eq", "Sec", "Ch", "Vol", "vol", "No", "Nos", "pp", "Art", "approx", "Jan", "Feb",
    "Mar", "Apr", "Jun", "Jul", "Aug", "Sep", "Sept", "Oct", "Nov", "Dec", "Ave", "Blvd", "Rd",
];

/// These stand within a sentence as well as at its end.
const EITHER: &[&str] =
    &["etc", "Inc", "Ltd", "Co", "Corp", "Jr", "Sr", "Bros", "Ph.D", "Esq", "ed", "eds", "Univ", "Dept"];

/// Words that, capitalised, usually begin a sentence.
const STARTERS: &[&str] = &[
    "The", "A", "An", "It", "He", "She", "They", "We", "I", "You", "This", "That", "These", "Those", "There", "In",
    "On", "At", "But", "And", "Or", "If", "When", "While", "As", "For", "From", "After", "Before", "However", "What",
    "Who", "Why", "How", "Where", "His", "Her", "Their", "Its", "Our", "My", "So", "No", "Not", "Then", "Some", "All",
];

#[cfg(test)]
mod tests {
    use super::sentences;
    use proptest::prelude::*;

    /// `|` in the expectation marks the cuts.
    fn check(marked: &str) {
        let text = marked.replace('|', "");
        assert_eq!(sentences(&text).join("|"), marked.trim_end_matches('|'));
    }

    #[test]
    fn english() {
        check("");
        check("No end");
        check("One. |Two! |Three? |Four");
        check("Dr. Watson met Mr. Holmes at 221B Baker St. in London. |They talked.");
        check("Pi is 3.14159, e.g. in circles. |Version 2.0. |Next.");
        check("J. K. Rowling and I. |She wrote.");
        check("He lived in the U.S. until 1950. |He left the U.S. |The rest followed.");
        check("The U.S. Senate met at 9 p.m. Eastern time.");
        check("\"Where are you?\" he asked. |\"Here!\" |She came.");
        check("Well... maybe not. |Wait... |What?!  |Yes.");
        check("(This is one.) |[This too.] |Done.");
        check("Apples, pears, etc. are fruit. |Acme Inc. makes them.");
        check("See example.com or a.b.c for it. |Good.");
    }

    #[test]
    fn chinese() {
        check("春眠不觉晓，处处闻啼鸟。|夜来风雨声，花落知多少？|");
        check("“你好！”|他说：“请坐。”|我坐下了。|");
        check("我……我不知道。|他走了……\n|");
        check("「去哪裡？」|「回家。」|");
        check("圆周率是3.14。|价格为2.5元！|真的？！|好");
        check("他（真的！）来了。|（完。）|下一章");
        check("我喜欢Rust. |它很快。|用 Python 3.13。|Good. |再见！|");
    }

    #[test]
    fn lines() {
        check("Chapter 1\n|It began.\n\n|It went on");
        check("It is a truth universally acknowledged, that a single man\nin possession of a good fortune.\n|Next");
        check("It is a truth universally acknowledged, that a single man\n\n|In possession");
        check("床前明月光\n|疑是地上霜\n|");
        check("1. First item\n|2. Second item\n|In 1999. |Then");
        check("\n\n Leading. |Then");
    }

    proptest! {
        #[test]
        fn the_pieces_are_the_text(text in "[a-zA-Z0-9 .!?…。！？．“”\"'（）()\n\t春眠,，]{0,80}") {
            let pieces = sentences(&text);
            prop_assert_eq!(pieces.concat(), &*text);
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
        }

        #[test]
        fn the_pieces_are_any_text(text in any::<String>()) {
            prop_assert_eq!(sentences(&text).concat(), text);
        }
    }
}
