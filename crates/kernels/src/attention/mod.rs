//! Softmax attention, forward and backward, in tiles: the whole score matrix never exists.
//!
//! Running maxima and sums join the tiles of a row, and the backward pass recomputes the weights from the saved
//! log-sum-exp (Dao 2023, "FlashAttention-2"). How the work lies:
//! * Scores are computed transposed, (keys, queries): a lane is a query, so maxima, sums and their gradients need no
//!   sums across lanes. Of all operands only queries and the gradient of the result are ever transposed.
//! * A head's keys and values are copied once into the form in which products read them; for bfloat16 that is pairs
//!   along the inner dimension of a product.
//! * A mask is cut into [`mask::Piece`]s of 16 keys and 16 queries: what is hidden is skipped, what is whole is computed
//!   without asking, and only mixed pieces are masked element by element.
//! * A task is some queries of a head (forward) or a key head (backward) of a sequence. Gradients of keys and values
//!   have one owner and a fixed order of additions, so results do not depend on the number of threads.
//!
//! NaN and infinities: a NaN in a query, or in a key or value that it sees, makes its result NaN, and so does a score of
//! +infinity. A NaN or infinity in a key or value that a query may *not* see reaches it only through another query of the
//! same 64: weights of 0 times infinity. Keys hidden from all by padding are read as zeros and never reach anyone.
//!
//! Begin reading at [`Attention`].

mod backward;
mod forward;
mod mask;
mod pack;
mod product;
mod softmax;
#[cfg(test)]
mod tests;
mod view;

use crate::cpu::Level;
use crate::precision::Precision;
use crate::random::DropoutMask;
use crate::values::{ValueVec, filled_output};
use crate::vector::Form;
pub use mask::{Mask, Padding, Segments};
use std::cell::RefCell;
pub use view::{Heads, HeadsMut, Joined, time_major};

/// Queries of a tile, and the distance between its rows.
const QUERIES: usize = 64;
/// Keys of a tile.
const KEYS: usize = 64;
/// Scores of a tile.
const TILE: usize = KEYS * QUERIES;
/// Sizes of everything a product touches are rounded up to this.
const STEP: usize = 16;

/// Sizes and settings of one attention.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Sequences.
    pub batch: usize,
    /// Query heads, a multiple of `kv_heads`; the heads of one group are neighbours (Ainslie et al. 2023, "GQA").
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Query positions. Query i stands at key position `i + keys - queries`: both sequences end together.
    pub queries: usize,
    /// Key positions.
    pub keys: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Factor on the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// What the inputs of all products are rounded to. The softmax is f32.
    pub precision: Precision,
    /// Who sees whom.
    pub mask: Mask<'a>,
    /// Which weights are dropped. Row `(sequence * heads + head) * queries + query` of the mask, column `key`.
    pub dropout: Option<DropoutMask>,
    /// One slope per query head: `-slope * |distance|` is added to the scores (Press et al. 2022, "ALiBi").
    pub alibi: Option<&'a [f32]>,
    /// A scaled score s becomes `softcap * tanh(s / softcap)` before mask and slopes (Gemma Team 2024, "Gemma 2"); not 0.
    pub softcap: Option<f32>,
}

/// What [`Attention::backward`] needs of the forward pass.
#[derive(Clone, Copy)]
pub struct Saved<'a> {
    /// Queries as they were given.
    pub q: Heads<'a>,
    /// Keys as they were given.
    pub k: Heads<'a>,
    /// Values as they were given.
    pub v: Heads<'a>,
    /// The result.
    pub out: Heads<'a>,
    /// The rows' [`Attention::forward_into`] sums.
    pub sums: &'a [f32],
}

impl Attention<'_> {
    /// Softmax attention of q (batch, heads, queries, head_dim) to k and v (batch, kv_heads, keys, head_dim). Returns the
    /// result, lying as [`time_major`] in the format of the queries, and what [`Saved::sums`] wants. A query that sees no
    /// key gives zeros.
    ///
    /// # Panics
    /// If a tensor's memory is shorter than its shape and strides say, or a part of the mask is of another length.
    pub fn forward(&self, q: Heads<'_>, k: Heads<'_>, v: Heads<'_>) -> (ValueVec, Vec<f32>) {
        self.forward_at(Level::best(), q, k, v)
    }

    /// [`forward`](Self::forward) into a destination (batch, heads, queries, head_dim) that may lie anywhere. `sums`
    /// (batch, heads, queries) receives each row's `log2(sum(2^score))` for scores in units of `ln 2`, +infinity for a
    /// row that sees nothing.
    ///
    /// # Panics
    /// As [`forward`](Self::forward), or if a destination is of another shape.
    pub fn forward_into(&self, q: Heads<'_>, k: Heads<'_>, v: Heads<'_>, out: HeadsMut<'_>, sums: &mut [f32]) {
        forward::forward(self, self.form(Level::best()), [q, k, v], &out, sums);
    }

    /// Gradients to (q, k, v), each lying as [`time_major`] in the format of the queries, of a result whose gradient is
    /// `g`.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn backward(&self, saved: &Saved<'_>, g: Heads<'_>) -> [ValueVec; 3] {
        self.backward_at(Level::best(), saved, g)
    }

    /// [`backward`](Self::backward) into destinations that may lie anywhere.
    ///
    /// # Panics
    /// As [`forward_into`](Self::forward_into).
    pub fn backward_into(&self, saved: &Saved<'_>, g: Heads<'_>, dq: HeadsMut<'_>, dk: HeadsMut<'_>, dv: HeadsMut<'_>) {
        backward::backward(self, self.form(Level::best()), saved, g, [&dq, &dk, &dv]);
    }

    /// The gradient to a joined tensor (see [`Joined`]) of queries, keys and values.
    ///
    /// # Panics
    /// As [`backward`](Self::backward), or if there are not as many keys as queries.
    pub fn backward_joined(&self, saved: &Saved<'_>, g: Heads<'_>) -> ValueVec {
        let joined = Joined::of(self);
        // SAFETY: the backward pass writes every row of all three, which are all columns of the tensor.
        unsafe {
            filled_output(joined.len(), saved.q.data.precision(), |data| {
                let [dq, dk, dv] = joined.views(data);
                self.backward_into(saved, g, dq, dk, dv);
            })
        }
    }

    fn form(&self, level: Level) -> Form {
        Form::new(level, self.precision)
    }

    fn forward_at(&self, level: Level, q: Heads<'_>, k: Heads<'_>, v: Heads<'_>) -> (ValueVec, Vec<f32>) {
        let mut sums = vec![0f32; self.batch * self.heads * self.queries];
        let dims = self.query_dims();
        // SAFETY: the forward pass writes every row.
        let out = unsafe {
            filled_output(dims.iter().product(), q.data.precision(), |out| {
                let out = HeadsMut::unwritten(out, dims);
                forward::forward(self, self.form(level), [q, k, v], &out, &mut sums);
            })
        };
        (out, sums)
    }

    fn backward_at(&self, level: Level, saved: &Saved<'_>, g: Heads<'_>) -> [ValueVec; 3] {
        let dims = [self.query_dims(), self.key_dims(), self.key_dims()];
        let kept = saved.q.data.precision();
        let mut grads = dims.map(|dims| ValueVec::zeros(dims.iter().product(), kept));
        let [dq, dk, dv] = &mut grads;
        let view = |data: &mut ValueVec, dims| HeadsMut::unwritten(data.as_mut().into(), dims);
        let (dq, dk, dv) = (view(dq, dims[0]), view(dk, dims[1]), view(dv, dims[2]));
        backward::backward(self, self.form(level), saved, g, [&dq, &dk, &dv]);
        grads
    }

    fn query_dims(&self) -> [usize; 4] {
        [self.batch, self.heads, self.queries, self.head_dim]
    }

    fn key_dims(&self) -> [usize; 4] {
        [self.batch, self.kv_heads, self.keys, self.head_dim]
    }

    fn check(&self) {
        let Attention { heads, kv_heads, .. } = *self;
        assert!(kv_heads > 0 && heads.is_multiple_of(kv_heads), "{heads} heads over {kv_heads} key heads");
        assert!(self.alibi.is_none_or(|slopes| slopes.len() == heads), "slopes of {heads} heads");
        self.mask.check(self);
    }

    /// Head width as products see it.
    fn width(&self) -> usize {
        self.head_dim.next_multiple_of(STEP)
    }
}

/// Memory of one thread, kept between tasks.
#[derive(Default)]
struct Scratch {
    lines: Vec<Line>,
    pieces: Vec<mask::Piece>,
}

/// A cache line: vectors of a kept buffer never straddle two.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [f32; STEP]);

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Runs `task` with this thread's scratch memory of at least `len` values, whose content is left over from before.
fn with_scratch(len: usize, task: impl FnOnce(&mut [f32], &mut Vec<mask::Piece>)) {
    SCRATCH.with_borrow_mut(|scratch| {
        let lines = len.div_ceil(STEP);
        if scratch.lines.len() < lines {
            scratch.lines.resize(lines, Line([0.0; STEP]));
        }
        // SAFETY: a `Line` is STEP f32 without gaps.
        let values = unsafe { std::slice::from_raw_parts_mut(scratch.lines.as_mut_ptr().cast::<f32>(), lines * STEP) };
        task(values, &mut scratch.pieces);
    });
}

/// Cuts `len` values off the front of `from`.
fn take<'a>(from: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (head, rest) = std::mem::take(from).split_at_mut(len);
    *from = rest;
    head
}
