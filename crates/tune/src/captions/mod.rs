//! Pictures with captions, in one language or several: one vocabulary, a model that sees them, and scores of the test split
//! beside captions of other pictures and of the nearest known one.

mod evaluate;
mod pictures;
mod recipe;
mod task;

pub use evaluate::{CaptionScores, LanguageScores, Sample, Scores};
pub use pictures::{Captioned, PictureCounts, Pictures};
pub use recipe::{CaptionField, PicturesConfig, Recipe};
pub use task::{CaptionTask, EncodedCaption, Start};

use std::collections::BTreeMap;
use std::path::PathBuf;

use danlu_eval::{CaptionPrompt, IMAGE_PLACEHOLDER, caption_rows};
use danlu_model::{ImageProcessor, SpecialTokens, VisionLanguageConfig, describe_vision_language};
use danlu_store::{Artifact, Workspace, hash};
use danlu_text::Tokenizer;
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
    pub pictures: PictureCounts,
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
    let (config, processor) = shape(recipe, &stages)?;
    let collected = stages.collect(&recipe.data.sources, recipe.data.strict)?;
    let pictures = Pictures::read(&collected.path, options.base, &recipe.data, &processor)?;
    let vocabulary = Vocabulary::make(recipe, &collected, &pictures, config, &mut stages)?;
    let tuned = train(recipe, &collected, &pictures, &vocabulary, &processor, &mut stages)?;
    let scores = score(recipe, &tuned, &pictures, &mut stages)?;
    let model = tuned.path.join(MODEL);
    Ok(Outcome { name: recipe.name.clone(), model, pictures: pictures.counts, scores, training: stages.training })
}

/// The model's shape and how it wants pictures: the recipe's, or those of the folder to begin with.
fn shape(recipe: &Recipe, stages: &Stages<'_>) -> Result<(VisionLanguageConfig, ImageProcessor), TuneError> {
    let Some(from) = &recipe.from else {
        return Ok((recipe.model.clone(), ImageProcessor::clip(recipe.model.vision.image_size)));
    };
    let folder = stages.options.base.join(from);
    let damaged = || TuneError::Damaged { path: folder.clone(), reason: "it is no model that sees".to_owned() };
    let (config, _) = describe_vision_language(&folder)?.ok_or_else(damaged)?;
    let clip = || ImageProcessor::clip(config.vision.image_size);
    let processor = ImageProcessor::load(&folder)?.unwrap_or_else(clip);
    Ok((config, processor))
}

/// What captions are encoded with: learnt from the training captions, or that of the folder to begin with.
struct Vocabulary {
    made: Option<Artifact>,
    folder: PathBuf,
    tokenizer: Tokenizer,
    image_token: u32,
    config: VisionLanguageConfig,
}

impl Vocabulary {
    fn make(
        recipe: &Recipe,
        collected: &Artifact,
        pictures: &Pictures,
        config: VisionLanguageConfig,
        stages: &mut Stages<'_>,
    ) -> Result<Self, TuneError> {
        let (made, folder) = match &recipe.from {
            Some(from) => (None, stages.options.base.join(from)),
            None => {
                let key = json!({ "tokenizer": recipe.tokenizer, "parts": recipe.parts() });
                let made = stages.make(TuneStage::Vocabulary, key, &[collected], |_, work, _| {
                    let captions = pictures.train.iter().flat_map(|of| of.captions.iter().flatten());
                    let prompts = recipe.data.captions.iter().map(|of| of.prompt.replace(IMAGE_PLACEHOLDER, ""));
                    let texts = captions.map(String::as_str).map(str::to_owned).chain(prompts);
                    let tokenizer = Tokenizer::train(texts, &recipe.tokenizer)?.with_special(IMAGE_PLACEHOLDER)?;
                    tokenizer.save(work)?;
                    let size = tokenizer.vocab_size();
                    Ok(Made { summary: json!({ "vocab_size": size }), line: format!("{size} tokens") })
                })?;
                let folder = made.path.clone();
                (Some(made), folder)
            }
        };
        let tokenizer = Tokenizer::from_dir(&folder)?;
        let image_token = tokenizer.token_id(IMAGE_PLACEHOLDER).ok_or_else(|| TuneError::Damaged {
            path: folder.clone(),
            reason: format!("its tokenizer has no {IMAGE_PLACEHOLDER}"),
        })?;
        Ok(Vocabulary { made, folder, tokenizer, image_token, config })
    }

    /// A prompt's ids, the picture's places included.
    fn prompt(&self, prompt: &str) -> Result<Vec<u32>, TuneError> {
        Ok(self.config.expanded(&self.tokenizer.encode(prompt)?, self.image_token))
    }

    /// All captions of a split that have no more than `longest` tokens with their prompts, and how many have.
    fn captions(
        &self,
        split: &[Captioned],
        fields: &[CaptionField],
        longest: usize,
    ) -> Result<(Vec<EncodedCaption>, usize), TuneError> {
        let prompts: Vec<Vec<u32>> = fields.iter().map(|of| self.prompt(&of.prompt)).collect::<Result<_, _>>()?;
        let encode = |of: &Captioned| -> Result<Vec<EncodedCaption>, TuneError> {
            let of_prompts = of.captions.iter().zip(&prompts);
            let each = of_prompts.filter_map(|(caption, prompt)| Some((caption.as_ref()?, prompt)));
            each.map(|(caption, prompt)| {
                let (ids, labels) = caption_rows(&self.tokenizer, prompt, caption, self.tokenizer.eos_id())?;
                Ok(EncodedCaption { picture: of.path.clone(), ids, labels })
            })
            .collect()
        };
        let encoded: Vec<Vec<EncodedCaption>> = split.par_iter().map(encode).collect::<Result<_, _>>()?;
        let mut encoded: Vec<EncodedCaption> = encoded.into_iter().flatten().collect();
        let all = encoded.len();
        encoded.retain(|caption| caption.ids.len() <= longest);
        let too_long = all - encoded.len();
        Ok((encoded, too_long))
    }
}

fn train(
    recipe: &Recipe,
    collected: &Artifact,
    pictures: &Pictures,
    vocabulary: &Vocabulary,
    processor: &ImageProcessor,
    stages: &mut Stages<'_>,
) -> Result<Artifact, TuneError> {
    let (config, fields) = (&recipe.train, &recipe.data.captions);
    let (start, from) = start(recipe, vocabulary)?;
    let key = json!({
        "train": config, "start": from, "parts": recipe.parts(), "seed": recipe.seed, "pictures": pictures.content,
    });
    let inputs: Vec<&Artifact> = [Some(collected), vocabulary.made.as_ref()].into_iter().flatten().collect();
    stages.make(TuneStage::Train, key, &inputs, |stages, work, series| {
        let (train, too_long) = vocabulary.captions(&pictures.train, fields, config.seq_len)?;
        let (valid, _) = vocabulary.captions(&pictures.valid, fields, config.seq_len)?;
        for (split, kept, all) in [("train", &train, &pictures.train), ("valid", &valid, &pictures.valid)] {
            if kept.is_empty() {
                return Err(TuneError::AllTooLong { split, pairs: all.len(), seq_len: config.seq_len });
            }
        }
        let prompts: Vec<CaptionPrompt> = fields
            .iter()
            .map(|of| CaptionPrompt { language: of.language.clone(), prompt: of.prompt.clone() })
            .collect();
        let lengths = train.iter().map(|caption| caption.ids.len() as u32).collect();
        let task = CaptionTask {
            start,
            order: Order::new(lengths, config.batch_size, recipe.seed),
            train: &train,
            valid: &valid,
            config,
            seed: recipe.seed,
            processor,
            content: &pictures.content,
            tokenizer_dir: &vocabulary.folder,
            prompts: &prompts,
        };
        stages.fit(&task, config, recipe.seed, json!({ "too_long": too_long }), (work, series))
    })
}

/// Where the weights begin, and what of it belongs to the stage's key.
fn start(recipe: &Recipe, vocabulary: &Vocabulary) -> Result<(Start, Value), TuneError> {
    if recipe.from.is_some() {
        let state = hash::of_dir(&vocabulary.folder)?;
        return Ok((Start::Folder(vocabulary.folder.clone()), json!({ "folder": state })));
    }
    let (config, vocab_size) = (recipe.model.clone(), vocabulary.tokenizer.vocab_size());
    let image_token = vocabulary.image_token;
    let value = json!({ "model": config, "vocab_size": vocab_size });
    let end = vocabulary.tokenizer.eos_id();
    let special = SpecialTokens { bos: Some(end), eos: vec![end], pad: Some(end), decoder_start: None };
    Ok((Start::Fresh { config, vocab_size, image_token, special }, value))
}

fn score(recipe: &Recipe, tuned: &Artifact, pictures: &Pictures, stages: &mut Stages<'_>) -> Result<Scores, TuneError> {
    let fields = &recipe.data.captions;
    stages.score(json!({ "caption": recipe.caption }), tuned, |stages, work| {
        let (folder, device) = (tuned.path.join(MODEL), stages.options.device);
        let total = (pictures.test.len() * fields.len()) as u64;
        let seen = &mut stages.judging(total, "captions");
        let scores = evaluate::score(&folder, pictures, fields, &recipe.caption, device, work, seen)?;
        let told = scores.languages.iter().map(|of| {
            let (model, another, nearest) = (of.model, of.another_picture, of.nearest_picture);
            let language = &of.language;
            format!(
                "{language} chrF {:.1}, of another picture {:.1}, of the nearest {:.1}",
                model.chrf, another.chrf, nearest.chrf
            )
        });
        let line = told.collect::<Vec<_>>().join("; ");
        let summary = scores.languages.iter().map(|of| (of.language.clone(), json!(of.model)));
        let summary = Value::Object(summary.collect());
        Ok((scores, Made { summary, line }))
    })
}
