//! Recurrent layers over whole sequences.

use crate::flex::recurrent::{Ends, LastState, Recurrent};
use crate::flex::{apply, suits};
use crate::{Precision, composed};
use burn::prelude::*;
use danlu_kernels::int8::Int8Weight;
use danlu_kernels::recurrent::Cell;
use std::sync::Arc;

/// Parameters of a recurrent layer, in PyTorch's shapes and gate order. gates is 4 for LSTM (i, f, g, o), 3 for GRU
/// (r, z, n) and 1 for the plain layer.
#[derive(Clone, Debug)]
pub struct RecurrentWeights {
    /// `weight_ih`: (gates * hidden, in)
    pub input: Tensor<2>,
    /// `weight_hh`: (gates * hidden, hidden)
    pub hidden: Tensor<2>,
    /// `bias_ih`: (gates * hidden)
    pub input_bias: Option<Tensor<1>>,
    /// `bias_hh`: (gates * hidden)
    pub hidden_bias: Option<Tensor<1>>,
}

/// How a recurrent layer reads its input.
#[derive(Clone, Debug, Default)]
pub struct RecurrentOptions {
    /// From each sequence's last step to its first.
    pub reversed: bool,
    /// Steps of each sequence, where not all of them count. Beyond them outputs are zero and the state stands still.
    pub lengths: Option<Vec<usize>>,
    pub precision: Precision,
}

/// The plain recurrent layer's activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Nonlinearity {
    Tanh,
    Relu,
}

impl Nonlinearity {
    pub(crate) fn cell(self) -> Cell {
        match self {
            Nonlinearity::Tanh => Cell::Tanh,
            Nonlinearity::Relu => Cell::Relu,
        }
    }
}

/// LSTM (Hochreiter and Schmidhuber 1997) as PyTorch's, one layer in one direction.
///
/// * `x`: (batch, time, in)
/// * `state`: hidden state and cell before the first step, (batch, hidden) each; zero where absent
///
/// Returns all hidden states (batch, time, hidden), and the hidden state and cell after each sequence's last step.
///
/// # Panics
/// If the shapes do not fit each other, or a length is above `time`.
pub fn lstm(
    x: Tensor<3>,
    weights: RecurrentWeights,
    state: Option<(Tensor<2>, Tensor<2>)>,
    options: &RecurrentOptions,
) -> (Tensor<3>, (Tensor<2>, Tensor<2>)) {
    let (h, c) = state.unzip();
    if !fits(Cell::Lstm, &x, &weights, [&h, &c], options) {
        return composed::lstm(x, weights, h.zip(c), options);
    }
    let (y, ends) = run(Cell::Lstm, x, weights, h, c, options);
    let last = (LastState::hidden(&ends), LastState::cell(&ends));
    let y_input = || vec![y.clone().into_dispatch()];
    let last = (apply(last.0, y_input()), apply(last.1, y_input()));
    (y, last)
}

/// GRU (Cho et al. 2014) as PyTorch's, one layer in one direction: the new gate's hidden part, with its bias, is inside
/// the product with the reset gate.
///
/// Operands, result and panics as for [`lstm`]; the state is the hidden state alone.
pub fn gru(
    x: Tensor<3>,
    weights: RecurrentWeights,
    state: Option<Tensor<2>>,
    options: &RecurrentOptions,
) -> (Tensor<3>, Tensor<2>) {
    if !fits(Cell::Gru, &x, &weights, [&state, &None], options) {
        return composed::gru(x, weights, state, options);
    }
    with_last(run(Cell::Gru, x, weights, state, None, options))
}

/// The plain recurrent layer (Elman 1990) as PyTorch's: `h' = activation(W_ih x + b_ih + W_hh h + b_hh)`.
///
/// Operands, result and panics as for [`gru`].
pub fn rnn(
    x: Tensor<3>,
    weights: RecurrentWeights,
    state: Option<Tensor<2>>,
    nonlinearity: Nonlinearity,
    options: &RecurrentOptions,
) -> (Tensor<3>, Tensor<2>) {
    let cell = nonlinearity.cell();
    if !fits(cell, &x, &weights, [&state, &None], options) {
        return composed::rnn(x, weights, state, nonlinearity, options);
    }
    with_last(run(cell, x, weights, state, None, options))
}

/// Parameters of a recurrent layer with matrices in int8; shapes as in [`RecurrentWeights`].
#[derive(Clone, Debug)]
pub struct Int8RecurrentWeights<'a> {
    pub input: &'a Int8Weight,
    pub hidden: &'a Int8Weight,
    pub input_bias: Option<Tensor<1>>,
    pub hidden_bias: Option<Tensor<1>>,
}

/// [`lstm`], [`gru`] or [`rnn`] with int8 matrices, for inference: no gradient flows through it, and the precision is that
/// of [`crate::linear_int8`].
///
/// * `states`: hidden state and, for LSTM, cell before the first step, (batch, hidden) each; zero where absent
///
/// Returns all hidden states (batch, time, hidden), and the states after each sequence's last step.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn recurrent_int8(
    cell: Cell,
    x: Tensor<3>,
    weights: Int8RecurrentWeights<'_>,
    states: [Option<Tensor<2>>; 2],
    options: &RecurrentOptions,
) -> (Tensor<3>, [Option<Tensor<2>>; 2]) {
    let Int8RecurrentWeights { input, hidden, input_bias, hidden_bias } = weights;
    let (width, size) = (cell.gates() * hidden.inp, hidden.inp);
    assert!((input.out, hidden.out) == (width, width), "{cell:?}: int8 weights of {} and {}", input.out, hidden.out);
    let from_x = crate::linear_int8(x, input, input_bias);
    let from_state = |h| crate::linear_int8(h, hidden, hidden_bias.clone());
    let (y, last) = composed::recurrent::sequence(cell, from_x, size, from_state, states, options);
    let mut last = last.into_iter();
    (y, [last.next(), last.next()])
}

fn with_last((y, ends): (Tensor<3>, Arc<Ends>)) -> (Tensor<3>, Tensor<2>) {
    let last = apply(LastState::hidden(&ends), vec![y.clone().into_dispatch()]);
    (y, last)
}

/// Checks the shapes; whether the CPU's kernel takes the tensors.
fn fits(
    cell: Cell,
    x: &Tensor<3>,
    weights: &RecurrentWeights,
    states: [&Option<Tensor<2>>; 2],
    options: &RecurrentOptions,
) -> bool {
    let [batch, time, inp] = x.dims();
    let RecurrentWeights { input, hidden, input_bias, hidden_bias } = weights;
    let [width, size] = hidden.dims();
    let biases = || [input_bias, hidden_bias].into_iter().flatten();
    let states = || states.into_iter().flatten();
    assert!(
        width == cell.gates() * size && input.dims() == [width, inp] && biases().all(|b| b.dims() == [width]),
        "{cell:?}: x {:?}, weights {:?} and {:?}",
        x.dims(),
        input.dims(),
        hidden.dims()
    );
    assert!(states().all(|s| s.dims() == [batch, size]), "{cell:?}: states of {batch} x {size}");
    let lengths = options.lengths.as_ref();
    assert!(
        lengths.is_none_or(|l| l.len() == batch && l.iter().all(|l| *l <= time)),
        "{cell:?}: {batch} lengths up to {time}, {lengths:?}"
    );
    suits(x) && suits(input) && suits(hidden) && biases().all(suits) && states().all(suits)
}

fn run(
    cell: Cell,
    x: Tensor<3>,
    weights: RecurrentWeights,
    h: Option<Tensor<2>>,
    c: Option<Tensor<2>>,
    options: &RecurrentOptions,
) -> (Tensor<3>, Arc<Ends>) {
    let RecurrentWeights { input, hidden, input_bias, hidden_bias } = weights;
    let ends = Arc::new(Ends::default());
    let function = Recurrent {
        cell,
        options: options.clone(),
        optional: [input_bias.is_some(), hidden_bias.is_some(), h.is_some(), c.is_some()],
        ends: ends.clone(),
    };
    let mut inputs = vec![x.into_dispatch(), input.into_dispatch(), hidden.into_dispatch()];
    inputs.extend([input_bias, hidden_bias].into_iter().flatten().map(Tensor::into_dispatch));
    inputs.extend([h, c].into_iter().flatten().map(Tensor::into_dispatch));
    (apply(function, inputs), ends)
}
