use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::encode::{Encoded, Encoder, LossMask};
use super::header::{HEADER_BYTES, Header};
use super::read::{Names, Shard, ShardDocument};
use crate::aside::AsideFile;
use crate::storage::next_chunk;
use crate::{DataError, Document, MixtureSummary, Progress, ProgressFn, read_documents};

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
    /// Tokens that have a loss: all, but in conversations only those of the wanted roles.
    pub learnt_tokens: u64,
    /// What a mixture made of the documents, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixture: Option<MixtureSummary>,
}

/// Tokenizes a file of documents into the shard `out`, in the order of the documents.
///
/// Each document is its tokens and the end-of-text token. Texts are encoded literally: a special token written in a
/// document is ordinary text. Every document is decoded again and compared. Documents with `messages` are rendered by the
/// chat template, and only the turns of `encoder.chat` are marked as to be learnt.
pub fn write_shards(
    documents: &Path,
    encoder: &Encoder<'_>,
    out: &Path,
    progress: &ProgressFn<'_>,
) -> Result<ShardSummary, DataError> {
    let mut reader = read_documents(documents)?;
    let meter = reader.meter();
    let mut writer = ShardWriter::create(out, encoder.tokenizer)?;
    let mut chunk = next_chunk(&mut reader)?;
    while !chunk.is_empty() {
        // The next chunk is read while this one is encoded: memory holds two, and the tokens of one.
        let (next, encoded) = rayon::join(|| next_chunk(&mut reader), || encode_all(&chunk, encoder));
        for (document, encoded) in chunk.iter().zip(&encoded?) {
            writer.push(document, encoded)?;
        }
        meter.report("tokenize", progress);
        chunk = next?;
    }
    writer.finish()
}

/// Puts shards together that [`write_shards`] made of the parts of a file of documents, each with its summary: the shard, and the
/// summary, of all of them at once.
///
/// # Errors
/// A damaged part, and one of another tokenizer.
pub fn join_shards(
    parts: &[(PathBuf, ShardSummary)],
    tokenizer: &danlu_text::Tokenizer,
    out: &Path,
    progress: &ProgressFn<'_>,
) -> Result<ShardSummary, DataError> {
    let mut writer = ShardWriter::create(out, tokenizer)?;
    for ((path, summary), done) in parts.iter().zip(1..) {
        let shard = Shard::open(path, Some(tokenizer.hash()))?;
        shard.documents().try_for_each(|document| writer.copy(&shard, &document))?;
        writer.summary.unknown_tokens += summary.unknown_tokens;
        writer.summary.round_trip_failures += summary.round_trip_failures;
        progress(Progress { label: "join", done, total: Some(parts.len() as u64), unit: "parts" });
    }
    writer.finish()
}

/// On all threads, each with a cache of words that the tokenizer keeps from chunk to chunk.
fn encode_all(chunk: &[Document], encoder: &Encoder<'_>) -> Result<Vec<Encoded>, DataError> {
    chunk.par_iter().map(|document| encoder.encode(document)).collect()
}

/// Writes tokens as they come; the header, which counts them, comes last.
pub(crate) struct ShardWriter {
    file: AsideFile,
    hasher: blake3::Hasher,
    header: Header,
    table: Vec<u8>,
    /// A bit for each token; none while all are to be learnt.
    marks: Option<Vec<u8>>,
    names: Names,
    summary: ShardSummary,
}

impl ShardWriter {
    fn create(path: &Path, tokenizer: &danlu_text::Tokenizer) -> Result<Self, DataError> {
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
            learnt_offset: 0,
            body_hash: [0; 32],
        };
        Self::with_header(path, header)
    }

    /// A shard of tokens of the same tokenizer as those of `shard`.
    pub(crate) fn like(path: &Path, shard: &Shard) -> Result<Self, DataError> {
        let header = Header { tokens: 0, documents: 0, text_bytes: 0, learnt_offset: 0, ..shard.header().clone() };
        Self::with_header(path, header)
    }

    fn with_header(path: &Path, header: Header) -> Result<Self, DataError> {
        let mut file = AsideFile::create(path)?;
        file.write_all(&[0; HEADER_BYTES]).map_err(|e| DataError::io("write", path, e))?;
        let summary = ShardSummary { vocab_size: u64::from(header.vocab_size), ..Default::default() };
        let (table, marks, names) = (Vec::new(), None, Names::default());
        Ok(Self { file, hasher: blake3::Hasher::new(), header, table, marks, names, summary })
    }

    fn push(&mut self, document: &Document, encoded: &Encoded) -> Result<(), DataError> {
        let bytes = document.text.len() as u64;
        self.push_tokens(&document.source, &document.language, bytes, &encoded.tokens, &encoded.mask)?;
        self.summary.unknown_tokens += encoded.unknown;
        self.summary.round_trip_failures += u64::from(!encoded.exact);
        Ok(())
    }

    /// Adds a document of another shard of the same tokenizer.
    pub(crate) fn copy(&mut self, shard: &Shard, document: &ShardDocument<'_>) -> Result<(), DataError> {
        let tokens = shard.tokens().slice(document.tokens.clone()).to_vec();
        let mask = match shard.has_learnt() {
            true => LossMask::Some(document.tokens.clone().map(|token| shard.is_learnt(token)).collect()),
            false => LossMask::All,
        };
        self.push_tokens(document.source, document.language, document.bytes, &tokens, &mask)
    }

    /// The documents that follow are the next stage of a curriculum.
    pub(crate) fn begin_stage(&mut self) {
        self.names.stages.push(self.header.tokens);
    }

    fn push_tokens(
        &mut self,
        source: &str,
        language: &str,
        bytes: u64,
        tokens: &[u32],
        mask: &LossMask,
    ) -> Result<(), DataError> {
        let count = tokens.len() as u64;
        let source_number = number_of(&mut self.names.sources, source, "sources")?;
        let language_number = number_of(&mut self.names.languages, language, "languages")?;
        self.table.extend_from_slice(&self.header.tokens.to_le_bytes());
        self.table.extend_from_slice(&bytes.to_le_bytes());
        self.table.extend_from_slice(&source_number.to_le_bytes());
        self.table.extend_from_slice(&language_number.to_le_bytes());
        self.table.extend_from_slice(&[0; 4]);
        let mut packed = Vec::with_capacity(tokens.len() * self.header.width as usize);
        match self.header.width {
            2 => tokens.iter().for_each(|&token| packed.extend_from_slice(&(token as u16).to_le_bytes())),
            _ => tokens.iter().for_each(|token| packed.extend_from_slice(&token.to_le_bytes())),
        }
        self.append(&packed)?;
        self.mark(mask, count);
        self.header.tokens += count;
        self.header.documents += 1;
        self.header.text_bytes += bytes;
        let summary = &mut self.summary;
        summary.total.add(bytes, count);
        summary.by_language.entry(language.into()).or_default().add(bytes, count);
        summary.by_source.entry(source.into()).or_default().add(bytes, count);
        Ok(())
    }

    /// Notes which of the next `count` tokens are to be learnt.
    fn mark(&mut self, mask: &LossMask, count: u64) {
        let first = self.header.tokens;
        if self.marks.is_none() && matches!(mask, LossMask::Some(_)) {
            self.marks = Some(all_marked(first)); // the first conversation; before it there was plain text
        }
        let learnt = |index: u64| match mask {
            LossMask::All => true,
            LossMask::Some(mask) => mask[index as usize],
        };
        self.summary.learnt_tokens += (0..count).filter(|&index| learnt(index)).count() as u64;
        let Some(marks) = &mut self.marks else { return };
        marks.resize((first + count).div_ceil(8) as usize, 0);
        for at in (0..count).filter(|&index| learnt(index)).map(|index| first + index) {
            marks[(at / 8) as usize] |= 1 << (at % 8);
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(|e| DataError::io("write", self.file.path(), e))
    }

    pub(crate) fn finish(mut self) -> Result<ShardSummary, DataError> {
        let tokens_end = HEADER_BYTES as u64 + self.header.tokens * u64::from(self.header.width);
        self.header.table_offset = tokens_end.next_multiple_of(8);
        self.append(&[0; 8][..(self.header.table_offset - tokens_end) as usize])?;
        let table = std::mem::take(&mut self.table);
        self.append(&table)?;
        let names = serde_json::to_vec(&self.names).map_err(|e| DataError::io("write", self.file.path(), e.into()))?;
        let table_end = self.header.table_offset + table.len() as u64;
        self.header.names_offset = table_end;
        if let Some(marks) = self.marks.take() {
            self.append(&marks)?;
            self.header.learnt_offset = table_end;
            self.header.names_offset += marks.len() as u64;
        }
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

/// Marks of the first `count` tokens, all to be learnt.
fn all_marked(count: u64) -> Vec<u8> {
    let mut marks = vec![0xFF; count.div_ceil(8) as usize];
    if let (Some(last), rest @ 1..) = (marks.last_mut(), count % 8) {
        *last = (1 << rest) - 1;
    }
    marks
}

/// The number of a name, which is added where new. There are few: a linear search finds the last used soonest.
fn number_of(names: &mut Vec<String>, name: &str, what: &'static str) -> Result<u16, DataError> {
    let index = names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.into());
        names.len() - 1
    });
    u16::try_from(index).map_err(|_| DataError::BadConfig { key: what, message: "more than 65536 in one shard".into() })
}
