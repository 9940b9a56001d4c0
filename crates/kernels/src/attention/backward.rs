//! The backward pass.

use super::forward::{mask_row, pack_queries};
use super::mask::{Piece, Sequence};
use super::product::{Product, Start, multiply};
use super::softmax::{Bias, Rows, Tile, differentiate, dropout};
use super::{Attention, Heads, HeadsMut, QUERIES, STEP, Saved, TILE, pack, take, with_scratch};
use crate::cpu::Level;
use crate::gemm::Matrix;
use crate::math::dot;
use crate::precision::Precision;
use crate::values::{Values, wide};
use crate::vector::Form;
use half::bf16;
use rayon::prelude::*;

multiversion! {
    fn row_dot(a: &[f32], b: &[f32]) -> f32 = dot;
    fn short_row_dot(a: &[bf16], b: &[bf16]) -> f32 = short_dot;
}

#[inline(always)]
fn short_dot<const FMA: bool>(a: &[bf16], b: &[bf16]) -> f32 {
    const PIECE: usize = 64;
    let (mut wide_a, mut wide_b) = ([0f32; PIECE], [0f32; PIECE]);
    let mut sum = 0.0;
    for (a, b) in a.chunks(PIECE).zip(b.chunks(PIECE)) {
        let n = a.len();
        wide_a.iter_mut().zip(a).for_each(|(wide_a, a)| *wide_a = wide(*a));
        wide_b.iter_mut().zip(b).for_each(|(wide_b, b)| *wide_b = wide(*b));
        sum += dot::<FMA>(&wide_a[..n], &wide_b[..n]);
    }
    sum
}

/// The dot product of two rows, of either format.
fn dot_rows(level: Level, a: Values<'_>, b: Values<'_>) -> f32 {
    match (a, b) {
        (Values::Bf16(a), Values::Bf16(b)) => short_row_dot(level, a, b),
        (a, b) => row_dot(level, &a.widened(), &b.widened()),
    }
}

/// As [`Attention::backward_into`], with the forms of `form`.
pub(super) fn backward(a: &Attention<'_>, form: Form, saved: &Saved<'_>, g: Heads<'_>, grads: [&HeadsMut<'_>; 3]) {
    a.check();
    let dims = [a.query_dims(), a.key_dims(), a.key_dims()];
    assert_eq!(grads.map(HeadsMut::dims), dims, "destinations");
    assert_eq!(saved.sums.len(), a.batch * a.heads * a.queries, "saved sums");
    if a.head_dim == 0 {
        return;
    }
    (0..a.batch * a.kv_heads).into_par_iter().for_each(|task| {
        Task { a, form, b: task / a.kv_heads, kv: task % a.kv_heads, saved, g, grads }.run();
    });
}

/// A key head of a sequence, with the query heads of its group.
struct Task<'a> {
    a: &'a Attention<'a>,
    form: Form,
    b: usize,
    kv: usize,
    saved: &'a Saved<'a>,
    g: Heads<'a>,
    grads: [&'a HeadsMut<'a>; 3],
}

/// A task's memory. Where products take pairs, `keys` and `values` hold pairs of columns, `paired_keys`,
/// `paired_queries` and `paired_result_grads` pairs of rows; else these three are unused and the rows serve.
struct Buffers<'a> {
    keys: &'a mut [f32],
    values: &'a mut [f32],
    paired_keys: &'a mut [f32],
    key_grads: &'a mut [f32],
    value_grads: &'a mut [f32],
    query_rows: &'a mut [f32],
    queries: &'a mut [f32],
    paired_queries: &'a mut [f32],
    result_grad_rows: &'a mut [f32],
    result_grads: &'a mut [f32],
    paired_result_grads: &'a mut [f32],
    query_grads: &'a mut [f32],
    dropped: &'a mut [f32],
    tile: Tile<'a>,
}

impl<'a> Buffers<'a> {
    /// Cuts up `memory` for `keys` keys. Some is left over: where products take pairs most halves.
    fn cut(a: &Attention<'_>, form: Form, keys: usize, mut memory: &'a mut [f32]) -> Self {
        let (of_keys, block) = (keys * a.width(), QUERIES * a.width());
        let unit = if form.pairs() { 2 } else { 1 };
        let paired = |n: usize| if form.pairs() { n / 2 } else { 0 };
        let mut cut = |n: usize| take(&mut memory, n);
        Buffers {
            keys: cut(of_keys / unit),
            values: cut(of_keys / unit),
            paired_keys: cut(paired(of_keys)),
            key_grads: cut(of_keys),
            value_grads: cut(of_keys),
            query_rows: cut(block / unit),
            queries: cut(block / unit),
            paired_queries: cut(paired(block)),
            result_grad_rows: cut(block / unit),
            result_grads: cut(block / unit),
            paired_result_grads: cut(paired(block)),
            query_grads: cut(block),
            dropped: cut(if a.dropout.is_some() { TILE } else { 0 }),
            tile: Tile {
                scores: cut(TILE),
                grads: cut(TILE),
                narrow_weights: cut(paired(TILE)),
                narrow_grads: cut(paired(TILE)),
                paired_grads: cut(paired(TILE)),
                slopes: cut(if a.softcap.is_some() { TILE } else { 0 }),
            },
        }
    }

    /// Values that [`cut`](Self::cut) needs at most.
    fn len(a: &Attention<'_>, keys: usize) -> usize {
        (4 * keys + 5 * QUERIES) * a.width() + (5 + usize::from(a.softcap.is_some())) * TILE
    }
}

impl Task<'_> {
    fn run(&self) {
        let Task { a, form, b, kv, saved, .. } = *self;
        let (k, v) = (saved.k.head(b, kv, a.keys, a.head_dim), saved.v.head(b, kv, a.keys, a.head_dim));
        let sequence = Sequence::new(a, b);
        let (width, keys) = (a.width(), a.keys.next_multiple_of(STEP));
        with_scratch(Buffers::len(a, keys), |memory, pieces| {
            let mut buffers = Buffers::cut(a, form, keys, memory);
            self.pack(k, v, &sequence, &mut buffers);
            let group = a.heads / a.kv_heads;
            for h in kv * group..(kv + 1) * group {
                self.head(h, sequence, pieces, &mut buffers);
            }
            for (grads, from) in [(self.grads[1], &*buffers.key_grads), (self.grads[2], &*buffers.value_grads)] {
                for (j, row) in from.chunks_exact(width).take(a.keys).enumerate() {
                    // SAFETY: this key head is this task's alone.
                    unsafe { grads.write(form.level, b, kv, j, &row[..a.head_dim]) };
                }
            }
        });
    }

    fn pack(&self, k: Matrix<'_>, v: Matrix<'_>, sequence: &Sequence<'_>, buffers: &mut Buffers<'_>) {
        let (level, width) = (self.form.level, self.a.width());
        let real = |j: usize| sequence.real(j);
        if self.form.pairs() {
            pack::narrow_rows(level, k, 0, real, width, buffers.keys);
            pack::narrow_rows(level, v, 0, real, width, buffers.values);
            pack::row_pairs(level, k, 0, real, width, buffers.paired_keys);
        } else {
            let round = self.a.precision == Precision::Bf16;
            pack::rows(level, k, 0, real, width, round, buffers.keys);
            pack::rows(level, v, 0, real, width, round, buffers.values);
        }
        buffers.key_grads.fill(0.0);
        buffers.value_grads.fill(0.0);
    }

    fn head(&self, h: usize, sequence: Sequence<'_>, pieces: &mut Vec<Piece>, buffers: &mut Buffers<'_>) {
        let Task { a, form, b, saved, .. } = *self;
        let [q, g, out] = [saved.q, self.g, saved.out].map(|x| x.head(b, h, a.queries, a.head_dim));
        let sums = &saved.sums[(b * a.heads + h) * a.queries..][..a.queries];
        let bias = Bias::new(a, sequence, h);
        let width = a.width();
        for (q0, sums) in (0..a.queries).step_by(QUERIES).zip(sums.chunks(QUERIES)) {
            let rows = sums.len().next_multiple_of(STEP);
            sequence.pieces(q0, sums.len(), pieces);
            pack_queries(a, form, q, q0, rows, buffers.query_rows, buffers.queries);
            pack_queries(a, form, g, q0, rows, buffers.result_grad_rows, buffers.result_grads);
            if form.pairs() {
                let len = rows / 2 * width;
                pack::row_pairs(form.level, q, q0, |i| i < a.queries, width, &mut buffers.paired_queries[..len]);
                pack::row_pairs(form.level, g, q0, |i| i < a.queries, width, &mut buffers.paired_result_grads[..len]);
            }
            let mut of_rows = Rows { log_sums: [f32::INFINITY; QUERIES], deltas: [0.0; QUERIES], scale: a.scale };
            of_rows.log_sums[..sums.len()].copy_from_slice(sums);
            for (i, delta) in of_rows.deltas[..sums.len()].iter_mut().enumerate() {
                *delta = a.scale * dot_rows(form.level, out.row(q0 + i), g.row(q0 + i));
            }
            buffers.query_grads[..rows * width].fill(0.0);
            for piece in pieces.iter() {
                self.piece(h, q0, piece, &bias, &of_rows, buffers);
            }
            for (i, row) in buffers.query_grads.chunks_exact(width).take(sums.len()).enumerate() {
                // SAFETY: this head is this task's alone.
                unsafe { self.grads[0].write(form.level, b, h, q0 + i, &row[..a.head_dim]) };
            }
        }
    }

    fn piece(&self, h: usize, q0: usize, piece: &Piece, bias: &Bias<'_>, rows: &Rows, buffers: &mut Buffers<'_>) {
        let Task { a, form, b, .. } = *self;
        let (width, unit) = (a.width(), if form.pairs() { 2 } else { 1 });
        let lanes = piece.end - piece.first;
        let scores = Product::scores(piece.keys, lanes, a.head_dim, width, unit);
        let (key, first) = (piece.key * width / unit, piece.first);
        let Tile { scores: p, grads: ds, slopes, .. } = &mut buffers.tile;
        multiply(form, &scores, &buffers.keys[key..], &buffers.queries[first..], &mut p[first..], Start::Overwrite);
        multiply(
            form,
            &scores,
            &buffers.values[key..],
            &buffers.result_grads[first..],
            &mut ds[first..],
            Start::Overwrite,
        );
        let factor = bias.apply(form, piece, q0, p, slopes);
        if let Some(mask) = &a.dropout {
            dropout(form, mask, mask_row(a, b, h, q0), piece, buffers.dropped);
        }
        differentiate(form, piece, factor, rows, buffers.dropped, &mut buffers.tile);
        self.add_products(piece, buffers);
    }

    /// Adds what a piece's weights and gradients of scores bring to the gradients of values, keys and queries.
    fn add_products(&self, piece: &Piece, buffers: &mut Buffers<'_>) {
        let Task { a, form, .. } = *self;
        let (width, pairs) = (a.width(), form.pairs());
        let unit = if pairs { 2 } else { 1 };
        let (first, lanes) = (piece.first, piece.end - piece.first);
        let tile = &mut buffers.tile;
        if !pairs && a.precision == Precision::Bf16 {
            pack::round(form.level, &mut tile.scores[..piece.keys * QUERIES]);
            pack::round(form.level, &mut tile.grads[..piece.keys * QUERIES]);
        }
        let (weights, grads) =
            if pairs { (&*tile.narrow_weights, &*tile.narrow_grads) } else { (&*tile.scores, &*tile.grads) };
        let (queries, result_grads) = if pairs {
            (&*buffers.paired_queries, &*buffers.paired_result_grads)
        } else {
            (&*buffers.query_rows, &*buffers.result_grad_rows)
        };
        // (keys, queries) * (queries, head_dim)
        let by_key = Product {
            rows: piece.keys,
            cols: width,
            inner: lanes / unit,
            a_row: QUERIES / unit,
            a_inner: 1,
            b_row: width,
            c_row: width,
        };
        let (row, from) = (piece.key * width, first / unit);
        multiply(
            form,
            &by_key,
            &weights[from..],
            &result_grads[from * width..],
            &mut buffers.value_grads[row..],
            Start::Add,
        );
        multiply(form, &by_key, &grads[from..], &queries[from * width..], &mut buffers.key_grads[row..], Start::Add);
        let by_query = Product::by_query(piece.keys, lanes, width, unit);
        let (grads, keys) =
            if pairs { (&*tile.paired_grads, &*buffers.paired_keys) } else { (&*tile.grads, &*buffers.keys) };
        let keys = &keys[row / unit..];
        multiply(form, &by_query, &grads[first..], keys, &mut buffers.query_grads[first * width..], Start::Add);
    }
}
