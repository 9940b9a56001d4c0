//! Weights kept as int8 with one scale per output channel; activations stay f32.
//!
//! Decoding at batch 1 reads every weight once per token, so it runs at the speed of memory: a quarter of the bytes is
//! worth more than the conversion costs. For many rows the weight is expanded panel by panel and multiplied densely.

use crate::cpu::Level;
use crate::gemm::{FEW_ROWS, Matrix, Threads, few_rows, multiply};
use crate::math::Shared;
use crate::precision::Precision;
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
            for ((row, q), scale) in
                weight.chunks_exact_mut(self.inp).zip(self.data.chunks_exact(self.inp)).zip(&self.scales)
            {
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
}

#[inline(always)]
fn expand_body<const FMA: bool>(q: &[i8], scale: f32, y: &mut [f32]) {
    for (y, q) in y.iter_mut().zip(q) {
        *y = f32::from(*q) * scale;
    }
}

/// `x * weight^T (+ bias)` for x (rows, in): (rows, out), both row-major f32.
///
/// # Panics
/// If a slice's length contradicts the shape.
pub fn linear_int8(x: &[f32], rows: usize, weight: &Int8Weight, bias: Option<&[f32]>) -> Vec<f32> {
    linear_int8_at(Level::best(), x, rows, weight, bias)
}

fn linear_int8_at(level: Level, x: &[f32], rows: usize, weight: &Int8Weight, bias: Option<&[f32]>) -> Vec<f32> {
    let Int8Weight { inp, out, data, scales } = weight;
    assert_eq!(x.len(), rows * inp, "x of {rows} x {inp}");
    if rows < FEW_ROWS {
        return few_rows(level, x, rows, data, *out, *inp, Some(scales), bias);
    }
    dense_panels(level, x, rows, weight, bias)
}

/// Many rows: panels of the weight are expanded to f32 and multiplied densely, a task per panel.
fn dense_panels(level: Level, x: &[f32], rows: usize, weight: &Int8Weight, bias: Option<&[f32]>) -> Vec<f32> {
    const PANEL: usize = 128;
    let Int8Weight { inp, out, data, scales } = weight;
    let (inp, out) = (*inp, *out);
    assert!(bias.is_none_or(|b| b.len() == out), "bias of {out}");
    let mut y = match bias {
        Some(bias) => bias.repeat(rows),
        None => vec![0f32; rows * out],
    };
    if inp == 0 || out == 0 {
        return y;
    }
    let shared = Shared::new(&mut y);
    let x = Matrix::new(x, rows, inp);
    (0..out.div_ceil(PANEL)).into_par_iter().for_each(|p| {
        let (first, width) = (p * PANEL, PANEL.min(out - p * PANEL));
        let mut dense = vec![0f32; width * inp];
        for (o, row) in dense.chunks_exact_mut(inp).enumerate() {
            expand(level, &data[(first + o) * inp..(first + o + 1) * inp], scales[first + o], row);
        }
        let dense = Matrix::new(&dense, width, inp).transposed();
        // SAFETY: the columns of this panel, in all rows of y, are this task's alone.
        unsafe { multiply(shared.at(first), out, x, dense, true, Precision::F32, Threads::One) };
    });
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, matrix};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn product_is_that_of_the_dequantized_weight(rows in 1usize..40, inp in 1usize..150, out in 1usize..150, seed: u64) {
            let weight = Int8Weight::quantize(&matrix(out * inp, seed), out, inp);
            let dense = weight.dequantize();
            let (x, bias) = (matrix(rows * inp, seed ^ 7), matrix(out, seed ^ 8));
            let want: Vec<f64> = (0..rows * out)
                .map(|i| (0..inp).map(|j| f64::from(x[i / out * inp + j]) * f64::from(dense[i % out * inp + j])).sum::<f64>() + f64::from(bias[i % out]))
                .collect();
            for level in Level::available() {
                assert_close(&linear_int8_at(level, &x, rows, &weight, Some(&bias)), &want, 1e-5);
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
        assert!(linear_int8(&[1.0, 2.0, 3.0], 1, &empty, None).is_empty());
    }
}
