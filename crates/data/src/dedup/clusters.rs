use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Duplicate, DuplicateKind, Search};
use crate::ngrams::mix;

/// So many of the largest clusters are told one by one.
const LARGEST: usize = 20;
/// And so many of the others.
const SAMPLED: usize = 12;
/// Copies that are told of each.
const COPIES: usize = 4;

/// How many clusters have a size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterSize {
    pub size: u64,
    pub clusters: u64,
}

/// A document that stays and those that were dropped for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DuplicateCluster {
    /// The id of the document that stays.
    pub kept: String,
    /// Its id after what repeats in it was cut, where something was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_as: Option<String>,
    pub source: String,
    pub size: u64,
    /// Bytes of text that were dropped.
    pub bytes: u64,
    /// Up to 4 of those that were dropped, no two of the same text, the least similar first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<ClusterCopy>,
}

/// A document that was dropped for another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterCopy {
    pub id: String,
    pub source: String,
    pub kind: DuplicateKind,
    pub similarity: f64,
}

/// For each row that stays how many were dropped for it, and their bytes.
pub(super) type Clusters = BTreeMap<u64, (u64, u64)>;

pub(super) fn sizes(clusters: &Clusters) -> Vec<ClusterSize> {
    cluster_sizes(clusters.values().map(|&(dropped, _)| dropped + 1))
}

pub(crate) fn cluster_sizes(all: impl Iterator<Item = u64>) -> Vec<ClusterSize> {
    let mut sizes: BTreeMap<u64, u64> = BTreeMap::new();
    all.for_each(|size| *sizes.entry(size).or_default() += 1);
    sizes.into_iter().map(|(size, clusters)| ClusterSize { size, clusters }).collect()
}

/// The clusters to tell of, given as what tells them apart and their size: the largest, and an even sample of the others,
/// larger ones first. `id` is a hash of the text, so that the same documents give the same sample.
pub(crate) fn chosen<K: Copy + Ord>(
    clusters: impl Iterator<Item = (K, u64)>,
    id: impl Fn(K) -> u128,
) -> [Vec<(K, u64)>; 2] {
    let by_size = |&(key, size): &(K, u64)| (Reverse(size), key);
    let mut largest: Vec<(K, u64)> = clusters.collect();
    largest.sort_unstable_by_key(by_size);
    let mut others = largest.split_off(LARGEST.min(largest.len()));
    // Mixed, so that the draw has nothing to do with splits and samples, which go by the bits of the id.
    others.sort_by_cached_key(|&(key, _)| (mix(id(key) as u64), key));
    others.truncate(SAMPLED);
    others.sort_unstable_by_key(by_size);
    [largest, others]
}

/// The largest clusters and some others, with some of their copies.
pub(super) fn told(search: &Search<'_>, clusters: &Clusters) -> [Vec<DuplicateCluster>; 2] {
    let ids = &search.rows.ids;
    let chosen = chosen(clusters.iter().map(|(&row, &(dropped, _))| (row, dropped + 1)), |row| ids[row as usize]);
    let mut copies: BTreeMap<u64, Vec<&Duplicate>> =
        chosen.iter().flatten().map(|&(row, _)| (row, Vec::new())).collect();
    for duplicate in &search.drops {
        if let Some(of_one) = duplicate.kept.and_then(|kept| copies.get_mut(&kept)) {
            add_copy(of_one, duplicate, ids);
        }
    }
    let id = |row: u64| format!("{:032x}", ids[row as usize]);
    let source = |row: u64| search.rows.source(row as u32).to_owned();
    let copy = |&&Duplicate { row, kind, similarity, .. }: &&Duplicate| ClusterCopy {
        id: id(row),
        source: source(row),
        kind,
        similarity,
    };
    let cluster = |(row, size): (u64, u64)| DuplicateCluster {
        kept: id(row),
        kept_as: None,
        source: source(row),
        size,
        bytes: clusters[&row].1,
        copies: copies[&row].iter().map(copy).collect(),
    };
    chosen.map(|some| some.into_iter().map(&cluster).collect())
}

/// Adds a copy to the few that are told, if it is of another text and less alike than one of them.
fn add_copy<'a>(copies: &mut Vec<&'a Duplicate>, duplicate: &'a Duplicate, ids: &[u128]) {
    let id = |of: &Duplicate| ids[of.row as usize];
    if copies.iter().any(|known| id(known) == id(duplicate)) {
        return;
    }
    let place = copies.partition_point(|known| known.similarity <= duplicate.similarity);
    copies.insert(place, duplicate);
    copies.truncate(COPIES);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Document;
    use crate::dedup::tests::{Numbers, PLENTY, changed, join, near, search, units};
    use crate::dedup::{DedupConfig, Duplicates};

    #[test]
    fn the_largest_and_an_even_sample_of_the_others_are_chosen() {
        let clusters = (0..1000u64).map(|key| (key, if key % 50 == 0 { 2 + key } else { 2 }));
        let id = |key: u64| u128::from(mix(key));
        let [largest, sampled] = chosen(clusters.clone(), id);
        assert!(largest.iter().map(|&(key, _)| key).eq((0..20).rev().map(|n| 50 * n)));
        assert_eq!(chosen(clusters.rev(), id), [largest, sampled.clone()]);
        assert!(sampled.len() == SAMPLED && sampled.iter().all(|&(key, _)| key % 50 > 0));
        assert!(sampled.iter().any(|&(key, _)| key < 500) && sampled.iter().any(|&(key, _)| key > 500), "{sampled:?}");
    }

    #[test]
    fn different_copies_are_told_the_least_similar_first() {
        let mut numbers = Numbers(31);
        let first = units(&mut numbers, 200, false);
        let changes = [0, 0, 3, 1, 0, 6, 2];
        let documents: Vec<Document> =
            changes.iter().map(|&count| Document::new(join(&changed(&mut numbers, &first, count)), "s")).collect();
        let config = DedupConfig { near: Some(near(0.5)), ..Default::default() };
        let Duplicates { mut summary, .. } = search(&documents, &config, PLENTY);
        let dropped: usize = documents[1..].iter().map(|document| document.text.len()).sum();
        let cluster = &summary.largest[0];
        assert_eq!((cluster.size, cluster.bytes, &cluster.kept), (7, dropped as u64, &documents[0].id));
        let ids: Vec<&String> = cluster.copies.iter().map(|copy| &copy.id).collect();
        assert_eq!(ids, [5, 2, 6, 3].map(|row: usize| &documents[row].id));
        assert!(cluster.copies.is_sorted_by_key(|copy| copy.similarity));
        assert!(summary.sampled.is_empty() && summary.clusters.len() == 1);
        summary.note_cut(&documents[0].id, "after");
        assert_eq!(summary.largest[0].kept_as.as_deref(), Some("after"));
    }
}
