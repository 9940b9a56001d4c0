//! A model that sees in the training loop: pictures with their captions.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use danlu_eval::{CAPTION_PROMPTS_FILE, CaptionPrompt, EvalError, read_pixels};
use danlu_model::{
    DropoutKey, ImageProcessor, LossOptions, Pixels, SaveOptions, SpecialTokens, VisionInput, VisionLanguage,
    VisionLanguageConfig,
};
use danlu_store::atomic;
use danlu_train::tensors::{Parameters, parameters};
use danlu_train::{LossSum, Task, TrainConfig, TrainError};
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use crate::Order;
use crate::split::fingerprint;

/// Where the weights come from.
#[derive(Clone, Debug)]
pub enum Start {
    /// Random ones of this shape.
    Fresh { config: VisionLanguageConfig, vocab_size: usize, image_token: u32, special: SpecialTokens },
    /// Those of a folder.
    Folder(PathBuf),
}

/// A picture and, after its prompt, one of its captions as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedCaption {
    pub picture: PathBuf,
    pub ids: Vec<u32>,
    /// What is to follow each token; nothing within the prompt.
    pub labels: Vec<i32>,
}

/// The training of a model that sees on captions. Pictures are read when they are needed.
#[derive(Debug)]
pub struct CaptionTask<'a> {
    pub start: Start,
    pub train: &'a [EncodedCaption],
    pub valid: &'a [EncodedCaption],
    pub order: Order,
    pub config: &'a TrainConfig,
    pub seed: u64,
    pub processor: &'a ImageProcessor,
    /// What the pictures hold, by a hash.
    pub content: &'a str,
    /// Its tokenizer files go with the model, and so do the prompts.
    pub tokenizer_dir: &'a Path,
    pub prompts: &'a [CaptionPrompt],
}

impl CaptionTask<'_> {
    /// What texts end with.
    fn special<'m>(&'m self, model: &'m VisionLanguage) -> &'m SpecialTokens {
        match &self.start {
            Start::Fresh { special, .. } => special,
            Start::Folder(_) => model.special_tokens(),
        }
    }

    fn batch(&self, captions: &[&EncodedCaption]) -> Result<(VisionInput, Vec<Vec<i32>>), TrainError> {
        let read = |caption: &&EncodedCaption| read_pixels(&caption.picture, self.processor).map_err(damaged);
        let pictures: Vec<Pixels> = captions.par_iter().map(read).collect::<Result<_, _>>()?;
        let (ids, labels) = captions.iter().map(|caption| (caption.ids.clone(), caption.labels.clone())).unzip();
        Ok((VisionInput { pictures, ids }, labels))
    }
}

/// A picture that could be read when training began.
fn damaged(error: EvalError) -> TrainError {
    match error {
        EvalError::Open { path, source } => TrainError::Damaged { path, reason: source.to_string() },
        EvalError::Picture { path, source } => TrainError::Damaged { path, reason: source.to_string() },
        EvalError::Model(error) => error.into(),
        other => TrainError::Device { reason: other.to_string() },
    }
}

impl Task for CaptionTask<'_> {
    type Model = VisionLanguage;

    fn model(&self, device: &Device) -> Result<VisionLanguage, TrainError> {
        let model = match &self.start {
            Start::Fresh { config, vocab_size, image_token, .. } => {
                VisionLanguage::new(config, *vocab_size, *image_token, self.seed, device)?
            }
            Start::Folder(path) => VisionLanguage::load(path, device)?,
        };
        Ok(model.with_precision(self.config.precision).with_loss(self.config.loss()))
    }

    /// Captions are short: the loss of a batch jumps by chance.
    fn spikes_are_failures(&self) -> bool {
        false
    }

    fn parameters(&self, model: &VisionLanguage) -> Parameters {
        // What CLIP normalises its class token's last vector by is read by nobody here, and never has a gradient.
        let read = model.parameters().into_iter().filter(|told| !told.name.starts_with("vision.post_norm"));
        parameters(read.collect())
    }

    fn size(&self, model: &VisionLanguage) -> (u64, f64) {
        let tokens = self.train.iter().map(|caption| caption.ids.len()).sum::<usize>();
        let mean = tokens.div_ceil(self.train.len().max(1)).max(1);
        let flops = model.config().flops(model.vocab_size(), mean);
        (model.num_params() as u64, flops / mean as f64)
    }

    fn learn(
        &self,
        model: &VisionLanguage,
        index: u64,
        dropout: DropoutKey,
        sum: &mut LossSum,
    ) -> Result<(), TrainError> {
        let (_, at) = self.order.batch(index);
        let captions: Vec<&EncodedCaption> = at.iter().map(|at| &self.train[*at]).collect();
        let (input, labels) = self.batch(&captions)?;
        let loss = model.loss_sum(&input, &labels, Some(dropout))?;
        sum.units += input.tokens() as u64;
        sum.add_backward(model, loss, count(&labels))
    }

    fn valid_batches(&self) -> u64 {
        self.valid.len().div_ceil(self.config.batch_size) as u64
    }

    fn judge(&self, model: &VisionLanguage, index: u64, sum: &mut LossSum) -> Result<(), TrainError> {
        let first = index as usize * self.config.batch_size;
        let captions: Vec<&EncodedCaption> = self.valid.iter().skip(first).take(self.config.batch_size).collect();
        let (input, labels) = self.batch(&captions)?;
        // Label smoothing is left out: a perplexity is that of the text.
        let model = model.clone().with_loss(LossOptions::default());
        sum.add(&model.loss_sum(&input, &labels, None)?, count(&labels))
    }

    fn settings(&self) -> Map<String, Value> {
        let start = match &self.start {
            Start::Fresh { config, vocab_size, image_token, .. } => {
                json!({ "model": config, "vocab_size": vocab_size, "image_token": image_token })
            }
            Start::Folder(path) => json!({ "from": path }),
        };
        Map::from_iter([("start".to_owned(), start)])
    }

    fn data(&self) -> (String, Value) {
        let of =
            |captions: &[EncodedCaption]| fingerprint(captions.len(), captions.iter().map(|caption| &caption.ids[..]));
        // The tokenizer shows in the ids.
        (String::new(), json!({ "train": of(self.train), "valid": of(self.valid), "pictures": self.content }))
    }

    fn save(&self, model: &VisionLanguage, dir: &Path) -> Result<(), TrainError> {
        model.save(dir, &SaveOptions { special_tokens: Some(self.special(model).clone()) })?;
        let prompts = serde_json::to_vec_pretty(self.prompts).unwrap_or_default();
        atomic::write_bytes(&dir.join(CAPTION_PROMPTS_FILE), &prompts)?;
        danlu_train::copy_tokenizer(self.tokenizer_dir, dir)
    }
}

/// Labels that are to be learnt.
fn count(labels: &[Vec<i32>]) -> u64 {
    labels.iter().flatten().filter(|label| **label >= 0).count() as u64
}
