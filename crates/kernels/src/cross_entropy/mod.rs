//! The output layer and its loss in one, chunk by chunk of tokens: all logits never exist at once.
//!
//! With logits `l = x weight^T` of a token, `Z = sum exp(l)`, `p = exp(l) / Z`, target y and V tokens in the
//! vocabulary, the loss of the token is
//!
//! ```text
//! weight_t * (hard_share * hard + (1 - hard_share) * soft + z_loss * (ln Z)^2)
//! hard = -(1 - s) ln p_y - s / V * sum_v ln p_v          s: label smoothing (Szegedy et al. 2016)
//! soft = -sum_v q_v ln p_v                               given probabilities q
//! soft = T^2 KL(softmax(l' / T) || softmax(l / T))       given a teacher's logits l' (Hinton et al. 2015)
//! ```
//!
//! and the squared logarithm keeps logits from drifting (z-loss; Chowdhery et al. 2022, "PaLM"). The smoothed term is
//! PyTorch's. Without soft targets the hard term counts whole. A token whose target is the ignored one counts nothing
//! at all, in no term. The result is the sum over tokens, not the mean: gradients of parts of a batch then add up, and
//! the caller divides once by what it means to average over (tokens, or the sum of the weights).
//!
//! Begin reading at [`linear_cross_entropy`]; one row's arithmetic is in `rows`.

use crate::cpu::Level;
use crate::gemm::{Matrix, Packed, Threads, multiply, multiply_packed};
use crate::math::spread_stride;
use crate::precision::Precision;
use crate::values::{as_halves, narrow_in_place};
use rayon::prelude::*;
use rows::{Coefficients, hard_row, probabilities_row, teacher_row};
use std::mem::MaybeUninit;

mod rows;
#[cfg(test)]
mod tests;

/// The target that counts nothing, unless [`Options::ignored`] says otherwise.
pub const IGNORED: i64 = -100;

/// Which gradients [`linear_cross_entropy`] is to compute along the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Gradient to the inputs.
    pub x: bool,
    /// Gradient to the weight.
    pub weight: bool,
}

/// What the loss is made of; the module's documentation has the formulas. The default is plain cross-entropy in f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options<'a> {
    /// Share of the hard term that goes to all tokens alike, in 0.0..=1.0.
    pub label_smoothing: f32,
    /// Coefficient of the squared logarithm of Z; PaLM's is 1e-4.
    pub z_loss: f32,
    /// Target of tokens that count nothing.
    pub ignored: i64,
    /// Factor of each token's loss, (tokens).
    pub token_weights: Option<&'a [f32]>,
    /// A second target for each token.
    pub soft: Option<Soft<'a>>,
    /// Precision of the inputs of the products; logits, losses and sums are f32 and f64.
    pub precision: Precision,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            label_smoothing: 0.0,
            z_loss: 0.0,
            ignored: IGNORED,
            token_weights: None,
            soft: None,
            precision: Precision::F32,
        }
    }
}

/// Soft targets and their part in the loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Soft<'a> {
    /// Part of the hard term, in 0.0..=1.0; the soft term has the rest. At 0 a target says only whether its token
    /// counts.
    pub hard_share: f32,
    /// Where the soft targets come from.
    pub targets: SoftTargets<'a>,
}

/// Soft targets of all tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SoftTargets<'a> {
    /// Probabilities (tokens, vocabulary). Rows need not sum to 1: each value weighs its token's log-probability.
    Probabilities(&'a [f32]),
    /// Another model's output layer; its logits too exist only chunk by chunk. Nothing flows back into it.
    Teacher {
        /// Inputs of its output layer, (tokens, dim).
        hidden: &'a [f32],
        /// Its output layer, (vocabulary, dim).
        weight: &'a [f32],
        /// Width of the teacher, which may differ from the student's.
        dim: usize,
        /// T, above 0: higher values show more of what the teacher knows about unlikely tokens.
        temperature: f32,
    },
}

/// Result of [`linear_cross_entropy`].
#[derive(Clone, Debug, PartialEq)]
pub struct CrossEntropy {
    /// Sum of the token losses in nats, added in order in f64.
    pub loss: f64,
    /// (tokens, dim), empty if not wanted.
    pub dx: Vec<f32>,
    /// (vocab, dim), empty if not wanted.
    pub d_weight: Vec<f32>,
}

/// Tokens whose logits exist at the same time: `4 * chunk_rows * vocab` bytes, and as many again for a teacher's.
/// A function of the shape alone, as the order of additions depends on it.
pub fn chunk_rows(tokens: usize, vocab: usize) -> usize {
    (CHUNK_VALUES / vocab.max(1)).max(CHUNK_ROWS_AT_LEAST).min(tokens.max(1))
}

/// Logits of one chunk where the vocabulary is small: 16 MB.
const CHUNK_VALUES: usize = 1 << 22;
/// Fewer rows would leave the products too thin: each reads the whole weight, and adds to its whole gradient. With a
/// vocabulary of 50257 and a width of 768, bf16, 512 rows take a fifth less time than 256, and more gain nothing.
const CHUNK_ROWS_AT_LEAST: usize = 512;

/// The loss of `x` (tokens, dim) under the output layer `weight` (vocab, dim) as `options` define it, summed over
/// tokens, and if wanted its gradients. A target is in `0..vocab` or the ignored one.
///
/// # Panics
/// If a slice's length contradicts the shape or a target is outside the vocabulary.
pub fn linear_cross_entropy(
    x: &[f32],
    weight: &[f32],
    targets: &[i64],
    dim: usize,
    vocab: usize,
    options: &Options<'_>,
    wanted: Wanted,
) -> CrossEntropy {
    let tokens = targets.len();
    assert!(x.len() == tokens * dim && weight.len() == vocab * dim, "{tokens} tokens of {dim}, vocabulary of {vocab}");
    check(targets, vocab, options);
    let chunk = chunk_rows(tokens, vocab);
    let mut logits = Buffer::new(chunk * spread_stride(vocab));
    let mut teacher = Buffer::new(if options.has_teacher() { chunk * spread_stride(vocab) } else { 0 });
    let mut dx: Vec<f32> = Vec::with_capacity(if wanted.x { tokens * dim } else { 0 });
    let mut d_weight: Vec<f32> = Vec::with_capacity(if wanted.weight { vocab * dim } else { 0 });
    let to_x = wanted
        .x
        .then(|| ToInputs::new(Matrix::new(weight, vocab, dim), packs_weight(tokens, vocab), options.precision));
    let mut loss = 0f64;
    for first in (0..tokens).step_by(chunk) {
        let rows = chunk.min(tokens - first);
        let x = &x[first * dim..(first + rows) * dim];
        let logits = logits.logits(x, weight, rows, dim, options.precision);
        let soft = match options.soft.map(|soft| soft.targets) {
            None => ChunkTargets::Hard,
            Some(SoftTargets::Probabilities(q)) => ChunkTargets::Probabilities(&q[first * vocab..]),
            Some(SoftTargets::Teacher { hidden, weight, dim, temperature }) => {
                let hidden = &hidden[first * dim..(first + rows) * dim];
                ChunkTargets::Teacher(teacher.logits(hidden, weight, rows, dim, options.precision), temperature)
            }
        };
        let part = Chunk { targets: &targets[first..first + rows], first, vocab, soft, options };
        loss += part.losses(logits, wanted.x || wanted.weight);
        let (d_logits, x) = (part.gradient(logits), Matrix::new(x, rows, dim));
        if let Some(weight) = &to_x {
            // SAFETY: dx has room for all tokens; rows `first..` are written here and then counted.
            unsafe {
                weight.multiply(dx.as_mut_ptr().add(first * dim), d_logits, dim, options.precision);
                dx.set_len((first + rows) * dim);
            }
        }
        if wanted.weight {
            // SAFETY: d_weight has room for vocab x dim; the first product writes it, the others add.
            unsafe {
                let to = d_weight.as_mut_ptr();
                multiply(to, dim, d_logits.transposed(), x, first > 0, options.precision, Threads::All);
                d_weight.set_len(vocab * dim);
            }
        }
    }
    if wanted.weight && tokens == 0 {
        d_weight.resize(vocab * dim, 0.0);
    }
    CrossEntropy { loss, dx, d_weight }
}

impl Options<'_> {
    fn has_teacher(&self) -> bool {
        matches!(self.soft, Some(Soft { targets: SoftTargets::Teacher { .. }, .. }))
    }

    fn coefficients(&self) -> Coefficients {
        let hard = self.soft.map_or(1.0, |soft| soft.hard_share);
        Coefficients { hard, soft: 1.0 - hard, smoothing: self.label_smoothing, z_loss: self.z_loss }
    }
}

/// Whether the weight is packed once for the gradients of all chunks' inputs, which takes as much memory again as the
/// weight does in the products' precision: where it is used often enough. A function of the shape alone.
pub fn packs_weight(tokens: usize, vocab: usize) -> bool {
    tokens.div_ceil(chunk_rows(tokens, vocab)) >= CHUNKS_WORTH_PACKING
}

/// From so many chunks on, the weight is packed but once. The logits' own product gains nothing from that: its weight is
/// the operand that tasks divide, and packing that costs little.
const CHUNKS_WORTH_PACKING: usize = 4;

/// The weight (vocab, dim) as it takes the logits' gradients back to the inputs.
enum ToInputs<'a> {
    Packed(Packed),
    Plain(Matrix<'a>),
}

impl<'a> ToInputs<'a> {
    fn new(weight: Matrix<'a>, packed: bool, precision: Precision) -> Self {
        if packed { ToInputs::Packed(Packed::new(weight, precision)) } else { ToInputs::Plain(weight) }
    }

    /// `dx = d_logits * weight`, row-major without gaps.
    ///
    /// # Safety
    /// `dx` must be valid for writes of a row of `dim` values for each of `d_logits`, which nothing else touches.
    unsafe fn multiply(&self, dx: *mut f32, d_logits: Matrix<'_>, dim: usize, precision: Precision) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                ToInputs::Packed(weight) => multiply_packed(dx, dim, d_logits, weight, precision, false, Threads::All),
                ToInputs::Plain(weight) => multiply(dx, dim, d_logits, *weight, false, precision, Threads::All),
            }
        }
    }
}

/// Memory for the logits of one chunk, written anew by each product.
struct Buffer(Vec<f32>);

impl Buffer {
    fn new(capacity: usize) -> Self {
        Buffer(Vec::with_capacity(capacity))
    }

    /// `x * weight^T` for `x` (rows, dim) and `weight` (vocab, dim), in rows that lie [`spread_stride`] apart.
    fn logits(&mut self, x: &[f32], weight: &[f32], rows: usize, dim: usize, precision: Precision) -> &mut [f32] {
        let vocab = weight.len() / dim.max(1);
        let (x, weight) = (Matrix::new(x, rows, dim), Matrix::new(weight, vocab, dim));
        let stride = spread_stride(vocab);
        assert!(rows * stride <= self.0.capacity(), "{rows} x {vocab} logits in a buffer of {}", self.0.capacity());
        self.0.clear();
        for row in self.0.spare_capacity_mut()[..rows * stride].chunks_exact_mut(stride) {
            row[vocab..].fill(MaybeUninit::new(0.0));
        }
        // SAFETY: there is room for the logits, the product writes all of them, and the loop has written the gaps.
        unsafe {
            multiply(self.0.as_mut_ptr(), stride, x, weight.transposed(), false, precision, Threads::All);
            self.0.set_len(rows * stride);
        }
        &mut self.0
    }
}

/// The tokens whose logits exist now.
struct Chunk<'a> {
    targets: &'a [i64],
    /// Index of the first of them.
    first: usize,
    vocab: usize,
    soft: ChunkTargets<'a>,
    options: &'a Options<'a>,
}

#[derive(Clone, Copy)]
enum ChunkTargets<'a> {
    Hard,
    /// (tokens of the chunk or more, vocabulary)
    Probabilities(&'a [f32]),
    /// Logits (tokens of the chunk, vocabulary) as [`Buffer`] holds them, and the temperature.
    Teacher(&'a [f32], f32),
}

impl Chunk<'_> {
    /// Turns logits into the gradient of the loss (if wanted; else leaves them) and returns the sum of the losses. Where
    /// products round their inputs, the gradient is rounded at once, each row into its first half.
    fn losses(&self, logits: &mut [f32], gradient: bool) -> f64 {
        let level = Level::best();
        let coefficients = self.options.coefficients();
        let rows = logits.par_chunks_mut(spread_stride(self.vocab)).enumerate();
        let token = |(i, row): (usize, &mut [f32])| {
            let row = &mut row[..self.vocab];
            let loss = self.token(level, &coefficients, i, row, gradient);
            if gradient && self.options.precision == Precision::Bf16 {
                narrow_in_place(level, row);
            }
            loss
        };
        let losses: Vec<f32> = rows.map(token).collect();
        losses.into_iter().map(f64::from).sum()
    }

    /// The gradient that [`Chunk::losses`] left.
    fn gradient<'a>(&self, logits: &'a [f32]) -> Matrix<'a> {
        let (rows, stride) = (self.targets.len(), spread_stride(self.vocab));
        match self.options.precision {
            Precision::F32 => Matrix::strided(logits, rows, self.vocab, stride),
            Precision::Bf16 => Matrix::strided(as_halves(logits), rows, self.vocab, 2 * stride),
        }
    }

    fn token(&self, level: Level, c: &Coefficients, i: usize, logits: &mut [f32], gradient: bool) -> f32 {
        let weight = self.options.token_weights.map_or(1.0, |weights| weights[self.first + i]);
        if self.targets[i] == self.options.ignored {
            logits.fill(0.0);
            return 0.0;
        }
        let target = self.targets[i] as usize;
        let row = |stride: usize| i * stride..i * stride + self.vocab;
        let loss = match self.soft {
            ChunkTargets::Hard => hard_row(level, logits, target, c, weight, gradient),
            ChunkTargets::Probabilities(q) => {
                probabilities_row(level, logits, target, c, weight, gradient, &q[row(self.vocab)])
            }
            ChunkTargets::Teacher(teacher, temperature) => teacher_row(
                level,
                logits,
                target,
                c,
                weight,
                gradient,
                &teacher[row(spread_stride(self.vocab))],
                temperature,
            ),
        };
        weight * loss
    }
}

fn check(targets: &[i64], vocab: usize, options: &Options<'_>) {
    let tokens = targets.len();
    if let Some(bad) = targets.iter().find(|t| **t != options.ignored && !(0..vocab as i64).contains(t)) {
        panic_target(*bad, vocab);
    }
    assert!(options.token_weights.is_none_or(|w| w.len() == tokens), "weights of {tokens} tokens");
    match options.soft.map(|soft| soft.targets) {
        None => {}
        Some(SoftTargets::Probabilities(q)) => assert_eq!(q.len(), tokens * vocab, "probabilities of {tokens} tokens"),
        Some(SoftTargets::Teacher { hidden, weight, dim, temperature }) => {
            let fits = hidden.len() == tokens * dim && weight.len() == vocab * dim;
            assert!(fits, "teacher of {dim}: {tokens} tokens, vocabulary of {vocab}");
            assert!(temperature > 0.0, "temperature {temperature}");
        }
    }
}

#[cold]
#[allow(clippy::panic)]
fn panic_target(target: i64, vocab: usize) -> ! {
    panic!("target {target} is outside the vocabulary of {vocab}")
}
