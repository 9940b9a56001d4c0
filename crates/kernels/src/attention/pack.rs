//! Copies of operands in the form in which products read them.

use super::QUERIES;
use crate::cpu::Level;
use crate::gemm::Matrix;
use crate::vector::{Form, Products, Vector};

/// The bits of `x` rounded to bfloat16 (to nearest, ties to even), in the low half.
#[inline(always)]
fn bf16_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    // Adding just under half of the last kept place, or exactly half when that place is odd, rounds to even.
    let up = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1));
    (if x.is_nan() { bits | 0x40_0000 } else { up }) >> 16
}

#[inline(always)]
fn pair(low: f32, high: f32) -> f32 {
    f32::from_bits(bf16_bits(low) | bf16_bits(high) << 16)
}

multiversion! {
    fn round_row(x: &mut [f32]) = round_body;
    fn pair_neighbours(x: &[f32], y: &mut [f32]) = neighbours_body;
    fn pair_rows(low: &[f32], high: &[f32], y: &mut [f32]) = rows_body;
}

#[inline(always)]
fn round_body<const FMA: bool>(x: &mut [f32]) {
    for x in x {
        *x = f32::from_bits(bf16_bits(*x) << 16);
    }
}

#[inline(always)]
fn neighbours_body<const FMA: bool>(x: &[f32], y: &mut [f32]) {
    for (x, y) in x.chunks_exact(2).zip(y) {
        *y = pair(x[0], x[1]);
    }
}

#[inline(always)]
fn rows_body<const FMA: bool>(low: &[f32], high: &[f32], y: &mut [f32]) {
    for ((y, low), high) in y.iter_mut().zip(low).zip(high) {
        *y = pair(*low, *high);
    }
}

/// Rounds values to bfloat16 where they stand.
pub(super) fn round(level: Level, x: &mut [f32]) {
    round_row(level, x);
}

/// Rows of `from` from `first` on as rows of `width` values with zeros at the end; `to.len() / width` rows, those that
/// `real` denies all zeros. With `round` to bfloat16.
pub(super) fn rows(
    level: Level,
    from: Matrix<'_>,
    first: usize,
    real: impl Fn(usize) -> bool,
    width: usize,
    round: bool,
    to: &mut [f32],
) {
    for (i, to) in to.chunks_exact_mut(width).enumerate() {
        if real(first + i) {
            let row = from.row(first + i);
            to[..row.len()].copy_from_slice(row);
            to[row.len()..].fill(0.0);
            if round {
                round_row(level, &mut to[..row.len()]);
            }
        } else {
            to.fill(0.0);
        }
    }
}

/// [`rows`] of pairs of neighbouring columns: rows of `width / 2` elements.
pub(super) fn narrow_rows(
    level: Level,
    from: Matrix<'_>,
    first: usize,
    real: impl Fn(usize) -> bool,
    width: usize,
    to: &mut [f32],
) {
    for (i, to) in to.chunks_exact_mut(width / 2).enumerate() {
        to.fill(0.0);
        if real(first + i) {
            let row = from.row(first + i);
            pair_neighbours(level, row, to);
            if row.len() % 2 == 1 {
                to[row.len() / 2] = pair(row[row.len() - 1], 0.0);
            }
        }
    }
}

/// Pairs of neighbouring rows: `to.len() / width` rows of `width` elements, row p from rows `first + 2 p` and the next.
pub(super) fn row_pairs(
    level: Level,
    from: Matrix<'_>,
    first: usize,
    real: impl Fn(usize) -> bool,
    width: usize,
    to: &mut [f32],
) {
    for (p, to) in to.chunks_exact_mut(width).enumerate() {
        let row = |i: usize| if real(i) { Some(from.row(i)) } else { None };
        let (low, high) = (row(first + 2 * p), row(first + 2 * p + 1));
        let Some(len) = low.or(high).map(<[f32]>::len) else {
            to.fill(0.0);
            continue;
        };
        let (to, rest) = to.split_at_mut(len);
        rest.fill(0.0);
        match (low, high) {
            (Some(low), Some(high)) => pair_rows(level, low, high, to),
            (Some(low), None) => to.iter_mut().zip(low).for_each(|(y, x)| *y = pair(*x, 0.0)),
            (_, high) => to.iter_mut().zip(high.unwrap_or_default()).for_each(|(y, x)| *y = pair(0.0, *x)),
        }
    }
}

/// The transpose of the first `rows` (a multiple of 16) rows of `from` (rows, cols): `to` has `cols` rows of
/// [`QUERIES`].
pub(super) fn transpose(form: Form, from: &[f32], rows: usize, cols: usize, to: &mut [f32]) {
    assert!(rows.is_multiple_of(16) && rows <= QUERIES && rows * cols <= from.len() && cols * QUERIES <= to.len());
    transpose_run(form, from, rows, cols, to);
}

forms! {
    fn transpose_run(from: &[f32], rows: usize, cols: usize, to: &mut [f32]) = transpose_body;
}

#[inline(always)]
fn transpose_body<P: Products>(from: &[f32], rows: usize, cols: usize, to: &mut [f32]) {
    let n = P::V::LANES;
    let whole = cols / n * n;
    for i in (0..rows).step_by(n) {
        for j in (0..whole).step_by(n) {
            let (from, to) = (&from[i * cols + j..], &mut to[j * QUERIES + i..]);
            debug_assert!((n - 1) * cols + n <= from.len() && (n - 1) * QUERIES + n <= to.len());
            // SAFETY: `transpose` has checked that all blocks lie inside.
            unsafe { P::V::transpose(from.as_ptr(), cols, to.as_mut_ptr(), QUERIES) };
        }
    }
    for j in whole..cols {
        for i in 0..rows {
            to[j * QUERIES + i] = from[i * cols + j];
        }
    }
}
