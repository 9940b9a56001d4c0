//! [`crate::add`] and the norms of sums.

use super::norm::Saved;
use super::view::{dense, dims, owned, tensor, values};
use super::{FlexTensor, Function, Gradient, run};
use burn::prelude::*;
use danlu_kernels::elementwise;
use danlu_kernels::norm::{self, NormOfSum};

/// A result that was computed before its operation went on the tape, where one pass gives two of them.
#[derive(Debug, Default)]
pub(crate) struct Known(Option<Vec<f32>>);

/// Inputs: the two terms.
#[derive(Debug)]
pub(crate) struct Add(pub(crate) Known);

impl Function for Add {
    fn forward(self: Box<Self>, inputs: Vec<FlexTensor>, _wanted: &[bool]) -> (FlexTensor, Box<dyn Gradient>) {
        let inputs: Vec<FlexTensor> = inputs.into_iter().map(dense).collect();
        let sum = self.0.0.unwrap_or_else(|| elementwise::add(values(&inputs[0]), values(&inputs[1])));
        (tensor(sum, dims(&inputs[0])), Box::new(Added))
    }
}

#[derive(Debug)]
struct Added;

impl Gradient for Added {
    fn backward(self: Box<Self>, g: FlexTensor, _wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        vec![Some(g.clone()), Some(g)]
    }
}

/// Inputs: x, weight, and for layer normalisation the bias; the result is known.
#[derive(Debug)]
pub(crate) struct KnownNorm {
    y: Vec<f32>,
    stats: Vec<f32>,
}

impl Function for KnownNorm {
    fn forward(self: Box<Self>, inputs: Vec<FlexTensor>, _wanted: &[bool]) -> (FlexTensor, Box<dyn Gradient>) {
        let inputs: Vec<FlexTensor> = inputs.into_iter().map(dense).collect();
        (tensor(self.y, dims(&inputs[0])), Box::new(Saved { inputs, stats: self.stats }))
    }
}

pub(crate) fn rms_norm_of_sum<const D: usize>(
    x: &Tensor<D>,
    r: &Tensor<D>,
    weight: &Tensor<1>,
    eps: f64,
) -> (Add, KnownNorm) {
    let vectors = vec![weight.clone().inner().into_dispatch()];
    of_sum(x, r, vectors, |t| norm::add_rms_norm(values(&t[0]), values(&t[1]), values(&t[2]), eps as f32))
}

pub(crate) fn layer_norm_of_sum<const D: usize>(
    x: &Tensor<D>,
    r: &Tensor<D>,
    weight: &Tensor<1>,
    bias: &Tensor<1>,
    eps: f64,
) -> (Add, KnownNorm) {
    let vectors = [weight, bias].map(|v| v.clone().inner().into_dispatch()).to_vec();
    of_sum(x, r, vectors, |t| {
        norm::add_layer_norm(values(&t[0]), values(&t[1]), values(&t[2]), values(&t[3]), eps as f32)
    })
}

fn of_sum<const D: usize>(
    x: &Tensor<D>,
    r: &Tensor<D>,
    vectors: Vec<burn::tensor::DispatchTensor>,
    kernel: impl Fn(&[FlexTensor]) -> NormOfSum,
) -> (Add, KnownNorm) {
    let mut tensors = vec![x.clone().inner().into_dispatch(), r.clone().inner().into_dispatch()];
    tensors.extend(vectors);
    let mut result = NormOfSum { sum: vec![], y: vec![], stats: vec![] };
    run(tensors, |tensors| {
        let tensors: Vec<FlexTensor> = tensors.into_iter().map(dense).collect();
        result = kernel(&tensors);
        vec![]
    });
    (Add(Known(Some(result.sum))), KnownNorm { y: result.y, stats: result.stats })
}

pub(crate) fn add_in_place<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    let mut sum = run(vec![a.into_dispatch(), b.into_dispatch()], |tensors| {
        let Ok([a, b]) = <[_; 2]>::try_from(tensors) else { unreachable!("two were given") };
        let (mut a, b) = (owned(a), dense(b));
        if a.is_unique() {
            elementwise::add_assign(a.storage_mut(), values(&b));
            return vec![a];
        }
        vec![tensor(elementwise::add(values(&a), values(&b)), dims(&a))]
    });
    let Some(sum) = sum.pop() else { unreachable!("one comes back") };
    Tensor::from_dispatch(sum)
}
