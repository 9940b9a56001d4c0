//! What happens to a piece of scores between products. Pieces lie transposed, (keys, queries), in rows of [`QUERIES`].

use super::mask::{Piece, Sequence};
use super::{Attention, QUERIES, STEP};
use crate::math::tanh;
use crate::random::DropoutMask;
use crate::vector::{Form, Products, Vector};
use std::f32::consts::LOG2_E;

/// The running softmax of a block of queries. Scores are in units of `ln 2`, so that powers are powers of 2.
#[repr(align(64))]
pub(super) struct Running {
    highest: [f32; QUERIES],
    sums: [f32; QUERIES],
    /// The factor by which what was accumulated before the last piece must be multiplied.
    pub(super) shrink: [f32; QUERIES],
}

impl Running {
    pub(super) fn new() -> Self {
        Running { highest: [f32::NEG_INFINITY; QUERIES], sums: [0.0; QUERIES], shrink: [0.0; QUERIES] }
    }

    /// The factor that turns what was accumulated for query `i` into its result.
    pub(super) fn normalizer(&self, i: usize) -> f32 {
        if self.sums[i] == 0.0 { 0.0 } else { 1.0 / self.sums[i] }
    }

    /// `log2(sum(2^score))` of query `i`; for a query that sees nothing +infinity, at which every weight is 0.
    pub(super) fn log_sum(&self, i: usize) -> f32 {
        if self.sums[i] == 0.0 { f32::INFINITY } else { self.highest[i] + self.sums[i].log2() }
    }
}

/// The part of a head's scores that is not a product.
#[derive(Clone, Copy)]
pub(super) struct Bias<'a> {
    pub(super) sequence: Sequence<'a>,
    /// ALiBi slope, 0 for none, in units of `ln 2`.
    pub(super) slope: f32,
    /// Factor on raw scores, in units of `ln 2`.
    pub(super) factor: f32,
    cap: Option<Cap>,
}

/// A raw score s becomes `outer * tanh(inner * s)`, in units of `ln 2`.
#[derive(Clone, Copy)]
struct Cap {
    inner: f32,
    outer: f32,
}

impl<'a> Bias<'a> {
    /// For head `h` of `a`.
    pub(super) fn new(a: &Attention<'_>, sequence: Sequence<'a>, h: usize) -> Self {
        let slope = a.alibi.map_or(0.0, |slopes| slopes[h]);
        let cap = a.softcap.map(|cap| Cap { inner: a.scale / cap, outer: cap * LOG2_E });
        Bias { sequence, slope: slope * LOG2_E, factor: a.scale * LOG2_E, cap }
    }

    /// Makes finished scores of raw ones where a piece needs it. Returns the factor that is still due. With a soft-cap
    /// its slope at each score is written to `slopes`, unless that is empty.
    pub(super) fn apply(&self, form: Form, piece: &Piece, q0: usize, scores: &mut [f32], slopes: &mut [f32]) -> f32 {
        let factor = match self.cap {
            None => self.factor,
            Some(cap) => {
                cap.apply(form, piece, scores, slopes);
                1.0
            }
        };
        if !piece.mixed && self.slope == 0.0 {
            return factor;
        }
        let sequence = &self.sequence;
        for (r, row) in scores.chunks_exact_mut(QUERIES).take(piece.keys).enumerate() {
            let (j, row) = (piece.key + r, &mut row[piece.first..piece.end]);
            if !sequence.real(j) {
                row.fill(f32::NEG_INFINITY);
                continue;
            }
            let (from, to) = sequence.seers(j, q0);
            // Queries of this row are counted from its first.
            let first = piece.first as i32;
            let distance = (sequence.position(q0 + piece.first) - j as i64) as f32;
            finish_row(form.level, row, factor, self.slope, distance, from - first, to - first);
            if let Some(segments) = sequence.segments() {
                let queries = &segments.queries[q0 + piece.first..];
                for (x, segment) in row.iter_mut().zip(queries) {
                    *x = if *segment == segments.keys[j] { *x } else { f32::NEG_INFINITY };
                }
            }
        }
        1.0
    }
}

impl Cap {
    fn apply(&self, form: Form, piece: &Piece, scores: &mut [f32], slopes: &mut [f32]) {
        let lanes = piece.first..piece.end;
        for (r, row) in scores.chunks_exact_mut(QUERIES).take(piece.keys).enumerate() {
            let row = &mut row[lanes.clone()];
            match slopes.get_mut(r * QUERIES..(r + 1) * QUERIES) {
                None => cap_row(form.level, row, self.inner, self.outer),
                Some(slopes) => cap_row_slopes(form.level, row, &mut slopes[lanes.clone()], self.inner, self.outer),
            }
        }
    }
}

multiversion! {
    fn cap_row(row: &mut [f32], inner: f32, outer: f32) = cap_body;
    fn cap_row_slopes(row: &mut [f32], slopes: &mut [f32], inner: f32, outer: f32) = cap_slopes_body;
    fn finish_row(row: &mut [f32], factor: f32, slope: f32, distance: f32, from: i32, to: i32) = finish_body;
    fn dropout_rows(mask: &DropoutMask, first: u64, block: u32, factors: &mut [f32]) = dropout_body;
}

#[inline(always)]
fn cap_body<const FMA: bool>(row: &mut [f32], inner: f32, outer: f32) {
    for x in row {
        *x = outer * tanh::<FMA>(inner * *x);
    }
}

#[inline(always)]
fn cap_slopes_body<const FMA: bool>(row: &mut [f32], slopes: &mut [f32], inner: f32, outer: f32) {
    for (x, slope) in row.iter_mut().zip(slopes) {
        let t = tanh::<FMA>(inner * *x);
        *slope = 1.0 - t * t;
        *x = outer * t;
    }
}

/// `factor * x - slope * |distance + i|` where `from <= i <= to`, else -infinity.
#[inline(always)]
fn finish_body<const FMA: bool>(row: &mut [f32], factor: f32, slope: f32, distance: f32, from: i32, to: i32) {
    for (i, x) in row.iter_mut().enumerate() {
        let score = *x * factor - slope * (distance + i as f32).abs();
        *x = if i as i32 >= from && i as i32 <= to { score } else { f32::NEG_INFINITY };
    }
}

/// The dropout factors of a piece whose query 0 is row `row` of `mask`.
pub(super) fn dropout(form: Form, mask: &DropoutMask, row: u64, piece: &Piece, factors: &mut [f32]) {
    for (r, factors) in factors.chunks_exact_mut(4 * QUERIES).take(piece.keys / 4).enumerate() {
        let block = (piece.key / 4 + r) as u32;
        for first in (piece.first..piece.end).step_by(STEP) {
            dropout_rows(form.level, mask, row + first as u64, block, &mut factors[first..]);
        }
    }
}

/// Factors of 16 rows of the mask from `first` on, in 4 columns: written as 4 rows of 16, [`QUERIES`] apart.
#[inline(always)]
fn dropout_body<const FMA: bool>(mask: &DropoutMask, first: u64, block: u32, factors: &mut [f32]) {
    let mut columns = [[0f32; STEP]; 4];
    for l in 0..STEP {
        let kept = mask.block(first + l as u64, block);
        for c in 0..4 {
            columns[c][l] = kept[c];
        }
    }
    for (c, column) in columns.iter().enumerate() {
        factors[c * QUERIES..c * QUERIES + STEP].copy_from_slice(column);
    }
}

/// Turns a piece of scores into weights relative to the running maximum: `2^(factor * score - highest)`, and moves
/// `running` on. Weights are multiplied by `dropped`, unless it is empty, after they were summed. They replace the
/// scores, or where products take pairs are written to `pairs`, two rows of keys to one.
pub(super) fn weigh(
    form: Form,
    piece: &Piece,
    factor: f32,
    running: &mut Running,
    dropped: &[f32],
    scores: &mut [f32],
    pairs: &mut [f32],
) {
    let (len, end) = (piece.keys * QUERIES, piece.end);
    assert!(end <= QUERIES && scores.len() >= len && (dropped.is_empty() || dropped.len() >= len));
    assert!(!form.pairs() || pairs.len() >= len / 2);
    weigh_run(form, piece, factor, running, dropped, scores, pairs);
}

forms! {
    fn weigh_run(piece: &Piece, factor: f32, running: &mut Running, dropped: &[f32], scores: &mut [f32], pairs: &mut [f32]) = weigh_body;
    fn differentiate_run(piece: &Piece, factor: f32, rows: &Rows, dropped: &[f32], tile: &mut Tile<'_>) = differentiate_body;
}

/// Called by [`weigh`] alone, which has checked sizes.
#[inline(always)]
fn weigh_body<P: Products>(
    piece: &Piece,
    factor: f32,
    running: &mut Running,
    dropped: &[f32],
    scores: &mut [f32],
    pairs: &mut [f32],
) {
    let (scores, pairs) = (scores.as_mut_ptr(), pairs.as_mut_ptr());
    for lane in (piece.first..piece.end).step_by(P::V::LANES) {
        // SAFETY: `weigh` has checked that `piece.keys` rows lie inside, and lanes lie inside a row.
        unsafe {
            let base = highest::<P::V>(piece.keys, factor, lane, scores, running);
            let factor = P::V::splat(factor);
            let mut sums = [P::V::splat(0.0); 2];
            for r in (0..piece.keys).step_by(2) {
                let at = r * QUERIES + lane;
                let mut p = [P::V::splat(0.0); 2];
                for i in 0..2 {
                    p[i] = P::V::load(scores.add(at + i * QUERIES)).mul_add(factor, base).exp2();
                    sums[i] = sums[i].add(p[i]);
                    if !dropped.is_empty() {
                        p[i] = p[i].mul(P::V::load(dropped.as_ptr().add(at + i * QUERIES)));
                    }
                }
                if P::PAIRS {
                    P::pair(p[0], p[1]).store(pairs.add(r / 2 * QUERIES + lane));
                } else {
                    p[0].store(scores.add(at));
                    p[1].store(scores.add(at + QUERIES));
                }
            }
            let sum = running.sums.as_mut_ptr().add(lane);
            let shrink = P::V::load(running.shrink.as_ptr().add(lane));
            P::V::load(sum).mul_add(shrink, sums[0].add(sums[1])).store(sum);
        }
    }
}

/// Moves the running maxima of the queries at `lane` on; returns what to add to scores, minus the maximum.
///
/// # Safety
/// `keys` rows (an even number) of scores must be readable, and `lane` with all lanes lie inside a row.
#[inline(always)]
unsafe fn highest<V: Vector>(keys: usize, factor: f32, lane: usize, scores: *const f32, running: &mut Running) -> V {
    let factor = V::splat(factor);
    // SAFETY: the caller's promise; `running` has rows of the same length.
    unsafe {
        let old = V::load(running.highest.as_ptr().add(lane));
        let mut top = [old; 2];
        for r in (0..keys).step_by(2) {
            let at = scores.add(r * QUERIES + lane);
            top[0] = V::load(at).mul(factor).max(top[0]);
            top[1] = V::load(at.add(QUERIES)).mul(factor).max(top[1]);
        }
        let top = top[0].max(top[1]);
        top.store(running.highest.as_mut_ptr().add(lane));
        // While nothing has been seen the maximum is -infinity, from which nothing can be subtracted.
        let base = top.max(V::splat(-f32::MAX));
        old.sub(base).exp2().store(running.shrink.as_mut_ptr().add(lane));
        V::splat(0.0).sub(base)
    }
}

/// What the gradient needs of each query of a block.
#[repr(align(64))]
pub(super) struct Rows {
    /// [`Running::log_sum`].
    pub(super) log_sums: [f32; QUERIES],
    /// `scale * (result . its gradient)`
    pub(super) deltas: [f32; QUERIES],
    /// Factor on raw scores.
    pub(super) scale: f32,
}

/// A piece of the backward pass. Without pairs `scores` becomes weights (dropout applied) and `grads` the gradient of
/// raw scores; with pairs these are written to the other three.
pub(super) struct Tile<'a> {
    pub(super) scores: &'a mut [f32],
    /// At first the gradient of the weights.
    pub(super) grads: &'a mut [f32],
    /// Pairs of queries, rows of `QUERIES / 2`.
    pub(super) narrow_weights: &'a mut [f32],
    /// As `narrow_weights`.
    pub(super) narrow_grads: &'a mut [f32],
    /// Pairs of keys, rows of [`QUERIES`].
    pub(super) paired_grads: &'a mut [f32],
    /// Slopes of the soft-cap, empty without one.
    pub(super) slopes: &'a mut [f32],
}

/// From scores (with `factor` still due) and gradients of weights to weights and gradients of raw scores,
/// `weight * (scale * gradient - delta)`, times the slope of a soft-cap.
pub(super) fn differentiate(form: Form, piece: &Piece, factor: f32, rows: &Rows, dropped: &[f32], tile: &mut Tile<'_>) {
    let len = piece.keys * QUERIES;
    assert!(piece.end <= QUERIES && tile.scores.len() >= len && tile.grads.len() >= len);
    assert!(dropped.is_empty() || dropped.len() >= len);
    assert!(tile.slopes.is_empty() || tile.slopes.len() >= len);
    let pairs = [&tile.narrow_weights, &tile.narrow_grads, &tile.paired_grads];
    assert!(!form.pairs() || pairs.iter().all(|p| p.len() >= len / 2));
    differentiate_run(form, piece, factor, rows, dropped, tile);
}

/// Called by [`differentiate`] alone, which has checked sizes.
#[inline(always)]
fn differentiate_body<P: Products>(piece: &Piece, factor: f32, rows: &Rows, dropped: &[f32], tile: &mut Tile<'_>) {
    let (scores, grads) = (tile.scores.as_mut_ptr(), tile.grads.as_mut_ptr());
    let (narrow_weights, narrow_grads) = (tile.narrow_weights.as_mut_ptr(), tile.narrow_grads.as_mut_ptr());
    let paired_grads = tile.paired_grads.as_mut_ptr();
    let slopes: &[f32] = tile.slopes;
    let zero = P::V::splat(0.0);
    let (factor, scale) = (P::V::splat(factor), P::V::splat(rows.scale));
    for lane in (piece.first..piece.end).step_by(P::V::LANES) {
        // SAFETY: `differentiate` has checked that `piece.keys` rows lie inside, and lanes lie inside a row.
        unsafe {
            let log_sum = zero.sub(P::V::load(rows.log_sums.as_ptr().add(lane)));
            let delta = zero.sub(P::V::load(rows.deltas.as_ptr().add(lane)));
            for r in (0..piece.keys).step_by(2) {
                let (mut p, mut ds) = ([zero; 2], [zero; 2]);
                for i in 0..2 {
                    let at = (r + i) * QUERIES + lane;
                    p[i] = P::V::load(scores.add(at)).mul_add(factor, log_sum).exp2();
                    let mut dp = P::V::load(grads.add(at));
                    let mut kept = p[i];
                    if !dropped.is_empty() {
                        let dropped = P::V::load(dropped.as_ptr().add(at));
                        (dp, kept) = (dp.mul(dropped), kept.mul(dropped));
                    }
                    ds[i] = p[i].mul(dp.mul_add(scale, delta));
                    if !slopes.is_empty() {
                        ds[i] = ds[i].mul(P::V::load(slopes.as_ptr().add(at)));
                    }
                    p[i] = kept;
                    if P::PAIRS {
                        let at = (r + i) * (QUERIES / 2) + lane / 2;
                        P::store_narrow(p[i], narrow_weights.add(at));
                        P::store_narrow(ds[i], narrow_grads.add(at));
                    } else {
                        p[i].store(scores.add(at));
                        ds[i].store(grads.add(at));
                    }
                }
                if P::PAIRS {
                    P::pair(ds[0], ds[1]).store(paired_grads.add(r / 2 * QUERIES + lane));
                }
            }
        }
    }
}
