//! What a run will hold in memory, class by class, at the moment when it holds most.
//!
//! That is either the beginning of the backward pass, when all activations are there, or its end, when all gradients
//! are. What the allocator holds beside was measured (docs/log.md); the rest is counted.

use crate::{AverageKind, OptimizerKind, TrainConfig};
use danlu_model::{ModelConfig, Recompute};
use danlu_ops::Cell;
use serde::{Deserialize, Serialize};

/// Bytes by class at the moment when their sum is largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPlan {
    pub weights: u64,
    /// Those that are there at that moment; while micro-batches are added up, also their sum.
    pub gradients: u64,
    /// The optimiser's states: for AdamW two moments of each weight; and the average of the weights, where there is one.
    pub optimizer: u64,
    /// What the forward pass keeps for the backward pass of one micro-batch.
    pub activations: u64,
    /// What one operation holds while it runs: a chunk of logits, an activation and its gradient, packed operands.
    pub workspace: u64,
    /// Token ids of one micro-batch.
    pub data: u64,
    /// Freed memory that the allocator keeps between buffers of other sizes: [`KEPT_BY_ALLOCATOR`] of the rest.
    pub allocator: u64,
    /// The program itself.
    pub program: u64,
}

/// Part of all other memory that the allocator holds beside it when it keeps its pages, as measured on models of 17, 55
/// and 162 million parameters.
pub const KEPT_BY_ALLOCATOR: f64 = 0.06;
const PROGRAM: u64 = 25 << 20;
/// Packed operands of matrix products, kept by the threads.
const PACKED: u64 = 20 << 20;
const F32: u64 = 4;

impl MemoryPlan {
    /// The classes by name, in the order in which tables show them.
    pub fn classes(&self) -> Vec<(String, u64)> {
        let Self { weights, gradients, optimizer, activations, workspace, data, allocator, program } = *self;
        [
            ("weights", weights),
            ("gradients", gradients),
            ("optimizer", optimizer),
            ("activations", activations),
            ("workspace", workspace),
            ("data", data),
            ("allocator", allocator),
            ("program", program),
        ]
        .map(|(name, bytes)| (name.to_owned(), bytes))
        .to_vec()
    }

    /// All classes together.
    pub fn total(&self) -> u64 {
        self.classes().iter().map(|(_, bytes)| bytes).sum()
    }
}

pub(crate) fn memory(config: &TrainConfig, model: &ModelConfig, vocab_size: usize) -> MemoryPlan {
    let counts = model.parameter_counts(vocab_size);
    let parameters = F32 * counts.total() as u64;
    let tokens = (config.batch_size * config.seq_len) as u64;
    // Those of which activations exist at a time.
    let kept = (config.batch_size * config.bptt.map_or(config.seq_len, |bptt| bptt.min(config.seq_len))) as u64;
    // With pieces or micro-batches there is a sum of gradients beside those of the last one.
    let summed = if config.accumulate > 1 || kept < tokens { parameters } else { 0 };
    let always = MemoryPlan {
        weights: parameters,
        optimizer: optimizer(config, model, vocab_size),
        // Inputs and targets as 64-bit integers.
        data: 2 * 8 * tokens,
        program: PROGRAM,
        ..MemoryPlan::default()
    };
    let head = F32 * if model.tied { counts.embedding } else { counts.head } as u64;
    let begin = MemoryPlan {
        gradients: summed + head,
        activations: kept * activations_per_token(config, model),
        workspace: PACKED + workspace(config, model, kept, vocab_size),
        ..always
    };
    let end = MemoryPlan { gradients: summed + parameters, workspace: PACKED, ..always };
    let largest = if end.total() > begin.total() { end } else { begin };
    MemoryPlan { allocator: (KEPT_BY_ALLOCATOR * largest.total() as f64) as u64, ..largest }
}

/// What the optimiser keeps beside the weights, all of them taken as not frozen.
fn optimizer(config: &TrainConfig, model: &ModelConfig, vocab_size: usize) -> u64 {
    let counts = model.parameter_counts(vocab_size);
    let average = if config.average.kind == AverageKind::None { 0 } else { counts.total() };
    let states = match config.optimizer {
        OptimizerKind::AdamW | OptimizerKind::Adam => 2 * counts.total(),
        OptimizerKind::Adafactor => factored(model, vocab_size),
        OptimizerKind::Sgd if config.momentum == 0.0 => 0,
        OptimizerKind::Sgd | OptimizerKind::Lion => counts.total(),
        // One for a matrix inside the layers, two for all else; biases, which are few, are taken for matrices.
        OptimizerKind::Muon => 2 * counts.total() - counts.attention - counts.feed_forward - counts.recurrent,
    };
    F32 * (average + states) as u64
}

/// Rows and columns of all matrices, and the norms; biases, which are few, are left out.
fn factored(model: &ModelConfig, vocab_size: usize) -> usize {
    let (hidden, embedding) = (model.hidden_size, model.embedding_size());
    let counts = model.parameter_counts(vocab_size);
    let layer = match model.cell() {
        Some(cell) => 2 * (cell.gates() + 1) * hidden,
        None => {
            let (query, kv, ffn) = (model.query_size(), model.kv_size(), model.ffn_size());
            let projections = if model.activation().is_gated() { 3 } else { 2 } * model.experts().unwrap_or(1);
            2 * (hidden + query) + 2 * (hidden + kv) + projections * (hidden + ffn)
        }
    };
    let table = |count: usize| if count > 0 { count / embedding + embedding } else { 0 };
    let tables = [counts.embedding, counts.positions, counts.head].map(table);
    model.layers * layer + tables.iter().sum::<usize>() + counts.norms
}

/// Bytes that the backward pass keeps for each token: those of the layers, and the last normalisation's input.
fn activations_per_token(config: &TrainConfig, model: &ModelConfig) -> u64 {
    if let Some(cell) = model.cell() {
        return recurrent_activations(config, model, cell);
    }
    let gated = model.activation().is_gated();
    // Queries, keys, values and the attention's result; the feed-forward layer before its activation.
    let feed_forward = model.ffn_size() * if gated { 2 } else { 1 };
    let chosen = model.experts().map_or(1, |_| model.experts_per_token());
    let between = 2 * model.query_size() + 2 * model.kv_size() + chosen * feed_forward;
    // Both residual inputs; the row sums of attention.
    let mut stream = 2 * model.hidden_size + model.heads;
    if model.qk_norm() {
        stream += model.query_size() + model.kv_size();
    }
    if let Some(experts) = model.experts() {
        // Each expert's input and its result, in the order of experts and in that of tokens; probabilities.
        stream += (1 + 3 * model.experts_per_token()) * model.hidden_size + 2 * experts;
    }
    if model.post_norms() {
        stream += 2 * model.hidden_size;
    }
    let layer = F32 * stream as u64 + config.precision.bytes() as u64 * between as u64;
    let input = F32 * model.hidden_size as u64;
    let layers = match config.recompute {
        Recompute::None => model.layers as u64 * layer,
        Recompute::Block => model.layers as u64 * input + layer,
    };
    layers + input
}

/// The same of recurrent layers, in f32 throughout: for LSTM four gates and the cell, for GRU three gates and the hidden
/// part of the new one, and all states; with dropout also what is left of them. Below them the embeddings, above them
/// what the head reads where a projection makes it.
fn recurrent_activations(config: &TrainConfig, model: &ModelConfig, cell: Cell) -> u64 {
    let of_gates = match cell {
        Cell::Lstm => 5,
        Cell::Gru => 4,
        Cell::Tanh | Cell::Relu => 0,
    };
    let (hidden, embedding) = (model.hidden_size, model.embedding_size());
    let output = hidden * if model.dropout > 0.0 { 2 } else { 1 };
    let projected = if embedding == hidden { 0 } else { embedding };
    let layers = match config.recompute {
        Recompute::None => model.layers * (of_gates * hidden + output),
        Recompute::Block => model.layers * hidden + of_gates * hidden + output,
    };
    F32 * (embedding + layers + projected) as u64
}

/// The larger of what the loss and the last layer's backward pass hold.
fn workspace(config: &TrainConfig, model: &ModelConfig, tokens: u64, vocab_size: usize) -> u64 {
    let kept = config.precision.bytes() as u64;
    let streams = F32 * 2 * model.hidden_size as u64 * tokens;
    let logits = match model.logit_softcap() {
        None => F32 * (danlu_ops::chunk_rows(tokens as usize, vocab_size) * vocab_size) as u64,
        // Bounded logits exist all at once: raw, bounded, as logarithms, and the gradients of these.
        Some(_) => F32 * 6 * tokens * vocab_size as u64,
    };
    let packed = danlu_ops::packs_weight(tokens as usize, vocab_size);
    let weight = if packed { kept * (model.embedding_size() * vocab_size) as u64 } else { 0 };
    let layer = match model.cell() {
        // The plain layer's gates, whose gradients have no other place; those of the other cells do.
        Some(Cell::Tanh | Cell::Relu) => F32 * model.hidden_size as u64,
        Some(Cell::Lstm | Cell::Gru) => 0,
        // With SwiGLU the gradients before and after it, else one in the place of the other.
        None => kept * (model.ffn_size() * if model.activation().is_gated() { 3 } else { 1 }) as u64,
    };
    streams + (logits + weight).max(layer * tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AverageConfig;
    use danlu_ops::Precision;

    fn small() -> (TrainConfig, ModelConfig) {
        let model = ModelConfig { layers: 2, hidden_size: 32, heads: 2, ..ModelConfig::default() };
        (TrainConfig { steps: 10, batch_size: 2, seq_len: 8, ..TrainConfig::default() }, model)
    }

    #[test]
    fn weights_and_states_are_counted() {
        let (config, model) = small();
        let counts = model.parameter_counts(100);
        let plan = memory(&config, &model, 100);
        assert_eq!(plan.weights, 4 * counts.total() as u64);
        assert_eq!(plan.optimizer, 2 * plan.weights);
        let of = |optimizer, momentum| {
            let config = TrainConfig { optimizer, momentum, ..config.clone() };
            memory(&config, &model, 100).optimizer
        };
        assert_eq!((of(OptimizerKind::Sgd, 0.0), of(OptimizerKind::Sgd, 0.9)), (0, plan.weights));
        assert_eq!(of(OptimizerKind::Lion, 0.0), plan.weights);
        assert_eq!(of(OptimizerKind::Adam, 0.0), 2 * plan.weights);
        // Two layers of 32 with 2 heads, a tied table of 100.
        let ffn = model.ffn_size() as u64;
        let rows_and_columns = 2 * (4 * 64 + 3 * (32 + ffn)) + 132 + counts.norms as u64;
        assert_eq!(of(OptimizerKind::Adafactor, 0.0), 4 * rows_and_columns);
        let averaged = AverageConfig { kind: AverageKind::Ema, ..AverageConfig::default() };
        let averaged = memory(&TrainConfig { average: averaged, ..config.clone() }, &model, 100);
        assert_eq!(averaged.optimizer, 3 * plan.weights);
        let matrices = 4 * (counts.attention + counts.feed_forward) as u64;
        assert_eq!(of(OptimizerKind::Muon, 0.9), 2 * plan.weights - matrices);
    }

    #[test]
    fn the_larger_moment_counts() {
        let (config, model) = small();
        // Few tokens: gradients at the end outweigh activations.
        assert_eq!(memory(&config, &model, 100).gradients, memory(&config, &model, 100).weights);
        let long = TrainConfig { batch_size: 64, ..config.clone() };
        let plan = memory(&long, &model, 100);
        assert_eq!(plan.gradients, 4 * 100 * 32, "the tied head's alone");
        let summed = TrainConfig { accumulate: 4, ..long.clone() };
        assert_eq!(memory(&summed, &model, 100).gradients, plan.gradients + plan.weights);
        let again = TrainConfig { recompute: Recompute::Block, ..long };
        assert!(memory(&again, &model, 100).activations < plan.activations);
    }

    /// Peaks of `danlu bench train` (2 threads) within 10%, in both precisions.
    #[test]
    fn measured_peaks_are_foreseen() {
        let gpt2 = |layers, hidden_size, heads| ModelConfig {
            architecture: danlu_model::Architecture::Gpt2,
            layers,
            hidden_size,
            heads,
            max_seq_len: 256,
            tied: false,
            ..ModelConfig::default()
        };
        let llama = ModelConfig {
            layers: 8,
            hidden_size: 512,
            heads: 8,
            kv_heads: Some(2),
            max_seq_len: 1024,
            tied: false,
            ..ModelConfig::default()
        };
        let cases = [
            ("S", gpt2(6, 384, 6), 16, 256, 8192, [701.0, 514.0]),
            ("M", gpt2(12, 768, 12), 4, 256, 50257, [2738.0, 2635.0]),
            ("L", llama, 4, 1024, 32000, [1549.0, 1259.0]),
        ];
        for (name, model, batch_size, seq_len, vocab, measured) in cases {
            for (precision, measured) in [Precision::F32, Precision::Bf16].into_iter().zip(measured) {
                let config = TrainConfig { batch_size, seq_len, precision, ..TrainConfig::default() };
                let planned = memory(&config, &model, vocab).total() as f64 / f64::from(1 << 20);
                let off = planned / measured - 1.0;
                assert!(off.abs() < 0.1, "{name} {precision:?}: planned {planned:.0} MiB, measured {measured}");
            }
        }
    }
}
