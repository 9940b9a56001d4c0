//! The model: embedding, body, head; and its three ways of running over whole sequences.

use crate::body::{Body, WholePass};
use crate::init::{RandomSource, Source};
use crate::layers::{Builder, Decoder, Form, Linear, Mix, Pass};
use crate::positions::{Frequencies, RotaryTables, alibi_slopes};
use crate::sequences::{SequenceOptions, Vectors};
use crate::{ModelConfig, ModelError, Positions, SpecialTokens};
use burn::module::Module;
use burn::prelude::*;
use burn::tensor::activation;
use danlu_ops::{CrossEntropy, Precision};
use std::sync::Arc;

/// A language model that reads from left to right: a decoder-only Transformer, or recurrent layers.
///
/// Cloning is cheap: clones share their weights. Created on an autodiff device it is trainable; `model.valid()` is the
/// snapshot to evaluate and generate with.
#[derive(Module, Debug)]
pub struct CausalLm {
    pub model: Body,
    /// The output head; `None` when it is the embedding matrix.
    pub lm_head: Option<Linear>,
    #[module(skip)]
    pub(crate) shared: Arc<Shared>,
    #[module(skip)]
    pub(crate) precision: Precision,
    #[module(skip)]
    pub(crate) loss: LossOptions,
}

/// What the training loss has beside plain cross-entropy; see [`danlu_ops::CrossEntropy`]. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossOptions {
    /// Share of each target that goes to all tokens alike, in 0.0..=1.0.
    pub label_smoothing: f64,
    /// Coefficient of the squared logarithm of the softmax's denominator.
    pub z_loss: f64,
}

/// What all clones and snapshots of a model have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ModelConfig,
    pub(crate) vocab_size: usize,
    pub(crate) special: SpecialTokens,
    frequencies: Frequencies,
    /// ALiBi's, one for each head, where positions are ALiBi.
    pub(crate) slopes: Option<Vec<f32>>,
}

impl Shared {
    pub(crate) fn new(config: &ModelConfig, vocab_size: usize, special: SpecialTokens) -> Self {
        let frequencies = Frequencies::new(config);
        let slopes = (config.positions() == Positions::Alibi).then(|| alibi_slopes(config.heads));
        Shared { config: config.resolved(), vocab_size, special, frequencies, slopes }
    }
}

impl CausalLm {
    /// A model with random weights: normal with standard deviation 0.02, the projections into the residual stream
    /// smaller by sqrt(2 layers) (Radford et al. 2019), biases 0 and norms 1. The same for one seed on every device.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`].
    pub fn new(config: &ModelConfig, vocab_size: usize, seed: u64, device: &Device) -> Result<Self, ModelError> {
        Self::build(config, vocab_size, SpecialTokens::default(), &mut RandomSource { seed }, device)
    }

    pub(crate) fn build<S: Source>(
        config: &ModelConfig,
        vocab_size: usize,
        special: SpecialTokens,
        source: &mut S,
        device: &Device,
    ) -> Result<Self, ModelError> {
        config.validate()?;
        if !(1..=1 << 24).contains(&vocab_size) {
            let (found, expected) = (vocab_size.to_string(), "a whole number from 1 to 16777216".to_string());
            return Err(ModelError::InvalidConfig { key: "vocab_size", found, expected });
        }
        let mut builder = Builder { config, source, device };
        let model = match config.cell() {
            None => Body::Transformer(builder.decoder(vocab_size)?),
            Some(cell) => Body::Recurrent(builder.recurrent(cell, vocab_size)?),
        };
        let lm_head = match config.tied {
            true => None,
            false => Some(builder.linear("lm_head", vocab_size, config.embedding_size(), RandomSource::STD, false)?),
        };
        let shared = Shared::new(config, vocab_size, special);
        Ok(CausalLm {
            model,
            lm_head,
            shared: Arc::new(shared),
            precision: Precision::F32,
            loss: LossOptions::default(),
        })
    }

    /// The settings, nothing left to defaults.
    pub fn config(&self) -> &ModelConfig {
        &self.shared.config
    }

    /// Tokens that the model knows.
    pub fn vocab_size(&self) -> usize {
        self.shared.vocab_size
    }

    /// Begin and end tokens, where the model's folder named them.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.shared.special
    }

    /// Where the weights lie.
    pub fn device(&self) -> Device {
        self.model.embed_tokens().weight.val().device()
    }

    /// Parameters, those in int8 included.
    pub fn num_params(&self) -> usize {
        self.config().parameter_counts(self.vocab_size()).total()
    }

    /// See [`ModelConfig::flops_per_token`].
    pub fn flops_per_token(&self, seq_len: usize) -> f64 {
        self.config().flops_per_token(self.vocab_size(), seq_len)
    }

    /// This model with another precision of its products, in training and evaluation. Generation step by step stays
    /// f32, as do its saved weights.
    pub fn with_precision(self, precision: Precision) -> Self {
        CausalLm { precision, ..self }
    }

    /// This model with another loss, in [`CausalLm::loss_sum`] and its gradients.
    pub fn with_loss(self, loss: LossOptions) -> Self {
        CausalLm { loss, ..self }
    }

    /// What the head reads: normalised activations, or a recurrent body's outputs.
    ///
    /// * `tokens`: (batch, time), time at most `max_seq_len` for Transformers, ids below the vocabulary's size
    ///
    /// Returns (batch, time, width).
    ///
    /// # Panics
    /// If `time` is beyond a Transformer's `max_seq_len` or an id is outside the vocabulary, as Burn does: batches come from shards
    /// that were checked when opened. [`CausalLm::step`] returns errors instead.
    pub fn hidden(&self, tokens: Tensor<2, Int>, options: SequenceOptions) -> Tensor<3> {
        let [batch, time] = tokens.dims();
        let pass = WholePass::new(self, batch, time, options);
        let x = self.hidden_rows(tokens, &pass);
        let width = x.dims()[1];
        x.reshape([batch, time, width])
    }

    /// [`CausalLm::hidden`], (batch * time, width).
    pub(crate) fn hidden_rows(&self, tokens: Tensor<2, Int>, pass: &WholePass) -> Tensor<2> {
        let mut x = pass.embed(self, tokens);
        for index in 0..self.model.depth() {
            x = pass.layer(self, &self.model, index, x);
        }
        pass.finish(self, x)
    }

    /// Logits of every position.
    ///
    /// * `tokens`: (batch, time)
    ///
    /// Returns (batch, time, vocabulary).
    pub fn logits(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let hidden = self.hidden(tokens, SequenceOptions::default());
        self.head(hidden)
    }

    /// Sum over positions of the cross-entropy with the next token, in nats, as [`CausalLm::with_loss`] has it.
    ///
    /// * `tokens`: (batch, time)
    /// * `targets`: (batch * time), -100 where nothing is to be learnt
    ///
    /// Returns one value.
    pub fn loss_sum(&self, tokens: Tensor<2, Int>, targets: Tensor<1, Int>, options: SequenceOptions) -> Tensor<1> {
        let [batch, time] = tokens.dims();
        let hidden = self.hidden(tokens, options);
        let width = hidden.dims()[2];
        let hidden = hidden.reshape([batch * time, width]);
        self.head_loss(hidden, targets)
    }

    /// The loss from what the head reads, (rows, width).
    pub(crate) fn head_loss(&self, hidden: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        if self.config().logit_softcap().is_some() {
            return cross_entropy_sum(self.head(hidden), targets, self.loss);
        }
        let weight = match &self.lm_head {
            None => self.model.embed_tokens().weight.val(),
            Some(Linear { weight: Form::Dense(weight), .. }) => weight.val(),
            Some(head @ Linear { weight: Form::Int8(_), .. }) => {
                return cross_entropy_sum(head.forward(hidden, self.precision), targets, self.loss);
            }
        };
        let LossOptions { label_smoothing, z_loss } = self.loss;
        let options = CrossEntropy { label_smoothing, z_loss, precision: self.precision, ..CrossEntropy::default() };
        danlu_ops::linear_cross_entropy(hidden, weight, targets, &options)
    }

    /// The head over what it reads, (..., width).
    pub fn head<const D: usize>(&self, hidden: Tensor<D>) -> Tensor<D> {
        let logits = match &self.lm_head {
            None => danlu_ops::linear(hidden, self.model.embed_tokens().weight.val(), None, self.precision),
            Some(head) => head.forward(hidden, self.precision),
        };
        match self.config().logit_softcap() {
            None => logits,
            Some(cap) => logits.div_scalar(cap).tanh().mul_scalar(cap),
        }
    }

    /// Embedding and layers over rows of new tokens, each at its position; no last normalisation.
    pub(crate) fn rows(
        &self,
        decoder: &Decoder,
        ids: Tensor<1, Int>,
        positions: &[usize],
        vectors: Option<&Vectors>,
        mix: Mix,
    ) -> Result<Tensor<2>, ModelError> {
        let mut x = self.embed(decoder, ids, positions, vectors);
        let pass = Pass { precision: Precision::F32, dropout: None, imbalance: None };
        for (index, layer) in decoder.layers.iter().enumerate() {
            x = layer.forward(index, x, mix, pass)?;
        }
        Ok(x)
    }

    /// Vectors of tokens, or what takes their place, at their positions.
    pub(crate) fn embed(
        &self,
        decoder: &Decoder,
        ids: Tensor<1, Int>,
        positions: &[usize],
        vectors: Option<&Vectors>,
    ) -> Tensor<2> {
        let mut x = decoder.embed_tokens.rows(ids);
        let device = x.device();
        let hidden = self.config().hidden_size;
        if self.config().embedding_scale() || self.config().positions() == Positions::Sinusoidal {
            x = x.mul_scalar((hidden as f64).sqrt());
        }
        if let Some(vectors) = vectors {
            x = vectors.put_into(x);
        }
        if let Some(learned) = &decoder.embed_positions {
            let ids: Vec<i32> = positions.iter().map(|p| *p as i32).collect();
            return x + learned.rows(Tensor::from_data(TensorData::new(ids, [positions.len()]), &device));
        }
        if self.config().positions() == Positions::Sinusoidal {
            return x + self.shared.frequencies.sinusoidal(positions, hidden, &device);
        }
        x
    }

    /// Tables of rotary positions, where positions are rotary.
    pub(crate) fn rotary_tables(&self, positions: &[usize], device: &Device) -> Option<RotaryTables> {
        let rotary = self.config().positions() == Positions::Rope;
        rotary.then(|| self.shared.frequencies.rotary(positions, device))
    }

    /// Factor on the scores, usually `1 / sqrt(head_dim)`.
    pub(crate) fn attention_scale(&self) -> f64 {
        1.0 / self.config().query_pre_attn_scalar().sqrt()
    }

    /// This model with every linear layer in int8; the embedding, and with it a tied head, stays as it is.
    ///
    /// # Errors
    /// [`ModelError::Device`] if weights cannot be read back.
    pub fn quantized(self) -> Result<Self, ModelError> {
        let CausalLm { model, lm_head, shared, precision, loss } = self;
        let model = model.quantized()?;
        Ok(CausalLm { model, lm_head: lm_head.map(Linear::quantized).transpose()?, shared, precision, loss })
    }
}

/// The loss from logits, for a head that `ops` has no fused form of.
fn cross_entropy_sum(logits: Tensor<2>, targets: Tensor<1, Int>, options: LossOptions) -> Tensor<1> {
    let rows = logits.dims()[0];
    let ignored = targets.clone().equal_elem(danlu_ops::IGNORED);
    let targets = targets.mask_fill(ignored.clone(), 0).reshape([rows, 1]);
    let log_p = activation::log_softmax(logits.clone(), 1);
    let LossOptions { label_smoothing, z_loss } = options;
    let mut loss = log_p.clone().gather(1, targets).reshape([rows]).mul_scalar(label_smoothing - 1.0);
    if label_smoothing != 0.0 {
        loss = loss - log_p.clone().mean_dim(1).reshape([rows]).mul_scalar(label_smoothing);
    }
    if z_loss != 0.0 {
        // Of any column: ln p = l - ln Z.
        let log_z = (logits - log_p).narrow(1, 0, 1).reshape([rows]);
        loss = loss + log_z.square().mul_scalar(z_loss);
    }
    loss.mask_fill(ignored, 0.0).sum()
}
