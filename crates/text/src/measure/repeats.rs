//! Repeated n-grams, for all n at the price of one.
//!
//! An n-gram can only repeat where both (n-1)-grams inside it do. So the n-grams that occur more than once are found level by
//! level: those of n among neighbouring places of n - 1, each named by the pair of numbers of its two parts, which is exact
//! where a hash of words would not be. In prose few words stand in repeated 3-grams, and the higher levels cost next to nothing.

use rustc_hash::FxHashMap;

/// What one n says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Repetition {
    /// Characters in all occurrences of the most frequent n-gram (of equals the first), the space between its words counted.
    pub top_chars: u64,
    /// Characters in n-grams that occurred before, going from left to right, none counted twice.
    pub duplicate_chars: u64,
}

/// A place where an n-gram begins that occurs more than once.
#[derive(Clone, Copy)]
struct Place {
    at: u32,
    /// The number of the n-gram, by first occurrence.
    id: u32,
}

pub(super) struct Repeats {
    /// Characters before each token, and after the last.
    offsets: Vec<u64>,
    /// Characters between two tokens of an n-gram.
    gap: u64,
    /// Those of the highest n so far.
    places: Vec<Place>,
    /// For n = 1 and so on.
    found: Vec<Repetition>,
}

impl Repeats {
    /// Tokens as numbers, with their lengths in characters, and the width of the gap between two.
    pub fn new(ids: &[u32], lengths: impl Iterator<Item = u32>, gap: u64) -> Self {
        let mut offsets = Vec::with_capacity(ids.len() + 1);
        offsets.push(0);
        let mut sum = 0;
        for length in lengths {
            sum += u64::from(length);
            offsets.push(sum);
        }
        let keys = ids.iter().enumerate().map(|(at, &id)| (at as u32, u64::from(id)));
        let mut this = Self { offsets, gap, places: Vec::new(), found: Vec::new() };
        this.level(keys.collect());
        this
    }

    /// What there is to say of n-grams; nothing for n = 0 and beyond the length of the text.
    pub fn of(&mut self, n: usize) -> Repetition {
        let tokens = self.offsets.len() - 1;
        if n == 0 || n > tokens {
            return Repetition::default();
        }
        while self.found.len() < n {
            if self.places.is_empty() {
                // Nothing repeats any more: the first n-gram is as frequent as any.
                return Repetition { top_chars: self.chars(0, n) + self.gap * (n as u64 - 1), duplicate_chars: 0 };
            }
            let pairs = self.places.windows(2).filter(|pair| pair[0].at + 1 == pair[1].at);
            let keys = pairs.map(|pair| (pair[0].at, u64::from(pair[0].id) << 32 | u64::from(pair[1].id)));
            self.level(keys.collect());
        }
        self.found[n - 1]
    }

    fn chars(&self, at: usize, n: usize) -> u64 {
        self.offsets[at + n] - self.offsets[at]
    }

    /// One more n: of its n-grams by place, those that occur more than once, and what they say.
    fn level(&mut self, keys: Vec<(u32, u64)>) {
        let n = self.found.len() + 1;
        let mut numbers: FxHashMap<u64, u32> = FxHashMap::default();
        let mut counts: Vec<u32> = Vec::new();
        self.places.clear();
        for (at, key) in keys {
            let next = counts.len() as u32;
            let id = *numbers.entry(key).or_insert(next);
            if id == next {
                counts.push(0);
            }
            counts[id as usize] += 1;
            self.places.push(Place { at, id });
        }
        self.places.retain(|place| counts[place.id as usize] > 1);
        let repetition =
            Repetition { top_chars: self.top(n, &counts), duplicate_chars: self.duplicates(n, counts.len()) };
        self.found.push(repetition);
    }

    fn top(&self, n: usize, counts: &[u32]) -> u64 {
        // The first of the most frequent, and any place of it: all have the same length.
        let most = counts.iter().copied().max().unwrap_or_default();
        let top = self.places.iter().find(|place| counts[place.id as usize] == most);
        let at = top.map_or(0, |place| place.at as usize);
        if at + n >= self.offsets.len() {
            return 0;
        }
        (self.chars(at, n) + self.gap * (n as u64 - 1)) * u64::from(most.max(1))
    }

    fn duplicates(&self, n: usize, different: usize) -> u64 {
        let mut seen = vec![false; different];
        let mut sum = 0;
        let mut next = 0;
        for place in &self.places {
            let at = place.at as usize;
            if at < next {
                continue;
            }
            if std::mem::replace(&mut seen[place.id as usize], true) {
                sum += self.chars(at, n);
                next = at + n;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::{Repeats, Repetition};
    use proptest::prelude::*;

    /// The definition, word for word.
    fn by_definition(words: &[String], n: usize) -> Repetition {
        if n == 0 || n > words.len() {
            return Repetition::default();
        }
        let grams: Vec<&[String]> = words.windows(n).collect();
        let mut counts: HashMap<&[String], u64> = HashMap::new();
        for gram in &grams {
            *counts.entry(gram).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or_default();
        let top = grams.iter().find(|gram| counts[**gram] == most).unwrap();
        let mut seen = HashSet::new();
        let (mut at, mut duplicate_chars) = (0, 0);
        while at < grams.len() {
            if seen.insert(grams[at]) {
                at += 1;
            } else {
                duplicate_chars += grams[at].concat().chars().count() as u64;
                at += n;
            }
        }
        Repetition { top_chars: top.join(" ").chars().count() as u64 * most, duplicate_chars }
    }

    fn repeats(words: &[String]) -> Repeats {
        let mut numbers = HashMap::new();
        let ids: Vec<u32> = words
            .iter()
            .map(|word| {
                let next = numbers.len() as u32;
                *numbers.entry(word).or_insert(next)
            })
            .collect();
        Repeats::new(&ids, words.iter().map(|word| word.chars().count() as u32), 1)
    }

    proptest! {
        #[test]
        fn levels_agree_with_the_definition(words in prop::collection::vec("a|bb|春|of|the", 0..40), n in 0usize..13) {
            prop_assert_eq!(repeats(&words).of(n), by_definition(&words, n));
        }

        #[test]
        fn the_order_of_asking_does_not_matter(words in prop::collection::vec("a|bb", 0..20), first in 1usize..8) {
            let mut asked = repeats(&words);
            asked.of(first);
            for n in 1..8 {
                prop_assert_eq!(asked.of(n), repeats(&words).of(n));
            }
        }
    }
}
