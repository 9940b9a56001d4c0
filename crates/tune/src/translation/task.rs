//! An encoder-decoder in the training loop: pairs of texts.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use danlu_model::{
    DropoutKey, EncoderDecoder, EncoderDecoderConfig, LossOptions, SaveOptions, Seq2SeqInput, SpecialTokens,
};
use danlu_train::tensors::{Parameters, parameters};
use danlu_train::{LossSum, Task, TrainConfig, TrainError};
use serde_json::{Map, Value, json};

use crate::Order;
use crate::split::fingerprint;

/// Where the weights come from.
#[derive(Clone, Debug)]
pub enum Start {
    /// Random ones of this shape.
    Fresh { config: EncoderDecoderConfig, vocab_size: usize, special: SpecialTokens },
    /// Those of a folder.
    Folder(PathBuf),
}

/// A pair of texts as token ids, each with its end token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPair {
    pub source: Vec<u32>,
    pub target: Vec<u32>,
}

impl EncodedPair {
    /// Tokens of both sides.
    pub fn len(&self) -> usize {
        self.source.len() + self.target.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The training of an encoder-decoder on pairs.
#[derive(Debug)]
pub struct TranslationTask<'a> {
    pub start: Start,
    pub train: &'a [EncodedPair],
    pub valid: &'a [EncodedPair],
    pub order: Order,
    pub config: &'a TrainConfig,
    pub seed: u64,
    /// Its tokenizer files go with the model.
    pub tokenizer_dir: &'a Path,
}

impl TranslationTask<'_> {
    /// What the decoder begins and ends with.
    fn special<'m>(&'m self, model: &'m EncoderDecoder) -> &'m SpecialTokens {
        match &self.start {
            Start::Fresh { special, .. } => special,
            Start::Folder(_) => model.special_tokens(),
        }
    }

    fn batch<'p>(
        &self,
        model: &EncoderDecoder,
        pairs: impl Iterator<Item = &'p EncodedPair>,
    ) -> (Seq2SeqInput, Vec<Vec<i32>>) {
        let (sources, targets): (Vec<_>, Vec<_>) = pairs.map(|pair| (pair.source.clone(), pair.target.clone())).unzip();
        let special = self.special(model);
        let start = special.decoder_start.or(special.pad).unwrap_or(0);
        Seq2SeqInput::teacher_forcing(sources, &targets, start)
    }
}

impl Task for TranslationTask<'_> {
    type Model = EncoderDecoder;

    fn model(&self, device: &Device) -> Result<EncoderDecoder, TrainError> {
        let model = match &self.start {
            Start::Fresh { config, vocab_size, .. } => EncoderDecoder::new(config, *vocab_size, self.seed, device)?,
            Start::Folder(path) => EncoderDecoder::load(path, device)?,
        };
        Ok(model.with_precision(self.config.precision).with_loss(self.config.loss()))
    }

    fn parameters(&self, model: &EncoderDecoder) -> Parameters {
        parameters(model.parameters())
    }

    fn size(&self, model: &EncoderDecoder) -> (u64, f64) {
        let mean = |side: fn(&EncodedPair) -> usize| {
            self.train.iter().map(side).sum::<usize>().div_ceil(self.train.len().max(1))
        };
        let (source, target) = (mean(|pair| pair.source.len()), mean(|pair| pair.target.len()));
        let flops = model.config().flops(model.vocab_size(), source, target);
        (model.num_params() as u64, flops / (source + target).max(1) as f64)
    }

    fn learn(
        &self,
        model: &EncoderDecoder,
        index: u64,
        dropout: DropoutKey,
        sum: &mut LossSum,
    ) -> Result<(), TrainError> {
        let (_, at) = self.order.batch(index);
        let (input, labels) = self.batch(model, at.iter().map(|at| &self.train[*at]));
        let loss = model.loss_sum(&input, &labels, Some(dropout))?;
        sum.units += input.tokens() as u64;
        sum.add_backward(model, loss, count(&labels))
    }

    fn valid_batches(&self) -> u64 {
        self.valid.len().div_ceil(self.config.batch_size) as u64
    }

    fn judge(&self, model: &EncoderDecoder, index: u64, sum: &mut LossSum) -> Result<(), TrainError> {
        let first = index as usize * self.config.batch_size;
        let (input, labels) = self.batch(model, self.valid.iter().skip(first).take(self.config.batch_size));
        // Label smoothing is left out: a perplexity is that of the text.
        let model = model.clone().with_loss(LossOptions::default());
        sum.add(&model.loss_sum(&input, &labels, None)?, count(&labels))
    }

    fn settings(&self) -> Map<String, Value> {
        let start = match &self.start {
            Start::Fresh { config, vocab_size, .. } => json!({ "model": config, "vocab_size": vocab_size }),
            Start::Folder(path) => json!({ "from": path }),
        };
        Map::from_iter([("start".to_owned(), start)])
    }

    fn data(&self) -> (String, Value) {
        let of = |pairs: &[EncodedPair]| {
            fingerprint(pairs.len(), pairs.iter().flat_map(|pair| [&pair.source[..], &pair.target[..]]))
        };
        // The tokenizer shows in the ids.
        (String::new(), json!({ "train": of(self.train), "valid": of(self.valid) }))
    }

    fn save(&self, model: &EncoderDecoder, dir: &Path) -> Result<(), TrainError> {
        model.save(dir, &SaveOptions { special_tokens: Some(self.special(model).clone()) })?;
        danlu_train::copy_tokenizer(self.tokenizer_dir, dir)
    }
}

fn count(labels: &[Vec<i32>]) -> u64 {
    labels.iter().map(|row| row.len() as u64).sum()
}
