//! RMS and layer normalisation over rows, forward and backward.

use crate::cpu::Level;
use crate::math::{LANES, Unwritten, filled, fma, sum_lanes};
use rayon::prelude::*;

/// Rows per task in the forward pass; a single task runs where it is called.
const ROWS: usize = 32;
/// Most tasks in the backward pass: each has its own partial sum of the weight's gradient.
const PARTS: usize = 16;

multiversion! {
    fn rms_rows(x: &[f32], weight: &[f32], eps: f32, y: &mut Unwritten, scales: &mut Unwritten) = rms_body;
    fn rms_grad_rows(x: &[f32], weight: &[f32], scales: &[f32], g: &[f32], dx: &mut Unwritten, d_weight: &mut [f32]) = rms_grad_body;
    fn layer_rows(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut Unwritten, stats: &mut Unwritten) = layer_body;
    fn layer_grad_rows(x: &[f32], weight: &[f32], stats: &[f32], g: &[f32], dx: &mut Unwritten, d_weight: &mut [f32], d_bias: &mut [f32]) = layer_grad_body;
}

/// Sum of `f(i)` over `0..n` in lanes.
#[inline(always)]
fn sum_of(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let whole = n / LANES * LANES;
    for first in (0..whole).step_by(LANES) {
        for l in 0..LANES {
            lanes[l] += f(first + l);
        }
    }
    for i in whole..n {
        lanes[i - whole] += f(i);
    }
    sum_lanes(lanes)
}

#[inline(always)]
fn rms_body<const FMA: bool>(x: &[f32], weight: &[f32], eps: f32, y: &mut Unwritten, scales: &mut Unwritten) {
    let d = weight.len();
    for ((x, y), scale) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)).zip(scales) {
        let s = 1.0 / (sum_of(d, |i| x[i] * x[i]) / d as f32 + eps).sqrt();
        scale.write(s);
        for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
            y.write(x * s * w);
        }
    }
}

/// With `h = x * s` the normalised row: `dx = s * (g w - h * mean(g w h))`, `dw += g h`.
#[inline(always)]
fn rms_grad_body<const FMA: bool>(
    x: &[f32],
    weight: &[f32],
    scales: &[f32],
    g: &[f32],
    dx: &mut Unwritten,
    d_weight: &mut [f32],
) {
    let d = weight.len();
    let d_weight = &mut d_weight[..d];
    for (((x, g), dx), s) in x.chunks_exact(d).zip(g.chunks_exact(d)).zip(dx.chunks_exact_mut(d)).zip(scales) {
        let mean = sum_of(d, |i| g[i] * weight[i] * x[i]) * s / d as f32;
        let toward = mean * s * s;
        for i in 0..d {
            dx[i].write(fma::<FMA>(g[i] * weight[i], *s, -(x[i] * toward)));
            d_weight[i] = fma::<FMA>(g[i] * s, x[i], d_weight[i]);
        }
    }
}

#[inline(always)]
fn layer_body<const FMA: bool>(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    y: &mut Unwritten,
    stats: &mut Unwritten,
) {
    let d = weight.len();
    let bias = &bias[..d];
    for ((x, y), stat) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)).zip(stats.chunks_exact_mut(2)) {
        let mean = sum_of(d, |i| x[i]) / d as f32;
        let s = 1.0 / (sum_of(d, |i| (x[i] - mean) * (x[i] - mean)) / d as f32 + eps).sqrt();
        stat[0].write(mean);
        stat[1].write(s);
        for i in 0..d {
            y[i].write(fma::<FMA>((x[i] - mean) * s, weight[i], bias[i]));
        }
    }
}

/// `dx = s * (g w - mean(g w) - h * mean(g w h))`, `dw += g h`, `db += g`.
#[inline(always)]
fn layer_grad_body<const FMA: bool>(
    x: &[f32],
    weight: &[f32],
    stats: &[f32],
    g: &[f32],
    dx: &mut Unwritten,
    d_weight: &mut [f32],
    d_bias: &mut [f32],
) {
    let d = weight.len();
    let (d_weight, d_bias) = (&mut d_weight[..d], &mut d_bias[..d]);
    for (((x, g), dx), stat) in
        x.chunks_exact(d).zip(g.chunks_exact(d)).zip(dx.chunks_exact_mut(d)).zip(stats.chunks_exact(2))
    {
        let (mean, s) = (stat[0], stat[1]);
        let mean_g = sum_of(d, |i| g[i] * weight[i]) / d as f32;
        let mean_gh = sum_of(d, |i| g[i] * weight[i] * ((x[i] - mean) * s)) / d as f32;
        for i in 0..d {
            let h = (x[i] - mean) * s;
            dx[i].write(s * (g[i] * weight[i] - mean_g - h * mean_gh));
            d_weight[i] = fma::<FMA>(g[i], h, d_weight[i]);
            d_bias[i] += g[i];
        }
    }
}

fn check(x: &[f32], d: usize) -> usize {
    assert!(d > 0 && x.len().is_multiple_of(d), "{} values in rows of {d}", x.len());
    x.len() / d
}

/// `x / sqrt(mean(x^2) + eps) * weight` for each row of `weight.len()` values. Returns the result and each row's
/// factor `1 / sqrt(mean(x^2) + eps)`, which [`rms_norm_grad`] needs.
///
/// # Panics
/// If `x` is not whole rows.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>) {
    rms_norm_at(Level::best(), x, weight, eps)
}

fn rms_norm_at(level: Level, x: &[f32], weight: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>) {
    let d = weight.len();
    let rows = check(x, d);
    forward(x, d, rows, 1, |x, y, s| rms_rows(level, x, weight, eps, y, s))
}

/// Layer normalisation of each row; also returns (mean, 1 / standard deviation) of each, for [`layer_norm_grad`].
///
/// # Panics
/// If `x` is not whole rows or the bias is of another length than the weight.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>) {
    layer_norm_at(Level::best(), x, weight, bias, eps)
}

fn layer_norm_at(level: Level, x: &[f32], weight: &[f32], bias: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>) {
    let d = weight.len();
    assert_eq!(bias.len(), d, "bias of {d}");
    let rows = check(x, d);
    forward(x, d, rows, 2, |x, y, s| layer_rows(level, x, weight, bias, eps, y, s))
}

/// Runs `body` over blocks of rows; it writes every element of y and `per_row` statistics for each row.
fn forward(
    x: &[f32],
    d: usize,
    rows: usize,
    per_row: usize,
    body: impl Fn(&[f32], &mut Unwritten, &mut Unwritten) + Sync,
) -> (Vec<f32>, Vec<f32>) {
    let mut stats = Vec::new();
    // SAFETY: the blocks cover all rows, and both bodies write all of y and all statistics of their rows.
    let y = unsafe {
        filled(x.len(), |y| {
            stats = filled(rows * per_row, |stats| {
                if rows <= ROWS {
                    return body(x, y, stats);
                }
                y.par_chunks_mut(ROWS * d)
                    .zip(stats.par_chunks_mut(ROWS * per_row))
                    .zip(x.par_chunks(ROWS * d))
                    .for_each(|((y, stats), x)| body(x, y, stats));
            });
        })
    };
    (y, stats)
}

/// Gradients of [`rms_norm`] to (x, weight) from the gradient `g` of its result.
///
/// # Panics
/// If lengths contradict each other.
pub fn rms_norm_grad(x: &[f32], weight: &[f32], scales: &[f32], g: &[f32]) -> (Vec<f32>, Vec<f32>) {
    rms_norm_grad_at(Level::best(), x, weight, scales, g)
}

fn rms_norm_grad_at(level: Level, x: &[f32], weight: &[f32], scales: &[f32], g: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let d = weight.len();
    backward(x, d, 1, scales, g, d, |x, stats, g, dx, sums| rms_grad_rows(level, x, weight, stats, g, dx, sums))
}

/// Gradients of [`layer_norm`] to (x, weight, bias) from the gradient `g` of its result.
///
/// # Panics
/// If lengths contradict each other.
pub fn layer_norm_grad(x: &[f32], weight: &[f32], stats: &[f32], g: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    layer_norm_grad_at(Level::best(), x, weight, stats, g)
}

fn layer_norm_grad_at(
    level: Level,
    x: &[f32],
    weight: &[f32],
    stats: &[f32],
    g: &[f32],
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let d = weight.len();
    let (dx, mut d_weight) = backward(x, d, 2, stats, g, 2 * d, |x, stats, g, dx, sums| {
        let (d_weight, d_bias) = sums.split_at_mut(d);
        layer_grad_rows(level, x, weight, stats, g, dx, d_weight, d_bias);
    });
    let d_bias = d_weight.split_off(d);
    (dx, d_weight, d_bias)
}

/// Runs `body` over at most [`PARTS`] runs of rows and adds their partial sums in order. The cut depends on the number
/// of rows alone.
fn backward(
    x: &[f32],
    d: usize,
    per_row: usize,
    stats: &[f32],
    g: &[f32],
    sums: usize,
    body: impl Fn(&[f32], &[f32], &[f32], &mut Unwritten, &mut [f32]) + Sync,
) -> (Vec<f32>, Vec<f32>) {
    let rows = check(x, d);
    assert!(g.len() == x.len() && stats.len() == rows * per_row, "gradient and statistics of {rows} rows");
    let run = rows.div_ceil(PARTS).max(1);
    let mut total = vec![0f32; sums];
    // SAFETY: the runs cover all rows, and both bodies write all of dx.
    let dx = unsafe {
        filled(x.len(), |dx| {
            let parts: Vec<Vec<f32>> = dx
                .par_chunks_mut(run * d)
                .zip(x.par_chunks(run * d).zip(g.par_chunks(run * d)).zip(stats.par_chunks(run * per_row)))
                .map(|(dx, ((x, g), stats))| {
                    let mut part = vec![0f32; sums];
                    body(x, stats, g, dx, &mut part);
                    part
                })
                .collect();
            for part in parts {
                total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
            }
        })
    };
    (dx, total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, gradient, matrix, to_f64};
    use proptest::prelude::*;

    const EPS: f64 = 1e-5;

    fn rms_reference(x: &[f64], w: &[f64]) -> Vec<f64> {
        let d = w.len();
        x.chunks(d)
            .flat_map(|row| {
                let s = 1.0 / (row.iter().map(|x| x * x).sum::<f64>() / d as f64 + EPS).sqrt();
                row.iter().zip(w).map(move |(x, w)| x * s * w).collect::<Vec<_>>()
            })
            .collect()
    }

    fn layer_reference(x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
        let d = w.len();
        x.chunks(d)
            .flat_map(|row| {
                let mean = row.iter().sum::<f64>() / d as f64;
                let s = 1.0 / (row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / d as f64 + EPS).sqrt();
                row.iter().zip(w.iter().zip(b)).map(move |(x, (w, b))| (x - mean) * s * w + b).collect::<Vec<_>>()
            })
            .collect()
    }

    fn weighted(y: Vec<f64>, g: &[f32]) -> f64 {
        y.iter().zip(g).map(|(y, g)| y * f64::from(*g)).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn both_norms_and_their_gradients(rows in 1usize..40, d in 2usize..40, seed: u64) {
            let (x, w, b, g) = (matrix(rows * d, seed), matrix(d, seed ^ 1), matrix(d, seed ^ 2), matrix(rows * d, seed ^ 3));
            let (x64, w64, b64) = (to_f64(&x), to_f64(&w), to_f64(&b));
            let rms_dx = gradient(&x64[..d], |x| weighted(rms_reference(x, &w64), &g[..d]));
            let rms_dw = gradient(&w64, |w| weighted(rms_reference(&x64, w), &g));
            let layer_dx = gradient(&x64[..d], |x| weighted(layer_reference(x, &w64, &b64), &g[..d]));
            let layer_dw = gradient(&w64, |w| weighted(layer_reference(&x64, w, &b64), &g));
            let layer_db = gradient(&b64, |b| weighted(layer_reference(&x64, &w64, b), &g));
            for level in Level::available() {
                let (y, scales) = rms_norm_at(level, &x, &w, EPS as f32);
                assert_close(&y, &rms_reference(&x64, &w64), 2e-6);
                let (dx, dw) = rms_norm_grad_at(level, &x, &w, &scales, &g);
                assert_close(&dx[..d], &rms_dx, 1e-4);
                assert_close(&dw, &rms_dw, 1e-4);
                let (y, stats) = layer_norm_at(level, &x, &w, &b, EPS as f32);
                assert_close(&y, &layer_reference(&x64, &w64, &b64), 1e-5);
                let (dx, dw, db) = layer_norm_grad_at(level, &x, &w, &stats, &g);
                assert_close(&dx[..d], &layer_dx, 1e-3);
                assert_close(&dw, &layer_dw, 1e-3);
                assert_close(&db, &layer_db, 1e-4);
            }
        }
    }
}
