//! An encoder in the training loop: what is hidden and guessed, or labels.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use danlu_data::{MaskingConfig, MaskingKey, MaskingTokens, mask_tokens};
use danlu_model::{DropoutKey, Encoder, EncoderConfig, EncoderInput, EncoderTargets, HeadConfig, HeadLoss};
use danlu_store::hash;
use danlu_text::EncodedText;
use danlu_train::tensors::{Parameters, parameters};
use danlu_train::{LossSum, Task, TrainConfig, TrainError};
use serde_json::{Map, Value, json};

use crate::Order;

/// Where the weights come from.
#[derive(Clone, Debug)]
pub enum Start {
    /// Random ones of this shape.
    Fresh { config: EncoderConfig, vocab_size: usize },
    /// Those of a folder, with a head of its own where the folder has none.
    Folder { path: PathBuf, head: HeadConfig },
}

/// What is learnt from the texts.
#[derive(Clone, Debug)]
pub enum Goal {
    /// Hidden tokens.
    Masked { masking: MaskingConfig, tokens: MaskingTokens },
    /// Each text's class.
    Classes { train: Vec<i32>, valid: Vec<i32> },
}

/// The training of an encoder on texts.
#[derive(Debug)]
pub struct EncoderTask<'a> {
    pub start: Start,
    pub goal: Goal,
    pub train: &'a [EncodedText],
    pub valid: &'a [EncodedText],
    pub order: Order,
    pub config: &'a TrainConfig,
    pub seed: u64,
    /// Its tokenizer files go with the model.
    pub tokenizer_dir: &'a Path,
}

/// The step by which validation hides tokens: the same ones each time.
const VALIDATION: u64 = u64::MAX;

impl EncoderTask<'_> {
    /// Some texts as the model reads them, and what it is to say. `step` tells one look at a text from the next.
    fn batch(&self, texts: &[EncodedText], classes: &[i32], at: &[usize], step: u64) -> (EncoderInput, EncoderTargets) {
        let Goal::Masked { masking, tokens } = &self.goal else {
            let ids = at.iter().map(|at| texts[*at].ids.clone()).collect();
            return (EncoderInput::of(ids), EncoderTargets::Classes(at.iter().map(|at| classes[*at]).collect()));
        };
        let masked = at.iter().map(|at| {
            let EncodedText { ids, special, words, .. } = &texts[*at];
            let key = MaskingKey { seed: self.seed, step, sequence: *at as u64 };
            mask_tokens(ids, special, words, masking, tokens, key)
        });
        let (ids, targets) = masked.map(|masked| (masked.ids, masked.targets)).unzip();
        (EncoderInput::of(ids), EncoderTargets::Tokens(targets))
    }

    fn classes(&self) -> (&[i32], &[i32]) {
        match &self.goal {
            Goal::Classes { train, valid } => (train, valid),
            Goal::Masked { .. } => (&[], &[]),
        }
    }
}

impl Task for EncoderTask<'_> {
    type Model = Encoder;

    fn model(&self, device: &Device) -> Result<Encoder, TrainError> {
        let model = match &self.start {
            Start::Fresh { config, vocab_size } => Encoder::new(config, *vocab_size, self.seed, device)?,
            Start::Folder { path, head } => Encoder::load_with_head(path, head.clone(), self.seed, device)?,
        };
        let loss = HeadLoss { label_smoothing: self.config.label_smoothing, ..HeadLoss::default() };
        Ok(model.with_precision(self.config.precision).with_loss(loss)?)
    }

    fn parameters(&self, model: &Encoder) -> Parameters {
        parameters(model.parameters())
    }

    fn size(&self, model: &Encoder) -> (u64, f64) {
        let tokens: usize = self.train.iter().map(|text| text.ids.len()).sum();
        let mean = tokens.div_ceil(self.train.len().max(1));
        (model.num_params() as u64, model.flops_per_token(mean))
    }

    fn learn(&self, model: &Encoder, index: u64, dropout: DropoutKey, sum: &mut LossSum) -> Result<(), TrainError> {
        let (epoch, at) = self.order.batch(index);
        let (input, targets) = self.batch(self.train, self.classes().0, &at, epoch);
        let loss = model.loss_sum(&input, &targets, Some(dropout))?;
        sum.units += input.tokens() as u64;
        sum.add_backward(model, loss, targets.counted() as u64)
    }

    fn valid_batches(&self) -> u64 {
        self.valid.len().div_ceil(self.config.batch_size) as u64
    }

    fn judge(&self, model: &Encoder, index: u64, sum: &mut LossSum) -> Result<(), TrainError> {
        let first = index as usize * self.config.batch_size;
        let at: Vec<usize> = (first..(first + self.config.batch_size).min(self.valid.len())).collect();
        let (input, targets) = self.batch(self.valid, self.classes().1, &at, VALIDATION);
        // Label smoothing is left out: the loss is that of the labels.
        let model = model.clone().with_loss(HeadLoss::default())?;
        sum.add(&model.loss_sum(&input, &targets, None)?, targets.counted() as u64)
    }

    /// The loss of a few short examples jumps from batch to batch.
    fn spikes_are_failures(&self) -> bool {
        matches!(self.goal, Goal::Masked { .. })
    }

    fn settings(&self) -> Map<String, Value> {
        let start = match &self.start {
            Start::Fresh { config, vocab_size } => json!({ "model": config, "vocab_size": vocab_size }),
            Start::Folder { path, head } => json!({ "from": path, "head": head }),
        };
        let goal = match &self.goal {
            Goal::Masked { masking, .. } => json!({ "masking": masking }),
            Goal::Classes { .. } => json!("classes"),
        };
        Map::from_iter([("start".to_owned(), start), ("goal".to_owned(), goal)])
    }

    fn data(&self) -> (String, Value) {
        let of = |texts: &[EncodedText]| {
            let bytes: Vec<u8> = texts.iter().flat_map(|text| &text.ids).flat_map(|id| id.to_le_bytes()).collect();
            json!([texts.len(), hash::of_bytes(&bytes)])
        };
        // The tokenizer shows in the ids.
        (String::new(), json!({ "train": of(self.train), "valid": of(self.valid) }))
    }

    fn save(&self, model: &Encoder, dir: &Path) -> Result<(), TrainError> {
        model.save(dir, None)?;
        danlu_train::copy_tokenizer(self.tokenizer_dir, dir)
    }
}
