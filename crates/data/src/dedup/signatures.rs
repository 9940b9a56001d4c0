//! Signatures of a run's documents, by which later runs drop what was there already.
//!
//! A file is a header, then a record for each document, then a hash:
//!
//! ```text
//! offset  bytes  what (little-endian)
//!      0      8  "DANLUSIG"
//!      8      4  version, 1
//!     12     16  bands, rows, words and characters of an n-gram, 4 bytes each
//!     28      8  documents
//!     36         records: the id (16 bytes), bands x rows numbers of 4 bytes
//!    end     32  BLAKE3 of all records and then the header
//! ```

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::DataError;
use crate::aside::AsideFile;

use super::NearConfig;

const MAGIC: &[u8; 8] = b"DANLUSIG";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 36;
const HASH_BYTES: u64 = 32;

/// Writes a file of signatures.
pub(super) struct SignatureWriter {
    file: AsideFile,
    near: NearConfig,
    count: u64,
    hasher: blake3::Hasher,
    record: Vec<u8>,
}

impl SignatureWriter {
    pub(super) fn create(path: &Path, near: &NearConfig) -> Result<Self, DataError> {
        let mut file = AsideFile::create(path)?;
        file.write_all(&[0; HEADER_BYTES]).map_err(|e| DataError::io("write", path, e))?;
        Ok(Self { file, near: *near, count: 0, hasher: blake3::Hasher::new(), record: Vec::new() })
    }

    pub(super) fn push(&mut self, id: u128, signature: &[u32]) -> Result<(), DataError> {
        self.record.clear();
        self.record.extend_from_slice(&id.to_le_bytes());
        signature.iter().for_each(|number| self.record.extend_from_slice(&number.to_le_bytes()));
        self.count += 1;
        self.hasher.update(&self.record);
        self.file.write_all(&self.record).map_err(|e| DataError::io("write", self.file.path(), e))
    }

    pub(super) fn finish(mut self) -> Result<PathBuf, DataError> {
        let path = self.file.path().to_path_buf();
        let header = header(&self.near, self.count);
        self.hasher.update(&header);
        let hash = self.hasher.finalize();
        let file = &mut self.file;
        file.write_all(hash.as_bytes())
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(&header))
            .map_err(|e| DataError::io("write", &path, e))?;
        self.file.finish()?;
        Ok(path)
    }
}

fn header(near: &NearConfig, count: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for number in [VERSION, near.bands, near.rows, near.ngram_words, near.ngram_chars] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes
}

/// A file of signatures, open for reading any record.
pub(super) struct SignatureFile {
    file: File,
    path: PathBuf,
    pub(super) count: u64,
    /// Numbers in a signature.
    len: usize,
}

impl SignatureFile {
    /// Opens a file and, once through, checks its hash; `each` is given every id and signature in order. With `near`,
    /// the signatures must have been made as these settings say.
    pub(super) fn open(
        path: &Path,
        near: Option<&NearConfig>,
        mut each: impl FnMut(u128, &[u32]) -> Result<(), DataError>,
    ) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|e| DataError::io("open", path, e))?;
        let length = file.metadata().map_err(|e| DataError::io("open", path, e))?.len();
        let bad = |message: &str| DataError::BadSignatures { path: path.into(), message: message.into() };
        let mut reader = BufReader::with_capacity(1 << 18, file);
        let mut head = [0; HEADER_BYTES];
        reader.read_exact(&mut head).map_err(|_| bad("it is too short"))?;
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if &head[..8] != MAGIC || number(8) != VERSION {
            return Err(bad("not a file of signatures, or of another version"));
        }
        let [bands, rows, ngram_words, ngram_chars] = [12, 16, 20, 24].map(number);
        if let Some(near) = near {
            let ours = [near.bands, near.rows, near.ngram_words, near.ngram_chars];
            if ours != [bands, rows, ngram_words, ngram_chars] {
                let message = format!(
                    "made with bands {bands}, rows {rows}, ngram_words {ngram_words}, ngram_chars {ngram_chars}, not {ours:?}"
                );
                return Err(bad(&message));
            }
        }
        let (len, count) = (u64::from(bands) * u64::from(rows), u64::from(number(28)) | u64::from(number(32)) << 32);
        // What is not checked yet may say anything: no arithmetic overflows, and no memory is taken beyond the file's length.
        let each_bytes = len.checked_mul(4).and_then(|bytes| bytes.checked_add(16));
        let expected = each_bytes.and_then(|each| each.checked_mul(count));
        let expected = expected.and_then(|bytes| bytes.checked_add(HEADER_BYTES as u64 + HASH_BYTES));
        let Some(each_bytes) = each_bytes.filter(|_| expected == Some(length)) else {
            return Err(bad("its length is not what its header says"));
        };
        let record_bytes = if count == 0 { 0 } else { each_bytes as usize };
        let (mut record, mut hasher) = (vec![0; record_bytes], blake3::Hasher::new());
        for _ in 0..count {
            reader.read_exact(&mut record).map_err(|e| DataError::io("read", path, e))?;
            hasher.update(&record);
            let (id, signature) = decode(&record);
            each(id, &signature)?;
        }
        let mut hash = [0; HASH_BYTES as usize];
        reader.read_exact(&mut hash).map_err(|e| DataError::io("read", path, e))?;
        if hasher.update(&head).finalize() != hash {
            return Err(bad("its content is not what its hash says"));
        }
        Ok(Self { file: reader.into_inner(), path: path.into(), count, len: len as usize })
    }

    /// The record at an index below `count`.
    pub(super) fn read(&mut self, index: u64) -> Result<(u128, Vec<u32>), DataError> {
        let mut record = vec![0; self.len * 4 + 16];
        self.file
            .seek(SeekFrom::Start(HEADER_BYTES as u64 + index * record.len() as u64))
            .and_then(|_| self.file.read_exact(&mut record))
            .map_err(|e| DataError::io("read", &self.path, e))?;
        Ok(decode(&record))
    }
}

fn decode(record: &[u8]) -> (u128, Vec<u32>) {
    let (id, numbers) = record.split_at(16);
    let id = id.iter().rev().fold(0, |id, &byte| id << 8 | u128::from(byte));
    (id, numbers.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NEAR: NearConfig = NearConfig { bands: 2, rows: 1, ngram_words: 5, ngram_chars: 8, threshold: 0.8 };

    fn write(dir: &Path) -> PathBuf {
        let mut writer = SignatureWriter::create(&dir.join("s"), &NEAR).unwrap();
        writer.push(u128::MAX - 5, &[1, 2]).unwrap();
        writer.push(7, &[3, u32::MAX]).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn signatures_are_read_back_in_order_and_at_any_index() {
        let dir = tempfile::tempdir().unwrap();
        let mut all = Vec::new();
        let mut file = SignatureFile::open(&write(dir.path()), Some(&NEAR), |id, numbers| {
            all.push((id, numbers.to_vec()));
            Ok(())
        })
        .unwrap();
        assert_eq!(all, [(u128::MAX - 5, vec![1, 2]), (7, vec![3, u32::MAX])]);
        assert_eq!((file.count, file.read(1).unwrap()), (2, (7, vec![3, u32::MAX])));
    }

    #[test]
    fn damage_and_other_settings_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path());
        let open = |near: &NearConfig| SignatureFile::open(&path, Some(near), |_, _| Ok(())).err().unwrap().to_string();
        let other = open(&NearConfig { ngram_chars: 9, ..NEAR });
        assert!(other.contains("ngram_chars 8"), "{other}");
        let whole = std::fs::read(&path).unwrap();
        for at in [0, 28, 40, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, damaged).unwrap();
            assert!(open(&NEAR).contains(&*path.to_string_lossy()));
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(open(&NEAR).contains("length"));
    }

    #[test]
    fn a_header_of_enormous_figures_is_an_error_and_takes_no_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let huge = NearConfig { bands: u32::MAX, rows: u32::MAX, ..NEAR };
        // Of so many bands and rows the bytes of a record are more than 64 bits count; of fewer, more than memory has.
        for (near, count) in [(huge, 0), (huge, u64::MAX), (NearConfig { bands: 1 << 30, ..huge }, 0)] {
            let mut bytes = header(&near, count);
            bytes.extend_from_slice(&[0; HASH_BYTES as usize]);
            std::fs::write(&path, bytes).unwrap();
            let error = SignatureFile::open(&path, None, |_, _| Ok(())).err().unwrap().to_string();
            assert!(error.contains("length") || error.contains("content"), "{error}");
        }
    }
}
