//! Clusters of duplicates with their texts, so that one sees what was dropped for what.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::compare::{COMPARED, Piece, compare};
use super::ids::IdSample;
use crate::dedup::{chosen, cluster_sizes};
use crate::files::{Row, document_files, read_rows};
use crate::{
    ClusterCopy, Count, DataError, DedupSummary, Document, DuplicateCluster, DuplicateKind, Funnel, KindCount,
};

/// The step of cleaning that drops duplicates, and its reason for those of the same text.
const STEP: &str = "duplicates";
const SAME_TEXT: &str = "duplicate";
/// Characters that are shown of the document that stays.
const EXCERPT: usize = 400;
/// Sources that are named of copies of the same text.
const SOURCES: usize = 4;

/// What cleaning found of duplicates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DuplicateReport {
    /// In figures; its clusters are below.
    pub counts: DedupSummary,
    /// Where this is not 0, the clusters are those of one in 2^this of the texts.
    pub sampling: u32,
    pub largest: Vec<ClusterTexts>,
    /// Some of the others, drawn evenly.
    pub sampled: Vec<ClusterTexts>,
}

/// A cluster of duplicates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterTexts {
    pub size: u64,
    /// Bytes of text that were dropped.
    pub bytes: u64,
    pub kept: KeptDocument,
    /// Some of those that were dropped.
    pub copies: Vec<CopyText>,
}

/// The document of a cluster that stayed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptDocument {
    pub id: String,
    pub source: String,
    pub language: String,
    /// Its beginning; `None` where it is no longer there.
    pub text: Option<String>,
    /// Something that repeats was cut from it afterwards.
    pub cut: bool,
}

/// A document that was dropped, beside the one that stayed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CopyText {
    #[serde(flatten)]
    pub copy: ClusterCopy,
    /// What differs: the first text is that of the document that stayed. Empty where the texts are the same, and where one
    /// of them is not there.
    pub pieces: Vec<Piece>,
}

impl DuplicateReport {
    /// Takes the account of the search out of the funnel. A search for the same text alone leaves none; then dropped
    /// documents tell. `None` where nothing was searched or found.
    pub(super) fn of(clean: &Path, funnel: &mut Funnel) -> Result<Option<Self>, DataError> {
        let found = match funnel.duplicates.take() {
            Some(counts) => Some((counts, 0)),
            None => same_texts(clean, funnel)?,
        };
        let Some((mut counts, sampling)) = found else { return Ok(None) };
        let [largest, sampled] = [std::mem::take(&mut counts.largest), std::mem::take(&mut counts.sampled)];
        let texts = Texts::read(clean, largest.iter().chain(&sampled))?;
        let [largest, sampled] = [largest, sampled].map(|some| some.into_iter().map(|one| texts.of(one)).collect());
        Ok(Some(Self { counts, sampling, largest, sampled }))
    }
}

/// Documents that were dropped because another has the same text.
fn each_same_text(clean: &Path, sink: &mut dyn FnMut(&Document)) -> Result<(), DataError> {
    for (_, path) in document_files(clean).into_iter().filter(|(name, _)| *name == "dropped") {
        read_rows(&path, &mut |Row { document, fate }| {
            if fate.is_some_and(|fate| fate.step == STEP && fate.reason == SAME_TEXT) {
                sink(&document);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The clusters of a search for the same text alone, in bounded memory; and whether they are a sample.
fn same_texts(clean: &Path, funnel: &Funnel) -> Result<Option<(DedupSummary, u32)>, DataError> {
    let Some(step) = funnel.steps.iter().find(|step| step.step == STEP) else { return Ok(None) };
    let dropped = step.dropped.iter().fold(Count::default(), |all, row| Count {
        documents: all.documents + row.count.documents,
        bytes: all.bytes + row.count.bytes,
    });
    if dropped.documents == 0 {
        return Ok(None);
    }
    let mut ids = IdSample::default();
    each_same_text(clean, &mut |document| ids.add(document.id_number()))?;
    let sampling = ids.finish().sampling;
    let sizes: HashMap<u128, u64> = ids.into_counts().into_iter().map(|(id, copies)| (id, copies + 1)).collect();
    let told = chosen(sizes.iter().map(|(&id, &size)| (id, size)), |id| id);
    let mut clusters: BTreeMap<u128, DuplicateCluster> =
        told.iter().flatten().map(|&(id, size)| cluster(id, size)).collect();
    each_same_text(clean, &mut |document| {
        if let Some(cluster) = clusters.get_mut(&document.id_number()) {
            add_copy(cluster, document);
        }
    })?;
    let [largest, sampled] = told.map(|some| some.iter().filter_map(|(id, _)| clusters.remove(id)).collect());
    let counts = DedupSummary {
        documents: step.entered.documents,
        bytes: step.entered.bytes,
        kinds: vec![KindCount { kind: DuplicateKind::Exact, count: dropped.documents, bytes: dropped.bytes }],
        clusters: cluster_sizes(sizes.into_values()),
        largest,
        sampled,
        ..DedupSummary::default()
    };
    Ok(Some((counts, sampling)))
}

fn cluster(id: u128, size: u64) -> (u128, DuplicateCluster) {
    (id, DuplicateCluster { kept: format!("{id:032x}"), size, ..DuplicateCluster::default() })
}

fn add_copy(cluster: &mut DuplicateCluster, document: &Document) {
    cluster.bytes += document.text.len() as u64;
    let copies = &mut cluster.copies;
    if copies.len() < SOURCES && copies.iter().all(|copy| copy.source != document.source) {
        let (id, source) = (document.id.clone(), document.source.clone());
        copies.push(ClusterCopy { id, source, kind: DuplicateKind::Exact, similarity: 1.0 });
    }
}

/// The beginnings of some documents, by their ids; `None` of those that were not found.
struct Texts(HashMap<String, Option<Found>>);

struct Found {
    source: String,
    language: String,
    text: String,
}

impl Texts {
    /// Looks for all documents of these clusters in all tables of an artifact.
    fn read<'a>(clean: &Path, clusters: impl Iterator<Item = &'a DuplicateCluster>) -> Result<Self, DataError> {
        let ids = clusters.flat_map(|cluster| {
            let copies = cluster.copies.iter().map(|copy| &copy.id);
            copies.chain([&cluster.kept]).chain(&cluster.kept_as)
        });
        let mut texts: HashMap<String, Option<Found>> = ids.map(|id| (id.clone(), None)).collect();
        for (_, path) in document_files(clean) {
            read_rows(&path, &mut |Row { document, .. }| {
                if let Some(text) = texts.get_mut(&document.id).filter(|text| text.is_none()) {
                    *text = Some(Found::of(document));
                }
                Ok(())
            })?;
        }
        Ok(Self(texts))
    }

    fn find(&self, id: &str) -> Option<&Found> {
        self.0.get(id).and_then(Option::as_ref)
    }

    fn of(&self, cluster: DuplicateCluster) -> ClusterTexts {
        let DuplicateCluster { kept, kept_as, source, size, bytes, copies } = cluster;
        // The old text is still there if what was left of it was dropped, or if another document has it.
        let now = kept_as.as_deref().and_then(|id| self.find(id));
        let found = now.or_else(|| self.find(&kept));
        let copy = |copy: ClusterCopy| {
            let pieces = match (found, self.find(&copy.id)) {
                (Some(kept), Some(other)) if kept.text != other.text => compare(&kept.text, &other.text),
                _ => Vec::new(),
            };
            CopyText { copy, pieces }
        };
        let copies = copies.into_iter().map(copy).collect();
        let source =
            if source.is_empty() { found.map(|found| found.source.clone()).unwrap_or_default() } else { source };
        let kept = KeptDocument {
            cut: now.is_some(),
            id: kept_as.filter(|_| now.is_some()).unwrap_or(kept),
            source,
            language: found.map(|found| found.language.clone()).unwrap_or_default(),
            text: found.map(|found| beginning(&found.text, EXCERPT).into()),
        };
        ClusterTexts { size, bytes, kept, copies }
    }
}

impl Found {
    fn of(document: Document) -> Self {
        // One more than is compared, so that it is seen where a text goes on.
        let text = beginning(&document.text, COMPARED + 1).into();
        Self { source: document.source, language: document.language, text }
    }
}

fn beginning(text: &str, chars: usize) -> &str {
    text.char_indices().nth(chars).map_or(text, |(end, _)| &text[..end])
}
