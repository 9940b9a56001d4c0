//! Dropout of rows by recomputed masks (Srivastava et al. 2014; counter-based numbers as in [`crate::random`]).
//!
//! Nothing is stored for the backward pass: it draws the same mask, so the gradient of a dropout is the same dropout of
//! the gradient.

use crate::cpu::Level;
use crate::elementwise::{map_rows, rows_per_task};
use crate::math::{Unwritten, filled};
use crate::random::{DropoutMask, WIDE, WideMask, wide_factors};
use rayon::prelude::*;

multiversion! {
    fn dropout_rows(x: &[f32], width: usize, mask: &DropoutMask, first_row: u64, y: &mut Unwritten) = dropout_body;
    fn add_dropout_rows(r: &[f32], x: &[f32], width: usize, mask: &DropoutMask, first_row: u64, y: &mut Unwritten) = add_dropout_body;
}

/// The factors of a row of `width`, round by round: `f(first element, factors of it and those after it)`. The last
/// round reaches beyond the row where the width is no multiple of [`WIDE`].
#[inline(always)]
fn each_round(mask: &DropoutMask, row: u64, width: usize, mut f: impl FnMut(usize, &[f32; WIDE])) {
    let mask = WideMask::new(mask, row);
    for first in (0..width).step_by(WIDE) {
        f(first, &wide_factors(&mask, (first / 4) as u32));
    }
}

#[inline(always)]
fn dropout_body<const FMA: bool>(x: &[f32], width: usize, mask: &DropoutMask, first_row: u64, y: &mut Unwritten) {
    for (row, (x, y)) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).enumerate() {
        each_round(mask, first_row.wrapping_add(row as u64), width, |first, factors| {
            let round = x[first..].iter().zip(&mut y[first..]);
            for ((x, y), factor) in round.zip(factors) {
                y.write(x * factor);
            }
        });
    }
}

/// Product and sum are rounded apart, so that the result is that of the two steps.
#[inline(always)]
fn add_dropout_body<const FMA: bool>(
    r: &[f32],
    x: &[f32],
    width: usize,
    mask: &DropoutMask,
    first_row: u64,
    y: &mut Unwritten,
) {
    let rows = x.chunks_exact(width).zip(r.chunks_exact(width)).zip(y.chunks_exact_mut(width));
    for (row, ((x, r), y)) in rows.enumerate() {
        each_round(mask, first_row.wrapping_add(row as u64), width, |first, factors| {
            let round = x[first..].iter().zip(&r[first..]).zip(&mut y[first..]);
            for (((x, r), y), factor) in round.zip(factors) {
                y.write(r + x * factor);
            }
        });
    }
}

/// Each element of `x`, rows of `width` values, times 0 with the mask's probability and else times its scale. Row 0 is
/// row `first_row` of the mask. The gradient is the same function of the upstream gradient.
///
/// # Panics
/// If `x` is not whole rows.
pub fn dropout(x: &[f32], width: usize, mask: &DropoutMask, first_row: u64) -> Vec<f32> {
    dropout_at(Level::best(), x, width, mask, first_row)
}

fn dropout_at(level: Level, x: &[f32], width: usize, mask: &DropoutMask, first_row: u64) -> Vec<f32> {
    check(x, width);
    let at = |row: usize| first_row.wrapping_add(row as u64);
    map_rows(x, width, width, |row, x, y| dropout_rows(level, x, width, mask, at(row), y))
}

/// `residual + dropout(x)` in one pass.
///
/// # Panics
/// If `x` is not whole rows, or the residual of another length.
pub fn add_dropout(residual: &[f32], x: &[f32], width: usize, mask: &DropoutMask, first_row: u64) -> Vec<f32> {
    add_dropout_at(Level::best(), residual, x, width, mask, first_row)
}

fn add_dropout_at(
    level: Level,
    residual: &[f32],
    x: &[f32],
    width: usize,
    mask: &DropoutMask,
    first_row: u64,
) -> Vec<f32> {
    check(x, width);
    assert_eq!(residual.len(), x.len(), "terms of a sum");
    let run = rows_per_task(width);
    // SAFETY: the chunks cover all rows, and the body writes each element.
    unsafe {
        filled(x.len(), |y| {
            if x.len() <= run * width {
                return add_dropout_rows(level, residual, x, width, mask, first_row, y);
            }
            let inputs = residual.par_chunks(run * width).zip(x.par_chunks(run * width));
            y.par_chunks_mut(run * width).zip(inputs).enumerate().for_each(|(i, (y, (r, x)))| {
                add_dropout_rows(level, r, x, width, mask, first_row.wrapping_add((i * run) as u64), y);
            });
        })
    }
}

/// The factors themselves, rows `first_row..first_row + rows` of `width` values: for devices that have no kernel.
pub fn factors(rows: usize, width: usize, mask: &DropoutMask, first_row: u64) -> Vec<f32> {
    dropout(&vec![1.0; rows * width], width.max(1), mask, first_row)
}

fn check(x: &[f32], width: usize) {
    assert!(width > 0 && x.len().is_multiple_of(width), "{} values in rows of {width}", x.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementwise::CHUNK;
    use crate::testing::matrix;
    use proptest::prelude::*;

    fn reference(x: &[f32], width: usize, mask: &DropoutMask, first_row: u64) -> Vec<f32> {
        let factor = |i: usize| {
            let (row, column) = (first_row.wrapping_add((i / width) as u64), i % width);
            mask.block(row, (column / 4) as u32)[column % 4]
        };
        x.iter().enumerate().map(|(i, x)| x * factor(i)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn every_element_gets_its_factor(
            rows in 0usize..9, width in 1usize..150, first_row: u64, key: u64, stream: u32, probability in 0f32..0.95,
        ) {
            let mask = DropoutMask { key, stream, probability };
            let (x, r) = (matrix(rows * width, key), matrix(rows * width, first_row));
            let want = reference(&x, width, &mask, first_row);
            let sums: Vec<f32> = want.iter().zip(&r).map(|(y, r)| r + y).collect();
            for level in Level::available() {
                prop_assert_eq!(&dropout_at(level, &x, width, &mask, first_row), &want);
                prop_assert_eq!(&add_dropout_at(level, &r, &x, width, &mask, first_row), &sums);
            }
        }
    }

    #[test]
    fn more_rows_than_a_task_and_parts_of_them() {
        let mask = DropoutMask { key: 5, stream: 1, probability: 0.4 };
        for (rows, width) in [(CHUNK / 16, 50), (3, CHUNK + 5)] {
            let (x, r) = (matrix(rows * width, 1), matrix(rows * width, 2));
            let all = dropout(&x, width, &mask, 10);
            assert_eq!(all, reference(&x, width, &mask, 10));
            let half = rows / 2;
            assert_eq!(all[half * width..], dropout(&x[half * width..], width, &mask, 10 + half as u64));
            let sums: Vec<f32> = all.iter().zip(&r).map(|(y, r)| r + y).collect();
            assert_eq!(add_dropout(&r, &x, width, &mask, 10), sums);
            let scaled: Vec<f32> = factors(rows, width, &mask, 10).iter().zip(&x).map(|(f, x)| f * x).collect();
            assert_eq!(scaled, all);
        }
    }

    #[test]
    fn nothing_is_dropped_at_probability_zero() {
        let x = matrix(70, 1);
        assert_eq!(dropout(&x, 7, &DropoutMask { key: 1, stream: 2, probability: 0.0 }, 3), x);
    }
}
