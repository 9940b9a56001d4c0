//! Matrix products in the three layouts that a linear layer needs.

use crate::machine::peak_gflops;
use crate::timing::geometric_mean;
use crate::workload::{precision_name, values};
use crate::{Budget, Machine, Precision, Spread, Workload, peak_rss_bytes};
use danlu_kernels::gemm::{Matrix, product};
use serde::Serialize;
use std::convert::Infallible;
use std::hint::black_box;

/// Rows of the output layer's products: a loss works through its logits in pieces of about this size.
const HEAD_ROWS: usize = 1024;

/// Which product of a linear layer `y = x w^T`, x (rows, inputs), w (outputs, inputs), g like y.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Product {
    /// `x w^T`
    Forward,
    /// `g w`
    GradInput,
    /// `g^T x`
    GradWeight,
}

impl Product {
    const ALL: [Product; 3] = [Product::Forward, Product::GradInput, Product::GradWeight];
}

/// One shape in one layout.
#[derive(Clone, Debug, Serialize)]
pub struct ProductFigures {
    /// rows, inputs, outputs
    pub shape: [usize; 3],
    pub product: Product,
    #[serde(serialize_with = "precision_name")]
    pub precision: Precision,
    /// Median, 10^9 operations per second.
    pub gflops: f64,
    pub spread: Spread,
}

/// All products, and the peaks beside which to read them.
#[derive(Clone, Debug, Serialize)]
pub struct GemmFigures {
    #[serde(flatten)]
    pub machine: Machine,
    pub cases: Vec<ProductFigures>,
    /// For each precision in the order given.
    pub peak_gflops: Vec<f64>,
    /// Geometric mean over the cases of their rates by the peak of their precision.
    pub fraction_of_peak: Option<f64>,
    pub peak_rss_bytes: Option<u64>,
}

/// Times the linear layers of the given workloads in every layout, each product for `budget`.
pub fn gemm(workloads: &[Workload], precisions: &[Precision], budget: Budget) -> GemmFigures {
    let mut shapes: Vec<[usize; 3]> = workloads.iter().flat_map(|workload| linear_shapes(*workload)).collect();
    let mut seen = std::collections::HashSet::new();
    shapes.retain(|shape| seen.insert(*shape));
    let (mut cases, mut peaks, mut fractions) = (Vec::new(), Vec::new(), Vec::new());
    for precision in precisions {
        let peak = peak_gflops(*precision);
        let measured: Vec<_> = shapes.iter().flat_map(|shape| gemm_shape(*shape, *precision, budget)).collect();
        fractions.extend(measured.iter().map(|case| case.gflops / peak));
        cases.extend(measured);
        peaks.push(peak);
    }
    GemmFigures {
        machine: Machine::here(),
        cases,
        peak_gflops: peaks,
        fraction_of_peak: geometric_mean(&fractions),
        peak_rss_bytes: peak_rss_bytes(),
    }
}

/// (rows, inputs, outputs) of a workload's linear layers, each once.
pub(crate) fn linear_shapes(workload: Workload) -> Vec<[usize; 3]> {
    let rows = workload.tokens_per_step();
    let config = workload.config();
    let (width, ffn) = (config.hidden_size, config.ffn_size());
    let mut shapes = match config.cell() {
        None => vec![
            [rows, width, config.query_size()],
            [rows, width, config.kv_size()],
            [rows, width, ffn],
            [rows, ffn, width],
        ],
        Some(cell) => vec![[rows, width, cell.gates() * width]],
    };
    shapes.push([rows.min(HEAD_ROWS), width, workload.vocab_size()]);
    shapes.dedup();
    shapes
}

/// The three products of one shape (rows, inputs, outputs).
pub fn gemm_shape(shape: [usize; 3], precision: Precision, budget: Budget) -> Vec<ProductFigures> {
    let [rows, inp, out] = shape;
    let (x, w, g) = (values(1, rows * inp), values(2, out * inp), values(3, rows * out));
    let (x, w, g) = (Matrix::new(&x, rows, inp), Matrix::new(&w, out, inp), Matrix::new(&g, rows, out));
    let operations = 2.0 * rows as f64 * inp as f64 * out as f64;
    let time = |which: Product| {
        let (a, b) = match which {
            Product::Forward => (x, w.transposed()),
            Product::GradInput => (g, w),
            Product::GradWeight => (g.transposed(), x),
        };
        let run = || {
            black_box(product(a, b, precision));
            Ok::<(), Infallible>(())
        };
        let Ok(seconds) = budget.measure(1, run);
        let spread = Spread::of_rates(operations / 1e9, &seconds);
        ProductFigures { shape, product: which, precision, gflops: spread.median, spread }
    };
    Product::ALL.into_iter().map(time).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_of_a_workload_is_there_once() {
        let shapes = linear_shapes(Workload::S);
        assert_eq!(shapes, [[4096, 384, 384], [4096, 384, 1536], [4096, 1536, 384], [1024, 384, 8192]]);
        assert_eq!(linear_shapes(Workload::L).len(), 5);
        assert_eq!(linear_shapes(Workload::Gru), [[4096, 512, 1536], [1024, 512, 8192]]);
        let figures = gemm(&[Workload::Xs, Workload::Xs], &[Precision::F32], Budget::Runs(2));
        assert_eq!(figures.cases.len(), 4 * 3);
        assert!(figures.cases.iter().all(|case| case.gflops > 0.0 && case.spread.samples == 2));
    }
}
