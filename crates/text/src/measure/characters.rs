//! Counts over characters.

use std::sync::OnceLock;

use super::numbers::Numbers;
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
    /// Controls other than tab and line ends, private use, noncharacters.
    pub control: usize,
    /// Bits a character.
    pub entropy: f64,
}

impl Characters {
    pub fn of(text: &str) -> Self {
        // Four rows of counters, so that equal neighbours do not wait for one another.
        let mut rows = [[0u32; 128]; 4];
        let mut numbers = Numbers::with_room_for(256);
        let mut beyond: Vec<(char, usize)> = Vec::new();
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            if byte < 128 {
                rows[at % 4][byte as usize] += 1;
                at += 1;
            } else if let Some(c) = text[at..].chars().next() {
                let number = numbers.of(u32::from(c).into()) as usize;
                match beyond.get_mut(number) {
                    Some((_, count)) => *count += 1,
                    None => beyond.push((c, 1)),
                }
                at += c.len_utf8();
            }
        }
        let ascii = (0..128u8).map(|byte| {
            let count: usize = rows.iter().map(|row| row[byte as usize] as usize).sum();
            (char::from(byte), count)
        });
        // Sorted: a sum of floating-point numbers depends on the order.
        beyond.sort_unstable();
        let counts: Vec<_> = ascii.chain(beyond).filter(|&(_, count)| count > 0).collect();
        let mut this = Self { entropy: entropy(counts.iter().map(|&(_, count)| count)), ..Self::default() };
        counts.into_iter().for_each(|(c, count)| this.add(c, count));
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
        let line_or_tab = matches!(c, '\t' | '\n' | '\r');
        if (c.is_control() && !line_or_tab) || is_private(c) {
            self.control += count;
        }
        if c == '\u{FFFD}' {
            self.replacement += count;
        }
    }
}

/// Bits an item, of items that occur so often.
pub(super) fn entropy(counts: impl Iterator<Item = usize>) -> f64 {
    let (mut all, mut plogp) = (0, 0.0);
    for count in counts {
        all += count;
        plogp += count as f64 * (count as f64).log2();
    }
    if all == 0 {
        return 0.0;
    }
    ((all as f64).log2() - plogp / all as f64).max(0.0)
}

/// For private use, or no character at all.
fn is_private(c: char) -> bool {
    matches!(c, '\u{E000}'..='\u{F8FF}' | '\u{FDD0}'..='\u{FDEF}' | '\u{F0000}'..) || u32::from(c) & 0xFFFE == 0xFFFE
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
