//! RMS and layer normalisation over rows, forward and backward; also of a sum, which a residual stream needs twice.
//!
//! `add_*_norm` forms `x + r` and its norm in one pass. Their gradient takes the gradient of the sum along: what comes
//! back through the norm is added to it in the same pass, and is the gradient of both terms.

use crate::cpu::Level;
use crate::math::{Unwritten, as_unwritten, filled, fma, sum_map, sum_zip, sum_zip3};
use crate::precision::Precision;
use crate::values::{ValueVec, narrow};
use half::bf16;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Rows per task in the forward pass; a single task runs where it is called.
const ROWS: usize = 32;
/// Most tasks in the backward pass: each has its own partial sum of the weight's gradient.
const PARTS: usize = 16;

multiversion! {
    fn rms_rows(x: &[f32], weight: &[f32], eps: f32, y: &mut Unwritten, scales: &mut Unwritten) = rms_body;
    fn add_rms_rows(x: &[f32], r: &[f32], weight: &[f32], eps: f32, sum: &mut Unwritten, y: &mut Unwritten, scales: &mut Unwritten) = add_rms_body;
    fn rms_grad_rows(x: &[f32], weight: &[f32], scales: &[f32], g: &[f32], g_sum: Option<&[f32]>, dx: &mut Unwritten, d_weight: &mut [f32]) = rms_grad_body;
    fn layer_rows(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut Unwritten, stats: &mut Unwritten) = layer_body;
    fn add_layer_rows(x: &[f32], r: &[f32], weight: &[f32], bias: &[f32], eps: f32, sum: &mut Unwritten, y: &mut Unwritten, stats: &mut Unwritten) = add_layer_body;
    fn layer_grad_rows(x: &[f32], weight: &[f32], stats: &[f32], g: &[f32], g_sum: Option<&[f32]>, dx: &mut Unwritten, d_weight: &mut [f32], d_bias: &mut [f32]) = layer_grad_body;
}

#[inline(always)]
fn rms_body<const FMA: bool>(x: &[f32], weight: &[f32], eps: f32, y: &mut Unwritten, scales: &mut Unwritten) {
    let d = weight.len();
    for ((x, y), scale) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)).zip(scales) {
        let s = 1.0 / (sum_map(x, |x| x * x) / d as f32 + eps).sqrt();
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
    g_sum: Option<&[f32]>,
    dx: &mut Unwritten,
    d_weight: &mut [f32],
) {
    let d = weight.len();
    let d_weight = &mut d_weight[..d];
    let rows = x.chunks_exact(d).zip(g.chunks_exact(d)).zip(dx.chunks_exact_mut(d)).zip(scales);
    for (row, (((x, g), dx), s)) in rows.enumerate() {
        let mean = sum_zip3(g, weight, x, |g, w, x| g * w * x) * s / d as f32;
        let toward = mean * s * s;
        let through = |i: usize| fma::<FMA>(g[i] * weight[i], *s, -(x[i] * toward));
        write_gradient(dx, g_sum.map(|sum| &sum[row * d..(row + 1) * d]), through);
        for i in 0..d {
            d_weight[i] = fma::<FMA>(g[i] * s, x[i], d_weight[i]);
        }
    }
}

/// `dx = through`, or `dx = g_sum + through`.
#[inline(always)]
fn write_gradient(dx: &mut Unwritten, g_sum: Option<&[f32]>, through: impl Fn(usize) -> f32) {
    match g_sum {
        None => dx.iter_mut().enumerate().for_each(|(i, dx)| _ = dx.write(through(i))),
        Some(g_sum) => dx.iter_mut().zip(g_sum).enumerate().for_each(|(i, (dx, g))| _ = dx.write(g + through(i))),
    }
}

/// `sum = a + b`; the row is read back for its norm while it is in the nearest cache.
#[inline(always)]
fn sum_row<'a>(a: &[f32], b: &[f32], sum: &'a mut Unwritten) -> &'a [f32] {
    for ((a, b), sum) in a.iter().zip(b).zip(sum.iter_mut()) {
        sum.write(a + b);
    }
    assert!(a.len() == sum.len() && b.len() == sum.len());
    // SAFETY: the three lengths agree, so the loop has written every element.
    unsafe { std::slice::from_raw_parts(sum.as_ptr().cast(), sum.len()) }
}

#[inline(always)]
fn add_rms_body<const FMA: bool>(
    x: &[f32],
    r: &[f32],
    weight: &[f32],
    eps: f32,
    sum: &mut Unwritten,
    y: &mut Unwritten,
    scales: &mut Unwritten,
) {
    let d = weight.len();
    let terms = x.chunks_exact(d).zip(r.chunks_exact(d)).zip(sum.chunks_exact_mut(d));
    for (((x, r), sum), (y, scale)) in terms.zip(y.chunks_exact_mut(d).zip(scales.chunks_exact_mut(1))) {
        rms_body::<FMA>(sum_row(x, r, sum), weight, eps, y, scale);
    }
}

#[inline(always)]
fn add_layer_body<const FMA: bool>(
    x: &[f32],
    r: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    sum: &mut Unwritten,
    y: &mut Unwritten,
    stats: &mut Unwritten,
) {
    let d = weight.len();
    let terms = x.chunks_exact(d).zip(r.chunks_exact(d)).zip(sum.chunks_exact_mut(d));
    for (((x, r), sum), (y, stat)) in terms.zip(y.chunks_exact_mut(d).zip(stats.chunks_exact_mut(2))) {
        layer_body::<FMA>(sum_row(x, r, sum), weight, bias, eps, y, stat);
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
        let mean = sum_map(x, |x| x) / d as f32;
        let s = 1.0 / (sum_map(x, |x| (x - mean) * (x - mean)) / d as f32 + eps).sqrt();
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
    g_sum: Option<&[f32]>,
    dx: &mut Unwritten,
    d_weight: &mut [f32],
    d_bias: &mut [f32],
) {
    let d = weight.len();
    let (d_weight, d_bias) = (&mut d_weight[..d], &mut d_bias[..d]);
    let rows = x.chunks_exact(d).zip(g.chunks_exact(d)).zip(dx.chunks_exact_mut(d)).zip(stats.chunks_exact(2));
    for (row, (((x, g), dx), stat)) in rows.enumerate() {
        let (mean, s) = (stat[0], stat[1]);
        let mean_g = sum_zip(g, weight, |g, w| g * w) / d as f32;
        let mean_gh = sum_zip3(g, weight, x, |g, w, x| g * w * ((x - mean) * s)) / d as f32;
        let through = |i: usize| s * (g[i] * weight[i] - mean_g - (x[i] - mean) * s * mean_gh);
        write_gradient(dx, g_sum.map(|sum| &sum[row * d..(row + 1) * d]), through);
        for i in 0..d {
            d_weight[i] = fma::<FMA>(g[i], (x[i] - mean) * s, d_weight[i]);
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

/// [`rms_norm`] with its result in the format `kept`.
///
/// # Panics
/// If `x` is not whole rows.
pub fn rms_norm_kept(x: &[f32], weight: &[f32], eps: f32, kept: Precision) -> (ValueVec, Vec<f32>) {
    let level = Level::best();
    forward_kept(level, x, weight.len(), 1, kept, |x, y, s| rms_rows(level, x, weight, eps, y, s))
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

/// [`layer_norm`] with its result in the format `kept`.
///
/// # Panics
/// If `x` is not whole rows or the bias is of another length than the weight.
pub fn layer_norm_kept(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, kept: Precision) -> (ValueVec, Vec<f32>) {
    let level = Level::best();
    assert_eq!(bias.len(), weight.len(), "bias of {}", weight.len());
    forward_kept(level, x, weight.len(), 2, kept, |x, y, s| layer_rows(level, x, weight, bias, eps, y, s))
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

/// [`forward`] with the result in the format `kept`: rounded row by row, while a row is in the nearest cache.
fn forward_kept(
    level: Level,
    x: &[f32],
    d: usize,
    per_row: usize,
    kept: Precision,
    body: impl Fn(&[f32], &mut Unwritten, &mut Unwritten) + Sync,
) -> (ValueVec, Vec<f32>) {
    let rows = check(x, d);
    if kept == Precision::F32 {
        let (y, stats) = forward(x, d, rows, per_row, body);
        return (ValueVec::F32(y), stats);
    }
    let task = |((y, stats), x): ((&mut [MaybeUninit<bf16>], &mut Unwritten), &[f32])| {
        let mut row = vec![0f32; d];
        for ((y, stats), x) in y.chunks_exact_mut(d).zip(stats.chunks_exact_mut(per_row)).zip(x.chunks_exact(d)) {
            body(x, as_unwritten(&mut row), stats);
            narrow(level, &row, y);
        }
    };
    let mut stats = Vec::new();
    // SAFETY: the blocks cover all rows; the body writes all statistics of its row, and each row of y is written.
    let y = unsafe {
        filled(x.len(), |y| {
            stats = filled(rows * per_row, |stats| {
                let outputs = y.par_chunks_mut(ROWS * d).zip(stats.par_chunks_mut(ROWS * per_row));
                outputs.zip(x.par_chunks(ROWS * d)).for_each(task);
            });
        })
    };
    (ValueVec::Bf16(y), stats)
}

/// What [`add_rms_norm`] and [`add_layer_norm`] give.
#[derive(Clone, Debug, PartialEq)]
pub struct NormOfSum {
    /// `x + r`, as long as both.
    pub sum: Vec<f32>,
    /// The norm of the sum.
    pub y: Vec<f32>,
    /// What the gradient needs, as the norm without a sum returns it.
    pub stats: Vec<f32>,
}

/// `x + r` and its [`rms_norm`] in one pass.
///
/// # Panics
/// If `x` is not whole rows or `r` of another length.
pub fn add_rms_norm(x: &[f32], r: &[f32], weight: &[f32], eps: f32) -> NormOfSum {
    add_rms_norm_at(Level::best(), x, r, weight, eps)
}

fn add_rms_norm_at(level: Level, x: &[f32], r: &[f32], weight: &[f32], eps: f32) -> NormOfSum {
    let d = weight.len();
    forward_of_sum(x, r, d, 1, |x, r, sum, y, stats| add_rms_rows(level, x, r, weight, eps, sum, y, stats))
}

/// `x + r` and its [`layer_norm`] in one pass.
///
/// # Panics
/// If `x` is not whole rows, `r` of another length, or the bias of another length than the weight.
pub fn add_layer_norm(x: &[f32], r: &[f32], weight: &[f32], bias: &[f32], eps: f32) -> NormOfSum {
    add_layer_norm_at(Level::best(), x, r, weight, bias, eps)
}

fn add_layer_norm_at(level: Level, x: &[f32], r: &[f32], weight: &[f32], bias: &[f32], eps: f32) -> NormOfSum {
    let d = weight.len();
    assert_eq!(bias.len(), d, "bias of {d}");
    forward_of_sum(x, r, d, 2, |x, r, sum, y, stats| add_layer_rows(level, x, r, weight, bias, eps, sum, y, stats))
}

/// [`forward`] of two terms.
fn forward_of_sum(
    x: &[f32],
    r: &[f32],
    d: usize,
    per_row: usize,
    body: impl Fn(&[f32], &[f32], &mut Unwritten, &mut Unwritten, &mut Unwritten) + Sync,
) -> NormOfSum {
    let rows = check(x, d);
    assert_eq!(x.len(), r.len(), "terms of a sum");
    let (mut y, mut stats) = (Vec::new(), Vec::new());
    // SAFETY: the blocks cover all rows, and both bodies write sum, y and statistics of theirs.
    let sum = unsafe {
        filled(x.len(), |sum| {
            y = filled(x.len(), |y| {
                stats = filled(rows * per_row, |stats| {
                    if rows <= ROWS {
                        return body(x, r, sum, y, stats);
                    }
                    let outputs = sum.par_chunks_mut(ROWS * d).zip(y.par_chunks_mut(ROWS * d));
                    outputs
                        .zip(stats.par_chunks_mut(ROWS * per_row))
                        .zip(x.par_chunks(ROWS * d).zip(r.par_chunks(ROWS * d)))
                        .for_each(|(((sum, y), stats), (x, r))| body(x, r, sum, y, stats));
                });
            });
        })
    };
    NormOfSum { sum, y, stats }
}

/// Gradients of [`rms_norm`] to (x, weight) from the gradient `g` of its result.
///
/// # Panics
/// If lengths contradict each other.
pub fn rms_norm_grad(x: &[f32], weight: &[f32], scales: &[f32], g: &[f32]) -> (Vec<f32>, Vec<f32>) {
    rms_norm_grad_at(Level::best(), x, weight, scales, g, None)
}

/// [`rms_norm_grad`] where x has further uses, whose gradient `g_sum` is added to the one of x. After
/// [`add_rms_norm`], with its sum as `x`, the first result is the gradient of both terms.
///
/// # Panics
/// If lengths contradict each other.
pub fn add_rms_norm_grad(x: &[f32], weight: &[f32], scales: &[f32], g: &[f32], g_sum: &[f32]) -> (Vec<f32>, Vec<f32>) {
    rms_norm_grad_at(Level::best(), x, weight, scales, g, Some(g_sum))
}

fn rms_norm_grad_at(
    level: Level,
    x: &[f32],
    weight: &[f32],
    scales: &[f32],
    g: &[f32],
    g_sum: Option<&[f32]>,
) -> (Vec<f32>, Vec<f32>) {
    let d = weight.len();
    let saved = Saved { x, d, per_row: 1, stats: scales, g, g_sum };
    backward(&saved, d, |part, dx, sums| rms_grad_rows(level, part.x, weight, part.stats, part.g, part.g_sum, dx, sums))
}

/// Gradients of [`layer_norm`] to (x, weight, bias) from the gradient `g` of its result.
///
/// # Panics
/// If lengths contradict each other.
pub fn layer_norm_grad(x: &[f32], weight: &[f32], stats: &[f32], g: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    layer_norm_grad_at(Level::best(), x, weight, stats, g, None)
}

/// [`layer_norm_grad`] where x has further uses, whose gradient `g_sum` is added to the one of x, as
/// [`add_rms_norm_grad`].
///
/// # Panics
/// If lengths contradict each other.
pub fn add_layer_norm_grad(
    x: &[f32],
    weight: &[f32],
    stats: &[f32],
    g: &[f32],
    g_sum: &[f32],
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    layer_norm_grad_at(Level::best(), x, weight, stats, g, Some(g_sum))
}

fn layer_norm_grad_at(
    level: Level,
    x: &[f32],
    weight: &[f32],
    stats: &[f32],
    g: &[f32],
    g_sum: Option<&[f32]>,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let d = weight.len();
    let saved = Saved { x, d, per_row: 2, stats, g, g_sum };
    let (dx, mut d_weight) = backward(&saved, 2 * d, |part, dx, sums| {
        let (d_weight, d_bias) = sums.split_at_mut(d);
        layer_grad_rows(level, part.x, weight, part.stats, part.g, part.g_sum, dx, d_weight, d_bias);
    });
    let d_bias = d_weight.split_off(d);
    (dx, d_weight, d_bias)
}

/// What a backward pass reads, of all rows or of a run of them.
#[derive(Clone, Copy)]
struct Saved<'a> {
    x: &'a [f32],
    d: usize,
    /// Statistics of each row.
    per_row: usize,
    stats: &'a [f32],
    g: &'a [f32],
    g_sum: Option<&'a [f32]>,
}

impl<'a> Saved<'a> {
    /// Number of rows, once the lengths are seen to agree.
    fn rows(&self) -> usize {
        let rows = check(self.x, self.d);
        let fits = self.g.len() == self.x.len() && self.stats.len() == rows * self.per_row;
        assert!(fits && self.g_sum.is_none_or(|g| g.len() == self.x.len()), "gradient and statistics of {rows} rows");
        rows
    }

    fn part(&self, rows: std::ops::Range<usize>) -> Saved<'a> {
        let (d, n) = (self.d, self.per_row);
        let values = rows.start * d..rows.end * d;
        Saved {
            x: &self.x[values.clone()],
            stats: &self.stats[rows.start * n..rows.end * n],
            g: &self.g[values.clone()],
            g_sum: self.g_sum.map(|g| &g[values]),
            ..*self
        }
    }
}

/// Runs `body` over at most [`PARTS`] runs of rows and adds their partial sums in order. The cut depends on the number
/// of rows alone.
fn backward(
    saved: &Saved<'_>,
    sums: usize,
    body: impl Fn(Saved<'_>, &mut Unwritten, &mut [f32]) + Sync,
) -> (Vec<f32>, Vec<f32>) {
    let (rows, d) = (saved.rows(), saved.d);
    let run = rows.div_ceil(PARTS).max(1);
    let mut total = vec![0f32; sums];
    // SAFETY: the runs cover all rows, and both bodies write all of dx.
    let dx = unsafe {
        filled(rows * d, |dx| {
            let parts: Vec<Vec<f32>> = dx
                .par_chunks_mut(run * d)
                .enumerate()
                .map(|(i, dx)| {
                    let mut part = vec![0f32; sums];
                    body(saved.part(i * run..(i * run + dx.len() / d)), dx, &mut part);
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
mod tests;
