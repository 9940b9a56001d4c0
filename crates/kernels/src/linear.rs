//! Several linear layers on one input, their results side by side, with a residual added; and their gradients.
//!
//! The results share one matrix: `y[:, first_i..first_i + out_i] = residual + x * weight_i^T + bias_i`.

use crate::cpu::Level;
use crate::elementwise::add_assign_chunk;
use crate::gemm::{self, Epilogue, Matrix, Threads, multiply, multiply_with};
use crate::precision::Precision;
use crate::values::{Output, ValueVec, Values, filled_output};
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

/// The format of a product: that of its inputs and that of its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Formats {
    /// What inputs are rounded to.
    pub inputs: Precision,
    /// What the result is kept in.
    pub kept: Precision,
}

impl From<Precision> for Formats {
    /// The result in f32.
    fn from(inputs: Precision) -> Self {
        Formats { inputs, kept: Precision::F32 }
    }
}

/// `residual + x * [weights]^T + [biases]` for x (rows, inp): (rows, [`total`]).
///
/// # Panics
/// If a slice's length contradicts the shape.
pub fn forward(
    x: Values<'_>,
    rows: usize,
    inp: usize,
    parts: &[Part<'_>],
    residual: Option<&[f32]>,
    formats: Formats,
) -> ValueVec {
    let (width, precision) = (total(parts), formats.inputs);
    assert!(parts.iter().all(|p| p.weight.len() == p.out * inp), "weights for rows of {inp}");
    assert_eq!(x.len(), rows * inp, "x of {rows} x {inp}");
    assert!(residual.is_none_or(|r| r.len() == rows * width), "residual of {rows} x {width}");
    if rows < gemm::FEW_ROWS {
        return ValueVec::new(beside(&x.widened(), rows, inp, parts, residual, precision), formats.kept);
    }
    // SAFETY: the products write every column of all rows.
    unsafe {
        filled_output(rows * width, formats.kept, |y| {
            let mut first = 0;
            for part in parts {
                let weight = Matrix::new(part.weight, part.out, inp).transposed();
                let to = y.from(first);
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
    if let ([part], None) = (parts, residual) {
        return gemm::linear(x, rows, part.weight, part.out, inp, part.bias, precision);
    }
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
///
/// # Panics
/// If a slice's length contradicts the shape.
pub fn grad_x(g: Values<'_>, rows: usize, inp: usize, parts: &[Part<'_>], formats: Formats) -> ValueVec {
    let width = total(parts);
    assert_eq!(g.len(), rows * width, "gradient of {rows} x {width}");
    // What is summed over several parts is rounded at the end.
    let kept = if parts.len() == 1 { formats.kept } else { Precision::F32 };
    // SAFETY: the first product writes every element.
    let dx = unsafe {
        filled_output(rows * inp, kept, |dx| {
            let mut first = 0;
            for part in parts {
                let g = Matrix::strided(g.from(first), rows, part.out, width);
                let weight = Matrix::new(part.weight, part.out, inp);
                match dx {
                    Output::F32(dx) if first > 0 => {
                        multiply(dx, inp, g, weight, true, formats.inputs, Threads::All);
                    }
                    dx => multiply_with(dx, inp, g, weight, Epilogue::default(), formats.inputs, Threads::All),
                }
                first += part.out;
            }
        })
    };
    match dx {
        ValueVec::F32(dx) => ValueVec::new(dx, formats.kept),
        dx => dx,
    }
}

/// Gradient of [`forward`] to the weight of the layer whose results begin at column `first` of `width`: `g_i^T * x`,
/// (out, inp).
///
/// # Panics
/// If a slice's length contradicts the shape.
pub fn grad_weight(
    g: Values<'_>,
    x: Values<'_>,
    rows: usize,
    first: usize,
    out: usize,
    width: usize,
    precision: Precision,
) -> Vec<f32> {
    let inp = x.len().checked_div(rows).unwrap_or(0);
    let g = Matrix::strided(g.from(first), rows, out, width).transposed();
    gemm::product(g, Matrix::new(x, rows, inp), precision)
}

/// Rows whose columns one task sums.
const SUMMED: usize = 128;

/// Sums of the columns of g (rows, width), gradients of biases: rows in order within runs of 128, then the runs in
/// order. Runs rather than columns are divided among threads, so that memory is read in its order.
pub fn column_sums(g: Values<'_>, rows: usize, width: usize) -> Vec<f32> {
    assert_eq!(g.len(), rows * width, "matrix of {rows} x {width}");
    if g.is_empty() {
        return vec![0f32; width];
    }
    let level = Level::best();
    let run = |run: usize| {
        let (mut sums, mut wide) = (vec![0f32; width], vec![0f32; if let Values::F32(_) = g { 0 } else { width }]);
        for i in run * SUMMED..rows.min((run + 1) * SUMMED) {
            let row = match g.part(i * width..(i + 1) * width) {
                Values::F32(row) => row,
                row => {
                    row.copy_to(level, &mut wide);
                    &wide
                }
            };
            add_assign_chunk(level, &mut sums, row);
        }
        sums
    };
    let runs: Vec<Vec<f32>> = (0..rows.div_ceil(SUMMED)).into_par_iter().map(run).collect();
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
            let y = forward((&x).into(), rows, inp, &parts, residual, Precision::F32.into());
            assert_close(&y.into_f32(), &reference(&x, rows, inp, &parts, residual), 1e-5);

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
                assert_close(&grad_weight((&g).into(), (&x).into(), rows, first, part.out, width, Precision::F32), &dw, 1e-5);
                first += part.out;
            }
            let sums: Vec<f64> = (0..width).map(|c| (0..rows).map(|r| f64::from(g[r * width + c])).sum()).collect();
            assert_close(&column_sums((&g).into(), rows, width), &sums, 1e-5);
            assert_close(&grad_x((&g).into(), rows, inp, &parts, Precision::F32.into()).into_f32(), &dx, 1e-5);

            // Kept in bfloat16: the same numbers rounded.
            let [x, g] = [&x, &g].map(|x| ValueVec::new(x.clone(), Precision::Bf16));
            let formats = Formats { inputs: Precision::Bf16, kept: Precision::Bf16 };
            let wide = Formats { kept: Precision::F32, ..formats };
            let y = forward((&x).into(), rows, inp, &parts, residual, wide).into_f32();
            prop_assert_eq!(forward((&x).into(), rows, inp, &parts, residual, formats), ValueVec::new(y, Precision::Bf16));
            let dx = grad_x((&g).into(), rows, inp, &parts, wide).into_f32();
            prop_assert_eq!(grad_x((&g).into(), rows, inp, &parts, formats), ValueVec::new(dx, Precision::Bf16));
            let wide_g = g.clone().into_f32();
            prop_assert_eq!(column_sums((&g).into(), rows, width), column_sums((&wide_g).into(), rows, width));
        }
    }
}
