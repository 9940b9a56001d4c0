use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::OutlierThresholds;
use crate::{DedupSummary, Document};

/// Documents and the UTF-8 bytes of their texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub documents: u64,
    pub bytes: u64,
}

impl Count {
    pub(crate) fn add(&mut self, document: &Document) {
        self.grow(1, document.text.len() as u64);
    }

    pub(super) fn grow(&mut self, documents: u64, bytes: u64) {
        self.documents += documents;
        self.bytes += bytes;
    }

    fn sum(counts: impl Iterator<Item = Count>) -> Count {
        counts.fold(Count::default(), |a, b| Count { documents: a.documents + b.documents, bytes: a.bytes + b.bytes })
    }
}

/// Where the documents went: every collected document is either in one row of `splits` or in one row of one step's
/// `dropped`. Also in `funnel.json` beside the cleaned documents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Funnel {
    pub collected: Count,
    pub kept: Count,
    /// In the order of work.
    pub steps: Vec<StepFunnel>,
    pub splits: Vec<SplitRow>,
    /// The thresholds that outliers were found by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outliers: Vec<OutlierThresholds>,
    /// What the search for duplicates found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<DedupSummary>,
}

/// What one step did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepFunnel {
    pub step: String,
    pub entered: Count,
    pub kept: Count,
    /// Kept documents whose text the step changed.
    pub changed: u64,
    pub dropped: Vec<DropRow>,
}

/// Documents that a step dropped for one reason, of one source and language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DropRow {
    pub reason: String,
    pub source: String,
    /// Empty when dropped before the language was identified.
    pub language: String,
    #[serde(flatten)]
    pub count: Count,
}

/// Kept documents of one split, source and language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitRow {
    pub split: String,
    pub source: String,
    pub language: String,
    #[serde(flatten)]
    pub count: Count,
}

/// What became of one source's or one language's documents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FunnelShare {
    pub collected: Count,
    pub kept: Count,
    /// By reason.
    pub dropped: BTreeMap<String, Count>,
}

impl Funnel {
    /// Documents dropped for each reason.
    pub fn reasons(&self) -> BTreeMap<String, Count> {
        self.steps.iter().flat_map(|step| &step.dropped).fold(BTreeMap::new(), |mut all, row| {
            grow(all.entry(row.reason.clone()).or_default(), row.count);
            all
        })
    }

    /// Kept documents of one split.
    pub fn split(&self, name: &str) -> Count {
        Count::sum(self.splits.iter().filter(|row| row.split == name).map(|row| row.count))
    }

    pub fn by_source(&self) -> BTreeMap<String, FunnelShare> {
        self.shares(|row| &row.source, |row| &row.source)
    }

    pub fn by_language(&self) -> BTreeMap<String, FunnelShare> {
        self.shares(|row| &row.language, |row| &row.language)
    }

    fn shares(
        &self,
        of_drop: impl Fn(&DropRow) -> &String,
        of_split: impl Fn(&SplitRow) -> &String,
    ) -> BTreeMap<String, FunnelShare> {
        let mut shares: BTreeMap<String, FunnelShare> = BTreeMap::new();
        for row in self.steps.iter().flat_map(|step| &step.dropped) {
            let share = shares.entry(of_drop(row).clone()).or_default();
            grow(&mut share.collected, row.count);
            grow(share.dropped.entry(row.reason.clone()).or_default(), row.count);
        }
        for row in &self.splits {
            let share = shares.entry(of_split(row).clone()).or_default();
            grow(&mut share.collected, row.count);
            grow(&mut share.kept, row.count);
        }
        shares
    }
}

fn grow(count: &mut Count, by: Count) {
    count.documents += by.documents;
    count.bytes += by.bytes;
}

/// Counts while the work goes on; ordered maps, so that the same corpus gives the same file.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) entered: Count,
    pub(super) kept: Count,
    pub(super) changed: u64,
    dropped: BTreeMap<(String, String, String), Count>,
}

impl Tally {
    pub(super) fn drop(&mut self, reason: &str, document: &Document) {
        let key = (reason.into(), document.source.clone(), document.language.clone());
        self.dropped.entry(key).or_default().add(document);
    }

    pub(super) fn finish(self, step: String) -> StepFunnel {
        let row = |((reason, source, language), count)| DropRow { reason, source, language, count };
        let (entered, kept, changed) = (self.entered, self.kept, self.changed);
        StepFunnel { step, entered, kept, changed, dropped: self.dropped.into_iter().map(row).collect() }
    }
}
