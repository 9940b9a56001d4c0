//! [`crate::linear_cross_entropy`].

use super::view::{dense, dims, matrix, tensor, values};
use super::{FlexTensor, Function, Gradient};
use crate::Precision;
use danlu_kernels::cross_entropy::{self, Options, Soft, SoftTargets, Wanted};
use danlu_kernels::optimizer::scale;

/// Inputs: x, weight; then with a hard share the probabilities, or hidden and weight of a teacher.
#[derive(Debug)]
pub(crate) struct LinearCrossEntropy {
    pub(crate) targets: Vec<i64>,
    pub(crate) label_smoothing: f32,
    pub(crate) z_loss: f32,
    pub(crate) token_weights: Option<Vec<f32>>,
    pub(crate) hard_share: Option<f32>,
    pub(crate) temperature: f32,
    pub(crate) precision: Precision,
}

impl LinearCrossEntropy {
    fn options<'a>(&'a self, inputs: &'a [FlexTensor]) -> Options<'a> {
        let targets = match &inputs[2..] {
            [hidden, weight] => SoftTargets::Teacher {
                hidden: values(hidden),
                weight: values(weight),
                dim: matrix(weight).1,
                temperature: self.temperature,
            },
            rest => SoftTargets::Probabilities(rest.first().map_or(&[], values)),
        };
        Options {
            label_smoothing: self.label_smoothing,
            z_loss: self.z_loss,
            token_weights: self.token_weights.as_deref(),
            soft: self.hard_share.map(|hard_share| Soft { hard_share, targets }),
            precision: self.precision,
            ..Options::default()
        }
    }
}

impl Function for LinearCrossEntropy {
    fn forward(self: Box<Self>, inputs: Vec<FlexTensor>, wanted: &[bool]) -> (FlexTensor, Box<dyn Gradient>) {
        let inputs: Vec<FlexTensor> = inputs.into_iter().map(dense).collect();
        let (x, weight) = (&inputs[0], &inputs[1]);
        let (vocab, dim) = matrix(weight);
        let wanted = Wanted { x: wanted[0], weight: wanted[1] };
        let options = self.options(&inputs);
        let result =
            cross_entropy::linear_cross_entropy(values(x), values(weight), &self.targets, dim, vocab, &options, wanted);
        let keep = |gradient: Vec<f32>, like: &FlexTensor| (!gradient.is_empty()).then(|| tensor(gradient, dims(like)));
        let gradients = [keep(result.dx, x), keep(result.d_weight, weight)];
        (tensor(vec![result.loss as f32], vec![1]), Box::new(Computed(gradients)))
    }
}

/// The gradients are computed together with the loss, while a chunk's logits exist, for an upstream gradient of 1.
#[derive(Debug)]
struct Computed([Option<FlexTensor>; 2]);

impl Gradient for Computed {
    fn backward(self: Box<Self>, g: FlexTensor, wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let upstream = values(&dense(g)).first().copied().unwrap_or(0.0);
        let scaled = |mut gradient: FlexTensor| {
            if upstream != 1.0 {
                scale(gradient.storage_mut(), upstream);
            }
            gradient
        };
        let mut gradients: Vec<_> = self.0.map(|gradient| gradient.map(scaled)).into();
        gradients.resize_with(wanted.len(), || None);
        gradients
    }
}
