//! Kept documents to a tokenizer and to token shards, one per split.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use danlu_data::{Encoder, Mixture, MixtureConfig, Shard, ShardSummary};
use danlu_report::number::grouped;
use danlu_text::ChatTemplate;
use serde::{Deserialize, Serialize};

use super::{Made, files, with_progress};
use crate::PipelineError;
use crate::graph::Stage;
use crate::runner::Context;
use crate::shared::{self, Sharing};

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
    // The vocabulary is that of what people wrote, also where training sees changed copies.
    let train = cleaned.join(files::documents("train"));
    let tokenizer = with_progress(context, |progress| danlu_data::train_tokenizer(&train, config, progress))?;
    let folder = work.join(files::TOKENIZER);
    tokenizer.save(&folder)?;
    let template = ChatTemplate::from_dir(&folder)?;
    let chat = &context.file.recipe.chat;
    let encoder = Encoder { tokenizer: &tokenizer, template: template.as_ref(), chat };
    let mut splits = Vec::new();
    for split in danlu_data::SplitConfig::NAMES {
        splits.push((split, documents(context, &cleaned, split)?));
    }
    splits.retain(|(_, documents)| documents.exists());
    let summaries = match context.share {
        None => encode(context, &splits, &encoder, work)?,
        Some(share) => {
            let stop = context.stop;
            with_progress(context, |progress| {
                let sharing = Sharing { share, stage: Stage::Tokenizer, work, stop, progress };
                shared::encode(&splits, &encoder, &folder, &sharing)
            })?
        }
    };
    let mut shards = BTreeMap::new();
    for ((split, documents), mut summary) in splits.iter().zip(summaries) {
        if let (Some(mixture), "train") = (&context.file.recipe.mixture, *split) {
            let mixed = mix(documents, &work.join(files::shard(split)), mixture)?;
            let (unknown_tokens, round_trip_failures) = (summary.unknown_tokens, summary.round_trip_failures);
            summary = ShardSummary { unknown_tokens, round_trip_failures, ..mixed };
        }
        shards.insert((*split).to_owned(), summary);
    }
    let summary = TokenizerSummary { vocab_size: tokenizer.vocab_size(), hash: tokenizer.hash().to_owned(), shards };
    let line = describe(&summary);
    Made::new(&summary, line)
}

/// The shard of each split.
fn encode(
    context: &mut Context<'_>,
    splits: &[(&'static str, PathBuf)],
    encoder: &Encoder<'_>,
    work: &Path,
) -> Result<Vec<ShardSummary>, PipelineError> {
    shared::clear(work)?;
    let mut shards = Vec::new();
    for (split, documents) in splits {
        context.go_on(Stage::Tokenizer)?;
        let out = work.join(files::shard(split));
        shards.push(with_progress(context, |progress| danlu_data::write_shards(documents, encoder, &out, progress))?);
    }
    Ok(shards)
}

/// The documents of a split: those to train on with their copies, where the recipe makes some.
fn documents(context: &Context<'_>, cleaned: &Path, split: &str) -> Result<PathBuf, PipelineError> {
    let folder = match split {
        "train" if context.graph.has(Stage::Augment) => context.input(Stage::Tokenizer, Stage::Augment)?.path,
        _ => cleaned.into(),
    };
    Ok(folder.join(files::documents(split)))
}

/// Puts the mixture of a shard in its place.
fn mix(documents: &Path, path: &Path, config: &MixtureConfig) -> Result<ShardSummary, PipelineError> {
    let natural = Shard::open(path, None)?;
    let (items, names) = danlu_data::mixture_items(documents, &natural, config)?;
    let mixture = Mixture::plan(&items, &names, config)?;
    // The old file stays mapped until it is let go, whatever takes its name.
    Ok(danlu_data::mix_shard(&natural, &mixture, path)?)
}

fn describe(summary: &TokenizerSummary) -> String {
    let Some(train) = summary.shards.get("train") else { return String::new() };
    let languages: Vec<String> =
        train.by_language.iter().map(|(language, count)| format!("{language} {:.2}", count.bytes_per_token)).collect();
    let groups = train.mixture.iter().flat_map(|mixture| &mixture.groups);
    let groups: Vec<String> =
        groups.map(|g| format!("{} {:.1}% x{:.2}", g.name, g.realised * 100.0, g.epochs)).collect();
    let mixture = if groups.is_empty() { String::new() } else { format!("; mixture: {}", groups.join(", ")) };
    format!(
        "{} tokens in the vocabulary, {} to train on; bytes per token: {}{mixture}",
        grouped(summary.vocab_size as u64),
        grouped(train.total.tokens),
        languages.join(", ")
    )
}
