use std::collections::BTreeSet;

use danlu_memory::Column;

use crate::DataError;

use super::Budget;
use super::groups::Likeness;

/// Key columns that are equal where a pair is compared: see [`keys`].
const CHOSEN: usize = 3;

/// 64 bits, each the majority of that bit over the hashes of the text's n-grams.
pub(super) fn simhash(hashes: &[u64]) -> u64 {
    let mut ones = [0u32; 64];
    for hash in hashes {
        for (bit, ones) in ones.iter_mut().enumerate() {
            *ones += (hash >> bit & 1) as u32;
        }
    }
    let half = hashes.len() as u32 / 2;
    ones.iter().enumerate().fold(0, |all, (bit, &ones)| all | u64::from(ones > half) << bit)
}

/// The keys under which a hash is filed, so that any two hashes at most `distance` bits apart share one.
///
/// The 64 bits are cut into `distance` + 3 blocks; at least 3 of them are the same in both, and there is one key for each
/// choice of 3 blocks (Manku et al. 2007, section 3): for distance 3 these are 20 keys of about 32 bits.
pub(super) fn keys(hash: u64, distance: u32) -> impl Iterator<Item = u64> {
    let blocks = distance as usize + CHOSEN;
    let mask = move |block: usize| {
        let (from, to) = (64 * block / blocks, 64 * (block + 1) / blocks);
        (u64::MAX >> (64 - (to - from))) << from
    };
    (0..blocks).flat_map(move |a| {
        (a + 1..blocks).flat_map(move |b| {
            (b + 1..blocks).map(move |c| {
                let table = ((a * blocks + b) * blocks + c) as u64;
                crate::ngrams::mix(hash & (mask(a) | mask(b) | mask(c))) ^ crate::ngrams::mix(table + 1)
            })
        })
    })
}

/// The hashes of all documents, by row: 8 bytes each.
pub(super) struct SimHashes {
    pub(super) hashes: Column<u64>,
    /// Rows without any n-gram, which are like nothing.
    pub(super) empty: BTreeSet<u32>,
    pub(super) distance: u32,
}

impl SimHashes {
    pub(super) fn new(distance: u32, budget: &Budget) -> Self {
        Self { hashes: budget.column("simhashes"), empty: BTreeSet::new(), distance }
    }
}

impl Likeness for SimHashes {
    fn similarity(&mut self, a: u32, b: u32) -> Result<Option<f64>, DataError> {
        let different = (self.hashes[a as usize] ^ self.hashes[b as usize]).count_ones();
        let like = different <= self.distance && !self.empty.contains(&a) && !self.empty.contains(&b);
        Ok(like.then(|| 1.0 - f64::from(different) / 64.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn hashes_within_the_distance_share_a_key(hash: u64, flips in proptest::collection::vec(0u32..64, 0..8)) {
            let other = flips.iter().fold(hash, |hash, bit| hash ^ 1 << bit);
            let distance = (hash ^ other).count_ones();
            let shared = keys(hash, distance).zip(keys(other, distance)).any(|(a, b)| a == b);
            proptest::prop_assert!(shared);
        }
    }

    #[test]
    fn a_bit_is_that_of_the_majority() {
        assert_eq!(simhash(&[0b011, 0b001, 0b110]), 0b011);
        assert_eq!(keys(7, 3).collect::<BTreeSet<_>>().len(), 20);
    }
}
