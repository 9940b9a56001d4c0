//! Weights kept as int8 with one scale per output channel; activations stay f32.
//!
//! Decoding at batch 1 reads every weight once per token, so it runs at the speed of memory: a quarter of the bytes is
//! worth more than the conversion costs. For many rows the weight is expanded panel by panel and multiplied densely.

use crate::cpu::Level;
use crate::math::{LANES, fma, sum_lanes};
use rayon::prelude::*;

/// A weight matrix (out, in) quantised symmetrically per output channel: `weight[o][i] ~ data[o][i] * scales[o]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Int8Weight {
    /// Output channels (rows).
    pub out: usize,
    /// Input channels (columns).
    pub inp: usize,
    /// Row-major (out, in), values in -127..=127.
    pub data: Vec<i8>,
    /// One positive scale per row; a row of zeros has scale 1.
    pub scales: Vec<f32>,
}

impl Int8Weight {
    /// Round to nearest with scale = max |row| / 127.
    ///
    /// # Panics
    /// If `weight` does not hold `out * inp` values.
    pub fn quantize(weight: &[f32], out: usize, inp: usize) -> Self {
        assert_eq!(weight.len(), out * inp, "weight of {out} x {inp}");
        let mut data = vec![0i8; out * inp];
        let mut scales = vec![1f32; out];
        if inp > 0 {
            for ((row, quantized), scale) in weight.chunks_exact(inp).zip(data.chunks_exact_mut(inp)).zip(&mut scales) {
                let largest = row.iter().fold(0f32, |m, x| m.max(x.abs()));
                if largest > 0.0 && largest.is_finite() {
                    *scale = largest / 127.0;
                }
                for (q, x) in quantized.iter_mut().zip(row) {
                    *q = (x / *scale).round_ties_even().clamp(-127.0, 127.0) as i8;
                }
            }
        }
        Int8Weight { out, inp, data, scales }
    }

    /// The f32 matrix (out, in) that the int8 form stands for.
    pub fn dequantize(&self) -> Vec<f32> {
        let mut weight = vec![0f32; self.data.len()];
        if self.inp > 0 {
            for ((row, q), scale) in weight.chunks_exact_mut(self.inp).zip(self.data.chunks_exact(self.inp)).zip(&self.scales) {
                expand(Level::best(), q, *scale, row);
            }
        }
        weight
    }

    /// Bytes of the int8 form.
    pub fn bytes(&self) -> usize {
        self.data.len() + 4 * self.scales.len()
    }
}

multiversion! {
    /// `y = scale * q`, element by element.
    fn expand(q: &[i8], scale: f32, y: &mut [f32]) = expand_body;
    /// Dot products of one int8 row with up to 4 rows of activations.
    fn dots(x: &[&[f32]], q: &[i8], y: &mut [f32; 4]) = dots_body;
}

#[inline(always)]
fn expand_body<const FMA: bool>(q: &[i8], scale: f32, y: &mut [f32]) {
    for (y, q) in y.iter_mut().zip(q) {
        *y = f32::from(*q) * scale;
    }
}

#[inline(always)]
fn dots_body<const FMA: bool>(x: &[&[f32]], q: &[i8], y: &mut [f32; 4]) {
    for (x, y) in x.iter().zip(y.iter_mut()) {
        *y = dot_i8::<FMA>(x, q);
    }
}

#[inline(always)]
fn dot_i8<const FMA: bool>(x: &[f32], q: &[i8]) -> f32 {
    let mut acc = [[0f32; LANES]; 4];
    let (xs, qs) = (x.chunks_exact(4 * LANES), q.chunks_exact(4 * LANES));
    let (tail_x, tail_q) = (xs.remainder(), qs.remainder());
    for (x, q) in xs.zip(qs) {
        for (u, acc) in acc.iter_mut().enumerate() {
            for l in 0..LANES {
                acc[l] = fma::<FMA>(x[u * LANES + l], f32::from(q[u * LANES + l]), acc[l]);
            }
        }
    }
    for (i, (x, q)) in tail_x.iter().zip(tail_q).enumerate() {
        let (u, l) = (i / LANES, i % LANES);
        acc[u][l] = fma::<FMA>(*x, f32::from(*q), acc[u][l]);
    }
    let mut total = [0f32; LANES];
    for l in 0..LANES {
        total[l] = (acc[0][l] + acc[1][l]) + (acc[2][l] + acc[3][l]);
    }
    sum_lanes(total)
}

/// `y = x * weight^T` for x (rows, in) and y (rows, out), both row-major f32.
///
/// # Panics
/// If a slice's length contradicts the shape.
pub fn matmul_int8(x: &[f32], rows: usize, weight: &Int8Weight, y: &mut [f32]) {
    matmul_int8_at(Level::best(), x, rows, weight, y);
}

fn matmul_int8_at(level: Level, x: &[f32], rows: usize, weight: &Int8Weight, y: &mut [f32]) {
    let (inp, out) = (weight.inp, weight.out);
    assert_eq!(x.len(), rows * inp, "x of {rows} x {inp}");
    assert_eq!(y.len(), rows * out, "y of {rows} x {out}");
    if rows == 0 || out == 0 {
        return;
    }
    // One task per block of output channels; each result is written transposed and put in place afterwards, so that
    // no two tasks share a cache line of y.
    const BLOCK: usize = 32;
    let blocks: Vec<Vec<f32>> = (0..out.div_ceil(BLOCK))
        .into_par_iter()
        .map(|b| {
            let channels = b * BLOCK..((b + 1) * BLOCK).min(out);
            let width = channels.len();
            let mut block = vec![0f32; rows * width];
            for (j, o) in channels.enumerate() {
                let q = &weight.data[o * inp..(o + 1) * inp];
                for first in (0..rows).step_by(4) {
                    let count = (rows - first).min(4);
                    let mut group: [&[f32]; 4] = [&[]; 4];
                    for (i, g) in group[..count].iter_mut().enumerate() {
                        *g = &x[(first + i) * inp..(first + i + 1) * inp];
                    }
                    let mut dot = [0f32; 4];
                    dots(level, &group[..count], q, &mut dot);
                    for i in 0..count {
                        block[(first + i) * width + j] = dot[i] * weight.scales[o];
                    }
                }
            }
            block
        })
        .collect();
    for (b, block) in blocks.iter().enumerate() {
        let width = block.len() / rows;
        for (r, row) in block.chunks_exact(width).enumerate() {
            y[r * out + b * BLOCK..r * out + b * BLOCK + width].copy_from_slice(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matrix(len: usize, seed: u64) -> Vec<f32> {
        let mut state = seed | 1;
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                ((state >> 40) as f32) / (1u64 << 24) as f32 - 0.5
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn product_is_that_of_the_dequantized_weight(rows in 1usize..9, inp in 1usize..200, out in 1usize..90, seed: u64) {
            let weight = Int8Weight::quantize(&matrix(out * inp, seed), out, inp);
            let dense = weight.dequantize();
            let x = matrix(rows * inp, seed ^ 7);
            for level in Level::available() {
                let mut y = vec![f32::NAN; rows * out];
                matmul_int8_at(level, &x, rows, &weight, &mut y);
                for r in 0..rows {
                    for o in 0..out {
                        let want: f64 = (0..inp).map(|i| f64::from(x[r * inp + i]) * f64::from(dense[o * inp + i])).sum();
                        prop_assert!((f64::from(y[r * out + o]) - want).abs() < 1e-4, "{} {r} {o}", level.name());
                    }
                }
            }
        }

        #[test]
        fn rounding_error_is_at_most_half_a_step(inp in 1usize..70, out in 1usize..5, seed: u64) {
            let dense = matrix(out * inp, seed);
            let weight = Int8Weight::quantize(&dense, out, inp);
            for (i, (a, b)) in dense.iter().zip(weight.dequantize()).enumerate() {
                prop_assert!((a - b).abs() <= weight.scales[i / inp] * 0.5001);
            }
        }
    }

    #[test]
    fn zero_and_empty_weights_are_harmless() {
        let weight = Int8Weight::quantize(&[0.0; 6], 2, 3);
        assert_eq!(weight.scales, vec![1.0, 1.0]);
        assert_eq!(weight.dequantize(), vec![0.0; 6]);
        let empty = Int8Weight::quantize(&[], 0, 3);
        matmul_int8(&[1.0, 2.0, 3.0], 1, &empty, &mut []);
    }
}
