//! [`crate::softmax`] and [`crate::log_softmax`].

use super::view::{dense, dims, matrix, tensor, values};
use super::{FlexTensor, Function, Gradient};
use danlu_kernels::softmax;

/// Input: x.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Softmax {
    pub(crate) logarithm: bool,
}

impl Function for Softmax {
    fn forward(self: Box<Self>, inputs: Vec<FlexTensor>, _wanted: &[bool]) -> (FlexTensor, Box<dyn Gradient>) {
        let inputs: Vec<FlexTensor> = inputs.into_iter().map(dense).collect();
        let (x, width) = (&inputs[0], matrix(&inputs[0]).1.max(1));
        let y = match self.logarithm {
            false => softmax::softmax(values(x), width),
            true => softmax::log_softmax(values(x), width),
        };
        let y = tensor(y, dims(x));
        (y.clone(), Box::new(Saved { logarithm: self.logarithm, y }))
    }
}

#[derive(Debug)]
struct Saved {
    logarithm: bool,
    y: FlexTensor,
}

impl Gradient for Saved {
    fn backward(self: Box<Self>, g: FlexTensor, _wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let (g, y, width) = (dense(g), &self.y, matrix(&self.y).1.max(1));
        let dx = match self.logarithm {
            false => softmax::softmax_grad(values(y), width, values(&g)),
            true => softmax::log_softmax_grad(values(y), width, values(&g)),
        };
        vec![Some(tensor(dx, dims(y)))]
    }
}
