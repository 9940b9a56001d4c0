//! From buckets to decisions: which documents are duplicates of which, and which of them stay.

use std::collections::BTreeMap;

use danlu_memory::Column;

use crate::DataError;

use super::Budget;
use super::rows::Rows;
use super::sorter::Sorted;

/// Tells whether two documents are duplicates.
pub(super) trait Likeness {
    /// The similarity of two rows, or `None` where it is too small.
    fn similarity(&mut self, a: u32, b: u32) -> Result<Option<f64>, DataError>;
}

/// A document with fewer than so many companions in its bucket and cluster is compared with all of them.
const COMPARED: usize = 64;

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// Pairs that shared a bucket and were not already in one cluster.
    pub(super) checked: u64,
    /// Pairs that were duplicates indeed.
    pub(super) confirmed: u64,
}

/// Sets of rows that grow together. The root of a set is its least row, so that the order of joining leaves no trace.
pub(super) struct UnionFind {
    parents: Column<u32>,
}

impl UnionFind {
    pub(super) fn new(rows: usize, budget: &Budget) -> Result<Self, DataError> {
        let mut parents: Column<u32> = budget.zeros("clusters", rows)?;
        parents.iter_mut().enumerate().for_each(|(row, parent)| *parent = row as u32);
        Ok(Self { parents })
    }

    pub(super) fn root(&mut self, mut row: u32) -> u32 {
        while self.parents[row as usize] != row {
            let grandparent = self.parents[self.parents[row as usize] as usize];
            self.parents[row as usize] = grandparent;
            row = grandparent;
        }
        row
    }

    pub(super) fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.parents[a.max(b) as usize] = a.min(b);
    }
}

/// Calls `each` with the rows of every bucket that has several. A record is the two halves of a bucket's hash and a row.
pub(super) fn buckets(
    sorted: &Sorted<3>,
    skip: impl Fn(u32) -> bool,
    mut each: impl FnMut(&[u32]) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut merge = sorted.read()?;
    let (mut hash, mut rows) = ([0; 2], Vec::new());
    while let Some([high, low, row]) = merge.next()? {
        if hash != [high, low] {
            if rows.len() > 1 {
                each(&rows)?;
            }
            rows.clear();
            hash = [high, low];
        }
        if !skip(row) {
            rows.push(row);
        }
    }
    if rows.len() > 1 { each(&rows) } else { Ok(()) }
}

/// Joins the rows of one bucket that are duplicates. Pairs that are already in one cluster need no comparison; so a
/// bucket of n copies takes n - 1.
pub(super) fn join_bucket(
    rows: &[u32],
    clusters: &mut UnionFind,
    likeness: &mut dyn Likeness,
    compared: &mut Compared,
) -> Result<(), DataError> {
    let mut groups: Vec<Vec<u32>> = Vec::new();
    for &row in rows {
        let mut joined: Option<usize> = None;
        let mut index = 0;
        while index < groups.len() {
            let same = clusters.root(groups[index][0]) == clusters.root(row)
                || alike(row, &groups[index], clusters, likeness, compared)?;
            match (same, joined) {
                (true, None) => joined = Some(index),
                (true, Some(into)) => {
                    let members = groups.remove(index);
                    groups[into].extend(members);
                    continue;
                }
                _ => {}
            }
            index += 1;
        }
        match joined {
            Some(index) => groups[index].push(row),
            None => groups.push(vec![row]),
        }
    }
    Ok(())
}

fn alike(
    row: u32,
    group: &[u32],
    clusters: &mut UnionFind,
    likeness: &mut dyn Likeness,
    compared: &mut Compared,
) -> Result<bool, DataError> {
    for &other in group.iter().take(COMPARED) {
        compared.checked += 1;
        if likeness.similarity(row, other)?.is_some() {
            compared.confirmed += 1;
            clusters.join(row, other);
            return Ok(true);
        }
    }
    Ok(false)
}

/// A row that goes, the row that stays for it, and how similar they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) row: u32,
    pub(super) kept: u32,
    pub(super) similarity: f64,
}

/// Decides who stays in each cluster.
///
/// A cluster is transitive: of a chain of documents, each like the next, the ends may have little in common. So it only
/// proposes. Its documents are taken in the order of the rule; one that is like a document that stays goes, and any
/// other stays. Nothing goes without a copy of it that is similar by itself.
pub(super) fn choose(
    clusters: &mut UnionFind,
    rows: &Rows,
    likeness: &mut dyn Likeness,
    compared: &mut Compared,
) -> Result<Vec<Verdict>, DataError> {
    let mut verdicts = Vec::new();
    for mut members in several(clusters, rows.len()).into_values() {
        members.sort_unstable_by(|&a, &b| rows.order(a, b));
        let mut stay: Vec<u32> = Vec::new();
        'members: for row in members {
            for &kept in &stay {
                compared.checked += 1;
                if let Some(similarity) = likeness.similarity(row, kept)? {
                    compared.confirmed += 1;
                    verdicts.push(Verdict { row, kept, similarity });
                    continue 'members;
                }
            }
            stay.push(row);
        }
    }
    verdicts.sort_unstable_by_key(|verdict| verdict.row);
    Ok(verdicts)
}

/// The clusters of more than one row, by root.
fn several(clusters: &mut UnionFind, rows: usize) -> BTreeMap<u32, Vec<u32>> {
    let mut all: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for row in 0..rows as u32 {
        let root = clusters.root(row);
        if root != row {
            // The root is the least of its rows and comes before them.
            all.entry(root).or_insert_with(|| vec![root]).push(row);
        }
    }
    all
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Document;
    use crate::dedup::{DedupConfig, KeepRule};

    /// Rows are like their neighbours within a distance.
    struct Near(u32);

    impl Likeness for Near {
        fn similarity(&mut self, a: u32, b: u32) -> Result<Option<f64>, DataError> {
            Ok((a.abs_diff(b) <= self.0).then(|| 1.0 - f64::from(a.abs_diff(b)) / 10.0))
        }
    }

    fn budget() -> Budget {
        Budget::new(&DedupConfig::default(), std::path::Path::new("none"))
    }

    fn rows(lengths: &[usize], keep: KeepRule) -> Rows {
        let mut rows = Rows::new(keep, &budget());
        lengths.iter().for_each(|&len| rows.push(&Document::new("x".repeat(len), "s")).unwrap());
        rows
    }

    fn verdicts(lengths: &[usize], keep: KeepRule, bucket: &[u32]) -> Vec<(u32, u32)> {
        let rows = rows(lengths, keep);
        let (mut clusters, mut compared) = (UnionFind::new(rows.len(), &budget()).unwrap(), Compared::default());
        join_bucket(bucket, &mut clusters, &mut Near(1), &mut compared).unwrap();
        let verdicts = choose(&mut clusters, &rows, &mut Near(1), &mut compared).unwrap();
        verdicts.iter().map(|verdict| (verdict.row, verdict.kept)).collect()
    }

    #[test]
    fn a_chain_keeps_what_no_kept_document_resembles() {
        assert_eq!(verdicts(&[1; 5], KeepRule::First, &[0, 1, 2, 3, 4]), [(1, 0), (3, 2)]);
        assert_eq!(verdicts(&[1, 1, 9, 1, 1], KeepRule::Longest, &[0, 1, 2, 3, 4]), [(1, 2), (3, 2)]);
        assert!(verdicts(&[1; 5], KeepRule::First, &[0, 2, 4]).is_empty());
    }

    #[test]
    fn a_bucket_that_comes_out_of_order_joins_the_same() {
        assert_eq!(verdicts(&[1; 5], KeepRule::First, &[4, 0, 2, 1, 3]), [(1, 0), (3, 2)]);
    }

    #[test]
    fn copies_take_one_comparison_each() {
        let (mut clusters, mut compared) = (UnionFind::new(100, &budget()).unwrap(), Compared::default());
        let all: Vec<u32> = (0..100).collect();
        join_bucket(&all, &mut clusters, &mut Near(100), &mut compared).unwrap();
        assert_eq!(compared, Compared { checked: 99, confirmed: 99 });
        join_bucket(&all, &mut clusters, &mut Near(100), &mut compared).unwrap();
        assert_eq!(compared.checked, 99);
    }
}
