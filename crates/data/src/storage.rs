//! What reading and writing files have in common: progress, chunks of documents, summaries.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::aside::AsideFile;
use crate::{DataError, Document, Progress, ProgressFn};

/// Counts the bytes read from a file, for progress: the only total known beforehand is the file's length.
#[derive(Clone, Debug)]
pub(crate) struct ReadMeter {
    read: Arc<AtomicU64>,
    total: u64,
}

impl ReadMeter {
    pub(crate) fn new(total: u64) -> Self {
        Self { read: Arc::default(), total }
    }

    /// Says that `row` of `rows` rows have been read, which stand for as large a share of the bytes.
    pub(crate) fn reach(&self, row: u64, rows: u64) {
        let bytes = u128::from(self.total) * u128::from(row) / u128::from(rows.max(1));
        self.read.store(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(crate) fn report(&self, label: &str, progress: &ProgressFn<'_>) {
        progress(Progress { label, done: self.read(), total: Some(self.total), unit: "bytes" });
    }
}

/// Groups documents into chunks of about `CHUNK_BYTES` of text: the unit of parallel work, and what memory holds.
pub(crate) fn next_chunk(
    reader: &mut impl Iterator<Item = Result<Document, DataError>>,
) -> Result<Vec<Document>, DataError> {
    const CHUNK_BYTES: usize = 8 << 20;
    let mut chunk = Vec::new();
    let mut bytes = 0;
    while bytes < CHUNK_BYTES {
        let Some(document) = reader.next().transpose()? else { break };
        bytes += document.text.len() + 256;
        chunk.push(document);
    }
    Ok(chunk)
}

/// Removes a folder with all that is in it, if it is there.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), DataError> {
    unless_gone(folder, std::fs::remove_dir_all(folder))
}

/// Removes a file, if it is there.
pub(crate) fn remove_file(path: &Path) -> Result<(), DataError> {
    unless_gone(path, std::fs::remove_file(path))
}

fn unless_gone(path: &Path, removed: std::io::Result<()>) -> Result<(), DataError> {
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(DataError::io("remove", path, e)),
        _ => Ok(()),
    }
}

/// Writes a summary beside the data it summarizes.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), DataError> {
    let mut file = AsideFile::create(path)?;
    let text = serde_json::to_string_pretty(value).map_err(|e| DataError::io("write", path, e.into()))?;
    writeln!(file, "{text}").map_err(|e| DataError::io("write", path, e))?;
    file.finish()
}
