//! Documents on disk between the stages: one JSON object a line, compressed with Zstandard.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::aside::AsideFile;
use crate::{DataError, Document, Progress, ProgressFn};

/// Writes documents to a `.jsonl.zst` file that appears when [`finish`](Self::finish) succeeds.
pub struct DocumentWriter {
    out: zstd::Encoder<'static, AsideFile>,
    path: PathBuf,
    line: Vec<u8>,
}

impl DocumentWriter {
    pub fn create(path: &Path) -> Result<Self, DataError> {
        let file = AsideFile::create(path)?;
        let io = |e| DataError::io("write", path, e);
        let mut out = zstd::Encoder::new(file, 3).map_err(io)?;
        out.include_checksum(true).map_err(io)?;
        Ok(Self { out, path: path.into(), line: Vec::new() })
    }

    pub fn write(&mut self, document: &Document) -> Result<(), DataError> {
        self.write_record(document)
    }

    pub(crate) fn write_record(&mut self, record: &impl Serialize) -> Result<(), DataError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, record).map_err(|e| DataError::io("write", &self.path, e.into()))?;
        self.line.push(b'\n');
        self.out.write_all(&self.line).map_err(|e| DataError::io("write", &self.path, e))
    }

    pub fn finish(self) -> Result<(), DataError> {
        self.out.finish().map_err(|e| DataError::io("write", &self.path, e))?.finish()
    }
}

/// Reads documents one by one; see [`read_documents`].
pub struct DocumentReader {
    lines: Box<dyn BufRead + Send>,
    path: PathBuf,
    line_number: u64,
    line: Vec<u8>,
    meter: ReadMeter,
    failed: bool,
}

/// Streams the documents of a `.jsonl.zst` (also `.jsonl`, `.jsonl.gz`) file as danlu writes them.
pub fn read_documents(path: &Path) -> Result<DocumentReader, DataError> {
    let read = Arc::new(AtomicU64::new(0));
    let (lines, total) = open_decompressed(path, read.clone())?;
    let meter = ReadMeter { read, total };
    Ok(DocumentReader { lines, path: path.into(), line_number: 0, line: Vec::new(), meter, failed: false })
}

impl DocumentReader {
    /// How much of the file has been read; outlives the borrow of the iterator.
    pub(crate) fn meter(&self) -> ReadMeter {
        self.meter.clone()
    }

    /// The next line parsed as `T`.
    pub(crate) fn next_record<T: serde::de::DeserializeOwned>(&mut self) -> Option<Result<T, DataError>> {
        if self.failed {
            return None;
        }
        self.line.clear();
        self.line_number += 1;
        let result = match self.lines.read_until(b'\n', &mut self.line) {
            Ok(0) => return None,
            Ok(_) => serde_json::from_slice(&self.line).map_err(|e| e.to_string()),
            Err(e) => Err(e.to_string()),
        };
        let (path, line) = (&self.path, self.line_number);
        let result = result.map_err(|message| DataError::BadDocument { path: path.clone(), line, message });
        self.failed = result.is_err();
        Some(result)
    }
}

impl Iterator for DocumentReader {
    type Item = Result<Document, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_record()
    }
}

/// Counts the bytes read from a file, for progress: the only total known beforehand is the file's length.
#[derive(Clone, Debug)]
pub(crate) struct ReadMeter {
    read: Arc<AtomicU64>,
    total: u64,
}

impl ReadMeter {
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(crate) fn report(&self, label: &str, progress: &ProgressFn<'_>) {
        progress(Progress { label, done: self.read(), total: Some(self.total), unit: "bytes" });
    }
}

struct Metered<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Opens a file, decompressing by its extension (`.gz`, `.zst`), and gives its length. What is read of it, before
/// decompression, is added to `read`.
pub(crate) fn open_decompressed(
    path: &Path,
    read: Arc<AtomicU64>,
) -> Result<(Box<dyn BufRead + Send>, u64), DataError> {
    let io = |e| DataError::io("open", path, e);
    let file = File::open(path).map_err(io)?;
    let total = file.metadata().map_err(io)?.len();
    let metered = Metered { inner: file, read };
    let reader: Box<dyn BufRead + Send> = match path.extension().and_then(|e| e.to_str()) {
        Some("gz") => {
            Box::new(BufReader::with_capacity(1 << 17, flate2::read::MultiGzDecoder::new(BufReader::new(metered))))
        }
        Some("zst") => Box::new(BufReader::with_capacity(1 << 17, zstd::Decoder::new(metered).map_err(io)?)),
        _ => Box::new(BufReader::with_capacity(1 << 17, metered)),
    };
    Ok((reader, total))
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

/// Writes a summary beside the data it summarizes.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), DataError> {
    let mut file = AsideFile::create(path)?;
    let text = serde_json::to_string_pretty(value).map_err(|e| DataError::io("write", path, e.into()))?;
    writeln!(file, "{text}").map_err(|e| DataError::io("write", path, e))?;
    file.finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn documents() -> Vec<Document> {
        (0..300).map(|i| Document::new(format!("text {i}\n春"), "s")).collect()
    }

    #[test]
    fn written_documents_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl.zst");
        let mut writer = DocumentWriter::create(&path).unwrap();
        documents().iter().for_each(|d| writer.write(d).unwrap());
        assert!(!path.exists(), "the file appeared before it was finished");
        writer.finish().unwrap();
        let back: Vec<_> = read_documents(&path).unwrap().map(Result::unwrap).collect();
        assert_eq!(back, documents());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_abandoned_writer_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        drop(DocumentWriter::create(&dir.path().join("a.jsonl.zst")).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    /// `/dev/full` fails every write as a full disk does.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told_apart_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join("a.jsonl.zst.danlu-tmp")).unwrap();
        let mut writer = DocumentWriter::create(&dir.path().join("a.jsonl.zst")).unwrap();
        let written = documents().iter().try_for_each(|d| writer.write(d)).and_then(|()| writer.finish());
        assert!(matches!(&written, Err(e @ DataError::NoSpace { .. }) if e.hint().is_some()), "{written:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn damage_is_an_error_with_the_line_and_ends_the_reading() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl.zst");
        let mut writer = DocumentWriter::create(&path).unwrap();
        documents().iter().for_each(|d| writer.write(d).unwrap());
        writer.finish().unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let read: Vec<_> = read_documents(&path).unwrap().collect();
        assert!(read.len() <= 301 && matches!(read.last(), Some(Err(DataError::BadDocument { line: 1.., .. }))));
    }
}
