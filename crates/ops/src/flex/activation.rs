//! The activations of [`crate::Activation`], and [`crate::swiglu`] of two tensors.

use super::view::{dense, dims, matrix, stored, tensor, values, with_last};
use super::{FlexTensor, Function, Gradient};
use crate::Activation;
use danlu_kernels::{ValueVec, activation};

/// Input: x.
#[derive(Debug)]
pub(crate) struct Activate(pub(crate) Activation);

impl Function for Activate {
    fn forward(self: Box<Self>, inputs: Vec<FlexTensor>, _wanted: &[bool]) -> (FlexTensor, Box<dyn Gradient>) {
        let inputs: Vec<FlexTensor> = inputs.into_iter().map(dense).collect();
        let width = matrix(&inputs[0]).1;
        let dims = with_last(dims(&inputs[0]), self.0.output_width(width));
        let y = tensor(self.0.forward(stored(&inputs[0]), width), dims);
        (y, Box::new(Activated { kind: self.0, inputs }))
    }
}

#[derive(Debug)]
struct Activated {
    kind: Activation,
    inputs: Vec<FlexTensor>,
}

impl Gradient for Activated {
    fn backward(self: Box<Self>, g: FlexTensor, _wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let (g, x) = (dense(g), &self.inputs[0]);
        let dx = self.kind.gradient(stored(x), matrix(x).1, ValueVec::F32(stored(&g).widened().into_owned()));
        vec![Some(tensor(dx, dims(x)))]
    }
}

/// Inputs: gate, up.
#[derive(Debug)]
pub(crate) struct Swiglu;

impl Function for Swiglu {
    fn forward(self: Box<Self>, inputs: Vec<FlexTensor>, _wanted: &[bool]) -> (FlexTensor, Box<dyn Gradient>) {
        let inputs: Vec<FlexTensor> = inputs.into_iter().map(dense).collect();
        let y = tensor(activation::swiglu(values(&inputs[0]), values(&inputs[1])), dims(&inputs[0]));
        (y, Box::new(Gated(inputs)))
    }
}

#[derive(Debug)]
struct Gated(Vec<FlexTensor>);

impl Gradient for Gated {
    fn backward(self: Box<Self>, g: FlexTensor, _wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let (g, gate, up) = (dense(g), &self.0[0], &self.0[1]);
        let (d_gate, d_up) = activation::swiglu_grad(values(gate), values(up), values(&g));
        vec![Some(tensor(d_gate, dims(gate))), Some(tensor(d_up, dims(gate)))]
    }
}
