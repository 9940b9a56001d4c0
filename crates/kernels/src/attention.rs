//! Causal softmax attention with grouped queries, forward and backward, in tiles.
//!
//! A tile of scores is at most [`QUERIES`] x [`KEYS`]; the whole score matrix never exists. Running maxima and sums join
//! the tiles of a row (Dao 2023, "FlashAttention-2"), and the backward pass recomputes the weights from the saved
//! log-sum-exp. A task is one head (forward) or one key head (backward) of one sequence, so the gradients of keys and
//! values have one owner and a fixed order of additions.

use crate::cpu::Level;
use crate::gemm::{Matrix, Threads, multiply};
use crate::math::{LANES, Shared, dot, exp, fma, sum_lanes};
use crate::precision::Precision;
use rayon::prelude::*;

/// Query positions of a tile.
const QUERIES: usize = 64;
/// Key positions of a tile.
const KEYS: usize = 256;

/// Sizes of one attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Sequences.
    pub batch: usize,
    /// Query heads, a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Positions.
    pub time: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Factor on the scores.
    pub scale: f32,
}

/// A tensor (batch, heads, time, head_dim) wherever it lies: element (b, h, t, c) is at
/// `b * strides[0] + h * strides[1] + t * strides[2] + c`.
#[derive(Clone, Copy)]
pub struct Heads<'a> {
    /// The memory, from the first element on.
    pub data: &'a [f32],
    /// Elements between sequences, heads and positions.
    pub strides: [usize; 3],
}

impl<'a> Heads<'a> {
    fn head(&self, b: usize, h: usize, shape: &Shape) -> Matrix<'a> {
        let start = b * self.strides[0] + h * self.strides[1];
        Matrix::strided(&self.data[start..], shape.time, shape.head_dim, self.strides[2])
    }
}

/// Strides of results: they lie in memory as (batch, time, heads, head_dim), the order in which the next linear layer
/// reads them.
pub fn time_major(heads: usize, time: usize, head_dim: usize) -> [usize; 3] {
    [time * heads * head_dim, head_dim, heads * head_dim]
}

fn check(shape: &Shape) {
    assert!(
        shape.kv_heads > 0 && shape.heads.is_multiple_of(shape.kv_heads),
        "{} heads over {} key heads",
        shape.heads,
        shape.kv_heads
    );
}

multiversion! {
    fn softmax_tile(tile: &mut [f32], cols: usize, visible: usize, scale: f32, highest: &mut [f32], sums: &mut [f32], shrink: &mut [f32]) = softmax_body;
    fn scale_rows(rows: &mut [f32], stride: usize, width: usize, factors: &[f32]) = scale_rows_body;
    fn grad_tile(p: &mut [f32], dp: &mut [f32], cols: usize, visible: usize, scale: f32, lse: &[f32], delta: &[f32]) = grad_body;
    fn row_dot(a: &[f32], b: &[f32]) -> f32 = dot;
}

/// Turns a tile of raw scores (`highest.len()` rows of [`KEYS`]) into `exp(scale * score - running maximum)`, zero where
/// row r may not look (columns from `visible + r` on), and moves the running maxima and sums on. `shrink` becomes the
/// factor by which what was accumulated before this tile must be multiplied.
#[inline(always)]
fn softmax_body<const FMA: bool>(
    tile: &mut [f32],
    cols: usize,
    visible: usize,
    scale: f32,
    highest: &mut [f32],
    sums: &mut [f32],
    shrink: &mut [f32],
) {
    for (r, row) in tile.chunks_exact_mut(KEYS).take(highest.len()).enumerate() {
        let (row, hidden) = row[..cols].split_at_mut((visible + r).min(cols));
        hidden.fill(0.0);
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let chunks = row.chunks_exact(LANES);
        for (m, x) in lanes.iter_mut().zip(chunks.remainder()) {
            *m = *x;
        }
        for c in chunks {
            for l in 0..LANES {
                lanes[l] = if c[l] > lanes[l] { c[l] } else { lanes[l] };
            }
        }
        let top = lanes.iter().fold(f32::NEG_INFINITY, |m, x| if *x > m { *x } else { m });
        // A negative scale would turn the order round; the maximum only guards against overflow, so its size is enough.
        let top = if scale >= 0.0 { top * scale } else { row.iter().fold(f32::NEG_INFINITY, |m, x| m.max(x * scale)) };
        let new = if top > highest[r] { top } else { highest[r] };
        shrink[r] = if highest[r] == f32::NEG_INFINITY { 0.0 } else { exp::<FMA>(highest[r] - new) };
        let mut lanes = [0f32; LANES];
        let mut chunks = row.chunks_exact_mut(LANES);
        for c in &mut chunks {
            for l in 0..LANES {
                c[l] = exp::<FMA>(fma::<FMA>(c[l], scale, -new));
                lanes[l] += c[l];
            }
        }
        for (x, lane) in chunks.into_remainder().iter_mut().zip(&mut lanes) {
            *x = exp::<FMA>(fma::<FMA>(*x, scale, -new));
            *lane += *x;
        }
        sums[r] = fma::<FMA>(sums[r], shrink[r], sum_lanes(lanes));
        highest[r] = new;
    }
}

#[inline(always)]
fn scale_rows_body<const FMA: bool>(rows: &mut [f32], stride: usize, width: usize, factors: &[f32]) {
    for (r, factor) in factors.iter().enumerate() {
        rows[r * stride..r * stride + width].iter_mut().for_each(|x| *x *= factor);
    }
}

/// From raw scores in `p` and products `g v` in `dp` to the weights (in `p`) and the gradient of the raw scores (in
/// `dp`): `scale * p * (dp - delta)`.
#[inline(always)]
fn grad_body<const FMA: bool>(
    p: &mut [f32],
    dp: &mut [f32],
    cols: usize,
    visible: usize,
    scale: f32,
    lse: &[f32],
    delta: &[f32],
) {
    for (r, (p, dp)) in p.chunks_exact_mut(KEYS).zip(dp.chunks_exact_mut(KEYS)).take(lse.len()).enumerate() {
        let seen = (visible + r).min(cols);
        p[seen..cols].fill(0.0);
        dp[seen..cols].fill(0.0);
        for (p, dp) in p[..seen].iter_mut().zip(&mut dp[..seen]) {
            *p = exp::<FMA>(fma::<FMA>(*p, scale, -lse[r]));
            *dp = *p * scale * (*dp - delta[r]);
        }
    }
}

/// Causal attention. Returns the result, lying as [`time_major`], and the log-sum-exp of each row's scores,
/// (batch, heads, time), which [`backward`] needs.
///
/// # Panics
/// If a tensor's memory is shorter than its shape and strides say.
pub fn forward(shape: &Shape, q: Heads<'_>, k: Heads<'_>, v: Heads<'_>) -> (Vec<f32>, Vec<f32>) {
    forward_at(Level::best(), shape, q, k, v)
}

fn forward_at(level: Level, shape: &Shape, q: Heads<'_>, k: Heads<'_>, v: Heads<'_>) -> (Vec<f32>, Vec<f32>) {
    check(shape);
    let Shape { batch, heads, kv_heads, time, head_dim, .. } = *shape;
    let mut out = vec![0f32; batch * heads * time * head_dim];
    let mut lse = vec![0f32; batch * heads * time];
    if out.is_empty() {
        return (out, lse);
    }
    let shared = Shared::new(&mut out);
    lse.par_chunks_mut(time).enumerate().for_each(|(task, lse)| {
        let (b, h) = (task / heads, task % heads);
        let kv = h / (heads / kv_heads);
        let start = b * time * heads * head_dim + h * head_dim;
        // SAFETY: the rows of (b, h) belong to this task alone.
        unsafe {
            forward_head(
                level,
                shape,
                q.head(b, h, shape),
                k.head(b, kv, shape),
                v.head(b, kv, shape),
                &shared,
                start,
                lse,
            )
        };
    });
    (out, lse)
}

/// # Safety
/// The rows of `out` from `start` on, `head_dim` wide and `heads * head_dim` apart, must belong to this call alone.
#[allow(clippy::too_many_arguments)]
unsafe fn forward_head(
    level: Level,
    shape: &Shape,
    q: Matrix<'_>,
    k: Matrix<'_>,
    v: Matrix<'_>,
    out: &Shared<'_>,
    start: usize,
    lse: &mut [f32],
) {
    let Shape { heads, time, head_dim, scale, .. } = *shape;
    let stride = heads * head_dim;
    let mut tile = vec![0f32; QUERIES * KEYS];
    for q0 in (0..time).step_by(QUERIES) {
        let rows = QUERIES.min(time - q0);
        let (mut highest, mut sums, mut shrink) = ([f32::NEG_INFINITY; QUERIES], [0f32; QUERIES], [0f32; QUERIES]);
        let at = start + q0 * stride;
        let result = out.at(at);
        let span = (rows - 1) * stride + head_dim;
        // Bounds of the last row; `multiply` writes through the pointer.
        out.at(at + span - 1);
        for k0 in (0..q0 + rows).step_by(KEYS) {
            let cols = KEYS.min(q0 + rows - k0);
            // SAFETY: the tile holds QUERIES rows of KEYS and is local.
            unsafe {
                multiply(
                    tile.as_mut_ptr(),
                    KEYS,
                    q.rows(q0, rows),
                    k.rows(k0, cols).transposed(),
                    false,
                    Precision::F32,
                    Threads::One,
                )
            };
            softmax_tile(
                level,
                &mut tile,
                cols,
                q0 + 1 - k0,
                scale,
                &mut highest[..rows],
                &mut sums[..rows],
                &mut shrink[..rows],
            );
            if k0 > 0 {
                // SAFETY: of this span only this head's columns are touched, which the caller gave to this call.
                unsafe { scale_shared_rows(level, out, at, stride, head_dim, &shrink[..rows]) };
            }
            // SAFETY: the rows of this head lie inside `out` (checked above) and belong to this call.
            unsafe {
                multiply(
                    result,
                    stride,
                    Matrix::strided(&tile, rows, cols, KEYS),
                    v.rows(k0, cols),
                    k0 > 0,
                    Precision::F32,
                    Threads::One,
                )
            };
        }
        for r in 0..rows {
            lse[q0 + r] = highest[r] + sums[r].ln();
            shrink[r] = 1.0 / sums[r];
        }
        // SAFETY: as above.
        unsafe { scale_shared_rows(level, out, at, stride, head_dim, &shrink[..rows]) };
    }
}

/// # Safety
/// The rows must belong to the caller alone. They are borrowed one at a time: the memory between them is others'.
unsafe fn scale_shared_rows(level: Level, out: &Shared<'_>, at: usize, stride: usize, width: usize, factors: &[f32]) {
    for (r, factor) in factors.iter().enumerate() {
        // SAFETY: one row of this head.
        let row = unsafe { out.slice(at + r * stride, width) };
        scale_rows(level, row, width, width, &[*factor]);
    }
}

/// Gradients of [`forward`] to (q, k, v), each lying as [`time_major`]. `out` is the result of [`forward`], `g` the
/// gradient of that result, `lse` the second value it returned.
///
/// # Panics
/// If a tensor's memory is shorter than its shape and strides say.
pub fn backward(
    shape: &Shape,
    q: Heads<'_>,
    k: Heads<'_>,
    v: Heads<'_>,
    out: &[f32],
    lse: &[f32],
    g: Heads<'_>,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    backward_at(Level::best(), shape, q, k, v, out, lse, g)
}

#[allow(clippy::too_many_arguments)]
fn backward_at(
    level: Level,
    shape: &Shape,
    q: Heads<'_>,
    k: Heads<'_>,
    v: Heads<'_>,
    out: &[f32],
    lse: &[f32],
    g: Heads<'_>,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    check(shape);
    let Shape { batch, heads, kv_heads, time, head_dim, .. } = *shape;
    assert!(
        out.len() == batch * heads * time * head_dim && lse.len() == batch * heads * time,
        "saved values of {shape:?}"
    );
    let mut dq = vec![0f32; out.len()];
    let mut dk = vec![0f32; batch * kv_heads * time * head_dim];
    let mut dv = vec![0f32; dk.len()];
    if out.is_empty() {
        return (dq, dk, dv);
    }
    let out = Heads { data: out, strides: time_major(heads, time, head_dim) };
    {
        let grads = Gradients { dq: Shared::new(&mut dq), dk: Shared::new(&mut dk), dv: Shared::new(&mut dv) };
        let group = heads / kv_heads;
        (0..batch * kv_heads).into_par_iter().for_each(|task| {
            let (b, kv) = (task / kv_heads, task % kv_heads);
            let (k, v) = (k.head(b, kv, shape), v.head(b, kv, shape));
            let kv_start = b * time * kv_heads * head_dim + kv * head_dim;
            let mut scratch = Scratch { p: vec![0f32; QUERIES * KEYS], dp: vec![0f32; QUERIES * KEYS] };
            for h in kv * group..(kv + 1) * group {
                let lse = &lse[(b * heads + h) * time..][..time];
                let head = HeadPass {
                    q: q.head(b, h, shape),
                    out: out.head(b, h, shape),
                    g: g.head(b, h, shape),
                    lse,
                    start: b * time * heads * head_dim + h * head_dim,
                };
                // SAFETY: head h of sequence b and key head kv of b belong to this task alone.
                unsafe { backward_head(level, shape, &head, k, v, kv_start, &grads, &mut scratch) };
            }
        });
    }
    (dq, dk, dv)
}

struct Gradients<'a> {
    dq: Shared<'a>,
    dk: Shared<'a>,
    dv: Shared<'a>,
}

struct Scratch {
    p: Vec<f32>,
    dp: Vec<f32>,
}

struct HeadPass<'a> {
    q: Matrix<'a>,
    out: Matrix<'a>,
    g: Matrix<'a>,
    lse: &'a [f32],
    start: usize,
}

/// # Safety
/// In `grads`, the rows of this head (dq) and of this key head (dk, dv) must belong to this call alone.
#[allow(clippy::too_many_arguments)]
unsafe fn backward_head(
    level: Level,
    shape: &Shape,
    head: &HeadPass<'_>,
    k: Matrix<'_>,
    v: Matrix<'_>,
    kv_start: usize,
    grads: &Gradients<'_>,
    scratch: &mut Scratch,
) {
    let Shape { heads, kv_heads, time, head_dim, scale, .. } = *shape;
    let (q_stride, kv_stride) = (heads * head_dim, kv_heads * head_dim);
    let Scratch { p, dp } = scratch;
    for q0 in (0..time).step_by(QUERIES) {
        let rows = QUERIES.min(time - q0);
        let (q, g) = (head.q.rows(q0, rows), head.g.rows(q0, rows));
        let mut delta = [0f32; QUERIES];
        for (r, delta) in delta[..rows].iter_mut().enumerate() {
            *delta = row_dot(level, head.out.row(q0 + r), g.row(r));
        }
        let dq = grads.dq.at(head.start + q0 * q_stride);
        grads.dq.at(head.start + (q0 + rows - 1) * q_stride + head_dim - 1);
        for k0 in (0..q0 + rows).step_by(KEYS) {
            let cols = KEYS.min(q0 + rows - k0);
            let (k, v) = (k.rows(k0, cols), v.rows(k0, cols));
            let (dk, dv) = (grads.dk.at(kv_start + k0 * kv_stride), grads.dv.at(kv_start + k0 * kv_stride));
            grads.dk.at(kv_start + (k0 + cols - 1) * kv_stride + head_dim - 1);
            // SAFETY: p and dp hold QUERIES rows of KEYS and are local.
            unsafe {
                multiply(p.as_mut_ptr(), KEYS, q, k.transposed(), false, Precision::F32, Threads::One);
                multiply(dp.as_mut_ptr(), KEYS, g, v.transposed(), false, Precision::F32, Threads::One);
            }
            grad_tile(level, p, dp, cols, q0 + 1 - k0, scale, &head.lse[q0..q0 + rows], &delta[..rows]);
            let (p, ds) = (Matrix::strided(p, rows, cols, KEYS), Matrix::strided(dp, rows, cols, KEYS));
            // SAFETY: first and last element of each target were checked to lie inside (dk and dv are equally long), and
            // the caller gave these rows to this call.
            unsafe {
                multiply(dv, kv_stride, p.transposed(), g, true, Precision::F32, Threads::One);
                multiply(dk, kv_stride, ds.transposed(), q, true, Precision::F32, Threads::One);
                multiply(dq, q_stride, ds, k, true, Precision::F32, Threads::One);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, gradient, matrix, to_f64};
    use proptest::prelude::*;

    /// Everything laid out (batch, heads, time, head_dim) without gaps, straight from the formula.
    fn reference(s: &Shape, q: &[f64], k: &[f64], v: &[f64]) -> Vec<f64> {
        let Shape { batch, heads, kv_heads, time, head_dim, scale } = *s;
        let mut out = vec![0f64; q.len()];
        for b in 0..batch {
            for h in 0..heads {
                let kv = b * kv_heads + h / (heads / kv_heads);
                for i in 0..time {
                    let at = ((b * heads + h) * time + i) * head_dim;
                    let key = |j: usize| (kv * time + j) * head_dim;
                    let scores: Vec<f64> = (0..=i)
                        .map(|j| f64::from(scale) * (0..head_dim).map(|c| q[at + c] * k[key(j) + c]).sum::<f64>())
                        .collect();
                    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 = scores.iter().map(|x| (x - top).exp()).sum();
                    for (j, x) in scores.iter().enumerate() {
                        for c in 0..head_dim {
                            out[at + c] += (x - top).exp() / sum * v[key(j) + c];
                        }
                    }
                }
            }
        }
        out
    }

    fn plain(data: &[f32], heads: usize, s: &Shape) -> Heads<'static> {
        // Leaked on purpose: a test's views may outlive its statement.
        Heads {
            data: Vec::leak(data.to_vec()),
            strides: [heads * s.time * s.head_dim, s.time * s.head_dim, s.head_dim],
        }
    }

    /// (batch, time, heads, dim) to (batch, heads, time, dim).
    fn head_major(x: &[f32], heads: usize, s: &Shape) -> Vec<f32> {
        let [sb, sh, st] = time_major(heads, s.time, s.head_dim);
        let mut y = Vec::new();
        for b in 0..s.batch {
            for h in 0..heads {
                for t in 0..s.time {
                    y.extend_from_slice(&x[b * sb + h * sh + t * st..][..s.head_dim]);
                }
            }
        }
        y
    }

    fn scaled(len: usize, seed: u64) -> Vec<f32> {
        matrix(len, seed).into_iter().map(|x| 3.0 * x).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn any_shape_agrees_with_the_formula(batch in 1usize..3, kv_heads in 1usize..3, group in 1usize..3, time in 1usize..330, head_dim in 1usize..20, seed: u64) {
            let s = Shape { batch, heads: kv_heads * group, kv_heads, time, head_dim, scale: 0.7 };
            let (q, k, v) = (scaled(batch * s.heads * time * head_dim, seed), scaled(batch * kv_heads * time * head_dim, seed ^ 1), scaled(batch * kv_heads * time * head_dim, seed ^ 2));
            let want = reference(&s, &to_f64(&q), &to_f64(&k), &to_f64(&v));
            for level in Level::available() {
                let (out, _) = forward_at(level, &s, plain(&q, s.heads, &s), plain(&k, kv_heads, &s), plain(&v, kv_heads, &s));
                assert_close(&head_major(&out, s.heads, &s), &want, 1e-5);
            }
        }

        #[test]
        fn gradients_agree_with_finite_differences(kv_heads in 1usize..3, group in 1usize..3, time in 1usize..9, head_dim in 1usize..5, seed: u64) {
            let s = Shape { batch: 2, heads: kv_heads * group, kv_heads, time, head_dim, scale: 0.7 };
            let (q, k, v) = (scaled(2 * s.heads * time * head_dim, seed), scaled(2 * kv_heads * time * head_dim, seed ^ 1), scaled(2 * kv_heads * time * head_dim, seed ^ 2));
            let g = matrix(q.len(), seed ^ 3);
            let loss = |q: &[f64], k: &[f64], v: &[f64]| reference(&s, q, k, v).iter().zip(&g).map(|(y, g)| y * f64::from(*g)).sum::<f64>();
            let (q64, k64, v64) = (to_f64(&q), to_f64(&k), to_f64(&v));
            let want = [gradient(&q64, |q| loss(q, &k64, &v64)), gradient(&k64, |k| loss(&q64, k, &v64)), gradient(&v64, |v| loss(&q64, &k64, v))];
            let (qv, kv, vv, gv) = (plain(&q, s.heads, &s), plain(&k, kv_heads, &s), plain(&v, kv_heads, &s), plain(&g, s.heads, &s));
            for level in Level::available() {
                let (out, lse) = forward_at(level, &s, qv, kv, vv);
                let (dq, dk, dv) = backward_at(level, &s, qv, kv, vv, &out, &lse, gv);
                assert_close(&head_major(&dq, s.heads, &s), &want[0], 2e-5);
                assert_close(&head_major(&dk, kv_heads, &s), &want[1], 2e-5);
                assert_close(&head_major(&dv, kv_heads, &s), &want[2], 2e-5);
            }
        }
    }

    /// Tiles across both limits: the gradient of a long sequence equals the sum over its rows by the formula
    /// `dv = p^T g`, `ds = p (g v - delta)`, in f64.
    #[test]
    fn gradients_of_a_sequence_longer_than_a_tile() {
        let s = Shape { batch: 1, heads: 2, kv_heads: 1, time: 2 * KEYS + 37, head_dim: 5, scale: 0.4 };
        let (t, d) = (s.time, s.head_dim);
        let (q, k, v, g) = (scaled(2 * t * d, 1), scaled(t * d, 2), scaled(t * d, 3), scaled(2 * t * d, 4));
        let (mut dq, mut dk, mut dv) = (vec![0f64; 2 * t * d], vec![0f64; t * d], vec![0f64; t * d]);
        let dot64 = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        for row in 0..2 * t {
            let (i, q, g) = (row % t, &q[row * d..][..d], &g[row * d..][..d]);
            let mut p: Vec<f64> = (0..=i).map(|j| (0.4f32 as f64 * dot64(q, &k[j * d..][..d])).exp()).collect();
            let sum: f64 = p.iter().sum();
            p.iter_mut().for_each(|p| *p /= sum);
            let dp: Vec<f64> = (0..=i).map(|j| dot64(g, &v[j * d..][..d])).collect();
            let delta: f64 = p.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
            for j in 0..=i {
                let ds = 0.4f32 as f64 * p[j] * (dp[j] - delta);
                for c in 0..d {
                    dv[j * d + c] += p[j] * f64::from(g[c]);
                    dk[j * d + c] += ds * f64::from(q[c]);
                    dq[row * d + c] += ds * f64::from(k[j * d + c]);
                }
            }
        }
        let (qv, kv, vv, gv) = (plain(&q, 2, &s), plain(&k, 1, &s), plain(&v, 1, &s), plain(&g, 2, &s));
        for level in Level::available() {
            let (out, lse) = forward_at(level, &s, qv, kv, vv);
            let got = backward_at(level, &s, qv, kv, vv, &out, &lse, gv);
            assert_close(&head_major(&got.0, 2, &s), &dq, 2e-5);
            assert_close(&head_major(&got.1, 1, &s), &dk, 2e-5);
            assert_close(&head_major(&got.2, 1, &s), &dv, 2e-5);
        }
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let s = Shape { batch: 1, heads: 1, kv_heads: 1, time: 3, head_dim: 1, scale: 1.0 };
        let (q, k, v) = ([300.0f32, 300.0, -300.0], [300.0f32, -300.0, 300.0], [1.0f32, 2.0, 3.0]);
        let (out, _) = forward(&s, plain(&q, 1, &s), plain(&k, 1, &s), plain(&v, 1, &s));
        assert_eq!(out, vec![1.0, 1.0, 2.0]);
    }
}
