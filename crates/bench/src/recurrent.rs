//! A recurrent language model: embedding, LSTM or GRU layers, output layer.

use crate::workload::{Cell, values};
use crate::{Precision, Workload};
use burn::module::{Module, Param};
use burn::prelude::*;
use danlu_ops::{CrossEntropy, RecurrentOptions, RecurrentWeights};

/// Standard deviation of the first weights, that of the Transformers here.
const STD: f32 = 0.02;

/// The model of the workloads LSTM and GRU. Parameters in PyTorch's shapes and count: two biases for each gate.
#[derive(Module, Debug)]
pub(crate) struct RecurrentLm {
    /// (vocabulary, width)
    embedding: Param<Tensor<2>>,
    layers: Vec<Layer>,
    /// (vocabulary, width)
    head: Param<Tensor<2>>,
    #[module(skip)]
    precision: Precision,
}

#[derive(Module, Debug)]
struct Layer {
    #[module(skip)]
    cell: Cell,
    /// (gates * width, width)
    input: Param<Tensor<2>>,
    /// (gates * width, width)
    hidden: Param<Tensor<2>>,
    /// (gates * width)
    input_bias: Param<Tensor<1>>,
    /// (gates * width)
    hidden_bias: Param<Tensor<1>>,
}

impl RecurrentLm {
    /// Random weights, biases 0.
    pub fn new(
        workload: Workload,
        cell: Cell,
        layers: usize,
        width: usize,
        precision: Precision,
        device: &Device,
    ) -> Self {
        let mut seed = 0;
        let mut matrix = |rows: usize| {
            seed += 1;
            let data = TensorData::new(normal(seed, rows * width), [rows, width]);
            Param::from_tensor(Tensor::from_data(data, device))
        };
        let gates = cell.gates() * width;
        let bias = || Param::from_tensor(Tensor::zeros([gates], device));
        RecurrentLm {
            embedding: matrix(workload.vocab_size()),
            layers: (0..layers)
                .map(|_| Layer {
                    cell,
                    input: matrix(gates),
                    hidden: matrix(gates),
                    input_bias: bias(),
                    hidden_bias: bias(),
                })
                .collect(),
            head: matrix(workload.vocab_size()),
            precision,
        }
    }

    /// Sum over positions of the cross-entropy with the next token, in nats.
    ///
    /// * `inputs`: (batch, time)
    /// * `targets`: (batch * time)
    pub fn loss_sum(&self, inputs: Tensor<2, Int>, targets: Tensor<1, Int>) -> Tensor<1> {
        let mut x = danlu_ops::embedding(self.embedding.val(), inputs);
        for layer in &self.layers {
            x = layer.forward(x, self.precision);
        }
        let [batch, time, width] = x.dims();
        let loss = CrossEntropy { precision: self.precision, ..CrossEntropy::default() };
        danlu_ops::linear_cross_entropy(x.reshape([batch * time, width]), self.head.val(), targets, &loss)
    }
}

impl Layer {
    /// (batch, time, width) to the same.
    fn forward(&self, x: Tensor<3>, precision: Precision) -> Tensor<3> {
        let weights = RecurrentWeights {
            input: self.input.val(),
            hidden: self.hidden.val(),
            input_bias: Some(self.input_bias.val()),
            hidden_bias: Some(self.hidden_bias.val()),
        };
        let options = RecurrentOptions { precision, ..RecurrentOptions::default() };
        match self.cell {
            Cell::Lstm => danlu_ops::lstm(x, weights, None, &options).0,
            Cell::Gru => danlu_ops::gru(x, weights, None, &options).0,
        }
    }
}

/// Normally distributed numbers (Box and Muller 1958).
fn normal(seed: u64, count: usize) -> Vec<f32> {
    let uniform = values(seed, 2 * count);
    let pair = |pair: &[f32]| {
        let (a, b) = (f64::from(pair[0] + 1.0) / 2.0, f64::from(pair[1]));
        STD * ((-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::PI * b).cos()) as f32
    };
    uniform.chunks_exact(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_weights_are_normal() {
        let drawn = normal(3, 100_000);
        let variance = drawn.iter().map(|x| f64::from(x * x)).sum::<f64>() / drawn.len() as f64;
        let mean = drawn.iter().map(|x| f64::from(*x)).sum::<f64>() / drawn.len() as f64;
        let within = drawn.iter().filter(|x| x.abs() < STD).count() as f64 / drawn.len() as f64;
        assert!((variance.sqrt() - 0.02).abs() < 2e-4 && mean.abs() < 2e-4 && (within - 0.6827).abs() < 0.01);
        assert!(drawn.iter().all(|x| x.is_finite()));
    }
}
