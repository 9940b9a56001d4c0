//! What a language model that sees makes of pictures.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::Device;
use danlu_formats::picture::{Picture, PictureLimits};
use danlu_model::{BeamConfig, ImageProcessor, Pixels, VisionInput, VisionLanguage, beam_search};
use danlu_text::Tokenizer;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{EvalError, Hypothesis};

/// Pictures that are computed together.
const BATCH_SIZE: usize = 16;
/// What stands in a prompt where the picture is.
pub const IMAGE_PLACEHOLDER: &str = "<image>";
/// The file in a model's folder that names the prompts it has learnt: a list of [`CaptionPrompt`].
pub const CAPTION_PROMPTS_FILE: &str = "caption_prompts.json";
/// What a logit of the picture's token becomes: a caption has no pictures.
const NEVER: f32 = -1e9;

/// What a caption is asked for with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptionPrompt {
    /// Of the captions that follow it (ISO 639-1).
    pub language: String,
    /// With [`IMAGE_PLACEHOLDER`] once.
    pub prompt: String,
}

/// A model that sees with its tokenizer, ready for pictures.
#[derive(Debug)]
pub struct Captioner {
    model: VisionLanguage,
    tokenizer: Tokenizer,
    prompts: Vec<CaptionPrompt>,
}

impl Captioner {
    /// Reads model, tokenizer and prompts of a folder.
    ///
    /// # Errors
    /// A folder that is none of a model that sees, or broken; a tokenizer with more tokens than the model, or without its
    /// token for pictures.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, EvalError> {
        let wrong = |found: &str, expected| EvalError::WrongModel { path: dir.into(), found: found.into(), expected };
        if danlu_model::describe_vision_language(dir)?.is_none() {
            return Err(wrong("a model that does not see", "a LLaVA"));
        }
        let model = VisionLanguage::load(dir, device)?;
        let tokenizer = Tokenizer::from_dir(dir)?;
        if tokenizer.vocab_size() > model.vocab_size() {
            return Err(wrong(
                "a tokenizer with more tokens than the model",
                "a model for all tokens of its tokenizer",
            ));
        }
        if tokenizer.token_id(IMAGE_PLACEHOLDER) != Some(model.image_token()) {
            return Err(wrong("another token for pictures than the tokenizer's <image>", "one token for both"));
        }
        let path = dir.join(CAPTION_PROMPTS_FILE);
        let prompts = match path.exists() {
            false => Vec::new(),
            true => {
                let bytes = std::fs::read(&path).map_err(|source| EvalError::Open { path, source })?;
                serde_json::from_slice(&bytes).map_err(|error| {
                    wrong(&format!("{CAPTION_PROMPTS_FILE} that does not say it: {error}"), "a list of prompts")
                })?
            }
        };
        Ok(Self { model, tokenizer, prompts })
    }

    pub fn model(&self) -> &VisionLanguage {
        &self.model
    }

    /// The prompts that the model has learnt, where its folder names them.
    pub fn prompts(&self) -> &[CaptionPrompt] {
        &self.prompts
    }

    /// Reads a picture as the model wants it; see [`read_pixels`].
    ///
    /// # Errors
    /// As there.
    pub fn read(&self, path: &Path) -> Result<Pixels, EvalError> {
        read_pixels(path, self.model.processor())
    }

    /// The best captions of each picture, in their order, each as many as [`BeamConfig::results`]; none if `seen`, which is
    /// told how many pictures are done, broke off.
    ///
    /// # Errors
    /// A prompt that has not one place for a picture, or leaves no room; settings of the search that cannot be; what model
    /// and device report.
    pub fn caption(
        &self,
        pictures: &[Pixels],
        prompt: &str,
        beams: &BeamConfig,
        seen: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Option<Vec<Vec<Hypothesis>>>, EvalError> {
        let prompt = self.prompt(prompt)?;
        let mut beams = beams.clone();
        beams.rules.logit_bias.push((self.model.image_token(), NEVER));
        let mut captions = Vec::with_capacity(pictures.len());
        for batch in pictures.chunks(BATCH_SIZE) {
            let sources = self.model.start_each(batch)?.into_iter().map(|state| (state, prompt.clone())).collect();
            let found = beam_search(&self.model, sources, &self.model.special_tokens().eos, &beams, None)?;
            captions.extend(found.into_iter().map(|found| found.into_iter().map(|one| self.read_out(one)).collect()));
            if seen(captions.len()).is_break() {
                return Ok(None);
            }
        }
        Ok(Some(captions))
    }

    /// What captions cost under the model, their ends included, in nats over all.
    ///
    /// * `captions`: one for each picture
    ///
    /// # Errors
    /// As [`Captioner::caption`].
    pub fn cost<S: AsRef<str> + Sync>(
        &self,
        pictures: &[&Pixels],
        prompt: &str,
        captions: &[S],
    ) -> Result<f64, EvalError> {
        let prompt = self.prompt(prompt)?;
        let end = self.model.special_tokens().eos.first().copied().unwrap_or(self.tokenizer.eos_id());
        let mut cost = 0.0;
        for (pictures, captions) in pictures.chunks(BATCH_SIZE).zip(captions.chunks(BATCH_SIZE)) {
            let rows = captions.par_iter().map(|caption| caption_rows(&self.tokenizer, &prompt, caption.as_ref(), end));
            let rows: Vec<(Vec<u32>, Vec<i32>)> = rows.collect::<Result<_, _>>()?;
            let (ids, labels): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
            let input = VisionInput { pictures: pictures.iter().map(|&pixels| pixels.clone()).collect(), ids };
            let loss = self.model.loss_sum(&input, &labels, None)?.try_into_scalar::<f32>();
            cost += f64::from(loss.map_err(|error| EvalError::Device { reason: error.to_string() })?);
        }
        Ok(cost)
    }

    fn prompt(&self, prompt: &str) -> Result<Vec<u32>, EvalError> {
        let ids = self.tokenizer.encode(prompt)?;
        let places = ids.iter().filter(|id| **id == self.model.image_token()).count();
        if places != 1 {
            let need = format!("{IMAGE_PLACEHOLDER} once, where the picture is");
            return Err(EvalError::Setting { key: "prompt", value: format!("{prompt:?}"), need });
        }
        Ok(self.model.expanded(&ids))
    }

    fn read_out(&self, found: danlu_model::Hypothesis) -> Hypothesis {
        let text = self.tokenizer.decode(&found.tokens).trim().to_owned();
        Hypothesis { text, score: found.score, finish: found.finish }
    }
}

/// Ids and labels of a caption after its prompt; see [`VisionInput::teacher_forcing`]. What looks like a special token in a
/// caption is text.
///
/// # Errors
/// What the tokenizer reports.
pub fn caption_rows(
    tokenizer: &Tokenizer,
    prompt: &[u32],
    caption: &str,
    end: u32,
) -> Result<(Vec<u32>, Vec<i32>), EvalError> {
    let mut answer = tokenizer.encode_literal(caption)?;
    answer.push(end);
    Ok(VisionInput::teacher_forcing(prompt, &answer))
}

/// Reads a picture in PNG or JPEG as a model wants it.
///
/// # Errors
/// [`EvalError::Open`], [`EvalError::Picture`], both with the file's name.
pub fn read_pixels(path: &Path, processor: &ImageProcessor) -> Result<Pixels, EvalError> {
    let limits = PictureLimits::default();
    let open = |source| EvalError::Open { path: path.into(), source };
    let file = std::fs::File::open(path).map_err(open)?;
    let mut bytes = Vec::new();
    // One more than allowed is enough to be refused.
    file.take(limits.max_bytes as u64 + 1).read_to_end(&mut bytes).map_err(open)?;
    let picture = Picture::decode(&bytes, limits);
    let picture = picture.map_err(|source| EvalError::Picture { path: path.into(), source })?;
    Ok(processor.pixels(picture.height, picture.width, &picture.rgb)?)
}
