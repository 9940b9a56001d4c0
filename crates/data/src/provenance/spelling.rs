//! What documents look like in a token shard.
//!
//! A shard has no ids: its documents are known by their tokens, those that its own tokenizer, chat template and roles make
//! of the rows of the table it was made of. So conversations are found, whose tokens spell more than their text, and texts
//! that the vocabulary cannot spell. A plain text is known as well by what its tokens spell: the id is its hash.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use danlu_store::{Artifact, MANIFEST_FILE, StoreError};
use danlu_text::{ChatTemplate, Tokenizer};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::lineage::{Lineage, name};
use crate::document::content_id;
use crate::storage::next_chunk;
use crate::{ChatConfig, DataError, Document, Encoder, Shard, documents_file, read_documents};

/// The end of the names of token shards, and the folder of the tokenizer beside them.
const SHARD_EXTENSION: &str = "tokens";
const TOKENIZER_DIR: &str = "tokenizer";

/// Whether the document of an id is meant.
pub(super) type IsMeant<'a> = dyn Fn(&str) -> bool + Sync + 'a;

/// Documents to be found in a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sought {
    /// So many rows of the table that the shard was made of.
    pub documents: u64,
    /// The hashes of their tokens.
    pub tokens: BTreeSet<String>,
}

/// The token shards of an artifact, by split.
///
/// # Errors
/// A folder that cannot be listed: what is not seen would not be forgotten.
pub(super) fn shards_of(dir: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    let failed = |e| DataError::io("list", dir, e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == SHARD_EXTENSION)
            && let Some(split) = path.file_stem()
        {
            found.push((split.to_string_lossy().into_owned(), path));
        }
    }
    found.sort();
    Ok(found)
}

/// What makes tokens of documents as the shards of an artifact have them.
pub(super) struct Speller {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    chat: ChatConfig,
}

impl Speller {
    pub(super) fn of(artifact: &Artifact) -> Result<Self, DataError> {
        let folder = artifact.path.join(TOKENIZER_DIR);
        let damaged = |e: serde_json::Error| {
            let path = artifact.path.join(MANIFEST_FILE);
            StoreError::Damaged { path, reason: format!("its [chat]: {e}") }
        };
        let chat = artifact.manifest.config.get("chat").cloned().map(serde_json::from_value).transpose();
        Ok(Self {
            tokenizer: Tokenizer::from_dir(&folder)?,
            template: ChatTemplate::from_dir(&folder)?,
            chat: chat.map_err(damaged)?.unwrap_or_default(),
        })
    }

    pub(super) fn open(&self, shard: &Path) -> Result<Shard, DataError> {
        Shard::open(shard, Some(self.tokenizer.hash()))
    }

    /// The documents of a table that are meant, as a shard made of it has them.
    pub(super) fn sought(&self, table: &Path, is_meant: &IsMeant<'_>) -> Result<Sought, DataError> {
        let mut reader = read_documents(table)?;
        let mut sought = Sought::default();
        loop {
            let mut chunk = next_chunk(&mut reader)?;
            if chunk.is_empty() {
                return Ok(sought);
            }
            chunk.retain(|document| is_meant(&document.id));
            sought.documents += chunk.len() as u64;
            let hashes: Vec<Option<String>> = chunk.par_iter().map(|document| self.hash(document)).collect();
            sought.tokens.extend(hashes.into_iter().flatten());
        }
    }

    /// The hash of a document's tokens. One that cannot be cut into tokens any more is told of by the number of those that
    /// were not found.
    fn hash(&self, document: &Document) -> Option<String> {
        let encoder = Encoder { tokenizer: &self.tokenizer, template: self.template.as_ref(), chat: &self.chat };
        match encoder.encode(document) {
            Ok(encoded) => Some(tokens_hash(&encoded.tokens)),
            Err(error) => {
                tracing::warn!("{} cannot be looked for by its tokens: {error}", document.id);
                None
            }
        }
    }

    /// Of each document of a shard, whether it is one of those that are meant.
    pub(super) fn found(&self, shard: &Shard, sought: &Sought, is_meant: &IsMeant<'_>) -> Vec<bool> {
        let found = |index: usize| {
            let Some(document) = shard.document(index) else { return false };
            let tokens = shard.tokens().slice(document.tokens).to_vec();
            let text = &tokens[..tokens.len().saturating_sub(1)]; // without the end-of-text token
            sought.tokens.contains(&tokens_hash(&tokens)) || is_meant(&content_id(&self.tokenizer.decode_bytes(text)))
        };
        (0..shard.document_count()).into_par_iter().map(found).collect()
    }
}

fn tokens_hash(tokens: &[u32]) -> String {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    content_id(&bytes)
}

/// The table that an artifact's shard of a split was made of. Where several inputs have one, the copies of a document lie
/// in the table that was made of the other.
pub(super) fn table_of(lineage: &Lineage, artifact: &Artifact, split: &str) -> Option<PathBuf> {
    let file = documents_file(split);
    let inputs: Vec<&Artifact> = lineage.inputs(artifact).filter(|input| input.path.join(&file).is_file()).collect();
    let made_from = |other: &Artifact, one: &Artifact| lineage.inputs(other).any(|input| name(input) == name(one));
    let last = inputs.iter().find(|one| !inputs.iter().any(|other| made_from(other, one)))?;
    Some(last.path.join(file))
}
