//! Kept documents to a tokenizer and to token shards, one per split.

use std::collections::BTreeMap;
use std::path::Path;

use danlu_data::{Encoder, ShardSummary};
use danlu_report::number::grouped;
use danlu_text::ChatTemplate;
use serde::{Deserialize, Serialize};

use super::{Made, files, with_progress};
use crate::PipelineError;
use crate::graph::Stage;
use crate::runner::Context;

/// What the stage tells of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TokenizerSummary {
    pub vocab_size: usize,
    pub hash: String,
    /// By split.
    pub shards: BTreeMap<String, ShardSummary>,
}

pub(super) fn run(context: &mut Context<'_>, work: &Path) -> Result<Made, PipelineError> {
    let cleaned = context.input(Stage::Tokenizer, Stage::Clean)?.path;
    let config = &context.file.recipe.tokenizer;
    let train = cleaned.join(files::documents("train"));
    let tokenizer = with_progress(context, |progress| danlu_data::train_tokenizer(&train, config, progress))?;
    let folder = work.join(files::TOKENIZER);
    tokenizer.save(&folder)?;
    let template = ChatTemplate::from_dir(&folder)?;
    let chat = &context.file.recipe.chat;
    let encoder = Encoder { tokenizer: &tokenizer, template: template.as_ref(), chat };
    let mut shards = BTreeMap::new();
    for split in danlu_data::SplitConfig::NAMES {
        let documents = cleaned.join(files::documents(split));
        if !documents.exists() {
            continue;
        }
        context.go_on(Stage::Tokenizer)?;
        let out = work.join(files::shard(split));
        let summary =
            with_progress(context, |progress| danlu_data::write_shards(&documents, &encoder, &out, progress))?;
        shards.insert(split.to_owned(), summary);
    }
    let summary = TokenizerSummary { vocab_size: tokenizer.vocab_size(), hash: tokenizer.hash().to_owned(), shards };
    let line = describe(&summary);
    Made::new(&summary, line)
}

fn describe(summary: &TokenizerSummary) -> String {
    let Some(train) = summary.shards.get("train") else { return String::new() };
    let languages: Vec<String> =
        train.by_language.iter().map(|(language, count)| format!("{language} {:.2}", count.bytes_per_token)).collect();
    format!(
        "{} tokens in the vocabulary, {} to train on; bytes per token: {}",
        grouped(summary.vocab_size as u64),
        grouped(train.total.tokens),
        languages.join(", ")
    )
}
