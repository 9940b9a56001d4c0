//! The activations of [`crate::Activation`], and [`crate::swiglu`] of two tensors.

use super::view::{dense, dims, matrix, tensor, values, with_last};
use super::{FlexTensor, Function, Gradient};
use crate::Activation;
use danlu_kernels::activation;

/// The activation's values.
pub(super) fn activate(kind: Activation, x: &FlexTensor) -> Vec<f32> {
    match kind {
        Activation::GeluTanh => activation::gelu_tanh(values(x)),
        Activation::GeluErf => activation::gelu_erf(values(x)),
        Activation::Silu => activation::silu(values(x)),
        Activation::ReluSquared => activation::relu_squared(values(x)),
        Activation::Swiglu => activation::swiglu_joined(values(x), matrix(x).1 / 2),
    }
}

/// Gradient of [`activate`] from the gradient `g` of its result, in its memory where that fits.
pub(super) fn activate_grad(kind: Activation, x: &FlexTensor, g: Vec<f32>) -> Vec<f32> {
    match kind {
        Activation::GeluTanh => activation::gelu_tanh_grad(values(x), g),
        Activation::GeluErf => activation::gelu_erf_grad(values(x), g),
        Activation::Silu => activation::silu_grad(values(x), g),
        Activation::ReluSquared => activation::relu_squared_grad(values(x), g),
        Activation::Swiglu => activation::swiglu_joined_grad(values(x), matrix(x).1 / 2, &g),
    }
}

/// Input: x.
#[derive(Debug)]
pub(crate) struct Activate(pub(crate) Activation);

impl Function for Activate {
    fn forward(self: Box<Self>, inputs: Vec<FlexTensor>, _wanted: &[bool]) -> (FlexTensor, Box<dyn Gradient>) {
        let inputs: Vec<FlexTensor> = inputs.into_iter().map(dense).collect();
        let dims = with_last(dims(&inputs[0]), self.0.output_width(matrix(&inputs[0]).1));
        let y = tensor(activate(self.0, &inputs[0]), dims);
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
        vec![Some(tensor(activate_grad(self.kind, x, values(&g).to_vec()), dims(x)))]
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
