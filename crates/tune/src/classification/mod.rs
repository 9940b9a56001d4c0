//! Texts with labels: a vocabulary, an encoder that reads the texts first (masked language modelling), then learns the
//! labels, and scores beside a bag of words.

mod evaluate;
mod examples;
mod recipe;
mod task;

pub use evaluate::{Baseline, Scores};
pub use examples::{Example, ExampleCounts, Examples};
pub use recipe::{ExamplesConfig, PretrainConfig, Recipe};
pub use task::{EncoderTask, Goal, Start};

use std::collections::BTreeMap;
use std::path::PathBuf;

use danlu_data::MaskingTokens;
use danlu_model::{EncoderConfig, HeadConfig, Problem, describe_encoder};
use danlu_store::{Artifact, Workspace, hash};
use danlu_text::{EncodedText, EncoderTokenizer};
use danlu_train::TrainConfig;
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
    pub examples: ExampleCounts,
    pub scores: Scores,
    /// Summaries of the training stages.
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
    let examples = Examples::read(&collected.path, &recipe.data)?;
    let vocabulary = Vocabulary::make(recipe, &collected, &examples, &mut stages)?;
    let mut tuning = Tuning { recipe, stages, collected, examples, vocabulary };
    let pretrained = tuning.pretrain()?;
    let tuned = tuning.train(pretrained.as_ref())?;
    let scores = tuning.score(&tuned)?;
    let Tuning { stages, examples, .. } = tuning;
    let model = tuned.path.join(MODEL);
    Ok(Outcome { name: recipe.name.clone(), model, examples: examples.counts, scores, training: stages.training })
}

/// What texts are encoded with: learnt from the training texts, or that of the folder to begin with.
struct Vocabulary {
    made: Option<Artifact>,
    folder: PathBuf,
    tokenizer: EncoderTokenizer,
}

impl Vocabulary {
    fn make(
        recipe: &Recipe,
        collected: &Artifact,
        examples: &Examples,
        stages: &mut Stages<'_>,
    ) -> Result<Self, TuneError> {
        if let Some(from) = &recipe.from {
            let folder = stages.options.base.join(from);
            return Ok(Vocabulary { made: None, tokenizer: EncoderTokenizer::from_dir(&folder)?, folder });
        }
        let config = json!({ "tokenizer": recipe.tokenizer, "parts": recipe.parts() });
        let made = stages.make(TuneStage::Vocabulary, config, &[collected], |_, work, _| {
            let texts = examples.train.iter().map(|example| example.text.as_str());
            let tokenizer = EncoderTokenizer::train(texts, &recipe.tokenizer)?;
            tokenizer.save(work)?;
            let size = tokenizer.vocab_size();
            Ok(Made { summary: json!({ "vocab_size": size }), line: format!("{size} tokens") })
        })?;
        let folder = made.path.clone();
        Ok(Vocabulary { made: Some(made), tokenizer: EncoderTokenizer::from_dir(&folder)?, folder })
    }

    fn masking_tokens(&self) -> Result<MaskingTokens, TuneError> {
        let mask = self.tokenizer.mask_id().ok_or_else(|| TuneError::NoMask { path: self.folder.clone() })?;
        let (vocab_size, special) = (self.tokenizer.vocab_size() as u32, self.tokenizer.special_ids().to_vec());
        Ok(MaskingTokens { mask, vocab_size, special })
    }
}

struct Tuning<'a> {
    recipe: &'a Recipe,
    stages: Stages<'a>,
    collected: Artifact,
    examples: Examples,
    vocabulary: Vocabulary,
}

impl Tuning<'_> {
    fn pretrain(&mut self) -> Result<Option<Artifact>, TuneError> {
        let Some(pretrain) = &self.recipe.pretrain else { return Ok(None) };
        let tokens = self.vocabulary.masking_tokens()?;
        let goal = Goal::Masked { masking: pretrain.masking.clone(), tokens };
        let (start, from) = self.start(None, HeadConfig::MaskedLm)?;
        let config = json!({
            "pretrain": pretrain, "start": from, "parts": self.recipe.parts(), "seed": self.recipe.seed,
        });
        self.fit(TuneStage::Pretrain, config, None, &pretrain.train, start, goal).map(Some)
    }

    fn train(&mut self, pretrained: Option<&Artifact>) -> Result<Artifact, TuneError> {
        let (recipe, examples) = (self.recipe, &self.examples);
        let classes = |split: &[Example]| split.iter().map(|example| example.label as i32).collect();
        let goal = Goal::Classes { train: classes(&examples.train), valid: classes(&examples.valid) };
        let labels = examples.labels.clone();
        let head = HeadConfig::SequenceClassification { labels, problem: Problem::SingleLabel };
        let (start, from) = self.start(pretrained, head)?;
        let config = json!({ "train": recipe.train, "start": from, "parts": recipe.parts(), "seed": recipe.seed });
        self.fit(TuneStage::Train, config, pretrained, &recipe.train, start, goal)
    }

    fn score(&mut self, tuned: &Artifact) -> Result<Scores, TuneError> {
        let (examples, seq_len, baseline) = (&self.examples, self.recipe.train.seq_len, &self.recipe.baseline);
        let config = json!({ "seq_len": seq_len, "baseline": baseline });
        self.stages.score(config, tuned, |stages, _| {
            let folder = tuned.path.join(MODEL);
            let scores = evaluate::score(&folder, examples, seq_len, baseline, stages.options.device)?;
            let bag = &scores.baseline.bag_of_words;
            let line = format!(
                "accuracy {:.4}, F1 {:.4}; bag of words {:.4}, {:.4}",
                scores.model.accuracy, scores.model.macro_.f1, bag.accuracy, bag.macro_.f1
            );
            let summary = json!({ "accuracy": scores.model.accuracy, "f1": scores.model.macro_.f1 });
            Ok((scores, Made { summary, line }))
        })
    }

    /// Where the weights of a stage begin, and what of it belongs to the stage's key.
    fn start(&self, pretrained: Option<&Artifact>, head: HeadConfig) -> Result<(Start, Value), TuneError> {
        if let Some(pretrained) = pretrained {
            return Ok((Start::Folder { path: pretrained.path.join(MODEL), head }, json!("pretrained")));
        }
        if self.recipe.from.is_some() {
            let path = self.vocabulary.folder.clone();
            describe_encoder(&path)?;
            let state = hash::of_dir(&path)?;
            return Ok((Start::Folder { path, head }, json!({ "folder": state })));
        }
        let vocab_size = self.vocabulary.tokenizer.vocab_size();
        let config = EncoderConfig { head, ..self.recipe.model.clone() };
        let value = json!({ "model": config, "vocab_size": vocab_size });
        Ok((Start::Fresh { config, vocab_size }, value))
    }

    fn fit(
        &mut self,
        stage: TuneStage,
        key: Value,
        pretrained: Option<&Artifact>,
        config: &TrainConfig,
        start: Start,
        goal: Goal,
    ) -> Result<Artifact, TuneError> {
        let Self { stages, collected, examples, vocabulary, recipe } = self;
        let inputs: Vec<&Artifact> =
            [Some(&*collected), vocabulary.made.as_ref(), pretrained].into_iter().flatten().collect();
        stages.make(stage, key, &inputs, |stages, work, series| {
            let train = encode(&vocabulary.tokenizer, &examples.train, config.seq_len)?;
            let valid = encode(&vocabulary.tokenizer, &examples.valid, config.seq_len)?;
            let lengths = train.iter().map(|text| text.ids.len() as u32).collect();
            let cut = train.iter().filter(|text| text.cut > 0).count();
            let task = EncoderTask {
                start,
                goal,
                order: Order::new(lengths, config.batch_size, recipe.seed),
                train: &train,
                valid: &valid,
                config,
                seed: recipe.seed,
                tokenizer_dir: &vocabulary.folder,
            };
            stages.fit(&task, config, recipe.seed, json!({ "cut": cut }), (work, series))
        })
    }
}

fn encode(tokenizer: &EncoderTokenizer, split: &[Example], seq_len: usize) -> Result<Vec<EncodedText>, TuneError> {
    let encoded = split.par_iter().map(|example| tokenizer.encode(&example.text, seq_len));
    Ok(encoded.collect::<Result<_, _>>()?)
}
