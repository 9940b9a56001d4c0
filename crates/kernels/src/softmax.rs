//! Softmax and log-softmax of rows, forward and backward, and the pieces of them that cross-entropy shares.

use crate::cpu::Level;
use crate::elementwise::{map_rows, rows_per_task};
use crate::math::{LANES, Unwritten, exp, filled, fma, map_and_sum, sum_map, sum_zip};
use rayon::prelude::*;

multiversion! {
    fn softmax_rows(x: &[f32], width: usize, y: &mut Unwritten) = softmax_body;
    fn log_softmax_rows(x: &[f32], width: usize, y: &mut Unwritten) = log_softmax_body;
    fn softmax_grad_rows(y: &[f32], width: usize, g: &[f32], dx: &mut Unwritten) = softmax_grad_body;
    fn log_softmax_grad_rows(y: &[f32], width: usize, g: &[f32], dx: &mut Unwritten) = log_softmax_grad_body;
}

/// Accumulators that hide the latency of a chain of additions or comparisons.
const CHAINS: usize = 4;

/// Largest value of a row, negative infinity for an empty one. A NaN is passed over: the exponentials bring it back.
#[inline(always)]
pub(crate) fn row_max(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [[f32::NEG_INFINITY; LANES]; CHAINS];
    let chunks = x.chunks_exact(CHAINS * LANES);
    let mut top = chunks.remainder().iter().fold(f32::NEG_INFINITY, |top, x| larger(top, *x));
    for c in chunks {
        for (u, lanes) in lanes.iter_mut().enumerate() {
            for l in 0..LANES {
                lanes[l] = larger(lanes[l], c[u * LANES + l]);
            }
        }
    }
    for lane in lanes.iter().flatten() {
        top = larger(top, *lane);
    }
    top
}

#[inline(always)]
fn softmax_body<const FMA: bool>(x: &[f32], width: usize, y: &mut Unwritten) {
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        let top = row_max(x);
        for (x, y) in x.iter().zip(y.iter_mut()) {
            y.write(x - top);
        }
        // SAFETY: the loop has written every element of the row, which is as long as that of x.
        let y = unsafe { std::slice::from_raw_parts_mut(y.as_mut_ptr().cast::<f32>(), width) };
        let inverse = 1.0 / map_and_sum(y, exp::<FMA>);
        y.iter_mut().for_each(|y| *y *= inverse);
    }
}

#[inline(always)]
fn log_softmax_body<const FMA: bool>(x: &[f32], width: usize, y: &mut Unwritten) {
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        let top = row_max(x);
        let rest = sum_map(x, |x| exp::<FMA>(x - top)).ln();
        for (x, y) in x.iter().zip(y) {
            y.write(x - top - rest);
        }
    }
}

/// `dx = y * (g - sum(g y))`.
#[inline(always)]
fn softmax_grad_body<const FMA: bool>(y: &[f32], width: usize, g: &[f32], dx: &mut Unwritten) {
    for ((y, g), dx) in y.chunks_exact(width).zip(g.chunks_exact(width)).zip(dx.chunks_exact_mut(width)) {
        let mean = sum_zip(g, y, |g, y| g * y);
        for ((y, g), dx) in y.iter().zip(g).zip(dx) {
            dx.write(y * (g - mean));
        }
    }
}

/// `dx = g - exp(y) * sum(g)`.
#[inline(always)]
fn log_softmax_grad_body<const FMA: bool>(y: &[f32], width: usize, g: &[f32], dx: &mut Unwritten) {
    for ((y, g), dx) in y.chunks_exact(width).zip(g.chunks_exact(width)).zip(dx.chunks_exact_mut(width)) {
        let sum = sum_map(g, |g| g);
        for ((y, g), dx) in y.iter().zip(g).zip(dx) {
            dx.write(fma::<FMA>(-exp::<FMA>(*y), sum, *g));
        }
    }
}

/// `exp(x) / sum(exp(x))` of each row of `width` values. A row that holds NaN or positive infinity, or nothing but
/// negative infinity, becomes NaN.
///
/// # Panics
/// If `x` is not whole rows.
pub fn softmax(x: &[f32], width: usize) -> Vec<f32> {
    softmax_at(Level::best(), x, width)
}

fn softmax_at(level: Level, x: &[f32], width: usize) -> Vec<f32> {
    check(x, width);
    map_rows(x, width, width, |_, x, y| softmax_rows(level, x, width, y))
}

/// Logarithm of [`softmax`], without the underflow of small probabilities.
///
/// # Panics
/// If `x` is not whole rows.
pub fn log_softmax(x: &[f32], width: usize) -> Vec<f32> {
    log_softmax_at(Level::best(), x, width)
}

fn log_softmax_at(level: Level, x: &[f32], width: usize) -> Vec<f32> {
    check(x, width);
    map_rows(x, width, width, |_, x, y| log_softmax_rows(level, x, width, y))
}

/// Gradient of [`softmax`] from its result `y` and the gradient `g` of that.
///
/// # Panics
/// If `y` is not whole rows, or `g` of another length.
pub fn softmax_grad(y: &[f32], width: usize, g: &[f32]) -> Vec<f32> {
    let level = Level::best();
    backward(y, width, g, |y, g, dx| softmax_grad_rows(level, y, width, g, dx))
}

/// Gradient of [`log_softmax`] from its result `y` and the gradient `g` of that.
///
/// # Panics
/// If `y` is not whole rows, or `g` of another length.
pub fn log_softmax_grad(y: &[f32], width: usize, g: &[f32]) -> Vec<f32> {
    let level = Level::best();
    backward(y, width, g, |y, g, dx| log_softmax_grad_rows(level, y, width, g, dx))
}

fn backward(y: &[f32], width: usize, g: &[f32], body: impl Fn(&[f32], &[f32], &mut Unwritten) + Sync) -> Vec<f32> {
    check(y, width);
    assert_eq!(y.len(), g.len(), "values and gradient");
    let run = rows_per_task(width) * width;
    // SAFETY: the chunks cover all rows, and both bodies write all of theirs.
    unsafe {
        filled(y.len(), |dx| {
            if dx.len() <= run {
                return body(y, g, dx);
            }
            dx.par_chunks_mut(run).zip(y.par_chunks(run)).zip(g.par_chunks(run)).for_each(|((dx, y), g)| body(y, g, dx))
        })
    }
}

fn check(x: &[f32], width: usize) {
    assert!(width > 0 && x.len().is_multiple_of(width), "{} values in rows of {width}", x.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, gradient, matrix, to_f64};
    use proptest::prelude::*;

    fn reference(x: &[f64], width: usize, log: bool) -> Vec<f64> {
        let row = |x: &[f64]| {
            let sum: f64 = x.iter().map(|x| x.exp()).sum();
            x.iter().map(|x| if log { x - sum.ln() } else { x.exp() / sum }).collect::<Vec<_>>()
        };
        x.chunks(width).flat_map(row).collect()
    }

    fn weighted(y: &[f64], g: &[f32]) -> f64 {
        y.iter().zip(g).map(|(y, g)| y * f64::from(*g)).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn values_and_gradients(rows in 0usize..5, width in 1usize..90, seed: u64) {
            let x: Vec<f32> = matrix(rows * width, seed).into_iter().map(|x| 12.0 * x).collect();
            let (x64, g) = (to_f64(&x), matrix(rows * width, seed ^ 1));
            let dx = gradient(&x64, |x| weighted(&reference(x, width, false), &g));
            let log_dx = gradient(&x64, |x| weighted(&reference(x, width, true), &g));
            for level in Level::available() {
                let y = softmax_at(level, &x, width);
                assert_close(&y, &reference(&x64, width, false), 1e-6);
                assert_close(&backward(&y, width, &g, |y, g, dx| softmax_grad_rows(level, y, width, g, dx)), &dx, 1e-5);
                let y = log_softmax_at(level, &x, width);
                assert_close(&y, &reference(&x64, width, true), 2e-6);
                assert_close(&backward(&y, width, &g, |y, g, dx| log_softmax_grad_rows(level, y, width, g, dx)), &log_dx, 2e-5);
            }
        }
    }

    /// More rows than one task takes, and rows wider than a task, to the bit as each row alone.
    #[test]
    fn the_cut_into_tasks_does_not_show() {
        for (rows, width) in [(300, 101), (3, 20_011)] {
            let (x, g) = (matrix(rows * width, 1), matrix(rows * width, 2));
            let (all, all_log) = (softmax(&x, width), log_softmax(&x, width));
            let (dx, dx_log) = (softmax_grad(&all, width, &g), log_softmax_grad(&all_log, width, &g));
            for row in 0..rows {
                let at = row * width..(row + 1) * width;
                let (x, g) = (&x[at.clone()], &g[at.clone()]);
                assert_eq!(softmax(x, width), all[at.clone()]);
                assert_eq!(log_softmax(x, width), all_log[at.clone()]);
                assert_eq!(softmax_grad(&all[at.clone()], width, g), dx[at.clone()]);
                assert_eq!(log_softmax_grad(&all_log[at.clone()], width, g), dx_log[at]);
            }
        }
    }

    #[test]
    fn extremes() {
        let infinity = f32::INFINITY;
        for level in Level::available() {
            let y = softmax_at(level, &[-infinity, 0.0, 1e30, 1e30], 4);
            assert_eq!(y, [0.0, 0.0, 0.5, 0.5]);
            assert_eq!(log_softmax_at(level, &[-infinity, 0.0, -infinity, -infinity], 4)[1], 0.0);
            for x in [[f32::NAN, 1.0, 2.0], [infinity, 1.0, 2.0], [-infinity; 3]] {
                // The finite logits beside an infinite one get 0 / NaN; the row is not usable, and shows it.
                assert!(softmax_at(level, &x, 3).iter().any(|y| y.is_nan()), "{x:?}");
                assert!(log_softmax_at(level, &x, 3).iter().any(|y| y.is_nan()), "{x:?}");
            }
        }
    }
}
