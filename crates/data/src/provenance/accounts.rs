//! What the summaries of artifacts say after documents were taken out: the accounts still add up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use super::forget::FORGOTTEN;
use crate::augment::original_of;
use crate::{
    AUGMENT_KEY, Count, DataError, Document, DropRow, FUNNEL_FILE, Funnel, MixtureSummary, ShardSummary, StepFunnel,
};

/// What was removed of the tables of an artifact.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// By split, source and language; without those that had been dropped before.
    kept: BTreeMap<(String, String, String), Count>,
    copies: RemovedCopies,
}

/// Changed copies and their originals.
#[derive(Debug, Default)]
struct RemovedCopies {
    documents: u64,
    by_kind: BTreeMap<String, u64>,
    originals: BTreeSet<String>,
}

impl Removed {
    pub(super) fn add(&mut self, split: &str, document: &Document) {
        if ["collected", "dropped"].contains(&split) {
            return;
        }
        let key = (split.to_owned(), document.source.clone(), document.language.clone());
        self.kept.entry(key).or_default().add(document);
        let kind = document.metadata.get(AUGMENT_KEY).and_then(|label| label["kind"].as_str());
        match (kind, original_of(document)) {
            (Some(kind), Some(original)) => {
                *self.copies.by_kind.entry(kind.into()).or_default() += 1;
                self.copies.originals.insert(original);
            }
            _ => self.copies.documents += 1,
        }
    }

    /// Brings the summary of an artifact, and its funnel if it has one, up to date.
    pub(super) fn tell(&self, from: &Path, to: &Path, summary: &mut Value) -> Result<(), DataError> {
        if let Some(funnel) = self.in_funnel(from, to)? {
            *summary = merge_summary(summary.take(), funnel);
        } else if summary["kinds"].is_object() {
            self.copies.tell(summary);
        }
        Ok(())
    }

    /// Moves the removed documents from the splits to a step of their own.
    fn in_funnel(&self, from: &Path, to: &Path) -> Result<Option<Value>, DataError> {
        let path = from.join(FUNNEL_FILE);
        if self.kept.is_empty() || !path.is_file() {
            return Ok(None);
        }
        let bytes = std::fs::read(&path).map_err(|e| DataError::io("read", &path, e))?;
        let mut funnel: Funnel = serde_json::from_slice(&bytes).map_err(|e| DataError::io("read", &path, e.into()))?;
        let entered = funnel.kept;
        let mut dropped: BTreeMap<(String, String), Count> = BTreeMap::new();
        for ((split, source, language), &count) in &self.kept {
            for row in
                funnel.splits.iter_mut().filter(|r| r.split == *split && r.source == *source && r.language == *language)
            {
                subtract(&mut row.count, count);
            }
            subtract(&mut funnel.kept, count);
            let sum = dropped.entry((source.clone(), language.clone())).or_default();
            sum.documents += count.documents;
            sum.bytes += count.bytes;
        }
        funnel.splits.retain(|row| row.count.documents > 0);
        let row = |((source, language), count)| DropRow { reason: FORGOTTEN.into(), source, language, count };
        let dropped = dropped.into_iter().map(row).collect();
        funnel.steps.push(StepFunnel { step: FORGOTTEN.into(), entered, kept: funnel.kept, changed: 0, dropped });
        crate::storage::write_json(&to.join(FUNNEL_FILE), &funnel)?;
        serde_json::to_value(&funnel).map(Some).map_err(|e| DataError::io("write", &path, e.into()))
    }
}

impl RemovedCopies {
    /// What [`crate::AugmentSummary`] counts of documents and copies; its means stay those of all that were made.
    fn tell(&self, summary: &mut Value) {
        let less = |value: &mut Value, by: u64| *value = value.as_u64().unwrap_or_default().saturating_sub(by).into();
        less(&mut summary["documents"], self.documents);
        less(&mut summary["augmented"], self.originals.len() as u64);
        less(&mut summary["copies"], self.by_kind.values().sum());
        for (kind, count) in &self.by_kind {
            less(&mut summary["kinds"][kind]["made"], *count);
        }
    }
}

fn subtract(from: &mut Count, count: Count) {
    from.documents = from.documents.saturating_sub(count.documents);
    from.bytes = from.bytes.saturating_sub(count.bytes);
}

/// A stage's summary with the fields of its new funnel.
fn merge_summary(mut summary: Value, funnel: Value) -> Value {
    match (&mut summary, funnel) {
        (Value::Object(all), Value::Object(new)) => {
            all.extend(new);
            summary
        }
        (_, funnel) => funnel,
    }
}

/// Puts the new counts into the summary of a shard; what only the text could tell stays as it was. `mixed_by` is what a
/// mixture took for groups.
pub(super) fn tell_shard(summary: &mut Value, shard: &ShardSummary, mixed_by: Option<&str>) {
    if !summary.is_object() {
        *summary = json!({});
    }
    for (key, value) in [
        ("total", serde_json::to_value(&shard.total)),
        ("by_language", serde_json::to_value(&shard.by_language)),
        ("by_source", serde_json::to_value(&shard.by_source)),
        ("vocab_size", serde_json::to_value(shard.vocab_size)),
        ("learnt_tokens", serde_json::to_value(shard.learnt_tokens)),
    ] {
        summary[key] = value.unwrap_or_default();
    }
    for key in ["unknown_tokens", "round_trip_failures"] {
        if summary[key].is_null() {
            summary[key] = 0.into();
        }
    }
    if let Ok(mut mixture) = serde_json::from_value(summary["mixture"].clone()) {
        tell_mixture(&mut mixture, shard, mixed_by);
        summary["mixture"] = serde_json::to_value(&mixture).unwrap_or_default();
    }
}

/// Groups that are a column of the metadata stay as they were: a shard does not have it.
fn tell_mixture(mixture: &mut MixtureSummary, shard: &ShardSummary, mixed_by: Option<&str>) {
    (mixture.documents, mixture.tokens) = (shard.total.documents, shard.total.tokens);
    let groups = match mixed_by {
        Some("source") => &shard.by_source,
        Some("language") => &shard.by_language,
        _ => return,
    };
    for row in &mut mixture.groups {
        let left = groups.get(&row.name).cloned().unwrap_or_default();
        (row.documents, row.tokens) = (left.documents, left.tokens);
        row.realised = row.tokens as f64 / mixture.tokens.max(1) as f64;
        row.epochs = row.tokens as f64 / row.available_tokens.max(1) as f64;
    }
}
