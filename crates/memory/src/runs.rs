//! Which parts of a range are free.

use std::collections::{BTreeMap, BTreeSet};

/// The free runs of a range of granules, each as long as it can be: two free neighbours are always one run.
#[derive(Debug)]
pub(crate) struct FreeRuns {
    /// Length of the run that begins at a granule.
    by_start: BTreeMap<usize, usize>,
    /// The same runs as (length, start), for the best fit.
    by_length: BTreeSet<(usize, usize)>,
}

impl FreeRuns {
    /// A range of `length` granules, all free.
    pub fn new(length: usize) -> Self {
        let mut runs = Self { by_start: BTreeMap::new(), by_length: BTreeSet::new() };
        runs.insert(0, length);
        runs
    }

    /// Takes `length` granules from the beginning of the shortest run that has them, of several the first; returns where
    /// they begin, or none when no run is long enough.
    pub fn take(&mut self, length: usize) -> Option<usize> {
        let &(_, start) = self.by_length.range((length, 0)..).next()?;
        self.take_at(start, length).then_some(start)
    }

    /// Takes `length` granules that begin where a run begins; false, and nothing is taken, when no run begins at `start`
    /// or it is too short.
    pub fn take_at(&mut self, start: usize, length: usize) -> bool {
        let Some(&run) = self.by_start.get(&start).filter(|run| **run >= length) else { return false };
        self.remove(start, run);
        self.insert(start + length, run - length);
        true
    }

    /// Frees granules that were taken, and joins them with free neighbours.
    pub fn give(&mut self, mut start: usize, mut length: usize) {
        if let Some((&before, &run)) = self.by_start.range(..start).next_back() {
            debug_assert!(before + run <= start, "granule {start} is free already");
            if before + run == start {
                self.remove(before, run);
                (start, length) = (before, length + run);
            }
        }
        if let Some(&run) = self.by_start.get(&(start + length)) {
            self.remove(start + length, run);
            length += run;
        }
        self.insert(start, length);
    }

    /// All runs as (start, length), in order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        self.by_start.iter().map(|(start, length)| (*start, *length))
    }

    fn insert(&mut self, start: usize, length: usize) {
        if length > 0 {
            self.by_start.insert(start, length);
            self.by_length.insert((length, start));
        }
    }

    fn remove(&mut self, start: usize, length: usize) {
        self.by_start.remove(&start);
        self.by_length.remove(&(length, start));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_best_fit_is_taken_and_the_lowest_of_equals() {
        let mut runs = FreeRuns::new(100);
        for length in [10, 1, 4, 1, 5, 1, 4, 1] {
            assert!(runs.take(length).is_some());
        }
        for (start, length) in [(0, 10), (11, 4), (16, 5), (22, 4)] {
            runs.give(start, length);
        }
        assert_eq!(runs.take(4), Some(11));
        assert_eq!(runs.take(4), Some(22));
        assert_eq!(runs.take(4), Some(16));
        assert_eq!(runs.take(80), None);
    }

    #[test]
    fn a_run_is_taken_where_it_begins_or_not_at_all() {
        let mut runs = FreeRuns::new(8);
        assert_eq!(runs.take(2), Some(0));
        assert!(!runs.take_at(3, 1) && !runs.take_at(2, 7));
        assert!(runs.take_at(2, 6));
        assert_eq!(runs.iter().count(), 0);
    }

    proptest! {
        /// Beside a list of the granules: no overlap, the shortest run that fits, neighbours joined.
        #[test]
        fn runs_are_those_of_a_list_of_granules(
            steps in prop::collection::vec((1usize..20, any::<prop::sample::Index>(), 0..5), 1..80),
        ) {
            let mut runs = FreeRuns::new(64);
            let mut free = vec![true; 64];
            let mut taken: Vec<(usize, usize)> = Vec::new();
            for (length, which, action) in steps {
                if action < 3 {
                    let best = plain_runs(&free).into_iter().filter(|run| run.1 >= length).min_by_key(|run| (run.1, run.0));
                    let start = runs.take(length);
                    prop_assert_eq!(start, best.map(|run| run.0));
                    if let Some(start) = start {
                        free[start..start + length].fill(false);
                        taken.push((start, length));
                    }
                } else if !taken.is_empty() {
                    let (start, length) = taken.swap_remove(which.index(taken.len()));
                    runs.give(start, length);
                    free[start..start + length].fill(true);
                }
                prop_assert_eq!(runs.iter().collect::<Vec<_>>(), plain_runs(&free));
                prop_assert_eq!(runs.by_length.len(), runs.by_start.len());
            }
        }
    }

    fn plain_runs(free: &[bool]) -> Vec<(usize, usize)> {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for start in (0..free.len()).filter(|&granule| free[granule]) {
            match runs.last_mut() {
                Some((first, length)) if *first + *length == start => *length += 1,
                _ => runs.push((start, 1)),
            }
        }
        runs
    }
}
