//! Which tokens training sees at which step.

use std::sync::Arc;

use crate::permutation::{Permutation, mix};
use crate::{DataError, Shard};

/// How to cut a shard into batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchConfig {
    /// Windows in a batch.
    pub batch_size: usize,
    /// Tokens in a window.
    pub seq_len: usize,
    pub seed: u64,
    /// Training: every epoch in another order and with the windows' borders moved. Otherwise in the order of the text.
    pub shuffle: bool,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { batch_size: 8, seq_len: 256, seed: 0, shuffle: true }
    }
}

/// One batch, row by row: `inputs[row * seq_len + t]` is followed by `targets[row * seq_len + t]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub inputs: Vec<u32>,
    pub targets: Vec<u32>,
    /// The epoch of the first row, from 0.
    pub epoch: u64,
}

/// The batches of a shard. The batch at step n is a pure function of (shard, config, n): resuming needs no replay.
///
/// The shard is one stream of tokens, cut into windows of `seq_len` inputs and their successors. Rows are counted
/// through all epochs, and every epoch covers each of its windows exactly once, so a batch may straddle two epochs. The
/// stages of a curriculum follow each other in every epoch; windows are shuffled within them.
#[derive(Clone, Debug)]
pub struct Batches {
    shard: Arc<Shard>,
    config: BatchConfig,
    windows: u64,
    /// Whether the windows' borders can move by up to seq_len - 1 tokens.
    moving: bool,
    /// The first window of each stage of a curriculum and one past the last; empty where there is none.
    stages: Vec<u64>,
}

impl Batches {
    /// # Errors
    /// [`DataError::TooFewTokens`] when the shard does not hold one window.
    pub fn new(shard: Arc<Shard>, config: BatchConfig) -> Result<Self, DataError> {
        for (key, value) in [("batch_size", config.batch_size), ("seq_len", config.seq_len)] {
            if value == 0 {
                return Err(DataError::BadConfig { key, message: "must be at least 1".into() });
            }
        }
        let (tokens, seq_len) = (shard.len(), config.seq_len as u64);
        let still = tokens.saturating_sub(1) / seq_len;
        if still == 0 {
            return Err(DataError::TooFewTokens { path: shard.path().into(), tokens, seq_len: config.seq_len });
        }
        // With borders anywhere in 0..seq_len, this many windows fit whatever the border.
        let moved = tokens.saturating_sub(seq_len) / seq_len;
        let moving = config.shuffle && moved > 0;
        let windows = if moving { moved } else { still };
        let stages = stages(shard.stages(), seq_len, windows);
        Ok(Self { shard, config, windows, moving, stages })
    }

    /// The batch of step `n`, from 0.
    pub fn batch(&self, n: u64) -> Batch {
        let (rows, seq_len) = (self.config.batch_size, self.config.seq_len);
        let first = n.wrapping_mul(rows as u64);
        let mut inputs = Vec::with_capacity(rows * seq_len);
        let mut targets = Vec::with_capacity(rows * seq_len);
        for row in 0..rows as u64 {
            let start = self.start_of(first.wrapping_add(row)) as usize;
            let window = self.shard.tokens().slice(start..start + seq_len + 1);
            inputs.extend(window.slice(0..seq_len).iter());
            targets.extend(window.slice(1..seq_len + 1).iter());
        }
        Batch { inputs, targets, epoch: first / self.windows }
    }

    /// The first token of the window that row number `row` (counted through all epochs) shows.
    fn start_of(&self, row: u64) -> u64 {
        let (epoch, place) = (row / self.windows, row % self.windows);
        let seq_len = self.config.seq_len as u64;
        if !self.config.shuffle {
            return place * seq_len;
        }
        let seed = mix(self.config.seed ^ mix(epoch));
        let border = if self.moving { mix(seed) % seq_len } else { 0 };
        // A window never leaves its stage; without a curriculum all are one.
        let next = self.stages.partition_point(|&begin| begin <= place);
        let (begin, end) = match next {
            0 => (0, self.windows),
            next => (self.stages[next - 1], self.stages.get(next).copied().unwrap_or(self.windows)),
        };
        let seed = if begin == 0 { seed } else { mix(seed ^ begin) };
        border + (begin + Permutation::new(end - begin, seed).apply(place - begin)) * seq_len
    }

    /// Batches until every window of an epoch has been seen, rounded up.
    pub fn batches_per_epoch(&self) -> u64 {
        self.windows.div_ceil(self.config.batch_size as u64)
    }

    /// Windows in an epoch.
    pub fn windows(&self) -> u64 {
        self.windows
    }

    pub fn config(&self) -> &BatchConfig {
        &self.config
    }

    pub fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }
}

/// The first window of each stage, and one past the last.
fn stages(begins: &[u64], seq_len: u64, windows: u64) -> Vec<u64> {
    if begins.len() < 2 {
        return Vec::new();
    }
    let first = |&token: &u64| token.div_ceil(seq_len).min(windows);
    let mut all: Vec<u64> = begins.iter().map(first).chain([windows]).collect();
    all[0] = 0;
    all.dedup();
    all
}
