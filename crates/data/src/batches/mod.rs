//! Which tokens training sees at which step.

mod packing;

use std::sync::Arc;

use packing::Packed;
use serde::{Deserialize, Serialize};

use crate::permutation::{Permutation, mix};
use crate::{DataError, Shard};

/// How rows of a batch are cut from documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// Windows over all documents as one running text, in which attention crosses from a document into the next.
    #[default]
    Stream,
    /// The same windows, but attention and positions begin anew with each document.
    Documents,
    /// Whole documents put together so that little room is left over; none is cut that fits into a row, and attention
    /// and positions begin anew with each.
    BestFit,
}

/// How to cut a shard into batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchConfig {
    /// Windows in a batch.
    pub batch_size: usize,
    /// Tokens in a window.
    pub seq_len: usize,
    pub seed: u64,
    /// Training: every epoch in another order, and the borders of windows over the running text moved. Otherwise in the
    /// order of the text.
    pub shuffle: bool,
    pub packing: Packing,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { batch_size: 8, seq_len: 256, seed: 0, shuffle: true, packing: Packing::Stream }
    }
}

/// One batch, row by row: `inputs[row * seq_len + t]` is followed by `targets[row * seq_len + t]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub inputs: Vec<u32>,
    pub targets: Vec<u32>,
    /// Which targets are to be learnt; none stands for all. Not to be learnt is what fills a row up, and of
    /// conversations what others said.
    pub learnt: Option<Vec<bool>>,
    /// To which document of its row each input belongs, ascending along the row; none where attention crosses documents.
    pub documents: Option<Vec<u32>>,
    /// The epoch of the first row, from 0.
    pub epoch: u64,
}

/// The batches of a shard. The batch at step n is a pure function of (shard, config, n): resuming needs no replay.
///
/// Rows are counted through all epochs, and every epoch covers each of them exactly once, so a batch may straddle two
/// epochs. The stages of a curriculum follow each other in every epoch; rows are shuffled within them.
#[derive(Clone, Debug)]
pub struct Batches {
    shard: Arc<Shard>,
    config: BatchConfig,
    rows: Rows,
    /// The first row of each stage of a curriculum and one past the last; empty where there is none.
    stages: Vec<u64>,
}

#[derive(Clone, Debug)]
enum Rows {
    /// Windows of `seq_len` inputs and their successors.
    Windows {
        count: u64,
        /// Whether the windows' borders can move by up to seq_len - 1 tokens.
        moving: bool,
    },
    Packed(Arc<Packed>),
}

impl Batches {
    /// # Errors
    /// [`DataError::TooFewTokens`] when the shard does not hold one window, [`DataError::NothingToLearn`] when none of
    /// its tokens is to be learnt.
    pub fn new(shard: Arc<Shard>, config: BatchConfig) -> Result<Self, DataError> {
        for (key, value) in [("batch_size", config.batch_size), ("seq_len", config.seq_len)] {
            if value == 0 {
                return Err(DataError::BadConfig { key, message: "must be at least 1".into() });
            }
        }
        if shard.learnt_tokens() == 0 && !shard.is_empty() {
            return Err(DataError::NothingToLearn { path: shard.path().into(), tokens: shard.len() });
        }
        let (tokens, seq_len) = (shard.len(), config.seq_len as u64);
        let (rows, stages) = match config.packing {
            Packing::Stream | Packing::Documents => {
                let still = tokens.saturating_sub(1) / seq_len;
                // With borders anywhere in 0..seq_len, this many windows fit whatever the border.
                let moved = tokens.saturating_sub(seq_len) / seq_len;
                let moving = config.shuffle && moved > 0;
                let count = if moving { moved } else { still };
                (Rows::Windows { count, moving }, stages(shard.stages(), seq_len, count))
            }
            Packing::BestFit => {
                let (packed, stages) = Packed::new(&shard, config.seq_len);
                (Rows::Packed(Arc::new(packed)), stages)
            }
        };
        let batches = Self { shard, config, rows, stages };
        if batches.windows() == 0 {
            let path = batches.shard.path().into();
            return Err(DataError::TooFewTokens { path, tokens, seq_len: config.seq_len });
        }
        Ok(batches)
    }

    /// The batch of step `n`, from 0.
    pub fn batch(&self, n: u64) -> Batch {
        let (rows, seq_len) = (self.config.batch_size, self.config.seq_len);
        let first = n.wrapping_mul(rows as u64);
        let mut batch = Batch {
            inputs: Vec::with_capacity(rows * seq_len),
            targets: Vec::with_capacity(rows * seq_len),
            learnt: self.shard.has_learnt().then(Vec::new),
            documents: (self.config.packing != Packing::Stream).then(Vec::new),
            epoch: first / self.windows(),
        };
        if matches!(self.rows, Rows::Packed(_)) {
            batch.learnt = Some(Vec::with_capacity(rows * seq_len));
        }
        for row in 0..rows as u64 {
            self.append(first.wrapping_add(row), &mut batch);
        }
        batch
    }

    /// Appends row number `row`, counted through all epochs.
    fn append(&self, row: u64, batch: &mut Batch) {
        let (epoch, place) = (row / self.windows(), row % self.windows());
        let seed = mix(self.config.seed ^ mix(epoch));
        let place = if self.config.shuffle { self.shuffled(place, seed) } else { place };
        let seq_len = self.config.seq_len;
        match &self.rows {
            Rows::Windows { moving, .. } => {
                let border = if *moving { mix(seed) % seq_len as u64 } else { 0 };
                let start = (border + place * seq_len as u64) as usize;
                self.append_piece(start + 1..start + 1 + seq_len, batch);
                self.number_documents(start, batch);
            }
            Rows::Packed(packed) => {
                let begin = batch.inputs.len();
                for (number, piece) in packed.row(place).enumerate() {
                    let length = piece.len();
                    self.append_piece(piece, batch);
                    extend(&mut batch.documents, number as u32, length);
                }
                self.fill_up(begin + seq_len - batch.inputs.len(), packed.row(place).count() as u32, batch);
            }
        }
    }

    /// The row that stands at `place` of an epoch. A row never leaves its stage; without a curriculum all are one.
    fn shuffled(&self, place: u64, seed: u64) -> u64 {
        let next = self.stages.partition_point(|&begin| begin <= place);
        let (begin, end) = match next {
            0 => (0, self.windows()),
            next => (self.stages[next - 1], self.stages.get(next).copied().unwrap_or(self.windows())),
        };
        let seed = if begin == 0 { seed } else { mix(seed ^ begin) };
        begin + Permutation::new(end - begin, seed).apply(place - begin)
    }

    /// Appends targets and what stands before each: the last token of the document before, which is the end-of-text
    /// token, stands before a document's first.
    fn append_piece(&self, targets: std::ops::Range<usize>, batch: &mut Batch) {
        let tokens = self.shard.tokens();
        if targets.start == 0 {
            batch.inputs.push(self.shard.eos_id());
            batch.inputs.extend(tokens.slice(0..targets.end - 1).iter());
        } else {
            batch.inputs.extend(tokens.slice(targets.start - 1..targets.end - 1).iter());
        }
        batch.targets.extend(tokens.slice(targets.clone()).iter());
        if let Some(learnt) = &mut batch.learnt {
            learnt.extend(targets.map(|token| self.shard.is_learnt(token)));
        }
    }

    /// Numbers the documents of a window that has just been appended and whose first input is token `start`.
    fn number_documents(&self, start: usize, batch: &mut Batch) {
        let Some(documents) = &mut batch.documents else { return };
        // By the table, not by end-of-text tokens: the turns of a conversation may end with such, too. The one that closes
        // a document is read as the beginning of the next.
        let (mut number, mut next) = (0, self.shard.document_from(start + 2));
        for at in start..start + self.config.seq_len {
            let here = next;
            while self.shard.document_begin(next) == Some(at + 1) {
                next += 1;
            }
            number += u32::from(next > here);
            documents.push(number);
        }
    }

    /// What is left of a row: end-of-text tokens of which nothing is learnt, as a document of their own.
    fn fill_up(&self, count: usize, number: u32, batch: &mut Batch) {
        let eos = self.shard.eos_id();
        batch.inputs.extend(std::iter::repeat_n(eos, count));
        batch.targets.extend(std::iter::repeat_n(eos, count));
        if let Some(learnt) = &mut batch.learnt {
            learnt.extend(std::iter::repeat_n(false, count));
        }
        extend(&mut batch.documents, number, count);
    }

    /// Batches until every row of an epoch has been seen, rounded up.
    pub fn batches_per_epoch(&self) -> u64 {
        self.windows().div_ceil(self.config.batch_size as u64)
    }

    /// Rows in an epoch.
    pub fn windows(&self) -> u64 {
        match &self.rows {
            Rows::Windows { count, .. } => *count,
            Rows::Packed(packed) => packed.len(),
        }
    }

    /// The share of an epoch's places that hold tokens rather than filling.
    pub fn filled(&self) -> f64 {
        match &self.rows {
            Rows::Windows { .. } => 1.0,
            Rows::Packed(packed) => self.shard.len() as f64 / (packed.len() * self.config.seq_len as u64) as f64,
        }
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

fn extend(list: &mut Option<Vec<u32>>, value: u32, count: usize) {
    if let Some(list) = list {
        list.extend(std::iter::repeat_n(value, count));
    }
}
