//! The line rules of C4, in the order of its program: what one line says depends on the rules before it.

use std::borrow::Cow;
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind};

use super::lines::{ends_sentence, is_terminal};
use super::tokens::{Token, TokenKind, is_han, tokens};

/// Words of more characters than this are rubble.
const LONGEST_WORD: usize = 1000;
/// Lines of fewer words are menus and captions.
const FEWEST_WORDS: usize = 3;

/// What the line rules find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct C4 {
    /// Lines, blank ones too.
    pub lines: usize,
    /// Lines that all rules keep.
    pub kept: usize,
    /// Sentences in the kept lines.
    pub sentences: usize,
    /// Lines with a curly bracket, of those that the rules before it keep.
    pub braces: usize,
    /// Lines with "lorem ipsum", likewise.
    pub lorem_ipsum: usize,
}

impl C4 {
    /// `all` are the tokens of the whole text.
    pub fn of(text: &str, all: &[Token<'_>]) -> Self {
        let mut this = Self::default();
        let place = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
        let mut next = 0;
        for line in text.lines() {
            this.lines += 1;
            let (line, verdict) = judge(line);
            match verdict {
                Verdict::Keep => {
                    this.kept += 1;
                    this.sentences += match line {
                        Cow::Borrowed(line) => {
                            let (start, end) = (place(line), place(line) + line.len());
                            next += all[next..].partition_point(|token| place(token.text) < start);
                            let length = all[next..].partition_point(|token| place(token.text) < end);
                            let tokens = &all[next..next + length];
                            next += length;
                            sentences(tokens)
                        }
                        Cow::Owned(line) => sentences(&tokens(&line)),
                    };
                }
                Verdict::Brace => this.braces += 1,
                Verdict::LoremIpsum => this.lorem_ipsum += 1,
                Verdict::Drop => {}
            }
        }
        this
    }
}

/// The text as C4 leaves it: the lines that end as sentences do, have three words or more, and speak neither of JavaScript nor
/// of cookies; without "\[1\]" and the like. Of Chinese each character counts as a word and 。！？ end a sentence.
/// Lines for which C4 drops the whole text (a curly bracket, "lorem ipsum") stay, so that a rule that comes later sees them.
/// (Raffel et al. 2020, 2.2.)
pub fn c4_clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let (line, verdict) = judge(line);
        if matches!(verdict, Verdict::Drop) {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&line);
    }
    out.truncate(out.trim_end().len());
    out
}

enum Verdict {
    Keep,
    Drop,
    /// A reason to drop the whole document.
    Brace,
    /// Likewise.
    LoremIpsum,
}

/// The line as C4 would keep it, and whether it does.
fn judge(line: &str) -> (Cow<'_, str>, Verdict) {
    let line = line.trim();
    let words = count_words(line);
    if has_long_word(line) {
        return (line.into(), Verdict::Drop);
    }
    let line = without_citations(line);
    if !ends_as_c4_wants(&line) || words < FEWEST_WORDS {
        return (line, Verdict::Drop);
    }
    let mut verdict = Verdict::Keep;
    // The first rule that speaks decides.
    let phrases = phrases().find_iter(line.as_bytes()).map(|found| found.pattern().as_usize()).min();
    let javascript = phrases.is_some_and(|first| first == JAVASCRIPT);
    if phrases == Some(LOREM_IPSUM) {
        verdict = Verdict::LoremIpsum;
    } else if javascript {
        verdict = Verdict::Drop;
    } else if line.contains('{') {
        verdict = Verdict::Brace;
    } else if phrases.is_some() {
        verdict = Verdict::Drop;
    }
    (line, verdict)
}

fn has_long_word(line: &str) -> bool {
    let mut rest = line.as_bytes();
    while rest.len() > LONGEST_WORD {
        // The last space of so many bytes: the word before it is short, and so is what lies before that.
        let Some(space) = rest[..=LONGEST_WORD].iter().rposition(u8::is_ascii_whitespace) else {
            return line.split_whitespace().any(|word| word.chars().count() > LONGEST_WORD);
        };
        rest = &rest[space + 1..];
    }
    false
}

const LOREM_IPSUM: usize = 0;
const JAVASCRIPT: usize = 1;
/// What C4 looks for in lower case; from the third on, policies.
const PHRASES: [&str; 8] = [
    "lorem ipsum",
    "javascript",
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
];

#[allow(clippy::expect_used)]
fn phrases() -> &'static AhoCorasick {
    static PHRASES_FOUND: OnceLock<AhoCorasick> = OnceLock::new();
    PHRASES_FOUND.get_or_init(|| {
        let mut builder = AhoCorasickBuilder::new();
        builder
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(PHRASES)
            .expect("eight short patterns")
    })
}

/// How often "lorem ipsum" stands in a text, in any case.
pub(super) fn lorem_ipsum_count(text: &str) -> usize {
    phrases().find_iter(text.as_bytes()).filter(|found| found.pattern().as_usize() == LOREM_IPSUM).count()
}

/// Lines that name JavaScript.
pub(super) fn javascript_lines(lines: &[&str]) -> usize {
    lines.iter().filter(|line| finds(line, |phrase| phrase == JAVASCRIPT)).count()
}

/// Lines about cookies, privacy or terms of use.
pub(super) fn policy_lines(lines: &[&str]) -> usize {
    lines
        .iter()
        .filter(|line| finds(line, |phrase| phrase > JAVASCRIPT) || POLICY_ZH.iter().any(|zh| line.contains(zh)))
        .count()
}

/// The same in Chinese, which C4 does not ask for.
const POLICY_ZH: [&str; 5] = ["隐私政策", "使用条款", "服务条款", "隱私權政策", "使用Cookie"];

fn finds(line: &str, wanted: impl Fn(usize) -> bool) -> bool {
    phrases().find_iter(line.as_bytes()).any(|found| wanted(found.pattern().as_usize()))
}

/// Words between white space; each Chinese character is one more.
fn count_words(line: &str) -> usize {
    if line.is_ascii() {
        return line.split_ascii_whitespace().take(FEWEST_WORDS).count();
    }
    line.split_whitespace().count() + line.chars().filter(|&c| is_han(c)).take(FEWEST_WORDS).count()
}

/// Without the marks of Wikipedia's footnotes: `[1]`, `[]`, `[edit]`, `[citation needed]`.
fn without_citations(line: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = line;
    let mut from = 0;
    while let Some(at) = rest[from..].find('[').map(|at| at + from) {
        let after = &rest[at + 1..];
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let length = if after[digits..].starts_with(']') {
            Some(digits + 2)
        } else {
            ["edit]", "citation needed]"].iter().find(|mark| after.starts_with(**mark)).map(|mark| mark.len() + 1)
        };
        match length {
            Some(length) => {
                out.push_str(&rest[..at]);
                rest = &rest[at + length..];
                from = 0;
            }
            None => from = at + 1,
        }
    }
    if rest.len() == line.len() {
        return line.into();
    }
    out.push_str(rest);
    out.into()
}

fn ends_as_c4_wants(line: &str) -> bool {
    match line.as_bytes() {
        [.., b'.', b'.', b'.'] => false,
        [.., b'.' | b'?' | b'!' | b'"' | b'\''] => true,
        [.., last] if !last.is_ascii() => ends_sentence(line),
        _ => false,
    }
}

/// Sentences among tokens: one ends with a terminal mark that stands alone (that of "Mr." does not) and the punctuation
/// after it. What is left without a mark is one too.
pub(super) fn sentences(tokens: &[Token<'_>]) -> usize {
    let mut count = usize::from(!tokens.is_empty());
    let mut ended = false;
    for token in tokens {
        if token.kind == TokenKind::Punctuation {
            ended |= token.chars == 1 && token.text.chars().all(is_terminal);
        } else if ended {
            count += 1;
            ended = false;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, kept: usize, sentences: usize, braces: usize, lorem_ipsum: usize) {
        let expect = C4 { lines: text.lines().count(), kept, sentences, braces, lorem_ipsum };
        assert_eq!(C4::of(text, &tokens(text)), expect, "{text:?}");
    }

    #[test]
    fn line_rules() {
        check("", 0, 0, 0, 0);
        check("The cat sat. The dog ran!\nMenu\nNo mark at the end\nToo short.", 1, 2, 0, 0);
        check("Mr. Smith of the U.S. came. He \"left.\"", 1, 2, 0, 0);
        check("It ends in dots...\nLorem Ipsum dolor sit.\nfunction () { return 1 } yes.", 0, 0, 1, 1);
        check("This uses cookies to work.\nTurn on JavaScript { now please.", 0, 0, 0, 0);
        check("The cat sat.[1] The dog[citation needed] ran.[23]", 1, 2, 0, 0);
        check("春眠不觉晓。处处闻啼鸟！\n首页 登录\n他说：“来吧。”", 2, 3, 0, 0);
    }

    #[test]
    fn what_is_left() {
        assert_eq!(
            c4_clean("Home\n  The cat [1]sat[edit] down.\n\nWe use cookies on this site.\nAnd then left.\n"),
            "The cat sat down.\nAnd then left."
        );
        assert_eq!(c4_clean("x[1"), "");
        assert_eq!(c4_clean("a b [x] [12 c."), "a b [x] [12 c.");
    }
}
