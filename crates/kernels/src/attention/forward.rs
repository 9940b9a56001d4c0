//! The forward pass.

use super::mask::{Piece, Sequence};
use super::product::{Product, Start, multiply};
use super::softmax::{Bias, Running, dropout, weigh};
use super::{Attention, Heads, HeadsMut, QUERIES, STEP, TILE, pack, take, with_scratch};
use crate::gemm::Matrix;
use crate::math::Shared;
use crate::precision::Precision;
use crate::vector::Form;
use rayon::prelude::*;

/// Tasks into which a small number of heads is cut, blocks of queries permitting.
const TASKS: usize = 16;

/// As [`Attention::forward_into`], with the forms of `form`.
pub(super) fn forward(a: &Attention<'_>, form: Form, qkv: [Heads<'_>; 3], out: &HeadsMut<'_>, sums: &mut [f32]) {
    a.check();
    assert_eq!(out.dims(), a.query_dims(), "destination");
    assert_eq!(sums.len(), a.batch * a.heads * a.queries, "sums");
    if sums.is_empty() || a.head_dim == 0 {
        sums.fill(f32::INFINITY);
        return;
    }
    let blocks = a.queries.div_ceil(QUERIES);
    let cuts = TASKS.div_ceil(a.batch * a.heads).min(blocks);
    let span = blocks.div_ceil(cuts) * QUERIES;
    let cuts = a.queries.div_ceil(span);
    let sums = Shared::new(sums);
    (0..a.batch * a.heads * cuts).into_par_iter().for_each(|task| {
        let (head, cut) = (task / cuts, task % cuts);
        let (b, h) = (head / a.heads, head % a.heads);
        let (from, to) = (cut * span, ((cut + 1) * span).min(a.queries));
        // SAFETY: these rows of this head are this task's alone.
        let sums = unsafe { sums.slice(head * a.queries + from, to - from) };
        Task { a, form, b, h, from, to, out }.run(qkv, sums);
    });
}

/// Queries `from..to` of head h of sequence b.
struct Task<'a> {
    a: &'a Attention<'a>,
    form: Form,
    b: usize,
    h: usize,
    from: usize,
    to: usize,
    out: &'a HeadsMut<'a>,
}

/// A task's memory.
struct Buffers<'a> {
    /// Rows, of pairs of columns where products take pairs.
    keys: &'a mut [f32],
    /// Rows, pairs of them where products take pairs.
    values: &'a mut [f32],
    query_rows: &'a mut [f32],
    queries: &'a mut [f32],
    scores: &'a mut [f32],
    pairs: &'a mut [f32],
    dropped: &'a mut [f32],
    out: &'a mut [f32],
}

impl<'a> Buffers<'a> {
    /// Cuts up `memory` for `keys` keys. Some is left over: everything but the result is asked for as if it were f32.
    fn cut(a: &Attention<'_>, form: Form, keys: usize, mut memory: &'a mut [f32]) -> Self {
        let (width, unit) = (a.width(), if form.pairs() { 2 } else { 1 });
        let block = QUERIES * width;
        Buffers {
            keys: take(&mut memory, keys * width / unit),
            values: take(&mut memory, keys * width / unit),
            query_rows: take(&mut memory, block / unit),
            queries: take(&mut memory, block / unit),
            scores: take(&mut memory, TILE),
            pairs: take(&mut memory, TILE / 2),
            dropped: take(&mut memory, if a.dropout.is_some() { TILE } else { 0 }),
            out: take(&mut memory, block),
        }
    }

    /// Values that [`cut`](Self::cut) needs at most.
    fn len(a: &Attention<'_>, keys: usize) -> usize {
        (2 * keys + 3 * QUERIES) * a.width() + 3 * TILE
    }
}

impl Task<'_> {
    fn run(&self, [q, k, v]: [Heads<'_>; 3], sums: &mut [f32]) {
        let Task { a, form, b, h, .. } = *self;
        let kv = h / (a.heads / a.kv_heads);
        let q = q.head(b, h, a.queries, a.head_dim);
        let (k, v) = (k.head(b, kv, a.keys, a.head_dim), v.head(b, kv, a.keys, a.head_dim));
        let sequence = Sequence::new(a, b);
        let (start, end) = sequence.reach(self.from, self.to - 1);
        let keys = end.saturating_sub(start).next_multiple_of(STEP);
        with_scratch(Buffers::len(a, keys), |memory, pieces| {
            let mut buffers = Buffers::cut(a, form, keys, memory);
            self.pack(k, v, &sequence, start, &mut buffers);
            let bias = Bias::new(a, sequence, h);
            for (q0, sums) in (self.from..self.to).step_by(QUERIES).zip(sums.chunks_mut(QUERIES)) {
                sequence.pieces(q0, sums.len(), pieces);
                self.block(q, q0, start, &bias, pieces, &mut buffers, sums);
            }
        });
    }

    fn pack(&self, k: Matrix<'_>, v: Matrix<'_>, sequence: &Sequence<'_>, start: usize, buffers: &mut Buffers<'_>) {
        let (level, width) = (self.form.level, self.a.width());
        let real = |j: usize| sequence.real(j);
        if self.form.pairs() {
            pack::narrow_rows(level, k, start, real, width, buffers.keys);
            pack::row_pairs(level, v, start, real, width, buffers.values);
        } else {
            let round = self.a.precision == Precision::Bf16;
            pack::rows(level, k, start, real, width, round, buffers.keys);
            pack::rows(level, v, start, real, width, round, buffers.values);
        }
    }

    /// Queries from `q0` on, as many as `sums`. Key `start` is the first in the buffers.
    fn block(
        &self,
        q: Matrix<'_>,
        q0: usize,
        start: usize,
        bias: &Bias<'_>,
        pieces: &[Piece],
        buffers: &mut Buffers<'_>,
        sums: &mut [f32],
    ) {
        let Task { a, form, .. } = *self;
        let width = a.width();
        let rows = sums.len().next_multiple_of(STEP);
        pack_queries(a, form, q, q0, rows, buffers.query_rows, buffers.queries);
        let mut running = Running::new();
        buffers.out[..rows * width].fill(0.0);
        for piece in pieces {
            self.piece(piece, q0, start, bias, &mut running, buffers);
        }
        for (i, (row, sum)) in buffers.out.chunks_exact_mut(width).zip(sums).enumerate() {
            let row = &mut row[..a.head_dim];
            let factor = running.normalizer(i);
            row.iter_mut().for_each(|x| *x *= factor);
            *sum = running.log_sum(i);
            // SAFETY: this row is this task's alone.
            unsafe { self.out.write(form.level, self.b, self.h, q0 + i, row) };
        }
    }

    /// Adds what the block at `q0` sees in a piece to its results.
    fn piece(
        &self,
        piece: &Piece,
        q0: usize,
        start: usize,
        bias: &Bias<'_>,
        running: &mut Running,
        buffers: &mut Buffers<'_>,
    ) {
        let Task { a, form, .. } = *self;
        let (width, unit) = (a.width(), if form.pairs() { 2 } else { 1 });
        let (first, lanes) = (piece.first, piece.end - piece.first);
        let product = Product::scores(piece.keys, lanes, a.head_dim, width, unit);
        let keys = &buffers.keys[(piece.key - start) * width / unit..];
        multiply(form, &product, keys, &buffers.queries[first..], &mut buffers.scores[first..], Start::Overwrite);
        let factor = bias.apply(form, piece, q0, buffers.scores, &mut []);
        if let Some(mask) = &a.dropout {
            dropout(form, mask, mask_row(a, self.b, self.h, q0), piece, buffers.dropped);
        }
        weigh(form, piece, factor, running, buffers.dropped, buffers.scores, buffers.pairs);
        let weights = if form.pairs() { &mut *buffers.pairs } else { &mut *buffers.scores };
        if !form.pairs() && a.precision == Precision::Bf16 {
            pack::round(form.level, &mut weights[..piece.keys * QUERIES]);
        }
        let product = Product::by_query(piece.keys, lanes, width, unit);
        let values = &buffers.values[(piece.key - start) / unit * width..];
        let shrink = Start::Scale(&running.shrink[first..]);
        multiply(form, &product, &weights[first..], values, &mut buffers.out[first * width..], shrink);
    }
}

/// The dropout mask's row of a query.
pub(super) fn mask_row(a: &Attention<'_>, b: usize, h: usize, query: usize) -> u64 {
    ((b * a.heads + h) * a.queries + query) as u64
}

/// Queries (or gradients of results) `q0..q0 + rows`, as rows and transposed.
pub(super) fn pack_queries(
    a: &Attention<'_>,
    form: Form,
    q: Matrix<'_>,
    q0: usize,
    rows: usize,
    query_rows: &mut [f32],
    queries: &mut [f32],
) {
    let width = a.width();
    if form.pairs() {
        let to = &mut query_rows[..rows * width / 2];
        pack::narrow_rows(form.level, q, q0, |i| i < a.queries, width, to);
        pack::transpose(form, to, rows, width / 2, queries);
    } else {
        let to = &mut query_rows[..rows * width];
        pack::rows(form.level, q, q0, |i| i < a.queries, width, a.precision == Precision::Bf16, to);
        pack::transpose(form, to, rows, width, queries);
    }
}
