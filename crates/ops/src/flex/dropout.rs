//! [`crate::dropout`] and [`crate::add_dropout`].

use super::view::{dense, dims, matrix, tensor, values};
use super::{FlexTensor, Function, Gradient};
use danlu_kernels::dropout;
use danlu_kernels::random::DropoutMask;

/// Inputs: x, and the residual where there is one. Keeps nothing but itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    pub(crate) mask: DropoutMask,
    pub(crate) first_row: u64,
    pub(crate) residual: bool,
}

impl Dropout {
    fn run(&self, x: &FlexTensor) -> FlexTensor {
        let width = matrix(x).1.max(1);
        tensor(dropout::dropout(values(x), width, &self.mask, self.first_row), dims(x))
    }
}

impl Function for Dropout {
    fn forward(self: Box<Self>, inputs: Vec<FlexTensor>, _wanted: &[bool]) -> (FlexTensor, Box<dyn Gradient>) {
        let inputs: Vec<FlexTensor> = inputs.into_iter().map(dense).collect();
        let x = &inputs[0];
        let y = match inputs.get(1) {
            None => self.run(x),
            Some(residual) => {
                let (width, r) = (matrix(x).1.max(1), values(residual));
                tensor(dropout::add_dropout(r, values(x), width, &self.mask, self.first_row), dims(x))
            }
        };
        (y, self)
    }
}

impl Gradient for Dropout {
    fn backward(self: Box<Self>, g: FlexTensor, wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let g = dense(g);
        let mut gradients = vec![wanted[0].then(|| self.run(&g))];
        if self.residual {
            gradients.push(Some(g));
        }
        gradients
    }
}
