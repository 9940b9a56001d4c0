//! Documents to tokens, part by part.

use std::path::{Path, PathBuf};

use danlu_data::{ChatConfig, Encoder, ProgressFn, ShardSummary};
use danlu_report::number::grouped;
use danlu_text::{ChatTemplate, Tokenizer};
use serde_json::Value;

use super::{Settings, Sharing, clear, files_of, json};
use crate::PipelineError;
use crate::stages::files;

/// A part's file, a token shard of its own.
const SHARD: &str = "part.tokens";

/// Writes the shard of each split as [`danlu_data::write_shards`] does, with whoever else works at the shared address.
/// `tokenizer` is the folder of the encoder's tokenizer.
pub(crate) fn encode(
    splits: &[(&'static str, PathBuf)],
    encoder: &Encoder<'_>,
    tokenizer: &Path,
    sharing: &Sharing<'_>,
) -> Result<Vec<ShardSummary>, PipelineError> {
    sharing.begin()?;
    let (mut parts, mut counts) = (Vec::new(), Vec::new());
    for (split, documents) in splits {
        let cut = sharing.cut(documents, split)?;
        counts.push(cut.len());
        parts.extend(cut);
    }
    let settings = Settings::Encode(encoder.chat.clone());
    let done = sharing.carry_out::<ShardSummary>(settings, files_of(tokenizer)?, parts)?;
    let mut done = done.into_iter().map(|(folder, summary)| (folder.join(SHARD), summary));
    let mut shards = Vec::new();
    for ((split, _), count) in splits.iter().zip(counts) {
        let parts: Vec<(PathBuf, ShardSummary)> = done.by_ref().take(count).collect();
        let out = sharing.work.join(files::shard(split));
        shards.push(danlu_data::join_shards(&parts, encoder.tokenizer, &out, sharing.progress)?);
    }
    clear(sharing.work)?;
    Ok(shards)
}

/// What encodes parts.
pub(super) struct Encoding {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    chat: ChatConfig,
}

impl Encoding {
    pub(super) fn open(chat: ChatConfig, folder: &Path) -> Result<Self, PipelineError> {
        Ok(Self { tokenizer: Tokenizer::from_dir(folder)?, template: ChatTemplate::from_dir(folder)?, chat })
    }

    /// Encodes one part, and says how much it is.
    pub(super) fn part(
        &self,
        documents: &Path,
        out: &Path,
        progress: &ProgressFn<'_>,
    ) -> Result<(Value, String), PipelineError> {
        let encoder = Encoder { tokenizer: &self.tokenizer, template: self.template.as_ref(), chat: &self.chat };
        let summary = danlu_data::write_shards(documents, &encoder, &out.join(SHARD), progress)?;
        let total = &summary.total;
        let left = format!("{} tokens of {} documents", grouped(total.tokens), grouped(total.documents));
        Ok((json(&summary)?, left))
    }
}
