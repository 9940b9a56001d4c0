//! The recurrent layers on the device under test against their composed form on the CPU: all states, last states, and
//! gradients of every operand. The kernels' own tests compare with finite differences and with PyTorch.

use crate::common::{cases, check, data, device, flat};
use burn::prelude::*;
use danlu_ops::{
    self as ops, Cell, Int8RecurrentWeights, Int8Weight, Nonlinearity, Precision, RecurrentOptions, RecurrentWeights,
    composed,
};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Lstm,
    Gru,
    Plain(Nonlinearity),
}

const KINDS: [Kind; 4] = [Kind::Lstm, Kind::Gru, Kind::Plain(Nonlinearity::Tanh), Kind::Plain(Nonlinearity::Relu)];

/// A layer's sizes and which of its operands and results take part.
#[derive(Clone, Debug)]
struct Case {
    kind: Kind,
    batch: usize,
    time: usize,
    input: usize,
    hidden: usize,
    biased: bool,
    stateful: bool,
    /// Whether the loss reads all states, the last hidden state and the last cell.
    read: [bool; 3],
    options: RecurrentOptions,
}

impl Case {
    fn operands(&self, seed: u64) -> Vec<Vec<f32>> {
        let gates = match self.kind {
            Kind::Lstm => 4,
            Kind::Gru => 3,
            Kind::Plain(_) => 1,
        };
        let width = gates * self.hidden;
        let states = self.batch * self.hidden;
        let mut sizes = vec![self.batch * self.time * self.input, width * self.input, width * self.hidden];
        if self.biased {
            sizes.extend([width, width]);
        }
        if self.stateful {
            sizes.extend([states, states]);
        }
        let salted = |(salt, size): (usize, usize)| data(size, seed ^ (salt as u64 + 1));
        sizes.into_iter().enumerate().map(salted).collect()
    }

    /// The results that are read, in one row. `fast` is the room's function, otherwise the composed one.
    fn run(&self, t: &[Tensor<1>], fast: bool) -> Tensor<1> {
        let Case { batch, time, input, hidden, .. } = *self;
        let bias = |i: usize| self.biased.then(|| t[i].clone());
        // Small weights: ReLU's states would grow, and its corner would be met more often.
        let matrix = |i: usize, cols: usize| t[i].clone().mul_scalar(0.4).reshape([-1, cols as i32]);
        let weights = RecurrentWeights {
            input: matrix(1, input),
            hidden: matrix(2, hidden),
            input_bias: bias(3),
            hidden_bias: bias(4),
        };
        let first = if self.biased { 5 } else { 3 };
        let state = |i: usize| self.stateful.then(|| t[first + i].clone().reshape([batch, hidden]));
        let x = t[0].clone().reshape([batch, time, input]);
        let options = &self.options;
        let (y, h, c) = match (self.kind, fast) {
            (Kind::Lstm, _) => {
                let state = state(0).zip(state(1));
                let (y, (h, c)) = if fast {
                    ops::lstm(x, weights, state, options)
                } else {
                    composed::lstm(x, weights, state, options)
                };
                (y, h, Some(c))
            }
            (Kind::Gru, true) => no_cell(ops::gru(x, weights, state(0), options)),
            (Kind::Gru, false) => no_cell(composed::gru(x, weights, state(0), options)),
            (Kind::Plain(f), true) => no_cell(ops::rnn(x, weights, state(0), f, options)),
            (Kind::Plain(f), false) => no_cell(composed::rnn(x, weights, state(0), f, options)),
        };
        let results = [Some(flat(y)), Some(flat(h)), c.map(flat)];
        let read = results.into_iter().zip(self.read).filter_map(|(t, read)| t.filter(|_| read)).collect();
        Tensor::cat(read, 0)
    }

    #[track_caller]
    fn check(&self, seed: u64) {
        check(&self.operands(seed), &|t| self.run(t, true), &|t| self.run(t, false));
    }
}

fn no_cell((y, h): (Tensor<3>, Tensor<2>)) -> (Tensor<3>, Tensor<2>, Option<Tensor<2>>) {
    (y, h, None)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(8)))]

    #[test]
    fn layers(
        batch in 1usize..5, time in 1usize..6, input in 1usize..9, hidden in 1usize..20,
        biased: bool, stateful: bool, reversed: bool, padded: bool, read in 1usize..4, seed: u64
    ) {
        let lengths = padded.then(|| (0..batch).map(|b| (seed as usize % 97 + 3 * b) % (time + 1)).collect());
        for kind in KINDS {
            let options = RecurrentOptions { reversed, lengths: lengths.clone(), precision: Precision::F32 };
            let read = [read & 1 != 0, read & 2 != 0, read & 2 != 0];
            Case { kind, batch, time, input, hidden, biased, stateful, read, options }.check(seed);
        }
    }
}

/// Two layers, the second over the first one's states, and a loss that reads the first one's last cell alone.
#[test]
fn stacked_layers_and_single_results() {
    let options = RecurrentOptions::default();
    let base = Case {
        kind: Kind::Lstm,
        batch: 3,
        time: 4,
        input: 6,
        hidden: 6,
        biased: true,
        stateful: true,
        read: [false, false, true],
        options,
    };
    base.check(5);
    Case { read: [true, false, true], ..base.clone() }.check(6);
    let first = Case { read: [true, false, false], stateful: false, ..base };
    let second = |t: &[Tensor<1>], fast: bool| {
        let mut operands = t.to_vec();
        operands[0] = first.run(t, fast);
        first.run(&operands, fast)
    };
    check(&first.operands(7), &|t| second(t, true), &|t| second(t, false));
}

/// Frozen operands receive no gradient; the others still do.
#[test]
fn untracked_weights_get_no_gradient() {
    let device = device().autodiff();
    let make = |rows: usize, cols: usize, seed: u64| {
        Tensor::<2>::from_data(TensorData::new(data(rows * cols, seed), [rows, cols]), &device)
    };
    let (input, hidden) = (make(9, 2, 1), make(9, 3, 2).require_grad());
    let x = make(4, 2, 3).reshape([2, 2, 2]);
    let weights =
        RecurrentWeights { input: input.clone(), hidden: hidden.clone(), input_bias: None, hidden_bias: None };
    let (y, _) = ops::gru(x.clone(), weights, None, &RecurrentOptions::default());
    let grads = y.sum().backward();
    assert!(hidden.grad(&grads).is_some());
    assert!(input.grad(&grads).is_none() && x.grad(&grads).is_none());
}

/// The int8 form is the layer with the values that its bytes stand for, sequences of different lengths included.
#[test]
fn int8_is_the_layer_of_the_rounded_weights() {
    let (batch, time, input, hidden) = (3, 5, 7, 6);
    for (kind, cell) in KINDS.into_iter().zip([Cell::Lstm, Cell::Gru, Cell::Tanh, Cell::Relu]) {
        let options = RecurrentOptions { lengths: Some(vec![5, 2, 4]), ..RecurrentOptions::default() };
        let read = [true, true, kind == Kind::Lstm];
        let case = Case { kind, batch, time, input, hidden, biased: true, stateful: true, read, options };
        let mut operands = case.operands(11);
        let width = cell.gates() * hidden;
        let [ih, hh] = [(1, input), (2, hidden)].map(|(i, columns)| {
            let scaled: Vec<f32> = operands[i].iter().map(|x| 0.4 * x).collect();
            let int8 = Int8Weight::quantize(&scaled, width, columns);
            operands[i] = int8.dequantize().iter().map(|x| x / 0.4).collect();
            int8
        });
        let t: Vec<Tensor<1>> =
            operands.iter().map(|o| Tensor::from_data(TensorData::new(o.clone(), [o.len()]), &device())).collect();
        let weights = Int8RecurrentWeights {
            input: &ih,
            hidden: &hh,
            input_bias: Some(t[3].clone()),
            hidden_bias: Some(t[4].clone()),
        };
        let states = [5, 6].map(|i| Some(t[i].clone().reshape([batch, hidden])));
        let x = t[0].clone().reshape([batch, time, input]);
        let (y, [h, c]) = ops::recurrent_int8(cell, x, weights, states, &case.options);
        let found = Tensor::cat([Some(flat(y)), h.map(flat), c.map(flat)].into_iter().flatten().collect(), 0);
        let want = case.run(&t, true);
        assert_eq!(found.dims(), want.dims(), "{cell:?}");
        let apart = (found - want).abs().max().into_scalar::<f32>();
        assert!(apart < 2e-5, "{cell:?}: {apart}");
    }
}
