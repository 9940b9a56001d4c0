use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use danlu_memory::Column;

use crate::DataError;

use super::groups::Likeness;
use super::minhash::jaccard_at_least;
use super::{Budget, append};

/// Where the sets lie, in the order of their rows.
struct Places {
    rows: Column<u32>,
    /// The first number.
    starts: Column<u64>,
    lengths: Column<u32>,
}

impl Places {
    fn push(&mut self, row: u32, start: u64, length: u32) -> Result<(), DataError> {
        append(&mut self.rows, row)?;
        append(&mut self.starts, start)?;
        append(&mut self.lengths, length)
    }

    fn of(&self, row: u32) -> Option<(u64, u32)> {
        let index = self.rows.binary_search(&row).ok()?;
        Some((self.starts[index], self.lengths[index]))
    }
}

/// Sorted sets of fingerprints by row, in memory up to a limit, beyond it in a file.
pub(super) struct SetWriter {
    places: Places,
    memory: Vec<u32>,
    limit: usize,
    written: u64,
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl SetWriter {
    /// The sets have a part of memory, be it all of them or those read from the file last.
    pub(super) fn new(budget: &Budget) -> Self {
        let places = Places {
            rows: budget.column("set-rows"),
            starts: budget.column("set-starts"),
            lengths: budget.column("set-lengths"),
        };
        let limit = (budget.part / 4) as usize;
        Self { places, memory: Vec::new(), limit, written: 0, path: budget.file("sets"), file: None }
    }

    /// Rows must come in order.
    pub(super) fn push(&mut self, row: u32, set: &[u32]) -> Result<(), DataError> {
        self.places.push(row, self.written + self.memory.len() as u64, set.len() as u32)?;
        if self.memory.len() + set.len() > self.limit {
            self.flush()?;
        }
        let needed = self.memory.len() + set.len();
        if self.memory.capacity() < needed {
            // Doubling would overshoot the limit.
            let most = self.limit.max(needed);
            self.memory.reserve_exact((2 * needed).min(most) - self.memory.len());
        }
        self.memory.extend_from_slice(set);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DataError> {
        let io = |e| DataError::io("write", &self.path, e);
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(BufWriter::with_capacity(1 << 20, File::create(&self.path).map_err(io)?)),
        };
        for number in &self.memory {
            file.write_all(&number.to_le_bytes()).map_err(io)?;
        }
        self.written += self.memory.len() as u64;
        self.memory.clear();
        Ok(())
    }

    pub(super) fn finish(mut self, threshold: f64) -> Result<Sets, DataError> {
        let store = if self.file.is_some() {
            self.flush()?;
            if let Some(mut file) = self.file.take() {
                file.flush().map_err(|e| DataError::io("write", &self.path, e))?;
            }
            let file = File::open(&self.path).map_err(|e| DataError::io("open", &self.path, e))?;
            Store::Disk { file, path: self.path, cache: HashMap::new(), cached: 0, limit: self.limit }
        } else {
            Store::Memory(self.memory)
        };
        Ok(Sets { places: self.places, store, threshold, bytes_on_disk: 4 * self.written })
    }
}

/// Compares documents by the true Jaccard similarity of their sets.
pub(super) struct Sets {
    places: Places,
    store: Store,
    threshold: f64,
    pub(super) bytes_on_disk: u64,
}

enum Store {
    Memory(Vec<u32>),
    /// What was read stays in the cache until that is full, and then all of it goes: buckets read neighbours together.
    Disk {
        file: File,
        path: PathBuf,
        cache: HashMap<u32, Arc<[u32]>>,
        cached: usize,
        limit: usize,
    },
}

impl Likeness for Sets {
    fn similarity(&mut self, a: u32, b: u32) -> Result<Option<f64>, DataError> {
        let (Some(at_a), Some(at_b)) = (self.places.of(a), self.places.of(b)) else { return Ok(None) };
        if let Store::Memory(all) = &self.store {
            let of = |(offset, len): (u64, u32)| &all[offset as usize..offset as usize + len as usize];
            return Ok(jaccard_at_least(of(at_a), of(at_b), self.threshold));
        }
        let (a, b) = (self.load(a, at_a)?, self.load(b, at_b)?);
        Ok(jaccard_at_least(&a, &b, self.threshold))
    }
}

impl Sets {
    fn load(&mut self, row: u32, (offset, len): (u64, u32)) -> Result<Arc<[u32]>, DataError> {
        let Store::Disk { file, path, cache, cached, limit } = &mut self.store else { return Ok(Arc::default()) };
        if let Some(set) = cache.get(&row) {
            return Ok(set.clone());
        }
        let set: Arc<[u32]> = read_numbers(file, path, offset, len)?.into();
        if *cached + set.len() > *limit {
            cache.clear();
            *cached = 0;
        }
        *cached += set.len();
        cache.insert(row, set.clone());
        Ok(set)
    }
}

impl Drop for Sets {
    fn drop(&mut self) {
        if let Store::Disk { path, .. } = &self.store {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn read_numbers(file: &mut File, path: &Path, offset: u64, len: u32) -> Result<Vec<u32>, DataError> {
    let mut bytes = vec![0; 4 * len as usize];
    file.seek(SeekFrom::Start(4 * offset))
        .and_then(|_| file.read_exact(&mut bytes))
        .map_err(|e| DataError::io("read", path, e))?;
    Ok(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}
