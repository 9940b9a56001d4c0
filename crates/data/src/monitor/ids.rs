use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// How many different ids are remembered.
const CAPACITY: usize = 1 << 18;

/// How many documents have a text that another document has as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Repeats {
    /// Documents looked at: all, or the sample below.
    pub documents: u64,
    /// Different texts among them.
    pub distinct: u64,
    /// Documents are looked at by their id: all where this is 0, else one of 2^this.
    pub sampling: u32,
}

impl Repeats {
    /// The share of documents that could go without a text being lost.
    pub fn share(&self) -> f64 {
        1.0 - self.distinct as f64 / self.documents.max(1) as f64
    }
}

/// Counts different ids in bounded memory by adaptive sampling (Flajolet, "On adaptive sampling", 1990): exact until
/// there are 262,144 of them; then only ids that end in ever more zero bits are counted. Ids are hashes, so that is a fair
/// sample of the texts; the order in which they come does not matter.
#[derive(Debug, Default)]
pub(super) struct IdSample {
    level: u32,
    counts: HashMap<u128, u64>,
}

impl IdSample {
    pub(super) fn add(&mut self, id: u128) {
        if id.trailing_zeros() < self.level {
            return;
        }
        *self.counts.entry(id).or_default() += 1;
        while self.counts.len() > CAPACITY {
            self.level += 1;
            let level = self.level;
            self.counts.retain(|id, _| id.trailing_zeros() >= level);
        }
    }

    pub(super) fn finish(&self) -> Repeats {
        let (documents, distinct) = (self.counts.values().sum(), self.counts.len() as u64);
        Repeats { documents, distinct, sampling: self.level }
    }

    /// How often each id came.
    pub(super) fn into_counts(self) -> HashMap<u128, u64> {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permutation::mix;

    #[test]
    fn exact_and_then_sampled() {
        let mut ids = IdSample::default();
        [1u128, 2, 3, 1].iter().for_each(|&id| ids.add(id));
        assert_eq!(ids.finish(), Repeats { documents: 4, distinct: 3, sampling: 0 });
        assert_eq!(ids.finish().share(), 0.25);
        // Half a million texts, each twice.
        let mut many = IdSample::default();
        for i in 0..1_000_000u64 {
            many.add(u128::from(mix(i % 500_000)));
        }
        let found = many.finish();
        assert!(found.sampling > 0 && found.distinct <= CAPACITY as u64, "{found:?}");
        assert_eq!(found.share(), 0.5);
    }
}
