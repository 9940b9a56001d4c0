//! Joining the most frequent pair until the vocabulary is full.
//!
//! The crate's order is kept in every detail: the highest count first, of equals the smaller pair of ids; counts in the
//! queue are renewed when they come up; and what a merge makes may be a token that already exists, because two ways lead
//! to the same bytes. Then pairs come back that were counted or merged before: their old count stays part of the new
//! one, they are merged a second time, and the later rank is the one that counts.
//!
//! All different words stand in one array, a symbol a byte. A token is written at its first and at its last byte, so
//! that both neighbours of a place are found by the lengths of tokens, and a merge costs the same in a long word as in a
//! short one. A pair in the queue knows the places where it stood when it was put there.

use std::cmp::{Ordering, Reverse};
use std::collections::binary_heap::{BinaryHeap, PeekMut};
use std::collections::{BTreeMap, HashMap};

use rustc_hash::FxHashMap;

use super::Learned;
use super::words::{Table, Words};
use crate::TextError;
use crate::bpe::bytes::{CHARS, bytes_of, written};

type Pair = (u32, u32);

/// Between words.
const BOUNDARY: u32 = u32::MAX;
/// Within a token.
const INSIDE: u32 = u32::MAX - 1;

pub(super) fn learn(
    words: Words,
    vocab_size: usize,
    min_frequency: u64,
    special_tokens: &[&str],
) -> Result<Learned, TextError> {
    let mut vocabulary = Vocabulary::new(special_tokens);
    let mut text = Text::new(words.into_tables().collect(), &vocabulary)?;
    let (mut pairs, mut queue) = text.first_pairs(&vocabulary);
    let mut changes = [Changes::default(), Changes::default()];
    let mut ranks: FxHashMap<Pair, usize> = FxHashMap::default();
    let mut merged = 0;
    while vocabulary.tokens.len() < vocab_size {
        let Some(mut top) = queue.peek_mut() else { break };
        let Counted { count, again } = pairs.get(&top.pair).copied().unwrap_or_default();
        if top.count != count {
            top.count = count; // takes its new place in the queue
            continue;
        }
        if count < 1 || count < min_frequency {
            break;
        }
        let Waiting { pair, places, .. } = PeekMut::pop(top);
        let new = vocabulary.join(pair);
        ranks.insert(pair, merged);
        merged += 1;
        changes.iter_mut().for_each(|side| side.by_id.resize_with(vocabulary.tokens.len(), Change::default));
        text.join_all(pair, new, places.all(), again, &vocabulary.lengths, &mut changes);
        drop(places);
        apply(pair, new, &mut changes, &mut pairs, &mut queue);
    }
    let mut merges: Vec<(usize, Pair)> = ranks.into_iter().map(|(pair, rank)| (rank, pair)).collect();
    merges.sort_unstable();
    Ok(Learned { tokens: vocabulary.tokens, merges: merges.into_iter().map(|(_, pair)| pair).collect() })
}

/// The tokens so far.
struct Vocabulary {
    tokens: Vec<String>,
    /// Of the tokens, in bytes.
    lengths: Vec<u32>,
    bytes: Vec<Vec<u8>>,
    ids: HashMap<Vec<u8>, u32>,
    byte_ids: [u32; 256],
}

impl Vocabulary {
    /// Special tokens first, then the bytes in the order of the characters that stand for them.
    fn new(special_tokens: &[&str]) -> Self {
        let (tokens, lengths, bytes, ids) = Default::default();
        let mut vocabulary = Self { tokens, lengths, bytes, ids, byte_ids: [0; 256] };
        for token in special_tokens {
            if vocabulary.tokens.iter().all(|known| known != token) {
                vocabulary.push(token.to_string(), bytes_of(token));
            }
        }
        let mut alphabet: Vec<(char, u8)> = CHARS.iter().copied().zip(0..=255).collect();
        alphabet.sort_unstable();
        for (c, byte) in alphabet {
            let known = vocabulary.ids.get(&[byte][..]).copied();
            vocabulary.byte_ids[byte as usize] =
                known.unwrap_or_else(|| vocabulary.push(c.to_string(), Some(vec![byte])));
        }
        vocabulary
    }

    /// `bytes` is nothing for a token that no merge can make.
    fn push(&mut self, token: String, bytes: Option<Vec<u8>>) -> u32 {
        let id = self.tokens.len() as u32;
        self.tokens.push(token);
        self.lengths.push(bytes.as_ref().map_or(0, Vec::len) as u32);
        if let Some(bytes) = &bytes {
            self.ids.insert(bytes.clone(), id);
        }
        self.bytes.push(bytes.unwrap_or_default());
        id
    }

    /// The id of both tokens together: a new one, unless another way led to the same bytes.
    fn join(&mut self, (left, right): Pair) -> u32 {
        let bytes = [self.bytes[left as usize].as_slice(), &self.bytes[right as usize]].concat();
        match self.ids.get(&bytes) {
            Some(&id) => id,
            None => self.push(written(&bytes), Some(bytes)),
        }
    }
}

/// The count of a pair. As in the crate it does not fall when the pair itself is merged.
#[derive(Clone, Copy, Default)]
struct Counted {
    count: u64,
    /// It came back after it had been counted: then its places in the queue are not all it has in their words.
    again: bool,
}

/// A pair in the queue.
struct Waiting {
    count: u64,
    pair: Pair,
    places: Places,
}

/// Where the left token of a pair began when the pair was put into the queue, in ascending order. Most pairs of a large
/// text stand in one place: those need no memory of their own.
enum Places {
    One([u32; 1]),
    Many(Box<[u32]>),
}

impl Places {
    fn new(places: &[u32]) -> Self {
        match places {
            &[one] => Self::One([one]),
            many => Self::Many(many.into()),
        }
    }

    fn all(&self) -> &[u32] {
        match self {
            Self::One(place) => place,
            Self::Many(places) => places,
        }
    }
}

impl Waiting {
    fn rank(&self) -> (u64, Reverse<Pair>) {
        (self.count, Reverse(self.pair))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Waiting {}

/// What a merge changes beside its places, by the token that stands there.
#[derive(Default)]
struct Changes {
    by_id: Vec<Change>,
    touched: Vec<u32>,
}

#[derive(Default)]
struct Change {
    /// So much less of the neighbour with the old token.
    lost: u64,
    /// So much more of the neighbour with the new token, and where.
    gained: u64,
    places: Vec<u32>,
}

impl Changes {
    fn add(&mut self, neighbour: u32, count: u64, place: u32) {
        let change = &mut self.by_id[neighbour as usize];
        if change.gained == 0 {
            self.touched.push(neighbour);
        }
        change.lost += count;
        change.gained += count;
        change.places.push(place);
    }
}

/// All different words in one array, by falling count.
struct Text {
    /// [`BOUNDARY`], a word, [`BOUNDARY`], a word, and so on.
    symbols: Vec<u32>,
    /// Where the words of each count begin, and the count.
    groups: Vec<(u32, u64)>,
}

impl Text {
    fn new(tables: Vec<Table>, vocabulary: &Vocabulary) -> Result<Self, TextError> {
        let words = |table: &Table, each: &mut dyn FnMut(&[u8], u64)| {
            for (word, count) in (0..table.len()).map(|number| table.word(number)).filter(|(word, _)| word.len() > 1) {
                each(word, count);
            }
        };
        let mut sizes: BTreeMap<Reverse<u64>, usize> = BTreeMap::new();
        for table in &tables {
            words(table, &mut |word, count| *sizes.entry(Reverse(count)).or_default() += word.len() + 1);
        }
        let mut end = 1;
        let mut groups = Vec::new();
        let mut next: FxHashMap<u64, usize> = FxHashMap::default();
        for (Reverse(count), size) in sizes {
            groups.push((end as u32, count));
            next.insert(count, end);
            end += size;
        }
        if end >= INSIDE as usize {
            let message = format!("the different words of the texts have {end} bytes; 4 GB is the most there may be");
            return Err(TextError::Training { message });
        }
        let mut symbols = vec![BOUNDARY; end];
        for table in tables {
            words(&table, &mut |word, count| {
                let Some(at) = next.get_mut(&count) else { return };
                for (symbol, &byte) in symbols[*at..].iter_mut().zip(word) {
                    *symbol = vocabulary.byte_ids[byte as usize];
                }
                *at += word.len() + 1;
            });
        }
        Ok(Self { symbols, groups })
    }

    /// The pairs of bytes with their counts and places.
    fn first_pairs(&self, vocabulary: &Vocabulary) -> (FxHashMap<Pair, Counted>, BinaryHeap<Waiting>) {
        let byte_of: FxHashMap<u32, usize> = vocabulary.byte_ids.iter().copied().zip(0..).collect();
        let dense: Vec<usize> =
            (0..vocabulary.tokens.len() as u32).map(|id| byte_of.get(&id).copied().unwrap_or(0)).collect();
        let number = |pair: &[u32]| dense[pair[0] as usize] << 8 | dense[pair[1] as usize];
        let within = |pair: &[u32]| pair[0] != BOUNDARY && pair[1] != BOUNDARY;
        let mut counts = vec![(0, 0); 1 << 16];
        let ends = self.groups.iter().skip(1).map(|group| group.0 as usize).chain([self.symbols.len()]);
        for (&(start, count), end) in self.groups.iter().zip(ends) {
            for pair in self.symbols[start as usize..end].windows(2).filter(|pair| within(pair)) {
                let (sum, places) = &mut counts[number(pair)];
                *sum += count;
                *places += 1;
            }
        }
        let mut places: Vec<Vec<u32>> = counts.iter().map(|&(_, places)| Vec::with_capacity(places)).collect();
        for (at, pair) in (0..).zip(self.symbols.windows(2)).filter(|(_, pair)| within(pair)) {
            places[number(pair)].push(at);
        }
        let mut pairs = FxHashMap::default();
        let mut queue = Vec::new();
        for (number, (places, (count, _))) in places.into_iter().zip(counts).enumerate().filter(|(_, (_, c))| c.0 > 0) {
            let pair = (vocabulary.byte_ids[number >> 8], vocabulary.byte_ids[number & 0xff]);
            pairs.insert(pair, Counted { count, again: false });
            queue.push(Waiting { count, pair, places: Places::Many(places.into_boxed_slice()) });
        }
        (pairs, queue.into())
    }

    /// Puts `new` where the pair stands, from left to right, and notes what that changes for the neighbours on both
    /// sides. With `whole_words`, everywhere in the words of the places.
    fn join_all(
        &mut self,
        pair: Pair,
        new: u32,
        places: &[u32],
        whole_words: bool,
        lengths: &[u32],
        changes: &mut [Changes; 2],
    ) {
        let (mut group, mut done) = (0, 0);
        for &place in places {
            while self.groups.get(group + 1).is_some_and(|next| next.0 <= place) {
                group += 1 + self.groups[group + 2..].partition_point(|next| next.0 <= place);
            }
            let count = self.groups[group].1;
            if !whole_words {
                self.join(pair, new, place as usize, count, lengths, changes);
            } else if place as usize >= done {
                let before = self.symbols[..place as usize].iter().rposition(|&symbol| symbol == BOUNDARY);
                let mut at = before.map_or(0, |boundary| boundary + 1);
                while self.symbols[at] != BOUNDARY {
                    self.join(pair, new, at, count, lengths, changes);
                    at += lengths[self.symbols[at] as usize] as usize;
                }
                done = at;
            }
        }
    }

    #[inline]
    fn join(&mut self, pair: Pair, new: u32, at: usize, count: u64, lengths: &[u32], changes: &mut [Changes; 2]) {
        let length = |id: u32| lengths[id as usize] as usize;
        let middle = at + length(pair.0);
        if self.symbols[at] != pair.0 || self.symbols[middle] != pair.1 {
            return;
        }
        let end = middle + length(pair.1);
        let (before, after) = (self.symbols[at - 1], self.symbols[end]);
        if before != BOUNDARY {
            changes[0].add(before, count, (at - length(before)) as u32);
        }
        if after != BOUNDARY {
            changes[1].add(after, count, at as u32);
        }
        self.symbols[middle - 1] = INSIDE;
        self.symbols[middle] = INSIDE;
        self.symbols[at] = new;
        self.symbols[end - 1] = new;
    }
}

/// Brings counts and queue up to date after a merge.
fn apply(
    (left, right): Pair,
    new: u32,
    [before, after]: &mut [Changes; 2],
    pairs: &mut FxHashMap<Pair, Counted>,
    queue: &mut BinaryHeap<Waiting>,
) {
    // Beside itself the new token is a neighbour on both sides, and both are the one pair of it with itself.
    let twice = &mut before.by_id[new as usize];
    let (gained, mut places) = (std::mem::take(&mut twice.gained), std::mem::take(&mut twice.places));
    if gained > 0 {
        let change = &mut after.by_id[new as usize];
        if change.gained == 0 {
            after.touched.push(new);
        }
        change.gained += gained;
        change.places.append(&mut places);
        change.places.sort_unstable();
        change.places.dedup();
    }
    let mut fresh = Vec::new();
    let mut less = Vec::new();
    for (side, joined, parted) in [
        (&mut *before, (|id, token| (id, token)) as fn(u32, u32) -> Pair, left),
        (&mut *after, (|id, token| (token, id)) as fn(u32, u32) -> Pair, right),
    ] {
        for id in side.touched.drain(..) {
            let change = &mut side.by_id[id as usize];
            let (lost, gained) = (std::mem::take(&mut change.lost), std::mem::take(&mut change.gained));
            less.push((joined(id, parted), lost));
            if gained > 0 {
                let known = pairs.entry(joined(id, new)).and_modify(|known| known.again = true).or_default();
                known.count += gained;
                fresh.push((joined(id, new), Places::new(&change.places)));
                change.places.clear();
            }
        }
    }
    for (pair, lost) in less {
        if let Some(known) = pairs.get_mut(&pair) {
            known.count -= lost;
        }
    }
    for (pair, places) in fresh {
        let count = pairs.get(&pair).map_or(0, |known| known.count);
        if count > 0 {
            queue.push(Waiting { count, pair, places });
        }
    }
}
