use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use danlu_text::Tokenizer;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::header::{HEADER_BYTES, Header};
use super::read::Names;
use crate::aside::AsideFile;
use crate::storage::next_chunk;
use crate::{DataError, Document, ProgressFn, read_documents};

/// Counts of one language or source in a shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardCount {
    pub documents: u64,
    /// End-of-text tokens included, one a document.
    pub tokens: u64,
    /// UTF-8 bytes of text.
    pub bytes: u64,
    /// Bytes of text for each token of text; end-of-text tokens do not count.
    pub bytes_per_token: f64,
}

impl ShardCount {
    fn add(&mut self, bytes: u64, tokens: u64) {
        self.documents += 1;
        self.tokens += tokens;
        self.bytes += bytes;
        self.bytes_per_token = self.bytes as f64 / (self.tokens - self.documents).max(1) as f64;
    }
}

/// What [`write_shards`] found while writing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardSummary {
    pub total: ShardCount,
    pub by_language: BTreeMap<String, ShardCount>,
    pub by_source: BTreeMap<String, ShardCount>,
    pub vocab_size: u64,
    /// Tokens that stand for text the vocabulary cannot spell. Zero for a byte-level tokenizer.
    pub unknown_tokens: u64,
    /// Documents whose tokens, decoded, are not their text to the byte. Every document is checked.
    pub round_trip_failures: u64,
}

/// Tokenizes a file of documents into the shard `out`, in the order of the documents.
///
/// Each document is its tokens and the end-of-text token. Texts are encoded literally: a special token written in a
/// document is ordinary text. Every document is decoded again and compared.
pub fn write_shards(
    documents: &Path,
    tokenizer: &Tokenizer,
    out: &Path,
    progress: &ProgressFn<'_>,
) -> Result<ShardSummary, DataError> {
    let mut reader = read_documents(documents)?;
    let meter = reader.meter();
    let mut writer = ShardWriter::create(out, tokenizer)?;
    let mut chunk = next_chunk(&mut reader)?;
    while !chunk.is_empty() {
        // The next chunk is read while this one is encoded: memory holds two, and the tokens of one.
        let (next, encoded) = rayon::join(|| next_chunk(&mut reader), || encode_all(&chunk, tokenizer));
        for (document, encoded) in chunk.iter().zip(&encoded?) {
            writer.push(document, encoded)?;
        }
        meter.report("tokenize", progress);
        chunk = next?;
    }
    writer.finish()
}

struct Encoded {
    tokens: Vec<u32>,
    exact: bool,
    unknown: u64,
}

/// On all threads, each with a cache of words that the tokenizer keeps from chunk to chunk.
fn encode_all(chunk: &[Document], tokenizer: &Tokenizer) -> Result<Vec<Encoded>, DataError> {
    chunk.par_iter().map(|document| encode(document, tokenizer)).collect()
}

fn encode(document: &Document, tokenizer: &Tokenizer) -> Result<Encoded, DataError> {
    let mut tokens = tokenizer.encode_literal(&document.text)?;
    let exact = tokenizer.spells(&tokens, &document.text);
    let unknown = tokenizer.unknown_id().map_or(0, |id| tokens.iter().filter(|&&token| token == id).count() as u64);
    tokens.push(tokenizer.eos_id());
    Ok(Encoded { tokens, exact, unknown })
}

/// Writes tokens as they come; the header, which counts them, comes last.
struct ShardWriter {
    file: AsideFile,
    hasher: blake3::Hasher,
    header: Header,
    table: Vec<u8>,
    names: Names,
    summary: ShardSummary,
}

impl ShardWriter {
    fn create(path: &Path, tokenizer: &Tokenizer) -> Result<Self, DataError> {
        let mut file = AsideFile::create(path)?;
        file.write_all(&[0; HEADER_BYTES]).map_err(|e| DataError::io("write", path, e))?;
        let hash = blake3::Hash::from_hex(tokenizer.hash())
            .map_err(|e| DataError::BadConfig { key: "tokenizer", message: format!("bad hash: {e}") })?;
        let vocab_size = tokenizer.vocab_size() as u32;
        let header = Header {
            width: if vocab_size <= 1 << 16 { 2 } else { 4 },
            tokens: 0,
            documents: 0,
            text_bytes: 0,
            vocab_size,
            eos: tokenizer.eos_id(),
            tokenizer_hash: *hash.as_bytes(),
            table_offset: 0,
            names_offset: 0,
            names_bytes: 0,
            body_hash: [0; 32],
        };
        let summary = ShardSummary { vocab_size: u64::from(vocab_size), ..Default::default() };
        let (table, names) = (Vec::new(), Names::default());
        Ok(Self { file, hasher: blake3::Hasher::new(), header, table, names, summary })
    }

    fn push(&mut self, document: &Document, encoded: &Encoded) -> Result<(), DataError> {
        let (bytes, tokens) = (document.text.len() as u64, encoded.tokens.len() as u64);
        let source = number_of(&mut self.names.sources, &document.source, "sources")?;
        let language = number_of(&mut self.names.languages, &document.language, "languages")?;
        self.table.extend_from_slice(&self.header.tokens.to_le_bytes());
        self.table.extend_from_slice(&bytes.to_le_bytes());
        self.table.extend_from_slice(&source.to_le_bytes());
        self.table.extend_from_slice(&language.to_le_bytes());
        self.table.extend_from_slice(&[0; 4]);
        let mut packed = Vec::with_capacity(encoded.tokens.len() * self.header.width as usize);
        match self.header.width {
            2 => encoded.tokens.iter().for_each(|&token| packed.extend_from_slice(&(token as u16).to_le_bytes())),
            _ => encoded.tokens.iter().for_each(|token| packed.extend_from_slice(&token.to_le_bytes())),
        }
        self.append(&packed)?;
        self.header.tokens += tokens;
        self.header.documents += 1;
        self.header.text_bytes += bytes;
        let summary = &mut self.summary;
        summary.total.add(bytes, tokens);
        summary.by_language.entry(document.language.clone()).or_default().add(bytes, tokens);
        summary.by_source.entry(document.source.clone()).or_default().add(bytes, tokens);
        summary.unknown_tokens += encoded.unknown;
        summary.round_trip_failures += u64::from(!encoded.exact);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(|e| DataError::io("write", self.file.path(), e))
    }

    fn finish(mut self) -> Result<ShardSummary, DataError> {
        let tokens_end = HEADER_BYTES as u64 + self.header.tokens * u64::from(self.header.width);
        self.header.table_offset = tokens_end.next_multiple_of(8);
        self.append(&[0; 8][..(self.header.table_offset - tokens_end) as usize])?;
        let table = std::mem::take(&mut self.table);
        self.append(&table)?;
        let names = serde_json::to_vec(&self.names).map_err(|e| DataError::io("write", self.file.path(), e.into()))?;
        self.header.names_offset = self.header.table_offset + table.len() as u64;
        self.header.names_bytes = names.len() as u64;
        self.append(&names)?;
        self.header.body_hash = *self.hasher.finalize().as_bytes();
        let header = self.header.encode();
        let written = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.write_all(&header));
        written.map_err(|e| DataError::io("write", self.file.path(), e))?;
        self.file.finish()?;
        Ok(self.summary)
    }
}

/// The number of a name, which is added where new. There are few: a linear search finds the last used soonest.
fn number_of(names: &mut Vec<String>, name: &str, what: &'static str) -> Result<u16, DataError> {
    let index = names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.into());
        names.len() - 1
    });
    u16::try_from(index).map_err(|_| DataError::BadConfig { key: what, message: "more than 65536 in one shard".into() })
}
