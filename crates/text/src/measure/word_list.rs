use std::path::Path;
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use rustc_hash::FxHashSet;

use super::Analysis;
use crate::TextError;

/// Words and phrases to count in a text, in any language, whatever their case (of ASCII letters).
///
/// Entries that begin or end with a letter or digit of an alphabet match whole words only ("ass" is not in "class");
/// Chinese, Japanese and Thai ones match anywhere. Of entries that overlap the leftmost longest counts.
#[derive(Debug)]
pub struct WordList {
    finder: AhoCorasick,
}

impl WordList {
    /// One entry a line; blank lines and those that begin with `#` say nothing.
    pub fn parse(lines: &str) -> Result<Self, TextError> {
        let entries: Vec<&str> =
            lines.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        let finder = AhoCorasickBuilder::new()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::LeftmostLongest)
            .build(&entries);
        let finder =
            finder.map_err(|error| TextError::BadWordList { entries: entries.len(), message: error.to_string() })?;
        Ok(Self { finder })
    }

    /// Reads a file of entries, one a line.
    ///
    /// # Errors
    /// A file that cannot be read or is not UTF-8.
    pub fn load(path: &Path) -> Result<Self, TextError> {
        let lines = std::fs::read_to_string(path);
        Self::parse(&lines.map_err(|source| TextError::Io { action: "read", path: path.into(), source })?)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.finder.patterns_len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often its entries stand in a text.
    pub fn count(&self, analysis: &Analysis<'_>) -> usize {
        let text = analysis.text();
        self.finder.find_iter(text.as_bytes()).filter(|found| is_whole(text, found.start(), found.end())).count()
    }
}

/// Whether no word goes on beyond either end of `text[start..end]`.
fn is_whole(text: &str, start: usize, end: usize) -> bool {
    let (Some(before), Some(after)) = (text.get(..start), text.get(end..)) else { return false };
    let found = &text[start..end];
    let joins =
        |outside: Option<char>, inside: Option<char>| outside.is_some_and(is_of_word) && inside.is_some_and(is_of_word);
    !joins(before.chars().next_back(), found.chars().next()) && !joins(after.chars().next(), found.chars().next_back())
}

/// Letters of scripts that put spaces between words.
fn is_of_word(c: char) -> bool {
    c.is_alphanumeric()
        && !matches!(c, '\u{E00}'..='\u{EFF}' | '\u{2E80}'..='\u{A4CF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{323AF}')
}

/// The profanities and insults, English and Chinese, that `toxicity_words` counts unless a recipe names another list.
pub fn toxicity_list() -> &'static WordList {
    static LIST: OnceLock<WordList> = OnceLock::new();
    LIST.get_or_init(|| built_in(include_str!("words/toxicity.txt")))
}

/// Phrases of gambling, adult and forged-paper advertisements, English and Chinese.
pub(super) fn spam_list() -> &'static WordList {
    static LIST: OnceLock<WordList> = OnceLock::new();
    LIST.get_or_init(|| built_in(include_str!("words/spam.txt")))
}

#[allow(clippy::expect_used)]
fn built_in(lines: &str) -> WordList {
    WordList::parse(lines).expect("the lists that ship are small")
}

/// Whole words, found whatever their case.
pub(super) struct Stopwords {
    words: FxHashSet<&'static str>,
    longest: usize,
}

impl Stopwords {
    fn parse(lines: &'static str) -> Self {
        let words: FxHashSet<&str> =
            lines.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).collect();
        let longest = words.iter().map(|word| word.len()).max().unwrap_or_default();
        Self { words, longest }
    }

    pub fn contains(&self, word: &str) -> bool {
        if word.len() > self.longest {
            return false;
        }
        if word.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.words.contains(word.to_ascii_lowercase().as_str());
        }
        self.words.contains(word)
    }
}

/// Function words of English, in the pieces that the tokenizer makes ("n't").
pub(super) fn english_stopwords() -> &'static Stopwords {
    static LIST: OnceLock<Stopwords> = OnceLock::new();
    LIST.get_or_init(|| Stopwords::parse(include_str!("words/stopwords_en.txt")))
}

/// Function words of Chinese, in Simplified and Traditional characters.
pub(super) fn chinese_stopwords() -> &'static Stopwords {
    static LIST: OnceLock<Stopwords> = OnceLock::new();
    LIST.get_or_init(|| Stopwords::parse(include_str!("words/stopwords_zh.txt")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(list: &str, text: &str, expect: usize) {
        assert_eq!(WordList::parse(list).unwrap().count(&Analysis::new(text)), expect, "{list:?} in {text:?}");
    }

    #[test]
    fn whole_words_and_chinese_anywhere() {
        check("# a list\nass\n\nbad word", "Ass, class; a BAD WORD, bad words", 2);
        check("坏\n坏人", "坏人和坏事", 2);
        check("坏", "bad坏bad", 1);
        check("", "anything", 0);
        check("café", "café cafés", 1);
    }
}
