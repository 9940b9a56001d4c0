//! Texts with their translations: one vocabulary for both languages, an encoder-decoder that learns them, and scores of the
//! test split (BLEU, chrF) beside copying the source.

mod evaluate;
mod pairs;
mod recipe;
mod task;

pub use evaluate::{Sample, Scores};
pub use pairs::{Pair, PairCounts, Pairs};
pub use recipe::{PairsConfig, Recipe};
pub use task::{EncodedPair, Start, TranslationTask};

use std::collections::BTreeMap;
use std::path::PathBuf;

use danlu_model::{SpecialTokens, describe_encoder_decoder};
use danlu_store::{Artifact, Workspace, hash};
use danlu_text::{END_OF_TEXT, EncoderTokenizer};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use crate::stages::{MODEL, Made, Stages};
use crate::{Order, TuneError, TuneOptions, TuneStage, Watch};

/// What came of a recipe.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub name: String,
    /// The model: a folder in Hugging Face layout.
    pub model: PathBuf,
    pub pairs: PairCounts,
    pub scores: Scores,
    /// Summary of the training.
    pub training: BTreeMap<&'static str, Value>,
}

/// Runs what is not there yet of a recipe.
///
/// # Errors
/// [`TuneError::Interrupted`] when stopped; what data, model, training and disk report. Finished stages stay, and
/// training goes on from its last checkpoint.
pub fn run(
    recipe: &Recipe,
    workspace: &Workspace,
    options: TuneOptions<'_>,
    watch: &mut dyn Watch,
) -> Result<Outcome, TuneError> {
    recipe.check()?;
    let mut stages = Stages::new(workspace, options, watch);
    let collected = stages.collect(&recipe.data.sources, recipe.data.strict)?;
    let pairs = Pairs::read(&collected.path, &recipe.data)?;
    let vocabulary = Vocabulary::make(recipe, &collected, &pairs, &mut stages)?;
    let tuned = train(recipe, &collected, &pairs, &vocabulary, &mut stages)?;
    let scores = score(recipe, &tuned, &pairs, &mut stages)?;
    let model = tuned.path.join(MODEL);
    Ok(Outcome { name: recipe.name.clone(), model, pairs: pairs.counts, scores, training: stages.training })
}

/// What texts are encoded with: learnt from the training pairs, or that of the folder to begin with.
struct Vocabulary {
    made: Option<Artifact>,
    folder: PathBuf,
    tokenizer: EncoderTokenizer,
}

impl Vocabulary {
    fn make(recipe: &Recipe, collected: &Artifact, pairs: &Pairs, stages: &mut Stages<'_>) -> Result<Self, TuneError> {
        if let Some(from) = &recipe.from {
            let folder = stages.options.base.join(from);
            return Ok(Vocabulary { made: None, tokenizer: EncoderTokenizer::from_dir(&folder)?, folder });
        }
        let config = json!({ "tokenizer": recipe.tokenizer, "parts": recipe.parts() });
        let made = stages.make(TuneStage::Vocabulary, config, &[collected], |_, work, _| {
            let texts = pairs.train.iter().flat_map(|pair| [pair.source.as_str(), pair.target.as_str()]);
            let tokenizer = EncoderTokenizer::train_bpe(texts, &recipe.tokenizer)?;
            tokenizer.save(work)?;
            let size = tokenizer.vocab_size();
            Ok(Made { summary: json!({ "vocab_size": size }), line: format!("{size} tokens") })
        })?;
        let folder = made.path.clone();
        Ok(Vocabulary { made: Some(made), tokenizer: EncoderTokenizer::from_dir(&folder)?, folder })
    }

    /// The pairs of which neither side has more than `longest` tokens, and how many have.
    fn pairs(&self, split: &[Pair], longest: usize) -> Result<(Vec<EncodedPair>, usize), TuneError> {
        let encode = |pair: &Pair| -> Result<Option<EncodedPair>, TuneError> {
            let source = self.tokenizer.encode(&pair.source, longest)?;
            let target = self.tokenizer.encode_target(&pair.target, longest)?;
            let whole = source.cut == 0 && target.cut == 0;
            Ok(whole.then_some(EncodedPair { source: source.ids, target: target.ids }))
        };
        let encoded: Vec<Option<EncodedPair>> = split.par_iter().map(encode).collect::<Result<_, _>>()?;
        let encoded: Vec<EncodedPair> = encoded.into_iter().flatten().collect();
        let too_long = split.len() - encoded.len();
        Ok((encoded, too_long))
    }
}

fn train(
    recipe: &Recipe,
    collected: &Artifact,
    pairs: &Pairs,
    vocabulary: &Vocabulary,
    stages: &mut Stages<'_>,
) -> Result<Artifact, TuneError> {
    let config = &recipe.train;
    let (start, from) = start(recipe, vocabulary)?;
    let key = json!({ "train": config, "start": from, "parts": recipe.parts(), "seed": recipe.seed });
    let inputs: Vec<&Artifact> = [Some(collected), vocabulary.made.as_ref()].into_iter().flatten().collect();
    stages.make(TuneStage::Train, key, &inputs, |stages, work, series| {
        let (train, too_long) = vocabulary.pairs(&pairs.train, config.seq_len)?;
        let (valid, _) = vocabulary.pairs(&pairs.valid, config.seq_len)?;
        for (split, kept, all) in [("train", &train, &pairs.train), ("valid", &valid, &pairs.valid)] {
            if kept.is_empty() {
                return Err(TuneError::AllTooLong { split, pairs: all.len(), seq_len: config.seq_len });
            }
        }
        let lengths = train.iter().map(|pair| pair.len() as u32).collect();
        let task = TranslationTask {
            start,
            order: Order::new(lengths, config.batch_size, recipe.seed),
            train: &train,
            valid: &valid,
            config,
            seed: recipe.seed,
            tokenizer_dir: &vocabulary.folder,
        };
        stages.fit(&task, config, recipe.seed, json!({ "too_long": too_long }), (work, series))
    })
}

/// Where the weights begin, and what of it belongs to the stage's key.
fn start(recipe: &Recipe, vocabulary: &Vocabulary) -> Result<(Start, Value), TuneError> {
    if recipe.from.is_some() {
        describe_encoder_decoder(&vocabulary.folder)?;
        let state = hash::of_dir(&vocabulary.folder)?;
        return Ok((Start::Folder(vocabulary.folder.clone()), json!({ "folder": state })));
    }
    let (config, vocab_size) = (recipe.model.clone(), vocabulary.tokenizer.vocab_size());
    let value = json!({ "model": config, "vocab_size": vocab_size });
    let end = vocabulary.tokenizer.token_id(END_OF_TEXT);
    let special = SpecialTokens { bos: None, eos: end.into_iter().collect(), pad: end, decoder_start: end };
    Ok((Start::Fresh { config, vocab_size, special }, value))
}

fn score(recipe: &Recipe, tuned: &Artifact, pairs: &Pairs, stages: &mut Stages<'_>) -> Result<Scores, TuneError> {
    let config = json!({ "translate": recipe.translate, "language": recipe.data.target_language });
    stages.score(config, tuned, |stages, work| {
        let (folder, device) = (tuned.path.join(MODEL), stages.options.device);
        let seen = &mut stages.judging(pairs.test.len() as u64, "translations");
        let scores = evaluate::score(&folder, &pairs.test, &recipe.data, &recipe.translate, device, work, seen)?;
        let (model, copy) = (&scores.model, &scores.copy);
        let line = format!(
            "BLEU {:.2}, chrF {:.2}; copies {:.2}, {:.2}",
            model.bleu.score, model.chrf, copy.bleu.score, copy.chrf
        );
        let summary = json!({ "bleu": model.bleu.score, "chrf": model.chrf });
        Ok((scores, Made { summary, line }))
    })
}
