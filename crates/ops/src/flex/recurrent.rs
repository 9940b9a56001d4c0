//! [`crate::lstm`], [`crate::gru`] and [`crate::rnn`].
//!
//! A step on the tape has one result, and these have up to three. The step is [`Recurrent`], and its result is all
//! states. The last ones are results of [`LastState`], whose input is the first result: its backward pass leaves the
//! gradient in [`Ends`], where the pass of [`Recurrent`], which comes after it, finds it.

use super::view::{dense, dims, tensor, values};
use super::{FlexTensor, Function, Gradient};
use crate::RecurrentOptions;
use burn::backend::flex::Layout;
use burn::tensor::Shape;
use danlu_kernels::recurrent::{self, Cell, Layer, Saved, State, Upstream, Wanted, Weights};
use std::sync::{Arc, Mutex, PoisonError};

/// The last states and their gradients: hidden state, then cell.
#[derive(Debug, Default)]
pub(crate) struct Ends([Mutex<End>; 2]);

#[derive(Debug, Default)]
struct End {
    value: Option<FlexTensor>,
    gradient: Option<FlexTensor>,
}

impl Ends {
    fn with<R>(&self, part: usize, f: impl FnOnce(&mut End) -> R) -> R {
        f(&mut self.0[part].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Inputs: x, weight_ih, weight_hh, and those of `optional` that are there.
#[derive(Debug)]
pub(crate) struct Recurrent {
    pub(crate) cell: Cell,
    pub(crate) options: RecurrentOptions,
    /// Whether there are bias_ih, bias_hh, the first hidden state and the first cell.
    pub(crate) optional: [bool; 4],
    pub(crate) ends: Arc<Ends>,
}

impl Recurrent {
    fn layer<'a>(&'a self, inputs: &[FlexTensor]) -> Layer<'a> {
        let size = |i: usize, d: usize| dims(&inputs[i]).get(d).copied().unwrap_or(0);
        Layer {
            cell: self.cell,
            batch: size(0, 0),
            time: size(0, 1),
            input: size(0, 2),
            hidden: size(2, 1),
            reversed: self.options.reversed,
            lengths: self.options.lengths.as_deref(),
            precision: self.options.precision,
        }
    }

    /// The position of an optional input.
    fn position(&self, optional: usize) -> Option<usize> {
        self.optional[optional].then(|| 3 + self.optional[..optional].iter().filter(|there| **there).count())
    }

    fn operands<'a>(&self, inputs: &'a [FlexTensor]) -> (&'a [f32], Weights<'a>, State<'a>) {
        let optional = |i: usize| self.position(i).map(|at| values(&inputs[at]));
        let (input, hidden) = (values(&inputs[1]), values(&inputs[2]));
        let weights = Weights { input, hidden, input_bias: optional(0), hidden_bias: optional(1) };
        (values(&inputs[0]), weights, State { h: optional(2), c: optional(3) })
    }
}

impl Function for Recurrent {
    fn forward(self: Box<Self>, inputs: Vec<FlexTensor>, _wanted: &[bool]) -> (FlexTensor, Box<dyn Gradient>) {
        let inputs: Vec<FlexTensor> = inputs.into_iter().map(dense).collect();
        let layer = self.layer(&inputs);
        let (x, weights, state) = self.operands(&inputs);
        let out = recurrent::forward(&layer, x, &weights, &state);
        let Layer { cell, batch, time, hidden, .. } = layer;
        let y = tensor(out.y, vec![batch, time, hidden]);
        self.ends.with(0, |end| end.value = Some(tensor(out.h, vec![batch, hidden])));
        if cell == Cell::Lstm {
            self.ends.with(1, |end| end.value = Some(tensor(out.c, vec![batch, hidden])));
        }
        let kept = Kept { function: *self, inputs, y: y.clone(), saved: out.saved };
        (y, Box::new(kept))
    }
}

#[derive(Debug)]
struct Kept {
    function: Recurrent,
    inputs: Vec<FlexTensor>,
    y: FlexTensor,
    saved: Saved,
}

impl Gradient for Kept {
    fn backward(self: Box<Self>, g: FlexTensor, wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let Kept { function, inputs, y, saved } = *self;
        let layer = function.layer(&inputs);
        let (x, weights, state) = function.operands(&inputs);
        let [dh, dc] = [0, 1].map(|part| function.ends.with(part, |end| end.gradient.take()).map(dense));
        let g = (!is_zeros(&g)).then(|| dense(g));
        let upstream = Upstream { y: g.as_ref().map(values), h: dh.as_ref().map(values), c: dc.as_ref().map(values) };
        let asked = Wanted { x: wanted[0], input_weight: wanted[1], hidden_weight: wanted[2] };
        let grads = recurrent::backward(&layer, x, &weights, &state, values(&y), saved, &upstream, asked);
        let mut results = vec![Some(grads.x), Some(grads.input_weight), Some(grads.hidden_weight)];
        let optional = [grads.input_bias, grads.hidden_bias, grads.h, grads.c];
        results.extend(optional.into_iter().zip(function.optional).filter(|(_, there)| *there).map(|(g, _)| Some(g)));
        let shaped = |((gradient, input), wanted): ((Option<Vec<f32>>, &FlexTensor), &bool)| {
            gradient.filter(|_| *wanted).map(|gradient| tensor(gradient, dims(input)))
        };
        results.into_iter().zip(&inputs).zip(wanted).map(shaped).collect()
    }
}

/// The hidden state or the cell after the last steps. Input: all states, whose gradient from here is zero.
#[derive(Debug)]
pub(crate) struct LastState {
    ends: Arc<Ends>,
    part: usize,
}

impl LastState {
    pub(crate) fn hidden(ends: &Arc<Ends>) -> Self {
        LastState { ends: ends.clone(), part: 0 }
    }

    pub(crate) fn cell(ends: &Arc<Ends>) -> Self {
        LastState { ends: ends.clone(), part: 1 }
    }
}

impl Function for LastState {
    fn forward(self: Box<Self>, inputs: Vec<FlexTensor>, _wanted: &[bool]) -> (FlexTensor, Box<dyn Gradient>) {
        let value = self.ends.with(self.part, |end| end.value.take());
        let all = dims(&inputs[0]);
        let value = value.unwrap_or_else(|| unreachable!("the layer ran and left its last states"));
        (value, Box::new(Left { last: *self, all }))
    }
}

#[derive(Debug)]
struct Left {
    last: LastState,
    /// Dimensions of all states.
    all: Vec<usize>,
}

impl Gradient for Left {
    fn backward(self: Box<Self>, g: FlexTensor, _wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        self.last.ends.with(self.last.part, |end| end.gradient = Some(g));
        vec![Some(zeros(self.all))]
    }
}

/// A single zero seen at every place: Burn wants a gradient registered before it runs a step backward.
fn zeros(dims: Vec<usize>) -> FlexTensor {
    let strides = vec![0; dims.len()];
    tensor(vec![0.0], vec![1]).with_layout(Layout::new(Shape::from(dims), strides, 0))
}

fn is_zeros(t: &FlexTensor) -> bool {
    t.layout().strides().iter().all(|s| *s == 0) && t.storage::<f32>().iter().all(|x| *x == 0.0)
}
