//! What a word is.
//!
//! Text is cut at white space, and each piece by these rules, which are those of the English tokenizer of spaCy (the one
//! datatrove uses) up to rare exceptions: punctuation at both ends comes off mark by mark, "don't" becomes "do" and "n't",
//! hyphens, slashes and dots between words cut, addresses stay whole, and so do abbreviations with their dot ("Mr.",
//! "U.S."). Runs of Chinese characters are cut by jieba's dictionary and hidden Markov model; kana go one by one (hiragana)
//! or in runs (katakana). Punctuation marks are tokens of their own kind.

use std::sync::OnceLock;

use jieba_rs::Jieba;

/// A word or a punctuation mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub text: &'a str,
    /// Length in characters.
    pub chars: u32,
    pub kind: TokenKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// Has a letter of any script.
    Letters,
    /// Has a digit or a symbol such as ©, and no letter.
    Other,
    /// Nothing but punctuation.
    Punctuation,
}

/// What a run of Chinese characters becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Han {
    Words,
    Characters,
}

/// The tokens of a text.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    // English has a token every five bytes or so; a wrong guess costs one move.
    let mut out = Vec::with_capacity(text.len() / 5 + 1);
    cut(text, Han::Words, &mut out);
    out
}

/// As [`tokens`], but with each Chinese character alone: no dictionary, many times faster, and what an n-gram model of Chinese
/// is best made of.
pub(crate) fn units(text: &str) -> Vec<Token<'_>> {
    let mut out = Vec::with_capacity(text.len() / 4 + 1);
    cut(text, Han::Characters, &mut out);
    out
}

fn cut<'a>(text: &'a str, han: Han, out: &mut Vec<Token<'a>>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        while at < bytes.len() && CLASS[bytes[at] as usize] == LETTER {
            at += 1;
        }
        if at > start && (at == bytes.len() || CLASS[bytes[at] as usize] == SPACE) {
            out.push(Token { text: &text[start..at], chars: (at - start) as u32, kind: TokenKind::Letters });
            at += 1;
            continue;
        }
        let mut ascii = true;
        while at < bytes.len() && CLASS[bytes[at] as usize] != SPACE {
            ascii &= bytes[at] < 128;
            at += 1;
        }
        if ascii {
            piece(&text[start..at], out);
        } else {
            scripts(&text[start..at], han, out);
        }
        at += 1;
    }
}

const OTHER: u8 = 0;
const LETTER: u8 = 1;
const SPACE: u8 = 2;

/// The class of each byte; those of non-ASCII characters are `OTHER`.
const CLASS: [u8; 256] = {
    let mut class = [OTHER; 256];
    let mut byte = 0;
    while byte < 128 {
        let b = byte as u8;
        if b.is_ascii_alphabetic() {
            class[byte] = LETTER;
        } else if b == b' ' || (b >= 9 && b <= 13) || (b >= 0x1C && b <= 0x1F) {
            class[byte] = SPACE;
        }
        byte += 1;
    }
    class
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Space,
    Han,
    Hiragana,
    Katakana,
    Rest,
}

fn script(c: char) -> Script {
    match c {
        '\0'..='\u{7F}' => Script::Rest,
        _ if c.is_whitespace() => Script::Space,
        _ if is_han(c) => Script::Han,
        '\u{3040}'..='\u{309F}' => Script::Hiragana,
        '\u{30A0}'..='\u{30FF}' | '\u{31F0}'..='\u{31FF}' | '\u{FF66}'..='\u{FF9F}' => Script::Katakana,
        _ => Script::Rest,
    }
}

/// Chinese characters: the unified ideographs with extensions, compatibility ideographs, 々 and 〇.
pub(crate) fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{323AF}'
        | '々' | '〇')
}

/// A piece with non-ASCII characters: runs of one script at a time.
fn scripts<'a>(text: &'a str, han: Han, out: &mut Vec<Token<'a>>) {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let script_of_run = script(first);
        let end = rest.find(|c| script(c) != script_of_run).unwrap_or(rest.len());
        let (run, left) = rest.split_at(end);
        rest = left;
        match (script_of_run, han) {
            (Script::Space, _) => {}
            (Script::Han, Han::Words) => {
                out.extend(jieba().cut(run, true).into_iter().map(|word| token(word.word, TokenKind::Letters)));
            }
            (Script::Han, Han::Characters) | (Script::Hiragana, _) => {
                let ends = run.char_indices().map(|(at, c)| &run[at..at + c.len_utf8()]);
                out.extend(ends.map(|c| Token { text: c, chars: 1, kind: TokenKind::Letters }));
            }
            (Script::Katakana, _) => out.push(token(run, TokenKind::Letters)),
            (Script::Rest, _) => piece(run, out),
        }
    }
}

/// Chinese segmentation, loaded once for all threads (0.2 s).
fn jieba() -> &'static Jieba {
    static JIEBA: OnceLock<Jieba> = OnceLock::new();
    JIEBA.get_or_init(Jieba::new)
}

fn token(text: &str, kind: TokenKind) -> Token<'_> {
    Token { text, chars: text.chars().count() as u32, kind }
}

fn push<'a>(text: &'a str, out: &mut Vec<Token<'a>>) {
    if text.is_empty() {
        return;
    }
    let mut kind = TokenKind::Punctuation;
    let mut chars = 0;
    for c in text.chars() {
        chars += 1;
        if c.is_alphabetic() {
            kind = TokenKind::Letters;
        } else if kind == TokenKind::Punctuation && !is_punctuation(c) {
            kind = TokenKind::Other;
        }
    }
    out.push(Token { text, chars, kind });
}

/// Punctuation in the wide sense in which datatrove strips it: ASCII marks and symbols, control characters, dashes, quotes and
/// bullets of all scripts. Symbols such as © or → are not.
pub(crate) fn is_punctuation(c: char) -> bool {
    match c {
        '\0'..='\u{7F}' => c.is_ascii_punctuation() || c.is_ascii_control(),
        '\u{80}'..='\u{9F}'
        | '¡'
        | '§'
        | '«'
        | '¶'
        | '·'
        | '»'
        | '¿'
        | '´'
        | '؟'
        | '،'
        | '؛'
        | '۔'
        | '।'
        | '॥'
        | '։'
        | '።' => true,
        '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205E}' | '\u{2E00}'..='\u{2E5D}' => true,
        '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}' | '\u{3014}'..='\u{301F}' | '\u{3030}' | '・' => true,
        '\u{FE10}'..='\u{FE19}' | '\u{FE30}'..='\u{FE6B}' => true,
        '\u{FF01}'..='\u{FF0F}' | '\u{FF1A}'..='\u{FF20}' | '\u{FF3B}'..='\u{FF40}' | '\u{FF5B}'..='\u{FF65}' => true,
        _ => false,
    }
}

/// Whether a mark comes off the ends of a word. Closing dots have rules of their own.
fn is_affix(c: char) -> bool {
    !matches!(c, '/' | '-' | '\\' | '^' | '|' | '+' | '@' | '.') && (is_punctuation(c) || is_sign(c))
}

/// Currency, arrows, pictures: symbols that stand alone even when written next to a word.
fn is_sign(c: char) -> bool {
    matches!(c, '£' | '¥' | '¢' | '°' | '©' | '®' | '\u{20A0}'..='\u{20C0}' | '\u{2100}'..='\u{214F}' | '\u{2190}'..='\u{2BFF}'
        | '\u{1F000}'..='\u{1FAFF}')
}

/// A piece without white space and Chinese.
fn piece<'a>(text: &'a str, out: &mut Vec<Token<'a>>) {
    let mut rest = text;
    // What comes off the end, last first.
    let mut ends: Vec<&'a str> = Vec::new();
    loop {
        if is_whole(rest) {
            break;
        }
        if let Some(length) = prefix(rest) {
            push(&rest[..length], out);
            rest = &rest[length..];
        } else if let Some(length) = suffix(rest) {
            let (left, end) = rest.split_at(rest.len() - length);
            ends.push(end);
            rest = left;
        } else {
            break;
        }
    }
    middle(rest, out);
    for end in ends.into_iter().rev() {
        push(end, out);
    }
}

/// Pieces that no rule cuts.
fn is_whole(text: &str) -> bool {
    if text.len() <= 1 {
        return true;
    }
    let bytes = text.as_bytes();
    let last = bytes[bytes.len() - 1];
    (last == b'.' && (is_abbreviation(text) || text.len() == 2 && bytes[0].is_ascii_alphabetic())) || is_face(bytes)
}

/// ":)" and its like.
fn is_face(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [b':' | b';' | b'=', b')' | b'(' | b'D' | b'P' | b'/' | b'|']
            | [b':' | b';' | b'=', b'-', b')' | b'(' | b'D' | b'P']
    )
}

/// Abbreviations that keep their dot, in alphabetical order.
const ABBREVIATIONS: &[&str] = &[
    "Adm.", "Ala.", "Apr.", "Ariz.", "Ark.", "Aug.", "Bros.", "Calif.", "Co.", "Colo.", "Conn.", "Corp.", "D.C.",
    "Dec.", "Del.", "Dr.", "E.G.", "E.g.", "Feb.", "Fla.", "Ga.", "Gen.", "Gov.", "I.E.", "I.e.", "Ia.", "Id.", "Ill.",
    "Inc.", "Ind.", "Jan.", "Jr.", "Jul.", "Jun.", "Kan.", "Kans.", "Ky.", "La.", "Ltd.", "Mar.", "Mass.", "Md.",
    "Messrs.", "Mich.", "Minn.", "Miss.", "Mo.", "Mont.", "Mr.", "Mrs.", "Ms.", "Mt.", "N.C.", "N.D.", "N.H.", "N.J.",
    "N.M.", "N.Y.", "Neb.", "Nebr.", "Nev.", "Nov.", "Oct.", "Okla.", "Ore.", "Pa.", "Ph.D.", "Prof.", "Rep.", "Rev.",
    "S.C.", "Sen.", "Sep.", "Sept.", "St.", "Tenn.", "Va.", "Wash.", "Wis.", "a.m.", "co.", "e.g.", "i.e.", "p.m.",
    "v.s.", "vs.",
];

fn is_abbreviation(text: &str) -> bool {
    text.len() <= 7 && ABBREVIATIONS.binary_search(&text).is_ok()
}

/// The length in bytes of the mark at the beginning, if one comes off.
fn prefix(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    match bytes {
        [b'.', b'.', ..] => Some(bytes.iter().take_while(|&&byte| byte == b'.').count()),
        [b'+', next, ..] => (!next.is_ascii_digit()).then_some(1),
        // A clitic that stands alone is one token.
        [b'\'', ..] if CLITICS.iter().any(|clitic| clitic.eq_ignore_ascii_case(text)) => None,
        _ => {
            let first = text.chars().next()?;
            (is_affix(first) || first == '-' && text.len() == 1).then(|| first.len_utf8())
        }
    }
}

const CLITICS: [&str; 7] = ["'s", "n't", "'ll", "'re", "'ve", "'d", "'m"];

/// The length in bytes of what comes off the end: a mark, a dot that closes a sentence, a clitic, a unit after a number.
fn suffix(text: &str) -> Option<usize> {
    let mut backwards = text.chars().rev();
    let last = backwards.next()?;
    let before = backwards.next();
    if last == '.' {
        if text.ends_with("..") {
            return Some(text.bytes().rev().take_while(|&byte| byte == b'.').count());
        }
        let before = before?;
        let closes = before.is_lowercase()
            || before.is_numeric()
            || (is_affix(before) || matches!(before, '-' | '+' | '/'))
            || (before.is_uppercase() && backwards.next().is_some_and(char::is_uppercase));
        return closes.then_some(1);
    }
    if is_affix(last) {
        return Some(last.len_utf8());
    }
    if let Some(length) = clitic(text) {
        return Some(length);
    }
    unit(text)
}

/// "'s" of "it's", "n't" of "don't", also with the typographic apostrophe.
fn clitic(text: &str) -> Option<usize> {
    let at = text.rfind(['\'', '’'])?;
    let (base, end) = text.split_at(at);
    let letters = &end[end.chars().next()?.len_utf8()..];
    if !base.chars().next_back()?.is_alphanumeric() || letters.len() > 2 {
        return None;
    }
    match letters {
        "s" | "S" | "ll" | "LL" | "re" | "RE" | "ve" | "VE" | "d" | "D" | "m" | "M" => Some(end.len()),
        "t" | "T" if base.len() > 1 && base.ends_with(['n', 'N']) => Some(end.len() + 1),
        _ => None,
    }
}

/// Units that come off the number they follow: "5km", "10%".
const UNITS: &[&str] = &[
    "km", "m", "dm", "cm", "mm", "ha", "ft", "kg", "g", "mg", "t", "lb", "oz", "m/s", "km/h", "mph", "kmh", "Pa",
    "hPa", "mb", "MB", "kb", "KB", "gb", "GB", "tb", "TB", "T", "G", "M", "K",
];

fn unit(text: &str) -> Option<usize> {
    let at = text.rfind(|c: char| c.is_ascii_digit())? + 1;
    let unit = &text[at..];
    UNITS.contains(&unit).then_some(unit.len())
}

/// What is left between the ends: addresses whole, everything else cut at hyphens, slashes and dots between words.
fn middle<'a>(text: &'a str, out: &mut Vec<Token<'a>>) {
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) || is_whole(text) || is_address(text) {
        if text.eq_ignore_ascii_case("cannot") {
            push(&text[..3], out);
            push(&text[3..], out);
        } else {
            push(text, out);
        }
        return;
    }
    let mut start = 0;
    let mut before = None;
    let mut marks = text.char_indices().peekable();
    while let Some((at, c)) = marks.next() {
        let length = if at >= start { infix(before, c, &text[at..]) } else { None };
        if let Some(length) = length {
            push(&text[start..at], out);
            push(&text[at..at + length], out);
            start = at + length;
        }
        before = Some(c);
    }
    push(&text[start..], out);
}

/// The length in bytes of the mark at the beginning of `rest` if it cuts a word that has `before` in front of it.
fn infix(before: Option<char>, c: char, rest: &str) -> Option<usize> {
    if c.is_alphanumeric() {
        return None;
    }
    let before = before?;
    let mut following = rest[c.len_utf8()..].chars();
    let next = following.next()?;
    let one = Some(c.len_utf8());
    match c {
        '.' if next == '.' => Some(rest.bytes().take_while(|&byte| byte == b'.').count()),
        '…' => one,
        '.' if before.is_lowercase() && next.is_uppercase() => one,
        ',' if before.is_alphabetic() && next.is_alphabetic() => one,
        '-' | '–' | '—' | '~' if before.is_alphanumeric() && next.is_alphabetic() => one,
        '-' | '—' if before.is_alphanumeric() && next == c => {
            let run = rest.chars().take_while(|&mark| mark == c).count();
            let after = rest.chars().nth(run)?;
            (run <= 3 && after.is_alphabetic()).then(|| run * c.len_utf8())
        }
        '+' | '-' | '*' | '^' if before.is_ascii_digit() && (next.is_ascii_digit() || next == '-') => one,
        ':' | '<' | '>' | '=' | '/' if before.is_alphanumeric() && next.is_alphabetic() => one,
        _ if is_sign(c) => one,
        _ => None,
    }
}

/// Web and mail addresses, roughly: a scheme, "www.", or labels with dots and a last one of letters.
fn is_address(text: &str) -> bool {
    if text.contains("://") || text.starts_with("www.") {
        return true;
    }
    if !text.contains('.') {
        return false;
    }
    let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let host = host.split(['/', '?', '#', ':']).next().unwrap_or_default();
    let Some((labels, top)) = host.rsplit_once('.') else { return false };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            && label.starts_with(char::is_alphanumeric)
    };
    top.len() >= 2 && top.chars().all(|c| c.is_alphabetic()) && labels.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::{tokens, units};
    use proptest::prelude::*;

    fn check(text: &str, expect: &str) {
        let found: Vec<_> = tokens(text).iter().map(|token| token.text).collect();
        assert_eq!(found.join("|"), expect, "{text:?}");
    }

    #[test]
    fn english() {
        check("", "");
        check("The cat sat.", "The|cat|sat|.");
        check("  two\n\nlines ", "two|lines");
        check("(He said, \"don't!\")", "(|He|said|,|\"|do|n't|!|\"|)");
        check("it's John's they'll can't cannot", "it|'s|John|'s|they|'ll|ca|n't|can|not");
        check("Mr. Smith of the U.S. left.", "Mr.|Smith|of|the|U.S.|left|.");
        check("J. K. saw the USA.", "J.|K.|saw|the|USA|.");
        check(
            "well-known and/or 3.5 1,000 wait...no word--word",
            "well|-|known|and|/|or|3.5|1,000|wait|...|no|word|--|word",
        );
        check(
            "see https://example.com/a?b=1. or a.b@example.org,",
            "see|https://example.com/a?b=1|.|or|a.b@example.org|,",
        );
        check("costs $5 or 10% of 5km", "costs|$|5|or|10|%|of|5|km");
        check("[1] #tag ... -5", "[|1|]|#|tag|...|-5");
    }

    #[test]
    fn chinese_and_mixed() {
        check("我来到北京清华大学。", "我|来到|北京|清华大学|。");
        check("用Rust写的程序，快！", "用|Rust|写|的|程序|，|快|！");
        check("他说：“你好……”", "他|说|：|“|你好|…|…|”");
        check("カタカナとひら", "カタカナ|と|ひ|ら");
        let found: Vec<_> = units("北京is大").iter().map(|token| token.text).collect();
        assert_eq!(found, ["北", "京", "is", "大"]);
    }

    proptest! {
        #[test]
        fn tokens_are_the_text_without_white_space(text in "\\PC{0,60}|[a-zA-Z0-9.,'’/:+ \n\t春眠あア\u{3000}—…-]{0,60}") {
            let all: String = tokens(&text).iter().map(|token| token.text).collect();
            let solid: String = text.chars().filter(|c| !c.is_whitespace() && !('\x1C'..='\x1F').contains(c)).collect();
            prop_assert_eq!(&all, &solid);
            let again: String = units(&text).iter().map(|token| token.text).collect();
            prop_assert_eq!(again, solid);
        }

        #[test]
        fn lengths_are_in_characters(text in any::<String>()) {
            for token in tokens(&text) {
                prop_assert_eq!(token.chars as usize, token.text.chars().count());
                prop_assert!(token.chars > 0);
            }
        }
    }
}
