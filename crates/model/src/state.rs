//! Generation: what a sequence has been through, and the step that continues many sequences at once.

use crate::layers::{Decoder, read};
use crate::positions::RotaryTables;
use crate::recurrent::{RecurrentMemory, RecurrentStack};
use crate::{Body, CausalLm, ModelConfig, ModelError, Stepped, Vectors};
use burn::prelude::*;
use danlu_ops::{CachedAttention, CachedSequence};
use std::sync::Arc;

/// What a model remembers of one sequence. `generate`, `serve` and `eval` never ask of what kind it is.
///
/// All of it is plain f32 on the CPU. For attention it is the keys and values of every layer, which grow with the sequence;
/// for recurrent layers their states, which do not; an encoder-decoder's has those of its source besides, which clones
/// share.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) memory: Memory,
    pub(crate) len: usize,
    pub(crate) capacity: usize,
    /// What stands where the sequence has pictures, of a model that sees.
    pub(crate) pictures: Option<Pictures>,
}

/// Vectors of a sequence's pictures, of which each place for them takes the next one.
#[derive(Clone, Debug)]
pub(crate) struct Pictures {
    /// (vectors, hidden), shared between clones.
    pub(crate) rows: Arc<Vec<f32>>,
    /// The positions that have taken one, in turn.
    pub(crate) taken: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(crate) enum Memory {
    Attention(Caches),
    Recurrent(RecurrentMemory),
    /// The target's caches, and the source's.
    EncoderDecoder(Caches, Arc<SourceMemory>),
}

/// The caches of all layers.
#[derive(Clone, Debug)]
pub(crate) struct Caches {
    pub(crate) layers: Vec<Cache>,
    /// Numbers per position in each of a layer's two caches.
    pub(crate) width: usize,
}

/// One layer's keys (already rotated) and values, (len, kv_heads, head_dim).
#[derive(Clone, Debug, Default)]
pub(crate) struct Cache {
    pub(crate) keys: Vec<f32>,
    pub(crate) values: Vec<f32>,
}

/// What each layer of a decoder has of its source.
#[derive(Debug)]
pub(crate) struct SourceMemory {
    pub(crate) layers: Vec<Cache>,
}

impl SourceMemory {
    fn bytes(&self) -> usize {
        self.layers.iter().map(|cache| (cache.keys.len() + cache.values.len()) * size_of::<f32>()).sum()
    }
}

impl State {
    /// The state of a sequence not yet begun.
    pub fn new(model: &CausalLm) -> Self {
        let config = model.config();
        let memory = match config.cell() {
            None => {
                Memory::Attention(Caches { layers: vec![Cache::default(); config.layers], width: config.kv_size() })
            }
            Some(cell) => Memory::Recurrent(RecurrentMemory::new(cell, config)),
        };
        State::of(memory, capacity(config))
    }

    /// The state of a sequence not yet begun, of this kind.
    pub(crate) fn of(memory: Memory, capacity: usize) -> Self {
        State { memory, len: 0, capacity, pictures: None }
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Most tokens that can be held: the model's context; of a recurrent model as many as one likes.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes held, those that clones share included.
    pub fn bytes(&self) -> usize {
        let of = |caches: &Caches| caches.layers.len() * 2 * self.len * caches.width * size_of::<f32>();
        let seen = self.pictures.as_ref().map_or(0, |pictures| pictures.rows.len() * size_of::<f32>());
        seen + match &self.memory {
            Memory::Attention(caches) => of(caches),
            Memory::Recurrent(memory) => memory.bytes(),
            Memory::EncoderDecoder(caches, source) => of(caches) + source.bytes(),
        }
    }

    /// Forgets all but the first `len` tokens; nothing happens if fewer are held.
    ///
    /// # Errors
    /// [`ModelError::CannotRewind`] for a recurrent state, unless it is to forget all or nothing.
    pub fn truncate(&mut self, len: usize) -> Result<(), ModelError> {
        if len >= self.len {
            return Ok(());
        }
        match &mut self.memory {
            Memory::Attention(caches) | Memory::EncoderDecoder(caches, _) => caches.truncate(len),
            Memory::Recurrent(memory) if len == 0 => memory.clear(),
            Memory::Recurrent(_) => return Err(ModelError::CannotRewind { held: self.len, to: len }),
        }
        if let Some(pictures) = &mut self.pictures {
            pictures.taken.retain(|position| *position < len);
        }
        self.len = len;
        Ok(())
    }

    fn fits(&self, config: &ModelConfig) -> bool {
        let fits = match (&self.memory, config.cell()) {
            (Memory::Attention(caches), None) => {
                (caches.layers.len(), caches.width) == (config.layers, config.kv_size())
            }
            (Memory::Recurrent(memory), Some(cell)) => memory.fits(cell, config),
            _ => false,
        };
        fits && self.capacity == capacity(config)
    }

    fn caches(&mut self) -> &mut Caches {
        match &mut self.memory {
            Memory::Attention(caches) | Memory::EncoderDecoder(caches, _) => caches,
            Memory::Recurrent(_) => unreachable!("states were checked against the model"),
        }
    }
}

fn capacity(config: &ModelConfig) -> usize {
    if config.cell().is_some() { usize::MAX } else { config.max_seq_len }
}

impl Caches {
    fn truncate(&mut self, len: usize) {
        for cache in &mut self.layers {
            cache.keys.truncate(len * self.width);
            cache.values.truncate(len * self.width);
        }
    }

    /// Appends a layer's new keys and values to the first `len`, which moves only when all layers are done.
    fn extend(&mut self, len: usize, layer: usize, keys: &[f32], values: &[f32]) {
        let held = len * self.width;
        let cache = &mut self.layers[layer];
        // A step that failed halfway may have left rows beyond `len`.
        cache.keys.truncate(held);
        cache.values.truncate(held);
        cache.keys.extend_from_slice(keys);
        cache.values.extend_from_slice(values);
    }
}

/// The sequences of one step as rows: all of the first's new tokens, then the second's, ...
pub(crate) struct Rows {
    /// New tokens of each sequence.
    pub(crate) counts: Vec<usize>,
    pub(crate) ids: Vec<i32>,
    pub(crate) positions: Vec<usize>,
}

impl Rows {
    pub(crate) fn new(tokens: &[&[u32]], states: &[&mut State]) -> Self {
        Rows {
            counts: tokens.iter().map(|t| t.len()).collect(),
            ids: tokens.iter().flat_map(|t| t.iter().map(|id| *id as i32)).collect(),
            positions: tokens.iter().zip(states).flat_map(|(t, s)| s.len..s.len + t.len()).collect(),
        }
    }
}

/// Refuses what a step cannot take, before any state has changed. `fits`: whether a state is one of the model's.
pub(crate) fn check_step(
    tokens: &[&[u32]],
    states: &[&mut State],
    vocab_size: usize,
    fits: impl Fn(&State) -> bool,
) -> Result<(), ModelError> {
    if tokens.len() != states.len() {
        return Err(ModelError::StateCount { sequences: tokens.len(), states: states.len() });
    }
    for (sequence, (tokens, state)) in tokens.iter().zip(states).enumerate() {
        let capacity = state.capacity;
        if !fits(state) {
            return Err(ModelError::StateMismatch { sequence });
        }
        if tokens.is_empty() {
            return Err(ModelError::NoTokens { sequence });
        }
        if tokens.len() > capacity - state.len {
            return Err(ModelError::ContextFull { held: state.len, adding: tokens.len(), capacity });
        }
        if let Some(position) = tokens.iter().position(|t| *t as usize >= vocab_size) {
            let token = tokens[position];
            return Err(ModelError::TokenOutOfRange { sequence, position, token, vocab_size });
        }
    }
    Ok(())
}

/// Attention of new rows, `counts` of each sequence, against each sequence's own cache of that layer, which takes in their
/// keys and values first. From (rows, heads, head_dim) of queries and (rows, kv_heads, head_dim) of keys and values to
/// (rows, heads, head_dim).
pub(crate) fn attend_caches(
    layer: usize,
    [queries, keys, values]: [&[f32]; 3],
    counts: &[usize],
    states: &mut [&mut State],
    shape: &CachedAttention<'_>,
) -> Vec<f32> {
    let (query_size, kv_size) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    let mut first = 0;
    for (state, count) in states.iter_mut().zip(counts) {
        let range = first * kv_size..(first + count) * kv_size;
        let len = state.len;
        state.caches().extend(len, layer, &keys[range.clone()], &values[range]);
        first += count;
    }
    let mut mixed = vec![0f32; queries.len()];
    let (mut queries_left, mut mixed_left) = (queries, &mut mixed[..]);
    let mut sequences = Vec::with_capacity(states.len());
    for (state, count) in states.iter_mut().zip(counts) {
        let (queries, queries_rest) = queries_left.split_at(count * query_size);
        let (out, mixed_rest) = mixed_left.split_at_mut(count * query_size);
        (queries_left, mixed_left) = (queries_rest, mixed_rest);
        let cache = &state.caches().layers[layer];
        sequences.push(CachedSequence { queries, keys: &cache.keys, values: &cache.values, out });
    }
    danlu_ops::attend_cached(shape, &mut sequences);
    mixed
}

/// Each sequence's last row.
pub(crate) fn last_rows(x: Tensor<2>, counts: &[usize]) -> Tensor<2> {
    if counts.iter().all(|count| *count == 1) {
        return x;
    }
    let ends = counts.iter().scan(0, |end, count| {
        *end += *count as i32;
        Some(*end - 1)
    });
    let last: Vec<i32> = ends.collect();
    let device = x.device();
    x.select(0, Tensor::from_data(TensorData::new(last, [counts.len()]), &device))
}

/// The rows of logits, if all of them are finite.
pub(crate) fn finite_rows(logits: Tensor<2>, vocab_size: usize) -> Result<Vec<Vec<f32>>, ModelError> {
    let logits = read(logits)?;
    if let Some(index) = logits.iter().position(|x| !x.is_finite()) {
        let (sequence, token) = (index / vocab_size, index % vocab_size);
        return Err(ModelError::NotFiniteLogits { sequence, token, value: logits[index] });
    }
    Ok(logits.chunks_exact(vocab_size).map(<[f32]>::to_vec).collect())
}

impl CausalLm {
    /// Continues each sequence by its new tokens: many are a prefill, one is a decoding step, and both may stand in one
    /// call. Returns each sequence's logits after its last token.
    ///
    /// # Errors
    /// [`ModelError::ContextFull`], [`ModelError::TokenOutOfRange`], [`ModelError::NoTokens`] and what else is wrong with
    /// the arguments, before any state has changed; [`ModelError::NotFiniteLogits`] for a damaged model.
    pub fn step(&self, tokens: &[&[u32]], states: &mut [&mut State]) -> Result<Vec<Vec<f32>>, ModelError> {
        self.run_step(tokens, states, None, None)
    }

    /// As [`CausalLm::step`], with what the head read at each new token.
    ///
    /// # Errors
    /// As [`CausalLm::step`].
    pub fn step_with_hidden(&self, tokens: &[&[u32]], states: &mut [&mut State]) -> Result<Vec<Stepped>, ModelError> {
        let mut hidden = Vec::new();
        let logits = self.run_step(tokens, states, Some(&mut hidden), None)?;
        Ok(logits.into_iter().zip(hidden).map(|(logits, hidden)| Stepped { logits, hidden }).collect())
    }

    /// Leaves each sequence's rows of what the head read in `hidden`, if they are asked for. `vectors`: what takes the place
    /// of new tokens' own, counted over all sequences.
    pub(crate) fn run_step(
        &self,
        tokens: &[&[u32]],
        states: &mut [&mut State],
        hidden: Option<&mut Vec<Vec<f32>>>,
        vectors: Option<&Vectors>,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        check_step(tokens, states, self.vocab_size(), |state| state.fits(self.config()))?;
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        // Once into the thread pool instead of once for each of some fifty small operations, which from outside costs a
        // wake-up and a wait every time.
        rayon::scope(|_| match &self.model {
            Body::Transformer(decoder) => self.step_transformer(decoder, tokens, states, hidden, vectors),
            Body::Recurrent(stack) => self.step_recurrent(stack, tokens, states, hidden),
        })
    }

    fn step_recurrent(
        &self,
        stack: &RecurrentStack,
        tokens: &[&[u32]],
        states: &mut [&mut State],
        hidden: Option<&mut Vec<Vec<f32>>>,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let memories = states.iter().filter_map(|state| match &state.memory {
            Memory::Recurrent(memory) => Some(memory),
            _ => None,
        });
        let stepped = stack.step(tokens, &memories.collect::<Vec<_>>())?;
        if let Some(hidden) = hidden {
            *hidden = stack.outputs(&stepped, tokens)?;
        }
        let logits = finite_rows(self.head(stepped.top), self.vocab_size())?;
        for ((state, memory), tokens) in states.iter_mut().zip(stepped.after).zip(tokens) {
            state.memory = Memory::Recurrent(memory);
            state.len += tokens.len();
        }
        Ok(logits)
    }

    fn step_transformer(
        &self,
        decoder: &Decoder,
        tokens: &[&[u32]],
        states: &mut [&mut State],
        hidden: Option<&mut Vec<Vec<f32>>>,
        vectors: Option<&Vectors>,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let rows = Rows::new(tokens, states);
        let device = self.device();
        let rotary = self.rotary_tables(&rows.positions, &device);
        let ids = Tensor::from_data(TensorData::new(rows.ids.clone(), [rows.ids.len()]), &device);
        let mut mix = |layer: usize, heads| self.attend_states(layer, heads, rotary.as_ref(), &rows, states);
        let x = self.rows(decoder, ids, &rows.positions, vectors, &mut mix)?;
        if let Some(hidden) = hidden {
            let width = x.dims()[1];
            let all = read(decoder.norm.forward(x.clone()))?;
            let mut left = &all[..];
            for count in &rows.counts {
                let (own, rest) = left.split_at(count * width);
                hidden.push(own.to_vec());
                left = rest;
            }
        }
        let x = decoder.norm.forward(last_rows(x, &rows.counts));
        let logits = finite_rows(self.head(x), self.vocab_size())?;
        for (state, count) in states.iter_mut().zip(&rows.counts) {
            state.len += count;
        }
        Ok(logits)
    }

    /// Attention of new rows against each sequence's own cache, which takes in their keys and values first.
    fn attend_states(
        &self,
        layer: usize,
        heads: Tensor<2>,
        rotary: Option<&RotaryTables>,
        rows: &Rows,
        states: &mut [&mut State],
    ) -> Result<Tensor<2>, ModelError> {
        let config = self.config();
        let (query_size, kv_size, device) = (config.query_size(), config.kv_size(), heads.device());
        let rotary = rotary.map(|tables| tables.of(config.layer_type(layer)));
        let queries = self.rotated(heads.clone().narrow(1, 0, query_size), rotary)?;
        let keys = self.rotated(heads.clone().narrow(1, query_size, kv_size), rotary)?;
        let values = read(heads.narrow(1, query_size + kv_size, kv_size))?;
        let shape = CachedAttention {
            heads: config.heads,
            kv_heads: config.kv_heads(),
            head_dim: config.head_dim(),
            scale: self.attention_scale() as f32,
            window: config.window(layer),
            softcap: config.attention_softcap().map(|cap| cap as f32),
            alibi: self.shared.slopes.as_deref(),
            distance_bias: None,
        };
        let mixed = attend_caches(layer, [&queries, &keys, &values], &rows.counts, states, &shape);
        Ok(Tensor::from_data(TensorData::new(mixed, [rows.positions.len(), query_size]), &device))
    }

    /// Rows of queries or keys turned to their positions, (rows, heads, head_dim) in row-major order.
    fn rotated(&self, x: Tensor<2>, rotary: Option<&(Tensor<2>, Tensor<2>)>) -> Result<Vec<f32>, ModelError> {
        let Some((cos, sin)) = rotary else { return read(x) };
        let head_dim = self.config().head_dim();
        let [rows, width] = x.dims();
        // One "batch" whose time runs over all rows, each with its own angle.
        let x = x.reshape([1, rows, width / head_dim, head_dim]).swap_dims(1, 2);
        read(danlu_ops::rotary(x, cos, sin).swap_dims(1, 2))
    }
}
