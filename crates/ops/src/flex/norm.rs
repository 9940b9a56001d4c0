//! [`crate::rms_norm`] and [`crate::layer_norm`].

use super::view::{dense, dims, tensor, values};
use super::{FlexTensor, Function, Gradient};
use danlu_kernels::norm;

/// Inputs: x, weight.
#[derive(Debug)]
pub(crate) struct RmsNorm(pub(crate) f32);

/// Inputs: x, weight, bias.
#[derive(Debug)]
pub(crate) struct LayerNorm(pub(crate) f32);

impl Function for RmsNorm {
    fn forward(self: Box<Self>, inputs: Vec<FlexTensor>, _wanted: &[bool]) -> (FlexTensor, Box<dyn Gradient>) {
        let inputs: Vec<FlexTensor> = inputs.into_iter().map(dense).collect();
        let (y, stats) = norm::rms_norm(values(&inputs[0]), values(&inputs[1]), self.0);
        let y = tensor(y, dims(&inputs[0]));
        (y, Box::new(Saved { inputs, stats }))
    }
}

impl Function for LayerNorm {
    fn forward(self: Box<Self>, inputs: Vec<FlexTensor>, _wanted: &[bool]) -> (FlexTensor, Box<dyn Gradient>) {
        let inputs: Vec<FlexTensor> = inputs.into_iter().map(dense).collect();
        let (y, stats) = norm::layer_norm(values(&inputs[0]), values(&inputs[1]), values(&inputs[2]), self.0);
        let y = tensor(y, dims(&inputs[0]));
        (y, Box::new(Saved { inputs, stats }))
    }
}

#[derive(Debug)]
pub(super) struct Saved {
    pub(super) inputs: Vec<FlexTensor>,
    pub(super) stats: Vec<f32>,
}

impl Gradient for Saved {
    fn backward(self: Box<Self>, g: FlexTensor, _wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let (g, x, weight) = (dense(g), &self.inputs[0], &self.inputs[1]);
        let gradients = match self.inputs.len() {
            2 => rms_norm_grad(x, weight, &self.stats, values(&g)),
            _ => layer_norm_grad(x, weight, &self.stats, values(&g)),
        };
        gradients.into_iter().map(Some).collect()
    }
}

/// Gradients to x and the weight.
pub(super) fn rms_norm_grad(x: &FlexTensor, weight: &FlexTensor, stats: &[f32], g: &[f32]) -> Vec<FlexTensor> {
    let (dx, dw) = norm::rms_norm_grad(values(x), values(weight), stats, g);
    vec![tensor(dx, dims(x)), tensor(dw, dims(weight))]
}

/// Gradients to x, the weight and the bias.
pub(super) fn layer_norm_grad(x: &FlexTensor, weight: &FlexTensor, stats: &[f32], g: &[f32]) -> Vec<FlexTensor> {
    let (dx, dw, db) = norm::layer_norm_grad(values(x), values(weight), stats, g);
    vec![tensor(dx, dims(x)), tensor(dw, dims(weight)), tensor(db, dims(weight))]
}
