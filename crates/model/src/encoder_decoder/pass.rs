//! Passes over whole sequences, as in training: attention within each source, within each target up to each token, and
//! from targets to their sources.

use super::layers::{Core, How};
use super::places::Buckets;
use super::{EncoderDecoder, Stack};
use crate::dropout::Dropout;
use crate::encoder::EncoderInput;
use crate::layers::{Attention, Pass, project};
use crate::{DropoutKey, LogMel, ModelError};
use burn::prelude::*;
use danlu_ops::{AttentionMask, AttentionOptions, Before, JoinedHeads, KeyPadding, Precision};

/// Padded sources after the encoder.
pub(super) struct Encoded {
    /// (batch * time, hidden)
    pub(super) rows: Tensor<2>,
    pub(super) batch: usize,
    /// Tokens of the longest source.
    pub(super) time: usize,
    padding: KeyPadding,
}

/// One stack over one batch of padded sequences.
struct Whole<'a> {
    model: &'a EncoderDecoder,
    batch: usize,
    time: usize,
    padding: KeyPadding,
    /// What the decoder attends to; none in the encoder.
    source: Option<&'a Encoded>,
    /// Of relative positions, (1, heads, time, time).
    bias: Option<Tensor<4>>,
    key: Option<DropoutKey>,
}

impl EncoderDecoder {
    /// Sources, which were checked, through the encoder.
    pub(super) fn encoded(&self, sources: &[Vec<u32>], key: Option<DropoutKey>) -> Result<Encoded, ModelError> {
        let time = sources.iter().map(Vec::len).max().unwrap_or(0);
        let lengths: Vec<usize> = sources.iter().map(Vec::len).collect();
        let full = lengths.iter().all(|length| *length == time);
        let padding = if full { KeyPadding::None } else { KeyPadding::Lengths(lengths) };
        let x = self.embedded(&self.model.encoder, sources);
        let shape = [sources.len(), time];
        let rows = self.whole(&self.model.encoder, x, shape, padding.clone(), None, key)?;
        Ok(Encoded { rows, batch: sources.len(), time, padding })
    }

    /// Sounds, which were checked, through the encoder.
    pub(super) fn heard(&self, sounds: &[LogMel], key: Option<DropoutKey>) -> Result<Encoded, ModelError> {
        let (encoder, hidden) = (&self.model.encoder, self.config().hidden_size);
        let (Some((bands, time)), Some(table)) = (self.config().sound(), &self.shared.sound_table) else {
            unreachable!("sounds were checked against the model")
        };
        let (Some(conv1), Some(conv2)) = (&encoder.conv1, &encoder.conv2) else {
            unreachable!("what reads sound has convolutions")
        };
        let (batch, device) = (sounds.len(), self.device());
        let values: Vec<f32> = sounds.iter().flat_map(|sound| sound.values.iter().copied()).collect();
        let x = Tensor::<3>::from_data(TensorData::new(values, [batch, 2 * time, bands]), &device);
        let x = danlu_ops::gelu_erf(conv1.forward(x, 1, self.precision));
        let x = danlu_ops::gelu_erf(conv2.forward(x, 2, self.precision));
        let places = Tensor::<2>::from_data(TensorData::new(table.clone(), [time, hidden]), &device);
        let x = (x + places.unsqueeze::<3>()).reshape([batch * time, hidden]);
        let rows = self.whole(encoder, x, [batch, time], KeyPadding::None, None, key)?;
        Ok(Encoded { rows, batch, time, padding: KeyPadding::None })
    }

    /// What the head reads of the decoder's tokens, which were checked, (batch * longest, hidden).
    pub(super) fn decoded(
        &self,
        targets: &[Vec<u32>],
        source: &Encoded,
        key: Option<DropoutKey>,
    ) -> Result<Tensor<2>, ModelError> {
        // Targets are filled up at their ends, which no token looks at.
        let shape = [targets.len(), targets.iter().map(Vec::len).max().unwrap_or(0)];
        let x = self.embedded(&self.model.decoder, targets);
        self.whole(&self.model.decoder, x, shape, KeyPadding::None, Some(source), key)
    }

    /// Vectors of the tokens of padded sequences, (batch * longest, hidden).
    fn embedded(&self, stack: &Stack, rows: &[Vec<u32>]) -> Tensor<2> {
        let time = rows.iter().map(Vec::len).max().unwrap_or(0);
        let places: Vec<usize> = rows.iter().flat_map(|_| 0..time).collect();
        self.embed(stack, EncoderInput::padded(rows, time, &self.device().inner()), &places)
    }

    /// A stack over sequences of vectors, (batch * time, hidden).
    fn whole(
        &self,
        stack: &Stack,
        x: Tensor<2>,
        [batch, time]: [usize; 2],
        padding: KeyPadding,
        source: Option<&Encoded>,
        key: Option<DropoutKey>,
    ) -> Result<Tensor<2>, ModelError> {
        let config = self.config();
        let bias = stack.relative_bias.as_ref();
        let bias = bias.map(|table| Buckets::new(config, source.is_none()).bias(table, time));
        let dropout = Dropout::new(key, config.dropout, batch);
        let activation_dropout = Dropout::new(key, config.activation_dropout, batch);
        let how = How {
            pass: Pass { precision: self.precision, dropout: dropout.as_ref(), imbalance: None },
            // With a bias attention is composed, of f32.
            kept: if bias.is_some() { Precision::F32 } else { self.precision },
            pre_norm: config.architecture.pre_norm(),
            first_site: if source.is_none() { 0 } else { How::sites(config.encoder_layers) },
            activation_dropout: activation_dropout.as_ref(),
        };
        let drop = |site: usize, x: Tensor<2>| match &dropout {
            None => x,
            Some(dropout) => dropout.apply(how.first_site + site, x),
        };
        let mut core = Whole { model: self, batch, time, padding, source, bias, key };
        let mut x = drop(0, x);
        for (index, layer) in stack.layers.iter().enumerate() {
            x = layer.forward(index, x, &mut core, how)?;
        }
        let x = self.normed(stack, x);
        // The last site is T5's alone.
        Ok(if config.architecture.is_t5() { drop(How::sites(stack.layers.len()) - 1, x) } else { x })
    }
}

impl Whole<'_> {
    fn options(&self, site: usize) -> AttentionOptions {
        let config = self.model.config();
        AttentionOptions {
            precision: self.model.precision,
            dropout: self.key.and_then(|key| key.attention_mask(site as u32, config.attention_dropout)),
            ..AttentionOptions::full(config.attention_scale())
        }
    }
}

impl Core for Whole<'_> {
    fn to_itself(&mut self, _: usize, site: usize, heads: Tensor<2>) -> Result<Tensor<2>, ModelError> {
        let (config, batch, time) = (self.model.config(), self.batch, self.time);
        let shape =
            JoinedHeads { batch, time, heads: config.heads, kv_heads: config.heads, head_dim: config.head_dim() };
        let mask = if self.source.is_some() { AttentionMask::Causal } else { AttentionMask::None };
        let (padding, bias) = (self.padding.clone(), self.bias.clone());
        let options = AttentionOptions { mask, padding, bias, ..self.options(site) };
        Ok(danlu_ops::self_attention(heads, None, shape, &options))
    }

    fn to_source(
        &mut self,
        _: usize,
        site: usize,
        attention: &Attention,
        queries: Tensor<2>,
    ) -> Result<Tensor<2>, ModelError> {
        let Some(source) = self.source else { unreachable!("the encoder's layers have no attention to a source") };
        let config = self.model.config();
        let (heads, width) = (config.heads, config.head_dim());
        let projections = [&attention.k_proj, &attention.v_proj];
        let precision = self.model.precision;
        let both = project(source.rows.clone(), Before::Nothing, &projections, None, precision, Precision::F32);
        // (batch, heads, time, head_dim)
        let both = both.reshape([source.batch, source.time, 2 * heads, width]).swap_dims(1, 2);
        let (k, v) = (both.clone().narrow(1, 0, heads), both.narrow(1, heads, heads));
        let q = queries.reshape([self.batch, self.time, heads, width]).swap_dims(1, 2);
        let options = AttentionOptions { padding: source.padding.clone(), ..self.options(site) };
        let mixed = danlu_ops::attention(q, k, v, &options);
        Ok(mixed.swap_dims(1, 2).reshape([self.batch * self.time, heads * width]))
    }
}
