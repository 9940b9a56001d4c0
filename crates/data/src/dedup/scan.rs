use std::path::Path;

use rayon::prelude::*;

use crate::ngrams::Ngrams;
use crate::storage::next_chunk;
use crate::{DataError, Document, ProgressFn, read_documents};

use super::minhash::MinHash;
use super::rows::Rows;
use super::sets::{SetWriter, Sets};
use super::shuffle::Groups;
use super::signatures::SignatureWriter;
use super::simhash::{self, SimHashes};
use super::sketches::{Sketch, SketchReader, Sketcher};
use super::{Budget, DedupConfig, NearConfig, append};

/// Reads the documents chunk by chunk, the next one while `work` has the present one, which it is given with the row of
/// its first document.
pub(super) fn for_chunks(
    documents: &Path,
    label: &str,
    progress: &ProgressFn<'_>,
    mut work: impl FnMut(u32, Vec<Document>) -> Result<(), DataError> + Send,
) -> Result<(), DataError> {
    let mut reader = read_documents(documents)?;
    let meter = reader.meter();
    let mut chunk = next_chunk(&mut reader)?;
    let mut row = 0u32;
    while !chunk.is_empty() {
        let after = u32::try_from(chunk.len()).ok().and_then(|count| row.checked_add(count)).ok_or_else(too_many)?;
        let (next, done) = rayon::join(|| next_chunk(&mut reader), || work(row, chunk));
        done?;
        (chunk, row) = (next?, after);
        meter.report(label, progress);
    }
    Ok(())
}

pub(super) fn too_many() -> DataError {
    DataError::BadConfig { key: "clean.dedup", message: format!("more than {} documents in one run", u32::MAX) }
}

/// What the first reading finds.
pub(super) struct Scan {
    pub(super) rows: Rows,
    /// The two halves of a bucket's hash, and the row.
    pub(super) buckets: Groups<3>,
    pub(super) simhashes: Option<SimHashes>,
    pub(super) signatures: Option<SignatureWriter>,
}

/// The first reading: sizes and sources of all documents, and their buckets, of sketches that are there already or made here.
pub(super) fn scan(
    documents: &Path,
    config: &DedupConfig,
    budget: &Budget,
    signatures: Option<SignatureWriter>,
    progress: &ProgressFn<'_>,
) -> Result<Scan, DataError> {
    let sketcher = Sketcher::new(config);
    let mut made = (!budget.sketches.is_empty()).then(|| SketchReader::new(&budget.sketches, config));
    let mut scan = Scan {
        rows: Rows::new(config.keep.clone(), budget),
        buckets: Groups::new(budget, "buckets", 2)?,
        simhashes: config.simhash.map(|simhash| SimHashes::new(simhash.distance, budget)),
        signatures,
    };
    for_chunks(documents, "signatures", progress, |first, chunk| {
        let sketches = match &mut made {
            Some(made) => made.read_all(&chunk)?,
            None => sketcher.sketch_all(&chunk),
        };
        for (row, (document, sketch)) in (first..).zip(chunk.iter().zip(sketches)) {
            scan.push(row, document, sketch, sketcher.minhash.as_ref())?;
        }
        Ok(())
    })?;
    Ok(scan)
}

impl Scan {
    fn push(
        &mut self,
        row: u32,
        document: &Document,
        sketch: Sketch,
        minhash: Option<&MinHash>,
    ) -> Result<(), DataError> {
        self.rows.push(document)?;
        if let (Some(signature), Some(minhash)) = (&sketch.signature, minhash) {
            push_buckets(&mut self.buckets, minhash.band_hashes(signature), row)?;
        }
        if let (Some(writer), Some(minhash)) = (&mut self.signatures, minhash) {
            // A document without n-grams has a record too, so that rows count records; it is in no bucket.
            let none = vec![u32::MAX; minhash.len()];
            writer.push(document.id_number(), sketch.signature.as_ref().unwrap_or(&none))?;
        }
        if let Some(simhashes) = &mut self.simhashes {
            if let Some(hash) = sketch.simhash {
                push_buckets(&mut self.buckets, simhash::keys(hash, simhashes.distance), row)?;
            } else {
                simhashes.empty.insert(row);
            }
            append(&mut simhashes.hashes, sketch.simhash.unwrap_or(0))?;
        }
        Ok(())
    }
}

pub(super) fn push_buckets(
    groups: &mut Groups<3>,
    hashes: impl Iterator<Item = u64>,
    row: u32,
) -> Result<(), DataError> {
    for hash in hashes {
        groups.push([(hash >> 32) as u32, hash as u32, row])?;
    }
    Ok(())
}

/// The sorted sets of fingerprints of those rows that `wanted` names: the second reading.
pub(super) fn sets(
    documents: &Path,
    config: &NearConfig,
    wanted: &[bool],
    budget: &Budget,
    progress: &ProgressFn<'_>,
) -> Result<Sets, DataError> {
    let mut writer = SetWriter::new(budget);
    for_chunks(documents, "compare", progress, |first, chunk| {
        let sets: Vec<Option<Vec<u32>>> = (first..first + chunk.len() as u32)
            .into_par_iter()
            .zip(&chunk)
            .map_init(Ngrams::default, |ngrams, (row, document)| {
                wanted[row as usize].then(|| fingerprint_set(&document.text, config, ngrams))
            })
            .collect();
        (first..).zip(sets).try_for_each(|(row, set)| set.map_or(Ok(()), |set| writer.push(row, &set)))
    })?;
    writer.finish(config.threshold)
}

/// The sorted fingerprints of a text's n-grams, each once: what true similarity is taken of.
fn fingerprint_set(text: &str, config: &NearConfig, ngrams: &mut Ngrams) -> Vec<u32> {
    let mut hashes = Vec::new();
    ngrams.read(text);
    ngrams.fingerprints(config.ngram(), &mut hashes);
    let mut set: Vec<u32> = hashes.iter().map(|&hash| hash as u32).collect();
    set.sort_unstable();
    set.dedup();
    set
}
