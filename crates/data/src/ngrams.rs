//! n-grams of words and characters, as deduplication and decontamination see a text: without case, punctuation and
//! white space.
//!
//! The tokens are words of scripts with spaces and single characters of scripts without (Chinese, Japanese, Thai, ...).
//! A window is so many tokens that it is full: with 5 words or 8 characters, each word fills a fifth of it and each
//! character an eighth. So English has word 5-grams, Chinese has character 8-grams, and text of both has windows of
//! about the same amount of language, without a decision about the document as a whole that a small change could turn.

use std::ops::Range;

/// How many tokens fill a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NgramSize {
    /// Words, in scripts with spaces.
    pub(crate) words: u32,
    /// Characters, in scripts without.
    pub(crate) chars: u32,
}

/// What a polynomial of token hashes is taken in; odd, so that powers never vanish.
const BASE: u64 = 0x9E37_79B9_7F4A_7C15;

/// The tokens of one text, ready for windows of any size. Reused from text to text for its buffers.
#[derive(Default)]
pub(crate) struct Ngrams {
    /// `prefix[j]` is the polynomial of the first j tokens, modulo 2^64.
    prefix: Vec<u64>,
    /// Whether a token is one character of a script without spaces.
    single: Vec<bool>,
    /// Where the tokens lie in the text.
    spans: Vec<Range<u32>>,
}

impl Ngrams {
    /// Reads a text (below 4 GiB).
    pub(crate) fn read(&mut self, text: &str) {
        self.prefix.clear();
        self.single.clear();
        self.spans.clear();
        self.prefix.push(0);
        let mut last = 0u64;
        tokens(text, |hash, single, span| {
            last = last.wrapping_mul(BASE).wrapping_add(hash);
            self.prefix.push(last);
            self.single.push(single);
            self.spans.push(span);
        });
    }

    /// Calls `each` with the hash of every full window and the bytes of the text it stands in, in order. Whether there was
    /// one.
    pub(crate) fn windows(&self, size: NgramSize, mut each: impl FnMut(u64, Range<usize>)) -> bool {
        let powers = powers(size.words.max(size.chars) as usize);
        let weight = |token: usize| if self.single[token] { size.words } else { size.chars };
        let full = size.words * size.chars;
        let (mut end, mut filled) = (0, 0);
        for first in 0..self.single.len() {
            while filled < full {
                if end == self.single.len() {
                    return first > 0;
                }
                filled += weight(end);
                end += 1;
            }
            let hash = self.prefix[end].wrapping_sub(self.prefix[first].wrapping_mul(powers[end - first]));
            each(mix(hash), self.spans[first].start as usize..self.spans[end - 1].end as usize);
            filled -= weight(first);
        }
        !self.single.is_empty()
    }

    /// Fingerprints of the windows, with repetitions. A text shorter than a window has one, of all its tokens; one
    /// without letters and digits has none.
    pub(crate) fn fingerprints(&self, size: NgramSize, out: &mut Vec<u64>) {
        out.clear();
        let any = self.windows(size, |hash, _| out.push(hash));
        if !any && !self.single.is_empty() {
            out.push(mix(self.prefix[self.single.len()]));
        }
    }
}

/// Powers of [`BASE`] up to `most`: no window has more tokens than the larger of the two sizes.
fn powers(most: usize) -> Vec<u64> {
    let mut power = 1u64;
    std::iter::once(1)
        .chain((0..most).map(|_| {
            power = power.wrapping_mul(BASE);
            power
        }))
        .collect()
}

/// Calls `each` with the hash of every token, whether it is a single character of a script without spaces, and its bytes.
fn tokens(text: &str, mut each: impl FnMut(u64, bool, Range<u32>)) {
    const EMPTY: u64 = 0;
    let (mut word, mut begin) = (EMPTY, None);
    for (at, c) in text.char_indices() {
        let single = !c.is_ascii() && is_unspaced(c);
        let letter = if c.is_ascii() { c.is_ascii_alphanumeric() } else { c.is_alphanumeric() };
        if letter && !single {
            begin.get_or_insert(at as u32);
            if c.is_ascii() {
                word = absorb(word, c.to_ascii_lowercase());
            } else {
                word = c.to_lowercase().fold(word, absorb);
            }
            continue;
        }
        if let Some(begin) = begin.take() {
            each(mix(word), false, begin..at as u32);
            word = EMPTY;
        }
        if single && letter {
            each(mix(absorb(EMPTY, c)), true, at as u32..(at + c.len_utf8()) as u32);
        }
    }
    if let Some(begin) = begin {
        each(mix(word), false, begin..text.len() as u32);
    }
}

fn absorb(hash: u64, c: char) -> u64 {
    (hash.rotate_left(5) ^ u64::from(c)).wrapping_mul(0x517C_C1B7_2722_0A95)
}

/// Spreads a value over all 64 bits (the finaliser of MurmurHash3).
pub(crate) fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ hash >> 33).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    hash = (hash ^ hash >> 33).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    hash ^ hash >> 33
}

/// Whether the character belongs to a script that puts no spaces between words.
fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c),
        0x0E00..=0x0EFF        // Thai, Lao
        | 0x1000..=0x109F      // Myanmar
        | 0x1780..=0x17FF      // Khmer
        | 0x2E80..=0x2FDF      // radicals
        | 0x3005..=0x3007
        | 0x3040..=0x30FF      // Hiragana, Katakana
        | 0x31F0..=0x31FF
        | 0x3400..=0x4DBF      // Han
        | 0x4E00..=0x9FFF
        | 0xF900..=0xFAFF
        | 0xFF66..=0xFF9D
        | 0x2_0000..=0x3_FFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: NgramSize = NgramSize { words: 2, chars: 3 };

    fn windows(text: &str) -> Vec<&str> {
        let (mut ngrams, mut found) = (Ngrams::default(), Vec::new());
        ngrams.read(text);
        ngrams.windows(SIZE, |_, span| found.push(&text[span]));
        found
    }

    fn hashes(text: &str) -> Vec<u64> {
        let (mut ngrams, mut found) = (Ngrams::default(), Vec::new());
        ngrams.read(text);
        ngrams.fingerprints(SIZE, &mut found);
        found
    }

    #[test]
    fn english_has_windows_of_words_and_chinese_of_characters() {
        assert_eq!(windows("One, two three!"), ["One, two", "two three"]);
        assert_eq!(windows("春眠不覺曉。"), ["春眠不", "眠不覺", "不覺曉"]);
        // A word fills a half and a character a third: a word and two characters are the first to fill a window.
        assert_eq!(windows("用 Rust 寫程式"), ["用 Rust 寫", "Rust 寫程", "寫程式"]);
    }

    #[test]
    fn case_punctuation_and_white_space_do_not_count() {
        assert_eq!(hashes("To be, or NOT to be."), hashes("to  be or not\nto be"));
        assert_eq!(hashes("春眠不覺曉，處處聞啼鳥"), hashes("春眠不覺曉 處處聞啼鳥。"));
        assert_eq!(hashes("ÉTÉ an 5"), hashes("été, an (5)"));
        assert_ne!(hashes("to be or"), hashes("to be and"));
        assert_ne!(hashes("ab c"), hashes("a bc"));
    }

    #[test]
    fn a_short_text_is_one_window_and_an_empty_one_none() {
        assert_eq!(hashes("春").len(), 1);
        assert_eq!(hashes("春"), hashes("春！"));
        assert_eq!(hashes("-- … --"), Vec::<u64>::new());
        assert!(windows("word").is_empty());
    }
}
