use std::ops::Range;
use std::path::{Path, PathBuf};

use danlu_memory::ReadOnlyMap;
use serde::{Deserialize, Serialize};

use super::header::{HEADER_BYTES, Header, ROW_BYTES, array};
use crate::DataError;

/// The names that the document table refers to by number.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Names {
    pub(super) sources: Vec<String>,
    pub(super) languages: Vec<String>,
    /// The first token of each stage of a curriculum.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) stages: Vec<u64>,
}

/// An opened, verified token shard. Cheap to share behind an `Arc`; the file is mapped, not loaded.
#[derive(Debug)]
pub struct Shard {
    map: ReadOnlyMap,
    header: Header,
    names: Names,
    path: PathBuf,
}

/// One document of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardDocument<'a> {
    /// Its tokens within the shard; the last one is the end-of-text token.
    pub tokens: Range<usize>,
    /// UTF-8 bytes of its text.
    pub bytes: u64,
    pub source: &'a str,
    pub language: &'a str,
}

/// A run of a shard's tokens, decoded from 16 or 32 bits as they are read.
#[derive(Clone, Copy, Debug)]
pub struct TokenSlice<'a> {
    bytes: &'a [u8],
    width: usize,
}

impl Shard {
    /// Maps and verifies a shard: header, checksum of the whole file, and, where given, the tokenizer it was made with.
    ///
    /// # Errors
    /// [`DataError::BadShard`] for a truncated or altered file, [`DataError::WrongTokenizer`] for another tokenizer's.
    pub fn open(path: &Path, expected_tokenizer_hash: Option<&str>) -> Result<Self, DataError> {
        let map = ReadOnlyMap::open(path).map_err(|e| DataError::io("open", path, e))?;
        let bad = |message: String| DataError::BadShard { path: path.into(), message };
        let header = Header::decode(&map).map_err(bad)?;
        if let Some(expected) = expected_tokenizer_hash {
            let found = blake3::Hash::from_bytes(header.tokenizer_hash).to_hex();
            if found.as_str() != expected {
                let (expected, found) = (expected.into(), found.to_string());
                return Err(DataError::WrongTokenizer { path: path.into(), expected, found });
            }
        }
        if blake3::hash(&map[HEADER_BYTES..]).as_bytes() != &header.body_hash {
            return Err(bad("is damaged (checksum of its contents does not match)".into()));
        }
        let names = serde_json::from_slice(&map[header.names_offset as usize..])
            .map_err(|e| bad(format!("has unreadable names: {e}")))?;
        let shard = Self { map, header, names, path: path.into() };
        shard.check_contents().map_err(bad)?;
        Ok(shard)
    }

    /// That no token and no table row points outside: the checksum only says that the file is as it was written.
    fn check_contents(&self) -> Result<(), String> {
        if let Some(token) = self.tokens().iter().find(|&token| token >= self.header.vocab_size) {
            return Err(format!("holds token {token}, beyond its vocabulary of {}", self.header.vocab_size));
        }
        let spare = (self.header.tokens.next_multiple_of(8) - self.header.tokens) as u32;
        if self.has_learnt() && spare > 0 && self.marks().last().is_some_and(|byte| byte >> (8 - spare) != 0) {
            return Err("marks tokens beyond its end as to be learnt".into());
        }
        let mut previous = 0;
        for index in 0..self.header.documents as usize {
            let (start, source, language) = (self.row_start(index), self.row_u16(index, 16), self.row_u16(index, 18));
            let named = source < self.names.sources.len() && language < self.names.languages.len();
            if start < previous || start > self.header.tokens || (index == 0 && start != 0) || !named {
                return Err(format!("has a bad row {index} in its document table"));
            }
            previous = start;
        }
        let stages = &self.names.stages;
        if !stages.is_sorted() || stages.last().is_some_and(|&begin| begin > self.header.tokens) {
            return Err("has stages that do not follow each other".into());
        }
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of tokens, end-of-text tokens included.
    pub fn len(&self) -> u64 {
        self.header.tokens
    }

    pub fn is_empty(&self) -> bool {
        self.header.tokens == 0
    }

    /// UTF-8 bytes of all documents' texts.
    pub fn text_bytes(&self) -> u64 {
        self.header.text_bytes
    }

    pub fn vocab_size(&self) -> usize {
        self.header.vocab_size as usize
    }

    /// Whether some tokens are not to be learnt.
    pub fn has_learnt(&self) -> bool {
        self.header.learnt_offset != 0
    }

    /// Whether the token at `index` is to be learnt, as it is where nothing says otherwise.
    pub fn is_learnt(&self, index: usize) -> bool {
        !self.has_learnt() || self.marks().get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }

    /// Number of tokens to be learnt.
    pub fn learnt_tokens(&self) -> u64 {
        if self.has_learnt() {
            return self.marks().iter().map(|byte| u64::from(byte.count_ones())).sum();
        }
        self.len()
    }

    /// A bit for each token, the lowest of a byte first; bits beyond the last token are 0.
    fn marks(&self) -> &[u8] {
        let start = self.header.learnt_offset as usize;
        &self.map[start..start + self.header.tokens.div_ceil(8) as usize]
    }

    /// The end-of-text token that closes each document.
    pub fn eos_id(&self) -> u32 {
        self.header.eos
    }

    /// BLAKE3 of the tokenizer.json that the tokens are of, in hex.
    pub fn tokenizer_hash(&self) -> String {
        blake3::Hash::from_bytes(self.header.tokenizer_hash).to_hex().to_string()
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// The first token of each stage of a curriculum, in order; empty where there is none.
    pub fn stages(&self) -> &[u64] {
        &self.names.stages
    }

    /// All tokens as one stream.
    pub fn tokens(&self) -> TokenSlice<'_> {
        let width = self.header.width as usize;
        TokenSlice { bytes: &self.map[HEADER_BYTES..HEADER_BYTES + self.header.tokens as usize * width], width }
    }

    /// Number of documents.
    pub fn document_count(&self) -> usize {
        self.header.documents as usize
    }

    /// The documents in order.
    pub fn documents(&self) -> impl Iterator<Item = ShardDocument<'_>> {
        (0..self.document_count()).filter_map(|index| self.document(index))
    }

    /// Document number `index`, from 0.
    pub fn document(&self, index: usize) -> Option<ShardDocument<'_>> {
        if index >= self.document_count() {
            return None;
        }
        let end = if index + 1 < self.document_count() { self.row_start(index + 1) } else { self.header.tokens };
        Some(ShardDocument {
            tokens: self.row_start(index) as usize..end as usize,
            bytes: u64::from_le_bytes(array(self.row(index, 8, 8))),
            source: self.names.sources.get(self.row_u16(index, 16))?,
            language: self.names.languages.get(self.row_u16(index, 18))?,
        })
    }

    /// The first token of document number `index`.
    pub(crate) fn document_begin(&self, index: usize) -> Option<usize> {
        (index < self.document_count()).then(|| self.row_start(index) as usize)
    }

    /// The number of the first document that begins at `token` or after it.
    pub(crate) fn document_from(&self, token: usize) -> usize {
        let (mut low, mut high) = (0, self.document_count());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.row_start(middle) < token as u64 {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn row(&self, index: usize, at: usize, length: usize) -> &[u8] {
        let start = self.header.table_offset as usize + index * ROW_BYTES + at;
        &self.map[start..start + length]
    }

    fn row_start(&self, index: usize) -> u64 {
        u64::from_le_bytes(array(self.row(index, 0, 8)))
    }

    fn row_u16(&self, index: usize, at: usize) -> usize {
        usize::from(u16::from_le_bytes(array(self.row(index, at, 2))))
    }
}

impl<'a> TokenSlice<'a> {
    pub fn len(&self) -> usize {
        self.bytes.len() / self.width
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn get(&self, index: usize) -> Option<u32> {
        let start = index.checked_mul(self.width)?;
        self.bytes.get(start..start + self.width).map(decode)
    }

    /// The tokens of `range`.
    ///
    /// # Panics
    /// As slices do, when the range is not within the slice.
    pub fn slice(&self, range: Range<usize>) -> TokenSlice<'a> {
        TokenSlice { bytes: &self.bytes[range.start * self.width..range.end * self.width], width: self.width }
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> + 'a {
        self.bytes.chunks_exact(self.width).map(decode)
    }

    pub fn to_vec(&self) -> Vec<u32> {
        self.iter().collect()
    }
}

fn decode(bytes: &[u8]) -> u32 {
    match *bytes {
        [a, b] => u32::from(u16::from_le_bytes([a, b])),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
        _ => 0, // no other width passes the header's check
    }
}
