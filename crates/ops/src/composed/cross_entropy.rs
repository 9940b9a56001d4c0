use super::linear;
use crate::Precision;
use burn::prelude::*;
use burn::tensor::activation;

/// Sum over tokens of `-log softmax(x * weight^T)[target]`; targets of -100 count nothing.
pub fn linear_cross_entropy(x: Tensor<2>, weight: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let rows = x.dims()[0];
    let ignored = targets.clone().equal_elem(crate::IGNORED);
    let targets = targets.mask_fill(ignored.clone(), 0);
    let log_probabilities = activation::log_softmax(linear(x, weight, None, Precision::F32), 1);
    let chosen = log_probabilities.gather(1, targets.reshape([rows, 1])).reshape([rows]);
    chosen.mask_fill(ignored, 0.0).sum().neg()
}
