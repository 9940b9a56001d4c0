//! Documents that earlier runs had already: dropped here, whatever the rule says.

use danlu_memory::Column;

use crate::DataError;

use super::groups::{Compared, Verdict, buckets};
use super::minhash::{MinHash, estimate};
use super::scan::{push_buckets, too_many};
use super::shuffle::Groups;
use super::signatures::SignatureFile;
use super::sorter::Sorted;
use super::{Budget, DedupConfig, append};

/// The documents of earlier runs. In buckets they are rows that follow those of this run.
pub(super) struct Earlier {
    /// Of this run.
    rows: u32,
    /// Sorted.
    ids: Column<u128>,
    files: Vec<SignatureFile>,
}

impl Earlier {
    /// Reads the files of signatures and files their documents into the buckets.
    pub(super) fn read(
        config: &DedupConfig,
        rows: usize,
        groups: &mut Groups<3>,
        budget: &Budget,
    ) -> Result<Self, DataError> {
        let mut earlier = Self { rows: rows as u32, ids: budget.column("earlier"), files: Vec::new() };
        let minhash = config.near.as_ref().map(MinHash::new);
        for path in &config.against {
            let ids = &mut earlier.ids;
            let file = SignatureFile::open(path, config.near.as_ref(), |id, signature| {
                let row = u32::try_from(rows + ids.len()).map_err(|_| too_many())?;
                append(ids, id)?;
                match &minhash {
                    // As the writer marks a document without n-grams.
                    Some(minhash) if signature.iter().any(|&number| number != u32::MAX) => {
                        push_buckets(groups, minhash.band_hashes(signature), row)
                    }
                    _ => Ok(()),
                }
            })?;
            earlier.files.push(file);
        }
        earlier.ids.sort_unstable();
        Ok(earlier)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn contains(&self, id: u128) -> bool {
        self.ids.binary_search(&id).is_ok()
    }

    /// The id of a document by its row in the buckets.
    fn id(&mut self, row: u32) -> Result<u128, DataError> {
        Ok(self.record(row)?.0)
    }

    fn record(&mut self, row: u32) -> Result<(u128, Vec<u32>), DataError> {
        let mut index = u64::from(row - self.rows);
        for file in &mut self.files {
            if index < file.count {
                return file.read(index);
            }
            index -= file.count;
        }
        Ok((0, Vec::new()))
    }

    /// Rows of this run whose similarity to an earlier document, as the signatures estimate it, reaches the threshold:
    /// the earlier texts are not there to compare. Each is given with the earlier document's id.
    pub(super) fn near(
        &mut self,
        sorted: &Sorted<3>,
        signatures: &mut SignatureFile,
        threshold: f64,
        dropped: &[bool],
        compared: &mut Compared,
    ) -> Result<Vec<(Verdict, u128)>, DataError> {
        let mut best: std::collections::BTreeMap<u32, (f64, u32)> = std::collections::BTreeMap::new();
        let here = self.rows;
        buckets(
            sorted,
            |row| row < here && dropped[row as usize],
            |bucket| {
                let (ours, theirs) = bucket.split_at(bucket.partition_point(|&row| row < here));
                for &row in ours.iter().filter(|_| !theirs.is_empty()) {
                    let (_, signature) = signatures.read(u64::from(row))?;
                    for &other in theirs {
                        compared.checked += 1;
                        let similarity = estimate(&signature, &self.record(other)?.1);
                        if similarity < threshold {
                            continue;
                        }
                        compared.confirmed += 1;
                        let known = best.entry(row).or_insert((similarity, other));
                        if similarity > known.0 || similarity == known.0 && other < known.1 {
                            *known = (similarity, other);
                        }
                    }
                }
                Ok(())
            },
        )?;
        best.into_iter()
            .map(|(row, (similarity, kept))| Ok((Verdict { row, kept, similarity }, self.id(kept)?)))
            .collect()
    }
}
