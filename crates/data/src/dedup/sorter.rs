use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::DataError;

/// Sorts more records than memory holds: full buffers are sorted and go to one file as runs, which are merged when read.
///
/// A record is N numbers, ordered by the first, then the second, and so on. The order of equal records does not matter,
/// because nothing else tells them apart; so the result depends neither on threads nor on the size of the buffer.
pub(super) struct Sorter<const N: usize> {
    buffer: Vec<[u32; N]>,
    /// Records that the buffer may hold.
    capacity: usize,
    path: PathBuf,
    spill: Option<Spill>,
}

struct Spill {
    file: BufWriter<File>,
    /// Records in each run; the runs lie one after another.
    runs: Vec<u64>,
}

impl<const N: usize> Sorter<N> {
    /// `bytes` is what the buffer may take; `path` is where runs go, if it comes to that.
    pub(super) fn new(bytes: u64, path: PathBuf) -> Self {
        let capacity = (bytes / (4 * N as u64)).max(1024) as usize;
        Self { buffer: Vec::new(), capacity, path, spill: None }
    }

    pub(super) fn push(&mut self, record: [u32; N]) -> Result<(), DataError> {
        if self.buffer.len() == self.capacity {
            self.write_run()?;
        }
        if self.buffer.len() == self.buffer.capacity() {
            // Doubling would overshoot the limit.
            let more = self.buffer.len().max(1024).min(self.capacity - self.buffer.len());
            self.buffer.reserve_exact(more);
        }
        self.buffer.push(record);
        Ok(())
    }

    fn write_run(&mut self) -> Result<(), DataError> {
        self.buffer.par_sort_unstable();
        let io = |e| DataError::io("write", &self.path, e);
        let spill = match &mut self.spill {
            Some(spill) => spill,
            none => none.insert(Spill {
                file: BufWriter::with_capacity(1 << 20, File::create(&self.path).map_err(io)?),
                runs: Vec::new(),
            }),
        };
        for number in self.buffer.iter().flatten() {
            spill.file.write_all(&number.to_le_bytes()).map_err(io)?;
        }
        spill.runs.push(self.buffer.len() as u64);
        self.buffer.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Sorted<N>, DataError> {
        if self.spill.is_none() {
            self.buffer.par_sort_unstable();
            return Ok(Sorted { records: self.buffer, runs: Vec::new(), path: self.path, on_disk: false });
        }
        self.write_run()?;
        let mut runs = Vec::new();
        if let Some(mut spill) = self.spill.take() {
            spill.file.flush().map_err(|e| DataError::io("write", &self.path, e))?;
            runs = spill.runs;
        }
        Ok(Sorted { records: Vec::new(), runs, path: self.path, on_disk: true })
    }
}

/// Sorted records, in memory or in runs on disk, which disappear with it. Can be read several times.
pub(super) struct Sorted<const N: usize> {
    records: Vec<[u32; N]>,
    runs: Vec<u64>,
    path: PathBuf,
    on_disk: bool,
}

impl<const N: usize> Sorted<N> {
    pub(super) fn read(&self) -> Result<Merge<'_, N>, DataError> {
        if !self.on_disk {
            return Ok(Merge::Memory(self.records.iter()));
        }
        let file = File::open(&self.path).map_err(|e| DataError::io("open", &self.path, e))?;
        // All buffers together take 16 MiB, or 4 KiB each if there are very many runs.
        let buffered = ((16 << 20) / self.runs.len().max(1)).clamp(4096, 1 << 20) / (4 * N);
        let mut offset = 0;
        let mut runs: Vec<Run<N>> = Vec::with_capacity(self.runs.len());
        for &count in &self.runs {
            runs.push(Run { next: offset, left: count, records: Vec::new(), at: 0, most: buffered.max(1) });
            offset += count * 4 * N as u64;
        }
        let mut merge = DiskMerge { file, path: &self.path, runs, heap: BinaryHeap::new(), bytes: Vec::new() };
        for run in 0..merge.runs.len() {
            merge.refill(run)?;
        }
        Ok(Merge::Disk(merge))
    }

    pub(super) fn bytes_on_disk(&self) -> u64 {
        self.runs.iter().sum::<u64>() * 4 * N as u64
    }
}

impl<const N: usize> Drop for Sorted<N> {
    fn drop(&mut self) {
        if self.on_disk {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Records in order.
pub(super) enum Merge<'a, const N: usize> {
    Memory(std::slice::Iter<'a, [u32; N]>),
    Disk(DiskMerge<'a, N>),
}

impl<const N: usize> Merge<'_, N> {
    pub(super) fn next(&mut self) -> Result<Option<[u32; N]>, DataError> {
        match self {
            Self::Memory(records) => Ok(records.next().copied()),
            Self::Disk(merge) => merge.next(),
        }
    }
}

/// Merges runs: the heap holds the next record of each.
pub(super) struct DiskMerge<'a, const N: usize> {
    file: File,
    path: &'a Path,
    runs: Vec<Run<N>>,
    heap: BinaryHeap<Reverse<([u32; N], usize)>>,
    bytes: Vec<u8>,
}

struct Run<const N: usize> {
    /// Where in the file the next records lie.
    next: u64,
    /// Records not yet read from the file.
    left: u64,
    records: Vec<[u32; N]>,
    at: usize,
    most: usize,
}

impl<const N: usize> DiskMerge<'_, N> {
    fn next(&mut self) -> Result<Option<[u32; N]>, DataError> {
        let Some(Reverse((record, run))) = self.heap.pop() else { return Ok(None) };
        self.refill(run)?;
        Ok(Some(record))
    }

    /// Puts the next record of a run onto the heap.
    fn refill(&mut self, index: usize) -> Result<(), DataError> {
        let run = &mut self.runs[index];
        if run.at == run.records.len() {
            let count = run.left.min(run.most as u64);
            self.bytes.resize(count as usize * 4 * N, 0);
            self.file
                .seek(SeekFrom::Start(run.next))
                .and_then(|_| self.file.read_exact(&mut self.bytes))
                .map_err(|e| DataError::io("read", self.path, e))?;
            run.records.clear();
            run.records.extend(self.bytes.chunks_exact(4 * N).map(|bytes| {
                std::array::from_fn(|i| {
                    u32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]])
                })
            }));
            (run.at, run.left, run.next) = (0, run.left - count, run.next + self.bytes.len() as u64);
        }
        if let Some(&record) = run.records.get(run.at) {
            run.at += 1;
            self.heap.push(Reverse((record, index)));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sorted(records: &[[u32; 2]], bytes: u64) -> (Vec<[u32; 2]>, u64) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs");
        let mut sorter = Sorter::new(bytes, path.clone());
        records.iter().for_each(|&record| sorter.push(record).unwrap());
        let sorted = sorter.finish().unwrap();
        let read = || {
            let (mut merge, mut all) = (sorted.read().unwrap(), Vec::new());
            while let Some(record) = merge.next().unwrap() {
                all.push(record);
            }
            all
        };
        let (first, again, on_disk) = (read(), read(), sorted.bytes_on_disk());
        assert_eq!(first, again);
        drop(sorted);
        assert!(!path.exists());
        (first, on_disk)
    }

    proptest::proptest! {
        #[test]
        fn spilled_or_not_the_records_come_in_order(records in proptest::collection::vec([0u32..50, 0u32..9], 0..6000)) {
            let mut expected = records.clone();
            expected.sort_unstable();
            let (in_memory, none) = sorted(&records, 1 << 20);
            let (spilled, bytes) = sorted(&records, 8 * 1024);
            proptest::prop_assert_eq!(none, 0);
            proptest::prop_assert_eq!(bytes, if records.len() > 1024 { 8 * records.len() as u64 } else { 0 });
            proptest::prop_assert_eq!(&in_memory, &expected);
            proptest::prop_assert_eq!(&spilled, &expected);
        }
    }
}
