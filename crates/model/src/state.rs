//! Generation: what a sequence has been through, and the step that continues many sequences at once.

use crate::layers::read;
use crate::positions::RotaryTables;
use crate::{CausalLm, ModelError};
use burn::prelude::*;
use danlu_ops::{CachedAttention, CachedSequence};

/// What a model remembers of one sequence. `generate`, `serve` and `eval` never ask of what kind it is.
///
/// For attention it is the keys and values of every layer, as plain f32 on the CPU; it grows with the sequence.
#[derive(Clone, Debug)]
pub struct State {
    layers: Vec<Cache>,
    /// Numbers per position in each of a layer's two caches.
    width: usize,
    len: usize,
    capacity: usize,
}

/// One layer's keys (already rotated) and values, (len, kv_heads, head_dim).
#[derive(Clone, Debug, Default)]
struct Cache {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl State {
    /// The state of a sequence not yet begun.
    pub fn new(model: &CausalLm) -> Self {
        let config = model.config();
        State {
            layers: vec![Cache::default(); config.layers],
            width: config.kv_size(),
            len: 0,
            capacity: config.max_seq_len,
        }
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Most tokens that can be held: the model's context.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.layers.len() * 2 * self.len * self.width * size_of::<f32>()
    }

    /// Forgets all but the first `len` tokens; nothing happens if fewer are held.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        for cache in &mut self.layers {
            cache.keys.truncate(self.len * self.width);
            cache.values.truncate(self.len * self.width);
        }
    }

    /// Appends a layer's new keys and values; `len` moves only when all layers are done.
    fn extend(&mut self, layer: usize, keys: &[f32], values: &[f32]) {
        let held = self.len * self.width;
        let cache = &mut self.layers[layer];
        // A step that failed halfway may have left rows beyond `len`.
        cache.keys.truncate(held);
        cache.values.truncate(held);
        cache.keys.extend_from_slice(keys);
        cache.values.extend_from_slice(values);
    }
}

/// The sequences of one step as rows: all of the first's new tokens, then the second's, ...
struct Rows {
    /// New tokens of each sequence.
    counts: Vec<usize>,
    ids: Vec<i32>,
    positions: Vec<usize>,
}

impl CausalLm {
    /// Continues each sequence by its new tokens: many are a prefill, one is a decoding step, and both may stand in one
    /// call. Returns each sequence's logits after its last token.
    ///
    /// # Errors
    /// [`ModelError::ContextFull`], [`ModelError::TokenOutOfRange`], [`ModelError::NoTokens`] and what else is wrong with
    /// the arguments, before any state has changed; [`ModelError::NotFiniteLogits`] for a damaged model.
    pub fn step(&self, tokens: &[&[u32]], states: &mut [&mut State]) -> Result<Vec<Vec<f32>>, ModelError> {
        self.check_step(tokens, states)?;
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        // Once into the thread pool instead of once for each of some fifty small operations, which from outside costs a
        // wake-up and a wait every time.
        rayon::scope(|_| self.step_checked(tokens, states))
    }

    fn step_checked(&self, tokens: &[&[u32]], states: &mut [&mut State]) -> Result<Vec<Vec<f32>>, ModelError> {
        let rows = Rows {
            counts: tokens.iter().map(|t| t.len()).collect(),
            ids: tokens.iter().flat_map(|t| t.iter().map(|id| *id as i32)).collect(),
            positions: tokens.iter().zip(states.iter()).flat_map(|(t, s)| s.len..s.len + t.len()).collect(),
        };
        let device = self.device();
        let rotary = self.rotary_tables(&rows.positions, &device);
        let ids = Tensor::from_data(TensorData::new(rows.ids.clone(), [rows.ids.len()]), &device);
        let mut mix = |layer: usize, heads| self.attend_states(layer, heads, rotary.as_ref(), &rows, states);
        let x = self.rows(ids, &rows.positions, &mut mix)?;
        let logits = self.last_logits(x, &rows.counts)?;
        for (state, count) in states.iter_mut().zip(&rows.counts) {
            state.len += count;
        }
        Ok(logits)
    }

    fn check_step(&self, tokens: &[&[u32]], states: &[&mut State]) -> Result<(), ModelError> {
        if tokens.len() != states.len() {
            return Err(ModelError::StateCount { sequences: tokens.len(), states: states.len() });
        }
        let (vocab_size, config) = (self.vocab_size(), self.config());
        for (sequence, (tokens, state)) in tokens.iter().zip(states).enumerate() {
            let (layers, width, capacity) = (state.layers.len(), state.width, state.capacity);
            if (layers, width, capacity) != (config.layers, config.kv_size(), config.max_seq_len) {
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
        let mut first = 0;
        for (state, count) in states.iter_mut().zip(&rows.counts) {
            let range = first * kv_size..(first + count) * kv_size;
            state.extend(layer, &keys[range.clone()], &values[range]);
            first += count;
        }
        let mut mixed = vec![0f32; queries.len()];
        let (mut queries_left, mut mixed_left) = (&queries[..], &mut mixed[..]);
        let mut sequences = Vec::with_capacity(states.len());
        for (state, count) in states.iter().zip(&rows.counts) {
            let (queries, queries_rest) = queries_left.split_at(count * query_size);
            let (out, mixed_rest) = mixed_left.split_at_mut(count * query_size);
            (queries_left, mixed_left) = (queries_rest, mixed_rest);
            let cache = &state.layers[layer];
            sequences.push(CachedSequence { queries, keys: &cache.keys, values: &cache.values, out });
        }
        let shape = CachedAttention {
            heads: config.heads,
            kv_heads: config.kv_heads(),
            head_dim: config.head_dim(),
            scale: self.attention_scale() as f32,
            window: config.window(layer),
            softcap: config.attention_softcap().map(|cap| cap as f32),
            alibi: self.shared.slopes.as_deref(),
        };
        danlu_ops::attend_cached(&shape, &mut sequences);
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

    /// Logits of each sequence's last row.
    fn last_logits(&self, x: Tensor<2>, counts: &[usize]) -> Result<Vec<Vec<f32>>, ModelError> {
        let device = x.device();
        let x = if counts.iter().all(|count| *count == 1) {
            x
        } else {
            let last: Vec<i32> = counts
                .iter()
                .scan(0, |end, count| {
                    *end += *count as i32;
                    Some(*end - 1)
                })
                .collect();
            x.select(0, Tensor::from_data(TensorData::new(last, [counts.len()]), &device))
        };
        let logits = read(self.head(self.model.norm.forward(x)))?;
        let vocab_size = self.vocab_size();
        if let Some(index) = logits.iter().position(|x| !x.is_finite()) {
            let (sequence, token) = (index / vocab_size, index % vocab_size);
            return Err(ModelError::NotFiniteLogits { sequence, token, value: logits[index] });
        }
        Ok(logits.chunks_exact(vocab_size).map(<[f32]>::to_vec).collect())
    }
}
