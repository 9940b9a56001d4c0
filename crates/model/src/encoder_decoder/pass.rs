//! Passes over whole sequences, as in training: attention within each source, within each target up to each token, and
//! from targets to their sources.

use super::layers::{Core, How};
use super::places::Buckets;
use super::{EncoderDecoder, Stack};
use crate::dropout::Dropout;
use crate::encoder::EncoderInput;
use crate::layers::{Attention, Pass, project};
use crate::{DropoutKey, ModelError};
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
        let rows = self.whole(&self.model.encoder, sources, padding.clone(), None, key)?;
        Ok(Encoded { rows, batch: sources.len(), time, padding })
    }

    /// What the head reads of the decoder's tokens, which were checked, (batch * longest, hidden).
    pub(super) fn decoded(
        &self,
        targets: &[Vec<u32>],
        source: &Encoded,
        key: Option<DropoutKey>,
    ) -> Result<Tensor<2>, ModelError> {
        // Targets are filled up at their ends, which no token looks at.
        self.whole(&self.model.decoder, targets, KeyPadding::None, Some(source), key)
    }

    fn whole(
        &self,
        stack: &Stack,
        rows: &[Vec<u32>],
        padding: KeyPadding,
        source: Option<&Encoded>,
        key: Option<DropoutKey>,
    ) -> Result<Tensor<2>, ModelError> {
        let (config, batch) = (self.config(), rows.len());
        let time = rows.iter().map(Vec::len).max().unwrap_or(0);
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
        let places: Vec<usize> = (0..batch).flat_map(|_| 0..time).collect();
        let ids = EncoderInput::padded(rows, time, &self.device().inner());
        let drop = |site: usize, x: Tensor<2>| match &dropout {
            None => x,
            Some(dropout) => dropout.apply(how.first_site + site, x),
        };
        let mut core = Whole { model: self, batch, time, padding, source, bias, key };
        let mut x = drop(0, self.embed(stack, ids, &places));
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
