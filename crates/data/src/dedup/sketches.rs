//! What the first reading of a search computes of each text, apart from all others: its MinHash signature or its SimHash.
//! Whoever cleans a part of the documents can do it (`clean/parts.rs`); the search then reads these files.
//!
//! A file is a header, then a record for each document:
//!
//! ```text
//! offset  bytes  what (little-endian)
//!      0      8  "DANLUSKT"
//!      8      4  version, 1
//!     12     16  bands, rows, words and characters of an n-gram, 4 bytes each; of a SimHash bands and rows are 0
//!     28         records: the id (16 bytes), 1 or, of a text without n-grams, 0 (4 bytes), bands x rows numbers of 4 bytes,
//!                of a SimHash 2
//! ```
//!
//! Files have no hash of their own: who sends them has one.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::aside::AsideFile;
use crate::ngrams::Ngrams;
use crate::{DataError, Document};

use super::DedupConfig;
use super::minhash::MinHash;
use super::simhash;

const MAGIC: &[u8; 8] = b"DANLUSKT";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 28;

/// What is computed of a document, on any thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sketch {
    pub(super) signature: Option<Vec<u32>>,
    pub(super) simhash: Option<u64>,
}

impl DedupConfig {
    /// The keys that sketches depend on, if there is anything to sketch.
    pub(crate) fn of_sketches(&self) -> Option<Self> {
        let any = self.near.is_some() || self.simhash.is_some();
        any.then(|| Self { near: self.near, simhash: self.simhash, ..Self::default() })
    }
}

/// Makes sketches.
pub(super) struct Sketcher<'a> {
    config: &'a DedupConfig,
    pub(super) minhash: Option<MinHash>,
}

impl<'a> Sketcher<'a> {
    pub(super) fn new(config: &'a DedupConfig) -> Self {
        Self { config, minhash: config.near.as_ref().map(MinHash::new) }
    }

    /// Of all documents, on all threads.
    pub(super) fn sketch_all(&self, documents: &[Document]) -> Vec<Sketch> {
        let each = documents.par_iter().map_init(Ngrams::default, |ngrams, document| self.sketch(document, ngrams));
        each.collect()
    }

    fn sketch(&self, document: &Document, ngrams: &mut Ngrams) -> Sketch {
        let mut sketch = Sketch::default();
        let mut hashes = Vec::new();
        if let (Some(near), Some(minhash)) = (&self.config.near, &self.minhash) {
            ngrams.read(&document.text);
            ngrams.fingerprints(near.ngram(), &mut hashes);
            let fingerprints: Vec<u32> = hashes.iter().map(|&hash| hash as u32).collect();
            sketch.signature = (!fingerprints.is_empty()).then(|| minhash.signature(&fingerprints));
        }
        if let Some(config) = &self.config.simhash {
            ngrams.read(&document.text);
            ngrams.fingerprints(config.ngram(), &mut hashes);
            sketch.simhash = (!hashes.is_empty()).then(|| simhash::simhash(&hashes));
        }
        sketch
    }
}

/// The first 28 bytes of a file made with this configuration.
fn header(config: &DedupConfig) -> Vec<u8> {
    let settings = match (&config.near, &config.simhash) {
        (Some(near), _) => [near.bands, near.rows, near.ngram_words, near.ngram_chars],
        (None, Some(simhash)) => [0, 0, simhash.ngram_words, simhash.ngram_chars],
        (None, None) => [0; 4],
    };
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    settings.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    bytes
}

/// Numbers in a record. Either kind goes into it, because a search is for one of them alone.
fn numbers(config: &DedupConfig) -> usize {
    config.near.map_or(2, |near| near.bands as usize * near.rows as usize)
}

/// Writes the sketches of documents as they come.
pub(crate) struct SketchWriter<'a> {
    sketcher: Sketcher<'a>,
    file: AsideFile,
}

impl<'a> SketchWriter<'a> {
    pub(crate) fn create(path: &Path, config: &'a DedupConfig) -> Result<Self, DataError> {
        let mut file = AsideFile::create(path)?;
        file.write_all(&header(config)).map_err(|e| DataError::io("write", path, e))?;
        Ok(Self { sketcher: Sketcher::new(config), file })
    }

    pub(crate) fn write(&mut self, documents: &[Document]) -> Result<(), DataError> {
        let numbers = numbers(self.sketcher.config);
        for (document, sketch) in documents.iter().zip(self.sketcher.sketch_all(documents)) {
            let mut record = document.id_number().to_le_bytes().to_vec();
            let values = match (sketch.signature, sketch.simhash) {
                (Some(signature), _) => Some(signature),
                (None, simhash) => simhash.map(|hash| vec![hash as u32, (hash >> 32) as u32]),
            };
            record.extend_from_slice(&u32::from(values.is_some()).to_le_bytes());
            let values = values.unwrap_or_else(|| vec![0; numbers]);
            values.iter().for_each(|number| record.extend_from_slice(&number.to_le_bytes()));
            self.file.write_all(&record).map_err(|e| DataError::io("write", self.file.path(), e))?;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<(), DataError> {
        self.file.finish()
    }
}

/// Reads files of sketches one after another.
pub(super) struct SketchReader {
    /// What every file must begin with.
    header: Vec<u8>,
    files: std::vec::IntoIter<PathBuf>,
    file: Option<BufReader<File>>,
    /// Of the file.
    path: PathBuf,
    record: Vec<u8>,
    near: bool,
}

impl SketchReader {
    pub(super) fn new(files: &[PathBuf], config: &DedupConfig) -> Self {
        Self {
            header: header(config),
            files: files.to_vec().into_iter(),
            file: None,
            path: PathBuf::new(),
            record: vec![0; 20 + 4 * numbers(config)],
            near: config.near.is_some(),
        }
    }

    /// The sketches of documents, which come in the order of the files; some of theirs may have gone since.
    ///
    /// # Errors
    /// Files of other documents, or of other settings.
    pub(super) fn read_all(&mut self, documents: &[Document]) -> Result<Vec<Sketch>, DataError> {
        documents.iter().map(|document| self.find(document)).collect()
    }

    /// An id is the hash of the text, so that the next sketch under it is right, whichever of equal texts it was made of.
    fn find(&mut self, document: &Document) -> Result<Sketch, DataError> {
        let id = document.id_number().to_le_bytes();
        while self.advance()? {
            if self.record[..16] == id {
                return Ok(self.decode());
            }
        }
        let message = format!("neither this file nor one before it has document {}", document.id);
        Err(DataError::BadSignatures { path: self.path.clone(), message })
    }

    /// Reads the next record, if there is one.
    fn advance(&mut self) -> Result<bool, DataError> {
        loop {
            if let Some(file) = &mut self.file {
                let io = |e| DataError::io("read", &self.path, e);
                if !file.fill_buf().map_err(io)?.is_empty() {
                    file.read_exact(&mut self.record).map_err(io)?;
                    return Ok(true);
                }
            }
            let Some(path) = self.files.next() else { return Ok(false) };
            self.file = Some(open(&path, &self.header)?);
            self.path = path;
        }
    }

    fn decode(&self) -> Sketch {
        let number = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        let mut numbers = self.record[16..].chunks_exact(4).map(number);
        match (numbers.next(), self.near) {
            (Some(1), true) => Sketch { signature: Some(numbers.collect()), simhash: None },
            (Some(1), false) => {
                let hash = numbers.enumerate().fold(0, |hash, (word, number)| hash | u64::from(number) << (32 * word));
                Sketch { signature: None, simhash: Some(hash) }
            }
            _ => Sketch::default(),
        }
    }
}

fn open(path: &Path, expected: &[u8]) -> Result<BufReader<File>, DataError> {
    let file = File::open(path).map_err(|e| DataError::io("open", path, e))?;
    let mut file = BufReader::with_capacity(1 << 18, file);
    let mut head = [0; HEADER_BYTES];
    file.read_exact(&mut head).map_err(|e| DataError::io("read", path, e))?;
    if head[..] != *expected {
        let message = "not a file of sketches, or made by another version or with other settings".into();
        return Err(DataError::BadSignatures { path: path.into(), message });
    }
    Ok(file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{NearConfig, SimHashConfig};

    const TEXTS: [&str; 5] =
        ["春眠不覺曉，處處聞啼鳥。", "—", "one two three four five six", "—", "夜來風雨聲，花落知多少。"];

    fn documents(texts: &[&str]) -> Vec<Document> {
        texts.iter().map(|text| Document::new(*text, "s")).collect()
    }

    fn configs() -> [DedupConfig; 2] {
        let near = DedupConfig { near: Some(NearConfig::default()), ..Default::default() };
        [near, DedupConfig { simhash: Some(SimHashConfig::default()), ..Default::default() }]
    }

    /// Files of the first two, of no, and of the other documents.
    fn write(dir: &Path, config: &DedupConfig) -> Vec<PathBuf> {
        let parts = [&TEXTS[..2], &[], &TEXTS[2..]].into_iter().enumerate();
        parts
            .map(|(part, texts)| {
                let path = dir.join(format!("{part}"));
                let mut writer = SketchWriter::create(&path, config).unwrap();
                writer.write(&documents(texts)).unwrap();
                writer.finish().unwrap();
                path
            })
            .collect()
    }

    #[test]
    fn sketches_are_read_back_though_documents_have_gone() {
        let dir = tempfile::tempdir().unwrap();
        for config in configs() {
            let files = write(dir.path(), &config);
            let all = Sketcher::new(&config).sketch_all(&documents(&TEXTS));
            assert!(all[0] != Sketch::default() && all[0] != all[4] && all[1] == Sketch::default());
            for left in [&[0, 1, 2, 3, 4][..], &[0, 2, 4], &[3, 4], &[1], &[]] {
                let mut reader = SketchReader::new(&files, &config);
                for &index in left {
                    let found = reader.read_all(&documents(&TEXTS[index..=index])).unwrap();
                    assert_eq!(found, all[index..=index], "{left:?}");
                }
            }
        }
    }

    #[test]
    fn sketches_of_other_documents_or_settings_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let [near, simhash] = configs();
        let files = write(dir.path(), &near);
        let read = |config: &DedupConfig, texts: &[&str]| {
            SketchReader::new(&files, config).read_all(&documents(texts)).unwrap_err().to_string()
        };
        assert!(read(&near, &["another"]).contains("has document"));
        // Backwards, too: rows would not be those of the documents.
        assert!(read(&near, &[TEXTS[4], TEXTS[0]]).contains("has document"));
        let other = NearConfig { ngram_chars: 9, ..NearConfig::default() };
        assert!(read(&DedupConfig { near: Some(other), ..near.clone() }, &TEXTS).contains("other settings"));
        assert!(read(&simhash, &TEXTS).contains("other settings"));
    }
}
