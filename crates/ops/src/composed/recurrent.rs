use super::linear::{linear, rounded};
use crate::recurrent::{Nonlinearity, RecurrentOptions, RecurrentWeights};
use burn::prelude::*;
use burn::tensor::activation::{relu, sigmoid};
use danlu_kernels::recurrent::Cell;

/// See [`crate::lstm`].
pub fn lstm(
    x: Tensor<3>,
    weights: RecurrentWeights,
    state: Option<(Tensor<2>, Tensor<2>)>,
    options: &RecurrentOptions,
) -> (Tensor<3>, (Tensor<2>, Tensor<2>)) {
    let (h, c) = state.unzip();
    let (y, states) = dense(Cell::Lstm, x, weights, [h, c], options);
    (y, (states[0].clone(), states[1].clone()))
}

/// See [`crate::gru`].
pub fn gru(
    x: Tensor<3>,
    weights: RecurrentWeights,
    state: Option<Tensor<2>>,
    options: &RecurrentOptions,
) -> (Tensor<3>, Tensor<2>) {
    let (y, states) = dense(Cell::Gru, x, weights, [state, None], options);
    (y, states[0].clone())
}

/// See [`crate::rnn`].
pub fn rnn(
    x: Tensor<3>,
    weights: RecurrentWeights,
    state: Option<Tensor<2>>,
    nonlinearity: Nonlinearity,
    options: &RecurrentOptions,
) -> (Tensor<3>, Tensor<2>) {
    let (y, states) = dense(nonlinearity.cell(), x, weights, [state, None], options);
    (y, states[0].clone())
}

fn dense(
    cell: Cell,
    x: Tensor<3>,
    weights: RecurrentWeights,
    states: [Option<Tensor<2>>; 2],
    options: &RecurrentOptions,
) -> (Tensor<3>, Vec<Tensor<2>>) {
    let RecurrentWeights { input, hidden, input_bias, hidden_bias } = weights;
    let (precision, size) = (options.precision, hidden.dims()[1]);
    let recurrent = rounded(hidden, precision).transpose();
    let from_state = |h: Tensor<2>| {
        let projected = rounded(h, precision).matmul(recurrent.clone());
        match &hidden_bias {
            Some(bias) => projected + bias.clone().unsqueeze(),
            None => projected,
        }
    };
    sequence(cell, linear(x, input, input_bias, precision), size, from_state, states, options)
}

/// One step: from the projections of input and state and the states to the new states.
fn step(cell: Cell, from_x: Tensor<2>, from_h: Tensor<2>, states: &[Tensor<2>]) -> Vec<Tensor<2>> {
    match cell {
        Cell::Lstm => {
            let [i, f, g, o] = parts(from_x + from_h);
            let c = sigmoid(f) * states[1].clone() + sigmoid(i) * g.tanh();
            vec![sigmoid(o) * c.clone().tanh(), c]
        }
        Cell::Gru => {
            let ([xr, xz, xn], [hr, hz, hn]) = (parts(from_x), parts(from_h));
            let (r, z) = (sigmoid(xr + hr), sigmoid(xz + hz));
            let n = (xn + r * hn).tanh();
            vec![n.clone() + z * (states[0].clone() - n)]
        }
        Cell::Tanh => vec![(from_x + from_h).tanh()],
        Cell::Relu => vec![relu(from_x + from_h)],
    }
}

/// Equal shares of the columns.
fn parts<const N: usize>(x: Tensor<2>) -> [Tensor<2>; N] {
    let width = x.dims()[1] / N;
    std::array::from_fn(|i| x.clone().narrow(1, i * width, width))
}

/// All steps, from the projections of the input, (batch, time, gates * hidden), and the function that projects a state.
/// Returns the first state at each step, and the last states.
pub(crate) fn sequence(
    cell: Cell,
    from_x: Tensor<3>,
    size: usize,
    from_state: impl Fn(Tensor<2>) -> Tensor<2>,
    states: [Option<Tensor<2>>; 2],
    options: &RecurrentOptions,
) -> (Tensor<3>, Vec<Tensor<2>>) {
    let ([batch, time, width], device) = (from_x.dims(), from_x.device());
    let zero = || Tensor::zeros([batch, size], &device);
    let count = if cell == Cell::Lstm { 2 } else { 1 };
    let mut states: Vec<Tensor<2>> = states.into_iter().take(count).map(|state| state.unwrap_or_else(zero)).collect();
    if time == 0 {
        return (Tensor::zeros([batch, 0, size], &device), states);
    }
    let mut outputs = Vec::with_capacity(time);
    let mut times: Vec<usize> = (0..time).collect();
    if options.reversed {
        times.reverse();
    }
    for t in times {
        let from_h = from_state(states[0].clone());
        let from_x = from_x.clone().narrow(1, t, 1).reshape([batch, width]);
        let new = step(cell, from_x, from_h, &states);
        let output = match &options.lengths {
            None => {
                states = new;
                states[0].clone()
            }
            Some(lengths) => {
                let over: Vec<bool> = lengths.iter().map(|l| t >= *l).collect();
                let over = Tensor::<2, Bool>::from_data(TensorData::new(over, [batch, 1]), &device);
                let over = over.expand([batch, size]);
                states = new.into_iter().zip(states).map(|(new, old)| new.mask_where(over.clone(), old)).collect();
                states[0].clone().mask_fill(over, 0.0)
            }
        };
        outputs.push(output.reshape([batch, 1, size]));
    }
    if options.reversed {
        outputs.reverse();
    }
    (Tensor::cat(outputs, 1), states)
}
