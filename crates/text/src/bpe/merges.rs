//! Byte-pair merges: the table of ranks, and a word's way from bytes to tokens.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// No merge.
const NONE: u32 = u32::MAX;
/// Words up to this many bytes are merged in arrays, whose cost grows with the square of the length; longer ones with
/// a heap.
const SHORT: usize = 64;

/// The merges of a model by the pair of ids they join. The lowest rank goes first.
pub(super) struct Merges {
    /// The id of each byte.
    byte_ids: [u32; 256],
    /// The rank of each pair of bytes: the first look-ups of every word.
    byte_ranks: Vec<u32>,
    /// Open addressing with linear probing, at most half full.
    slots: Vec<Slot>,
    shift: u32,
    /// What the merge of each rank makes.
    made: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Slot {
    left: u32,
    right: u32,
    /// [`NONE`] in an empty slot.
    rank: u32,
}

impl Merges {
    /// `list` is (left, right, id of both together), in the order of the ranks. Of a pair named twice the later counts,
    /// as in the crate.
    pub(super) fn new(byte_ids: [u32; 256], list: &[(u32, u32, u32)]) -> Self {
        let ranks: HashMap<(u32, u32), u32> = (0..).zip(list).map(|(rank, &(a, b, _))| ((a, b), rank)).collect();
        let size = (ranks.len() * 2).next_power_of_two().max(2);
        let slots = vec![Slot { left: 0, right: 0, rank: NONE }; size];
        let made = list.iter().map(|&(_, _, id)| id).collect();
        let mut merges = Self { byte_ids, byte_ranks: Vec::new(), slots, shift: 64 - size.ilog2(), made };
        for (&(left, right), &rank) in &ranks {
            let mut at = merges.home(left, right);
            while merges.slots[at].rank != NONE {
                at = (at + 1) & (size - 1);
            }
            merges.slots[at] = Slot { left, right, rank };
        }
        let pairs = byte_ids.iter().flat_map(|&left| byte_ids.iter().map(move |&right| (left, right)));
        merges.byte_ranks = pairs.map(|(left, right)| merges.rank(left, right)).collect();
        merges
    }

    #[inline]
    fn home(&self, left: u32, right: u32) -> usize {
        let pair = u64::from(left) << 32 | u64::from(right);
        (pair.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize
    }

    #[inline]
    fn rank(&self, left: u32, right: u32) -> u32 {
        let mut at = self.home(left, right);
        loop {
            let slot = self.slots[at];
            if slot.rank == NONE || (slot.left == left && slot.right == right) {
                return slot.rank;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// Appends the tokens of a word.
    pub(super) fn encode(&self, word: &[u8], out: &mut Vec<u32>) {
        match word.len() {
            0 => {}
            1 => out.push(self.byte_ids[word[0] as usize]),
            2..=SHORT => self.encode_short(word, out),
            _ => self.encode_long(word, out),
        }
    }

    fn encode_short(&self, word: &[u8], out: &mut Vec<u32>) {
        let mut length = word.len();
        let mut ids = [0; SHORT];
        // ranks[i] is that of ids[i] and ids[i + 1].
        let mut ranks = [NONE; SHORT];
        for (id, &byte) in ids.iter_mut().zip(word) {
            *id = self.byte_ids[byte as usize];
        }
        for (rank, pair) in ranks.iter_mut().zip(word.windows(2)) {
            *rank = self.byte_ranks[(pair[0] as usize) << 8 | pair[1] as usize];
        }
        loop {
            let (mut best, mut at) = (NONE, 0);
            for (i, &rank) in ranks[..length - 1].iter().enumerate() {
                if rank < best {
                    (best, at) = (rank, i);
                }
            }
            if best == NONE {
                break;
            }
            ids[at] = self.made[best as usize];
            ids.copy_within(at + 2..length, at + 1);
            ranks.copy_within(at + 2..length, at + 1);
            length -= 1;
            ranks[at] = if at + 1 < length { self.rank(ids[at], ids[at + 1]) } else { NONE };
            if at > 0 {
                ranks[at - 1] = self.rank(ids[at - 1], ids[at]);
            }
            if length == 1 {
                break;
            }
        }
        out.extend_from_slice(&ids[..length]);
    }

    /// The tokens are a linked list over the places of their first bytes; the heap holds the merges that were possible
    /// when they were put there.
    fn encode_long(&self, word: &[u8], out: &mut Vec<u32>) {
        const GONE: u32 = u32::MAX;
        let end = word.len();
        let mut ids: Vec<u32> = word.iter().map(|&byte| self.byte_ids[byte as usize]).collect();
        let mut next: Vec<usize> = (1..=end).collect();
        let mut previous: Vec<usize> = (0..end).map(|at| at.wrapping_sub(1)).collect();
        let first = word.windows(2).enumerate().filter_map(|(at, pair)| {
            let rank = self.byte_ranks[(pair[0] as usize) << 8 | pair[1] as usize];
            (rank != NONE).then_some(Reverse((rank, at)))
        });
        let mut heap: BinaryHeap<Reverse<(u32, usize)>> = first.collect();
        while let Some(Reverse((rank, at))) = heap.pop() {
            let right = next[at];
            if ids[at] == GONE || right == end || self.rank(ids[at], ids[right]) != rank {
                continue;
            }
            ids[at] = self.made[rank as usize];
            ids[right] = GONE;
            let after = next[right];
            next[at] = after;
            if after < end {
                previous[after] = at;
            }
            for left in [previous[at], at] {
                if left < end && next[left] < end {
                    let rank = self.rank(ids[left], ids[next[left]]);
                    if rank != NONE {
                        heap.push(Reverse((rank, left)));
                    }
                }
            }
        }
        let mut at = 0;
        while at < end {
            out.push(ids[at]);
            at = next[at];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes are their own ids; the merges make words of `ab` that overlap in every way.
    fn merges() -> Merges {
        let pair = |a: u8, b: u8, id| (u32::from(a), u32::from(b), id);
        let list = [
            pair(b'a', b'b', 300),
            (300, 300, 301),
            pair(b'a', b'a', 302),
            (302, 300, 303),
            (u32::from(b'b'), 302, 304),
            (301, 301, 305),
            pair(b'b', b'b', 306),
        ];
        Merges::new(std::array::from_fn(|byte| byte as u32), &list)
    }

    fn both(word: &str) -> [Vec<u32>; 2] {
        let (mut short, mut long) = (Vec::new(), Vec::new());
        merges().encode_short(word.as_bytes(), &mut short);
        merges().encode_long(word.as_bytes(), &mut long);
        [short, long]
    }

    #[test]
    fn the_lowest_rank_goes_first_and_the_leftmost_of_equals() {
        let (a, b) = (u32::from(b'a'), u32::from(b'b'));
        for (word, expect) in [
            ("aab", vec![a, 300]),
            ("aaab", vec![303]), // ab first, then aa, then both
            ("aaa", vec![302, a]),
            ("baa", vec![304]),
            ("abab", vec![301]),
            ("bbb", vec![306, b]),
            ("xyz", vec![120, 121, 122]),
        ] {
            assert_eq!(both(word), [expect.clone(), expect], "{word}");
        }
    }

    #[test]
    fn a_long_word_is_not_quadratic_work() {
        let mut ids = Vec::new();
        merges().encode(&b"a".repeat(1_000_000), &mut ids);
        assert_eq!(ids, vec![302; 500_000]);
    }

    proptest! {
        #[test]
        fn arrays_and_heap_agree(word in "[abx]{2,64}") {
            let [short, long] = both(&word);
            prop_assert_eq!(short, long);
        }
    }
}
