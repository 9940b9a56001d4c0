use crate::ngrams::mix;

use super::NearConfig;

/// Permutations are computed in blocks of so many, which the compiler keeps in vector registers.
const BLOCK: usize = 16;

/// A family of permutations of the 32-bit numbers: x -> a x + b modulo 2^32 with odd a, on fingerprints that already
/// are evenly spread. The same for all runs, so that signatures of different runs can be compared.
pub(super) struct MinHash {
    blocks: Vec<Block>,
    bands: usize,
    rows: usize,
}

struct Block {
    factors: [u32; BLOCK],
    offsets: [u32; BLOCK],
}

impl MinHash {
    pub(super) fn new(config: &NearConfig) -> Self {
        let (bands, rows) = (config.bands as usize, config.rows as usize);
        let number = |index: usize| mix(0x6461_6E6C_7500_0000 ^ index as u64);
        let block = |block: usize| Block {
            factors: std::array::from_fn(|lane| number(2 * (block * BLOCK + lane)) as u32 | 1),
            offsets: std::array::from_fn(|lane| number(2 * (block * BLOCK + lane) + 1) as u32),
        };
        Self { blocks: (0..(bands * rows).div_ceil(BLOCK)).map(block).collect(), bands, rows }
    }

    /// Numbers in a signature.
    pub(super) fn len(&self) -> usize {
        self.bands * self.rows
    }

    /// The least value of each permutation over the fingerprints, repeated or not, of which there must be at least one.
    pub(super) fn signature(&self, fingerprints: &[u32]) -> Vec<u32> {
        let mut signature = Vec::with_capacity(self.blocks.len() * BLOCK);
        for block in &self.blocks {
            let mut least = [u32::MAX; BLOCK];
            for &x in fingerprints {
                for ((least, factor), offset) in least.iter_mut().zip(&block.factors).zip(&block.offsets) {
                    *least = (*least).min(factor.wrapping_mul(x).wrapping_add(*offset));
                }
            }
            signature.extend_from_slice(&least);
        }
        signature.truncate(self.len());
        signature
    }

    /// One hash for each band of a signature; bands never share a hash but by accident (2^-64).
    pub(super) fn band_hashes(&self, signature: &[u32]) -> impl Iterator<Item = u64> {
        signature
            .chunks_exact(self.rows)
            .enumerate()
            .map(|(band, rows)| rows.iter().fold(mix(band as u64 + 1), |hash, &row| mix(hash ^ u64::from(row))))
    }
}

/// The share of equal numbers: an unbiased estimate of the Jaccard similarity, with a standard deviation of
/// sqrt(s (1 - s) / numbers).
pub(super) fn estimate(a: &[u32], b: &[u32]) -> f64 {
    let equal = a.iter().zip(b).filter(|(a, b)| a == b).count();
    equal as f64 / a.len().max(1) as f64
}

/// The Jaccard similarity of two sorted sets, or `None` where it is below `threshold`: found without reading to the
/// end as soon as too little is left in common.
pub(super) fn jaccard_at_least(a: &[u32], b: &[u32], threshold: f64) -> Option<f64> {
    let total = (a.len() + b.len()) as f64;
    // J = common / (total - common) >= t  <=>  common >= t total / (1 + t); the slack is for rounding.
    let needed = (threshold * total / (1.0 + threshold) - 1e-6).ceil().max(0.0) as usize;
    if a.len().min(b.len()) < needed {
        return None;
    }
    let (mut i, mut j, mut common) = (0, 0, 0);
    // What either side may still lose before `needed` is out of reach.
    let (spare_a, spare_b) = (a.len() - needed, b.len() - needed);
    while i < a.len() && j < b.len() {
        let (x, y) = (a[i], b[j]);
        common += usize::from(x == y);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
        if i > common + spare_a || j > common + spare_b {
            return None;
        }
    }
    if common < needed {
        return None;
    }
    let union = total - common as f64;
    Some(if union == 0.0 { 1.0 } else { common as f64 / union })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn set(range: std::ops::Range<u64>) -> Vec<u32> {
        let all: BTreeSet<u32> = range.map(|x| mix(x) as u32).collect();
        all.into_iter().collect()
    }

    /// Over 200 pairs of known similarity the mean of the estimates comes close to it (the standard error is 0.004).
    #[test]
    fn the_estimate_is_unbiased() {
        let hash = MinHash::new(&NearConfig::default());
        for (common, own) in [(100u64, 0u64), (80, 10), (50, 25), (20, 40)] {
            let expected = common as f64 / (common + 2 * own) as f64;
            let mean = (0..200u64)
                .map(|trial| {
                    let base = trial * 1000;
                    let a = hash.signature(&set(base..base + common + own));
                    let b: Vec<u32> = [set(base..base + common), set(base + 500..base + 500 + own)].concat();
                    estimate(&a, &hash.signature(&b))
                })
                .sum::<f64>()
                / 200.0;
            assert!((mean - expected).abs() < 0.015, "{mean} instead of {expected}");
        }
    }

    #[test]
    fn the_defaults_find_what_the_documentation_says() {
        let near = NearConfig::default();
        for (similarity, expected) in [(0.8, 0.998), (0.6, 0.634), (0.25, 0.005)] {
            assert!((near.probability(similarity) - expected).abs() < 0.001, "{}", near.probability(similarity));
        }
    }

    proptest::proptest! {
        #[test]
        fn jaccard_is_that_of_the_definition(
            a in proptest::collection::btree_set(0u32..60, 0..40),
            b in proptest::collection::btree_set(0u32..60, 0..40),
            threshold in 0.05f64..1.0,
        ) {
            let union = a.union(&b).count();
            let expected = if union == 0 { 1.0 } else { a.intersection(&b).count() as f64 / union as f64 };
            let (a, b): (Vec<u32>, Vec<u32>) = (a.into_iter().collect(), b.into_iter().collect());
            let found = jaccard_at_least(&a, &b, threshold);
            proptest::prop_assert_eq!(found, (expected >= threshold).then_some(expected));
        }
    }
}
