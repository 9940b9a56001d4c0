//! Which data a step sees. With nothing skipped, step `n` sees group `n` of `accumulate`
//! micro-batches; every skipped group moves the later steps on by one. The group of a step is so
//! a pure function of (step, skipped groups), and a resumed run needs no replay.

use std::collections::BTreeSet;

/// The group of micro-batches that step `step` sees.
pub fn group_of_step(step: u64, skipped: &BTreeSet<u64>) -> u64 {
    let mut group = step;
    for &skip in skipped {
        if skip > group {
            break;
        }
        group += 1;
    }
    group
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_the_nth_group_that_is_not_skipped(skipped in proptest::collection::btree_set(0u64..50, 0..20)) {
            let mut want = (0u64..).filter(|group| !skipped.contains(group));
            for step in 0..60 {
                prop_assert_eq!(Some(group_of_step(step, &skipped)), want.next());
            }
        }
    }
}
