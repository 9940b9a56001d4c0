//! The first pass in parts, for many processes: a table is cut, each part is cleaned by itself, and what is left is put
//! together and goes through the passes that need all documents. The result is that of cleaning the whole table at once.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::global::Begin;
use super::output::Dropped;
use super::rows::{EXACT_BYTES, RowPass};
use super::{CleanConfig, Count, DROPPED_FILE, DropRow, Funnel, SplitConfig, StepFunnel, finish, rules};
use crate::storage::next_chunk;
use crate::table::Fate;
use crate::{
    DataError, DedupConfig, Document, DocumentWriter, ProgressFn, SketchWriter, documents_file, read_documents,
};

/// The documents of a part that got through the first pass.
const KEPT: &str = "kept";
/// What a search for duplicates computes of each of them.
const SKETCHES_FILE: &str = "sketches.danlu";

/// A cleaned part: its folder and what was done.
#[derive(Clone, Debug)]
pub struct Part {
    pub folder: PathBuf,
    pub summary: PartSummary,
}

/// What the first pass did with a part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartSummary {
    pub collected: Count,
    pub steps: Vec<StepFunnel>,
}

impl PartSummary {
    /// Adds these figures to those of the parts before.
    pub(super) fn add_to(&self, collected: &mut Count, steps: &mut Vec<StepFunnel>) {
        collected.grow(self.collected.documents, self.collected.bytes);
        if steps.is_empty() {
            steps.clone_from(&self.steps);
            return;
        }
        for (sum, step) in steps.iter_mut().zip(&self.steps) {
            sum.entered.grow(step.entered.documents, step.entered.bytes);
            sum.kept.grow(step.kept.documents, step.kept.bytes);
            sum.changed += step.changed;
            step.dropped.iter().for_each(|row| add_row(&mut sum.dropped, row));
        }
    }
}

/// Adds a row of drops, which are in order of reason, source and language.
fn add_row(rows: &mut Vec<DropRow>, row: &DropRow) {
    let key = |row: &DropRow| (row.reason.clone(), row.source.clone(), row.language.clone());
    match rows.binary_search_by_key(&key(row), key) {
        Ok(at) => rows[at].count.grow(row.count.documents, row.count.bytes),
        Err(at) => rows.insert(at, row.clone()),
    }
}

impl Part {
    pub(super) fn kept(&self) -> PathBuf {
        self.folder.join(documents_file(KEPT))
    }

    /// The sketches of what is kept, if they were made.
    pub(super) fn sketches(&self) -> Option<PathBuf> {
        Some(self.folder.join(SKETCHES_FILE)).filter(|path| path.exists())
    }

    pub(super) fn each_dropped(
        &self,
        take: &mut dyn FnMut(&Document, &Fate) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let path = self.folder.join(DROPPED_FILE);
        if !path.exists() {
            return Ok(());
        }
        let mut reader = read_documents(&path)?;
        while let Some(row) = reader.next_row() {
            if let (document, Some(fate)) = row? {
                take(&document, &fate)?;
            }
        }
        Ok(())
    }
}

/// Cuts a table into tables of about `bytes` of text, `part-00000.parquet` and so on in `out`.
pub fn split_documents(documents: &Path, bytes: u64, out: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut reader = read_documents(documents)?;
    let statistics = reader.statistics().to_vec();
    let mut parts = Vec::new();
    let mut next = reader.next().transpose()?;
    while next.is_some() {
        let path = out.join(documents_file(&format!("part-{:05}", parts.len())));
        let mut writer = DocumentWriter::with_statistics(&path, &statistics)?;
        let mut held = 0;
        while let Some(document) = next.take_if(|document| held == 0 || held + document.text.len() as u64 <= bytes) {
            held += document.text.len() as u64;
            writer.write(&document)?;
            next = reader.next().transpose()?;
        }
        writer.finish()?;
        parts.push(path);
    }
    Ok(parts)
}

/// The first pass over one part: `kept.parquet` and, if wanted, `dropped.parquet` in `out`. Exact duplicates stay: they
/// may lie in other parts. Where near duplicates are to be found, `sketches.danlu` has what is computed for that of each text.
pub fn clean_part(
    documents: &Path,
    config: &CleanConfig,
    out: &Path,
    progress: &ProgressFn<'_>,
) -> Result<PartSummary, DataError> {
    config.check()?;
    let search = config.dedup.search().and_then(DedupConfig::of_sketches);
    let rules = rules::compile(config)?;
    let mut pass = RowPass::new(config, &rules, None);
    let mut kept = DocumentWriter::with_statistics(&out.join(documents_file(KEPT)), rules.statistics())?;
    let mut dropped = Dropped::create(config.keep_dropped, rules.statistics(), &out.join(DROPPED_FILE))?;
    let sketches = search.as_ref().map(|search| SketchWriter::create(&out.join(SKETCHES_FILE), search));
    let mut sketches = sketches.transpose()?;
    let mut reader = read_documents(documents)?;
    let meter = reader.meter();
    loop {
        let chunk = next_chunk(&mut reader)?;
        if chunk.is_empty() {
            break;
        }
        let left = pass.take(chunk, &mut dropped)?;
        left.iter().try_for_each(|document| kept.write(document))?;
        sketches.as_mut().map_or(Ok(()), |sketches| sketches.write(&left))?;
        meter.report("clean", progress);
    }
    kept.finish()?;
    dropped.finish()?;
    sketches.map_or(Ok(()), SketchWriter::finish)?;
    let (collected, steps) = pass.finish();
    Ok(PartSummary { collected, steps })
}

/// Puts cleaned parts together, in the order of the documents, and goes on as [`clean`](super::clean) does.
///
/// # Errors
/// As [`clean`](super::clean).
pub fn clean_parts(
    parts: &[Part],
    config: &CleanConfig,
    split: &SplitConfig,
    out: &Path,
    progress: &ProgressFn<'_>,
) -> Result<Funnel, DataError> {
    finish(Begin::Parts(parts), config, split, out, EXACT_BYTES, progress)
}
