//! [`crate::linear_cross_entropy`].

use super::view::{dense, dims, matrix, tensor, values};
use super::{FlexTensor, Function, Gradient};
use danlu_kernels::cross_entropy::{self, Options, Wanted};
use danlu_kernels::optimizer::scale;

/// Inputs: x, weight.
#[derive(Debug)]
pub(crate) struct LinearCrossEntropy {
    pub(crate) targets: Vec<i64>,
}

impl Function for LinearCrossEntropy {
    fn forward(self: Box<Self>, inputs: Vec<FlexTensor>, wanted: &[bool]) -> (FlexTensor, Box<dyn Gradient>) {
        let inputs: Vec<FlexTensor> = inputs.into_iter().map(dense).collect();
        let (x, weight) = (&inputs[0], &inputs[1]);
        let (vocab, dim) = matrix(weight);
        let wanted = Wanted { x: wanted[0], weight: wanted[1] };
        let result = cross_entropy::linear_cross_entropy(
            values(x),
            values(weight),
            &self.targets,
            dim,
            vocab,
            &Options::default(),
            wanted,
        );
        let keep = |gradient: Vec<f32>, like: &FlexTensor| (!gradient.is_empty()).then(|| tensor(gradient, dims(like)));
        let gradients = [keep(result.dx, x), keep(result.d_weight, weight)];
        (tensor(vec![result.loss as f32], vec![1]), Box::new(Computed(gradients)))
    }
}

/// The gradients are computed together with the loss, while a chunk's logits exist, for an upstream gradient of 1.
#[derive(Debug)]
struct Computed([Option<FlexTensor>; 2]);

impl Gradient for Computed {
    fn backward(self: Box<Self>, g: FlexTensor, _wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let upstream = values(&dense(g)).first().copied().unwrap_or(0.0);
        let scaled = |mut gradient: FlexTensor| {
            if upstream != 1.0 {
                scale(gradient.storage_mut(), upstream);
            }
            gradient
        };
        self.0.map(|gradient| gradient.map(scaled)).into()
    }
}
