use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use danlu_store::{Artifact, Workspace};
use serde::{Deserialize, Serialize};

use super::Place;
use super::lineage::{ArtifactRef, Lineage, ModelRef, name};
use super::spelling::{Sought, Speller, shards_of, table_of};
use super::tombstones::{self, Tombstone};
use crate::augment::original_of;
use crate::files::{Row, document_files, read_rows};
use crate::{DataError, Document, FUNNEL_FILE, Funnel};

/// The life of one document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    pub id: String,
    pub source: String,
    pub language: String,
    /// Source file and line.
    pub place: Option<Place>,
    /// Where it was read first, when it came by a table that danlu wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Place>,
    /// The id it was collected with; another one where cleaning changed its text.
    pub collected_id: Option<String>,
    /// The id of the changed copy of it that was asked for; shards and models are those of the copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<String>,
    /// The artifacts that it is in, from the collected documents on.
    pub artifacts: Vec<ArtifactRef>,
    /// The steps of cleaning that it passed.
    pub passed: Vec<String>,
    pub fate: Fate,
    /// Where its tokens lie.
    pub shards: Vec<ShardPlace>,
    /// The models that saw it.
    pub models: Vec<ModelRef>,
}

/// What became of a document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub enum Fate {
    Kept {
        split: String,
    },
    Dropped {
        step: String,
        reason: String,
        detail: String,
    },
    /// Collected and not among the cleaned documents: dropped, and dropped documents were not kept.
    Gone,
    Forgotten {
        time: String,
        reason: String,
        models: Vec<String>,
    },
}

/// A document in a token shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardPlace {
    pub path: PathBuf,
    /// From 0. A mixture may show a document several times.
    pub document: usize,
    pub tokens: Range<usize>,
}

/// Follows the documents of an id (or of one whose id begins so, at least 8 digits) through the artifact `clean` and what
/// it was made from and what was made from it. Copies of one text have one id, so there may be several.
///
/// # Errors
/// [`DataError::NoSuchDocument`]; tables and shards that cannot be read.
pub fn trace(workspace: &Workspace, clean: &Artifact, id: &str) -> Result<Vec<Trace>, DataError> {
    if id.len() < 8 {
        let message = format!("{id:?} is too short: give 8 digits of the id or more");
        return Err(DataError::BadConfig { key: "id", message });
    }
    let lineage = Lineage::of(&workspace.artifacts())?;
    let mut found = of_clean(clean, id)?;
    let originals = originals(&lineage, clean, id, &mut found)?;
    found.extend(originals);
    if found.is_empty() {
        found.extend(of_copy(&lineage, clean, id)?);
    }
    if found.is_empty() {
        found.extend(forgotten(workspace, id)?);
    }
    if found.is_empty() {
        let place = clean.path.display().to_string();
        return Err(DataError::NoSuchDocument { id: id.into(), place });
    }
    for trace in &mut found {
        if let Fate::Kept { split } = &trace.fate {
            let holder = trace.artifacts.last().map(|holder| (holder.stage.clone(), holder.key.clone()));
            let holding = BTreeMap::from([(holder.unwrap_or_else(|| name(clean)), BTreeSet::from([split.clone()]))]);
            trace.models = lineage.models(workspace, &holding)?;
            trace.shards = shards(&lineage, clean, split, trace.copy.as_ref().unwrap_or(&trace.id))?;
        }
    }
    Ok(found)
}

/// The documents of this id among the cleaned ones.
fn of_clean(clean: &Artifact, id: &str) -> Result<Vec<Trace>, DataError> {
    let steps = steps(&clean.path)?;
    let mut found = Vec::new();
    for (split, path) in document_files(&clean.path) {
        read_rows(&path, &mut |Row { document, fate }| {
            if document.id.starts_with(id) {
                let mut trace = new(document, Fate::Kept { split: split.into() });
                trace.artifacts.push(clean.into());
                trace.passed = steps.clone();
                if let Some(fate) = fate {
                    trace.passed = steps.iter().take_while(|step| **step != fate.step).cloned().collect();
                    trace.fate = Fate::Dropped { step: fate.step, reason: fate.reason, detail: fate.detail };
                }
                found.push(trace);
            }
            Ok(())
        })?;
    }
    Ok(found)
}

fn new(document: Document, fate: Fate) -> Trace {
    Trace {
        place: Place::of(&document),
        origin: Place::origin_of(&document),
        id: document.id,
        source: document.source,
        language: document.language,
        collected_id: None,
        copy: None,
        artifacts: Vec::new(),
        passed: Vec::new(),
        fate,
        shards: Vec::new(),
        models: Vec::new(),
    }
}

fn steps(dir: &Path) -> Result<Vec<String>, DataError> {
    let path = dir.join(FUNNEL_FILE);
    let bytes = std::fs::read(&path).map_err(|e| DataError::io("read", &path, e))?;
    let funnel: Funnel = serde_json::from_slice(&bytes).map_err(|e| DataError::io("read", &path, e.into()))?;
    Ok(funnel.steps.into_iter().map(|step| step.step).filter(|step| step != super::forget::FORGOTTEN).collect())
}

/// Finds the originals of the traced documents, and documents that were collected with this id and have another one since:
/// those are traced too.
fn originals(lineage: &Lineage, clean: &Artifact, id: &str, found: &mut [Trace]) -> Result<Vec<Trace>, DataError> {
    let mut changed: Vec<Document> = Vec::new();
    for artifact in lineage.roots(clean) {
        for (_, path) in document_files(&artifact.path) {
            read_rows(&path, &mut |Row { document, .. }| {
                let place = Place::of(&document);
                let mut known = false;
                for trace in found.iter_mut() {
                    if (place.is_some() && trace.place == place) || (place.is_none() && trace.id == document.id) {
                        trace.collected_id = Some(document.id.clone());
                        trace.artifacts.insert(0, artifact.into());
                        known = true;
                    }
                }
                if !known && document.id.starts_with(id) {
                    changed.push(document);
                }
                Ok(())
            })?;
        }
    }
    let mut more = Vec::new();
    for original in changed {
        let mut cleaned = cleaned_at(clean, &original)?;
        let root = lineage.roots(clean).first().map(|root| ArtifactRef::from(*root));
        if cleaned.is_empty() {
            cleaned.push(new(original.clone(), Fate::Gone));
        }
        for trace in &mut cleaned {
            trace.collected_id = Some(original.id.clone());
            if let Some(root) = &root {
                trace.artifacts.insert(0, root.clone());
            }
        }
        more.extend(cleaned);
    }
    Ok(more)
}

/// The original of a changed copy, with the artifact that holds the copy as its last.
fn of_copy(lineage: &Lineage, clean: &Artifact, id: &str) -> Result<Vec<Trace>, DataError> {
    let mut found = Vec::new();
    for artifact in lineage.descendants(&[clean]) {
        let mut copies = Vec::new();
        for (_, path) in document_files(&artifact.path) {
            read_rows(&path, &mut |Row { document, .. }| {
                if let Some(original) = original_of(&document).filter(|_| document.id.starts_with(id)) {
                    copies.push((document.id, original));
                }
                Ok(())
            })?;
        }
        for (copy, original) in copies {
            let mut traced = of_clean(clean, &original)?;
            originals(lineage, clean, &original, &mut traced)?;
            for trace in &mut traced {
                trace.artifacts.push(artifact.into());
                trace.copy = Some(copy.clone());
            }
            found.extend(traced);
        }
    }
    Ok(found)
}

/// What became of a collected document: the cleaned ones of its place.
fn cleaned_at(clean: &Artifact, original: &Document) -> Result<Vec<Trace>, DataError> {
    let Some(place) = Place::of(original) else { return Ok(Vec::new()) };
    let mut ids = BTreeSet::new();
    for (_, path) in document_files(&clean.path) {
        read_rows(&path, &mut |Row { document, .. }| {
            if Place::of(&document).as_ref() == Some(&place) {
                ids.insert(document.id);
            }
            Ok(())
        })?;
    }
    let mut traces = Vec::new();
    for id in ids {
        traces.extend(of_clean(clean, &id)?.into_iter().filter(|trace| trace.place.as_ref() == Some(&place)));
    }
    Ok(traces)
}

fn forgotten(workspace: &Workspace, id: &str) -> Result<Vec<Trace>, DataError> {
    let all = tombstones::read_all(workspace.root())?.into_iter().filter(|tombstone| tombstone.id.starts_with(id));
    let trace = |Tombstone { id, place, time, reason, models }| Trace {
        source: place.as_ref().map_or_else(String::new, |place| place.source.clone()),
        place,
        origin: None,
        id,
        language: String::new(),
        collected_id: None,
        copy: None,
        artifacts: Vec::new(),
        passed: Vec::new(),
        fate: Fate::Forgotten { time, reason, models },
        shards: Vec::new(),
        models: Vec::new(),
    };
    Ok(all.map(trace).collect())
}

/// Where the tokens of a kept document lie in the shards that were made from its table.
fn shards(lineage: &Lineage, clean: &Artifact, split: &str, id: &str) -> Result<Vec<ShardPlace>, DataError> {
    let mut found = Vec::new();
    for artifact in lineage.descendants(&[clean]) {
        let Some((_, path)) = shards_of(&artifact.path)?.into_iter().find(|(of, _)| of == split) else { continue };
        let speller = Speller::of(artifact)?;
        let shard = speller.open(&path)?;
        let is_meant = |other: &str| other == id;
        let sought = match table_of(lineage, artifact, split) {
            Some(table) => speller.sought(&table, &is_meant)?,
            None => Sought::default(),
        };
        let here = speller.found(&shard, &sought, &is_meant);
        let rows = shard.documents().enumerate().zip(here).filter(|(_, here)| *here);
        found.extend(rows.map(|((document, row), _)| ShardPlace { path: path.clone(), document, tokens: row.tokens }));
    }
    Ok(found)
}
