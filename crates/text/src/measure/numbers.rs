//! Numbers for things that occur again: the two hash tables that all repetition is found by.
//!
//! Open addressing with linear probing. Both are exact: what has one number is equal, not only of equal hash.

/// A multiplication spreads all bits of a key into the high ones.
pub(crate) fn spread(key: u64) -> u64 {
    let product = u128::from(key ^ 0x9E37_79B9_7F4A_7C15) * 0xD6E8_FEB8_6659_FD93_u128;
    product as u64 ^ (product >> 64) as u64
}

/// Each word by number, in order of first occurrence, with how often it occurs.
#[derive(Default)]
pub(super) struct Vocabulary {
    /// The number of each word of the text.
    pub ids: Vec<u32>,
    /// How often each number occurs.
    pub counts: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Word<'a> {
    key: u64,
    text: &'a str,
}

impl Vocabulary {
    pub fn of<'a>(words: impl ExactSizeIterator<Item = &'a str>) -> Self {
        let mut this = Self { ids: Vec::with_capacity(words.len()), counts: Vec::new() };
        // Half of the slots would be used if all words were different, which they never are.
        let slots = (words.len() * 2).next_power_of_two().max(2);
        let (mask, mut table) = (slots - 1, vec![u32::MAX; slots]);
        let mut known: Vec<Word<'a>> = Vec::new();
        for text in words {
            let key = key(text);
            let mut slot = spread(key) as usize & mask;
            let id = loop {
                match table[slot] {
                    u32::MAX => {
                        let id = known.len() as u32;
                        table[slot] = id;
                        known.push(Word { key, text });
                        this.counts.push(0);
                        break id;
                    }
                    id if is_same(known[id as usize], key, text) => break id,
                    _ => slot = (slot + 1) & mask,
                }
            };
            this.counts[id as usize] += 1;
            this.ids.push(id);
        }
        this
    }
}

fn is_same(word: Word<'_>, key: u64, text: &str) -> bool {
    // Up to eight bytes the key and the length say all.
    word.key == key && word.text.len() == text.len() && (text.len() <= 8 || word.text == text)
}

/// Up to eight bytes all of them; of more a hash.
fn key(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let four = |at: usize| bytes[at..].first_chunk::<4>().map_or(0, |chunk| u64::from(u32::from_le_bytes(*chunk)));
    match bytes.len() {
        0 => 0,
        length @ 1..4 => u64::from(bytes[0]) | u64::from(bytes[length / 2]) << 8 | u64::from(bytes[length - 1]) << 16,
        length @ 4..9 => four(0) | four(length - 4) << 32,
        length => {
            let mut hash = length as u64;
            for at in (0..length - 8).step_by(8) {
                hash = spread(hash ^ (four(at) | four(at + 4) << 32));
            }
            spread(hash ^ (four(length - 8) | four(length - 4) << 32))
        }
    }
}

/// Numbers for keys, in order of first occurrence.
pub(super) struct Numbers {
    /// Key and number; `u32::MAX` where there is none. At most half full.
    table: Vec<(u64, u32)>,
    next: u32,
}

const FREE: (u64, u32) = (0, u32::MAX);

impl Numbers {
    /// With room for so many different keys; it grows.
    pub fn with_room_for(keys: usize) -> Self {
        Self { table: vec![FREE; (keys * 2).next_power_of_two().max(2)], next: 0 }
    }

    pub fn of(&mut self, key: u64) -> u32 {
        let mask = self.table.len() - 1;
        let mut slot = spread(key) as usize & mask;
        loop {
            match self.table[slot] {
                (_, u32::MAX) => break,
                (known, id) if known == key => return id,
                _ => slot = (slot + 1) & mask,
            }
        }
        self.table[slot] = (key, self.next);
        self.next += 1;
        if self.next as usize * 2 > self.table.len() {
            self.grow();
        }
        self.next - 1
    }

    fn grow(&mut self) {
        let larger = vec![FREE; self.table.len() * 2];
        let mask = larger.len() - 1;
        for entry in std::mem::replace(&mut self.table, larger).into_iter().filter(|entry| entry.1 != u32::MAX) {
            let mut slot = spread(entry.0) as usize & mask;
            while self.table[slot].1 != u32::MAX {
                slot = (slot + 1) & mask;
            }
            self.table[slot] = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{Numbers, Vocabulary};
    use proptest::prelude::*;

    fn by_map<T: std::hash::Hash + Eq>(items: impl IntoIterator<Item = T>) -> Vec<u32> {
        let mut known = HashMap::new();
        items
            .into_iter()
            .map(|item| {
                let next = known.len() as u32;
                *known.entry(item).or_insert(next)
            })
            .collect()
    }

    proptest! {
        #[test]
        fn equal_words_have_one_number(words in prop::collection::vec("[ab\0春]{0,4}|[ab]{7,20}", 0..60)) {
            let vocabulary = Vocabulary::of(words.iter().map(String::as_str));
            prop_assert_eq!(&vocabulary.ids, &by_map(&words));
            prop_assert_eq!(vocabulary.counts.iter().sum::<u32>() as usize, words.len());
        }

        #[test]
        fn equal_keys_have_one_number(keys in prop::collection::vec(0u64..20, 0..60)) {
            let mut numbers = Numbers::with_room_for(2);
            let found: Vec<u32> = keys.iter().map(|&key| numbers.of(key << 32)).collect();
            prop_assert_eq!(found, by_map(keys));
        }
    }
}
