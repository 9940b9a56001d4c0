//! Counting words on many threads.

use std::hash::Hasher;
use std::sync::{Mutex, PoisonError};

use rustc_hash::FxHasher;

/// The words of all threads are kept in this many tables, each with a lock of its own.
const SHARDS: usize = 64;
/// A thread gathers words until they have this many bytes, so that most repetitions need no lock and stay in the
/// processor's cache.
const GATHERED_BYTES: usize = 1 << 20;

/// All different words and how often each was seen. A word is in the shard that its hash says.
pub(super) struct Words {
    shards: Vec<Mutex<Table>>,
}

impl Words {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::new(Table::default())).collect() }
    }

    pub(super) fn into_tables(self) -> impl Iterator<Item = Table> {
        self.shards.into_iter().map(|shard| shard.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One thread's words on their way into [`Words`].
pub(super) struct Counter<'a> {
    words: &'a Words,
    gathered: Table,
}

impl<'a> Counter<'a> {
    pub(super) fn new(words: &'a Words) -> Self {
        Self { words, gathered: Table::default() }
    }

    #[inline]
    pub(super) fn add(&mut self, word: &[u8]) {
        self.gathered.add(word, hash(word), 1);
    }

    pub(super) fn flush_if_full(&mut self) {
        if self.gathered.bytes.len() >= GATHERED_BYTES {
            self.flush();
        }
    }

    pub(super) fn flush(&mut self) {
        let mut by_shard: Vec<Vec<(usize, u32)>> = vec![Vec::new(); SHARDS];
        for number in 0..self.gathered.len() {
            let hash = hash(self.gathered.word(number).0);
            by_shard[hash as usize % SHARDS].push((number, hash));
        }
        for (shard, numbers) in self.words.shards.iter().zip(by_shard) {
            let mut table = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for (number, hash) in numbers {
                let (word, count) = self.gathered.word(number);
                table.add(word, hash, count);
            }
        }
        self.gathered.clear();
    }
}

#[inline]
fn hash(word: &[u8]) -> u32 {
    let mut hasher = FxHasher::default();
    hasher.write(word);
    let hash = hasher.finish();
    (hash ^ hash >> 32) as u32
}

/// Words and counts: the bytes of all words one after the other, and open addressing over them.
#[derive(Default)]
pub(super) struct Table {
    bytes: Vec<u8>,
    /// Where each word ends, and its count.
    entries: Vec<(usize, u64)>,
    /// At most half full; their number is a power of two.
    slots: Vec<Slot>,
}

#[derive(Clone, Copy)]
struct Slot {
    hash: u32,
    /// Of the word, or [`EMPTY`].
    number: u32,
}

const EMPTY: u32 = u32::MAX;

impl Table {
    /// How many different words.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// A word by its number, and its count.
    #[inline]
    pub(super) fn word(&self, number: usize) -> (&[u8], u64) {
        let start = number.checked_sub(1).map_or(0, |before| self.entries[before].0);
        let (end, count) = self.entries[number];
        (&self.bytes[start..end], count)
    }

    #[inline]
    fn add(&mut self, word: &[u8], hash: u32, count: u64) {
        if self.slots.len() < 2 * (self.entries.len() + 1) {
            self.grow();
        }
        let mut at = self.home(hash);
        loop {
            let slot = self.slots[at];
            if slot.number == EMPTY {
                self.slots[at] = Slot { hash, number: self.entries.len() as u32 };
                self.bytes.extend_from_slice(word);
                self.entries.push((self.bytes.len(), count));
                return;
            }
            if slot.hash == hash && self.word(slot.number as usize).0 == word {
                self.entries[slot.number as usize].1 += count;
                return;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// By the upper bits: the lower ones are alike within a shard.
    #[inline]
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.slots.len() as u64) >> 32) as usize
    }

    #[cold]
    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(64);
        let old = std::mem::replace(&mut self.slots, vec![Slot { hash: 0, number: EMPTY }; size]);
        for slot in old.into_iter().filter(|slot| slot.number != EMPTY) {
            let mut at = self.home(slot.hash);
            while self.slots[at].number != EMPTY {
                at = (at + 1) & (size - 1);
            }
            self.slots[at] = slot;
        }
    }

    /// Empty, with its memory.
    fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.slots.fill(Slot { hash: 0, number: EMPTY });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn counts_of_several_counters_add_up() {
        let words = Words::new();
        let mut expect = BTreeMap::<Vec<u8>, u64>::new();
        std::thread::scope(|scope| {
            for thread in 0..3u64 {
                let words = &words;
                scope.spawn(move || {
                    let mut counter = Counter::new(words);
                    for i in 0..20_000u64 {
                        counter.add(format!("word {}", i * i % (7000 + thread)).as_bytes());
                        if i % 1000 == 0 {
                            counter.flush();
                        }
                    }
                    counter.flush();
                });
            }
        });
        for thread in 0..3 {
            for i in 0..20_000u64 {
                *expect.entry(format!("word {}", i * i % (7000 + thread)).into_bytes()).or_default() += 1;
            }
        }
        let tables: Vec<Table> = words.into_tables().collect();
        let all = tables.iter().flat_map(|table| (0..table.len()).map(|number| table.word(number)));
        let counted: BTreeMap<Vec<u8>, u64> = all.map(|(word, count)| (word.to_vec(), count)).collect();
        assert_eq!(tables.iter().map(Table::len).sum::<usize>(), counted.len(), "a word is in one place");
        assert_eq!(counted, expect);
    }
}
