//! The words and n-grams that are seen most, counted in bounded memory.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// Counts of the most frequent of very many items (Misra and Gries 1982), merged as in Agarwal et al., "Mergeable
/// Summaries" (2013). Exact until more than `2 * capacity` different items have been seen; from then on every count may be
/// too low, by at most [`error`](Self::error), which is at most a `1 / capacity` share of all that was counted.
#[derive(Clone, Debug)]
pub(super) struct Frequent {
    counts: HashMap<Box<str>, u64>,
    capacity: usize,
    pub(super) total: u64,
    pub(super) error: u64,
}

impl Frequent {
    pub(super) fn new(capacity: usize) -> Self {
        Self { counts: HashMap::new(), capacity: capacity.max(1), total: 0, error: 0 }
    }

    pub(super) fn add(&mut self, item: &str, count: u64) {
        self.total += count;
        match self.counts.get_mut(item) {
            Some(known) => *known += count,
            None => {
                self.counts.insert(item.into(), count);
            }
        }
    }

    /// Adds the counts of `other`, a part of the same corpus, and makes room.
    pub(super) fn merge(&mut self, other: &Self) {
        for (item, &count) in &other.counts {
            self.add(item, count);
        }
        self.error += other.error;
        self.shrink();
    }

    /// Takes off the least frequent items where there are too many. Called between batches, always at the same places of
    /// the corpus: then the result does not depend on threads or on the order of a hash map.
    fn shrink(&mut self) {
        if self.counts.len() <= 2 * self.capacity {
            return;
        }
        let mut values: Vec<u64> = self.counts.values().copied().collect();
        let (_, &mut least, _) = values.select_nth_unstable_by(self.capacity, |a, b| b.cmp(a));
        self.counts.retain(|_, count| {
            *count = count.saturating_sub(least);
            *count > 0
        });
        self.error += least;
    }

    /// How many different items are still counted.
    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }

    /// The `limit` most frequent items; those of one count in the order of their characters.
    pub(super) fn top(&self, limit: usize) -> Vec<(String, u64)> {
        let mut all: Vec<(&str, u64)> = self.counts.iter().map(|(item, &count)| (&**item, count)).collect();
        all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        all.truncate(limit);
        all.into_iter().map(|(item, count)| (item.to_owned(), count)).collect()
    }
}

/// The most frequent words or n-grams of one language.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TopWords {
    /// Words in a row: 1, or that of the n-grams.
    pub n: usize,
    /// All that were counted.
    pub total: u64,
    /// Different ones; those dropped to save memory not counted.
    pub distinct: u64,
    /// Each count is too low by at most this; 0 where nothing was dropped.
    pub error: u64,
    /// Most frequent first.
    pub top: Vec<(String, u64)>,
}

impl TopWords {
    pub(super) fn of(frequent: &Frequent, n: usize, limit: usize) -> Self {
        let (total, distinct, error) = (frequent.total, frequent.len() as u64, frequent.error);
        Self { n, total, distinct, error, top: frequent.top(limit) }
    }

    /// The Jensen-Shannon divergence to `other` in bits, 0 (the same) to 1 (nothing in common), over the words in either
    /// list; all other words count as one. NaN where either is empty.
    pub fn divergence(&self, other: &Self) -> f64 {
        if self.total == 0 || other.total == 0 {
            return f64::NAN;
        }
        let theirs: HashMap<&str, u64> = other.top.iter().map(|(word, count)| (word.as_str(), *count)).collect();
        let ours: HashMap<&str, u64> = self.top.iter().map(|(word, count)| (word.as_str(), *count)).collect();
        let (p_all, q_all) = (self.total as f64, other.total as f64);
        let (mut p_rest, mut q_rest, mut divergence) = (1.0, 1.0, 0.0);
        let only_theirs = other.top.iter().filter(|(word, _)| !ours.contains_key(word.as_str()));
        for (word, _) in self.top.iter().chain(only_theirs) {
            let share =
                |counts: &HashMap<&str, u64>, all: f64| counts.get(word.as_str()).map_or(0.0, |&c| c as f64 / all);
            let (p, q) = (share(&ours, p_all), share(&theirs, q_all));
            p_rest -= p;
            q_rest -= q;
            divergence += js_term(p, q);
        }
        (divergence + js_term(p_rest.max(0.0), q_rest.max(0.0))).clamp(0.0, 1.0)
    }

    /// The words whose share changed most, `(word, share here, share there)`, by how much each adds to the divergence.
    pub fn shifts(&self, other: &Self, limit: usize) -> Vec<(String, f64, f64)> {
        let share = |counts: &HashMap<&str, u64>, word: &str, all: u64| {
            counts.get(word).map_or(0.0, |&count| count as f64 / all.max(1) as f64)
        };
        let ours: HashMap<&str, u64> = self.top.iter().map(|(word, count)| (word.as_str(), *count)).collect();
        let theirs: HashMap<&str, u64> = other.top.iter().map(|(word, count)| (word.as_str(), *count)).collect();
        let mut words: Vec<&str> = ours.keys().chain(theirs.keys()).copied().collect();
        words.sort_unstable();
        words.dedup();
        let mut all: Vec<_> = words
            .into_iter()
            .map(|word| (word.to_owned(), share(&ours, word, self.total), share(&theirs, word, other.total)))
            .collect();
        all.sort_by(|a, b| js_term(b.1, b.2).total_cmp(&js_term(a.1, a.2)).then(a.0.cmp(&b.0)));
        all.truncate(limit);
        all
    }
}

/// What one outcome adds to the Jensen-Shannon divergence in bits.
fn js_term(p: f64, q: f64) -> f64 {
    let middle = (p + q) / 2.0;
    let half = |x: f64| if x > 0.0 { x / 2.0 * (x / middle).log2() } else { 0.0 };
    half(p) + half(q)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(counts: &[(&str, u64)]) -> TopWords {
        let top: Vec<_> = counts.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
        TopWords { n: 1, total: top.iter().map(|word| word.1).sum(), distinct: top.len() as u64, error: 0, top }
    }

    #[test]
    fn exact_while_there_is_room() {
        let mut frequent = Frequent::new(2);
        for (word, count) in [("春", 3), ("spring", 2), ("春", 1), ("a", 2)] {
            frequent.add(word, count);
        }
        frequent.shrink();
        assert_eq!((frequent.error, frequent.total), (0, 8));
        assert_eq!(frequent.top(2), [("春".to_owned(), 4), ("a".to_owned(), 2)]);
    }

    #[test]
    fn the_frequent_survive_and_the_error_is_told() {
        let mut frequent = Frequent::new(10);
        for i in 0..2000u32 {
            frequent.add(&format!("rare{i}"), 1);
            if i % 4 == 0 {
                frequent.add("the", 1);
            }
            frequent.shrink();
        }
        let top = frequent.top(1);
        assert_eq!(top[0].0, "the");
        assert!(top[0].1 <= 500 && top[0].1 + frequent.error >= 500, "{top:?} {}", frequent.error);
        assert!(frequent.error <= 2500 / 10 && frequent.len() <= 20);
    }

    #[test]
    fn divergence_by_hand() {
        let (a, b) = (words(&[("x", 1), ("y", 1)]), words(&[("x", 3), ("y", 1)]));
        // p = (1/2, 1/2), q = (3/4, 1/4), m = (5/8, 3/8).
        let expect =
            0.25 * 0.8f64.log2() + 0.375 * 1.2f64.log2() + 0.25 * (4.0 / 3.0f64).log2() + 0.125 * (2.0 / 3.0f64).log2();
        assert!((a.divergence(&b) - expect).abs() < 1e-12);
        assert_eq!(a.divergence(&a), 0.0);
        assert_eq!(a.divergence(&words(&[("z", 9)])), 1.0);
        assert!(a.divergence(&words(&[])).is_nan());
        assert_eq!(a.shifts(&words(&[("y", 1), ("z", 9)]), 1)[0].0, "z");
    }
}
