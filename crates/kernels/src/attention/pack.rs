//! Copies of operands in the form in which products read them.

use super::QUERIES;
use crate::cpu::Level;
use crate::gemm::Matrix;
use crate::values::{Values, bf16_bits};
use crate::vector::{Form, Products, Vector};
use half::bf16;

/// A value that becomes half of a pair of bfloat16.
trait Half: Copy {
    /// Its bits as bfloat16, in the low half.
    fn bits(self) -> u32;
}

impl Half for f32 {
    #[inline(always)]
    fn bits(self) -> u32 {
        bf16_bits(self)
    }
}

impl Half for bf16 {
    #[inline(always)]
    fn bits(self) -> u32 {
        u32::from(self.to_bits())
    }
}

#[inline(always)]
fn pair<T: Half>(low: T, high: T) -> f32 {
    f32::from_bits(low.bits() | high.bits() << 16)
}

multiversion! {
    fn round_row(x: &mut [f32]) = round_body;
    fn pair_neighbours(x: &[f32], y: &mut [f32]) = neighbours_body;
    fn pair_short_neighbours(x: &[bf16], y: &mut [f32]) = short_neighbours_body;
    fn pair_rows(low: &[f32], high: &[f32], y: &mut [f32]) = rows_body;
    fn pair_short_rows(low: &[bf16], high: &[bf16], y: &mut [f32]) = short_rows_body;
}

#[inline(always)]
fn round_body<const FMA: bool>(x: &mut [f32]) {
    for x in x {
        *x = f32::from_bits(bf16_bits(*x) << 16);
    }
}

#[inline(always)]
fn pair_all<T: Half>(x: &[T], y: &mut [f32]) {
    for (x, y) in x.chunks_exact(2).zip(y) {
        *y = pair(x[0], x[1]);
    }
}

#[inline(always)]
fn pair_both<T: Half>(low: &[T], high: &[T], y: &mut [f32]) {
    for ((y, low), high) in y.iter_mut().zip(low).zip(high) {
        *y = pair(*low, *high);
    }
}

#[inline(always)]
fn neighbours_body<const FMA: bool>(x: &[f32], y: &mut [f32]) {
    pair_all(x, y);
}

#[inline(always)]
fn short_neighbours_body<const FMA: bool>(x: &[bf16], y: &mut [f32]) {
    pair_all(x, y);
}

#[inline(always)]
fn rows_body<const FMA: bool>(low: &[f32], high: &[f32], y: &mut [f32]) {
    pair_both(low, high, y);
}

#[inline(always)]
fn short_rows_body<const FMA: bool>(low: &[bf16], high: &[bf16], y: &mut [f32]) {
    pair_both(low, high, y);
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
            row.copy_to(level, &mut to[..row.len()]);
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
            match from.row(first + i) {
                Values::F32(row) => {
                    pair_neighbours(level, row, to);
                    pair_last(row, to);
                }
                Values::Bf16(row) => {
                    pair_short_neighbours(level, row, to);
                    pair_last(row, to);
                }
            }
        }
    }
}

/// The last column of an odd number has no neighbour.
fn pair_last<T: Half>(row: &[T], to: &mut [f32]) {
    if let (Some(last), 1) = (row.last(), row.len() % 2) {
        to[row.len() / 2] = f32::from_bits(last.bits());
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
        let Some(len) = low.or(high).map(Values::len) else {
            to.fill(0.0);
            continue;
        };
        let (to, rest) = to.split_at_mut(len);
        rest.fill(0.0);
        match (low, high) {
            (Some(Values::F32(low)), Some(Values::F32(high))) => pair_rows(level, low, high, to),
            (Some(Values::Bf16(low)), Some(Values::Bf16(high))) => pair_short_rows(level, low, high, to),
            (low, high) => {
                // One of them is missing: padding, or beyond the end.
                to.fill(0.0);
                for (row, shift) in [(low, 0), (high, 16)] {
                    match row {
                        Some(Values::F32(row)) => put_half(row, shift, to),
                        Some(Values::Bf16(row)) => put_half(row, shift, to),
                        None => {}
                    }
                }
            }
        }
    }
}

/// Puts a row into the halves of `to` that begin at bit `shift`.
fn put_half<T: Half>(row: &[T], shift: u32, to: &mut [f32]) {
    for (y, x) in to.iter_mut().zip(row) {
        *y = f32::from_bits(y.to_bits() | x.bits() << shift);
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
