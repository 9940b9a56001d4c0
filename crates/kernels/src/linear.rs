//! Several linear layers on one input, their results side by side, with a residual added; and their gradients.
//!
//! The results share one matrix: `y[:, first_i..first_i + out_i] = residual + x * weight_i^T + bias_i`.

use crate::gemm::{self, Epilogue, Matrix, Threads, multiply, multiply_with};
use crate::math::filled;
use crate::precision::Precision;
use rayon::prelude::*;

/// One of the layers.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// (out, in)
    pub weight: &'a [f32],
    /// (out)
    pub bias: Option<&'a [f32]>,
    pub out: usize,
}

/// Width of all results together.
pub fn total(parts: &[Part<'_>]) -> usize {
    parts.iter().map(|p| p.out).sum()
}

/// `residual + x * [weights]^T + [biases]` for x (rows, inp): (rows, [`total`]).
///
/// # Panics
/// If a slice's length contradicts the shape.
pub fn forward(
    x: &[f32],
    rows: usize,
    inp: usize,
    parts: &[Part<'_>],
    residual: Option<&[f32]>,
    precision: Precision,
) -> Vec<f32> {
    if let ([part], None) = (parts, residual) {
        return gemm::linear(x, rows, part.weight, part.out, inp, part.bias, precision);
    }
    let width = total(parts);
    assert_eq!(x.len(), rows * inp, "x of {rows} x {inp}");
    assert!(residual.is_none_or(|r| r.len() == rows * width), "residual of {rows} x {width}");
    if rows < gemm::FEW_ROWS {
        return beside(x, rows, inp, parts, residual, precision);
    }
    // SAFETY: the products write every column of all rows.
    unsafe {
        filled(rows * width, |y| {
            let mut first = 0;
            for part in parts {
                let weight = Matrix::new(part.weight, part.out, inp).transposed();
                let to = y.as_mut_ptr().cast::<f32>().add(first);
                let residual = residual.map(|r| Matrix::strided(&r[first.min(r.len())..], rows, part.out, width));
                let epilogue = Epilogue { bias: part.bias, residual, activation: None };
                multiply_with(to, width, Matrix::new(x, rows, inp), weight, epilogue, precision, Threads::All);
                first += part.out;
            }
        })
    }
}

/// Few rows, as in decoding: each part by itself, then set side by side.
fn beside(
    x: &[f32],
    rows: usize,
    inp: usize,
    parts: &[Part<'_>],
    residual: Option<&[f32]>,
    precision: Precision,
) -> Vec<f32> {
    let width = total(parts);
    let mut y = residual.map_or_else(|| vec![0f32; rows * width], <[f32]>::to_vec);
    let mut first = 0;
    for part in parts {
        let part_y = gemm::linear(x, rows, part.weight, part.out, inp, part.bias, precision);
        for (y, part_y) in y.chunks_exact_mut(width).zip(part_y.chunks_exact(part.out)) {
            y[first..first + part.out].iter_mut().zip(part_y).for_each(|(y, p)| *y += p);
        }
        first += part.out;
    }
    y
}

/// Gradient of [`forward`] to x from g (rows, [`total`]): the sum of the parts' `g_i * weight_i`.
pub fn grad_x(g: &[f32], rows: usize, inp: usize, parts: &[Part<'_>], precision: Precision) -> Vec<f32> {
    let width = total(parts);
    assert_eq!(g.len(), rows * width, "gradient of {rows} x {width}");
    // SAFETY: the first product writes every element.
    unsafe {
        filled(rows * inp, |dx| {
            let mut first = 0;
            for part in parts {
                let g = Matrix::strided(&g[first.min(g.len())..], rows, part.out, width);
                let weight = Matrix::new(part.weight, part.out, inp);
                multiply(dx.as_mut_ptr().cast(), inp, g, weight, first > 0, precision, Threads::All);
                first += part.out;
            }
        })
    }
}

/// Gradient of [`forward`] to the weight of the layer whose results begin at column `first` of `width`: `g_i^T * x`,
/// (out, inp).
pub fn grad_weight(
    g: &[f32],
    x: &[f32],
    rows: usize,
    first: usize,
    out: usize,
    width: usize,
    precision: Precision,
) -> Vec<f32> {
    let inp = x.len().checked_div(rows).unwrap_or(0);
    let g = Matrix::strided(&g[first.min(g.len())..], rows, out, width).transposed();
    gemm::product(g, Matrix::new(x, rows, inp), precision)
}

/// Rows whose columns one task sums.
const SUMMED: usize = 128;

/// Sums of the columns of g (rows, width), gradients of biases: rows in order within runs of 128, then the runs in
/// order. Runs rather than columns are divided among threads, so that memory is read in its order.
pub fn column_sums(g: &[f32], rows: usize, width: usize) -> Vec<f32> {
    assert_eq!(g.len(), rows * width, "matrix of {rows} x {width}");
    if g.is_empty() {
        return vec![0f32; width];
    }
    let run = |rows: &[f32]| {
        let mut sums = vec![0f32; width];
        rows.chunks_exact(width).for_each(|row| sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x));
        sums
    };
    let runs: Vec<Vec<f32>> = g.par_chunks(SUMMED * width).map(run).collect();
    let mut sums = vec![0f32; width];
    runs.iter().for_each(|run| sums.iter_mut().zip(run).for_each(|(sum, x)| *sum += x));
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, matrix};
    use proptest::prelude::*;

    /// By the definition, in f64.
    fn reference(x: &[f32], rows: usize, inp: usize, parts: &[Part<'_>], residual: Option<&[f32]>) -> Vec<f64> {
        let mut y = Vec::new();
        for r in 0..rows {
            for part in parts {
                for o in 0..part.out {
                    let products = (0..inp).map(|i| f64::from(x[r * inp + i]) * f64::from(part.weight[o * inp + i]));
                    let bias = part.bias.map_or(0.0, |b| f64::from(b[o]));
                    y.push(products.sum::<f64>() + bias + residual.map_or(0.0, |v| f64::from(v[y.len()])));
                }
            }
        }
        y
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn results_side_by_side_and_their_gradients(rows in 1usize..70, inp in 1usize..50, outs in prop::collection::vec(1usize..40, 1..4), biased: bool, added: bool, seed: u64) {
            let x = matrix(rows * inp, seed);
            let weights: Vec<Vec<f32>> = outs.iter().enumerate().map(|(i, out)| matrix(out * inp, seed ^ (i as u64 + 1))).collect();
            let biases: Vec<Vec<f32>> = outs.iter().enumerate().map(|(i, out)| matrix(*out, seed ^ (i as u64 + 9))).collect();
            let parts: Vec<Part> = outs.iter().enumerate().map(|(i, out)| Part { weight: &weights[i], bias: biased.then_some(&biases[i][..]), out: *out }).collect();
            let width = total(&parts);
            let residual = matrix(rows * width, seed ^ 20);
            let residual = added.then_some(&residual[..]);
            let y = forward(&x, rows, inp, &parts, residual, Precision::F32);
            assert_close(&y, &reference(&x, rows, inp, &parts, residual), 1e-5);

            let g = matrix(rows * width, seed ^ 30);
            let (mut dx, mut first) = (vec![0f64; rows * inp], 0);
            for part in &parts {
                let mut dw = vec![0f64; part.out * inp];
                for r in 0..rows {
                    for o in 0..part.out {
                        let g = f64::from(g[r * width + first + o]);
                        for i in 0..inp {
                            dx[r * inp + i] += g * f64::from(part.weight[o * inp + i]);
                            dw[o * inp + i] += g * f64::from(x[r * inp + i]);
                        }
                    }
                }
                assert_close(&grad_weight(&g, &x, rows, first, part.out, width, Precision::F32), &dw, 1e-5);
                first += part.out;
            }
            let sums: Vec<f64> = (0..width).map(|c| (0..rows).map(|r| f64::from(g[r * width + c])).sum()).collect();
            assert_close(&column_sums(&g, rows, width), &sums, 1e-5);
            assert_close(&grad_x(&g, rows, inp, &parts, Precision::F32), &dx, 1e-5);
        }
    }
}
