use super::linear::{linear, rounded};
use crate::recurrent::{Nonlinearity, RecurrentOptions, RecurrentWeights};
use burn::prelude::*;
use burn::tensor::activation::{relu, sigmoid};

/// See [`crate::lstm`].
pub fn lstm(
    x: Tensor<3>,
    weights: RecurrentWeights,
    state: Option<(Tensor<2>, Tensor<2>)>,
    options: &RecurrentOptions,
) -> (Tensor<3>, (Tensor<2>, Tensor<2>)) {
    let (h, c) = state.unzip();
    let (h, c) = (h.unwrap_or_else(|| zero_state(&x, &weights)), c.unwrap_or_else(|| zero_state(&x, &weights)));
    let (y, states) = sequence(x, &weights, vec![h, c], options, |from_x, from_h, states| {
        let [i, f, g, o] = parts(from_x + from_h);
        let c = sigmoid(f) * states[1].clone() + sigmoid(i) * g.tanh();
        vec![sigmoid(o) * c.clone().tanh(), c]
    });
    (y, (states[0].clone(), states[1].clone()))
}

/// See [`crate::gru`].
pub fn gru(
    x: Tensor<3>,
    weights: RecurrentWeights,
    state: Option<Tensor<2>>,
    options: &RecurrentOptions,
) -> (Tensor<3>, Tensor<2>) {
    let h = state.unwrap_or_else(|| zero_state(&x, &weights));
    let (y, states) = sequence(x, &weights, vec![h], options, |from_x, from_h, states| {
        let ([xr, xz, xn], [hr, hz, hn]) = (parts(from_x), parts(from_h));
        let (r, z) = (sigmoid(xr + hr), sigmoid(xz + hz));
        let n = (xn + r * hn).tanh();
        vec![n.clone() + z * (states[0].clone() - n)]
    });
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
    let h = state.unwrap_or_else(|| zero_state(&x, &weights));
    let (y, states) = sequence(x, &weights, vec![h], options, |from_x, from_h, _| {
        vec![match nonlinearity {
            Nonlinearity::Tanh => (from_x + from_h).tanh(),
            Nonlinearity::Relu => relu(from_x + from_h),
        }]
    });
    (y, states[0].clone())
}

fn zero_state(x: &Tensor<3>, weights: &RecurrentWeights) -> Tensor<2> {
    Tensor::zeros([x.dims()[0], weights.hidden.dims()[1]], &x.device())
}

/// Equal shares of the columns.
fn parts<const N: usize>(x: Tensor<2>) -> [Tensor<2>; N] {
    let width = x.dims()[1] / N;
    std::array::from_fn(|i| x.clone().narrow(1, i * width, width))
}

/// Runs `step`, from the projections of input and state and the states to the new states, over all steps. Returns the
/// first state at each, and the last states.
fn sequence(
    x: Tensor<3>,
    weights: &RecurrentWeights,
    mut states: Vec<Tensor<2>>,
    options: &RecurrentOptions,
    step: impl Fn(Tensor<2>, Tensor<2>, &[Tensor<2>]) -> Vec<Tensor<2>>,
) -> (Tensor<3>, Vec<Tensor<2>>) {
    let ([batch, time, _], device) = (x.dims(), x.device());
    let [width, size] = weights.hidden.dims();
    if time == 0 {
        return (Tensor::zeros([batch, 0, size], &device), states);
    }
    let from_x = linear(x, weights.input.clone(), weights.input_bias.clone(), options.precision);
    let recurrent = rounded(weights.hidden.clone(), options.precision).transpose();
    let mut outputs = Vec::with_capacity(time);
    let mut times: Vec<usize> = (0..time).collect();
    if options.reversed {
        times.reverse();
    }
    for t in times {
        let from_h = rounded(states[0].clone(), options.precision).matmul(recurrent.clone());
        let from_h = match &weights.hidden_bias {
            Some(bias) => from_h + bias.clone().unsqueeze(),
            None => from_h,
        };
        let from_x = from_x.clone().narrow(1, t, 1).reshape([batch, width]);
        let new = step(from_x, from_h, &states);
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
