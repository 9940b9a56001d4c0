//! Loops over whole tensors, element by element: sums, and the cut into tasks that activations share.

use crate::cpu::Level;
use crate::math::{Unwritten, as_unwritten, filled};
use crate::values::{ValueVec, Values, narrow, narrowed, widen};
use half::bf16;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Elements per task. A single task runs where it is called: waking the thread pool would cost more than the work.
pub(crate) const CHUNK: usize = 1 << 14;

multiversion! {
    fn add_chunk(a: &[f32], b: &[f32], y: &mut Unwritten) = add_body;
    pub(crate) fn add_assign_chunk(a: &mut [f32], b: &[f32]) = add_assign_body;
}

#[inline(always)]
fn add_body<const FMA: bool>(a: &[f32], b: &[f32], y: &mut Unwritten) {
    for ((a, b), y) in a.iter().zip(b).zip(y) {
        y.write(a + b);
    }
}

#[inline(always)]
fn add_assign_body<const FMA: bool>(a: &mut [f32], b: &[f32]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += b;
    }
}

/// `a + b`.
///
/// # Panics
/// If the lengths differ.
pub fn add(a: &[f32], b: &[f32]) -> Vec<f32> {
    let level = Level::best();
    map2(a, b, |a, b, y| add_chunk(level, a, b, y))
}

/// `a += b`.
///
/// # Panics
/// If the lengths differ.
pub fn add_assign(a: &mut [f32], b: &[f32]) {
    assert_eq!(a.len(), b.len(), "terms of a sum");
    let level = Level::best();
    if a.len() <= CHUNK {
        return add_assign_chunk(level, a, b);
    }
    a.par_chunks_mut(CHUNK).zip(b.par_chunks(CHUNK)).for_each(|(a, b)| add_assign_chunk(level, a, b));
}

/// A new vector filled chunk by chunk by `f(chunk of x, chunk of the result)`, which must write all of the latter.
pub(crate) fn map(x: &[f32], f: impl Fn(&[f32], &mut Unwritten) + Sync) -> Vec<f32> {
    // SAFETY: chunks of equal position and length cover all elements, and `f` writes each.
    unsafe {
        filled(x.len(), |y| {
            if y.len() <= CHUNK {
                return f(x, y);
            }
            y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| f(x, y));
        })
    }
}

/// [`map`] of two inputs of one length.
pub(crate) fn map2(a: &[f32], b: &[f32], f: impl Fn(&[f32], &[f32], &mut Unwritten) + Sync) -> Vec<f32> {
    assert_eq!(a.len(), b.len(), "two inputs of one elementwise function");
    // SAFETY: as in `map`.
    unsafe {
        filled(a.len(), |y| {
            if y.len() <= CHUNK {
                return f(a, b, y);
            }
            y.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK)).for_each(|((y, a), b)| f(a, b, y))
        })
    }
}

/// `f(x, g)` chunk by chunk, which makes of a gradient of the result one of x, in place.
pub(crate) fn through(x: &[f32], mut g: Vec<f32>, f: impl Fn(&[f32], &mut [f32]) + Sync) -> Vec<f32> {
    assert_eq!(x.len(), g.len(), "value and gradient");
    g.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(g, x)| f(x, g));
    g
}

/// Values that are widened at a time: they and their results stay in the nearest cache.
const STAGE: usize = 1024;

/// [`map`] of values of either format, to the same format.
pub(crate) fn map_values(level: Level, x: Values<'_>, f: impl Fn(&[f32], &mut Unwritten) + Sync) -> ValueVec {
    let x = match x {
        Values::F32(x) => return ValueVec::F32(map(x, f)),
        Values::Bf16(x) => x,
    };
    let task = |(y, x): (&mut [MaybeUninit<bf16>], &[bf16])| {
        let (mut from, mut to) = ([0f32; STAGE], [0f32; STAGE]);
        for (y, x) in y.chunks_mut(STAGE).zip(x.chunks(STAGE)) {
            let (from, to) = (&mut from[..x.len()], &mut to[..x.len()]);
            widen(level, x, from);
            f(from, as_unwritten(to));
            narrow(level, to, y);
        }
    };
    // SAFETY: the chunks cover all elements, and each is written.
    ValueVec::Bf16(unsafe { filled(x.len(), |y| y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(task)) })
}

/// [`through`] of values of either format; the gradient becomes what the values are.
pub(crate) fn through_values(
    level: Level,
    x: Values<'_>,
    g: ValueVec,
    f: impl Fn(&[f32], &mut [f32]) + Sync,
) -> ValueVec {
    let (x, mut g) = match (x, g) {
        (Values::F32(x), g) => return ValueVec::F32(through(x, g.into_f32(), f)),
        (Values::Bf16(x), ValueVec::F32(g)) => (x, narrowed(&g)),
        (Values::Bf16(x), ValueVec::Bf16(g)) => (x, g),
    };
    assert_eq!(x.len(), g.len(), "value and gradient");
    g.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(g, x)| {
        let (mut from, mut gradient) = ([0f32; STAGE], [0f32; STAGE]);
        for (g, x) in g.chunks_mut(STAGE).zip(x.chunks(STAGE)) {
            let (from, gradient) = (&mut from[..x.len()], &mut gradient[..x.len()]);
            widen(level, x, from);
            widen(level, g, gradient);
            f(from, gradient);
            narrow(level, gradient, as_unwritten(g));
        }
    });
    ValueVec::Bf16(g)
}

/// Rows of `width` values that one task takes: about [`CHUNK`] values, at least one row.
pub(crate) fn rows_per_task(width: usize) -> usize {
    (CHUNK / width.max(1)).max(1)
}

/// A new matrix of rows of `to` values, filled by `f(index of the first row, chunk of rows of x, chunk of rows of the
/// result)`, which must write all of the latter; x has rows of `from` values.
pub(crate) fn map_rows(
    x: &[f32],
    from: usize,
    to: usize,
    f: impl Fn(usize, &[f32], &mut Unwritten) + Sync,
) -> Vec<f32> {
    let rows = x.len() / from.max(1);
    let run = rows_per_task(from.max(to));
    // SAFETY: the chunks cover all rows, and `f` writes each element.
    unsafe {
        filled(rows * to, |y| {
            if rows <= run || to == 0 {
                return f(0, x, y);
            }
            let tasks = y.par_chunks_mut(run * to).zip(x.par_chunks(run * from)).enumerate();
            tasks.for_each(|(i, (y, x))| f(i * run, x, y));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::matrix;

    #[test]
    fn sums_of_any_length_at_every_level() {
        for n in [0, 1, 15, 16, 33, CHUNK, 2 * CHUNK + 7] {
            let (a, b) = (matrix(n, 1), matrix(n, 2));
            let want: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
            assert_eq!(add(&a, &b), want);
            let mut sum = a.clone();
            add_assign(&mut sum, &b);
            assert_eq!(sum, want);
            for level in Level::available() {
                assert_eq!(map2(&a, &b, |a, b, y| add_chunk(level, a, b, y)), want);
                let mut sum = a.clone();
                add_assign_chunk(level, &mut sum, &b);
                assert_eq!(sum, want);
            }
        }
    }

    #[test]
    fn nan_and_infinity_pass() {
        let sum = add(&[f32::NAN, f32::INFINITY, f32::INFINITY], &[1.0, 1.0, f32::NEG_INFINITY]);
        assert!(sum[0].is_nan() && sum[1] == f32::INFINITY && sum[2].is_nan());
    }

    #[test]
    #[should_panic(expected = "terms of a sum")]
    fn lengths_must_agree() {
        add_assign(&mut [0.0; 2], &[0.0; 3]);
    }
}
