//! Copies among the documents that a full table of hashes does not know (`dedup = true`): found by sorting their hashes.

use std::path::{Path, PathBuf};

use super::sorter::{Merge, Sorted, Sorter};
use crate::DataError;

/// Documents in their order, of which it will be known which are copies of an earlier one among them.
pub(crate) struct LaterCopies {
    /// The hash in four numbers, the place in two: of a hash the first place comes first.
    sorter: Sorter<6>,
    places: u64,
    bytes: u64,
    work: PathBuf,
}

impl LaterCopies {
    /// `bytes` is what each of two sorters may hold in memory; what is more goes to the folder `work`.
    pub(crate) fn new(bytes: u64, work: &Path) -> Result<Self, DataError> {
        std::fs::create_dir_all(work).map_err(|e| DataError::io("create", work, e))?;
        Ok(Self { sorter: Sorter::new(bytes, work.join("exact-hashes.tmp")), places: 0, bytes, work: work.into() })
    }

    pub(crate) fn push(&mut self, id: u128) -> Result<(), DataError> {
        let [a, b, c, d] = words(id);
        let place = self.places;
        self.places += 1;
        self.sorter.push([a, b, c, d, (place >> 32) as u32, place as u32])
    }

    pub(crate) fn finish(self) -> Result<Copies, DataError> {
        let hashes = self.sorter.finish()?;
        let mut copies = Sorter::new(self.bytes, self.work.join("exact-copies.tmp"));
        let (mut merge, mut last) = (hashes.read()?, None);
        while let Some([a, b, c, d, high, low]) = merge.next()? {
            let id = Some([a, b, c, d]);
            if last == id {
                copies.push([high, low])?;
            }
            last = id;
        }
        copies.finish().map(Copies)
    }
}

/// A hash as numbers that are in the same order.
pub(super) fn words(id: u128) -> [u32; 4] {
    [96, 64, 32, 0].map(|shift| (id >> shift) as u32)
}

/// The places of copies.
pub(crate) struct Copies(Sorted<2>);

impl Copies {
    pub(crate) fn read(&self) -> Result<CopyReader<'_>, DataError> {
        let mut reader = CopyReader { merge: self.0.read()?, next: None, place: 0 };
        reader.advance()?;
        Ok(reader)
    }
}

/// Goes over the documents once more, in the same order.
pub(crate) struct CopyReader<'a> {
    merge: Merge<'a, 2>,
    next: Option<u64>,
    place: u64,
}

impl CopyReader<'_> {
    /// Whether the next document is a copy of one before it.
    pub(crate) fn next_is_copy(&mut self) -> Result<bool, DataError> {
        let is_copy = self.next == Some(self.place);
        if is_copy {
            self.advance()?;
        }
        self.place += 1;
        Ok(is_copy)
    }

    fn advance(&mut self) -> Result<(), DataError> {
        self.next = self.merge.next()?.map(|[high, low]| u64::from(high) << 32 | u64::from(low));
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::ngrams::mix;

    #[test]
    fn the_first_of_each_hash_is_no_copy_in_memory_or_on_disk() {
        let ids: Vec<u128> = (0..5000).map(|n| u128::from(mix(mix(n) % 2000)) << 64 | 7).collect();
        for bytes in [0, 1 << 20] {
            let dir = tempfile::tempdir().unwrap();
            let mut later = LaterCopies::new(bytes, &dir.path().join("work")).unwrap();
            ids.iter().for_each(|&id| later.push(id).unwrap());
            let copies = later.finish().unwrap();
            let (mut reader, mut seen) = (copies.read().unwrap(), HashSet::new());
            for &id in &ids {
                assert_eq!(reader.next_is_copy().unwrap(), !seen.insert(id));
            }
            assert!(seen.len() > 1000 && !reader.next_is_copy().unwrap());
            drop(reader);
            drop(copies);
            assert_eq!(std::fs::read_dir(dir.path().join("work")).unwrap().count(), 0);
        }
    }
}
