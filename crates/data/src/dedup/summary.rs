use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::clusters::{ClusterSize, Clusters, DuplicateCluster, sizes, told};
use super::{Cut, DuplicateKind, Search};

/// What the search found, in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DedupSummary {
    pub documents: u64,
    pub bytes: u64,
    /// Documents dropped, or parts cut, in each way.
    pub kinds: Vec<KindCount>,
    /// How many clusters of each size there are: a document that stays and those that were dropped for it.
    pub clusters: Vec<ClusterSize>,
    /// The 20 largest.
    pub largest: Vec<DuplicateCluster>,
    /// 12 of the others, drawn evenly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sampled: Vec<DuplicateCluster>,
    /// Which sources repeat which.
    pub sources: Vec<SourcePair>,
    /// Pairs of documents that were compared, and those of them that were duplicates.
    pub pairs_checked: u64,
    pub pairs_confirmed: u64,
    /// The probability that a pair at the threshold is compared at all; with `near` only.
    pub found_at_threshold: Option<f64>,
    /// Documents in which no repeated spans were looked for, because the tokenizer's tokens do not spell their text.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_spelled: u64,
    /// Conversations that stay, where repeated parts are cut: none are looked for in these. Counted when the result is applied.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_whole: u64,
    /// Sorted records and n-gram sets that went to disk.
    pub spilled_bytes: u64,
    /// What the table of documents, unless it went to disk, and the result hold in memory.
    pub held_bytes: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KindCount {
    pub kind: DuplicateKind,
    /// Documents dropped, or parts cut.
    pub count: u64,
    pub bytes: u64,
}

/// Documents of one source that were dropped for documents of another, or of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourcePair {
    pub source: String,
    /// Empty for an earlier run.
    pub kept_source: String,
    pub documents: u64,
    pub bytes: u64,
}

impl DedupSummary {
    /// Notes that a document which stays was cut, and has another id since.
    pub(crate) fn note_cut(&mut self, before: &str, after: &str) {
        for cluster in self.largest.iter_mut().chain(&mut self.sampled).filter(|cluster| cluster.kept == before) {
            cluster.kept_as = Some(after.into());
        }
    }
}

pub(super) fn summarize(search: &Search<'_>, cuts: &[Cut]) -> DedupSummary {
    let rows = &search.rows;
    let mut kinds: BTreeMap<DuplicateKind, (u64, u64)> = BTreeMap::new();
    let mut pairs: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    let mut clusters = Clusters::new();
    let grow = |(count, bytes): &mut (u64, u64), by: u64| (*count, *bytes) = (*count + 1, *bytes + by);
    for duplicate in &search.drops {
        let bytes = u64::from(rows.bytes[duplicate.row as usize]);
        let kept_source = duplicate.kept.map_or("", |kept| rows.source(kept as u32));
        grow(kinds.entry(duplicate.kind).or_default(), bytes);
        grow(pairs.entry((rows.source(duplicate.row as u32), kept_source)).or_default(), bytes);
        if let Some(kept) = duplicate.kept {
            grow(clusters.entry(kept).or_default(), bytes);
        }
    }
    for cut in cuts {
        grow(kinds.entry(cut.kind).or_default(), cut.bytes.len() as u64);
    }
    let [largest, sampled] = told(search, &clusters);
    let held_rows = if rows.len() > search.budget.held_rows { 0 } else { rows.len() as u64 };
    let held = held_rows * search.budget.row_bytes + (size_of_val(search.drops.as_slice()) + size_of_val(cuts)) as u64;
    DedupSummary {
        documents: rows.len() as u64,
        bytes: rows.bytes.iter().map(|&bytes| u64::from(bytes)).sum(),
        kinds: kinds.into_iter().map(|(kind, (count, bytes))| KindCount { kind, count, bytes }).collect(),
        clusters: sizes(&clusters),
        largest,
        sampled,
        sources: pairs
            .into_iter()
            .map(|((source, kept_source), (documents, bytes))| {
                let (source, kept_source) = (source.into(), kept_source.into());
                SourcePair { source, kept_source, documents, bytes }
            })
            .collect(),
        pairs_checked: search.compared.checked,
        pairs_confirmed: search.compared.confirmed,
        found_at_threshold: search.config.near.map(|near| near.probability(near.threshold)),
        not_spelled: search.not_spelled,
        left_whole: 0,
        spilled_bytes: search.spilled,
        held_bytes: held,
    }
}
