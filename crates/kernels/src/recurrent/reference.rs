//! The layers in f64, state by state, straight from the formulas.

use super::{Cell, Layer};

/// Everything a layer reads, so that a test can move any part of it.
#[derive(Clone)]
pub(super) struct Operands {
    pub(super) x: Vec<f64>,
    pub(super) weights: [Vec<f64>; 4],
    pub(super) h: Vec<f64>,
    pub(super) c: Vec<f64>,
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// (y, last h, last c).
pub(super) fn forward(layer: &Layer<'_>, o: &Operands) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let (n, time) = (layer.hidden, layer.time);
    let mut y = vec![0.0; layer.batch * time * n];
    let (mut h_last, mut c_last) = (o.h.clone(), o.c.clone());
    for b in 0..layer.batch {
        let length = layer.lengths.map_or(time, |l| l[b]);
        let mut steps: Vec<usize> = (0..length).collect();
        if layer.reversed {
            steps.reverse();
        }
        let (mut h, mut c) = (o.h[b * n..(b + 1) * n].to_vec(), o.c[b * n..(b + 1) * n].to_vec());
        for t in steps {
            let x = &o.x[(b * time + t) * layer.input..][..layer.input];
            (h, c) = step(layer, o, x, &h, &c);
            y[(b * time + t) * n..][..n].copy_from_slice(&h);
        }
        h_last[b * n..(b + 1) * n].copy_from_slice(&h);
        c_last[b * n..(b + 1) * n].copy_from_slice(&c);
    }
    (y, h_last, c_last)
}

fn step(layer: &Layer<'_>, o: &Operands, x: &[f64], h: &[f64], c: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let n = layer.hidden;
    let project = |weight: &[f64], bias: &[f64], row: usize, x: &[f64]| {
        bias[row] + x.iter().zip(&weight[row * x.len()..]).map(|(x, w)| x * w).sum::<f64>()
    };
    let [wi, wh, bi, bh] = &o.weights;
    let from_x = |gate: usize, k: usize| project(wi, bi, gate * n + k, x);
    let from_h = |gate: usize, k: usize| project(wh, bh, gate * n + k, h);
    let sum = |gate: usize, k: usize| from_x(gate, k) + from_h(gate, k);
    let state = |k: usize| match layer.cell {
        Cell::Lstm => {
            let cell = sigmoid(sum(1, k)) * c[k] + sigmoid(sum(0, k)) * sum(2, k).tanh();
            (sigmoid(sum(3, k)) * cell.tanh(), cell)
        }
        Cell::Gru => {
            let (r, z) = (sigmoid(sum(0, k)), sigmoid(sum(1, k)));
            let new = (from_x(2, k) + r * from_h(2, k)).tanh();
            ((1.0 - z) * new + z * h[k], 0.0)
        }
        Cell::Tanh => (sum(0, k).tanh(), 0.0),
        Cell::Relu => (sum(0, k).max(0.0), 0.0),
    };
    (0..n).map(state).unzip()
}
