//! Generation: a source read once, and the step that continues many targets at once.

use super::layers::{Core, How};
use super::pass::Encoded;
use super::places::Buckets;
use super::{EncoderDecoder, EncoderDecoderConfig, input};
use crate::layers::{Attention, Pass, project, read};
use crate::state::{Cache, Caches, Memory, Rows, SourceMemory, attend_caches, check_step, finite_rows, last_rows};
use crate::{ModelError, State, Stepper};
use burn::prelude::*;
use danlu_ops::{Before, CachedAttention, CachedSequence, Precision};
use std::sync::Arc;

impl EncoderDecoder {
    /// The state of a target not yet begun: the source through the encoder, and the keys and values that each layer of the
    /// decoder has of it. Clones of the state share these. The first step takes the start token
    /// ([`crate::SpecialTokens::decoder_start`]).
    ///
    /// # Errors
    /// [`ModelError::NoTokens`], [`ModelError::ContextFull`], [`ModelError::TokenOutOfRange`].
    pub fn start(&self, source: &[u32]) -> Result<State, ModelError> {
        let mut states = self.start_all(&[source.to_vec()])?;
        states.pop().ok_or(ModelError::NoTokens { sequence: 0 })
    }

    /// [`EncoderDecoder::start`] of many sources at once.
    ///
    /// # Errors
    /// As there.
    pub fn start_all(&self, sources: &[Vec<u32>]) -> Result<Vec<State>, ModelError> {
        let config = self.config();
        input::check_sequences(sources, config.max_seq_len, self.vocab_size())?;
        let exact = self.clone().with_precision(Precision::F32);
        let encoded = exact.encoded(sources, None)?;
        let mut memories = vec![Vec::with_capacity(config.decoder_layers); sources.len()];
        for layer in &exact.model.decoder.layers {
            let Some(attention) = &layer.cross_attn else { unreachable!("the decoder attends to the source") };
            for (memory, cache) in memories.iter_mut().zip(cached(&encoded, attention, sources)?) {
                memory.push(cache);
            }
        }
        let state = |layers: Vec<Cache>| {
            let width = config.heads_size();
            let own = Caches { layers: vec![Cache::default(); config.decoder_layers], width };
            State::of(Memory::EncoderDecoder(own, Arc::new(SourceMemory { layers })), config.max_seq_len)
        };
        Ok(memories.into_iter().map(state).collect())
    }

    fn step_checked(&self, tokens: &[&[u32]], states: &mut [&mut State]) -> Result<Vec<Vec<f32>>, ModelError> {
        let (config, decoder, device) = (self.config(), &self.model.decoder, self.device());
        let rows = Rows::new(tokens, states);
        let ids = Tensor::from_data(TensorData::new(rows.ids.clone(), [rows.ids.len()]), &device);
        let longest = rows.positions.iter().map(|p| p + 1).max().unwrap_or(0);
        let bias = decoder.relative_bias.as_ref();
        let bias = bias.map(|table| Buckets::new(config, false).by_distance(table, longest)).transpose()?;
        let how = How {
            pass: Pass { precision: Precision::F32, dropout: None, imbalance: None },
            kept: Precision::F32,
            pre_norm: config.architecture.pre_norm(),
            first_site: 0,
            activation_dropout: None,
        };
        let mut x = self.embed(decoder, ids, &rows.positions);
        let mut core = Cached { config, rows: &rows, states, bias: bias.as_deref() };
        for (index, layer) in decoder.layers.iter().enumerate() {
            x = layer.forward(index, x, &mut core, how)?;
        }
        let x = self.normed(decoder, last_rows(x, &rows.counts));
        let exact = self.clone().with_precision(Precision::F32);
        let logits = finite_rows(exact.head(x), self.vocab_size())?;
        for (state, count) in states.iter_mut().zip(&rows.counts) {
            state.len += count;
        }
        Ok(logits)
    }
}

/// A layer's keys and values of each source, what fills it up left out.
fn cached(encoded: &Encoded, attention: &Attention, sources: &[Vec<u32>]) -> Result<Vec<Cache>, ModelError> {
    let of = |layer| {
        let rows = encoded.rows.clone();
        read(project(rows, Before::Nothing, &[layer], None, Precision::F32, Precision::F32))
    };
    let (keys, values) = (of(&attention.k_proj)?, of(&attention.v_proj)?);
    let width = attention.k_proj.shape()[0];
    let cut = |all: &[f32], at: usize, length: usize| {
        let first = at * encoded.time * width;
        all[first..first + length * width].to_vec()
    };
    let of_source = |(at, source): (usize, &Vec<u32>)| Cache {
        keys: cut(&keys, at, source.len()),
        values: cut(&values, at, source.len()),
    };
    Ok(sources.iter().enumerate().map(of_source).collect())
}

impl Stepper for EncoderDecoder {
    fn vocab_size(&self) -> usize {
        EncoderDecoder::vocab_size(self)
    }

    fn step(&self, tokens: &[&[u32]], states: &mut [&mut State]) -> Result<Vec<Vec<f32>>, ModelError> {
        let config = self.config();
        let fits = |state: &State| match &state.memory {
            Memory::EncoderDecoder(own, source) => {
                let layers = [own.layers.len(), source.layers.len()];
                let shape = (own.width, layers, state.capacity);
                shape == (config.heads_size(), [config.decoder_layers; 2], config.max_seq_len)
            }
            _ => false,
        };
        check_step(tokens, states, self.vocab_size(), fits)?;
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        // Once into the thread pool; see `CausalLm::step`.
        rayon::scope(|_| self.step_checked(tokens, states))
    }
}

/// Attention of new rows to each target's own cache and to that of its source.
struct Cached<'a, 's, 't> {
    config: &'a EncoderDecoderConfig,
    rows: &'a Rows,
    states: &'a mut [&'s mut State],
    /// Of relative positions by distance, (heads, distances).
    bias: Option<&'t [f32]>,
}

impl Cached<'_, '_, '_> {
    fn shape<'b>(&self, distance_bias: Option<&'b [f32]>) -> CachedAttention<'b> {
        let (heads, scale) = (self.config.heads, self.config.attention_scale() as f32);
        CachedAttention { distance_bias, ..CachedAttention::causal(heads, heads, self.config.head_dim(), scale) }
    }

    fn rows_of(&self, mixed: Vec<f32>, device: &Device) -> Tensor<2> {
        let shape = [self.rows.positions.len(), self.config.heads_size()];
        Tensor::from_data(TensorData::new(mixed, shape), device)
    }
}

impl Core for Cached<'_, '_, '_> {
    fn to_itself(&mut self, layer: usize, _: usize, heads: Tensor<2>) -> Result<Tensor<2>, ModelError> {
        let (width, device) = (self.config.heads_size(), heads.device());
        let part = |i: usize| read(heads.clone().narrow(1, i * width, width));
        let (queries, keys, values) = (part(0)?, part(1)?, part(2)?);
        let shape = self.shape(self.bias);
        let mixed = attend_caches(layer, [&queries, &keys, &values], &self.rows.counts, self.states, &shape);
        Ok(self.rows_of(mixed, &device))
    }

    fn to_source(
        &mut self,
        layer: usize,
        _: usize,
        _: &Attention,
        queries: Tensor<2>,
    ) -> Result<Tensor<2>, ModelError> {
        let (width, device) = (self.config.heads_size(), queries.device());
        let queries = read(queries)?;
        let mut mixed = vec![0f32; queries.len()];
        let counted = self.states.iter().zip(&self.rows.counts);
        let memories = counted.flat_map(|(state, count)| std::iter::repeat_n(&state.memory, *count));
        // Each row as a sequence of one new position: all of the source is before it.
        let rows = memories.zip(queries.chunks_exact(width)).zip(mixed.chunks_exact_mut(width));
        let mut sequences: Vec<CachedSequence<'_>> = rows
            .filter_map(|((memory, queries), out)| match memory {
                Memory::EncoderDecoder(_, source) => {
                    let Cache { keys, values } = &source.layers[layer];
                    Some(CachedSequence { queries, keys, values, out })
                }
                _ => None,
            })
            .collect();
        danlu_ops::attend_cached(&self.shape(None), &mut sequences);
        drop(sequences);
        Ok(self.rows_of(mixed, &device))
    }
}
