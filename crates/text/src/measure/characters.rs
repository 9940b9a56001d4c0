//! Counts over characters.

use std::sync::OnceLock;

use rustc_hash::FxHashMap;

use super::tokens::is_han;

/// Sums over the characters of a text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Characters {
    pub all: usize,
    pub letters: usize,
    pub digits: usize,
    pub uppercase: usize,
    pub white_space: usize,
    /// Neither letters, digits nor white space.
    pub symbols: usize,
    pub han: usize,
    /// Kana and Hangul.
    pub other_cjk: usize,
    /// Han characters that only Traditional Chinese has.
    pub traditional: usize,
    /// U+FFFD.
    pub replacement: usize,
    /// Bits a character.
    pub entropy: f64,
}

impl Characters {
    pub fn of(text: &str) -> Self {
        // Four rows of counters, so that equal neighbours do not wait for one another.
        let mut rows = [[0u32; 128]; 4];
        let mut beyond: FxHashMap<char, u32> = FxHashMap::default();
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            if byte < 128 {
                rows[at % 4][byte as usize] += 1;
                at += 1;
            } else if let Some(c) = text[at..].chars().next() {
                *beyond.entry(c).or_default() += 1;
                at += c.len_utf8();
            }
        }
        let ascii = (0..128u8).map(|byte| {
            let count: usize = rows.iter().map(|row| row[byte as usize] as usize).sum();
            (char::from(byte), count)
        });
        // Sorted: a sum of floating-point numbers depends on the order.
        let mut beyond: Vec<_> = beyond.into_iter().map(|(c, count)| (c, count as usize)).collect();
        beyond.sort_unstable();
        let mut this = Self::default();
        let mut plogp = 0.0;
        for (c, count) in ascii.chain(beyond).filter(|&(_, count)| count > 0) {
            this.add(c, count);
            plogp += count as f64 * (count as f64).log2();
        }
        if this.all > 0 {
            let all = this.all as f64;
            this.entropy = (all.log2() - plogp / all).max(0.0);
        }
        this
    }

    fn add(&mut self, c: char, count: usize) {
        self.all += count;
        if c.is_alphabetic() {
            self.letters += count;
            if c.is_uppercase() {
                self.uppercase += count;
            }
        } else if c.is_numeric() {
            self.digits += count;
        } else if c.is_whitespace() {
            self.white_space += count;
        } else {
            self.symbols += count;
        }
        if is_han(c) {
            self.han += count;
            if is_traditional(c) {
                self.traditional += count;
            }
        } else if matches!(c, '\u{3040}'..='\u{30FF}' | '\u{31F0}'..='\u{31FF}' | '\u{AC00}'..='\u{D7AF}' | '\u{FF66}'..='\u{FF9F}')
        {
            self.other_cjk += count;
        }
        if c == '\u{FFFD}' {
            self.replacement += count;
        }
    }
}

/// Whether a character is written otherwise in Simplified Chinese, always.
fn is_traditional(c: char) -> bool {
    static TABLE: OnceLock<Vec<char>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let lines = include_str!("words/traditional.txt").lines().filter(|line| !line.starts_with('#'));
        let mut table: Vec<char> = lines.flat_map(str::chars).collect();
        table.sort_unstable();
        table
    });
    table.binary_search(&c).is_ok()
}
