use std::cell::{OnceCell, RefCell};

use rustc_hash::FxHashMap;

use super::c4::{C4, sentences};
use super::characters::Characters;
use super::lines::{Duplicates, LineCounts};
use super::repeats::Repeats;
use super::tokens::{Token, TokenKind, tokens};
use super::word_list::{chinese_stopwords, english_stopwords};
use crate::{Language, detect_language};

/// What the functions of one text share: words, lines, repetitions are found once, when first asked for.
pub struct Analysis<'a> {
    text: &'a str,
    chars: OnceCell<usize>,
    characters: OnceCell<Characters>,
    tokens: OnceCell<Vec<Token<'a>>>,
    words: OnceCell<Vec<&'a str>>,
    lines: OnceCell<Vec<&'a str>>,
    paragraphs: OnceCell<Vec<&'a str>>,
    language: OnceCell<Language>,
    vocabulary: OnceCell<Vocabulary>,
    word_counts: OnceCell<WordCounts>,
    line_counts: OnceCell<LineCounts>,
    duplicate_lines: OnceCell<Duplicates>,
    duplicate_paragraphs: OnceCell<Duplicates>,
    word_repeats: OnceCell<RefCell<Repeats>>,
    character_repeats: OnceCell<RefCell<Repeats>>,
    c4: OnceCell<C4>,
}

/// Each token by number, in order of first occurrence.
pub(super) struct Vocabulary {
    /// The number of each token.
    ids: Vec<u32>,
    /// How often each number occurs.
    counts: Vec<u32>,
}

/// Sums over the tokens.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WordCounts {
    /// Tokens that are not punctuation.
    pub words: usize,
    /// Those with a letter.
    pub with_letter: usize,
    /// Characters of all words.
    pub chars: usize,
    /// Characters of the longest.
    pub longest: usize,
    /// How many of the eight words that Gopher asks for occur.
    pub gopher_stopwords: usize,
}

/// Words that running English does not do without (Rae et al. 2021, A.1.1).
const GOPHER_STOPWORDS: [&str; 8] = ["the", "be", "to", "of", "and", "that", "have", "with"];

impl<'a> Analysis<'a> {
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            chars: OnceCell::new(),
            characters: OnceCell::new(),
            tokens: OnceCell::new(),
            words: OnceCell::new(),
            lines: OnceCell::new(),
            paragraphs: OnceCell::new(),
            language: OnceCell::new(),
            vocabulary: OnceCell::new(),
            word_counts: OnceCell::new(),
            line_counts: OnceCell::new(),
            duplicate_lines: OnceCell::new(),
            duplicate_paragraphs: OnceCell::new(),
            word_repeats: OnceCell::new(),
            character_repeats: OnceCell::new(),
            c4: OnceCell::new(),
        }
    }

    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Words in order: what is left of the text without white space and punctuation. English as spaCy cuts it ("don't" is
    /// two words), Chinese as jieba does.
    pub fn words(&self) -> &[&'a str] {
        self.words.get_or_init(|| {
            let words = self.tokens().iter().filter(|token| token.kind != TokenKind::Punctuation);
            words.map(|token| token.text).collect()
        })
    }

    /// Lines that are not blank, without their line ends.
    pub fn lines(&self) -> &[&'a str] {
        self.lines.get_or_init(|| self.text.lines().filter(|line| !line.trim().is_empty()).collect())
    }

    /// What stands between blank lines.
    pub fn paragraphs(&self) -> &[&'a str] {
        self.paragraphs.get_or_init(|| {
            let paragraphs = self.text.trim().split("\n\n").map(|paragraph| paragraph.trim_matches('\n'));
            paragraphs.filter(|paragraph| !paragraph.is_empty()).collect()
        })
    }

    /// The language of the beginning of the text.
    pub fn language(&self) -> &Language {
        self.language.get_or_init(|| detect_language(self.text))
    }

    /// Length in characters (Unicode scalar values).
    pub(super) fn chars(&self) -> usize {
        *self.chars.get_or_init(|| self.text.chars().count())
    }

    pub(super) fn characters(&self) -> &Characters {
        self.characters.get_or_init(|| Characters::of(self.text))
    }

    /// Words and punctuation marks.
    pub(super) fn tokens(&self) -> &[Token<'a>] {
        self.tokens.get_or_init(|| tokens(self.text))
    }

    fn vocabulary(&self) -> &Vocabulary {
        self.vocabulary.get_or_init(|| {
            let tokens = self.tokens();
            let mut numbers: FxHashMap<&str, u32> = FxHashMap::default();
            let mut vocabulary = Vocabulary { ids: Vec::with_capacity(tokens.len()), counts: Vec::new() };
            for token in tokens {
                let next = vocabulary.counts.len() as u32;
                let id = *numbers.entry(token.text).or_insert(next);
                if id == next {
                    vocabulary.counts.push(0);
                }
                vocabulary.counts[id as usize] += 1;
                vocabulary.ids.push(id);
            }
            vocabulary
        })
    }

    /// Different words among all words, punctuation aside.
    pub(super) fn distinct_words(&self) -> usize {
        let vocabulary = self.vocabulary();
        let mut next = 0;
        let mut distinct = 0;
        for (token, &id) in self.tokens().iter().zip(&vocabulary.ids) {
            if id == next {
                next += 1;
                distinct += usize::from(token.kind != TokenKind::Punctuation);
            }
        }
        distinct
    }

    pub(super) fn word_counts(&self) -> &WordCounts {
        self.word_counts.get_or_init(|| {
            let mut counts = WordCounts::default();
            let mut gopher = [false; GOPHER_STOPWORDS.len()];
            for token in self.tokens().iter().filter(|token| token.kind != TokenKind::Punctuation) {
                counts.words += 1;
                counts.chars += token.chars as usize;
                counts.longest = counts.longest.max(token.chars as usize);
                counts.with_letter += usize::from(token.kind == TokenKind::Letters);
                if (2..=4).contains(&token.text.len())
                    && let Some(which) = GOPHER_STOPWORDS.iter().position(|&word| word == token.text)
                {
                    gopher[which] = true;
                }
            }
            counts.gopher_stopwords = gopher.iter().filter(|&&found| found).count();
            counts
        })
    }

    /// Occurrences of words on the stop word lists, whatever their case.
    pub(super) fn stopwords(&self) -> usize {
        let tokens = self.tokens().iter().filter(|token| token.kind == TokenKind::Letters);
        tokens
            .filter(|token| english_stopwords().contains(token.text) || chinese_stopwords().contains(token.text))
            .count()
    }

    pub(super) fn line_counts(&self) -> &LineCounts {
        self.line_counts.get_or_init(|| LineCounts::of(self.text))
    }

    pub(super) fn duplicate_lines(&self) -> Duplicates {
        *self.duplicate_lines.get_or_init(|| Duplicates::among(self.lines()))
    }

    pub(super) fn duplicate_paragraphs(&self) -> Duplicates {
        *self.duplicate_paragraphs.get_or_init(|| Duplicates::among(self.paragraphs()))
    }

    /// Repeated n-grams of words and punctuation marks.
    pub(super) fn word_repeats(&self) -> &RefCell<Repeats> {
        self.word_repeats.get_or_init(|| {
            let lengths = self.tokens().iter().map(|token| token.chars);
            RefCell::new(Repeats::new(&self.vocabulary().ids, lengths, 1))
        })
    }

    /// Repeated n-grams of characters, white space aside.
    pub(super) fn character_repeats(&self) -> &RefCell<Repeats> {
        self.character_repeats.get_or_init(|| {
            let ids: Vec<u32> = self.text.chars().filter(|c| !c.is_whitespace()).map(u32::from).collect();
            RefCell::new(Repeats::new(&ids, std::iter::repeat_n(1, ids.len()), 0))
        })
    }

    /// Sentences; a blank line ends one too.
    pub(super) fn sentences(&self) -> usize {
        let place = |part: &str| part.as_ptr() as usize - self.text.as_ptr() as usize;
        let mut rest = self.tokens();
        let mut count = 0;
        for paragraph in self.paragraphs() {
            let end = place(paragraph) + paragraph.len();
            let (here, left) = rest.split_at(rest.partition_point(|token| place(token.text) < end));
            count += sentences(here);
            rest = left;
        }
        count
    }

    pub(super) fn c4(&self) -> &C4 {
        self.c4.get_or_init(|| C4::of(self.text, self.tokens()))
    }
}
